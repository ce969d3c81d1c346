//! DF-GAN (Tao, Tang, Wu, Jing, Bao & Xu, CVPR 2022, <https://arxiv.org/abs/2008.05865>): one generator, one discriminator,
//! and the sentence mixed into every block.
//!
//! - G: noise to 4x4, then residual blocks that double the size. A *fusion* scales and shifts each channel by what two
//!   small networks read from noise and sentence, then LeakyReLU, twice over; it stands before each 3x3 convolution and
//!   takes the place of a normalisation.
//! - D: residual blocks that halve the size to 4x4, each with a learnt weight γ on its residual, zero at first. The
//!   sentence then joins every pixel of the grid, and two convolutions make *one* number of it (one-way output): there is
//!   no second answer without the sentence.
//!
//! Losses, with x real under its own sentence e, e' the sentence of another picture of the batch and x̃ = G(z, e):
//!
//! ```text
//! L_D = E max(0, 1 - D(x, e)) + ½ E max(0, 1 + D(x̃, e)) + ½ E max(0, 1 + D(x, e')) + MA-GP
//! MA-GP = k E ‖(∇ₓ D(x, e), ∇ₑ D(x, e))‖ᵖ      matching-aware: real pictures with their own sentences; k = 2, p = 6
//! L_G = -E D(G(z, e), e)
//! ```
//!
//! Adam with beta1 0, beta2 0.9 at 1e-4 for G and 4e-4 for D; the sentence encoder is trained beforehand and fixed. MA-GP is
//! `shenbi_nn::tangent::Penalty::MaGp` with [`Discriminator::forward_tangent`]; [`Discriminator::features`] of real
//! pictures serve both of their sentences.
//!
//! Where the paper and its code (<https://github.com/tobran/DF-GAN>) disagree, this follows the code's last version:
//! - MA-GP takes the norm of both gradients together; the paper adds the two norms.
//! - Each block of G doubles the size: 6 at 256. The code's first version had a seventh at 4x4, fusions without noise, a
//!   learnt weight on G's residuals too, and up to 16 times the width in D.
//!
//! Deviations:
//! - Sizes from 16: the code's need 32 or more. At 16 the smallest grid has 4 times the width and not 8 times.
//! - What commutes is computed where pictures are small, with the same result: G's first fusion and shortcut before the
//!   upsampling, D's shortcut after the pooling.
//! - Initial weights are normal with PyTorch's variance, 1 / (3 inputs), and biases zero, where PyTorch draws both from
//!   uniform distributions.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use shenbi_nn::ops::Filter;
use shenbi_nn::{Conv2d, Init, Linear, ops};

const SLOPE: f64 = 0.2;
/// Height and width of the smallest grid.
const GRID: usize = 4;
/// He's deviation to PyTorch's: √(2 / n) times this is √(1 / 3n).
const GAIN: f32 = 0.408_248_3;

/// Shapes of the two networks.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DfganConfig {
    /// Height and width of a picture: 16, 32, 64, 128 or 256.
    pub size: usize,
    /// 1 (grey), 3 (RGB) or 4 (RGBA, premultiplied).
    pub channels: usize,
    /// Numbers of noise.
    pub noise: usize,
    /// Numbers in a sentence embedding.
    pub sentence: usize,
    /// Channels of the layers next to the picture; they double with each halving of the size, up to 8 times.
    pub width: usize,
}

impl Default for DfganConfig {
    /// The code's for birds.
    fn default() -> Self {
        Self { size: 256, channels: 3, noise: 100, sentence: 256, width: 32 }
    }
}

impl DfganConfig {
    /// Whether networks of these shapes can be made.
    ///
    /// # Errors
    /// A number is out of range; the text names it.
    pub fn check(&self) -> Result<(), String> {
        if !self.size.is_power_of_two() || !(16..=256).contains(&self.size) {
            return Err(format!("size {}: expected 16, 32, 64, 128 or 256", self.size));
        }
        let ranges = [
            ("channels", self.channels, 4),
            ("noise", self.noise, 1024),
            ("sentence", self.sentence, 4096),
            ("width", self.width, 512),
        ];
        for (name, value, most) in ranges {
            if !(1..=most).contains(&value) {
                return Err(format!("{name} {value}: expected 1 to {most}"));
            }
        }
        Ok(())
    }

    /// Weights of the generator.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn parameters(&self) -> Result<usize, String> {
        self.check()?;
        let widths = self.widths();
        let linear = |inputs, outputs| (inputs + 1) * outputs;
        let fusion = |c| 4 * (linear(self.noise + self.sentence, c) + linear(c, c));
        let block = |pair: &[usize]| {
            let (inputs, outputs) = (pair[1], pair[0]);
            let shortcut = if inputs == outputs { 0 } else { linear(inputs, outputs) };
            fusion(inputs) + linear(9 * inputs, outputs) + fusion(outputs) + linear(9 * outputs, outputs) + shortcut
        };
        let start = linear(self.noise, self.smallest() * GRID * GRID);
        Ok(start + widths.windows(2).map(block).sum::<usize>() + linear(9 * self.width, self.channels))
    }

    /// Channels at each size, from the picture's own to 4x4.
    fn widths(&self) -> Vec<usize> {
        let halvings = (self.size / GRID).ilog2();
        (0..=halvings).map(|k| self.width << k.min(3)).collect()
    }

    /// Channels at 4x4.
    fn smallest(&self) -> usize {
        self.widths().last().copied().unwrap_or(self.width)
    }
}

/// A sentence as both networks read it: of length 8 whatever it was. The paper's encoder has its own scale, on which the
/// penalty depends; this is ours.
pub fn condition(sentence: Tensor<2>) -> Tensor<2> {
    ops::normalize(sentence).mul_scalar(8.0)
}

/// Two layers from noise and sentence to one number a channel.
#[derive(Module, Debug)]
pub struct Reader {
    /// `[noise + sentence]` to `[c]`, then ReLU.
    pub linear1: Linear,
    /// `[c]` to `[c]`.
    pub linear2: Linear,
}

impl Reader {
    /// One that says `value` whatever it reads.
    fn new(cond: usize, channels: usize, value: f32, init: &mut Init) -> Self {
        let weight = init.constant([channels, channels], 0.0);
        let linear2 = Linear { weight, bias: Some(init.constant([channels], value)) };
        Self { linear1: Linear::new(cond, channels, GAIN, init), linear2 }
    }

    /// cond: `[b, noise + sentence]`, returns `[b, c]`.
    fn forward(&self, cond: Tensor<2>) -> Tensor<2> {
        self.linear2.forward(ops::relu(self.linear1.forward(cond)))
    }
}

/// The paper's affine transformation of each channel: γ(z, e) x + β(z, e).
#[derive(Module, Debug)]
pub struct Affine {
    /// The scales, one at first.
    pub gamma: Reader,
    /// The shifts, zero at first.
    pub beta: Reader,
}

impl Affine {
    fn new(cond: usize, channels: usize, init: &mut Init) -> Self {
        Self { gamma: Reader::new(cond, channels, 1.0, init), beta: Reader::new(cond, channels, 0.0, init) }
    }

    /// With the LeakyReLU that follows. x: `[b, c, h, w]`, cond: `[b, noise + sentence]`.
    fn forward(&self, x: Tensor<4>, cond: Tensor<2>) -> Tensor<4> {
        ops::scale_shift(x, self.gamma.forward(cond.clone()), self.beta.forward(cond), SLOPE)
    }
}

/// Two affine transformations, each with LeakyReLU.
#[derive(Module, Debug)]
pub struct Fusion {
    /// The first.
    pub affine0: Affine,
    /// The second.
    pub affine1: Affine,
}

impl Fusion {
    fn new(cond: usize, channels: usize, init: &mut Init) -> Self {
        Self { affine0: Affine::new(cond, channels, init), affine1: Affine::new(cond, channels, init) }
    }

    /// x: `[b, c, h, w]`, cond: `[b, noise + sentence]`.
    fn forward(&self, x: Tensor<4>, cond: Tensor<2>) -> Tensor<4> {
        self.affine1.forward(self.affine0.forward(x, cond.clone()), cond)
    }
}

fn conv(inputs: usize, outputs: usize, kernel: usize, stride: usize, padding: usize, init: &mut Init) -> Conv2d {
    Conv2d::new(inputs, outputs, kernel, stride, padding, GAIN, init)
}

/// A 1x1 convolution where the number of channels changes.
fn shortcut(inputs: usize, outputs: usize, init: &mut Init) -> Option<Conv2d> {
    (inputs != outputs).then(|| conv(inputs, outputs, 1, 1, 0, init))
}

/// The paper's UPBlock: twice the size.
#[derive(Module, Debug)]
pub struct UpBlock {
    /// Before the first convolution.
    pub fusion1: Fusion,
    /// 3x3.
    pub conv1: Conv2d,
    /// Before the second.
    pub fusion2: Fusion,
    /// 3x3.
    pub conv2: Conv2d,
    /// 1x1, where the number of channels changes.
    pub shortcut: Option<Conv2d>,
}

impl UpBlock {
    fn new(cond: usize, inputs: usize, outputs: usize, init: &mut Init) -> Self {
        Self {
            fusion1: Fusion::new(cond, inputs, init),
            conv1: conv(inputs, outputs, 3, 1, 1, init),
            fusion2: Fusion::new(cond, outputs, init),
            conv2: conv(outputs, outputs, 3, 1, 1, init),
            shortcut: shortcut(inputs, outputs, init),
        }
    }

    /// x: `[b, ci, h, w]`, cond: `[b, noise + sentence]`, returns `[b, co, 2 h, 2 w]`.
    fn forward(&self, x: Tensor<4>, cond: Tensor<2>) -> Tensor<4> {
        let [x, h] = ops::twice(x);
        let h = self.fusion1.forward(h, cond.clone());
        let h = self.conv1.forward(ops::upsample(h, Filter::Box));
        let h = self.conv2.forward(self.fusion2.forward(h, cond));
        let x = self.shortcut.iter().fold(x, |x, shortcut| shortcut.forward(x));
        ops::add(ops::upsample(x, Filter::Box), h)
    }
}

/// Noise and sentence to picture.
#[derive(Module, Debug)]
pub struct Generator {
    /// Noise to 4x4.
    pub start: Linear,
    /// From 4x4 to the picture's size.
    pub blocks: Vec<UpBlock>,
    /// 3x3, to the picture.
    pub picture: Conv2d,
}

impl Generator {
    /// # Errors
    /// As [`DfganConfig::check`].
    pub fn new(config: &DfganConfig, init: &mut Init) -> Result<Self, String> {
        config.check()?;
        let cond = config.noise + config.sentence;
        Ok(Self {
            start: Linear::new(config.noise, config.smallest() * GRID * GRID, GAIN, init),
            blocks: config.widths().windows(2).rev().map(|c| UpBlock::new(cond, c[1], c[0], init)).collect(),
            picture: conv(config.width, config.channels, 3, 1, 1, init),
        })
    }

    /// # Shapes
    /// noise: `[b, noise]`, sentence: `[b, sentence]`, returns `[b, channels, size, size]` in [-1, 1], f32.
    pub fn forward(&self, noise: Tensor<2>, sentence: Tensor<2>) -> Tensor<4> {
        let [b, _] = noise.dims();
        let x = self.start.forward(noise.clone());
        let [_, n] = x.dims();
        let x = x.reshape([b, n / (GRID * GRID), GRID, GRID]);
        let cond = Tensor::cat(vec![noise, sentence], 1); // [b, noise + sentence]
        let x = self.blocks.iter().fold(x, |x, block| block.forward(x, cond.clone()));
        ops::tanh(self.picture.forward(ops::leaky_relu(x, SLOPE)))
    }
}

/// The paper's DownBlock: half the size.
#[derive(Module, Debug)]
pub struct DownBlock {
    /// 4x4, stride 2.
    pub conv1: Conv2d,
    /// 3x3.
    pub conv2: Conv2d,
    /// 1x1, where the number of channels changes.
    pub shortcut: Option<Conv2d>,
    /// The residual's weight γ, `[1]`.
    pub gamma: Param<Tensor<1>>,
}

impl DownBlock {
    fn new(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        Self {
            conv1: conv(inputs, outputs, 4, 2, 1, init).without_bias(),
            conv2: conv(outputs, outputs, 3, 1, 1, init).without_bias(),
            shortcut: shortcut(inputs, outputs, init),
            gamma: init.constant([1], 0.0),
        }
    }

    /// x: `[b, ci, h, w]`, returns `[b, co, h / 2, w / 2]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let [x, h] = ops::twice(x);
        let h = self.conv2.forward_leaky(self.conv1.forward_leaky(h, SLOPE), SLOPE);
        let x = ops::downsample(x, Filter::Box);
        self.join(self.shortcut.iter().fold(x, |x, shortcut| shortcut.forward(x)), h)
    }

    fn forward_tangent(&self, x: Tensor<4>, dx: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
        let ([x, h], [dx, dh]) = (ops::twice(x), ops::twice(dx));
        let (h, dh) = self.conv1.forward_tangent(h, dh, SLOPE);
        let (h, dh) = self.conv2.forward_tangent(h, dh, SLOPE);
        let halves = (ops::downsample(x, Filter::Box), ops::downsample(dx, Filter::Box));
        let (x, dx) = self.shortcut.iter().fold(halves, |(x, dx), shortcut| linear_tangent(shortcut, x, dx));
        (self.join(x, h), self.join(dx, dh))
    }

    /// x + γ h
    fn join(&self, x: Tensor<4>, h: Tensor<4>) -> Tensor<4> {
        let [_, c, _, _] = x.dims();
        let gamma = self.gamma.val();
        let zeros = Tensor::zeros([c], &gamma.device().without_autodiff());
        ops::add(x, ops::scale_shift(h, gamma.expand([c]), zeros, 1.0))
    }
}

/// A convolution without activation, and its tangent.
fn linear_tangent(conv: &Conv2d, x: Tensor<4>, dx: Tensor<4>) -> (Tensor<4>, Tensor<4>) {
    (conv.forward(x), conv.clone().without_bias().forward(dx))
}

/// Picture and sentence to how real and how matching they are together.
#[derive(Module, Debug)]
pub struct Discriminator {
    /// 3x3 at the picture's size.
    pub start: Conv2d,
    /// From the picture's size to 4x4.
    pub blocks: Vec<DownBlock>,
    /// 3x3, grid and sentence to twice the width.
    pub joint: Conv2d,
    /// 4x4, to one number.
    pub answer: Conv2d,
}

impl Discriminator {
    /// # Errors
    /// As [`DfganConfig::check`].
    pub fn new(config: &DfganConfig, init: &mut Init) -> Result<Self, String> {
        config.check()?;
        let joint = config.smallest() + config.sentence;
        Ok(Self {
            start: conv(config.channels, config.width, 3, 1, 1, init),
            blocks: config.widths().windows(2).map(|c| DownBlock::new(c[0], c[1], init)).collect(),
            joint: conv(joint, 2 * config.width, 3, 1, 1, init).without_bias(),
            answer: conv(2 * config.width, 1, GRID, 1, 0, init).without_bias(),
        })
    }

    /// Pictures alone.
    ///
    /// # Shapes
    /// x: `[b, channels, size, size]`, returns `[b, c, 4, 4]`, f32.
    pub fn features(&self, x: Tensor<4>) -> Tensor<4> {
        f32_pixels(self.blocks.iter().fold(self.start.forward(x), |x, block| block.forward(x)))
    }

    /// Features under a sentence.
    ///
    /// # Shapes
    /// features: `[b, c, 4, 4]`, sentence: `[b, sentence]`, returns `[b]`, f32.
    pub fn judge(&self, features: Tensor<4>, sentence: Tensor<2>) -> Tensor<1> {
        let [b, _, _, _] = features.dims();
        let x = self.joint.forward_leaky(with_sentence(features, sentence), SLOPE);
        ops::to_f32(self.answer.forward(x).reshape([b]))
    }

    /// The answer and its derivative along `dx` and `dsentence` together: `[b]` each, f32.
    ///
    /// # Shapes
    /// x and dx: `[b, channels, size, size]`, sentence and dsentence: `[b, sentence]`.
    pub fn forward_tangent(
        &self,
        x: Tensor<4>,
        dx: Tensor<4>,
        sentence: Tensor<2>,
        dsentence: Tensor<2>,
    ) -> (Tensor<1>, Tensor<1>) {
        let [b, _, _, _] = x.dims();
        let start = linear_tangent(&self.start, x, dx);
        let (x, dx) = self.blocks.iter().fold(start, |(x, dx), block| block.forward_tangent(x, dx));
        let (x, dx) = (f32_pixels(x), f32_pixels(dx));
        let (x, dx) = (with_sentence(x, sentence), with_sentence(dx, dsentence));
        let (x, dx) = self.joint.forward_tangent(x, dx, SLOPE);
        let (y, dy) = linear_tangent(&self.answer, x, dx);
        (ops::to_f32(y.reshape([b])), ops::to_f32(dy.reshape([b])))
    }
}

/// In f32, and channels-last in memory still.
fn f32_pixels(x: Tensor<4>) -> Tensor<4> {
    ops::to_f32(x.permute([0, 2, 3, 1])).permute([0, 3, 1, 2])
}

/// The sentence at every pixel, after the features. x: `[b, c, h, w]`, sentence: `[b, n]`, returns `[b, c + n, h, w]`.
fn with_sentence(x: Tensor<4>, sentence: Tensor<2>) -> Tensor<4> {
    let ([b, _, h, w], [_, n]) = (x.dims(), sentence.dims());
    Tensor::cat(vec![x, sentence.reshape([b, n, 1, 1]).expand([b, n, h, w])], 1)
}
