//! The extension operations against Burn's own, values and gradients.

use burn::tensor::ops::{ConvOptions, ConvTransposeOptions};
use burn::tensor::{Device, Tensor, TensorData, activation, module};
use shenbi_nn::kernels::{Precision, precision, set_precision};
use shenbi_nn::ops::{self, Stride};
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
            |i| ops::conv_transpose2d(i[0].clone(), i[1].clone(), Some(bias(i)), Stride { stride, padding, groups: 1 }, 1.0),
            |i| module::conv_transpose2d(i[0].clone(), i[1].clone(), Some(bias(i)), options.clone()),
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
fn precision_is_f32_until_asked() {
    assert_eq!(precision(), Precision::F32);
    set_precision(Precision::F32);
    assert_eq!(precision(), Precision::F32);
}
