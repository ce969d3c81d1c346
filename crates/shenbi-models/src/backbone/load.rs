//! Layers from a file's named tensors. A convolution and the batch norm that follows it become one convolution, since
//! these networks are only looked through: W γ/√(σ² + ε), and β - μ γ/√(σ² + ε).

use std::cell::RefCell;
use std::collections::BTreeSet;

use burn::module::Param;
use burn::tensor::{Device, Tensor, TensorData};
use shenbi_nn::weights::{Named, WeightsError};
use shenbi_nn::{Conv2d, LayerNorm, Linear};

/// A convolution's shape: channels in and out, the kernel's height and width, steps, zeros on each side.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    /// Channels in and out.
    pub channels: [usize; 2],
    /// Height and width.
    pub kernel: [usize; 2],
    /// Pixels between two outputs.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
}

impl Shape {
    /// A square kernel.
    pub const fn square(channels: [usize; 2], side: usize, stride: usize, padding: usize) -> Self {
        Self { channels, kernel: [side; 2], stride, padding }
    }
}

/// Named tensors that layers are made of, and which of them were used.
pub struct Tensors<'a> {
    named: &'a Named,
    device: Device,
    used: RefCell<BTreeSet<String>>,
}

impl<'a> Tensors<'a> {
    /// Layers are put on `device`, without autodiff.
    pub fn new(named: &'a Named, device: &Device) -> Self {
        Self { named, device: device.clone().without_autodiff(), used: RefCell::default() }
    }

    /// Whether there is such a tensor.
    pub fn has(&self, name: &str) -> bool {
        self.named.contains_key(name)
    }

    /// The shape of a tensor.
    ///
    /// # Errors
    /// There is none.
    pub fn shape(&self, name: &str) -> Result<&'a [usize], WeightsError> {
        self.named.get(name).map(|values| &values.shape[..]).ok_or_else(|| WeightsError::Missing(name.to_string()))
    }

    /// The names of all tensors that were asked for.
    pub fn used(self) -> BTreeSet<String> {
        self.used.into_inner()
    }

    /// The numbers of a tensor of this shape.
    ///
    /// # Errors
    /// It is missing, or has another shape.
    pub fn values(&self, name: &str, shape: &[usize]) -> Result<&'a [f32], WeightsError> {
        let missing = || WeightsError::Missing(name.to_string());
        let values = self.named.get(name).ok_or_else(missing)?;
        if values.shape != shape {
            let (found, expected) = (values.shape.clone(), shape.to_vec());
            return Err(WeightsError::Shape { name: name.to_string(), found, expected });
        }
        self.used.borrow_mut().insert(name.to_string());
        Ok(&values.data)
    }

    /// A parameter of these values.
    pub fn param<const D: usize>(&self, values: Vec<f32>, shape: [usize; D]) -> Param<Tensor<D>> {
        Param::from_tensor(Tensor::from_data(TensorData::new(values, shape), &self.device))
    }

    /// A convolution with its bias: `name.weight`, `name.bias`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape, here and below.
    pub fn conv(&self, name: &str, shape: Shape) -> Result<Conv2d, WeightsError> {
        let bias = self.values(&format!("{name}.bias"), &shape.channels[1..])?.to_vec();
        self.conv_with(name, shape, |_| 1.0, Some(bias))
    }

    /// A convolution without a bias.
    ///
    /// # Errors
    /// As [`Self::conv`].
    pub fn bare_conv(&self, name: &str, shape: Shape) -> Result<Conv2d, WeightsError> {
        self.conv_with(name, shape, |_| 1.0, None)
    }

    /// A convolution without a bias, and the batch norm after it.
    ///
    /// # Errors
    /// As [`Self::conv`].
    pub fn conv_norm(&self, conv: &str, norm: &str, shape: Shape, epsilon: f64) -> Result<Conv2d, WeightsError> {
        let part = |part: &str| self.values(&format!("{norm}.{part}"), &shape.channels[1..]);
        let (gamma, beta) = (part("weight")?, part("bias")?);
        let (mean, var) = (part("running_mean")?, part("running_var")?);
        let scales: Vec<f64> =
            gamma.iter().zip(var).map(|(gamma, var)| f64::from(*gamma) / (f64::from(*var) + epsilon).sqrt()).collect();
        let bias = beta.iter().zip(mean).zip(&scales);
        let bias = bias.map(|((beta, mean), scale)| (f64::from(*beta) - f64::from(*mean) * scale) as f32).collect();
        self.conv_with(conv, shape, |output| scales[output], Some(bias))
    }

    fn conv_with(
        &self,
        name: &str,
        shape: Shape,
        scale: impl Fn(usize) -> f64,
        bias: Option<Vec<f32>>,
    ) -> Result<Conv2d, WeightsError> {
        let Shape { channels: [inputs, outputs], kernel: [kh, kw], stride, padding } = shape;
        let sides = [outputs, inputs, kh, kw];
        let weight = self.values(&format!("{name}.weight"), &sides)?;
        let of_output = weight.chunks_exact((inputs * kh * kw).max(1)).enumerate();
        let weight = of_output.flat_map(|(output, weight)| {
            let scale = scale(output);
            weight.iter().map(move |value| (f64::from(*value) * scale) as f32)
        });
        let weight = self.param(weight.collect(), sides);
        let bias = bias.map(|bias| self.param(bias, [outputs]));
        Ok(Conv2d { weight, bias, stride, padding, groups: 1 })
    }

    /// A fully connected layer of `[in, out]`, with its bias where it has one.
    ///
    /// # Errors
    /// As [`Self::conv`].
    pub fn linear(&self, name: &str, [inputs, outputs]: [usize; 2]) -> Result<Linear, WeightsError> {
        let weight = self.values(&format!("{name}.weight"), &[outputs, inputs])?.to_vec();
        let bias = format!("{name}.bias");
        let bias = if self.has(&bias) { Some(self.values(&bias, &[outputs])?.to_vec()) } else { None };
        let bias = bias.map(|bias| self.param(bias, [outputs]));
        Ok(Linear { weight: self.param(weight, [outputs, inputs]), bias })
    }

    /// A layer norm over `n` numbers.
    ///
    /// # Errors
    /// As [`Self::conv`].
    pub fn layer_norm(&self, name: &str, n: usize, epsilon: f64) -> Result<LayerNorm, WeightsError> {
        let part = |part: &str| Ok(self.param(self.values(&format!("{name}.{part}"), &[n])?.to_vec(), [n]));
        Ok(LayerNorm { weight: part("weight")?, bias: part("bias")?, epsilon })
    }

    /// A fully connected layer without a bias, of `[in, any]`; transposed: its file has `[in, out]`.
    ///
    /// # Errors
    /// As [`Self::conv`].
    pub fn projection(&self, name: &str, width: usize, transposed: bool) -> Result<Linear, WeightsError> {
        let shape = self.shape(name)?;
        let outputs = if transposed { shape.get(1) } else { shape.first() }.copied().unwrap_or(0);
        let values = self.values(name, &if transposed { [width, outputs] } else { [outputs, width] })?;
        let weight = if transposed {
            (0..outputs).flat_map(|row| values.iter().skip(row).step_by(outputs).copied()).collect()
        } else {
            values.to_vec()
        };
        Ok(Linear { weight: self.param(weight, [outputs, width]), bias: None })
    }
}
