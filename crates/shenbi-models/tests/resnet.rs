//! SNGAN's residual networks against PyTorch (fixtures/resnet.py): outputs, running statistics, singular vectors, and
//! gradients, for D under hinge loss, WGAN-GP's penalty (by the tangent pass against `create_graph`) and cross-entropy.

use std::sync::{Mutex, PoisonError};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::activation::{log_softmax, relu};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use shenbi_models::image::Head;
use shenbi_models::image::resnet::{Discriminator, Generator, ResnetConfig};
use shenbi_nn::kernels::{Precision, set_precision};
use shenbi_nn::tangent::{Penalty, scale_examples, squared_norm};
use shenbi_nn::weights::{self, Named, values};
use shenbi_nn::{Init, NormMode, file};

/// The precision is the process's: one test at a time.
static ALONE: Mutex<()> = Mutex::new(());

const TOLERANCE: f32 = 1e-4;

/// One case of the fixture.
struct Case {
    named: Named,
    prefix: &'static str,
    device: Device,
}

impl Case {
    fn new(prefix: &'static str) -> Self {
        let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/resnet.safetensors"))
            .expect("the fixture");
        Self { named: file::from_bytes(&bytes).expect("safetensors").0, prefix, device: Device::flex() }
    }

    fn get<const D: usize>(&self, name: &str) -> Tensor<D> {
        let values = &self.named[&format!("{}.{name}", self.prefix)];
        Tensor::from_data(TensorData::new(values.data.clone(), values.shape.clone()), &self.device)
    }

    /// The largest error, relative to the largest expected value.
    fn check<const D: usize>(&self, name: &str, found: Tensor<D>) -> f32 {
        let (expected, found) = (&self.named[&format!("{}.{name}", self.prefix)], values(found));
        assert_eq!(expected.shape, found.shape, "{}, {name}", self.prefix);
        let scale = expected.data.iter().map(|v| v.abs()).fold(1e-3, f32::max);
        let error = expected.data.iter().zip(&found.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
        assert!(error <= TOLERANCE, "{}, {name}: relative error {error} of {scale}", self.prefix);
        error
    }

    /// The gradients of all of a network's parameters. Returns the largest error and how many there are.
    fn check_gradients<M: Module>(&self, under: &'static str, network: &M, grads: &Gradients) -> (f32, usize) {
        let mut compare = Compare { case: self, under, grads, path: Vec::new(), error: 0.0, compared: 0 };
        network.visit(&mut compare);
        let start = format!("{}.{under}.", self.prefix);
        assert_eq!(compare.compared, self.named.keys().filter(|name| name.starts_with(&start)).count(), "{start}");
        (compare.error, compare.compared)
    }
}

struct Compare<'a> {
    case: &'a Case,
    under: &'static str,
    grads: &'a Gradients,
    path: Vec<String>,
    error: f32,
    compared: usize,
}

impl ModuleVisitor for Compare<'_> {
    // Variants of enums are no part of names, as in checkpoints.
    fn enter_module(&mut self, name: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.path.push(name.to_string());
        }
    }
    fn exit_module(&mut self, _: &str, container: &str) {
        if !container.starts_with("Enum:") {
            self.path.pop();
        }
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = format!("{}.{}", self.under, self.path.join("."));
        if let Some(grad) = param.val().grad(self.grads) {
            self.error = self.case.check(&name, grad).max(self.error);
            self.compared += 1;
        }
    }
}

fn agrees(prefix: &'static str, config: &ResnetConfig) {
    let case = Case::new(prefix);
    let init = &mut Init::zeros(&case.device);
    let generator = Generator::new(config, init).expect("a good config");
    let generator = weights::apply(generator, &case.named, &format!("{prefix}.g")).expect("all of G");
    let discriminator = Discriminator::new(config, init).expect("a good config");
    let discriminator = weights::apply(discriminator, &case.named, &format!("{prefix}.d")).expect("all of D");
    let (generator, discriminator) = (generator.train(), discriminator.train());
    let judge = discriminator.valid();
    let class = (config.classes > 0).then(|| case.get::<2>("class"));
    let (noise, real, fake) = (case.get::<2>("noise"), case.get::<4>("real"), case.get::<4>("fake"));
    let small = config.size <= 32;

    // G: pictures, statistics, gradients through D.
    let mut seen = Vec::new();
    let painted = generator.forward(noise.clone(), class.clone(), &mut NormMode::Train(&mut seen));
    let mut error = case.check("painted", painted.clone());
    if small {
        let evaluated = generator.valid().forward(noise.clone(), class.clone(), &mut NormMode::Eval);
        error = case.check("evaluated", evaluated).max(error);
        let evaluated = generator.forward(noise, class.clone(), &mut NormMode::Eval);
        error = case.check("evaluated", evaluated).max(error);
        let grads = judge.forward(painted, class.clone()).logit.mean().neg().backward();
        let (worst, count) = case.check_gradients("g_grad", &generator, &grads);
        eprintln!("{prefix}: {count} gradients of G, error {worst:e}");
    }
    let generator = generator.with_running(&seen, 0.1);
    assert_eq!(seen.len(), 2 * generator.blocks.len() + 1);
    let running = weights::collect(&generator.valid(), "running");
    for (name, found) in running.iter().filter(|(name, _)| name.contains("running_")) {
        let found = Tensor::<1>::from_data(TensorData::new(found.data.clone(), found.shape.clone()), &case.device);
        error = case.check(name, found).max(error);
    }
    eprintln!("{prefix}: pictures and statistics, error {error:e}");

    // D: answers, the derivative along a direction.
    let answer = discriminator.forward(real.clone(), class.clone());
    let mut error = case.check("logit", answer.logit.clone()).max(case.check("features", answer.features));
    assert_eq!(answer.classes.is_some(), config.head == Head::Auxiliary);
    let between = real.mul_scalar(0.25) + fake.clone().mul_scalar(0.75);
    let (logit, derivative) = discriminator.forward_tangent(between.clone(), fake.clone(), class.clone());
    error = case.check("derivative", derivative).max(error);
    let difference = logit - discriminator.forward(between.clone(), class.clone()).logit;
    assert!(values(difference).data.iter().all(|v| v.abs() < 1e-4));
    eprintln!("{prefix}: answers, error {error:e}");

    // D: the gradients of the whole loss.
    let fake_logit = discriminator.forward(fake, class.clone()).logit;
    let mut loss = relu(answer.logit.neg() + 1.0).mean() + relu(fake_logit + 1.0).mean();
    if let (Some(logits), Some(class)) = (answer.classes, &class) {
        error = case.check("classes", logits.clone()).max(error);
        loss = loss - (log_softmax(logits, 1) * class.clone()).sum_dim(1).mean();
    }
    let input = between.clone().autodiff().require_grad();
    let grads = judge.forward(input.clone(), class.clone()).logit.sum().backward();
    let g = input.grad(&grads).expect("a gradient");
    let (squared, penalty) = (squared_norm(&g), Penalty::WganGp { lambda: 10.0 });
    error = case.check("loss", loss.clone() + penalty.value(squared.clone())).max(error);
    let v = scale_examples(g, penalty.direction(squared));
    let (_, derivative) = discriminator.forward_tangent(between, v, class);
    let grads = (loss + derivative.mean()).backward();
    let (worst, count) = case.check_gradients("d_grad", &discriminator, &grads);
    eprintln!("{prefix}: loss, error {error:e}; {count} gradients of D, error {worst:e}");

    // D: one power iteration, which leaves weights and their gradients' switch alone.
    let refreshed = discriminator.clone().refreshed();
    let named = weights::collect(&refreshed, "refreshed");
    let vectors = named.iter().filter(|(name, _)| name.ends_with(".norm.u") || name.ends_with(".norm.v"));
    let mut error = 0f32;
    let mut count = 0;
    for (name, found) in vectors {
        let found = Tensor::<1>::from_data(TensorData::new(found.data.clone(), found.shape.clone()), &case.device);
        error = case.check(name, found).max(error);
        count += 1;
    }
    assert_eq!(count > 0, config.spectral);
    assert_eq!(refreshed.clone().valid().num_params(), discriminator.num_params());
    assert!(refreshed.real.layer.weight.val().is_require_grad());
    if !config.spectral {
        assert_eq!(named, weights::collect(&discriminator, "refreshed"));
    }
    eprintln!("{prefix}: {count} singular vectors, error {error:e}");
}

#[test]
fn networks_agree_with_pytorch() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let plain =
        ResnetConfig { size: 16, channels: 3, noise: 5, classes: 0, width: 3, spectral: false, head: Head::None };
    agrees("plain", &plain);
    let projection =
        ResnetConfig { channels: 1, classes: 3, width: 4, spectral: true, head: Head::Projection, ..plain.clone() };
    agrees("projection", &projection);
    let auxiliary =
        ResnetConfig { size: 64, noise: 4, classes: 2, width: 1, head: Head::Auxiliary, ..projection.clone() };
    agrees("auxiliary", &auxiliary);
}

#[test]
fn bf16_follows_f32() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let config = ResnetConfig { size: 32, classes: 3, width: 8, head: Head::Projection, ..ResnetConfig::default() };
    let device = Device::flex();
    let generator = Generator::new(&config, &mut Init::new(1, "g", &device)).unwrap().train();
    let discriminator = Discriminator::new(&config, &mut Init::new(1, "d", &device)).unwrap().train();
    let mut init = Init::new(1, "noise", &device);
    let noise = init.normal([4, config.noise], 1.0).val();
    let direction = init.normal([4, 3, 32, 32], 0.1).val();
    let class = Tensor::<2>::from_data([[1.0, 0.0, 0.0], [0.0, 1.0, 0.0], [0.0, 0.0, 1.0], [1.0, 0.0, 0.0]], &device);
    let run = |precision| {
        set_precision(precision);
        let mut seen = Vec::new();
        let x = generator.forward(noise.clone(), Some(class.clone()), &mut NormMode::Train(&mut seen));
        let logit = discriminator.forward(x.clone(), Some(class.clone())).logit;
        let (_, derivative) = discriminator.forward_tangent(x.clone(), direction.clone(), Some(class.clone()));
        let grads = (logit.clone() + derivative.clone()).sum().backward();
        let weight = &discriminator.blocks[0].conv1.layer.weight;
        let grads = [weight.grad(&grads), generator.blocks[0].conv1.weight.grad(&grads)];
        let grads = grads.map(|grad| values(grad.expect("a gradient")).data);
        [values(x).data, values(logit).data, values(derivative).data].into_iter().chain(grads).collect::<Vec<_>>()
    };
    let (exact, rounded) = (run(Precision::F32), run(Precision::Bf16));
    set_precision(Precision::F32);
    let norm = |v: &mut dyn Iterator<Item = f32>| v.map(|v| f64::from(v) * f64::from(v)).sum::<f64>().sqrt();
    for (i, (exact, rounded)) in exact.iter().zip(&rounded).enumerate() {
        let error = norm(&mut exact.iter().zip(rounded).map(|(a, b)| a - b)) / norm(&mut exact.iter().copied());
        eprintln!("bf16, output {i}: relative error {error:e}");
        // Rounding moves values over the kinks of ReLUs, where gradients jump.
        assert!(error > 0.0 && error < 0.2, "output {i}: relative error {error}");
    }
}

#[test]
fn new_networks_are_those_of_the_tables() {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let init = &mut Init::new(1, "weights", &Device::flex());
    // CIFAR-10's table with an eighth of its channels: 32 in G, 16 in D.
    let config = ResnetConfig { width: 16, ..ResnetConfig::default() };
    let (g, d) = (Generator::new(&config, init).unwrap(), Discriminator::new(&config, init).unwrap());
    assert_eq!((g.blocks.len(), g.start.weight.dims()), (3, [16 * 32, 128]));
    assert!(g.blocks.iter().all(|block| block.conv1.weight.dims() == [32, 32, 3, 3]));
    assert_eq!(d.blocks.iter().map(|block| block.skip.is_some()).collect::<Vec<_>>(), [true, true, false, false]);
    assert_eq!(d.real.layer.weight.dims(), [1, 16]);
    // ImageNet's with a sixteenth: 64, 64, 32, 16, 8, 4 in G, 4, 8, 16, 32, 64, 64 in D.
    let config = ResnetConfig { size: 128, width: 4, classes: 5, head: Head::Projection, ..ResnetConfig::default() };
    let (g, d) = (Generator::new(&config, init).unwrap(), Discriminator::new(&config, init).unwrap());
    let widths = |blocks: &[[usize; 4]]| blocks.iter().map(|dims| dims[0]).collect::<Vec<_>>();
    let convs: Vec<_> = g.blocks.iter().map(|block| block.conv2.weight.dims()).collect();
    assert_eq!((g.start.weight.dims()[0], widths(&convs)), (16 * 64, vec![64, 32, 16, 8, 4]));
    let convs: Vec<_> = d.blocks.iter().map(|block| block.conv2.layer.weight.dims()).collect();
    assert_eq!(widths(&convs), [4, 8, 16, 32, 64, 64]);
    assert_eq!(d.project.unwrap().layer.weight.dims(), [64, 5]);

    // A new layer's largest singular value is known: u and v have seen some iterations.
    let layer = &d.blocks[1].conv2;
    let (w, norm) = (layer.layer.weight.val(), layer.norm.clone().unwrap());
    let once = norm.weight(w.clone());
    let often = (0..50).fold(norm, |norm, _| norm.refreshed(&w)).weight(w);
    let ratio = values(once.abs().sum() / often.abs().sum()).data[0];
    assert!((ratio - 1.0).abs() < 0.05, "{ratio}");
}

#[test]
fn configs_that_make_no_network_are_refused() {
    let good = ResnetConfig { size: 16, width: 2, ..ResnetConfig::default() };
    assert_eq!(good.check(), Ok(()));
    let bad = [
        ("size 8", ResnetConfig { size: 8, ..good.clone() }),
        ("size 48", ResnetConfig { size: 48, ..good.clone() }),
        ("size 256", ResnetConfig { size: 256, ..good.clone() }),
        ("channels 0", ResnetConfig { channels: 0, ..good.clone() }),
        ("noise 0", ResnetConfig { noise: 0, ..good.clone() }),
        ("width 0", ResnetConfig { width: 0, ..good.clone() }),
        ("width 257", ResnetConfig { width: 257, ..good.clone() }),
        ("classes 0", ResnetConfig { head: Head::Projection, ..good.clone() }),
        ("classes 0", ResnetConfig { head: Head::Auxiliary, ..good.clone() }),
    ];
    let init = &mut Init::zeros(&Device::flex());
    for (start, config) in bad {
        let text = config.check().unwrap_err();
        assert!(text.starts_with(start), "{text}");
        assert_eq!(Generator::new(&config, init).err(), Some(text.clone()));
        assert_eq!(Discriminator::new(&config, init).err(), Some(text));
    }
    let text = r#"{"size":16,"channels":3,"noise":8,"classes":2,"width":4,"spectral":true,"head":"auxiliary"}"#;
    assert_eq!(serde_json::from_str::<ResnetConfig>(text).unwrap().head, Head::Auxiliary);
}
