//! The tensor operations that layers call. One place decides how each is computed on each device.

use burn::tensor::module;
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{Tensor, activation};

/// Cross-correlation, as PyTorch's `conv2d`.
///
/// # Shapes
/// x: `[b, ci, h, w]`, weight: `[co, ci, kh, kw]`, bias: `[co]`.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, stride: usize, padding: usize) -> Tensor<4> {
    module::conv2d(x, weight, bias, ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1))
}

/// The adjoint of [`conv2d`] in its input, as PyTorch's `conv_transpose2d`.
///
/// # Shapes
/// x: `[b, ci, h, w]`, weight: `[ci, co, kh, kw]`, bias: `[co]`.
pub fn conv_transpose2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    module::conv_transpose2d(x, weight, bias, ConvTransposeOptions::new([stride; 2], [padding; 2], [0; 2], [1; 2], 1))
}

/// max(x, slope · x) for a slope in [0, 1), written as ((1 + slope) x + (1 - slope) |x|) / 2: several times faster than
/// the masked form on the CPU, with the same value and gradient (at 0 the mean of the two slopes).
pub fn leaky_relu<const D: usize>(x: Tensor<D>, slope: f64) -> Tensor<D> {
    x.clone().mul_scalar((1.0 + slope) / 2.0) + x.abs().mul_scalar((1.0 - slope) / 2.0)
}

/// LeakyReLU and its tangent: dy = dx where x > 0, slope · dx elsewhere.
pub fn leaky_relu_tangent<const D: usize>(x: Tensor<D>, dx: Tensor<D>, slope: f64) -> (Tensor<D>, Tensor<D>) {
    let sign = x.clone().detach().sign();
    let mask = sign.mul_scalar((1.0 - slope) / 2.0).add_scalar((1.0 + slope) / 2.0);
    (leaky_relu(x, slope), dx * mask)
}

/// max(x, 0).
pub fn relu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    leaky_relu(x, 0.0)
}

/// log(1 + eˣ), without overflow.
pub fn softplus<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    activation::softplus(x, 1.0)
}

/// Rows of length one: x / max(‖x‖, 1e-6).
///
/// # Shapes
/// x: `[b, n]`.
pub fn normalize(x: Tensor<2>) -> Tensor<2> {
    let norm = x.clone().powi_scalar(2).sum_dim(1).add_scalar(1e-12).sqrt();
    x / norm
}
