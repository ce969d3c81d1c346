//! The operations at bf16 against themselves at f32: values and gradients, and what type comes out where.

use burn::tensor::{DType, Device, Tensor, TensorData};
use shenbi_nn::kernels::{Precision, set_precision};
use shenbi_nn::ops::{self, Stride};
use shenbi_nn::weights::values;
use shenbi_rng as rng;

fn random<const D: usize>(name: &str, shape: [usize; D]) -> Tensor<D> {
    let mut stream = rng::stream(3, name, 0);
    let data: Vec<f32> = (0..shape.iter().product()).map(|_| rng::normal(&mut stream)).collect();
    Tensor::<D>::from_data(TensorData::new(data, shape), &Device::flex()).autodiff().require_grad()
}

/// A small discriminator-like and generator-like pass: everything that brush and DCGAN use.
fn network(i: &[Tensor<4>; 5], affine: &[Tensor<1>; 2]) -> Tensor<4> {
    let stride = Stride { stride: 2, padding: 1, groups: 1 };
    let x = ops::conv2d(i[0].clone(), i[1].clone(), None, stride, 0.2);
    let (x, _, _) = ops::batch_norm(x, affine[0].clone(), affine[1].clone(), 1e-5, 0.0);
    let x = ops::conv_transpose2d(x, i[2].clone(), Some(affine[1].clone()), stride, 0.2);
    let x = ops::conv2d(x, i[3].clone(), None, Stride { stride: 1, ..stride }, 1.0);
    ops::tanh(x) * i[4].clone()
}

/// One test, as the precision is the process's.
#[test]
fn bf16_follows_f32() {
    let inputs = || {
        [
            random("x", [3, 3, 16, 12]),
            random("w1", [24, 3, 4, 4]),
            random("w2", [24, 24, 4, 4]).mul_scalar(0.05),
            random("w3", [3, 24, 3, 3]).mul_scalar(0.1),
            random("weight", [3, 3, 16, 12]).without_autodiff().autodiff(),
        ]
    };
    let run = |precision| {
        set_precision(precision);
        let leaves = inputs();
        let affine = [random("gamma", [24]), random("beta", [24])];
        let y = network(&leaves, &affine);
        assert_eq!(y.dtype(), DType::F32);
        let grads = y.clone().sum().backward();
        let mut all = vec![values(y).data];
        all.extend([0, 1].map(|i| values(leaves[i].grad(&grads).expect("a gradient")).data));
        all.extend([0, 1].map(|i| values(affine[i].grad(&grads).expect("a gradient")).data));
        all
    };
    let (exact, rounded) = (run(Precision::F32), run(Precision::Bf16));
    for (i, (exact, rounded)) in exact.iter().zip(&rounded).enumerate() {
        let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
        let error = norm(&mut exact.iter().zip(rounded).map(|(a, b)| a - b)) / norm(&mut exact.iter().copied());
        // Rounding moves values over the kinks of ReLUs, where gradients jump: hence the few percent.
        assert!(error > 0.0 && error < 0.05, "output {i}: relative error {error}");
    }

    // Activations are bf16, what a linear layer or tanh gives is f32, and so are the gradients of weights.
    let stride = Stride { stride: 2, padding: 1, groups: 1 };
    let [x, w, ..] = inputs();
    let y = ops::conv2d(x, w.clone(), None, stride, 0.2);
    assert_eq!(y.dtype(), DType::BF16);
    let flat: Tensor<2> = y.flatten(1, 3);
    let weight = random("linear", [5, 24 * 8 * 6]);
    let logits = ops::linear(flat, weight.clone(), None);
    assert_eq!(logits.dtype(), DType::F32);
    let grads = logits.sum().backward();
    assert_eq!(w.grad(&grads).map(|g| g.dtype()), Some(DType::F32));
    assert_eq!(weight.grad(&grads).map(|g| g.dtype()), Some(DType::F32));
}
