//! Gradient penalties by the tangent pass against PyTorch's `create_graph` (fixtures/tangent.py).

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use shenbi_nn::tangent::{Penalty, scale_examples, squared_norm};
use shenbi_nn::weights::{self, Named, values};
use shenbi_nn::{Conv2d, Init, Linear, file, ops};

#[derive(Module, Debug)]
struct Discriminator {
    conv1: Conv2d,
    conv2: Conv2d,
    features: Linear,
    real: Linear,
}

impl Discriminator {
    fn new(init: &mut Init) -> Self {
        Self {
            conv1: Conv2d::new(3, 8, 4, 2, 1, 1.0, init),
            conv2: Conv2d::new(8, 12, 3, 1, 1, 1.0, init),
            features: Linear::new(12 * 16 + 10, 16, 1.0, init),
            real: Linear::new(16, 1, 1.0, init),
        }
    }

    fn forward(&self, x: Tensor<4>, e: Tensor<2>) -> Tensor<2> {
        let x = self.conv1.forward_leaky(x, 0.2);
        let x = self.conv2.forward_leaky(x, 0.2).flatten(1, 3);
        self.real.forward(ops::leaky_relu(self.features.forward(Tensor::cat(vec![x, e], 1)), 0.2))
    }

    fn derivative(&self, x: Tensor<4>, e: Tensor<2>, dx: Tensor<4>, de: Tensor<2>) -> Tensor<2> {
        let (x, dx) = self.conv1.forward_tangent(x, dx, 0.2);
        let (x, dx) = self.conv2.forward_tangent(x, dx, 0.2);
        let (x, dx) = (Tensor::cat(vec![x.flatten(1, 3), e], 1), Tensor::cat(vec![dx.flatten(1, 3), de], 1));
        let (x, dx) = self.features.forward_tangent(x, dx);
        let x = ops::leaky_relu(x, 0.2);
        let dx = ops::leaky_relu_tangent(x.clone(), dx, 0.2);
        self.real.forward_tangent(x, dx).1
    }
}

struct Compare<'a> {
    grads: &'a Gradients,
    expected: &'a Named,
    prefix: &'static str,
    path: Vec<String>,
    compared: usize,
}

impl ModuleVisitor for Compare<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = format!("{}.{}", self.prefix, self.path.join("."));
        let expected = &self.expected[&name].data;
        let scale = expected.iter().map(|v| v.abs()).fold(0.0, f32::max);
        let found = match param.val().grad(self.grads) {
            Some(grad) => values(grad).data,
            None => vec![0.0; expected.len()],
        };
        let error = expected.iter().zip(&found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
        assert!(error <= 1e-4 * scale.max(1e-6), "{name}: error {error}, largest gradient {scale}");
        self.compared += 1;
    }
}

#[test]
fn penalties_agree_with_create_graph() {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/tangent.safetensors")).unwrap();
    let (named, _) = file::from_bytes(&bytes).unwrap();
    let device = Device::flex();
    let network = weights::apply(Discriminator::new(&mut Init::zeros(&device)), &named, "weights").unwrap().train();
    let get = |name: &str| TensorData::new(named[name].data.clone(), named[name].shape.clone());
    let (x, e) = (Tensor::<4>::from_data(get("x"), &device), Tensor::<2>::from_data(get("e"), &device));

    // R2 is R1 on other pictures: the same code and the same formula.
    let cases = [
        ("r1", Penalty::R1 { gamma: 10.0 }),
        ("wgan_gp", Penalty::WganGp { lambda: 10.0 }),
        ("ma_gp", Penalty::MaGp { k: 2.0, p: 6.0 }),
    ];
    for (prefix, penalty) in cases {
        let (input, sentence) = (x.clone().autodiff().require_grad(), e.clone().autodiff().require_grad());
        let grads = network.valid().forward(input.clone(), sentence.clone()).sum().backward();
        let (gx, ge) = (input.grad(&grads).unwrap(), sentence.grad(&grads).unwrap());
        let both = matches!(penalty, Penalty::MaGp { .. });
        let ge = if both { ge } else { ge.zeros_like() };
        let squared = squared_norm(&gx) + squared_norm(&ge);
        let value = values(penalty.value(squared.clone())).data[0];
        let expected = named[&format!("{prefix}.value")].data[0];
        assert!((value - expected).abs() < 1e-4 * expected.abs(), "{prefix}: {value} against {expected}");

        let direction = penalty.direction(squared);
        let (vx, ve) = (scale_examples(gx, direction.clone()), scale_examples(ge, direction));
        let surrogate = network.derivative(x.clone(), e.clone(), vx, ve).mean();
        let grads = surrogate.backward();
        let mut compare = Compare { grads: &grads, expected: &named, prefix, path: Vec::new(), compared: 0 };
        network.visit(&mut compare);
        assert_eq!(compare.compared, 8);
    }
}
