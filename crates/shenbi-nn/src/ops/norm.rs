//! Normalisation, and scales and shifts by channel.

use burn::backend::Dispatch;
use burn::tensor::{DType, Tensor};

use super::{autodiff, leaky_relu, leaky_relu_tangent, on_cpu, to_f32};
use crate::kernels::{Kernels, Normalize, Over, activation_type};

/// Batch normalisation, then LeakyReLU: leaky_relu((x - μ) / √(σ² + eps) · gamma + beta) with the batch's own mean and
/// (biased) variance of each channel, which are returned too, `[c]` each.
///
/// # Shapes
/// x: `[b, c, h, w]`, gamma and beta: `[b, c]`, or `[c]`.
pub fn batch_norm<const D: usize>(
    x: Tensor<4>,
    gamma: Tensor<D>,
    beta: Tensor<D>,
    eps: f64,
    slope: f64,
) -> (Tensor<4>, Tensor<1>, Tensor<1>) {
    let [_, c, _, _] = x.dims();
    if on_cpu(x.device()) {
        let x = x.cast(activation_type());
        let (x, gamma, beta) = (x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch());
        let how = Normalize { over: Over::Batch, eps: eps as f32, slope: slope as f32 };
        let (y, stats) = Dispatch::shenbi_norm(x, gamma, beta, how);
        let stats = Tensor::<2>::from_dispatch(stats).without_autodiff();
        let part = |i| stats.clone().narrow(0, i, 1).reshape([c]);
        return (Tensor::from_dispatch(y), part(0), part(1));
    }
    let mean = x.clone().mean_dims(&[0, 2, 3]); // [1, c, 1, 1]
    let var = (x.clone() - mean.clone()).powi_scalar(2).mean_dims(&[0, 2, 3]);
    let rows = gamma.dims().iter().product::<usize>() / c;
    let scale = gamma.reshape([rows, c, 1, 1]) / var.clone().add_scalar(eps).sqrt(); // [b or 1, c, 1, 1]
    let y = (x - mean.clone()) * scale + beta.reshape([rows, c, 1, 1]);
    (leaky_relu(y, slope), mean.without_autodiff().reshape([c]), var.without_autodiff().reshape([c]))
}

/// The same with given statistics, `[c]` each.
///
/// # Shapes
/// As [`batch_norm`].
pub fn batch_norm_eval<const D: usize>(
    x: Tensor<4>,
    stats: [Tensor<1>; 2],
    gamma: Tensor<D>,
    beta: Tensor<D>,
    eps: f64,
    slope: f64,
) -> Tensor<4> {
    let [_, c, _, _] = x.dims();
    let [mean, var] = stats;
    if on_cpu(x.device()) && !autodiff(&x.device()) && !autodiff(&gamma.device()) {
        let stats = Tensor::stack::<2>(vec![mean, var], 0);
        let x = x.cast(activation_type()).into_dispatch();
        let (stats, gamma, beta) = (stats.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch());
        let how = Normalize { over: Over::Batch, eps: eps as f32, slope: slope as f32 };
        return Tensor::from_dispatch(Dispatch::shenbi_norm_apply(x, stats, gamma, beta, how));
    }
    let rows = gamma.dims().iter().product::<usize>() / c;
    let scale = gamma.reshape([rows, c, 1, 1]) / var.reshape([1, c, 1, 1]).add_scalar(eps).sqrt();
    let x = x.cast(DType::F32);
    leaky_relu((x - mean.reshape([1, c, 1, 1])) * scale + beta.reshape([rows, c, 1, 1]), slope)
}

/// leaky_relu(x · gamma + beta), each channel of each picture by its own: DF-GAN's affine transformation (2008.05865).
///
/// # Shapes
/// As [`batch_norm`].
pub fn scale_shift<const D: usize>(x: Tensor<4>, gamma: Tensor<D>, beta: Tensor<D>, slope: f64) -> Tensor<4> {
    let [_, c, _, _] = x.dims();
    if on_cpu(x.device()) {
        let x = x.cast(activation_type());
        let (x, gamma, beta) = (x.into_dispatch(), gamma.into_dispatch(), beta.into_dispatch());
        let how = Normalize { over: Over::Nothing, eps: 0.0, slope: slope as f32 };
        return Tensor::from_dispatch(Dispatch::shenbi_norm(x, gamma, beta, how).0);
    }
    let rows = gamma.dims().iter().product::<usize>() / c;
    leaky_relu(x * gamma.reshape([rows, c, 1, 1]) + beta.reshape([rows, c, 1, 1]), slope)
}

/// [`batch_norm`] with its tangent, x̂ being x with mean 0 and variance 1 in each channel of the batch:
/// dy = leaky'(y) · gamma / √(σ² + eps) · (dx - mean(dx) - x̂ mean(x̂ dx)). Each picture's tangent depends on the whole
/// batch. Differentiable in everything.
///
/// # Shapes
/// x and dx: `[b, c, h, w]`, gamma and beta: `[c]`; returns y and dy like x.
pub fn batch_norm_tangent(
    x: Tensor<4>,
    dx: Tensor<4>,
    gamma: Tensor<1>,
    beta: Tensor<1>,
    eps: f64,
    slope: f64,
) -> (Tensor<4>, Tensor<4>) {
    let ([b, c, h, w], dtype) = (x.dims(), x.dtype());
    let rows = |x: Tensor<4>| to_f32(x).permute([0, 2, 3, 1]).reshape([b * h * w, c]); // [b h w, c]
    let pictures = |rows: Tensor<2>| rows.reshape([b, h, w, c]).permute([0, 3, 1, 2]).cast(dtype);
    let (x, dx, gamma) = (rows(x), rows(dx), gamma.unsqueeze::<2>());
    let x = x.clone() - x.mean_dim(0);
    let sigma = x.clone().powi_scalar(2).mean_dim(0).add_scalar(eps).sqrt(); // [1, c]
    let x = x / sigma.clone();
    let common = (x.clone() * dx.clone()).mean_dim(0); // [1, c]
    let dy = (dx.clone() - dx.mean_dim(0) - x.clone() * common) * (gamma.clone() / sigma);
    let y = leaky_relu(x * gamma + beta.unsqueeze(), slope);
    let dy = if slope == 1.0 { dy } else { leaky_relu_tangent(y.clone(), dy, slope) };
    (pictures(y), pictures(dy))
}
