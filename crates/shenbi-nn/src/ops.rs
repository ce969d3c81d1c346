//! The tensor operations that layers call. One place decides how each is computed on each device: on the CPU by our
//! kernels, elsewhere by Burn's own operations.

use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::module;
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{Device, Tensor, activation};

use crate::kernels::{Kernels, Stride};

fn on_cpu(device: Device) -> bool {
    matches!(device.without_autodiff().as_dispatch(), DispatchDevice::Flex(_))
}

/// Cross-correlation, as PyTorch's `conv2d`.
///
/// # Shapes
/// x: `[b, ci, h, w]`, weight: `[co, ci, k, k]`, bias: `[co]`.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, stride: usize, padding: usize) -> Tensor<4> {
    if !on_cpu(x.device()) {
        return module::conv2d(x, weight, bias, ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1));
    }
    let bias = bias.unwrap_or_else(|| Tensor::zeros([weight.dims()[0]], &x.device().without_autodiff()));
    Tensor::from_dispatch(Dispatch::shenbi_conv2d(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        Stride { stride, padding },
    ))
}

/// The adjoint of [`conv2d`] in its input, as PyTorch's `conv_transpose2d`.
///
/// # Shapes
/// x: `[b, ci, h, w]`, weight: `[ci, co, k, k]`, bias: `[co]`.
pub fn conv_transpose2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: usize,
    padding: usize,
) -> Tensor<4> {
    if !on_cpu(x.device()) {
        let options = ConvTransposeOptions::new([stride; 2], [padding; 2], [0; 2], [1; 2], 1);
        return module::conv_transpose2d(x, weight, bias, options);
    }
    let ([_, _, h, w], [_, co, k, _]) = (x.dims(), weight.dims());
    let bias = bias.unwrap_or_else(|| Tensor::zeros([co], &x.device().without_autodiff()));
    Tensor::from_dispatch(Dispatch::shenbi_conv_transpose2d(
        x.into_dispatch(),
        weight.into_dispatch(),
        bias.into_dispatch(),
        [h, w].map(|side| (side - 1) * stride + k - 2 * padding),
        Stride { stride, padding },
    ))
}

/// max(x, slope · x) for a slope in [0, 1).
pub fn leaky_relu<const D: usize>(x: Tensor<D>, slope: f64) -> Tensor<D> {
    if on_cpu(x.device()) {
        return Tensor::from_dispatch(Dispatch::shenbi_leaky_relu(x.into_dispatch(), slope as f32));
    }
    activation::leaky_relu(x, slope)
}

/// LeakyReLU and its tangent: dy = dx where x > 0, slope · dx elsewhere.
pub fn leaky_relu_tangent<const D: usize>(x: Tensor<D>, dx: Tensor<D>, slope: f64) -> (Tensor<D>, Tensor<D>) {
    let mask = x.clone().without_autodiff().greater_scalar(0.0).float().mul_scalar(1.0 - slope).add_scalar(slope);
    (leaky_relu(x, slope), dx * mask)
}

/// relu((x - μ) / √(σ² + eps) · gamma + beta) with the batch's own mean and (biased) variance of each channel, which are
/// returned too, `[c]` each.
///
/// # Shapes
/// x: `[b, c, h, w]`, gamma and beta: `[b, c]`.
pub fn batch_norm_relu(x: Tensor<4>, gamma: Tensor<2>, beta: Tensor<2>, eps: f64) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
    let [b, c, _, _] = x.dims();
    if on_cpu(x.device()) {
        let (x, gamma, beta) = (x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch());
        let (y, stats) = Dispatch::shenbi_batch_norm_relu(x, gamma, beta, eps as f32);
        let stats = Tensor::<2>::from_dispatch(stats).without_autodiff();
        let part = |i| stats.clone().narrow(0, i, 1).reshape([c]);
        return (Tensor::from_dispatch(y), part(0), part(1));
    }
    let mean = x.clone().mean_dims(&[0, 2, 3]); // [1, c, 1, 1]
    let var = (x.clone() - mean.clone()).powi_scalar(2).mean_dims(&[0, 2, 3]);
    let scale = gamma.reshape([b, c, 1, 1]) / var.clone().add_scalar(eps).sqrt(); // [b, c, 1, 1]
    let y = (x - mean.clone()) * scale + beta.reshape([b, c, 1, 1]);
    (relu(y), mean.without_autodiff().reshape([c]), var.without_autodiff().reshape([c]))
}

/// max(x, 0).
pub fn relu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    leaky_relu(x, 0.0)
}

/// tanh(x).
pub fn tanh<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    if on_cpu(x.device()) {
        return Tensor::from_dispatch(Dispatch::shenbi_tanh(x.into_dispatch()));
    }
    x.tanh()
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
