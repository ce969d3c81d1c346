//! DCGAN (Radford, Metz & Chintala, 1511.06434): the convolutional GAN that others are measured against.
//!
//! - G: noise to 4x4, then transposed convolutions that double the size and halve the channels, each with batch norm and
//!   ReLU; tanh at the end.
//! - D: its mirror image, strided convolutions with batch norm and LeakyReLU 0.2; no norm in the first and last layer.
//! - Weights from N(0, 0.02²), scales of norms from N(1, 0.02²).
//! - Trained with Adam at 2e-4 with beta1 0.5, and separate batches of real and generated pictures for D's norms.
//!
//! Deviations: noise is normal, where the paper's is uniform. By class, the one-hot class joins the noise (conditional
//! GAN, 1411.1784), and D has one of the [`Head`]s. D's norms may be left out or be spectral, for losses and penalties
//! of other papers.

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use shenbi_nn::spectral::SpectralConv2d;
use shenbi_nn::{BatchNorm, BatchStats, Conv2d, ConvTranspose2d, Init, Linear, NormMode, ops};

use super::{Answer, Head};

const SLOPE: f64 = 0.2;
const STD: f32 = 0.02;

/// The discriminator's normalisation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Norm {
    /// Batch norm, the paper's.
    Batch,
    /// Spectral norm of every layer (1802.05957).
    Spectral,
    /// None, with biases.
    None,
}

/// Shapes of the two networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DcganConfig {
    /// Height and width of a picture: 8, 16, 32, ...
    pub size: usize,
    /// 1 (grey), 3 (RGB) or 4 (RGBA).
    pub channels: usize,
    /// Numbers of noise.
    pub noise: usize,
    /// Channels of the layers next to the picture; they double with each halving of the size.
    pub width: usize,
    /// Number of classes; 0 for none.
    pub classes: usize,
    /// How D learns of them.
    pub head: Head,
    /// D's normalisation.
    pub norm: Norm,
}

impl Default for DcganConfig {
    fn default() -> Self {
        Self { size: 64, channels: 3, noise: 100, width: 64, classes: 0, head: Head::None, norm: Norm::Batch }
    }
}

impl DcganConfig {
    /// Halvings from the picture to 4x4.
    ///
    /// # Errors
    /// The size is no power of two from 8 to 512, or a number is zero; the text says which.
    pub fn stages(&self) -> Result<usize, String> {
        if !self.size.is_power_of_two() || !(8..=512).contains(&self.size) {
            return Err(format!("size {}: expected a power of two from 8 to 512", self.size));
        }
        for (name, value, most) in
            [("channels", self.channels, 4), ("noise", self.noise, 4096), ("width", self.width, 512)]
        {
            if !(1..=most).contains(&value) {
                return Err(format!("{name} {value}: expected 1 to {most}"));
            }
        }
        if self.classes == 0 && self.head != Head::None {
            return Err("a head for classes, but no classes".to_string());
        }
        Ok((self.size / 4).ilog2() as usize)
    }

    /// Channels after so many halvings; 0 is the picture.
    fn channels_at(&self, level: usize) -> usize {
        if level == 0 { self.channels } else { self.width << (level - 1) }
    }
}

/// Noise to picture.
#[derive(Module, Debug)]
pub struct Generator {
    /// From `[b, noise + classes, 1, 1]` to 4x4, then 4x4 kernels of stride 2.
    pub ups: Vec<ConvTranspose2d>,
    /// After all but the last.
    pub norms: Vec<BatchNorm>,
    /// How many of the first layer's inputs are noise; the others are the class.
    #[module(skip)]
    noise: usize,
}

impl Generator {
    /// # Errors
    /// As [`DcganConfig::stages`].
    pub fn new(config: &DcganConfig, init: &mut Init) -> Result<Self, String> {
        let stages = config.stages()?;
        let mut layer = |inputs, outputs, stride, padding| {
            let layer = ConvTranspose2d::new(inputs, outputs, 4, stride, padding, 1.0, &mut *init).without_bias();
            let shape = layer.weight.dims();
            ConvTranspose2d { weight: init.normal(shape, STD), ..layer }
        };
        let mut ups = vec![layer(config.noise + config.classes, config.channels_at(stages), 1, 0)];
        for level in (1..=stages).rev() {
            ups.push(layer(config.channels_at(level), config.channels_at(level - 1), 2, 1));
        }
        let norms = (1..=stages).rev().map(|level| BatchNorm::new(config.channels_at(level), STD, init)).collect();
        Ok(Self { ups, norms, noise: config.noise })
    }

    /// The weights between the noise and what stands at 4x4 before its norm, `[16 · channels, noise]`.
    pub fn first_layer(&self) -> Tensor<2> {
        let weight = self.ups[0].weight.val(); // [noise + classes, c, 4, 4]
        weight.narrow(0, 0, self.noise).flatten(1, 3).transpose()
    }

    /// # Shapes
    /// noise: `[b, noise]`, class: one-hot `[b, classes]`, returns `[b, channels, size, size]` in [-1, 1].
    pub fn forward(&self, noise: Tensor<2>, class: Option<Tensor<2>>, mode: &mut NormMode) -> Tensor<4> {
        let input = Tensor::cat(std::iter::once(noise).chain(class).collect(), 1);
        let [b, n] = input.dims();
        let mut x = input.reshape([b, n, 1, 1]);
        for (up, norm) in self.ups.iter().zip(&self.norms) {
            x = norm.forward_leaky(up.forward(x), 0.0, mode);
        }
        ops::tanh(self.ups.iter().skip(self.norms.len()).fold(x, |x, last| last.forward(x)))
    }

    /// Moves the running statistics towards those of a training batch.
    #[must_use]
    pub fn with_running(mut self, seen: &[BatchStats], momentum: f64) -> Self {
        self.norms = self.norms.into_iter().zip(seen).map(|(norm, seen)| norm.with_running(seen, momentum)).collect();
        self
    }
}

/// Picture to realness.
#[derive(Module, Debug)]
pub struct Discriminator {
    /// 4x4 kernels of stride 2, then 4x4 to one logit.
    pub downs: Vec<SpectralConv2d>,
    /// Batch norms after all but the first and the last, or none.
    pub norms: Vec<BatchNorm>,
    /// Class to the direction that the summed features are projected on.
    pub project: Option<Linear>,
    /// Summed features to class logits.
    pub classify: Option<Linear>,
}

impl Discriminator {
    /// # Errors
    /// As [`DcganConfig::stages`].
    pub fn new(config: &DcganConfig, init: &mut Init) -> Result<Self, String> {
        let stages = config.stages()?;
        let mut layer = |inputs, outputs, stride, padding| {
            let layer = Conv2d::new(inputs, outputs, 4, stride, padding, 1.0, &mut *init);
            let shape = layer.weight.dims();
            let layer = Conv2d { weight: init.normal(shape, STD), ..layer };
            let layer = if config.norm == Norm::Batch { layer.without_bias() } else { layer };
            SpectralConv2d::new(layer, config.norm == Norm::Spectral, &mut *init)
        };
        let mut downs: Vec<_> =
            (1..=stages).map(|level| layer(config.channels_at(level - 1), config.channels_at(level), 2, 1)).collect();
        let last = config.channels_at(stages);
        downs.push(layer(last, 1, 1, 0));
        let normed = if config.norm == Norm::Batch { 2..stages + 1 } else { 0..0 };
        let norms = normed.map(|level| BatchNorm::new(config.channels_at(level), STD, init)).collect();
        let project = (config.head == Head::Projection).then(|| Linear::without_bias(config.classes, last, 0.1, init));
        let classify = (config.head == Head::Auxiliary).then(|| Linear::new(last, config.classes, 0.5, init));
        Ok(Self { downs, norms, project, classify })
    }

    /// # Shapes
    /// x: `[b, channels, size, size]`, class: one-hot `[b, classes]`.
    pub fn forward(&self, x: Tensor<4>, class: Option<Tensor<2>>, mode: &mut NormMode) -> Answer {
        let [b, _, _, _] = x.dims();
        let last = self.downs.len() - 1;
        let mut x = x;
        for (i, down) in self.downs.iter().take(last).enumerate() {
            x = match i.checked_sub(1).and_then(|i| self.norms.get(i)) {
                Some(norm) => norm.forward_leaky(down.forward_leaky(x, 1.0), SLOPE, mode),
                None => down.forward_leaky(x, SLOPE),
            };
        }
        let logit = ops::to_f32(self.downs[last].forward_leaky(x.clone(), 1.0).reshape([b]));
        let features = summed(x); // [b, c]
        let logit = match (&self.project, class) {
            (Some(project), Some(class)) => logit + (project.forward(class) * features.clone()).sum_dim(1).reshape([b]),
            _ => logit,
        };
        let classes = self.classify.as_ref().map(|classify| classify.forward(features.clone()));
        Answer { logit, features, classes }
    }

    /// The logit and its derivative along `dx`, `[b]` each. Batch norm uses the batch's own statistics.
    pub fn forward_tangent(&self, x: Tensor<4>, dx: Tensor<4>, class: Option<Tensor<2>>) -> (Tensor<1>, Tensor<1>) {
        let [b, _, _, _] = x.dims();
        let last = self.downs.len() - 1;
        let (mut x, mut dx) = (x, dx);
        for (i, down) in self.downs.iter().take(last).enumerate() {
            (x, dx) = match i.checked_sub(1).and_then(|i| self.norms.get(i)) {
                Some(norm) => {
                    let (x, dx) = down.forward_tangent(x, dx, 1.0);
                    norm.forward_tangent(x, dx, SLOPE)
                }
                None => down.forward_tangent(x, dx, SLOPE),
            };
        }
        let (y, dy) = self.downs[last].forward_tangent(x.clone(), dx.clone(), 1.0);
        let (y, dy) = (ops::to_f32(y.reshape([b])), ops::to_f32(dy.reshape([b])));
        match (&self.project, class) {
            (Some(project), Some(class)) => {
                let direction = project.forward(class); // [b, c]
                let on = |x| (direction.clone() * summed(x)).sum_dim(1).reshape([b]);
                (y + on(x), dy + on(dx))
            }
            _ => (y, dy),
        }
    }

    /// One step of power iteration, where the norm is spectral.
    #[must_use]
    pub fn refreshed(mut self) -> Self {
        self.downs = self.downs.into_iter().map(SpectralConv2d::refreshed).collect();
        self
    }

    /// Moves the running statistics towards those of a training batch.
    #[must_use]
    pub fn with_running(mut self, seen: &[BatchStats], momentum: f64) -> Self {
        self.norms = self.norms.into_iter().zip(seen).map(|(norm, seen)| norm.with_running(seen, momentum)).collect();
        self
    }
}

/// Sum over the pixels, in f32: `[b, c, h, w]` to `[b, c]`.
fn summed(x: Tensor<4>) -> Tensor<2> {
    let [b, c, h, w] = x.dims();
    ops::to_f32(x).reshape([b, c, h * w]).sum_dim(2).reshape([b, c])
}
