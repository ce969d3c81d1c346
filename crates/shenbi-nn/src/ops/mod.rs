//! The tensor operations that layers call. One place decides how each is computed on each device: on the CPU by our
//! kernels, elsewhere by Burn's own operations.

mod bottleneck;
mod norm;

use burn::backend::{Dispatch, DispatchDevice};
use burn::tensor::module;
use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{DType, Device, Int, Tensor, TensorData, activation};

pub use crate::kernels::Filter;
use crate::kernels::{AdamStep, After, Kernels, Resize, Rows, activation_type};
pub use bottleneck::{Bottleneck, bottleneck, bottleneck_tangent};
pub use norm::{batch_norm, batch_norm_eval, batch_norm_tangent, scale_shift};

pub(crate) fn on_cpu(device: Device) -> bool {
    matches!(device.without_autodiff().as_dispatch(), DispatchDevice::Flex(_))
}

/// Whether something here could want a gradient.
pub(crate) fn autodiff(device: &Device) -> bool {
    device.is_autodiff()
}

/// Operations of the extension cannot lack a tensor: a constant stands in for a missing bias.
fn after(bias: Option<Tensor<1>>, slope: f64, dtype: DType, device: &Device) -> (Tensor<1>, After) {
    let after = After { bias: bias.is_some(), slope: slope as f32, dtype };
    (bias.unwrap_or_else(|| Tensor::zeros([1], &device.clone().without_autodiff())), after)
}

/// A convolution's steps and zeros, the same in both directions, and groups.
pub use crate::kernels::Stride;

/// leaky_relu(cross-correlation + bias), as PyTorch's `conv2d`; a slope of 1 is no activation.
///
/// # Shapes
/// x: `[b, ci, h, w]`, weight: `[co, ci / groups, kh, kw]`, bias: `[co]`.
pub fn conv2d(x: Tensor<4>, weight: Tensor<4>, bias: Option<Tensor<1>>, stride: Stride, slope: f64) -> Tensor<4> {
    if !on_cpu(x.device()) {
        let [_, _, kh, kw] = weight.dims();
        let options = ConvOptions::new([stride.stride; 2], stride.zeros([kh, kw]), [1; 2], stride.groups);
        return leaky_relu(module::conv2d(x, weight, bias, options), slope);
    }
    conv2d_on_cpu(x, weight, bias, stride, slope, activation_type())
}

fn conv2d_on_cpu(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: Stride,
    slope: f64,
    dtype: DType,
) -> Tensor<4> {
    let (bias, after) = after(bias, slope, dtype, &x.device());
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::shenbi_conv2d(x, weight, bias, stride, after))
}

/// x Wᵀ + b, in f32.
///
/// # Shapes
/// x: `[.., in]`, of any float type; weight: `[out, in]`, bias: `[out]`; returns `[.., out]`.
pub fn linear<const D: usize>(x: Tensor<D>, weight: Tensor<2>, bias: Option<Tensor<1>>) -> Tensor<D> {
    let [outputs, inputs] = weight.dims();
    let mut shape = x.dims();
    let rows = shape.iter().take(D - 1).product::<usize>();
    shape[D - 1] = outputs;
    if !on_cpu(x.device()) {
        let y = x.cast(DType::F32).reshape([rows, inputs]).matmul(weight.transpose()); // [rows, out]
        return bias.map_or(y.clone(), |bias| y + bias.unsqueeze()).reshape(shape);
    }
    // A 1x1 convolution of a picture whose pixels are the rows.
    let width = (1..=256.min(rows)).rev().find(|width| rows.is_multiple_of(*width)).unwrap_or(1);
    let pixels = x.reshape([rows / width, 1, width, inputs]).permute([0, 3, 1, 2]); // [rows / width, in, 1, width]
    let stride = Stride { stride: 1, padding: 0, groups: 1 };
    let y = conv2d_on_cpu(pixels, weight.reshape([outputs, inputs, 1, 1]), bias, stride, 1.0, DType::F32);
    y.permute([0, 2, 3, 1]).reshape(shape)
}

/// leaky_relu(the adjoint of cross-correlation + bias), as PyTorch's `conv_transpose2d`; a slope of 1 is no activation.
///
/// # Shapes
/// x: `[b, ci, h, w]`, weight: `[ci, co / groups, k, k]`, bias: `[co]`.
pub fn conv_transpose2d(
    x: Tensor<4>,
    weight: Tensor<4>,
    bias: Option<Tensor<1>>,
    stride: Stride,
    slope: f64,
) -> Tensor<4> {
    if !on_cpu(x.device()) {
        let Stride { stride, padding, groups } = stride;
        let options = ConvTransposeOptions::new([stride; 2], [padding; 2], [0; 2], [1; 2], groups);
        return leaky_relu(module::conv_transpose2d(x, weight, bias, options), slope);
    }
    let ([_, _, h, w], [_, _, k, _]) = (x.dims(), weight.dims());
    let size = [h, w].map(|side| (side - 1) * stride.stride + k - 2 * stride.padding);
    let (bias, after) = after(bias, slope, activation_type(), &x.device());
    let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
    Tensor::from_dispatch(Dispatch::shenbi_conv_transpose2d(x, weight, bias, size, stride, after))
}

/// max(x, slope · x) for a slope in [0, 1].
pub fn leaky_relu<const D: usize>(x: Tensor<D>, slope: f64) -> Tensor<D> {
    if slope == 1.0 {
        return x;
    }
    if on_cpu(x.device()) {
        return Tensor::from_dispatch(Dispatch::shenbi_leaky_relu(x.into_dispatch(), slope as f32));
    }
    activation::leaky_relu(x, slope)
}

/// LeakyReLU's tangent from its output `y` (or its input): dx where y > 0, slope · dx elsewhere.
pub fn leaky_relu_tangent<const D: usize>(y: Tensor<D>, dx: Tensor<D>, slope: f64) -> Tensor<D> {
    let y = y.without_autodiff();
    if on_cpu(dx.device()) {
        let y = if autodiff(&dx.device()) { y.autodiff() } else { y };
        let (y, dx) = (y.into_dispatch(), dx.into_dispatch());
        return Tensor::from_dispatch(Dispatch::shenbi_leaky_relu_backward(y, dx, slope as f32));
    }
    let mask = y.greater_scalar(0.0).float().mul_scalar(1.0 - slope).add_scalar(slope);
    dx * mask
}

/// max(x, 0).
pub fn relu<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    leaky_relu(x, 0.0)
}

/// The same in f32: activations may be bf16 on the CPU, losses never are.
pub fn to_f32<const D: usize>(x: Tensor<D>) -> Tensor<D> {
    x.cast(DType::F32)
}

/// tanh(x), in f32.
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

/// Pictures at half the size: average pooling, or [1, 3, 3, 1] in each direction (StyleGAN2, 1912.04958) with zeros
/// outside. Linear: its tangent is itself.
///
/// # Shapes
/// x: `[b, c, h, w]`, both sides even; returns `[b, c, h / 2, w / 2]`.
pub fn downsample(x: Tensor<4>, filter: Filter) -> Tensor<4> {
    if on_cpu(x.device()) {
        let how = Resize { filter, gain: 1.0, double: false };
        return Tensor::from_dispatch(Dispatch::shenbi_resample(x.into_dispatch(), how));
    }
    let [_, c, _, _] = x.dims();
    let (weight, padding) = depthwise(filter, c, 1.0, &x.device());
    module::conv2d(x, weight, None, ConvOptions::new([2; 2], [padding; 2], [1; 2], c))
}

/// Pictures at twice the size: nearest neighbour, or [1, 3, 3, 1] in each direction. Linear: its tangent is itself.
///
/// # Shapes
/// x: `[b, c, h, w]`, returns `[b, c, 2 h, 2 w]`.
pub fn upsample(x: Tensor<4>, filter: Filter) -> Tensor<4> {
    if on_cpu(x.device()) {
        let how = Resize { filter, gain: 4.0, double: true };
        return Tensor::from_dispatch(Dispatch::shenbi_resample(x.into_dispatch(), how));
    }
    let [_, c, _, _] = x.dims();
    let (weight, padding) = depthwise(filter, c, 4.0, &x.device());
    let options = ConvTransposeOptions::new([2; 2], [padding; 2], [0; 2], [1; 2], c);
    module::conv_transpose2d(x, weight, None, options)
}

/// The filter as a depthwise convolution's weight, `[c, 1, k, k]`, and its padding.
fn depthwise(filter: Filter, channels: usize, gain: f32, device: &Device) -> (Tensor<4>, usize) {
    let taps: &[f32] = match filter {
        Filter::Box => &[0.5, 0.5],
        Filter::Binomial => &[0.125, 0.375, 0.375, 0.125],
    };
    let (k, device) = (taps.len(), device.clone().without_autodiff());
    let square: Vec<f32> = taps.iter().flat_map(|a| taps.iter().map(move |b| a * b * gain)).collect();
    let weight = Tensor::<4>::from_data(TensorData::new(square, [1, 1, k, k]), &device);
    (weight.repeat_dim(0, channels), k / 2 - 1)
}

/// Adam's step on one tensor without autodiff: the parameter and its moments afterwards.
pub fn adam(
    param: Tensor<1>,
    grad: Tensor<1>,
    first: Option<Tensor<1>>,
    second: Tensor<1>,
    step: AdamStep,
) -> (Tensor<1>, Option<Tensor<1>>, Tensor<1>) {
    if on_cpu(param.device()) {
        let keeps_first = first.is_some();
        let first = first.unwrap_or_else(|| Tensor::zeros([1], &param.device())).into_dispatch();
        let (param, grad, second) = (param.into_dispatch(), grad.into_dispatch(), second.into_dispatch());
        let (param, first, second) = Dispatch::shenbi_adam(param, grad, first, second, step);
        let first = keeps_first.then(|| Tensor::from_dispatch(first));
        return (Tensor::from_dispatch(param), first, Tensor::from_dispatch(second));
    }
    let [beta1, beta2] = [step.beta1, step.beta2].map(f64::from);
    let t = step.step as f64;
    let square = grad.clone() * grad.clone();
    let second = second.mul_scalar(beta2) + square.mul_scalar(1.0 - beta2);
    let first = first.map(|first| first.mul_scalar(beta1) + grad.clone().mul_scalar(1.0 - beta1));
    let denominator = second.clone().sqrt().div_scalar((1.0 - beta2.powf(t)).sqrt()).add_scalar(step.eps);
    let direction = (first.clone().unwrap_or(grad) / denominator).div_scalar(1.0 - beta1.powf(t));
    let rms = direction.clone().powi_scalar(2).mean().sqrt();
    let bound = rms.div_scalar(step.max_rms).clamp_min(1.0).recip();
    let param = param.mul_scalar(1.0 - step.lr * step.weight_decay);
    (param - direction * bound.mul_scalar(step.lr), first, second)
}

/// average + rate · (value - average), without autodiff.
pub fn approach<const D: usize>(average: Tensor<D>, value: Tensor<D>, rate: f64) -> Tensor<D> {
    if on_cpu(average.device()) {
        let (average, value) = (average.into_dispatch(), value.into_dispatch());
        return Tensor::from_dispatch(Dispatch::shenbi_approach(average, value, rate as f32));
    }
    average.clone() + (value - average).mul_scalar(rate)
}

/// The states of an LSTM from zeros, from its inputs' products (gates i, f, g, o, biases included), in f32.
///
/// # Shapes
/// gates: `[t, b, 4h]`, recurrent: `[4h, h]`; returns `[t, b, h]`.
pub fn lstm(gates: Tensor<3>, recurrent: Tensor<2>) -> Tensor<3> {
    if on_cpu(gates.device()) {
        return Tensor::from_dispatch(Dispatch::shenbi_lstm(gates.into_dispatch(), recurrent.into_dispatch()));
    }
    let ([t, b, _], [_, h]) = (gates.dims(), recurrent.dims());
    let zeros = || Tensor::<2>::zeros([b, h], &gates.device());
    let (mut state, mut cell, mut states) = (zeros(), zeros(), Vec::with_capacity(t));
    for step in 0..t {
        let now = gates.clone().narrow(0, step, 1).reshape([b, 4 * h]) + state.matmul(recurrent.clone().transpose());
        let part = |i: usize| now.clone().narrow(1, i * h, h);
        cell = activation::sigmoid(part(1)) * cell + activation::sigmoid(part(0)) * part(2).tanh();
        state = activation::sigmoid(part(3)) * cell.clone().tanh();
        states.push(state.clone());
    }
    Tensor::stack(states, 0)
}

/// The weighted sum of -log softmax(W x + b) at each row's target, without ever holding all logits on the CPU.
///
/// # Shapes
/// x: `[n, h]`, weight: `[v, h]`, bias: `[v]`, rows: `n` of them; returns `[1]`.
///
/// # Panics
/// A target is no token of the vocabulary.
pub fn nll(x: Tensor<2>, weight: Tensor<2>, bias: Tensor<1>, rows: Rows) -> Tensor<1> {
    let device = x.device();
    if on_cpu(device.clone()) {
        let (x, weight, bias) = (x.into_dispatch(), weight.into_dispatch(), bias.into_dispatch());
        return Tensor::from_dispatch(Dispatch::shenbi_nll(x, weight, bias, rows));
    }
    let device = device.without_autodiff();
    let n = rows.targets.len();
    let targets: Vec<i32> = rows.targets.iter().map(|target| *target as i32).collect();
    let targets = Tensor::<2, Int>::from_data(TensorData::new(targets, [n, 1]), &device);
    let weights = Tensor::<2>::from_data(TensorData::new(rows.weights.to_vec(), [n, 1]), &device);
    let log = activation::log_softmax(x.matmul(weight.transpose()) + bias.unsqueeze(), 1);
    (log.gather(1, targets) * weights).sum().neg()
}

/// a + b, in b's type, one pass from end to end where both lie channels-last.
///
/// # Shapes
/// a and b: `[b, c, h, w]`, returns the same.
pub fn add(a: Tensor<4>, b: Tensor<4>) -> Tensor<4> {
    let dtype = b.dtype();
    (a.permute([0, 2, 3, 1]).cast(dtype) + b.permute([0, 2, 3, 1])).permute([0, 3, 1, 2])
}

/// x for two uses, whose gradients are then added in one pass too.
///
/// # Shapes
/// x: `[b, c, h, w]`, returns the same twice.
pub fn twice(x: Tensor<4>) -> [Tensor<4>; 2] {
    let x = x.permute([0, 2, 3, 1]);
    [x.clone(), x].map(|x| x.permute([0, 3, 1, 2]))
}
