//! `brush`: our text-to-image GAN, made for quality per minute on small machines.
//!
//! - The generator is a DCGAN (1511.06434) whose batch norms take scale and shift from noise and sentence together
//!   (conditional batch norm, 1707.00683): strided transposed convolutions learn more pictures a second on a CPU than
//!   convolutions at full resolution.
//! - The discriminator is strided convolutions without normalisation, so that gradient penalties are per picture. It
//!   answers twice: a realness logit with a projection of the sentence (1802.05637), and a picture embedding to be
//!   compared with sentence embeddings (contrastive head, 2101.04702).
//! - It is trained with the relativistic pairing loss and R1 + R2 (R3GAN, 2501.05441), a matching-aware term on
//!   mismatched captions (1605.05396) and symmetric InfoNCE (CLIP, 2103.00020): see `shenbi-train`.
//! - Where there is a network that others trained, the discriminator can look through it in place of its own convolutions
//!   (Projected GAN, 2111.01007; [`projected`]): what the heads saw last are the features that sentences meet, and each
//!   head's logit counts.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};
use serde::{Deserialize, Serialize};

use crate::backbone::stages::Backbone;
use crate::image::projected::{self, ProjectedConfig};
use shenbi_nn::{BatchStats, ConditionalBatchNorm, Conv2d, ConvTranspose2d, Init, Linear, NormMode, ops};

const SLOPE: f64 = 0.2;

/// Shapes of the two networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct BrushConfig {
    /// Height and width of a picture.
    pub size: [usize; 2],
    /// 1 (grey), 3 (RGB) or 4 (RGBA, premultiplied).
    pub channels: usize,
    /// Numbers of noise.
    pub noise: usize,
    /// Numbers in a sentence embedding.
    pub sentence: usize,
    /// Channels of the generator's last hidden layer; they double with each halving of the resolution, up to 8 times.
    pub generator_width: usize,
    /// Channels at full resolution, from which a last 3x3 convolution makes the picture.
    pub refine_width: usize,
    /// The same for the discriminator's first layer.
    pub discriminator_width: usize,
    /// Features from which the discriminator answers.
    pub features: usize,
}

/// Why a config makes no network.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct SizeError(String);

impl BrushConfig {
    /// Number of halvings from the picture to the smallest grid, whose shorter side is 4 to 7.
    ///
    /// # Errors
    /// A side is below 8 or no multiple of two to that number.
    pub fn stages(&self) -> Result<usize, SizeError> {
        let [height, width] = self.size;
        let refuse = |reason| Err(SizeError(format!("size {height}x{width} does not fit: {reason}")));
        let short = height.min(width);
        if short < 8 {
            return refuse("each side must be at least 8");
        }
        if height.max(width) > 512 {
            return refuse("each side must be at most 512");
        }
        let stages = (short / 4).ilog2() as usize;
        if !height.is_multiple_of(1 << stages) || !width.is_multiple_of(1 << stages) {
            return refuse(
                "both sides must divide by the power of two that brings the shorter one to 4..7 (32, 48, 64, 96, 128, ...)",
            );
        }
        Ok(stages)
    }

    /// Whether networks of these shapes can be made.
    ///
    /// # Errors
    /// A number is out of range; the error names it.
    pub fn check(&self) -> Result<(), SizeError> {
        let ranges = [
            ("channels", self.channels, 1..=4),
            ("noise", self.noise, 1..=1024),
            ("sentence", self.sentence, 1..=4096),
            ("generator_width", self.generator_width, 1..=512),
            ("discriminator_width", self.discriminator_width, 1..=512),
            ("features", self.features, 1..=4096),
            ("refine_width", self.refine_width, 1..=512),
        ];
        for (name, value, range) in ranges {
            if !range.contains(&value) {
                return Err(SizeError(format!("{name} {value}: expected {} to {}", range.start(), range.end())));
            }
        }
        self.stages().map(drop)
    }

    /// Weights and buffers of the generator.
    ///
    /// # Errors
    /// The size does not fit.
    pub fn parameters(&self) -> Result<usize, SizeError> {
        let stages = self.stages()?;
        let [h, w] = self.grid(stages);
        let cond = self.noise + self.sentence;
        let width = |level| if level == 0 { self.refine_width } else { channels(self.generator_width, level) };
        let start = (cond + 1) * width(stages) * h * w;
        let refine = (9 * self.refine_width + 1) * self.channels;
        let stage = |level| {
            let (this, next) = (width(level), width(level - 1));
            2 * this * (cond + 1) + 2 * this + 16 * this * next + next
        };
        Ok(start + refine + (1..=stages).map(stage).sum::<usize>())
    }

    /// The smallest grid, `[h, w]`.
    fn grid(&self, stages: usize) -> [usize; 2] {
        self.size.map(|side| side >> stages)
    }
}

/// Channels at `level` halvings from the picture (1 is the largest grid).
fn channels(width: usize, level: usize) -> usize {
    width << (level - 1).min(3)
}

/// Noise and sentence to picture.
#[derive(Module, Debug)]
pub struct Generator {
    /// `[noise + sentence]` to the smallest grid.
    pub start: Linear,
    /// One a stage, before its transposed convolution.
    pub norms: Vec<ConditionalBatchNorm>,
    /// 4x4, stride 2.
    pub ups: Vec<ConvTranspose2d>,
    /// 3x3 at full resolution, to the picture.
    pub refine: Conv2d,
    #[module(skip)]
    grid: [usize; 2],
}

impl Generator {
    /// # Errors
    /// The size does not fit.
    pub fn new(config: &BrushConfig, init: &mut Init) -> Result<Self, SizeError> {
        let stages = config.stages()?;
        let grid = config.grid(stages);
        let cond = config.noise + config.sentence;
        let width = |level| if level == 0 { config.refine_width } else { channels(config.generator_width, level) };
        let start = Linear::new(cond, width(stages) * grid[0] * grid[1], 0.7, init);
        let norms = (1..=stages).rev().map(|level| ConditionalBatchNorm::new(width(level), cond, init)).collect();
        let ups = (1..=stages)
            .rev()
            .map(|level| ConvTranspose2d::new(width(level), width(level - 1), 4, 2, 1, 0.7, init))
            .collect();
        let refine = Conv2d::new(config.refine_width, config.channels, 3, 1, 1, 0.7, init);
        Ok(Self { start, norms, ups, refine, grid })
    }

    /// # Shapes
    /// noise: `[b, noise]`, sentence: `[b, sentence]`, returns `[b, channels, h, w]` in [-1, 1].
    pub fn forward(&self, noise: Tensor<2>, sentence: Tensor<2>, mode: &mut NormMode) -> Tensor<4> {
        let cond = Tensor::cat(vec![noise, ops::normalize(sentence).mul_scalar(8.0)], 1); // [b, noise + sentence]
        let [b, _] = cond.dims();
        let [h, w] = self.grid;
        let x = self.start.forward(cond.clone());
        let [_, n] = x.dims();
        let mut x = x.reshape([b, n / (h * w), h, w]);
        for (i, (norm, up)) in self.norms.iter().zip(&self.ups).enumerate() {
            let last = i + 1 == self.ups.len();
            x = up.forward_leaky(norm.forward_relu(x, cond.clone(), mode), if last { SLOPE } else { 1.0 });
        }
        ops::tanh(self.refine.forward(x))
    }

    /// Moves the running statistics towards those of a training batch.
    #[must_use]
    pub fn with_running(mut self, seen: &[BatchStats], momentum: f64) -> Self {
        self.norms = self.norms.into_iter().zip(seen).map(|(norm, seen)| norm.with_running(seen, momentum)).collect();
        self
    }
}

/// What the discriminator saw in pictures, before it hears a sentence.
#[derive(Clone, Debug)]
pub struct Seen {
    /// `[b, features]`
    pub features: Tensor<2>,
    /// On a backbone: the logit of each head, `[b, heads]`.
    pub logits: Option<Tensor<2>>,
}

impl Seen {
    /// Of so many pictures from one on.
    #[must_use]
    pub fn narrow(&self, start: usize, n: usize) -> Self {
        let part = |x: &Tensor<2>| x.clone().narrow(0, start, n);
        Self { features: part(&self.features), logits: self.logits.as_ref().map(part) }
    }

    /// Of chosen pictures, `[m]`.
    #[must_use]
    pub fn select(&self, pictures: &Tensor<1, Int>) -> Self {
        let part = |x: &Tensor<2>| x.clone().select(0, pictures.clone());
        Self { features: part(&self.features), logits: self.logits.as_ref().map(part) }
    }
}

/// Picture and sentence to realness and embedding.
#[derive(Module, Debug)]
pub struct Discriminator {
    /// 4x4, stride 2; none on a backbone.
    pub downs: Vec<Conv2d>,
    /// Heads on a backbone, if there is one.
    pub projected: Option<projected::Discriminator>,
    /// The smallest grid, or what the heads saw, to features.
    pub features: Linear,
    /// Features to the unconditional logit; on a backbone the heads have their own.
    pub real: Option<Linear>,
    /// Sentence to the direction that features are projected on.
    pub project: Linear,
    /// Features to the contrastive embedding.
    pub embed: Linear,
    /// Logarithm of the contrastive head's inverse temperature, `[1]`.
    pub log_scale: Param<Tensor<1>>,
}

impl Discriminator {
    /// # Errors
    /// The size does not fit.
    pub fn new(config: &BrushConfig, init: &mut Init) -> Result<Self, SizeError> {
        let stages = config.stages()?;
        let [h, w] = config.grid(stages);
        let width = |level| if level == 0 { config.channels } else { channels(config.discriminator_width, level) };
        let downs = (1..=stages).map(|level| Conv2d::new(width(level - 1), width(level), 4, 2, 1, 1.0, init)).collect();
        Ok(Self {
            downs,
            projected: None,
            features: Linear::new(width(stages) * h * w, config.features, 1.0, init),
            real: Some(Linear::new(config.features, 1, 0.5, init)),
            project: Linear::without_bias(config.sentence, config.features, 0.5, init),
            embed: Linear::without_bias(config.features, config.sentence, 0.7, init),
            log_scale: init.constant([1], 10f32.ln()),
        })
    }

    /// One that looks through a backbone. heads: without classes.
    ///
    /// # Errors
    /// As [`projected::Discriminator::new`].
    pub fn on_backbone(
        config: &BrushConfig,
        heads: &ProjectedConfig,
        backbone: Backbone,
        init: &mut Init,
    ) -> Result<Self, SizeError> {
        let heads = projected::Discriminator::new(heads, backbone, init).map_err(SizeError)?;
        Ok(Self {
            downs: Vec::new(),
            features: Linear::new(heads.seen(), config.features, 1.0, init),
            projected: Some(heads),
            real: None,
            project: Linear::without_bias(config.sentence, config.features, 0.5, init),
            embed: Linear::without_bias(config.features, config.sentence, 0.7, init),
            log_scale: init.constant([1], 10f32.ln()),
        })
    }

    /// One step of power iteration of the heads on a backbone: before each training step.
    #[must_use]
    pub fn refreshed(self) -> Self {
        Self { projected: self.projected.map(projected::Discriminator::refreshed), ..self }
    }

    /// The contrastive head's inverse temperature, `[1]`.
    pub fn scale(&self) -> Tensor<1> {
        self.log_scale.val().exp()
    }

    /// The same with the inverse temperature held at or below e^`most`: bounded here and not in the loss, whose gradient
    /// would then be lost for good (CLIP, 2103.00020, section 2.5).
    #[must_use]
    pub fn bounded(mut self, most: f64) -> Self {
        self.log_scale = self.log_scale.map(|value| {
            let tracked = value.is_require_grad();
            let bounded = value.without_autodiff().clamp_max(most);
            if tracked { bounded.autodiff().require_grad() } else { bounded }
        });
        self
    }

    /// What is to be seen in a picture. x: `[b, channels, h, w]`.
    pub fn trunk(&self, x: Tensor<4>) -> Seen {
        let (flat, logits) = match &self.projected {
            None => (self.downs.iter().fold(x, |x, down| down.forward_leaky(x, SLOPE)).flatten(1, 3), None),
            Some(heads) => {
                let (logits, means) = heads.look(x);
                // Spectral norm makes them small: back to the size of one.
                let numbers = means.dims()[1] as f64;
                (ops::normalize(means).mul_scalar(numbers.sqrt()), Some(logits))
            }
        };
        Seen { features: ops::leaky_relu(self.features.forward(flat), SLOPE), logits }
    }

    /// Realness under a sentence; only differences matter under the relativistic loss. sentence: `[b, sentence]`, returns
    /// `[b, 1]`; on a backbone `[b, heads]`.
    pub fn logit(&self, seen: &Seen, sentence: Tensor<2>) -> Tensor<2> {
        let n = seen.features.dims()[1] as f64;
        let direction = self.project.forward(ops::normalize(sentence));
        let matched = (seen.features.clone() * direction).sum_dim(1).mul_scalar(n.powf(-0.5)); // [b, 1]
        match (&seen.logits, &self.real) {
            (Some(logits), _) => logits.clone() + matched,
            (None, Some(real)) => real.forward(seen.features.clone()) + matched,
            (None, None) => matched,
        }
    }

    /// The unit embedding of the contrastive head, to compare with unit sentences, `[b, sentence]`.
    pub fn embedding(&self, seen: &Seen) -> Tensor<2> {
        ops::normalize(self.embed.forward(seen.features.clone()))
    }

    /// The logit and its derivative along `dx`: `[b]` each.
    ///
    /// # Panics
    /// It looks through a backbone, whose features do not learn: no penalty is needed there.
    pub fn forward_tangent(&self, x: Tensor<4>, dx: Tensor<4>, sentence: Tensor<2>) -> (Tensor<1>, Tensor<1>) {
        let Some(real) = &self.real else { panic!("a discriminator on a backbone has no tangent pass") };
        let (mut x, mut dx) = (x, dx);
        for down in &self.downs {
            (x, dx) = down.forward_tangent(x, dx, SLOPE);
        }
        let (x, dx) = self.features.forward_tangent(x.flatten(1, 3), dx.flatten::<2>(1, 3));
        let x = ops::leaky_relu(x, SLOPE);
        let dx = ops::leaky_relu_tangent(x.clone(), dx, SLOPE);
        let [b, n] = x.dims();
        let direction = self.project.forward(ops::normalize(sentence)).mul_scalar((n as f64).powf(-0.5));
        let (real, dreal) = real.forward_tangent(x.clone(), dx.clone());
        let logit = real + (x * direction.clone()).sum_dim(1);
        let dlogit = dreal + (dx * direction).sum_dim(1);
        (logit.reshape([b]), dlogit.reshape([b]))
    }
}
