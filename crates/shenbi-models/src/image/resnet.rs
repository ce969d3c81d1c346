//! The residual networks of SNGAN (Miyato, Kataoka, Koyama & Yoshida, 1802.05957, appendix B.4; after those of WGAN-GP,
//! 1704.00028), the backbone that the GANs of pictures share: they differ in loss, norm and class head.
//!
//! - G: noise to 4x4, then blocks that double the size: batch norm, ReLU, nearest neighbour, 3x3, batch norm, ReLU, 3x3,
//!   beside a 1x1 convolution; then batch norm, ReLU, 3x3, tanh. With classes each has its own scales and shifts
//!   (conditional batch norm, 1707.00683, as in 1802.05637).
//! - D: blocks that halve the size: ReLU, 3x3, ReLU, 3x3, average pooling, beside a 1x1 convolution; the first without
//!   the first ReLU; then blocks that keep the size beside the identity; then ReLU, the sum over all pixels (the features
//!   φ) and a linear layer. Spectral normalisation of every layer, if asked for.
//! - D and classes: the logit ψ(φ) + ⟨e(class), φ⟩ (projection, 1802.05637, section 3), or logits of classes beside the one of
//!   realness (auxiliary, AC-GAN, 1610.09585).
//!
//! Up to 32x32 every block has `width` channels in D and twice that in G, and D ends in two blocks at 8x8: the table of
//! CIFAR-10 with 128. From 64x64 on the channels are `width` next to the picture and double with each halving, and D ends
//! in one block at 4x4: the table of ImageNet with 64.
//!
//! Where this deviates, the functions are the same ones: 1x1 convolutions change places with nearest neighbour and
//! pooling, which is cheaper, and G's convolutions have no biases, as each is followed by a norm that takes them away.
//! Weights come from a normal distribution of Glorot's variance, not a uniform one.

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use shenbi_nn::ops::{self, Filter};
use shenbi_nn::spectral::{SpectralConv2d, SpectralLinear};
use shenbi_nn::{BatchNorm, BatchStats, ConditionalBatchNorm, Conv2d, Init, Linear, NormMode};

use super::{Answer, Head};

/// Shapes of the two networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct ResnetConfig {
    /// Height and width of a picture: 16, 32, 64 or 128.
    pub size: usize,
    /// 1 (grey), 3 (RGB) or 4 (RGBA).
    pub channels: usize,
    /// Numbers of noise.
    pub noise: usize,
    /// Classes of pictures; 0 for none.
    pub classes: usize,
    /// Channels, see the top of this file.
    pub width: usize,
    /// Whether D is spectrally normalised.
    pub spectral: bool,
    /// How D is told of classes.
    pub head: Head,
}

impl Default for ResnetConfig {
    fn default() -> Self {
        Self { size: 32, channels: 3, noise: 128, classes: 0, width: 128, spectral: true, head: Head::None }
    }
}

impl ResnetConfig {
    /// Whether networks of these shapes can be made.
    ///
    /// # Errors
    /// A number is out of range, or the head needs classes and there are none; the text says which.
    pub fn check(&self) -> Result<(), String> {
        if !self.size.is_power_of_two() || !(16..=128).contains(&self.size) {
            return Err(format!("size {}: expected 16, 32, 64 or 128", self.size));
        }
        let ranges = [
            ("channels", self.channels, 1..=4),
            ("noise", self.noise, 1..=4096),
            ("classes", self.classes, 0..=10_000),
            ("width", self.width, 1..=256),
        ];
        for (name, value, range) in ranges {
            if !range.contains(&value) {
                return Err(format!("{name} {value}: expected {} to {}", range.start(), range.end()));
            }
        }
        if self.head != Head::None && self.classes == 0 {
            return Err("classes 0: this head needs classes; set classes, or head = \"none\"".into());
        }
        Ok(())
    }

    /// Doublings from 4x4 to the picture.
    fn stages(&self) -> usize {
        (self.size / 4).ilog2() as usize
    }

    fn is_small(&self) -> bool {
        self.size <= 32
    }

    /// Channels at 4x4 and after each of G's blocks.
    fn generator_channels(&self) -> Vec<usize> {
        let stages = self.stages();
        if self.is_small() {
            return vec![2 * self.width; stages + 1];
        }
        std::iter::once(stages - 1).chain((0..stages).rev()).map(|level| self.width << level).collect()
    }

    /// Channels after each of D's blocks, and how many of them halve the size.
    fn discriminator_channels(&self) -> (Vec<usize>, usize) {
        let stages = self.stages();
        if self.is_small() {
            return (vec![self.width; stages + 1], stages - 1);
        }
        ((0..stages).chain([stages - 1]).map(|level| self.width << level).collect(), stages)
    }
}

/// What He's standard deviation is multiplied by to become Glorot's: √(2 / (inputs + outputs)).
fn glorot(inputs: usize, outputs: usize) -> f32 {
    (inputs as f32 / (inputs + outputs) as f32).sqrt()
}

/// 3x3, before another layer.
fn conv3(inputs: usize, outputs: usize, init: &mut Init) -> Conv2d {
    Conv2d::new(inputs, outputs, 3, 1, 1, 2f32.sqrt() * glorot(inputs, outputs), init)
}

/// 1x1.
fn conv1(inputs: usize, outputs: usize, init: &mut Init) -> Conv2d {
    Conv2d::new(inputs, outputs, 1, 1, 0, glorot(inputs, outputs), init)
}

/// Batch norm with one scale and shift a channel, or one a channel and class.
#[derive(Module, Debug)]
pub enum Norm {
    /// Without classes.
    Plain(BatchNorm),
    /// With classes.
    Class(ConditionalBatchNorm),
}

impl Norm {
    fn new(channels: usize, classes: usize, init: &mut Init) -> Self {
        if classes == 0 {
            return Self::Plain(BatchNorm::new(channels, 0.0, init));
        }
        // Every class begins with scale 1 and shift 0.
        let affine = Linear { weight: init.constant([2 * channels, classes], 0.0), bias: None };
        let (running_mean, running_var) = (init.buffer([channels], 0.0), init.buffer([channels], 1.0));
        Self::Class(ConditionalBatchNorm { affine, running_mean, running_var })
    }

    /// The norm, then ReLU. Without a class: scale 1, shift 0.
    fn forward_relu(&self, x: Tensor<4>, class: &Option<Tensor<2>>, mode: &mut NormMode) -> Tensor<4> {
        match self {
            Self::Plain(norm) => norm.forward_leaky(x, 0.0, mode),
            Self::Class(norm) => {
                let none = || Tensor::zeros([x.dims()[0], norm.affine.weight.dims()[1]], &x.device());
                let class = class.clone().unwrap_or_else(none);
                norm.forward_relu(x, class, mode)
            }
        }
    }

    fn with_running(self, seen: &BatchStats, momentum: f64) -> Self {
        match self {
            Self::Plain(norm) => Self::Plain(norm.with_running(seen, momentum)),
            Self::Class(norm) => Self::Class(norm.with_running(seen, momentum)),
        }
    }
}

/// A residual block that doubles the size.
#[derive(Module, Debug)]
pub struct UpBlock {
    /// Before the first convolution.
    pub norm1: Norm,
    /// 3x3, at twice the size.
    pub conv1: Conv2d,
    /// Before the second.
    pub norm2: Norm,
    /// 3x3.
    pub conv2: Conv2d,
    /// 1x1, beside them.
    pub skip: Conv2d,
}

impl UpBlock {
    fn new(inputs: usize, outputs: usize, classes: usize, init: &mut Init) -> Self {
        Self {
            norm1: Norm::new(inputs, classes, init),
            conv1: conv3(inputs, outputs, init).without_bias(),
            norm2: Norm::new(outputs, classes, init),
            conv2: conv3(outputs, outputs, init).without_bias(),
            skip: conv1(inputs, outputs, init).without_bias(),
        }
    }

    /// x: `[b, ci, h, w]`, returns `[b, co, 2 h, 2 w]`.
    fn forward(&self, x: Tensor<4>, class: &Option<Tensor<2>>, mode: &mut NormMode) -> Tensor<4> {
        let [x, h] = ops::twice(x);
        let h = self.norm1.forward_relu(h, class, mode);
        let h = self.conv1.forward(ops::upsample(h, Filter::Box));
        let h = self.conv2.forward(self.norm2.forward_relu(h, class, mode));
        ops::add(h, ops::upsample(self.skip.forward(x), Filter::Box))
    }
}

/// Noise to picture.
#[derive(Module, Debug)]
pub struct Generator {
    /// Noise to 4x4.
    pub start: Linear,
    /// From 4x4 to the picture's size.
    pub blocks: Vec<UpBlock>,
    /// Before the last convolution.
    pub norm: Norm,
    /// 3x3, to the picture.
    pub last: Conv2d,
}

impl Generator {
    /// # Errors
    /// As [`ResnetConfig::check`].
    pub fn new(config: &ResnetConfig, init: &mut Init) -> Result<Self, String> {
        config.check()?;
        let channels = config.generator_channels();
        let (first, last) = (channels[0], config.width << usize::from(config.is_small()));
        let start = 16 * first;
        Ok(Self {
            start: Linear::new(config.noise, start, glorot(config.noise, start), init),
            blocks: channels.windows(2).map(|pair| UpBlock::new(pair[0], pair[1], config.classes, init)).collect(),
            norm: Norm::new(last, config.classes, init),
            last: Conv2d::new(last, config.channels, 3, 1, 1, glorot(last, config.channels), init),
        })
    }

    /// # Shapes
    /// noise: `[b, noise]`, class: one-hot, `[b, classes]`, of no effect on a network without classes; returns
    /// `[b, channels, size, size]` in [-1, 1].
    pub fn forward(&self, noise: Tensor<2>, class: Option<Tensor<2>>, mode: &mut NormMode) -> Tensor<4> {
        let x = self.start.forward(noise); // [b, 16 c]
        let [b, n] = x.dims();
        let mut x = x.reshape([b, n / 16, 4, 4]);
        for block in &self.blocks {
            x = block.forward(x, &class, mode);
        }
        ops::tanh(self.last.forward(self.norm.forward_relu(x, &class, mode)))
    }

    /// The weights between the noise and what stands at 4x4, `[16 · channels, noise]`.
    pub fn first_layer(&self) -> Tensor<2> {
        self.start.weight.val()
    }

    /// Moves the running statistics towards those of a training batch.
    #[must_use]
    pub fn with_running(mut self, seen: &[BatchStats], momentum: f64) -> Self {
        let mut seen = seen.iter();
        let mut moved = |norm: Norm| match seen.next() {
            Some(seen) => norm.with_running(seen, momentum),
            None => norm,
        };
        let blocks = self.blocks.into_iter();
        self.blocks = blocks.map(|b| UpBlock { norm1: moved(b.norm1), norm2: moved(b.norm2), ..b }).collect();
        self.norm = moved(self.norm);
        self
    }
}

/// A residual block of D.
#[derive(Module, Debug)]
pub struct DownBlock {
    /// 3x3, followed by ReLU.
    pub conv1: SpectralConv2d,
    /// 3x3.
    pub conv2: SpectralConv2d,
    /// 1x1, beside them, in a block that halves the size; else nothing is done there.
    pub skip: Option<SpectralConv2d>,
    /// Whether pictures come in, which no ReLU may cut.
    #[module(skip)]
    first: bool,
}

impl DownBlock {
    /// The first block, or a later one.
    fn new([inputs, outputs]: [usize; 2], first: bool, halves: bool, spectral: bool, init: &mut Init) -> Self {
        let hidden = if first { outputs } else { inputs };
        let mut layer = |conv: fn(usize, usize, &mut Init) -> Conv2d, inputs, outputs| {
            let layer = conv(inputs, outputs, init);
            SpectralConv2d::new(layer, spectral, init)
        };
        Self {
            conv1: layer(conv3, inputs, hidden),
            conv2: layer(conv3, hidden, outputs),
            skip: halves.then(|| layer(conv1, inputs, outputs)),
            first,
        }
    }

    /// x: `[b, ci, h, w]`, returns `[b, co, h / 2, w / 2]`, or at the same size.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [x, h] = ops::twice(x);
        let h = if self.first { h } else { ops::relu(h) };
        let h = self.conv2.forward_leaky(self.conv1.forward_leaky(h, 0.0), 1.0);
        match &self.skip {
            Some(skip) => {
                let x = skip.forward_leaky(ops::downsample(x, Filter::Box), 1.0);
                ops::add(ops::downsample(h, Filter::Box), x)
            }
            None => ops::add(h, x),
        }
    }

    fn forward_tangent(&self, x: Tensor<4>, dx: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let ([x, h], [dx, dh]) = (ops::twice(x), ops::twice(dx));
        let (h, dh) = if self.first { (h, dh) } else { relu_tangent(h, dh) };
        let (h, dh) = self.conv1.forward_tangent(h, dh, 0.0);
        let (h, dh) = self.conv2.forward_tangent(h, dh, 1.0);
        match &self.skip {
            Some(skip) => {
                let [h, dh, x, dx] = [h, dh, x, dx].map(|x| ops::downsample(x, Filter::Box));
                let (x, dx) = skip.forward_tangent(x, dx, 1.0);
                (ops::add(h, x), ops::add(dh, dx))
            }
            None => (ops::add(h, x), ops::add(dh, dx)),
        }
    }

    fn refreshed(self) -> Self {
        let Self { conv1, conv2, skip, first } = self;
        let skip = skip.map(SpectralConv2d::refreshed);
        Self { conv1: conv1.refreshed(), conv2: conv2.refreshed(), skip, first }
    }
}

/// ReLU and its tangent.
fn relu_tangent(x: Tensor<4>, dx: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
    let y = ops::relu(x);
    (y.clone(), ops::leaky_relu_tangent(y, dx, 0.0))
}

/// The sum over all pixels, in f32: `[b, c, h, w]` to `[b, c]`.
fn sum_pixels(x: Tensor<4>) -> Tensor<2> {
    let [b, c, h, w] = x.dims();
    ops::to_f32(x).permute([0, 2, 3, 1]).reshape([b, h * w, c]).sum_dim(1).reshape([b, c])
}

/// Picture to realness.
#[derive(Module, Debug)]
pub struct Discriminator {
    /// From the picture to the smallest grid.
    pub blocks: Vec<DownBlock>,
    /// Features to the logit.
    pub real: SpectralLinear,
    /// Class to the direction that features are projected on, where the head is projection.
    pub project: Option<SpectralLinear>,
    /// Features to the logits of classes, where the head is auxiliary.
    pub classify: Option<SpectralLinear>,
}

impl Discriminator {
    /// # Errors
    /// As [`ResnetConfig::check`].
    pub fn new(config: &ResnetConfig, init: &mut Init) -> Result<Self, String> {
        config.check()?;
        let &ResnetConfig { classes, spectral, head, .. } = config;
        let (channels, halvings) = config.discriminator_channels();
        let mut inputs = config.channels;
        let mut blocks = Vec::with_capacity(channels.len());
        for (i, outputs) in channels.into_iter().enumerate() {
            blocks.push(DownBlock::new([inputs, outputs], i == 0, i < halvings, spectral, init));
            inputs = outputs;
        }
        let features = inputs;
        let real = Linear::new(features, 1, glorot(features, 1), init);
        let real = SpectralLinear::new(real, spectral, init);
        let project = (head == Head::Projection).then(|| {
            let layer = Linear::without_bias(classes, features, glorot(classes, features), init);
            SpectralLinear::new(layer, spectral, init)
        });
        let classify = (head == Head::Auxiliary).then(|| {
            let layer = Linear::new(features, classes, glorot(features, classes), init);
            SpectralLinear::new(layer, spectral, init)
        });
        Ok(Self { blocks, real, project, classify })
    }

    /// # Shapes
    /// x: `[b, channels, size, size]`; class: one-hot, `[b, classes]`, of effect where the head is projection, which
    /// without one gives ψ(φ) alone.
    pub fn forward(&self, x: Tensor<4>, class: Option<Tensor<2>>) -> Answer {
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x));
        let features = sum_pixels(ops::relu(x)); // [b, features]
        let [b, _] = features.dims();
        let mut logit = self.real.forward(features.clone()); // [b, 1]
        if let (Some(project), Some(class)) = (&self.project, class) {
            logit = logit + (features.clone() * project.forward(class)).sum_dim(1);
        }
        let classes = self.classify.as_ref().map(|classify| classify.forward(features.clone()));
        Answer { logit: logit.reshape([b]), features, classes }
    }

    /// The logit and its derivative along `dx`: `[b]` each.
    pub fn forward_tangent(&self, x: Tensor<4>, dx: Tensor<4>, class: Option<Tensor<2>>) -> (Tensor<1>, Tensor<1>) {
        let (x, dx) = self.blocks.iter().fold((x, dx), |(x, dx), block| block.forward_tangent(x, dx));
        let (x, dx) = relu_tangent(x, dx);
        let (x, dx) = (sum_pixels(x), sum_pixels(dx)); // [b, features]
        let [b, _] = x.dims();
        let (mut logit, mut dlogit) = self.real.forward_tangent(x.clone(), dx.clone()); // [b, 1]
        if let (Some(project), Some(class)) = (&self.project, class) {
            let direction = project.forward(class);
            logit = logit + (x * direction.clone()).sum_dim(1);
            dlogit = dlogit + (dx * direction).sum_dim(1);
        }
        (logit.reshape([b]), dlogit.reshape([b]))
    }

    /// The discriminator after one power iteration of each layer, for the start of a training step; the same one without
    /// spectral normalisation.
    #[must_use]
    pub fn refreshed(self) -> Self {
        Self {
            blocks: self.blocks.into_iter().map(DownBlock::refreshed).collect(),
            real: self.real.refreshed(),
            project: self.project.map(SpectralLinear::refreshed),
            classify: self.classify.map(SpectralLinear::refreshed),
        }
    }
}
