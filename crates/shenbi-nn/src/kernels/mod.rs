//! Our CPU kernels as Burn operations with handwritten gradients: an extension of the Flex backend and of autodiff
//! over it. Layers do not call this; [`crate::ops`] does, on CPU tensors.
//!
//! Pictures come out channels-last in memory (their shape stays `[b, c, h, w]`) and, at [`Precision::Bf16`], as bf16
//! tensors. What comes in may lie as it likes.

mod autodiff;
mod bottleneck;
mod conv;
mod flex;
mod flex_gradients;
mod memory;
mod packed;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Backend, backend_extension};
use burn::tensor::DType;
use shenbi_kernels as kernels;

/// Numbers inside networks on the CPU: f32, or bf16 operands and activations with f32 sums.
pub use kernels::{
    AdamStep, Filter, Head, KernelError, MaxPool, Over, Precision, active_isa, auto_precision, describe, nll, sample,
};

mod precision;
mod sequence;

pub use conv::{After, Stride};
pub use precision::{in_f32, in_split_f32, precision, set_precision, splits};
pub use sequence::Rows;

/// What activations between layers are stored as on the CPU.
pub fn activation_type() -> DType {
    flex::activation_type()
}

/// How a normalisation is done.
#[derive(Clone, Copy, Debug)]
pub struct Normalize {
    /// Whose values share statistics.
    pub over: Over,
    /// Added to the variance.
    pub eps: f32,
    /// Of the LeakyReLU that follows; 1 for none.
    pub slope: f32,
}

/// How pictures are halved, or doubled.
#[derive(Clone, Copy, Debug)]
pub struct Resize {
    /// What a small pixel is made of.
    pub filter: Filter,
    /// Multiplies the result.
    pub gain: f32,
    /// To twice the size, by the adjoint; else to half.
    pub double: bool,
}

/// The numbers of an inverted bottleneck.
#[derive(Clone, Copy, Debug)]
pub struct Bottleneck {
    /// Groups of the 3x3 convolution.
    pub groups: usize,
    /// Of the LeakyReLUs.
    pub slope: f32,
}

/// The operations. A `slope` is that of a LeakyReLU (1 for none) which is part of the operation.
#[backend_extension(Flex, Autodiff)]
pub trait Kernels: Backend {
    /// x `[b, ci, h, w]`, weight `[co, ci / groups, kh, kw]`, bias `[co]`.
    fn shenbi_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: Stride,
        after: After,
    ) -> FloatTensor<Self>;
    /// x `[b, ci, h, w]`, weight `[ci, co / groups, k, k]`, bias `[co]`, to `[b, co, size]`.
    fn shenbi_conv_transpose2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        size: [usize; 2],
        stride: Stride,
        after: After,
    ) -> FloatTensor<Self>;
    /// x + w3 a(w2 * a(w1 x + b1) + b2), where a is a LeakyReLU; x `[b, c, h, w]`, w1 `[n, c, 1, 1]`, w2 `[n, n / groups, 3,
    /// 3]`, w3 `[c, n, 1, 1]`, biases `[n]`.
    fn shenbi_bottleneck(
        x: FloatTensor<Self>,
        w1: FloatTensor<Self>,
        b1: FloatTensor<Self>,
        w2: FloatTensor<Self>,
        b2: FloatTensor<Self>,
        w3: FloatTensor<Self>,
        how: Bottleneck,
    ) -> FloatTensor<Self>;
    /// `shenbi_bottleneck`, and its derivative along dx, whose gradients in x and in the biases are zero.
    #[allow(clippy::too_many_arguments)]
    fn shenbi_bottleneck_tangent(
        x: FloatTensor<Self>,
        dx: FloatTensor<Self>,
        w1: FloatTensor<Self>,
        b1: FloatTensor<Self>,
        w2: FloatTensor<Self>,
        b2: FloatTensor<Self>,
        w3: FloatTensor<Self>,
        how: Bottleneck,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// max(x, slope x).
    fn shenbi_leaky_relu(x: FloatTensor<Self>, slope: f32) -> FloatTensor<Self>;
    /// dy where y > 0, slope dy elsewhere. Differentiable in dy.
    fn shenbi_leaky_relu_backward(y: FloatTensor<Self>, dy: FloatTensor<Self>, slope: f32) -> FloatTensor<Self>;
    /// tanh(x), in f32.
    fn shenbi_tanh(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// leaky_relu((x - mean) / sqrt(var + eps) * gamma + beta) with x's own statistics, which come second, `[2, c]` or
    /// `[2, b * groups]`. x `[b, c, h, w]`, gamma and beta `[c]` or `[b, c]`.
    fn shenbi_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        how: Normalize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// The same with given statistics. Not differentiable.
    fn shenbi_norm_apply(
        x: FloatTensor<Self>,
        stats: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        how: Normalize,
    ) -> FloatTensor<Self>;
    /// x `[b, c, h, w]` at half the size: gain * filter(x), or its adjoint, at twice the size.
    fn shenbi_resample(x: FloatTensor<Self>, how: Resize) -> FloatTensor<Self>;
    /// The largest value of each window. x `[b, c, h, w]`, to `[b, c, windows]`.
    fn shenbi_max_pool(x: FloatTensor<Self>, how: MaxPool) -> FloatTensor<Self>;
    /// One step of Adam on tensors of one shape: the parameter and its moments afterwards. Where `beta1` is 0 any tensor
    /// may stand in the first moment's place. Not differentiable.
    fn shenbi_adam(
        param: FloatTensor<Self>,
        grad: FloatTensor<Self>,
        first: FloatTensor<Self>,
        second: FloatTensor<Self>,
        step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    /// The states of an LSTM, `[t, b, h]`, from zeros; gates `[t, b, 4h]`, recurrent `[4h, h]`.
    fn shenbi_lstm(gates: FloatTensor<Self>, recurrent: FloatTensor<Self>) -> FloatTensor<Self>;
    /// The weighted sum `[1]` of -log softmax(weight x + bias) at targets; x `[n, h]`, weight `[v, h]`, bias `[v]`.
    fn shenbi_nll(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        rows: Rows,
    ) -> FloatTensor<Self>;
    /// average + rate (value - average). Not differentiable.
    fn shenbi_approach(average: FloatTensor<Self>, value: FloatTensor<Self>, rate: f32) -> FloatTensor<Self>;
}

/// The gradients of [`Kernels`], which have none themselves. Between tensors of a `gate` and its gradient stands a
/// LeakyReLU.
pub trait KernelGradients: Backend {
    /// The gradient of a convolution's input, of this size and type.
    fn shenbi_conv2d_data(
        dy: FloatTensor<Self>,
        gate: Option<FloatTensor<Self>>,
        slope: f32,
        weight: FloatTensor<Self>,
        size: [usize; 2],
        stride: Stride,
        dtype: DType,
    ) -> FloatTensor<Self>;
    /// The gradient of a transposed convolution's input, of this type.
    fn shenbi_conv_transpose2d_data(
        dy: FloatTensor<Self>,
        gate: Option<FloatTensor<Self>>,
        slope: f32,
        weight: FloatTensor<Self>,
        stride: Stride,
        dtype: DType,
    ) -> FloatTensor<Self>;
    /// The gradient of a convolution's weight: x `[b, ci, h, w]`, dy `[b, co, h', w']`, to `[co, ci / groups, kernel]`.
    /// That of a transposed one is the same with the tensors exchanged. One of them has the gate.
    fn shenbi_conv2d_weights(
        x: FloatTensor<Self>,
        x_gate: Option<FloatTensor<Self>>,
        dy: FloatTensor<Self>,
        dy_gate: Option<FloatTensor<Self>>,
        slope: f32,
        kernel: [usize; 2],
        stride: Stride,
    ) -> FloatTensor<Self>;
    /// The gradients of `shenbi_bottleneck` in x and, where `all`, in w1, b1, w2, b2 and w3; `of`: x and these. With a
    /// tangent, those of `shenbi_bottleneck_tangent`'s second result in it and in the weights.
    fn shenbi_bottleneck_gradients(
        of: [FloatTensor<Self>; 6],
        tangent: Option<FloatTensor<Self>>,
        dy: FloatTensor<Self>,
        how: Bottleneck,
        all: bool,
    ) -> (FloatTensor<Self>, Option<[FloatTensor<Self>; 5]>);
    /// Sum over all but the channels: `[b, c, h, w]` to `[c]`.
    fn shenbi_channel_sum(dy: FloatTensor<Self>, gate: Option<FloatTensor<Self>>, slope: f32) -> FloatTensor<Self>;
    /// (1 - y²) dy, of this type.
    fn shenbi_tanh_backward(y: FloatTensor<Self>, dy: FloatTensor<Self>, dtype: DType) -> FloatTensor<Self>;
    /// The gradient of `shenbi_max_pool`, whose result is y.
    fn shenbi_max_pool_backward(
        x: FloatTensor<Self>,
        y: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        how: MaxPool,
    ) -> FloatTensor<Self>;
    /// The gradients of `shenbi_norm` in x, gamma and beta.
    fn shenbi_norm_backward(
        x: FloatTensor<Self>,
        stats: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        how: Normalize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
    /// `shenbi_lstm`'s states, activated gates and cells.
    fn shenbi_lstm_forward(gates: FloatTensor<Self>, recurrent: FloatTensor<Self>) -> [FloatTensor<Self>; 3];
    /// Its gradients in gates and recurrent; kept: what the forward pass gave.
    fn shenbi_lstm_backward(
        kept: [FloatTensor<Self>; 3],
        recurrent: FloatTensor<Self>,
        dy: FloatTensor<Self>,
    ) -> [FloatTensor<Self>; 2];
    /// `shenbi_nll` and its gradients in x, weight and bias.
    fn shenbi_nll_gradients(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        rows: Rows,
    ) -> (FloatTensor<Self>, [FloatTensor<Self>; 3]);
    /// x times the one number of `factor`.
    fn shenbi_scale(x: FloatTensor<Self>, factor: FloatTensor<Self>) -> FloatTensor<Self>;
}
