//! R3GAN (Huang, Gokaslan, Kuleshov & Tompkin, "The GAN is dead; long live the GAN! A Modern Baseline GAN", NeurIPS
//! 2024, <https://arxiv.org/abs/2501.05441>; its Config E; authors' code: <https://github.com/brownvc/R3GAN>): residual
//! networks without normalisation, held by a loss that converges.
//!
//! - A residual block is an inverted bottleneck: 1x1 to twice the width, grouped 3x3, 1x1 back without a bias, LeakyReLU
//!   0.2 between: x + W₃ a(W₂ * a(W₁ x + b₁) + b₂). No other layer has a bias.
//! - Between stages the size changes by two through bilinear interpolation ([1, 2, 1] * [1, 1] = [1, 3, 3, 1] each way),
//!   and the width by a 1x1 convolution where it differs: before upsampling in G, after downsampling in D.
//! - G begins with learned 4x4 maps, each scaled by a linear function of noise and class, and ends with a 1x1 convolution:
//!   no tanh, pictures are cut to [-1, 1] when they are shown.
//! - D mirrors it: a 1x1 convolution of the picture, and in the end a 4x4 depthwise convolution and a linear layer to one
//!   logit, or to a vector whose product with an embedding of the class is the logit (1802.05637).
//! - Fix-up (1901.09321; section 3 of the paper): W₃ starts at zero; W₁ and W₂ from N(0, g² / fan-in), where
//!   g = √(2 / (1 + 0.2²)) L^(-1/4) for L blocks in the network; all else from N(0, 1 / fan-in), G's maps from N(0, 1) and
//!   D's embedding at 1/√n of its n numbers.
//! - Trained with the relativistic pairing loss E softplus(D(fake) - D(real)) + γ/2 (R1 + R2) and Adam without momentum.
//!
//! The authors keep the smallest stages in f32 and the others in half precision; here one precision serves all stages, and
//! the first layer of G and the last two of D are f32.

use std::f32::consts::FRAC_1_SQRT_2;

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use shenbi_nn::ops::{self, Bottleneck, Filter, Stride};
use shenbi_nn::{Conv2d, Init, Linear};

use super::Answer;

const SLOPE: f64 = 0.2;
/// Side of the smallest grid.
const GRID: usize = 4;

/// Shapes of the two networks. The lists have an entry for each size, from 4x4 upwards.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct R3ganConfig {
    /// Height and width of a picture: 4 for one stage, doubled by each further one.
    pub size: usize,
    /// 1 (grey), 3 (RGB) or 4 (RGBA).
    pub channels: usize,
    /// Numbers of noise.
    pub noise: usize,
    /// Classes of pictures; 0: unconditional.
    pub classes: usize,
    /// Channels of each stage.
    pub widths: Vec<usize>,
    /// Residual blocks of each stage.
    pub blocks: Vec<usize>,
    /// Groups of each stage's 3x3 convolutions.
    pub cardinalities: Vec<usize>,
    /// Channels of the 3x3 convolutions, as a multiple of the stage's.
    pub expansion: usize,
    /// Numbers that stand for a class beside the noise; D has as many as its last stage has channels. Unused without
    /// classes.
    pub class_embedding: usize,
}

impl Default for R3ganConfig {
    fn default() -> Self {
        Self::small(32)
    }
}

impl R3ganConfig {
    /// Unconditional RGB networks of two blocks a stage.
    fn of(widths: Vec<usize>, cardinalities: Vec<usize>) -> Self {
        let stages = widths.len();
        let (size, blocks) = (GRID << (stages - 1), vec![2; stages]);
        let (channels, noise, expansion, class_embedding) = (3, 64, 2, 64);
        Self { size, channels, noise, classes: 0, widths, blocks, cardinalities, expansion, class_embedding }
    }

    /// The paper's networks for CIFAR-10, 32x32, by class: 21 M parameters each.
    pub fn cifar10() -> Self {
        Self { classes: 10, ..Self::of(vec![768; 4], vec![96; 4]) }
    }

    /// The paper's networks for FFHQ at 64x64: 22 M parameters each.
    pub fn ffhq64() -> Self {
        Self::of(vec![768, 768, 768, 768, 384], vec![96, 96, 96, 96, 48])
    }

    /// The paper's networks for FFHQ at 256x256: 23 M parameters each (its table 2).
    pub fn ffhq256() -> Self {
        Self::of(vec![768, 768, 768, 768, 384, 192, 96], vec![96, 96, 96, 96, 48, 24, 12])
    }

    /// The paper's networks for ImageNet at 32x32, by class: 83 M parameters in G, 87 M in D.
    pub fn imagenet32() -> Self {
        Self { classes: 1000, ..Self::of(vec![1536; 4], vec![96; 4]) }
    }

    /// The paper's networks for ImageNet at 64x64, by class: 104 M parameters in G, 107 M in D.
    pub fn imagenet64() -> Self {
        Self { classes: 1000, ..Self::of(vec![1536; 5], vec![96; 5]) }
    }

    /// For CPUs, whose kernels work in tiles of 32 channels: groups of 32, and stages that narrow quickly, as most of the
    /// work is in the largest. 1.5 M parameters each at 32x32. A size that is no power of two is refused by
    /// [`Self::check`].
    pub fn small(size: usize) -> Self {
        let stages = (size / GRID).clamp(1, 64).ilog2() as usize + 1;
        let widths: Vec<_> = (0..stages).rev().map(|level| *[32, 96, 160].get(level).unwrap_or(&256)).collect();
        let cardinalities = widths.iter().map(|width| 2 * width / 32).collect();
        Self { size, ..Self::of(widths, cardinalities) }
    }

    /// Whether networks of these shapes can be made.
    ///
    /// # Errors
    /// A number is out of range, lists differ in length, groups do not divide channels, or the size is not what the number
    /// of widths makes; the text names it and what fits.
    pub fn check(&self) -> Result<(), String> {
        let stages = self.widths.len();
        if !(1..=9).contains(&stages) {
            return Err(format!("widths has {stages} entries: expected 1 to 9, one for each size from 4x4 upwards"));
        }
        for (name, list) in [("blocks", &self.blocks), ("cardinalities", &self.cardinalities)] {
            if list.len() != stages {
                return Err(format!("{name} has {} entries: expected {stages}, as widths has", list.len()));
            }
        }
        let mut ranges = vec![("channels", self.channels, 1, 4), ("noise", self.noise, 1, 4096)];
        ranges.extend([("classes", self.classes, 0, 100_000), ("expansion", self.expansion, 1, 8)]);
        ranges.extend(self.widths.iter().map(|&width| ("widths: ", width, 1, 4096)));
        ranges.extend(self.blocks.iter().map(|&blocks| ("blocks: ", blocks, 1, 64)));
        ranges.extend(self.cardinalities.iter().map(|&groups| ("cardinalities: ", groups, 1, 32768)));
        if self.classes > 0 {
            ranges.push(("class_embedding", self.class_embedding, 1, 4096));
        }
        for (name, value, least, most) in ranges {
            if !(least..=most).contains(&value) {
                return Err(format!("{} {value}: expected {least} to {most}", name.trim_end_matches(": ")));
            }
        }
        for (width, groups) in self.widths.iter().zip(&self.cardinalities) {
            let inner = width * self.expansion;
            if !inner.is_multiple_of(*groups) {
                return Err(format!(
                    "cardinalities: {groups} groups do not divide the {inner} channels (width {width} times expansion {})",
                    self.expansion
                ));
            }
        }
        let fits = GRID << (stages - 1);
        if self.size != fits {
            return Err(format!(
                "size {}: {stages} widths ({}) make pictures of {fits}x{fits}; possible sizes are 4 for one width and twice \
                 that for each further one: 8, 16, 32, 64, 128, 256, ...",
                self.size,
                self.widths.iter().map(ToString::to_string).collect::<Vec<_>>().join(", "),
            ));
        }
        Ok(())
    }

    /// Weights of the generator and of the discriminator.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn parameters(&self) -> Result<[usize; 2], String> {
        self.check()?;
        let mut shared = 0;
        let mut before = None;
        for ((&width, blocks), groups) in self.widths.iter().zip(&self.blocks).zip(&self.cardinalities) {
            let inner = width * self.expansion;
            shared += blocks * (2 * width * inner + inner * (inner / groups) * 9 + 2 * inner);
            shared += before.replace(width).filter(|before| *before != width).map_or(0, |before| before * width);
        }
        let (first, last) = (self.bottom(), self.widths.last().copied().unwrap_or(0));
        shared += GRID * GRID * first + last * self.channels;
        let embedding = if self.classes > 0 { self.class_embedding } else { 0 };
        let generator = (self.noise + embedding) * first + self.classes * embedding;
        let discriminator = if self.classes > 0 { (first + self.classes) * first } else { first };
        Ok([shared + generator, shared + discriminator])
    }

    /// Channels at 4x4.
    fn bottom(&self) -> usize {
        self.widths.first().copied().unwrap_or(0)
    }
}

/// A convolution with as many zeros around as keep the size, whose weights have std `gain` / √fan-in.
fn conv(inputs: usize, outputs: usize, kernel: usize, groups: usize, gain: f32, init: &mut Init) -> Conv2d {
    let geometry = Stride { stride: 1, padding: kernel / 2, groups };
    Conv2d::grouped(inputs, outputs, kernel, geometry, gain * FRAC_1_SQRT_2, init)
}

/// A linear layer without a bias, whose weights have std `gain` / √fan-in.
fn linear(inputs: usize, outputs: usize, gain: f32, init: &mut Init) -> Linear {
    Linear::without_bias(inputs, outputs, gain * FRAC_1_SQRT_2, init)
}

/// An inverted bottleneck beside the identity. Each function takes and returns `[b, width, h, w]`.
#[derive(Module, Debug)]
pub struct Block {
    /// 1x1, width to expansion · width.
    pub expand: Conv2d,
    /// 3x3 in groups.
    pub mix: Conv2d,
    /// 1x1 back, without a bias; zero at first.
    pub shrink: Conv2d,
}

impl Block {
    fn new(width: usize, inner: usize, groups: usize, gain: f32, init: &mut Init) -> Self {
        let (expand, mix) = (conv(width, inner, 1, 1, gain, init), conv(inner, inner, 3, groups, gain, init));
        let weight = init.constant([width, inner, 1, 1], 0.0);
        Self { expand, mix, shrink: Conv2d { weight, bias: None, stride: 1, padding: 0, groups: 1 } }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        ops::bottleneck(x, self.parts())
    }

    fn forward_tangent(&self, x: Tensor<4>, dx: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        ops::bottleneck_tangent(x, dx, self.parts())
    }

    fn parts(&self) -> Bottleneck {
        let weights = [&self.expand, &self.mix, &self.shrink].map(|layer| layer.weight.val());
        let biases = [&self.expand, &self.mix].map(|layer| layer.bias.as_ref().map(Param::val));
        Bottleneck { weights, biases, groups: self.mix.groups, slope: SLOPE }
    }
}

/// The layers at one size.
#[derive(Module, Debug)]
pub struct Stage {
    /// 1x1 from the width of the stage before, where it differs.
    pub change: Option<Conv2d>,
    /// In order.
    pub blocks: Vec<Block>,
}

impl Stage {
    /// Those of a network that goes through the sizes in this order (0 is 4x4).
    fn all(config: &R3ganConfig, order: impl Iterator<Item = usize>, init: &mut Init) -> Vec<Self> {
        let blocks = config.blocks.iter().sum::<usize>() as f32;
        let gain = (2.0 / (1.0 + SLOPE * SLOPE) as f32).sqrt() * blocks.powf(-0.25);
        let mut before = None;
        let mut stage = |i: usize| {
            let (width, groups) = (config.widths[i], config.cardinalities[i]);
            let before = before.replace(width).filter(|before| *before != width);
            let change = before.map(|before| conv(before, width, 1, 1, 1.0, init).without_bias());
            let mut block = |_| Block::new(width, width * config.expansion, groups, gain, init);
            Self { change, blocks: (0..config.blocks[i]).map(&mut block).collect() }
        };
        order.map(&mut stage).collect()
    }

    /// `[b, c, h, w]` to this stage's width.
    fn change(&self, x: Tensor<4>) -> Tensor<4> {
        self.change.as_ref().map_or(x.clone(), |layer| layer.forward(x))
    }
}

/// Noise to picture.
#[derive(Module, Debug)]
pub struct Generator {
    /// One-hot class to what stands beside the noise.
    pub embed: Option<Linear>,
    /// Noise and class to the factors of the maps.
    pub first: Linear,
    /// `[c, 4, 4]`
    pub maps: Param<Tensor<3>>,
    /// From 4x4 upwards.
    pub stages: Vec<Stage>,
    /// 1x1 to the picture.
    pub picture: Conv2d,
}

impl Generator {
    /// # Errors
    /// As [`R3ganConfig::check`].
    pub fn new(config: &R3ganConfig, init: &mut Init) -> Result<Self, String> {
        config.check()?;
        let (n, bottom) = (config.widths.len(), config.bottom());
        let embedding = if config.classes > 0 { config.class_embedding } else { 0 };
        Ok(Self {
            embed: (config.classes > 0).then(|| linear(config.classes, embedding, 1.0, init)),
            first: linear(config.noise + embedding, bottom, 1.0, init),
            maps: init.normal([bottom, GRID, GRID], 1.0),
            stages: Stage::all(config, 0..n, init),
            picture: conv(config.widths[n - 1], config.channels, 1, 1, 1.0, init).without_bias(),
        })
    }

    /// # Shapes
    /// noise: `[b, noise]`, class: one-hot, `[b, classes]`; returns `[b, channels, size, size]`, f32, mostly in [-1, 1].
    ///
    /// # Panics
    /// A class is given to a network without classes, or none to one with.
    pub fn forward(&self, noise: Tensor<2>, class: Option<Tensor<2>>) -> Tensor<4> {
        let z = match embedded(self.embed.as_ref(), class) {
            Some(class) => Tensor::cat(vec![noise, class], 1), // [b, noise + class_embedding]
            None => noise,
        };
        let factors = self.first.forward(z); // [b, c]
        let [b, c] = factors.dims();
        let mut x = (factors.reshape([b, 1, c]) * grid(&self.maps)).reshape([b, GRID, GRID, c]).permute([0, 3, 1, 2]);
        for (i, stage) in self.stages.iter().enumerate() {
            if i > 0 {
                x = ops::upsample(stage.change(x), Filter::Binomial);
            }
            x = stage.blocks.iter().fold(x, |x, block| block.forward(x)); // [b, c, h, w]
        }
        ops::to_f32(self.picture.forward(x))
    }

    /// The weights between the noise and the factors of the maps, `[c, noise]`.
    pub fn first_layer(&self) -> Tensor<2> {
        let weight = self.first.weight.val(); // [c, noise + class_embedding]
        let [_, inputs] = weight.dims();
        let embedding = self.embed.as_ref().map_or(0, |embed| embed.weight.dims()[0]);
        weight.narrow(1, 0, inputs - embedding)
    }
}

/// Maps by place, `[1, 16, c]`.
fn grid(maps: &Param<Tensor<3>>) -> Tensor<3> {
    let [c, h, w] = maps.dims();
    maps.val().reshape([c, h * w]).transpose().unsqueeze()
}

/// What stands for the class, `[b, n]`; nothing in a network without classes.
fn embedded(layer: Option<&Linear>, class: Option<Tensor<2>>) -> Option<Tensor<2>> {
    assert_eq!(layer.is_some(), class.is_some(), "a class is given exactly to a network with classes");
    layer.zip(class).map(|(layer, class)| layer.forward(class))
}

/// Picture to realness.
#[derive(Module, Debug)]
pub struct Discriminator {
    /// 1x1 from the picture.
    pub extract: Conv2d,
    /// From the picture's size down to 4x4.
    pub stages: Vec<Stage>,
    /// Weights of the depthwise convolution that ends the grid, `[c, 4, 4]`.
    pub maps: Param<Tensor<3>>,
    /// Features to the logit, or to what the class's embedding is multiplied with.
    pub last: Linear,
    /// One-hot class to its embedding, `[c]` numbers.
    pub embed: Option<Linear>,
}

impl Discriminator {
    /// # Errors
    /// As [`R3ganConfig::check`].
    pub fn new(config: &R3ganConfig, init: &mut Init) -> Result<Self, String> {
        config.check()?;
        let (n, bottom, classes) = (config.widths.len(), config.bottom(), config.classes);
        Ok(Self {
            extract: conv(config.channels, config.widths[n - 1], 1, 1, 1.0, init).without_bias(),
            stages: Stage::all(config, (0..n).rev(), init),
            maps: init.normal([bottom, GRID, GRID], 1.0 / GRID as f32),
            last: linear(bottom, if classes > 0 { bottom } else { 1 }, 1.0, init),
            embed: (classes > 0).then(|| linear(classes, bottom, (bottom as f32).powf(-0.5), init)),
        })
    }

    /// What the last linear layer sees, before the class enters.
    ///
    /// # Shapes
    /// x: `[b, channels, size, size]`, returns `[b, c]` for c channels at 4x4, f32.
    pub fn features(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = self.extract.forward(x);
        for (i, stage) in self.stages.iter().enumerate() {
            if i > 0 {
                x = stage.change(ops::downsample(x, Filter::Binomial));
            }
            x = stage.blocks.iter().fold(x, |x, block| block.forward(x)); // [b, c, h, w]
        }
        self.weigh(x)
    }

    /// # Shapes
    /// x: `[b, channels, size, size]`, class: one-hot, `[b, classes]`; c features for c channels at 4x4.
    ///
    /// # Panics
    /// A class is given to a network without classes, or none to one with.
    pub fn forward(&self, x: Tensor<4>, class: Option<Tensor<2>>) -> Answer {
        let features = self.features(x);
        let class = embedded(self.embed.as_ref(), class);
        Answer { logit: project(self.last.forward(features.clone()), class), features, classes: None }
    }

    /// The logit and its derivative along `dx`, `[b]` each. Shapes and panics as [`Self::forward`], and dx as x.
    pub fn forward_tangent(&self, x: Tensor<4>, dx: Tensor<4>, class: Option<Tensor<2>>) -> (Tensor<1>, Tensor<1>) {
        let (mut x, mut dx) = self.extract.forward_tangent(x, dx, 1.0);
        for (i, stage) in self.stages.iter().enumerate() {
            if i > 0 {
                // Linear: its own tangent.
                let down = |x| stage.change(ops::downsample(x, Filter::Binomial));
                (x, dx) = (down(x), down(dx));
            }
            (x, dx) = stage.blocks.iter().fold((x, dx), |(x, dx), block| block.forward_tangent(x, dx));
        }
        let (y, dy) = self.last.forward_tangent(self.weigh(x), self.weigh(dx));
        let class = embedded(self.embed.as_ref(), class);
        (project(y, class.clone()), project(dy, class))
    }

    /// The depthwise 4x4 convolution of `[b, c, 4, 4]`: `[b, c]`, f32.
    fn weigh(&self, x: Tensor<4>) -> Tensor<2> {
        let [b, c, h, w] = x.dims();
        let x = ops::to_f32(x.permute([0, 2, 3, 1]));
        (x.reshape([b, h * w, c]) * grid(&self.maps)).sum_dim(1).reshape([b, c])
    }
}

/// The product with the class's embedding, or the one number there is. y: `[b, n]`, returns `[b]`.
fn project(y: Tensor<2>, class: Option<Tensor<2>>) -> Tensor<1> {
    let [b, _] = y.dims();
    class.map_or(y.clone(), |class| (y * class).sum_dim(1)).reshape([b])
}
