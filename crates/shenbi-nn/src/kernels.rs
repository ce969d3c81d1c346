//! Our CPU kernels as Burn operations with handwritten gradients: an extension of the Flex backend and of autodiff
//! over it. Layers do not call this; [`crate::ops`] does, on CPU tensors.

use std::sync::atomic::{AtomicU8, Ordering};

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, Flex, TensorMetadata, backend_extension};
use burn::tensor::{DType, Shape, TensorData};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_flex::FlexTensor;
use shenbi_kernels as kernels;

/// Numbers inside convolutions on the CPU: f32, or bf16 operands with f32 sums.
pub use kernels::{Precision, auto_precision};

static PRECISION: AtomicU8 = AtomicU8::new(0);

/// Chooses the precision of every convolution on the CPU from now on, in the whole process.
pub fn set_precision(precision: Precision) {
    PRECISION.store(u8::from(precision == Precision::Bf16), Ordering::Relaxed);
}

/// The precision in force; f32 at first.
pub fn precision() -> Precision {
    if PRECISION.load(Ordering::Relaxed) == 1 { Precision::Bf16 } else { Precision::F32 }
}

/// The same steps and zeros in both directions.
#[derive(Clone, Copy, Debug)]
pub struct Stride {
    /// Pixels between two outputs.
    pub stride: usize,
    /// Zeros on each side.
    pub padding: usize,
}

/// The operations. Those that compute gradients are not differentiable themselves.
#[backend_extension(Flex, Autodiff)]
pub trait Kernels: Backend {
    /// x `[b, ci, h, w]`, weight `[co, ci, k, k]`, bias `[co]`.
    fn shenbi_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: Stride,
    ) -> FloatTensor<Self>;
    /// The adjoint in x: dy `[b, co, h', w']`, weight `[co, ci, k, k]`, bias `[ci]`, to `[b, ci, size]`.
    fn shenbi_conv_transpose2d(
        dy: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        size: [usize; 2],
        stride: Stride,
    ) -> FloatTensor<Self>;
    /// The adjoint in the weight: x `[b, ci, h, w]`, dy `[b, co, h', w']`, to `[co, ci, k, k]`.
    fn shenbi_conv2d_weights(
        x: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        kernel: usize,
        stride: Stride,
    ) -> FloatTensor<Self>;
    /// Sum over all but the channels: `[b, c, h, w]` to `[c]`.
    fn shenbi_channel_sum(dy: FloatTensor<Self>) -> FloatTensor<Self>;
    /// max(x, slope x).
    fn shenbi_leaky_relu(x: FloatTensor<Self>, slope: f32) -> FloatTensor<Self>;
    /// dy where y > 0, slope dy elsewhere.
    fn shenbi_leaky_relu_backward(y: FloatTensor<Self>, dy: FloatTensor<Self>, slope: f32) -> FloatTensor<Self>;
    /// tanh(x).
    fn shenbi_tanh(x: FloatTensor<Self>) -> FloatTensor<Self>;
    /// (1 - y²) dy.
    fn shenbi_tanh_backward(y: FloatTensor<Self>, dy: FloatTensor<Self>) -> FloatTensor<Self>;
    /// relu((x - mean) / sqrt(var + eps) * gamma + beta) with the batch's own statistics, which come second, `[2, c]`.
    /// x `[b, c, h, w]`, gamma and beta `[b, c]`.
    fn shenbi_batch_norm_relu(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>);
    /// Its gradients in x, gamma and beta.
    fn shenbi_batch_norm_relu_backward(
        x: FloatTensor<Self>,
        stats: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        dy: FloatTensor<Self>,
        eps: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>);
}

fn new(values: Vec<f32>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::from_data(TensorData::new(values, shape))
}

/// A contiguous f32 view of `tensor`.
fn contiguous(tensor: FlexTensor) -> FlexTensor {
    assert_eq!(tensor.dtype(), DType::F32, "the CPU kernels take f32 tensors");
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

fn slice(tensor: &FlexTensor) -> &[f32] {
    let n = tensor.layout().shape().num_elements();
    let start = tensor.layout().start_offset();
    &tensor.storage::<f32>()[start..start + n]
}

/// Kernels refuse shapes that layers cannot make; a layer that does has a bug, and the message names the shapes.
fn run(result: Result<(), kernels::KernelError>) {
    if let Err(error) = result {
        panic!("{error}");
    }
}

fn geometry(x: [usize; 4], out_channels: usize, kernel: usize, stride: Stride) -> kernels::Conv2d {
    kernels::Conv2d {
        batch: x[0],
        in_channels: x[1],
        out_channels,
        in_h: x[2],
        in_w: x[3],
        kernel: [kernel; 2],
        stride: [stride.stride; 2],
        padding: [stride.padding; 2],
        groups: 1,
    }
}

impl Kernels for Flex {
    fn shenbi_conv2d(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, stride: Stride) -> FlexTensor {
        let (x, weight, bias) = (contiguous(x), contiguous(weight), contiguous(bias));
        let [co, _, k, _] = weight.shape().dims();
        let g = geometry(x.shape().dims(), co, k, stride);
        let [h, w] = g.out_size().unwrap_or_else(|error| panic!("{error}"));
        let mut y = vec![0.0; g.batch * co * h * w];
        run(kernels::conv2d_forward(&g, slice(&x), slice(&weight), Some(slice(&bias)), &mut y, precision()));
        new(y, [g.batch, co, h, w])
    }

    fn shenbi_conv_transpose2d(
        dy: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        size: [usize; 2],
        stride: Stride,
    ) -> FlexTensor {
        let (dy, weight, bias) = (contiguous(dy), contiguous(weight), contiguous(bias));
        let [co, ci, k, _] = weight.shape().dims();
        let [b, _, _, _] = dy.shape().dims();
        let g = geometry([b, ci, size[0], size[1]], co, k, stride);
        let mut x = vec![0.0; b * ci * size[0] * size[1]];
        let (dy, weight, bias) = (slice(&dy), slice(&weight), slice(&bias));
        run(kernels::conv_transpose2d_forward(&g, dy, weight, Some(bias), &mut x, precision()));
        new(x, [b, ci, size[0], size[1]])
    }

    fn shenbi_conv2d_weights(x: FlexTensor, dy: FlexTensor, kernel: usize, stride: Stride) -> FlexTensor {
        let (x, dy) = (contiguous(x), contiguous(dy));
        let [_, co, _, _] = dy.shape().dims();
        let g = geometry(x.shape().dims(), co, kernel, stride);
        let mut weight = vec![0.0; co * g.in_channels * kernel * kernel];
        run(kernels::conv2d_backward_weights(&g, slice(&x), slice(&dy), &mut weight, precision()));
        new(weight, [co, g.in_channels, kernel, kernel])
    }

    fn shenbi_channel_sum(dy: FlexTensor) -> FlexTensor {
        let dy = contiguous(dy);
        let [b, c, h, w] = dy.shape().dims();
        let mut sums = vec![0.0; c];
        run(kernels::conv2d_backward_bias(
            &geometry([b, c, h, w], c, 1, Stride { stride: 1, padding: 0 }),
            slice(&dy),
            &mut sums,
        ));
        new(sums, [c])
    }

    fn shenbi_leaky_relu(x: FlexTensor, slope: f32) -> FlexTensor {
        let x = contiguous(x);
        let mut y = vec![0.0; slice(&x).len()];
        run(kernels::leaky_relu_forward(slice(&x), slope, &mut y));
        new(y, x.shape())
    }

    fn shenbi_leaky_relu_backward(y: FlexTensor, dy: FlexTensor, slope: f32) -> FlexTensor {
        let (y, dy) = (contiguous(y), contiguous(dy));
        let mut dx = vec![0.0; slice(&y).len()];
        run(kernels::leaky_relu_backward(slice(&y), slice(&dy), slope, &mut dx));
        new(dx, y.shape())
    }

    fn shenbi_tanh(x: FlexTensor) -> FlexTensor {
        let x = contiguous(x);
        let mut y = vec![0.0; slice(&x).len()];
        run(kernels::tanh_forward(slice(&x), &mut y));
        new(y, x.shape())
    }

    fn shenbi_tanh_backward(y: FlexTensor, dy: FlexTensor) -> FlexTensor {
        let (y, dy) = (contiguous(y), contiguous(dy));
        let mut dx = vec![0.0; slice(&y).len()];
        run(kernels::tanh_backward(slice(&y), slice(&dy), &mut dx));
        new(dx, y.shape())
    }

    fn shenbi_batch_norm_relu(
        x: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        eps: f32,
    ) -> (FlexTensor, FlexTensor) {
        let (x, gamma, beta) = (contiguous(x), contiguous(gamma), contiguous(beta));
        let g = norm_geometry(&x, eps);
        let mut y = vec![0.0; slice(&x).len()];
        match kernels::batch_norm_forward(&g, slice(&x), Some(slice(&gamma)), Some(slice(&beta)), &mut y) {
            Ok(stats) => (new(y, x.shape()), new([stats.mean, stats.variance].concat(), [2, g.channels])),
            Err(error) => panic!("{error}"),
        }
    }

    fn shenbi_batch_norm_relu_backward(
        x: FlexTensor,
        stats: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        dy: FlexTensor,
        eps: f32,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let (x, gamma, beta, dy) = (contiguous(x), contiguous(gamma), contiguous(beta), contiguous(dy));
        let g = norm_geometry(&x, eps);
        let (mean, variance) = slice(&stats).split_at(g.channels);
        let stats = kernels::BatchNormStats { mean: mean.to_vec(), variance: variance.to_vec() };
        let n = g.batch * g.channels;
        let (mut dx, mut dgamma, mut dbeta) = (vec![0.0; slice(&x).len()], vec![0.0; n], vec![0.0; n]);
        let out = kernels::BatchNormGradients { dx: &mut dx, dgamma: Some(&mut dgamma), dbeta: Some(&mut dbeta) };
        let (gamma, beta) = (Some(slice(&gamma)), Some(slice(&beta)));
        run(kernels::batch_norm_backward(&g, slice(&x), &stats, gamma, beta, slice(&dy), out));
        (new(dx, x.shape()), new(dgamma, [g.batch, g.channels]), new(dbeta, [g.batch, g.channels]))
    }
}

fn norm_geometry(x: &FlexTensor, eps: f32) -> kernels::BatchNorm {
    let [batch, channels, h, w] = x.shape().dims();
    kernels::BatchNorm { batch, channels, plane: h * w, per_sample: true, eps, activation: kernels::Activation::Relu }
}

const FIRST_ORDER: &str = "autodiff is first order: a gradient's operations have no gradient";

impl<B: Backend + Kernels, C: CheckpointStrategy> Kernels for Autodiff<B, C> {
    fn shenbi_conv2d(
        x: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        stride: Stride,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Conv;
        impl<B: Backend + Kernels> Backward<B, 3> for Conv {
            /// x where the weight's gradient is wanted, the weight where x's is, the kernel's and the picture's size.
            type State = (Option<FloatTensor<B>>, Option<FloatTensor<B>>, usize, [usize; 2], Stride);

            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
                let dy = grads.consume::<B>(&ops.node);
                let [node_x, node_weight, node_bias] = ops.parents;
                let (x, weight, kernel, size, stride) = ops.state;
                if let (Some(node), Some(weight)) = (node_x, weight) {
                    let [_, ci, _, _] = weight.shape().dims();
                    let zeros = B::float_zeros([ci].into(), &dy.device(), DType::F32.into());
                    grads.register::<B>(node.id, B::shenbi_conv_transpose2d(dy.clone(), weight, zeros, size, stride));
                }
                if let (Some(node), Some(x)) = (node_weight, x) {
                    grads.register::<B>(node.id, B::shenbi_conv2d_weights(x, dy.clone(), kernel, stride));
                }
                if let Some(node) = node_bias {
                    grads.register::<B>(node.id, B::shenbi_channel_sum(dy));
                }
            }
        }
        let (keep_x, keep_weight) = (weight.is_tracked(), x.is_tracked());
        let ((x, x_node), (weight, w_node), (bias, b_node)) = (x.into_parts(), weight.into_parts(), bias.into_parts());
        let [_, _, h, w] = x.shape().dims();
        let [_, _, kernel, _] = weight.shape().dims();
        match Conv.prepare::<C>([x_node, w_node, b_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (x_kept, weight_kept) = (keep_x.then(|| x.clone()), keep_weight.then(|| weight.clone()));
                let y = B::shenbi_conv2d(x, weight, bias, stride);
                prep.finish((x_kept, weight_kept, kernel, [h, w], stride), y)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::shenbi_conv2d(x, weight, bias, stride)),
        }
    }

    fn shenbi_conv_transpose2d(
        dy: FloatTensor<Self>,
        weight: FloatTensor<Self>,
        bias: FloatTensor<Self>,
        size: [usize; 2],
        stride: Stride,
    ) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct ConvTranspose;
        impl<B: Backend + Kernels> Backward<B, 3> for ConvTranspose {
            /// The input where the weight's gradient is wanted, the weight where the input's is, the kernel's size.
            type State = (Option<FloatTensor<B>>, Option<FloatTensor<B>>, usize, Stride);

            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
                let dx = grads.consume::<B>(&ops.node);
                let [node_in, node_weight, node_bias] = ops.parents;
                let (input, weight, kernel, stride) = ops.state;
                if let (Some(node), Some(weight)) = (node_in, weight) {
                    let [co, _, _, _] = weight.shape().dims();
                    let zeros = B::float_zeros([co].into(), &dx.device(), DType::F32.into());
                    grads.register::<B>(node.id, B::shenbi_conv2d(dx.clone(), weight, zeros, stride));
                }
                if let (Some(node), Some(input)) = (node_weight, input) {
                    grads.register::<B>(node.id, B::shenbi_conv2d_weights(dx.clone(), input, kernel, stride));
                }
                if let Some(node) = node_bias {
                    grads.register::<B>(node.id, B::shenbi_channel_sum(dx));
                }
            }
        }
        let (keep_in, keep_weight) = (weight.is_tracked(), dy.is_tracked());
        let ((input, i_node), (weight, w_node), (bias, b_node)) =
            (dy.into_parts(), weight.into_parts(), bias.into_parts());
        let [_, _, kernel, _] = weight.shape().dims();
        match ConvTranspose.prepare::<C>([i_node, w_node, b_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => {
                let (in_kept, weight_kept) = (keep_in.then(|| input.clone()), keep_weight.then(|| weight.clone()));
                let x = B::shenbi_conv_transpose2d(input, weight, bias, size, stride);
                prep.finish((in_kept, weight_kept, kernel, stride), x)
            }
            OpsKind::UnTracked(prep) => prep.finish(B::shenbi_conv_transpose2d(input, weight, bias, size, stride)),
        }
    }

    fn shenbi_leaky_relu(x: FloatTensor<Self>, slope: f32) -> FloatTensor<Self> {
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
        let (x, node) = x.into_parts();
        let y = B::shenbi_leaky_relu(x, slope);
        match LeakyRelu.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish((y.clone(), slope), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn shenbi_tanh(x: FloatTensor<Self>) -> FloatTensor<Self> {
        #[derive(Debug)]
        struct Tanh;
        impl<B: Backend + Kernels> Backward<B, 1> for Tanh {
            /// The output.
            type State = FloatTensor<B>;

            fn backward(self, ops: Ops<Self::State, 1>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
                let dy = grads.consume::<B>(&ops.node);
                let [node] = ops.parents;
                if let Some(node) = node {
                    grads.register::<B>(node.id, B::shenbi_tanh_backward(ops.state, dy));
                }
            }
        }
        let (x, node) = x.into_parts();
        let y = B::shenbi_tanh(x);
        match Tanh.prepare::<C>([node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => prep.finish(y.clone(), y),
            OpsKind::UnTracked(prep) => prep.finish(y),
        }
    }

    fn shenbi_tanh_backward(_y: FloatTensor<Self>, _dy: FloatTensor<Self>) -> FloatTensor<Self> {
        panic!("{FIRST_ORDER}")
    }

    fn shenbi_batch_norm_relu(
        x: FloatTensor<Self>,
        gamma: FloatTensor<Self>,
        beta: FloatTensor<Self>,
        eps: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>) {
        #[derive(Debug)]
        struct BatchNorm;
        impl<B: Backend + Kernels> Backward<B, 3> for BatchNorm {
            /// x, statistics, gamma, beta, epsilon.
            type State = (FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, FloatTensor<B>, f32);

            fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
                let dy = grads.consume::<B>(&ops.node);
                let (x, stats, gamma, beta, eps) = ops.state;
                let (dx, dgamma, dbeta) = B::shenbi_batch_norm_relu_backward(x, stats, gamma, beta, dy, eps);
                for (node, gradient) in ops.parents.into_iter().zip([dx, dgamma, dbeta]) {
                    if let Some(node) = node {
                        grads.register::<B>(node.id, gradient);
                    }
                }
            }
        }
        let ((x, x_node), (gamma, g_node), (beta, b_node)) = (x.into_parts(), gamma.into_parts(), beta.into_parts());
        let (y, stats) = B::shenbi_batch_norm_relu(x.clone(), gamma.clone(), beta.clone(), eps);
        let constant = FloatTensor::<Self>::new(stats.clone());
        match BatchNorm.prepare::<C>([x_node, g_node, b_node]).compute_bound().stateful() {
            OpsKind::Tracked(prep) => (prep.finish((x, stats, gamma, beta, eps), y), constant),
            OpsKind::UnTracked(prep) => (prep.finish(y), constant),
        }
    }

    fn shenbi_batch_norm_relu_backward(
        _x: FloatTensor<Self>,
        _stats: FloatTensor<Self>,
        _gamma: FloatTensor<Self>,
        _beta: FloatTensor<Self>,
        _dy: FloatTensor<Self>,
        _eps: f32,
    ) -> (FloatTensor<Self>, FloatTensor<Self>, FloatTensor<Self>) {
        panic!("{FIRST_ORDER}")
    }

    fn shenbi_conv2d_weights(
        _x: FloatTensor<Self>,
        _dy: FloatTensor<Self>,
        _kernel: usize,
        _stride: Stride,
    ) -> FloatTensor<Self> {
        panic!("{FIRST_ORDER}")
    }

    fn shenbi_channel_sum(_dy: FloatTensor<Self>) -> FloatTensor<Self> {
        panic!("{FIRST_ORDER}")
    }

    fn shenbi_leaky_relu_backward(_y: FloatTensor<Self>, _dy: FloatTensor<Self>, _slope: f32) -> FloatTensor<Self> {
        panic!("{FIRST_ORDER}")
    }
}
