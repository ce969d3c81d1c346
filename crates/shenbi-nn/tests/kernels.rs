//! The extension operations against Burn's own, values and gradients.

use burn::tensor::ops::{ConvOptions, ConvTransposeOptions, MaxPoolOptions};
use burn::tensor::{Device, Tensor, TensorData, activation, module};
use shenbi_nn::kernels::{Precision, precision, set_precision};
use shenbi_nn::ops::{self, Bottleneck, Filter, Stride};
use shenbi_nn::pool::{Pool, max_pool2d};
use shenbi_nn::weights::values;
use shenbi_rng as rng;

fn random<const D: usize>(name: &str, shape: [usize; D]) -> Tensor<D> {
    let mut stream = rng::stream(3, name, 0);
    let data: Vec<f32> = (0..shape.iter().product()).map(|_| rng::normal(&mut stream)).collect();
    Tensor::<D>::from_data(TensorData::new(data, shape), &Device::flex()).autodiff().require_grad()
}

fn close<const D: usize>(what: &str, ours: Tensor<D>, burns: Tensor<D>, tolerance: f32) {
    let (ours, burns) = (values(ours), values(burns));
    assert_eq!(ours.shape, burns.shape, "{what}");
    let scale = burns.data.iter().map(|v| v.abs()).fold(1e-6, f32::max);
    let error = ours.data.iter().zip(&burns.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
    assert!(error <= tolerance * scale, "{what}: error {error} of {scale}");
}

/// Value and gradients of `ours` and `burns` at the same inputs, weighted by the same random output gradient.
fn agree<const N: usize>(
    what: &str,
    inputs: [Tensor<4>; N],
    ours: impl Fn(&[Tensor<4>; N]) -> Tensor<4>,
    burns: impl Fn(&[Tensor<4>; N]) -> Tensor<4>,
    tolerance: f32,
) {
    let (a, b) = (ours(&inputs), burns(&inputs));
    close(what, a.clone(), b.clone(), tolerance);
    let weight = random("weight", a.dims()).without_autodiff();
    let (ga, gb) = ((a * weight.clone()).sum().backward(), (b * weight).sum().backward());
    for (i, input) in inputs.iter().enumerate() {
        let (Some(a), Some(b)) = (input.grad(&ga), input.grad(&gb)) else { panic!("{what}: gradient {i} is missing") };
        close(&format!("{what}, gradient {i}"), a, b, tolerance);
    }
}

const CONVOLUTIONS: [[usize; 8]; 5] = [
    // b, ci, co, h, w, kernel, stride, padding
    [2, 3, 5, 8, 8, 4, 2, 1],
    [3, 33, 7, 6, 10, 4, 2, 1],
    [1, 4, 3, 7, 5, 3, 1, 1],
    [2, 8, 1, 9, 9, 1, 1, 0],
    [2, 5, 6, 11, 12, 5, 3, 2],
];

#[test]
fn convolutions_agree() {
    for [b, ci, co, h, w, k, stride, padding] in CONVOLUTIONS {
        let what = format!("conv {ci}->{co}, {h}x{w}, kernel {k}, stride {stride}");
        let inputs = [random("x", [b, ci, h, w]), random("w", [co, ci, k, k]), random("b", [1, co, 1, 1])];
        let bias = |inputs: &[Tensor<4>; 3]| inputs[2].clone().reshape([co]);
        let options = ConvOptions::new([stride; 2], [padding; 2], [1; 2], 1);
        agree(
            &what,
            inputs,
            |i| ops::conv2d(i[0].clone(), i[1].clone(), Some(bias(i)), Stride { stride, padding, groups: 1 }, 0.3),
            |i| activation::leaky_relu(module::conv2d(i[0].clone(), i[1].clone(), Some(bias(i)), options.clone()), 0.3),
            2e-5,
        );
    }
}

#[test]
fn transposed_convolutions_agree() {
    for [b, ci, co, h, w, k, stride, padding] in CONVOLUTIONS {
        let what = format!("transposed {ci}->{co}, {h}x{w}, kernel {k}, stride {stride}");
        let inputs = [random("x", [b, ci, h, w]), random("w", [ci, co, k, k]), random("b", [1, co, 1, 1])];
        let bias = |inputs: &[Tensor<4>; 3]| inputs[2].clone().reshape([co]);
        let options = ConvTransposeOptions::new([stride; 2], [padding; 2], [0; 2], [1; 2], 1);
        agree(
            &what,
            inputs,
            |i| {
                ops::conv_transpose2d(
                    i[0].clone(),
                    i[1].clone(),
                    Some(bias(i)),
                    Stride { stride, padding, groups: 1 },
                    1.0,
                )
            },
            |i| module::conv_transpose2d(i[0].clone(), i[1].clone(), Some(bias(i)), options.clone()),
            2e-5,
        );
    }
}

#[test]
fn bottlenecks_agree() {
    for [b, c, n, h, w, groups] in [[3, 5, 8, 6, 7, 2], [2, 32, 64, 8, 8, 2]] {
        let inputs = [
            random("x", [b, c, h, w]),
            random("w1", [n, c, 1, 1]).mul_scalar(0.3).detach().require_grad(),
            random("b1", [1, n, 1, 1]),
            random("w2", [n, n / groups, 3, 3]).mul_scalar(0.1).detach().require_grad(),
            random("b2", [1, n, 1, 1]),
            random("w3", [c, n, 1, 1]),
        ];
        let bias = |i: &Tensor<4>| Some(i.clone().reshape([n]));
        let options = |padding, groups| ConvOptions::new([1; 2], [padding; 2], [1; 2], groups);
        agree(
            &format!("bottleneck {c}, {n} in {groups} groups"),
            inputs,
            |i| {
                let weights = [&i[1], &i[3], &i[5]].map(Tensor::clone);
                let biases = [bias(&i[2]), bias(&i[4])];
                ops::bottleneck(i[0].clone(), Bottleneck { weights, biases, groups, slope: 0.2 })
            },
            |i| {
                let y = module::conv2d(i[0].clone(), i[1].clone(), bias(&i[2]), options(0, 1));
                let y = activation::leaky_relu(y, 0.2);
                let y = module::conv2d(y, i[3].clone(), bias(&i[4]), options(1, groups));
                i[0].clone() + module::conv2d(activation::leaky_relu(y, 0.2), i[5].clone(), None, options(0, 1))
            },
            2e-5,
        );
    }
}

#[test]
fn activations_agree() {
    let x = [random("x", [2, 3, 5, 7])];
    agree("leaky", x, |i| ops::leaky_relu(i[0].clone(), 0.2), |i| activation::leaky_relu(i[0].clone(), 0.2), 1e-6);
    let x = [random("x", [2, 3, 5, 7])];
    agree("tanh", x, |i| ops::tanh(i[0].clone()), |i| i[0].clone().tanh(), 2e-6);
}

#[test]
fn batch_norms_agree() {
    let inputs = [random("x", [4, 6, 5, 3]), random("gamma", [4, 6, 1, 1]), random("beta", [4, 6, 1, 1])];
    let by_hand = |i: &[Tensor<4>; 3]| {
        let mean = i[0].clone().mean_dims(&[0, 2, 3]);
        let var = (i[0].clone() - mean.clone()).powi_scalar(2).mean_dims(&[0, 2, 3]);
        let x = (i[0].clone() - mean) / var.add_scalar(1e-5).sqrt();
        activation::relu(x * i[1].clone() + i[2].clone())
    };
    let ours = |i: &[Tensor<4>; 3]| {
        ops::batch_norm(i[0].clone(), i[1].clone().reshape([4, 6]), i[2].clone().reshape([4, 6]), 1e-5, 0.0).0
    };
    agree("batch norm", inputs, ours, by_hand, 5e-5);
}

#[test]
fn scales_and_shifts_agree() {
    let inputs = [random("x", [4, 6, 5, 3]), random("gamma", [4, 6, 1, 1]), random("beta", [4, 6, 1, 1])];
    let by_hand = |i: &[Tensor<4>; 3]| activation::leaky_relu(i[0].clone() * i[1].clone() + i[2].clone(), 0.2);
    let ours = |i: &[Tensor<4>; 3]| {
        ops::scale_shift(i[0].clone(), i[1].clone().reshape([4, 6]), i[2].clone().reshape([4, 6]), 0.2)
    };
    agree("scale and shift", inputs, ours, by_hand, 5e-5);
}

#[test]
fn groups_and_missing_biases_agree() {
    let inputs = [random("x", [2, 6, 7, 5]), random("w", [9, 2, 3, 3])];
    let stride = Stride { stride: 2, padding: 1, groups: 3 };
    let options = ConvOptions::new([2; 2], [1; 2], [1; 2], 3);
    agree(
        "grouped",
        inputs,
        |i| ops::conv2d(i[0].clone(), i[1].clone(), None, stride, 1.0),
        |i| module::conv2d(i[0].clone(), i[1].clone(), None, options.clone()),
        2e-5,
    );
    let inputs = [random("x", [2, 9, 4, 5]), random("w", [9, 2, 4, 4])];
    let options = ConvTransposeOptions::new([2; 2], [1; 2], [0; 2], [1; 2], 3);
    agree(
        "grouped, transposed",
        inputs,
        |i| ops::conv_transpose2d(i[0].clone(), i[1].clone(), None, stride, 0.0),
        |i| activation::relu(module::conv_transpose2d(i[0].clone(), i[1].clone(), None, options.clone())),
        2e-5,
    );
}

#[test]
fn linear_layers_agree() {
    for rows in [1, 7, 64, 300] {
        let inputs = [random("x", [rows, 1, 1, 33]), random("w", [20, 1, 1, 33]), random("b", [1, 1, 1, 20])];
        let parts = |i: &[Tensor<4>; 3]| {
            let x = i[0].clone().reshape([rows, 33]);
            (x, i[1].clone().reshape([20, 33]), i[2].clone().reshape([20]))
        };
        let ours = |i: &[Tensor<4>; 3]| {
            let (x, weight, bias) = parts(i);
            ops::linear(x, weight, Some(bias)).reshape([rows, 1, 1, 20])
        };
        let burns = |i: &[Tensor<4>; 3]| {
            let (x, weight, bias) = parts(i);
            (x.matmul(weight.transpose()) + bias.unsqueeze()).reshape([rows, 1, 1, 20])
        };
        agree(&format!("linear, {rows} rows"), inputs, ours, burns, 2e-5);
    }
}

#[test]
fn resampling_agrees() {
    let taps = [0.125f32, 0.375, 0.375, 0.125];
    let square: Vec<f32> = taps.iter().flat_map(|a| taps.map(|b| a * b)).collect::<Vec<_>>().repeat(3);
    let weight = Tensor::<4>::from_data(TensorData::new(square, [3, 1, 4, 4]), &Device::flex());
    let halve = ConvOptions::new([2; 2], [1; 2], [1; 2], 3);
    let double = ConvTransposeOptions::new([2; 2], [1; 2], [0; 2], [1; 2], 3);
    let x = || [random("x", [2, 3, 6, 8])];
    let burns = |i: &[Tensor<4>; 1]| module::conv2d(i[0].clone(), weight.clone(), None, halve.clone());
    agree("halved", x(), |i| ops::downsample(i[0].clone(), Filter::Binomial), burns, 1e-5);
    let burns = |i: &[Tensor<4>; 1]| {
        module::conv_transpose2d(i[0].clone(), weight.clone().mul_scalar(4.0), None, double.clone())
    };
    agree("doubled", x(), |i| ops::upsample(i[0].clone(), Filter::Binomial), burns, 1e-5);
    let burns = |i: &[Tensor<4>; 1]| {
        let x = i[0].clone().reshape([2, 3, 3, 2, 4, 2]);
        x.mean_dims(&[3, 5]).reshape([2, 3, 3, 4])
    };
    agree("pooled", x(), |i| ops::downsample(i[0].clone(), Filter::Box), burns, 1e-5);
    let nearest = |i: &[Tensor<4>; 1]| {
        let x = i[0].clone().reshape([2, 3, 6, 1, 8, 1]).expand([2, 3, 6, 2, 8, 2]);
        x.reshape([2, 3, 12, 16])
    };
    agree("nearest", x(), |i| ops::upsample(i[0].clone(), Filter::Box), nearest, 1e-5);
}

#[test]
fn precision_is_f32_until_asked() {
    assert_eq!(precision(), Precision::F32);
    set_precision(Precision::F32);
    assert_eq!(precision(), Precision::F32);
}

#[test]
fn largest_values_agree() {
    for [b, c, h, w, kernel, stride, padding, ceil] in
        [[2, 33, 9, 8, 3, 2, 0, 1], [1, 5, 8, 8, 2, 2, 0, 0], [3, 4, 7, 10, 3, 2, 1, 0], [2, 1, 5, 6, 3, 1, 1, 0]]
    {
        let what = format!("largest of {kernel}x{kernel}, stride {stride}, {h}x{w}");
        let pool = Pool { kernel, stride, padding, ceil: ceil == 1 };
        let options = MaxPoolOptions::new([kernel; 2])
            .with_stride([stride; 2])
            .with_padding([padding; 2])
            .with_ceil_mode(pool.ceil);
        agree(
            &what,
            [random("x", [b, c, h, w])],
            |[x]| max_pool2d(x.clone(), pool),
            |[x]| module::max_pool2d(x.clone(), options.clone()),
            1e-6,
        );
    }
    // Of equals the first, row by row, as in PyTorch.
    let x = Tensor::<4>::ones([1, 1, 3, 3], &Device::flex()).autodiff().require_grad();
    let grads = max_pool2d(x.clone(), Pool::new(2, 1)).sum().backward();
    let Some(dx) = x.grad(&grads) else { panic!("a gradient") };
    assert_eq!(values(dx).data, [1.0, 1.0, 0.0, 1.0, 1.0, 0.0, 0.0, 0.0, 0.0]);
}
