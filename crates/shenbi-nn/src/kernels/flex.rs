//! The operations on the CPU.

use burn::backend::{Flex, TensorMetadata};
use burn::tensor::DType;
use burn_flex::FlexTensor;
use shenbi_kernels::{self as kernels, Activation, Input};

use super::memory::{
    buffer, contiguous, dense, elements, is_channels_last, pictures, recycle, tensor, to_channels_last,
};
use super::packed::packed;
use super::{
    AdamStep, After, Bottleneck, Kernels, MaxPool, Normalize, Resize, Rows, Stride, bottleneck, precision, sequence,
};

/// Runs the body with `$E` bound to the element type of `$dtype`.
macro_rules! with_element {
    ($dtype:expr, $E:ident => $body:expr) => {
        match $dtype {
            ::burn::tensor::DType::F32 => {
                type $E = f32;
                $body
            }
            ::burn::tensor::DType::BF16 => {
                type $E = ::shenbi_kernels::bf16;
                $body
            }
            other => panic!("the CPU kernels take f32 and bf16 tensors, not {other:?}"),
        }
    };
}
pub(super) use with_element;

/// Kernels refuse shapes that layers cannot make; a layer that does has a bug, and the message names the shapes.
pub(super) fn run<T>(result: Result<T, kernels::KernelError>) -> T {
    result.unwrap_or_else(|error| panic!("{error}"))
}

pub(super) fn geometry(x: [usize; 4], out_channels: usize, kernel: [usize; 2], stride: Stride) -> kernels::Conv2d {
    kernels::Conv2d {
        batch: x[0],
        in_channels: x[1],
        out_channels,
        in_h: x[2],
        in_w: x[3],
        kernel,
        stride: [stride.stride; 2],
        padding: stride.zeros(kernel),
        groups: stride.groups,
    }
}

fn activation(slope: f32) -> Activation {
    if slope == 1.0 { Activation::None } else { Activation::LeakyRelu(slope) }
}

/// The gradient `dy`, and the output of the activation that it has to pass, both channels-last and of one type.
pub(super) struct Gradient {
    pub(super) dy: FlexTensor,
    gate: Option<FlexTensor>,
    slope: f32,
}

impl Gradient {
    pub(super) fn new(dy: FlexTensor, gate: Option<FlexTensor>, slope: f32) -> Self {
        let (dy, gate) = (to_channels_last(dy), gate.map(to_channels_last));
        let dy = match &gate {
            Some(gate) if gate.dtype() != dy.dtype() => cast(dy, gate.dtype()),
            _ => dy,
        };
        Self { dy, gate, slope }
    }

    pub(super) fn input<E: super::memory::Stored>(&self) -> Input<'_, E> {
        Input { values: elements(&self.dy), gate: self.gate.as_ref().map(|gate| (elements(gate), self.slope)) }
    }
}

/// The same values in another type, in the same order in memory: Burn's own cast makes every tensor contiguous.
pub(super) fn cast(tensor: FlexTensor, dtype: DType) -> FlexTensor {
    use burn::backend::ops::FloatTensorOps;
    let cast = |tensor| <Flex as FloatTensorOps<Flex>>::float_cast(tensor, dtype.into());
    if tensor.shape().num_dims() != 4 || !is_channels_last(&tensor) {
        return cast(tensor);
    }
    let layout = tensor.layout().permute(&[0, 2, 3, 1]);
    let tensor = cast(tensor.with_layout(layout));
    let layout = tensor.layout().permute(&[0, 3, 1, 2]);
    tensor.with_layout(layout)
}

/// What activations are stored as.
pub(super) fn activation_type() -> DType {
    match precision() {
        kernels::Precision::F32 => DType::F32,
        kernels::Precision::Bf16 => DType::BF16,
    }
}

impl Kernels for Flex {
    fn shenbi_conv2d(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, stride: Stride, after: After) -> FlexTensor {
        conv(Gradient::new(x, None, 1.0), weight, after.bias.then_some(bias), stride, after.slope, after.dtype)
    }

    fn shenbi_conv_transpose2d(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        size: [usize; 2],
        stride: Stride,
        after: After,
    ) -> FlexTensor {
        let bias = after.bias.then_some(bias);
        transposed(Gradient::new(x, None, 1.0), weight, bias, size, stride, after.slope, after.dtype)
    }

    fn shenbi_bottleneck(
        x: FlexTensor,
        w1: FlexTensor,
        b1: FlexTensor,
        w2: FlexTensor,
        b2: FlexTensor,
        w3: FlexTensor,
        how: Bottleneck,
    ) -> FlexTensor {
        bottleneck::forward([x, w1, b1, w2, b2, w3], how)
    }

    #[allow(clippy::too_many_arguments)]
    fn shenbi_bottleneck_tangent(
        x: FlexTensor,
        dx: FlexTensor,
        w1: FlexTensor,
        b1: FlexTensor,
        w2: FlexTensor,
        b2: FlexTensor,
        w3: FlexTensor,
        how: Bottleneck,
    ) -> (FlexTensor, FlexTensor) {
        bottleneck::tangent([x, w1, b1, w2, b2, w3], dx, how)
    }

    fn shenbi_leaky_relu(x: FlexTensor, slope: f32) -> FlexTensor {
        let x = dense(x);
        with_element!(x.dtype(), E => {
            let x_values = elements::<E>(&x);
            let mut y = buffer::<E>(x_values.len());
            run(kernels::activation_forward(activation(slope), x_values, &mut y));
            like(y, &x)
        })
    }

    fn shenbi_leaky_relu_backward(y: FlexTensor, dy: FlexTensor, slope: f32) -> FlexTensor {
        let y = dense(y);
        // The same order in memory.
        let dy = if y.is_contiguous() { contiguous(dy) } else { to_channels_last(dy) };
        let dy = if dy.dtype() == y.dtype() { dy } else { cast(dy, y.dtype()) };
        with_element!(y.dtype(), E => {
            let mut dx = buffer::<E>(elements::<E>(&y).len());
            run(kernels::activation_backward(activation(slope), elements::<E>(&y), elements::<E>(&dy), &mut dx));
            let dx = like(dx, &y);
            recycle(y);
            recycle(dy);
            dx
        })
    }

    fn shenbi_tanh(x: FlexTensor) -> FlexTensor {
        let x = dense(x);
        with_element!(x.dtype(), E => {
            let x_values = elements::<E>(&x);
            let mut y = buffer::<f32>(x_values.len());
            run(kernels::tanh_forward(x_values, &mut y));
            let y = like(y, &x);
            recycle(x);
            y
        })
    }

    fn shenbi_norm(x: FlexTensor, gamma: FlexTensor, beta: FlexTensor, how: Normalize) -> (FlexTensor, FlexTensor) {
        let (x, gamma, beta) = (to_channels_last(x), contiguous(gamma), contiguous(beta));
        let g = norm_geometry(&x, &gamma, how);
        with_element!(x.dtype(), E => {
            let mut y = buffer::<E>(elements::<E>(&x).len());
            let affine = (Some(elements(&gamma)), Some(elements(&beta)));
            let stats = run(kernels::norm_forward(&g, elements::<E>(&x), affine.0, affine.1, &mut y));
            let sets = stats.mean.len();
            (like(y, &x), tensor([stats.mean, stats.variance].concat(), [2, sets]))
        })
    }

    fn shenbi_norm_apply(
        x: FlexTensor,
        stats: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        how: Normalize,
    ) -> FlexTensor {
        let (x, gamma, beta) = (to_channels_last(x), contiguous(gamma), contiguous(beta));
        let g = norm_geometry(&x, &gamma, how);
        let stats = stats_of(&contiguous(stats));
        with_element!(x.dtype(), E => {
            let mut y = buffer::<E>(elements::<E>(&x).len());
            let affine = (Some(elements(&gamma)), Some(elements(&beta)));
            run(kernels::norm_apply(&g, elements::<E>(&x), &stats, affine.0, affine.1, &mut y));
            let y = like(y, &x);
            recycle(x);
            y
        })
    }

    fn shenbi_resample(x: FlexTensor, how: Resize) -> FlexTensor {
        let x = to_channels_last(x);
        let [batch, channels, h, w] = x.shape().dims();
        let [height, width] = if how.double { [2 * h, 2 * w] } else { [h, w] };
        let g = kernels::Resample { batch, height, width, channels, filter: how.filter, gain: how.gain };
        let out = if how.double { [batch, channels, height, width] } else { [batch, channels, h / 2, w / 2] };
        with_element!(x.dtype(), E => {
            let mut y = buffer::<E>(out.iter().product());
            if how.double {
                run(kernels::upsample(&g, elements::<E>(&x), &mut y));
            } else {
                run(kernels::downsample(&g, elements::<E>(&x), &mut y));
            }
            recycle(x);
            pictures(y, out)
        })
    }

    fn shenbi_max_pool(x: FlexTensor, how: MaxPool) -> FlexTensor {
        let x = to_channels_last(x);
        let [rows, columns] = how.windows;
        with_element!(x.dtype(), E => {
            let mut y = buffer::<E>(how.batch * rows * columns * how.channels);
            run(kernels::max_pool_forward(&how, elements::<E>(&x), &mut y));
            recycle(x);
            pictures(y, [how.batch, how.channels, rows, columns])
        })
    }

    fn shenbi_adam(
        param: FlexTensor,
        grad: FlexTensor,
        first: FlexTensor,
        second: FlexTensor,
        step: AdamStep,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let [mut first, mut second] = [first, second].map(owned);
        let (param, grad) = (contiguous(param), contiguous(grad));
        let mut moved = buffer(elements::<f32>(&param).len());
        let m = (step.beta1 != 0.0).then(|| first.storage_mut::<f32>());
        run(kernels::adam_step(&step, elements(&param), elements(&grad), m, second.storage_mut(), &mut moved));
        let moved = tensor(moved, param.shape());
        recycle(param);
        recycle(grad);
        (moved, first, second)
    }

    fn shenbi_lstm(gates: FlexTensor, recurrent: FlexTensor) -> FlexTensor {
        let [states, gates, cells] = sequence::lstm_forward(gates, recurrent);
        recycle(gates);
        recycle(cells);
        states
    }

    fn shenbi_nll(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, rows: Rows) -> FlexTensor {
        sequence::nll_forward(x, weight, bias, &rows)
    }

    fn shenbi_approach(average: FlexTensor, value: FlexTensor, rate: f32) -> FlexTensor {
        let (mut average, value) = (owned(average), contiguous(value));
        run(kernels::ema_update(average.storage_mut(), elements(&value), 1.0 - rate));
        average
    }
}

/// An f32 tensor that no one else holds, contiguous, and all of its memory.
pub(super) fn owned(tensor: FlexTensor) -> FlexTensor {
    let tensor = contiguous(tensor);
    let whole = tensor.bytes().len() == tensor.layout().num_elements() * size_of::<f32>();
    if tensor.is_unique() && whole {
        return tensor;
    }
    let mut copy = buffer::<f32>(tensor.layout().num_elements());
    copy.copy_from_slice(elements(&tensor));
    super::memory::tensor(copy, tensor.shape())
}

impl Gradient {
    pub(super) fn recycle(self) {
        recycle(self.dy);
        self.gate.into_iter().for_each(recycle);
    }
}

/// `values` with the shape and the order of `of`, which is dense.
pub(super) fn like<E: super::memory::Stored>(values: Vec<E>, of: &FlexTensor) -> FlexTensor {
    if of.is_contiguous() { tensor(values, of.shape()) } else { pictures(values, of.shape().dims()) }
}

/// Pictures or a gradient through a convolution. x `[b, ci, h, w]`, weight `[co, ci, kh, kw]`.
pub(super) fn conv(
    x: Gradient,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    stride: Stride,
    slope: f32,
    dtype: DType,
) -> FlexTensor {
    let (weight, bias) = (contiguous(weight), bias.map(contiguous));
    let [co, _, kh, kw] = weight.shape().dims();
    let g = geometry(x.dy.shape().dims(), co, [kh, kw], stride);
    let [h, w] = run(g.out_size());
    let split = precision::split() && x.dy.dtype() == DType::F32 && x.gate.is_none();
    let (weight, bias) = (run(packed(&weight, &g, false, split)), bias.as_ref().map(elements));
    let y = with_element!(x.dy.dtype(), X => with_element!(dtype, Y => {
        let mut y = buffer::<Y>(g.batch * co * h * w);
        run(kernels::conv2d_forward_packed(&g, x.input::<X>(), &weight, bias, activation(slope), &mut y));
        pictures(y, [g.batch, co, h, w])
    }));
    x.recycle();
    y
}

/// The adjoint: dy `[b, co, h', w']`, weight `[co, ci, kh, kw]`, to `[b, ci, size]`.
pub(super) fn transposed(
    dy: Gradient,
    weight: FlexTensor,
    bias: Option<FlexTensor>,
    [h, w]: [usize; 2],
    stride: Stride,
    slope: f32,
    dtype: DType,
) -> FlexTensor {
    let (weight, bias) = (contiguous(weight), bias.map(contiguous));
    let [co, ci, kh, kw] = weight.shape().dims();
    let [b, _, _, _] = dy.dy.shape().dims();
    let ci = ci * stride.groups;
    let g = geometry([b, ci, h, w], co, [kh, kw], stride);
    let (weight, bias) = (run(packed(&weight, &g, true, false)), bias.as_ref().map(elements));
    let dx = with_element!(dy.dy.dtype(), Y => with_element!(dtype, X => {
        let mut dx = buffer::<X>(b * ci * h * w);
        run(kernels::conv2d_backward_data_packed(&g, dy.input::<Y>(), &weight, bias, activation(slope), &mut dx));
        pictures(dx, [b, ci, h, w])
    }));
    dy.recycle();
    dx
}

pub(super) fn norm_geometry(x: &FlexTensor, gamma: &FlexTensor, how: Normalize) -> kernels::Norm {
    let [batch, channels, h, w] = x.shape().dims();
    let per_sample = gamma.shape().num_dims() == 2;
    kernels::Norm {
        batch,
        channels,
        plane: h * w,
        over: how.over,
        per_sample,
        eps: how.eps,
        activation: activation(how.slope),
    }
}

pub(super) fn stats_of(stats: &FlexTensor) -> kernels::NormStats {
    let values = elements::<f32>(stats);
    let (mean, variance) = values.split_at(values.len() / 2);
    kernels::NormStats { mean: mean.to_vec(), variance: variance.to_vec() }
}
