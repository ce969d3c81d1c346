//! Our CPU kernels as Burn operations with handwritten gradients: an extension of the Flex backend and of autodiff
//! over it. Layers do not call this; [`crate::ops`] does, on CPU tensors.
//!
//! Pictures come out channels-last in memory (their shape stays `[b, c, h, w]`) and, at [`Precision::Bf16`], as bf16
//! tensors. What comes in may lie as it likes.

mod conv;
mod flex;
mod memory;
mod packed;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata, backend_extension};
use burn::tensor::DType;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
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

const FIRST_ORDER: &str = "autodiff is first order: a gradient's operations have no gradient";

impl<B: Backend + Kernels + KernelGradients, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn shenbi_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: Stride,
        after: After,
    ) -> FloatTensor<Self> {
        conv::conv2d::<B, C>([x, weight, bias], stride, after)
    }

    fn shenbi_conv_transpose2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        size: [usize; 2],
        stride: Stride,
        after: After,
    ) -> FloatTensor<Self> {
        conv::conv_transpose2d::<B, C>([x, weight, bias], size, stride, after)
    }

    fn shenbi_leaky_relu(x: FloatTensor<Self>, slope: f32) -> FloatTensor<Self> {
        let (x, node) = x.into_parts();
        let y = B::shenbi_leaky_relu(x, slope);
        match LeakyRelu.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((y.clone(), slope), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn shenbi_leaky_relu_backward(y: FloatTensor<Self>, dy: FloatTensor<Self>, slope: f32) -> FloatTensor<Self> {
        let ((y, _), (dy, node)) = (y.into_parts(), dy.into_parts());
        match LeakyRelu.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let dx = B::shenbi_leaky_relu_backward(y.clone(), dy, slope);
                prep.finish((y, slope), dx)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::shenbi_leaky_relu_backward(y, dy, slope)),
        }
    }

    fn shenbi_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Tanh;
        impl<B: Backend + KernelGradients> Backward<B, 1> for Tanh {
            /// The output, and the input's type.
            type State = (FloatTensor<B>, DType);

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
                let dy = grads.consume::<B>(&ops.node);
                let ([node], (y, dtype)) = (ops.parents, ops.state);
                if let Some(node) = node {
                    grads.register::<B>(node.id, B::shenbi_tanh_backward(y, dy, dtype));
                }
            }
        }
        let (x, node) = x.into_parts();
        let dtype = x.dtype();
        let y = B::shenbi_tanh(x);
        match Tanh.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((y.clone(), dtype), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn shenbi_norm(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        how: Normalize,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        #[derive(Debug)]
        struct Norm;
        impl<B: Backend + KernelGradients> Backward<B, 3> for Norm {
            /// x, statistics, gamma, beta.
            type State = ([FloatTensor<B>; 4], Normalize);

            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
                let dy = grads.consume::<B>(&ops.node);
                let ([x, stats, gamma, beta], how) = ops.state;
                let (dx, dgamma, dbeta) = B::shenbi_norm_backward(x, stats, gamma, beta, dy, how);
                for (node, gradient) in ops.parents.into_iter().zip([dx, dgamma, dbeta]) {
                    if let Some(node) = node {
                        grads.register::<B>(node.id, gradient);
                    }
                }
            }
        }
        let ((x, x_node), (gamma, g_node), (beta, b_node)) = (x.into_parts(), gamma.into_parts(), beta.into_parts());
        let (y, stats) = B::shenbi_norm(x.clone(), gamma.clone(), beta.clone(), how);
        let constant = FloatTensor::<Self>::new(stats.clone());
        match Norm.prepare::<C>([x_node, g_node, b_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => (prep.finish(([x, stats, gamma, beta], how), y), constant),
            OpsKind::UnTracked(prep) => (prep.finish(y), constant),
        }
    }

    fn shenbi_norm_apply(
        _x: FloatTensor<Self>,
        _stats: FloatTensor<Self>,
        _gamma: FloatTensor<Self>,
        _beta: FloatTensor<Self>,
        _how: Normalize,
    ) -> FloatTensor<Self> {
        panic!("{FIRST_ORDER}")
    }

    fn shenbi_resample(x: FloatTensor<Self>, how: Resize) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Resample;
        impl<B: Backend + Kernels> Backward<B, 1> for Resample {
            type State = Resize;

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
                let dy = grads.consume::<B>(&ops.node);
                let ([node], how) = (ops.parents, ops.state);
                if let Some(node) = node {
                    let adjoint = Resize { double: !how.double, ..how };
                    grads.register::<B>(node.id, B::shenbi_resample(dy, adjoint));
                }
            }
        }
        let (x, node) = x.into_parts();
        let y = B::shenbi_resample(x, how);
        match Resample.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(how, y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn shenbi_max_pool(x: FloatTensor<Self>, how: MaxPool) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Pooling;
        impl<B: Backend + KernelGradients> Backward<B, 1> for Pooling {
            /// x and y.
            type State = ([FloatTensor<B>; 2], MaxPool);

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
                let dy = grads.consume::<B>(&ops.node);
                let ([node], ([x, y], how)) = (ops.parents, ops.state);
                if let Some(node) = node {
                    grads.register::<B>(node.id, B::shenbi_max_pool_backward(x, y, dy, how));
                }
            }
        }
        let (x, node) = x.into_parts();
        match Pooling.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let y = B::shenbi_max_pool(x.clone(), how);
                prep.finish(([x, y.clone()], how), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::shenbi_max_pool(x, how)),
        }
    }

    fn shenbi_adam(
        _param: FloatTensor<Self>,
        _grad: FloatTensor<Self>,
        _first: FloatTensor<Self>,
        _second: FloatTensor<Self>,
        _step: AdamStep,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        panic!("{FIRST_ORDER}")
    }

    fn shenbi_lstm(gates: FloatTensor<Self>, recurrent: FloatTensor<Self>) -> FloatTensor<Self> {
        sequence::lstm::<B, C>(gates, recurrent)
    }

    fn shenbi_nll(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        rows: Rows,
    ) -> FloatTensor<Self> {
        sequence::nll::<B, C>(x, weight, bias, rows)
    }

    fn shenbi_approach(_average: FloatTensor<Self>, _value: FloatTensor<Self>, _rate: f32) -> FloatTensor<Self> {
        panic!("{FIRST_ORDER}")
    }
}

/// LeakyReLU's gradient, and (being linear in dy) its gradient's.
#[derive(Debug)]
struct LeakyRelu;

impl<B: Backend + Kernels> Backward<B, 1> for LeakyRelu {
    /// The output, which has the input's sign.
    type State = (FloatTensor<B>, f32);

    fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let (y, slope) = ops.state;
        let [node] = ops.parents;
        if let Some(node) = node {
            grads.register::<B>(node.id, B::shenbi_leaky_relu_backward(y, dy, slope));
        }
    }
}
