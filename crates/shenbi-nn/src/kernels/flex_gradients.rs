//! The gradients of the operations on the CPU.

use burn::backend::{Flex, TensorMetadata};
use burn::tensor::DType;
use burn_flex::FlexTensor;
use shenbi_kernels as kernels;

use super::flex::{
    Gradient, cast, conv, geometry, like, norm_geometry, owned, run, stats_of, transposed, with_element,
};
use super::memory::{buffer, contiguous, dense, elements, recycle, tensor, to_channels_last};
use super::{Bottleneck, KernelGradients, MaxPool, Normalize, Rows, Stride, bottleneck, precision, sequence};

impl KernelGradients for Flex {
    fn shenbi_conv2d_data(
        dy: FlexTensor,
        gate: Option<FlexTensor>,
        slope: f32,
        weight: FlexTensor,
        size: [usize; 2],
        stride: Stride,
        dtype: DType,
    ) -> FlexTensor {
        transposed(Gradient::new(dy, gate, slope), weight, None, size, stride, 1.0, dtype)
    }

    fn shenbi_conv_transpose2d_data(
        dy: FlexTensor,
        gate: Option<FlexTensor>,
        slope: f32,
        weight: FlexTensor,
        stride: Stride,
        dtype: DType,
    ) -> FlexTensor {
        conv(Gradient::new(dy, gate, slope), weight, None, stride, 1.0, dtype)
    }

    fn shenbi_conv2d_weights(
        x: FlexTensor,
        x_gate: Option<FlexTensor>,
        dy: FlexTensor,
        dy_gate: Option<FlexTensor>,
        slope: f32,
        kernel: [usize; 2],
        stride: Stride,
    ) -> FlexTensor {
        let (x, dy) = (Gradient::new(x, x_gate, slope), Gradient::new(dy, dy_gate, slope));
        let [_, co, _, _] = dy.dy.shape().dims();
        let g = geometry(x.dy.shape().dims(), co, kernel, stride);
        let shape = [co, g.in_channels / g.groups, kernel[0], kernel[1]];
        let mut weight = buffer::<f32>(shape.iter().product());
        with_element!(x.dy.dtype(), X => with_element!(dy.dy.dtype(), Y => {
            run(kernels::conv2d_backward_weights(&g, x.input::<X>(), dy.input::<Y>(), &mut weight, precision()));
        }));
        for part in [x, dy] {
            part.recycle();
        }
        tensor(weight, shape)
    }

    fn shenbi_bottleneck_gradients(
        of: [FlexTensor; 6],
        tangent: Option<FlexTensor>,
        dy: FlexTensor,
        how: Bottleneck,
        all: bool,
    ) -> (FlexTensor, Option<[FlexTensor; 5]>) {
        bottleneck::gradients(of, tangent, dy, how, all)
    }

    fn shenbi_channel_sum(dy: FlexTensor, gate: Option<FlexTensor>, slope: f32) -> FlexTensor {
        let dy = Gradient::new(dy, gate, slope);
        let [_, c, _, _] = dy.dy.shape().dims();
        let mut sums = vec![0.0; c];
        with_element!(dy.dy.dtype(), E => run(kernels::channel_sum(dy.input::<E>(), &mut sums)));
        dy.recycle();
        tensor(sums, [c])
    }

    fn shenbi_tanh_backward(y: FlexTensor, dy: FlexTensor, dtype: DType) -> FlexTensor {
        let y = dense(y);
        let dy = if y.is_contiguous() { contiguous(dy) } else { to_channels_last(dy) };
        with_element!(dtype, E => {
            let mut dx = buffer::<E>(elements::<f32>(&y).len());
            run(kernels::tanh_backward(elements::<f32>(&y), elements::<f32>(&dy), &mut dx));
            like(dx, &y)
        })
    }

    fn shenbi_max_pool_backward(x: FlexTensor, y: FlexTensor, dy: FlexTensor, how: MaxPool) -> FlexTensor {
        let [x, y, dy] = [x, y, dy].map(to_channels_last);
        let dy = if dy.dtype() == x.dtype() { dy } else { cast(dy, x.dtype()) };
        with_element!(x.dtype(), E => {
            let mut dx = buffer::<E>(elements::<E>(&x).len());
            run(kernels::max_pool_backward(&how, elements::<E>(&x), elements(&y), elements(&dy), &mut dx));
            let dx = like(dx, &x);
            [x, y, dy].into_iter().for_each(recycle);
            dx
        })
    }

    fn shenbi_norm_backward(
        x: FlexTensor,
        stats: FlexTensor,
        gamma: FlexTensor,
        beta: FlexTensor,
        dy: FlexTensor,
        how: Normalize,
    ) -> (FlexTensor, FlexTensor, FlexTensor) {
        let (x, gamma, beta, dy) = (to_channels_last(x), contiguous(gamma), contiguous(beta), to_channels_last(dy));
        let dy = if dy.dtype() == x.dtype() { dy } else { cast(dy, x.dtype()) };
        let g = norm_geometry(&x, &gamma, how);
        let stats = stats_of(&contiguous(stats));
        let n = elements::<f32>(&gamma).len();
        let (mut dgamma, mut dbeta) = (vec![0.0; n], vec![0.0; n]);
        with_element!(x.dtype(), E => {
            let mut dx = buffer::<E>(elements::<E>(&x).len());
            let out = kernels::NormGradients { dx: &mut dx, dgamma: Some(&mut dgamma), dbeta: Some(&mut dbeta) };
            let affine = (Some(elements(&gamma)), Some(elements(&beta)));
            run(kernels::norm_backward(&g, elements::<E>(&x), &stats, affine.0, affine.1, elements::<E>(&dy), out));
            let dx = like(dx, &x);
            recycle(x);
            recycle(dy);
            (dx, tensor(dgamma, gamma.shape()), tensor(dbeta, gamma.shape()))
        })
    }

    fn shenbi_lstm_forward(gates: FlexTensor, recurrent: FlexTensor) -> [FlexTensor; 3] {
        sequence::lstm_forward(gates, recurrent)
    }

    fn shenbi_lstm_backward(kept: [FlexTensor; 3], recurrent: FlexTensor, dy: FlexTensor) -> [FlexTensor; 2] {
        sequence::lstm_backward(kept, recurrent, dy)
    }

    fn shenbi_nll_gradients(
        x: FlexTensor,
        weight: FlexTensor,
        bias: FlexTensor,
        rows: Rows,
    ) -> (FlexTensor, [FlexTensor; 3]) {
        sequence::nll_gradients(x, weight, bias, &rows)
    }

    fn shenbi_scale(x: FlexTensor, factor: FlexTensor) -> FlexTensor {
        let factor = elements::<f32>(&contiguous(factor))[0];
        if factor == 1.0 {
            return x;
        }
        let mut x = owned(x);
        x.storage_mut::<f32>().iter_mut().for_each(|value| *value *= factor);
        x
    }
}
