//! Projected GAN (Sauer, Chitta, Müller & Geiger, "Projected GANs Converge Faster", NeurIPS 2021,
//! <https://arxiv.org/abs/2111.01007>): a discriminator that looks through the eyes of a network that others trained.
//!
//! - A frozen backbone P sees a picture at four sizes ([`Backbone::stages`]), from fine to coarse: x₁ .. x₄.
//! - *Cross-channel mixing*: zₗ = Cₗ xₗ with a fixed random 1x1 convolution, which spreads what only few channels tell.
//! - *Cross-scale mixing*, from coarse to fine: y₄ = z₄, yₗ = (zₗ + up(Sₗ yₗ₊₁)) / √2 with a fixed random 3x3
//!   convolution and bilinear upsampling, so that each size knows what the coarser ones saw.
//! - A small discriminator Dₗ for each yₗ: 4x4 convolutions of stride 2 with batch norm and LeakyReLU 0.2, which double the
//!   channels, down to the coarsest size; then 4x4 without padding to a few logits. All are spectrally normalised
//!   (1802.05957).
//! - Trained with the hinge loss, summed over the Dₗ (eq. 4), Adam at 2e-4 with betas 0 and 0.99, and DiffAugment before P.
//!   No gradient penalty: D's features do not learn.
//!
//! By class, each Dₗ adds ⟨embedding of the class, mean of its last features⟩ to its logits (1802.05637).
//!
//! Real and generated pictures are normalised apart, each batch by its own statistics.
//!
//! Deviations: each Cₗ is scaled to make zₗ of size one on random smooth pictures, and Sₗ keeps it, as backbones differ in
//! scale. The upsampling has zeros outside. The logits of all heads count alike in one mean, which is the paper's sum up to a factor, as all have the
//! same number. Pictures are brought to the backbone's size by (antialiased) bilinear interpolation; of RGBA it sees every
//! other picture of a batch on black and on white, so that alpha tells.
//!
//! The backbone is no part of what is saved: its file is. The random mixings are saved with the heads.

use std::f64::consts::FRAC_1_SQRT_2;

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use shenbi_nn::ops::{self, Filter, Stride};
use shenbi_nn::pool::mean_of_pixels;
use shenbi_nn::spectral::SpectralConv2d;
use shenbi_nn::weights::values;
use shenbi_nn::{BatchNorm, Conv2d, Init, Linear, NormMode};

use super::Answer;
use crate::backbone::stages::Backbone;
use crate::backbone::view::{resized, rgb};

const SLOPE: f64 = 0.2;
/// Smooth random pictures on which the mixings are scaled, and their cells on a side.
const TRIED: usize = 8;
const CELLS: usize = 8;

/// Shapes of the discriminator.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ProjectedConfig {
    /// Number of classes; 0 for none.
    pub classes: usize,
    /// Channels of y₁; each coarser size has twice as many.
    pub width: usize,
    /// Height and width of the pictures that the backbone sees, about: see [`Backbone::side`].
    pub side: usize,
}

/// A discriminator of one size.
#[derive(Module, Debug)]
pub struct Head {
    /// 4x4 kernels of stride 2; none for the coarsest size.
    pub downs: Vec<SpectralConv2d>,
    /// After each of them.
    pub norms: Vec<BatchNorm>,
    /// 4x4 to the logits.
    pub last: SpectralConv2d,
    /// Class to the direction that the mean features are projected on.
    pub project: Option<Linear>,
}

impl Head {
    fn new(width: usize, downs: usize, classes: usize, init: &mut Init) -> Self {
        let mut layer = |inputs, outputs, stride, padding| {
            let layer = Conv2d::new(inputs, outputs, 4, stride, padding, 1.0, &mut *init).without_bias();
            SpectralConv2d::new(layer, true, &mut *init)
        };
        let deepest = width << downs;
        let convolutions = (0..downs).map(|i| layer(width << i, width << (i + 1), 2, 1)).collect();
        let last = layer(deepest, 1, 1, 0);
        let norms = (0..downs).map(|i| BatchNorm::new(width << (i + 1), 0.02, init)).collect();
        let project = (classes > 0).then(|| Linear::without_bias(classes, deepest, 0.1, init));
        Self { downs: convolutions, norms, last, project }
    }

    /// `[b, c, h, w]` to logits, `[b, n]`, and the means of the last features, `[b, 8 width]`.
    fn look(&self, y: Tensor<4>) -> (Tensor<2>, Tensor<2>) {
        // Nothing looks through a head after training: the batch's own statistics always.
        let mode = &mut NormMode::Train(&mut Vec::new());
        let y = (self.downs.iter().zip(&self.norms))
            .fold(y, |y, (down, norm)| norm.forward_leaky(down.forward_leaky(y, 1.0), SLOPE, mode));
        (ops::to_f32(self.last.forward_leaky(y.clone(), 1.0)).flatten::<2>(1, 3), mean_of_pixels(y))
    }

    /// The logits by class.
    fn forward(&self, y: Tensor<4>, class: Option<Tensor<2>>) -> Tensor<2> {
        let (logits, means) = self.look(y);
        match (&self.project, class) {
            (Some(project), Some(class)) => logits + (project.forward(class) * means).sum_dim(1),
            _ => logits,
        }
    }

    fn refreshed(self) -> Self {
        let downs = self.downs.into_iter().map(SpectralConv2d::refreshed).collect();
        Self { downs, last: self.last.refreshed(), ..self }
    }
}

/// Picture to realness.
#[derive(Module, Debug)]
pub struct Discriminator {
    /// Cₗ, fixed.
    pub channels: Vec<Conv2d>,
    /// Sₗ but for the coarsest size, fixed.
    pub scales: Vec<Conv2d>,
    /// Dₗ
    pub heads: Vec<Head>,
    /// P
    #[module(skip)]
    backbone: Backbone,
    /// Of the pictures it sees.
    #[module(skip)]
    side: usize,
}

impl Discriminator {
    /// # Errors
    /// A number is out of range; the text names it.
    pub fn new(config: &ProjectedConfig, backbone: Backbone, init: &mut Init) -> Result<Self, String> {
        let ProjectedConfig { classes, width, side } = *config;
        for (name, value, least, most) in [("width", width, 1, 256), ("side", side, 32, 512)] {
            if !(least..=most).contains(&value) {
                return Err(format!("{name} {value}: expected {least} to {most}"));
            }
        }
        let side = backbone.side(side);
        let tried = init.normal([TRIED, 3, CELLS, CELLS], 0.5).val().clamp(-1.0, 1.0);
        let seen = backbone.stages(resized(tried, side));
        let widths: Vec<usize> = (0..seen.len()).map(|level| width << level).collect();
        let mut fixed = |inputs: usize, outputs: usize, kernel: usize, gain: f32| {
            let layer = Conv2d::new(inputs, outputs, kernel, 1, kernel / 2, gain, &mut *init).without_bias();
            Conv2d { weight: layer.weight.set_require_grad(false), ..layer }
        };
        // He's weights double the power, for a ReLU that halves it; here none follows.
        let gain = FRAC_1_SQRT_2 as f32;
        let scaled = seen.into_iter().zip(&widths).map(|(x, width)| {
            let [_, inputs, _, _] = x.dims();
            fixed(inputs, *width, 1, gain / root_mean_square(x).max(1e-6))
        });
        let channels = scaled.collect();
        let scales = widths.windows(2).map(|pair| fixed(pair[1], pair[0], 3, gain)).collect();
        let levels = widths.len();
        let heads =
            widths.into_iter().enumerate().map(|(i, width)| Head::new(width, levels - 1 - i, classes, init)).collect();
        Ok(Self { channels, scales, heads, backbone, side })
    }

    /// The mixed features, from fine to coarse.
    fn mixed(&self, x: Tensor<4>) -> Vec<Tensor<4>> {
        let seen = self.backbone.stages(resized(rgb(x), self.side));
        let mut coarser: Option<Tensor<4>> = None;
        let mut mixed = Vec::with_capacity(seen.len());
        for (level, x) in seen.into_iter().enumerate().rev() {
            let z = apply(&self.channels[level], x);
            let y = match coarser {
                Some(coarser) => {
                    let up = ops::upsample(apply(&self.scales[level], coarser), Filter::Binomial);
                    times(ops::add(z, up), FRAC_1_SQRT_2)
                }
                None => z,
            };
            coarser = Some(y.clone());
            mixed.push(y);
        }
        mixed.reverse();
        mixed
    }

    /// # Shapes
    /// x: `[b, channels, h, w]` in [-1, 1], class: one-hot, `[b, classes]`. Logits: `[b · n]`, all n of a picture after
    /// each other; features: the means of all yₗ, `[b, 15 width]`.
    pub fn forward(&self, x: Tensor<4>, class: Option<Tensor<2>>) -> Answer {
        let mixed = self.mixed(x);
        let features = Tensor::cat(mixed.iter().map(|y| mean_of_pixels(y.clone())).collect(), 1);
        let logits = self.heads.iter().zip(mixed).map(|(head, y)| head.forward(y, class.clone()));
        let logit = Tensor::cat(logits.collect(), 1).flatten(0, 1);
        Answer { logit, features, classes: None }
    }

    /// What the heads say of a picture without its class, and what they saw: logits `[b, n]`, and the means of their last
    /// features, `[b, `[`Self::seen`]`]`. Of pictures of one kind, real or generated.
    pub fn look(&self, x: Tensor<4>) -> (Tensor<2>, Tensor<2>) {
        let (logits, means) = self.heads.iter().zip(self.mixed(x)).map(|(head, y)| head.look(y)).unzip();
        (Tensor::cat(logits, 1), Tensor::cat(means, 1))
    }

    /// Numbers that the heads see of a picture, all together.
    pub fn seen(&self) -> usize {
        self.heads.iter().map(|head| head.last.layer.weight.dims()[1]).sum()
    }

    /// One step of power iteration.
    #[must_use]
    pub fn refreshed(self) -> Self {
        Self { heads: self.heads.into_iter().map(Head::refreshed).collect(), ..self }
    }
}

/// A fixed convolution: no gradient for its weight.
fn apply(layer: &Conv2d, x: Tensor<4>) -> Tensor<4> {
    let geometry = Stride { stride: layer.stride, padding: layer.padding, groups: 1 };
    ops::conv2d(x, layer.weight.val().without_autodiff(), None, geometry, 1.0)
}

/// x times a number, as it lies.
fn times(x: Tensor<4>, factor: f64) -> Tensor<4> {
    x.permute([0, 2, 3, 1]).mul_scalar(factor).permute([0, 3, 1, 2])
}

fn root_mean_square(x: Tensor<4>) -> f32 {
    values(ops::to_f32(x).powi_scalar(2).mean().sqrt()).data.first().copied().unwrap_or(1.0)
}
