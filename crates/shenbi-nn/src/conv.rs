//! Convolution layers.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::init::Init;
use crate::ops::{self, Stride};

/// A convolution, as PyTorch's `Conv2d`.
#[derive(Module, Debug)]
pub struct Conv2d {
    /// `[co, ci / groups, kh, kw]`
    pub weight: Param<Tensor<4>>,
    /// `[co]`
    pub bias: Option<Param<Tensor<1>>>,
    /// Pixels between two outputs.
    #[module(skip)]
    pub stride: usize,
    /// Zeros added on each side, as [`Stride`] has it.
    #[module(skip)]
    pub padding: usize,
    /// Groups of channels, each of which sees its own inputs only.
    #[module(skip)]
    pub groups: usize,
}

impl Conv2d {
    /// He-initialised (times `gain`), zero bias. `kernel` and `stride` decide the padding: sizes divide by `stride` exactly.
    pub fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        gain: f32,
        init: &mut Init,
    ) -> Self {
        Self::grouped(inputs, outputs, kernel, Stride { stride, padding, groups: 1 }, gain, init)
    }

    /// The same with channels in groups, whose number divides `inputs` and `outputs`.
    pub fn grouped(inputs: usize, outputs: usize, kernel: usize, geometry: Stride, gain: f32, init: &mut Init) -> Self {
        let Stride { stride, padding, groups } = geometry;
        let inputs = inputs / groups;
        let weight = init.he([outputs, inputs, kernel, kernel], inputs * kernel * kernel, gain);
        Self { weight, bias: Some(init.constant([outputs], 0.0)), stride, padding, groups }
    }

    /// The same layer without a bias, for one that a normalisation follows.
    #[must_use]
    pub fn without_bias(self) -> Self {
        Self { bias: None, ..self }
    }

    /// # Shapes
    /// x: `[b, ci, h, w]`, returns `[b, co, h', w']`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward_leaky(x, 1.0)
    }

    /// The layer and a LeakyReLU of this slope.
    pub fn forward_leaky(&self, x: Tensor<4>, slope: f64) -> Tensor<4> {
        ops::conv2d(x, self.weight.val(), self.bias.as_ref().map(Param::val), self.geometry(), slope)
    }

    /// The layer with its LeakyReLU, and its tangent: y = leaky(W * x + b), dy = leaky'(y) · (W * dx).
    pub fn forward_tangent(&self, x: Tensor<4>, dx: Tensor<4>, slope: f64) -> (Tensor<4>, Tensor<4>) {
        let y = self.forward_leaky(x, slope);
        let dy = ops::conv2d(dx, self.weight.val(), None, self.geometry(), 1.0);
        if slope == 1.0 { (y, dy) } else { (y.clone(), ops::leaky_relu_tangent(y, dy, slope)) }
    }

    fn geometry(&self) -> Stride {
        Stride { stride: self.stride, padding: self.padding, groups: self.groups }
    }
}

/// A transposed convolution, as PyTorch's `ConvTranspose2d`.
#[derive(Module, Debug)]
pub struct ConvTranspose2d {
    /// `[ci, co, k, k]`
    pub weight: Param<Tensor<4>>,
    /// `[co]`
    pub bias: Option<Param<Tensor<1>>>,
    /// Output pixels between two inputs.
    #[module(skip)]
    pub stride: usize,
    /// Pixels cut from each side.
    #[module(skip)]
    pub padding: usize,
}

impl ConvTranspose2d {
    /// He-initialised for the taps that meet in one output pixel, zero bias.
    pub fn new(
        inputs: usize,
        outputs: usize,
        kernel: usize,
        stride: usize,
        padding: usize,
        gain: f32,
        init: &mut Init,
    ) -> Self {
        let taps = (kernel / stride).max(1);
        let weight = init.he([inputs, outputs, kernel, kernel], inputs * taps * taps, gain);
        Self { weight, bias: Some(init.constant([outputs], 0.0)), stride, padding }
    }

    /// The same layer without a bias, for one that a normalisation follows.
    #[must_use]
    pub fn without_bias(self) -> Self {
        Self { bias: None, ..self }
    }

    /// # Shapes
    /// x: `[b, ci, h, w]`, returns `[b, co, h', w']`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        self.forward_leaky(x, 1.0)
    }

    /// The layer and a LeakyReLU of this slope.
    pub fn forward_leaky(&self, x: Tensor<4>, slope: f64) -> Tensor<4> {
        let geometry = Stride { stride: self.stride, padding: self.padding, groups: 1 };
        ops::conv_transpose2d(x, self.weight.val(), self.bias.as_ref().map(Param::val), geometry, slope)
    }
}
