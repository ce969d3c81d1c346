//! The operations under autodiff.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::DType;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::{
    AdamStep, After, Bottleneck, KernelGradients, Kernels, MaxPool, Normalize, Resize, Rows, Stride, bottleneck, conv,
    sequence,
};

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

    fn shenbi_bottleneck(
        x: FloatTensor<Self>,
        w1: FloatTensor<Self>,
        b1: FloatTensor<Self>,
        w2: FloatTensor<Self>,
        b2: FloatTensor<Self>,
        w3: FloatTensor<Self>,
        how: Bottleneck,
    ) -> FloatTensor<Self> {
        bottleneck::differentiable::<B, C>([x, w1, b1, w2, b2, w3], how)
    }

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
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        bottleneck::differentiable_tangent::<B, C>([x, w1, b1, w2, b2, w3], dx, how).into()
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
