//! Spectral normalisation (Miyato, Kataoka, Koyama & Yoshida, 1802.05957): a layer divides its weight W by its largest
//! singular value, so that it stretches nothing.
//!
//! With W as a matrix of output channels by everything else, it becomes W / σ (eq. 8). The singular value is estimated
//! as σ = uᵀ W v, with u and v from one power iteration a training step (algorithm 1):
//!
//! u ← W v / ‖W v‖, v ← Wᵀ u / ‖Wᵀ u‖.
//!
//! Networks are values here: a forward pass divides by σ at the u and v at hand, and `refreshed` returns the layer with
//! newer ones. Call it once a step, before D's forward passes. u and v are buffers, saved with the weights; gradients
//! pass through W in σ and take u and v for constants (section 2.3), as with PyTorch's
//! `parametrizations.spectral_norm`. As there, an iteration begins with u where the paper's begins with v, which shifts
//! the sequence by half a step; and the vectors of a new layer have seen 15 iterations.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::conv::Conv2d;
use crate::init::Init;
use crate::linear::Linear;
use crate::ops::{self, Stride};

/// Iterations that a new layer's vectors have seen.
const FIRST_ITERATIONS: usize = 15;

/// The singular vectors of a weight's largest singular value, as far as they are known.
#[derive(Module, Debug)]
pub struct SpectralNorm {
    /// On the outputs' side, `[co]`.
    pub u: Param<Tensor<1>>,
    /// On the inputs' side, `[n]`, n being the numbers of W for one output.
    pub v: Param<Tensor<1>>,
}

impl SpectralNorm {
    /// For this weight, `[co, ..]`.
    pub fn new<const D: usize>(weight: &Tensor<D>, init: &mut Init) -> Self {
        let [rows, columns] = matrix(weight.clone()).dims();
        let mut vector = |n| init.normal([n], 1.0).set_require_grad(false);
        let drawn = Self { u: vector(rows), v: vector(columns) };
        (0..FIRST_ITERATIONS).fold(drawn, |norm, _| norm.refreshed(weight))
    }

    /// W / σ.
    ///
    /// # Shapes
    /// weight: `[co, ..]`, returns the same.
    pub fn weight<const D: usize>(&self, weight: Tensor<D>) -> Tensor<D> {
        let u = self.u.val().without_autodiff().unsqueeze_dim::<2>(0); // [1, co]
        let v = self.v.val().without_autodiff().unsqueeze_dim::<2>(1); // [n, 1]
        let sigma = u.matmul(matrix(weight.clone()).matmul(v)); // [1, 1]
        weight / sigma.reshape([1; D])
    }

    /// The vectors after one power iteration on this weight.
    #[must_use]
    pub fn refreshed<const D: usize>(self, weight: &Tensor<D>) -> Self {
        let w = matrix(weight.clone().without_autodiff()); // [co, n]
        let v = self.v.val().without_autodiff().unsqueeze_dim::<2>(0); // [1, n]
        let u = ops::normalize(v.matmul(w.clone().transpose())); // [1, co]
        let v = ops::normalize(u.clone().matmul(w)); // [1, n]
        let buffer = |new: Tensor<2>| move |_| new.flatten::<1>(0, 1).set_require_grad(false);
        Self { u: self.u.map(buffer(u)), v: self.v.map(buffer(v)) }
    }
}

/// `[co, ..]` as `[co, n]`.
fn matrix<const D: usize>(weight: Tensor<D>) -> Tensor<2> {
    let rows = weight.dims()[0];
    let columns = weight.dims().iter().skip(1).product();
    weight.reshape([rows, columns])
}

/// A convolution, spectrally normalised if it is to be.
#[derive(Module, Debug)]
pub struct SpectralConv2d {
    /// With the weight as it is trained.
    pub layer: Conv2d,
    /// None for the plain convolution.
    pub norm: Option<SpectralNorm>,
}

impl SpectralConv2d {
    /// The convolution, normalised if `spectral`.
    pub fn new(layer: Conv2d, spectral: bool, init: &mut Init) -> Self {
        let norm = spectral.then(|| SpectralNorm::new(&layer.weight.val(), init));
        Self { layer, norm }
    }

    fn weight(&self) -> Tensor<4> {
        let weight = self.layer.weight.val();
        match &self.norm {
            Some(norm) => norm.weight(weight),
            None => weight,
        }
    }

    fn run(&self, x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, slope: f64) -> Tensor<4> {
        let Conv2d { stride, padding, groups, .. } = self.layer;
        ops::conv2d(x, weight, bias, Stride { stride, padding, groups }, slope)
    }

    /// The layer and a LeakyReLU of this slope (1 for none).
    ///
    /// # Shapes
    /// x: `[b, ci, h, w]`, returns `[b, co, h', w']`.
    pub fn forward_leaky(&self, x: Tensor<4>, slope: f64) -> Tensor<4> {
        self.run(x, self.weight(), self.layer.bias.as_ref().map(Param::val), slope)
    }

    /// The layer with its LeakyReLU, and its tangent.
    pub fn forward_tangent(&self, x: Tensor<4>, dx: Tensor<4>, slope: f64) -> (Tensor<4>, Tensor<4>) {
        let weight = self.weight();
        let y = self.run(x, weight.clone(), self.layer.bias.as_ref().map(Param::val), slope);
        let dy = self.run(dx, weight, None, 1.0);
        if slope == 1.0 { (y, dy) } else { (y.clone(), ops::leaky_relu_tangent(y, dy, slope)) }
    }

    /// After one power iteration.
    #[must_use]
    pub fn refreshed(self) -> Self {
        let weight = self.layer.weight.val();
        Self { norm: self.norm.map(|norm| norm.refreshed(&weight)), ..self }
    }
}

/// A fully connected layer, spectrally normalised if it is to be.
#[derive(Module, Debug)]
pub struct SpectralLinear {
    /// With the weight as it is trained.
    pub layer: Linear,
    /// None for the plain layer.
    pub norm: Option<SpectralNorm>,
}

impl SpectralLinear {
    /// The layer, normalised if `spectral`.
    pub fn new(layer: Linear, spectral: bool, init: &mut Init) -> Self {
        let norm = spectral.then(|| SpectralNorm::new(&layer.weight.val(), init));
        Self { layer, norm }
    }

    fn weight(&self) -> Tensor<2> {
        let weight = self.layer.weight.val();
        match &self.norm {
            Some(norm) => norm.weight(weight),
            None => weight,
        }
    }

    /// # Shapes
    /// x: `[.., in]`, of any float type; returns `[.., out]`, f32.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        ops::linear(x, self.weight(), self.layer.bias.as_ref().map(Param::val))
    }

    /// The layer and its tangent.
    pub fn forward_tangent<const D: usize>(&self, x: Tensor<D>, dx: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
        let weight = self.weight();
        let y = ops::linear(x, weight.clone(), self.layer.bias.as_ref().map(Param::val));
        (y, ops::linear(dx, weight, None))
    }

    /// After one power iteration.
    #[must_use]
    pub fn refreshed(self) -> Self {
        let weight = self.layer.weight.val();
        Self { norm: self.norm.map(|norm| norm.refreshed(&weight)), ..self }
    }
}
