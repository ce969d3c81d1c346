//! DCGAN (Radford, Metz & Chintala, 1511.06434): the convolutional GAN that others are measured against.
//!
//! - G: noise to 4x4, then transposed convolutions that double the size and halve the channels, each with batch norm and
//!   ReLU; tanh at the end.
//! - D: its mirror image, strided convolutions with batch norm and LeakyReLU 0.2; no norm in the first and last layer.
//! - Weights from N(0, 0.02²), scales of norms from N(1, 0.02²).
//! - Trained with the non-saturating loss, Adam at 2e-4 with beta1 0.5, and separate batches of real and generated
//!   pictures for D's norms.

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use shenbi_nn::{BatchNorm, BatchStats, Conv2d, ConvTranspose2d, Init, NormMode, ops};

const SLOPE: f64 = 0.2;
const STD: f32 = 0.02;

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
}

impl Default for DcganConfig {
    fn default() -> Self {
        Self { size: 64, channels: 3, noise: 100, width: 64 }
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
    /// From `[b, noise, 1, 1]` to 4x4, then 4x4 kernels of stride 2.
    pub ups: Vec<ConvTranspose2d>,
    /// After all but the last.
    pub norms: Vec<BatchNorm>,
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
        let mut ups = vec![layer(config.noise, config.channels_at(stages), 1, 0)];
        for level in (1..=stages).rev() {
            ups.push(layer(config.channels_at(level), config.channels_at(level - 1), 2, 1));
        }
        let norms = (1..=stages).rev().map(|level| BatchNorm::new(config.channels_at(level), STD, init)).collect();
        Ok(Self { ups, norms })
    }

    /// # Shapes
    /// noise: `[b, noise]`, returns `[b, channels, size, size]` in [-1, 1].
    pub fn forward(&self, noise: Tensor<2>, mode: &mut NormMode) -> Tensor<4> {
        let [b, n] = noise.dims();
        let mut x = noise.reshape([b, n, 1, 1]);
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
    pub downs: Vec<Conv2d>,
    /// After all but the first and the last.
    pub norms: Vec<BatchNorm>,
}

impl Discriminator {
    /// # Errors
    /// As [`DcganConfig::stages`].
    pub fn new(config: &DcganConfig, init: &mut Init) -> Result<Self, String> {
        let stages = config.stages()?;
        let mut layer = |inputs, outputs, stride, padding| {
            let layer = Conv2d::new(inputs, outputs, 4, stride, padding, 1.0, &mut *init).without_bias();
            let shape = layer.weight.dims();
            Conv2d { weight: init.normal(shape, STD), ..layer }
        };
        let mut downs: Vec<_> =
            (1..=stages).map(|level| layer(config.channels_at(level - 1), config.channels_at(level), 2, 1)).collect();
        downs.push(layer(config.channels_at(stages), 1, 1, 0));
        let norms = (2..=stages).map(|level| BatchNorm::new(config.channels_at(level), STD, init)).collect();
        Ok(Self { downs, norms })
    }

    /// # Shapes
    /// x: `[b, channels, size, size]`, returns `[b]`, f32.
    pub fn forward(&self, x: Tensor<4>, mode: &mut NormMode) -> Tensor<1> {
        let [b, _, _, _] = x.dims();
        let mut x = x;
        for (i, down) in self.downs.iter().enumerate() {
            x = match i.checked_sub(1).map(|i| self.norms.get(i)) {
                None => down.forward_leaky(x, SLOPE),
                Some(Some(norm)) => norm.forward_leaky(down.forward(x), SLOPE, mode),
                Some(None) => down.forward(x),
            };
        }
        ops::to_f32(x.reshape([b]))
    }

    /// Moves the running statistics towards those of a training batch.
    #[must_use]
    pub fn with_running(mut self, seen: &[BatchStats], momentum: f64) -> Self {
        self.norms = self.norms.into_iter().zip(seen).map(|(norm, seen)| norm.with_running(seen, momentum)).collect();
        self
    }
}
