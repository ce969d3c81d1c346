//! Convolutions with their gradients.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::DType;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};

use super::{KernelGradients, Kernels};

/// The same steps and zeros in both directions.
#[derive(Clone, Copy, Debug)]
pub struct Stride {
    /// Pixels between two outputs.
    pub stride: usize,
    /// Zeros on each side; none in a direction in which a kernel that is not square has one pixel.
    pub padding: usize,
    /// Groups of channels.
    pub groups: usize,
}

impl Stride {
    /// Zeros on each side, down and across, for a kernel of this height and width.
    pub fn zeros(&self, kernel: [usize; 2]) -> [usize; 2] {
        kernel.map(|side| if side == 1 && kernel != [1, 1] { 0 } else { self.padding })
    }
}

/// What follows a convolution.
#[derive(Clone, Copy, Debug)]
pub struct After {
    /// Whether the bias is one; if not, any tensor may stand in its place.
    pub bias: bool,
    /// Of the LeakyReLU; 1 for none.
    pub slope: f32,
    /// Type of the result.
    pub dtype: DType,
}

/// What a convolution, transposed or not, keeps for its gradients.
#[derive(Clone, Debug)]
struct Kept<T> {
    /// Where the weight's gradient is wanted.
    x: Option<T>,
    /// Where x's is.
    weight: Option<T>,
    /// The output, where an activation is part of it.
    gate: Option<T>,
    slope: f32,
    kernel: [usize; 2],
    size: [usize; 2],
    stride: Stride,
    dtype: DType,
}

/// `shenbi_conv2d` of x, weight and bias.
pub(super) fn conv2d<B: Backend + Kernels + KernelGradients, C: CheckpointStrategy>(
    tensors: [FloatTensor<Autodiff<B, C>>; 3],
    stride: Stride,
    after: After,
) -> FloatTensor<Autodiff<B, C>> {
    #[derive(Debug)]
    struct Conv;
    impl<B: Backend + KernelGradients> Backward<B, 3> for Conv {
        type State = Kept<FloatTensor<B>>;

        fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
            let dy = grads.consume::<B>(&ops.node);
            let [node_x, node_weight, node_bias] = ops.parents;
            let Kept { x, weight, gate, slope, kernel, size, stride, dtype } = ops.state;
            if let (Some(node), Some(weight)) = (node_x, weight) {
                let dx = B::shenbi_conv2d_data(dy.clone(), gate.clone(), slope, weight, size, stride, dtype);
                grads.register::<B>(node.id, dx);
            }
            if let (Some(node), Some(x)) = (node_weight, x) {
                let dw = B::shenbi_conv2d_weights(x, None, dy.clone(), gate.clone(), slope, kernel, stride);
                grads.register::<B>(node.id, dw);
            }
            if let Some(node) = node_bias {
                grads.register::<B>(node.id, B::shenbi_channel_sum(dy, gate, slope));
            }
        }
    }
    let run = |x, weight, bias| B::shenbi_conv2d(x, weight, bias, stride, after);
    differentiable_conv::<B, C>(Conv, tensors, stride, after.slope, run)
}

/// `shenbi_conv_transpose2d` of x, weight and bias.
pub(super) fn conv_transpose2d<B: Backend + Kernels + KernelGradients, C: CheckpointStrategy>(
    tensors: [FloatTensor<Autodiff<B, C>>; 3],
    size: [usize; 2],
    stride: Stride,
    after: After,
) -> FloatTensor<Autodiff<B, C>> {
    #[derive(Debug)]
    struct ConvTranspose;
    impl<B: Backend + KernelGradients> Backward<B, 3> for ConvTranspose {
        type State = Kept<FloatTensor<B>>;

        fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
            let dy = grads.consume::<B>(&ops.node);
            let [node_x, node_weight, node_bias] = ops.parents;
            let Kept { x, weight, gate, slope, kernel, stride, dtype, .. } = ops.state;
            if let (Some(node), Some(weight)) = (node_x, weight) {
                let dx = B::shenbi_conv_transpose2d_data(dy.clone(), gate.clone(), slope, weight, stride, dtype);
                grads.register::<B>(node.id, dx);
            }
            if let (Some(node), Some(x)) = (node_weight, x) {
                let dw = B::shenbi_conv2d_weights(dy.clone(), gate.clone(), x, None, slope, kernel, stride);
                grads.register::<B>(node.id, dw);
            }
            if let Some(node) = node_bias {
                grads.register::<B>(node.id, B::shenbi_channel_sum(dy, gate, slope));
            }
        }
    }
    let run = |x, weight, bias| B::shenbi_conv_transpose2d(x, weight, bias, size, stride, after);
    differentiable_conv::<B, C>(ConvTranspose, tensors, stride, after.slope, run)
}

/// Runs a convolution and keeps what `backward` needs.
fn differentiable_conv<B: Backend + Kernels, C: CheckpointStrategy>(
    backward: impl Backward<B, 3, State = Kept<FloatTensor<B>>>,
    [x, weight, bias]: [FloatTensor<Autodiff<B, C>>; 3],
    stride: Stride,
    slope: f32,
    run: impl FnOnce(FloatTensor<B>, FloatTensor<B>, FloatTensor<B>) -> FloatTensor<B>,
) -> FloatTensor<Autodiff<B, C>> {
    let (keep_x, keep_weight) = (weight.is_tracked(), x.is_tracked());
    let ((x, x_node), (weight, w_node), (bias, b_node)) = (x.into_parts(), weight.into_parts(), bias.into_parts());
    let [_, _, h, w] = x.shape().dims();
    let [_, _, kh, kw] = weight.shape().dims();
    let dtype = x.dtype();
    match backward.prepare::<C>([x_node, w_node, b_node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (x_kept, weight) = (keep_x.then(|| x.clone()), (weight.clone(), keep_weight.then_some(weight)));
            let y = run(x, weight.0, bias);
            let gate = (slope != 1.0).then(|| y.clone());
            let kept = Kept { x: x_kept, weight: weight.1, gate, slope, kernel: [kh, kw], size: [h, w], stride, dtype };
            prep.finish(kept, y)
        }
        OpsKind::UnTracked(prep) => prep.finish(run(x, weight, bias)),
    }
}
