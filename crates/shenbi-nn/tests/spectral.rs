//! Spectral normalisation and batch norm's tangent against PyTorch (fixtures/spectral.py).

use burn::module::{Module, Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use shenbi_nn::spectral::{SpectralConv2d, SpectralLinear, SpectralNorm};
use shenbi_nn::tangent::{Penalty, scale_examples, squared_norm};
use shenbi_nn::weights::{Named, values};
use shenbi_nn::{BatchNorm, Conv2d, Init, Linear, NormMode, file};

const TOLERANCE: f32 = 1e-4;

struct Fixture(Named);

impl Fixture {
    fn new() -> Self {
        let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/spectral.safetensors"))
            .expect("the fixture");
        Self(file::from_bytes(&bytes).expect("safetensors").0)
    }

    fn get<const D: usize>(&self, name: &str) -> Tensor<D> {
        let values = &self.0[name];
        Tensor::from_data(TensorData::new(values.data.clone(), values.shape.clone()), &Device::flex())
    }

    /// A parameter that wants gradients.
    fn param<const D: usize>(&self, name: &str) -> Param<Tensor<D>> {
        Param::initialized(ParamId::new(), self.get::<D>(name).autodiff().require_grad())
    }

    fn check<const D: usize>(&self, name: &str, found: Tensor<D>) {
        let (expected, found) = (&self.0[name], values(found));
        assert_eq!(expected.shape, found.shape, "{name}");
        let scale = expected.data.iter().map(|v| v.abs()).fold(1e-3, f32::max);
        let error = expected.data.iter().zip(&found.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
        eprintln!("{name}: relative error {error:e}");
        assert!(error <= TOLERANCE, "{name}: relative error {error} of {scale}");
    }
}

fn follows_pytorch<const D: usize>(fixture: &Fixture, layer: &str) {
    let weight = fixture.get::<D>(&format!("{layer}.weight"));
    let loss = fixture.get::<D>(&format!("{layer}.loss"));
    let get = |i: usize, name: &str| fixture.get::<1>(&format!("{layer}.{i}.{name}"));
    let mut norm = SpectralNorm::new(&weight, &mut Init::zeros(&Device::flex())).train();
    norm.u = norm.u.map(|_| get(0, "u").set_require_grad(false));
    norm.v = norm.v.map(|_| get(0, "v").set_require_grad(false));
    let weight = weight.autodiff().require_grad();
    for i in 0..4 {
        if i > 0 {
            norm = norm.refreshed(&weight);
        }
        let name = |part| format!("{layer}.{i}.{part}");
        fixture.check(&name("u"), norm.u.val());
        fixture.check(&name("v"), norm.v.val());
        let value = norm.weight(weight.clone());
        fixture.check(&name("value"), value.clone());
        let grads = (value * loss.clone()).sum().backward();
        fixture.check(&name("grad"), weight.grad(&grads).expect("a gradient"));
        assert!(norm.u.grad(&grads).is_none() && norm.v.grad(&grads).is_none());
    }
}

#[test]
fn power_iteration_agrees() {
    let fixture = Fixture::new();
    follows_pytorch::<4>(&fixture, "conv");
    follows_pytorch::<2>(&fixture, "linear");
}

/// Layers with the switch off are the plain ones; with it on, the plain ones with W / σ.
#[test]
fn normalised_layers_are_plain_layers_of_other_weights() {
    let device = Device::flex();
    let mut init = Init::new(1, "layers", &device);
    let x = init.normal([2, 3, 6, 6], 1.0).val();
    let dx = init.normal([2, 3, 6, 6], 1.0).val();
    let plain = Conv2d::new(3, 5, 3, 1, 1, 1.0, &mut init);
    let same = |what: &str, (a, da): (Tensor<4>, Tensor<4>), (b, db): (Tensor<4>, Tensor<4>)| {
        assert_eq!((values(a), values(da)), (values(b), values(db)), "{what}");
    };
    for spectral in [false, true] {
        let layer = SpectralConv2d::new(plain.clone(), spectral, &mut init).refreshed();
        let weight = plain.weight.val();
        let weight = layer.norm.as_ref().map_or(weight.clone(), |norm| norm.weight(weight));
        let other = Conv2d { weight: Param::from_tensor(weight), ..plain.clone() };
        let found = layer.forward_tangent(x.clone(), dx.clone(), 0.2);
        same("convolution", found.clone(), other.forward_tangent(x.clone(), dx.clone(), 0.2));
        assert_eq!(values(layer.forward_leaky(x.clone(), 0.2)), values(found.0));
    }
    let plain = Linear::new(6, 4, 1.0, &mut init);
    for spectral in [false, true] {
        let layer = SpectralLinear::new(plain.clone(), spectral, &mut init).refreshed();
        let weight = plain.weight.val();
        let weight = layer.norm.as_ref().map_or(weight.clone(), |norm| norm.weight(weight));
        let other = Linear { weight: Param::from_tensor(weight), ..plain.clone() };
        let found = layer.forward_tangent(x.clone(), dx.clone());
        same("linear", found.clone(), other.forward_tangent(x.clone(), dx.clone()));
        assert_eq!(values(layer.forward(x.clone())), values(found.0));
    }
}

#[test]
fn batch_norms_tangent_agrees_with_jvp() {
    let fixture = Fixture::new();
    let norm = BatchNorm {
        weight: fixture.param("norm.weight"),
        bias: fixture.param("norm.bias"),
        ..BatchNorm::new(4, 0.0, &mut Init::zeros(&Device::flex()))
    };
    let x = fixture.get::<4>("norm.x").autodiff().require_grad();
    let dx = fixture.get::<4>("norm.dx").autodiff().require_grad();
    let (y, dy) = norm.forward_tangent(x.clone(), dx.clone(), 0.2);
    fixture.check("norm.y", y.clone());
    fixture.check("norm.dy", dy.clone());
    fixture.check("norm.y", norm.forward_leaky(x.clone(), 0.2, &mut NormMode::Train(&mut Vec::new())));
    let loss = (y * fixture.get("norm.left")).sum() + (dy * fixture.get("norm.right")).sum();
    let grads = loss.backward();
    fixture.check("norm.grad.x", x.grad(&grads).unwrap());
    fixture.check("norm.grad.dx", dx.grad(&grads).unwrap());
    fixture.check("norm.grad.weight", norm.weight.grad(&grads).unwrap());
    fixture.check("norm.grad.bias", norm.bias.grad(&grads).unwrap());
}

/// The penalties of a discriminator whose pictures see each other.
#[test]
fn penalties_through_batch_norm_agree_with_create_graph() {
    let fixture = Fixture::new();
    let init = &mut Init::zeros(&Device::flex());
    let conv = |name: &str, stride, padding, init: &mut Init| {
        let layer = Conv2d::new(1, 1, 1, stride, padding, 1.0, init).without_bias();
        Conv2d { weight: fixture.param(&format!("d.{name}.weight")), ..layer }
    };
    let (conv1, conv2, conv3) = (conv("conv1", 2, 1, init), conv("conv2", 2, 1, init), conv("conv3", 1, 0, init));
    let (weight, bias) = (fixture.param("d.norm.weight"), fixture.param("d.norm.bias"));
    let norm = BatchNorm { weight, bias, ..BatchNorm::new(6, 0.0, init) };
    let pictures = fixture.get::<4>("d.pictures");
    for (name, penalty) in [("r1", Penalty::R1 { gamma: 10.0 }), ("wgan_gp", Penalty::WganGp { lambda: 10.0 })] {
        let input = pictures.clone().autodiff().require_grad();
        let x = conv2.valid().forward(conv1.valid().forward_leaky(input.clone(), 0.2));
        let x = norm.valid().forward_leaky(x, 0.2, &mut NormMode::Train(&mut Vec::new()));
        let grads = conv3.valid().forward(x).sum().backward();
        let g = input.grad(&grads).unwrap();
        let squared = squared_norm(&g);
        fixture.check(&format!("{name}.value"), penalty.value(squared.clone()));

        let v = scale_examples(g, penalty.direction(squared));
        let (x, dx) = conv1.forward_tangent(pictures.clone(), v, 0.2);
        let (x, dx) = conv2.forward_tangent(x, dx, 1.0);
        let (x, dx) = norm.forward_tangent(x, dx, 0.2);
        let grads = conv3.forward_tangent(x, dx, 1.0).1.mean().backward();
        for (layer, weight) in [("conv1", &conv1.weight), ("conv2", &conv2.weight), ("conv3", &conv3.weight)] {
            fixture.check(&format!("{name}.{layer}.weight"), weight.grad(&grads).unwrap());
        }
        fixture.check(&format!("{name}.norm.weight"), norm.weight.grad(&grads).unwrap());
        // The shift only moves pictures across the LeakyReLU's kink, which has no derivative: expected is 0.
        let bias = norm.bias.grad(&grads).unwrap_or_else(|| norm.bias.val().zeros_like());
        fixture.check(&format!("{name}.norm.bias"), bias);
    }
}
