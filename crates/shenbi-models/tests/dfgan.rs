//! DF-GAN's networks and one step of each against PyTorch (fixtures/dfgan.py).

use std::sync::{Mutex, MutexGuard, PoisonError};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use shenbi_models::text_to_image::dfgan::{DfganConfig, Discriminator, Generator};
use shenbi_nn::kernels::{Precision, set_precision};
use shenbi_nn::tangent::{Penalty, scale_examples, squared_norm};
use shenbi_nn::weights::{self, Named, values};
use shenbi_nn::{Init, file, ops};

const CONFIG: DfganConfig = DfganConfig { size: 64, channels: 1, noise: 5, sentence: 6, width: 2 };
/// Of the largest value.
const TOLERANCE: f32 = 1e-4;

/// The precision is the process's: one test at a time.
fn alone(precision: Precision) -> MutexGuard<'static, ()> {
    static ONE: Mutex<()> = Mutex::new(());
    let guard = ONE.lock().unwrap_or_else(PoisonError::into_inner);
    set_precision(precision);
    guard
}

fn fixture() -> Named {
    let bytes =
        std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/dfgan.safetensors")).expect("fixture");
    file::from_bytes(&bytes).expect("fixture").0
}

fn tensor<const D: usize>(named: &Named, name: &str) -> Tensor<D> {
    let values = &named[name];
    Tensor::from_data(TensorData::new(values.data.clone(), values.shape.clone()), &Device::flex())
}

fn networks(named: &Named) -> (Generator, Discriminator) {
    let mut init = Init::zeros(&Device::flex());
    let generator = Generator::new(&CONFIG, &mut init).expect("a good config");
    let discriminator = Discriminator::new(&CONFIG, &mut init).expect("a good config");
    (
        weights::apply(generator, named, "generator").expect("all weights"),
        weights::apply(discriminator, named, "discriminator").expect("all weights"),
    )
}

fn compare(name: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let scale = expected.iter().map(|v| v.abs()).fold(0.0, f32::max);
    let error = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
    println!("{name}: relative error {error:.1e} of {scale}");
    assert!(error < TOLERANCE, "{name}: error {error} of the largest value, {scale}");
}

fn compare_tensor<const D: usize>(named: &Named, name: &str, found: &Tensor<D>) {
    compare(name, &values(found.clone()).data, &named[name].data);
}

struct CompareGradients<'a> {
    grads: &'a Gradients,
    named: &'a Named,
    path: Vec<String>,
    compared: usize,
}

impl<'a> CompareGradients<'a> {
    /// Every parameter of `network`.
    fn check<M: Module>(network: &M, prefix: &str, grads: &'a Gradients, named: &'a Named) {
        let mut visitor = Self { grads, named, path: vec!["gradient".into(), prefix.into()], compared: 0 };
        network.visit(&mut visitor);
        let start = format!("gradient.{prefix}.");
        assert_eq!(visitor.compared, named.keys().filter(|name| name.starts_with(&start)).count());
    }
}

impl ModuleVisitor for CompareGradients<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        let grad = param.val().grad(self.grads).unwrap_or_else(|| panic!("{name} has no gradient"));
        compare_tensor(self.named, &name, &grad);
        self.compared += 1;
    }
}

/// E max(0, 1 + x)
fn hinge(x: Tensor<1>) -> Tensor<1> {
    ops::relu(x + 1.0).mean()
}

/// Each sentence with the next picture.
fn next(x: Tensor<4>) -> Tensor<4> {
    let [b, _, _, _] = x.dims();
    Tensor::cat(vec![x.clone().narrow(0, 1, b - 1), x.narrow(0, 0, 1)], 0)
}

#[test]
fn discriminator_step_agrees_with_pytorch() {
    let _alone = alone(Precision::F32);
    let named = fixture();
    let (generator, discriminator) = networks(&named);
    let discriminator = discriminator.train();
    let (real, sentence) = (tensor::<4>(&named, "real"), tensor::<2>(&named, "sentence"));
    let fake = generator.forward(tensor(&named, "noise"), sentence.clone());
    compare_tensor(&named, "fake", &fake);

    let grid = discriminator.features(real.clone());
    let on_real = discriminator.judge(grid.clone(), sentence.clone());
    let on_mismatched = discriminator.judge(next(grid), sentence.clone());
    let on_fake = discriminator.judge(discriminator.features(fake), sentence.clone());
    compare_tensor(&named, "answer.real", &on_real);
    compare_tensor(&named, "answer.mismatched", &on_mismatched);
    compare_tensor(&named, "answer.fake", &on_fake);
    let loss = hinge(on_real.neg()) + (hinge(on_fake) + hinge(on_mismatched)).mul_scalar(0.5);
    compare_tensor(&named, "hinge", &loss);

    let penalty = Penalty::MaGp { k: 2.0, p: 6.0 };
    let (x, e) = (real.clone().autodiff().require_grad(), sentence.clone().autodiff().require_grad());
    let fixed = discriminator.valid();
    let grads = fixed.judge(fixed.features(x.clone()), e.clone()).sum().backward();
    let (gx, ge) = (x.grad(&grads).unwrap(), e.grad(&grads).unwrap());
    let squared = squared_norm(&gx) + squared_norm(&ge);
    compare_tensor(&named, "penalty", &penalty.value(squared.clone()));

    let direction = penalty.direction(squared);
    let (vx, ve) = (scale_examples(gx, direction.clone()), scale_examples(ge, direction));
    let (answer, tangent) = discriminator.forward_tangent(real, vx, sentence, ve);
    compare_tensor(&named, "answer.real", &answer);
    let grads = (loss + tangent.mean()).backward();
    CompareGradients::check(&discriminator, "discriminator", &grads, &named);
}

#[test]
fn generator_step_agrees_with_pytorch() {
    let _alone = alone(Precision::F32);
    let named = fixture();
    let (generator, discriminator) = networks(&named);
    let generator = generator.train();
    let sentence = tensor::<2>(&named, "sentence");
    let fake = generator.forward(tensor(&named, "noise"), sentence.clone());
    compare_tensor(&named, "fake", &fake);
    let answer = discriminator.judge(discriminator.features(fake), sentence);
    compare_tensor(&named, "answer.fake", &answer);
    let grads = answer.mean().neg().backward();
    CompareGradients::check(&generator, "generator", &grads, &named);
}

#[test]
fn fresh_networks_start_as_the_paper_says() {
    let _alone = alone(Precision::F32);
    let device = Device::flex();
    for (size, channels, width) in [(16, 4, 3), (32, 3, 2), (256, 1, 1)] {
        let config = DfganConfig { size, channels, noise: 7, sentence: 5, width };
        let mut init = Init::new(3, "dfgan", &device);
        let generator = Generator::new(&config, &mut init).unwrap();
        assert_eq!(config.parameters().unwrap(), generator.num_params());
        let (noise, sentence) = (init.normal([2, 7], 1.0).val(), init.normal([2, 5], 1.0).val());
        let picture = generator.forward(noise.clone(), sentence.clone());
        assert_eq!(picture.dims(), [2, channels, size, size]);
        // Scales of one and shifts of zero: the sentence says nothing yet.
        let other = generator.forward(noise, sentence.clone().mul_scalar(-1.0));
        compare("other sentence", &values(other).data, &values(picture.clone()).data);

        let discriminator = Discriminator::new(&config, &mut init).unwrap();
        assert!(discriminator.blocks.iter().all(|block| values(block.gamma.val()).data == [0.0]));
        let features = discriminator.features(picture);
        assert_eq!(features.dims(), [2, width * 8.min(size / 4), 4, 4]);
        let answer = values(discriminator.judge(features, sentence)).data;
        assert!(answer.len() == 2 && answer.iter().all(|v| v.is_finite()));
    }
}

#[test]
fn refuses_what_makes_no_network() {
    let refused = |config: DfganConfig, word: &str| {
        let mut init = Init::zeros(&Device::flex());
        for error in [
            config.check().unwrap_err(),
            config.parameters().unwrap_err(),
            Generator::new(&config, &mut init).unwrap_err(),
            Discriminator::new(&config, &mut init).unwrap_err(),
        ] {
            assert!(error.starts_with(word), "{error}");
        }
    };
    for size in [0, 1, 8, 24, 48, 100, 255, 512, usize::MAX] {
        refused(DfganConfig { size, ..CONFIG }, &format!("size {size}:"));
    }
    for channels in [0, 5] {
        refused(DfganConfig { channels, ..CONFIG }, "channels");
    }
    refused(DfganConfig { noise: 0, ..CONFIG }, "noise");
    refused(DfganConfig { sentence: usize::MAX, ..CONFIG }, "sentence");
    refused(DfganConfig { width: 0, ..CONFIG }, "width");
    let unknown = r#"{"size": 64, "channels": 3, "noise": 100, "sentence": 256, "width": 32, "depth": 2}"#;
    assert!(serde_json::from_str::<DfganConfig>(unknown).unwrap_err().to_string().contains("depth"));
    assert!(DfganConfig::default().check().is_ok());
}

#[test]
fn bf16_follows_f32() {
    let named = fixture();
    let _alone = alone(Precision::Bf16);
    let (generator, discriminator) = networks(&named);
    let (generator, fixed) = (generator.train(), discriminator.clone());
    let sentence = tensor::<2>(&named, "sentence");
    let fake = generator.forward(tensor(&named, "noise"), sentence.clone());
    let far = |name: &str, found: &[f32]| {
        let expected = &named[name].data;
        let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|v| v * v).sum::<f32>().sqrt();
        norm(&mut found.iter().zip(expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied())
    };
    let error = far("fake", &values(fake.clone()).data);
    assert!(error < 0.05, "fake: {error}");
    let answer = fixed.judge(fixed.features(fake), sentence.clone());
    assert!(far("answer.fake", &values(answer.clone()).data) < 0.1);
    let grads = answer.mean().neg().backward();
    let start = generator.start.weight.val().grad(&grads).unwrap();
    let error = far("gradient.generator.start.weight", &values(start).data);
    assert!(error < 0.2, "gradient of start: {error}");

    let discriminator = discriminator.train();
    let real = tensor::<4>(&named, "real");
    let (answer, tangent) = discriminator.forward_tangent(real.clone(), real, sentence.clone(), sentence);
    assert!(far("answer.real", &values(answer.clone()).data) < 0.1);
    let grads = (answer + tangent).mean().backward();
    assert!(discriminator.blocks[0].conv1.weight.val().grad(&grads).is_some());
}
