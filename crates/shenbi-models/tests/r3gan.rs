//! R3GAN's networks against PyTorch (fixtures/r3gan.py): pictures, logits, and gradients of the paper's losses.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use shenbi_models::image::r3gan::{Discriminator, Generator, R3ganConfig};
use shenbi_nn::kernels::{Precision, set_precision};
use shenbi_nn::tangent::{Penalty, scale_examples, squared_norm};
use shenbi_nn::weights::{self, Named, values};
use shenbi_nn::{Init, file, ops};

/// The fixture's networks.
fn config(classes: usize) -> R3ganConfig {
    R3ganConfig {
        size: 16,
        channels: 3,
        noise: 6,
        classes,
        widths: vec![12, 8, 8],
        blocks: vec![1, 1, 2],
        cardinalities: vec![3, 2, 4],
        expansion: 2,
        class_embedding: 4,
    }
}

/// Compares with the tensors of one case of the fixture.
struct Compare<'a> {
    named: &'a Named,
    case: &'a str,
    tolerance: f32,
}

impl Compare<'_> {
    fn check(&mut self, name: &str, found: &[f32]) {
        let expected = &self.named[&format!("{}.{name}", self.case)].data;
        assert_eq!(expected.len(), found.len(), "{} {name}", self.case);
        let scale = expected.iter().map(|v| v.abs()).fold(1e-6, f32::max);
        let error = expected.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
        assert!(error <= self.tolerance, "{} {name}: relative error {error}", self.case);
    }

    fn gradients<M: Module>(&mut self, network: &M, grads: &Gradients, prefix: &str) {
        let mut visitor = Each { compare: self, grads, path: vec![format!("gradient.{prefix}")], visited: 0 };
        network.visit(&mut visitor);
        let visited = visitor.visited;
        let prefix = format!("{}.gradient.{prefix}.", self.case);
        assert_eq!(visited, self.named.keys().filter(|name| name.starts_with(&prefix)).count());
    }
}

struct Each<'a, 'b> {
    compare: &'a mut Compare<'b>,
    grads: &'a Gradients,
    path: Vec<String>,
    visited: usize,
}

impl ModuleVisitor for Each<'_, '_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        let grad = param.val().grad(self.grads).unwrap_or_else(|| panic!("{name} has no gradient"));
        self.compare.check(&name, &values(grad).data);
        self.visited += 1;
    }
}

/// Both networks, both losses.
fn parity(named: &Named, case: &str, tolerance: f32) {
    let device = Device::flex();
    let get = |name: &str| {
        let values = &named[&format!("{case}.{name}")];
        TensorData::new(values.data.clone(), values.shape.clone())
    };
    let config = config(if case == "class" { 5 } else { 0 });
    let init = &mut Init::zeros(&device);
    let generator = weights::apply(Generator::new(&config, init).expect("fits"), named, &format!("{case}.g"))
        .expect("fits")
        .train();
    let discriminator = weights::apply(Discriminator::new(&config, init).expect("fits"), named, &format!("{case}.d"))
        .expect("fits")
        .train();
    let class = (config.classes > 0).then(|| Tensor::<2>::from_data(get("class"), &device));
    let noise = Tensor::<2>::from_data(get("z"), &device);
    let [real, fake] = ["real", "fake"].map(|name| Tensor::<4>::from_data(get(name), &device));
    let mut compare = Compare { named, case, tolerance };

    // Without gradients.
    let frozen = discriminator.valid();
    compare.check("fake", &values(generator.valid().forward(noise.clone(), class.clone())).data);
    compare.check("logit.real", &values(frozen.forward(real.clone(), class.clone()).logit).data);
    let answer = frozen.forward(fake.clone(), class.clone());
    compare.check("logit.fake", &values(answer.logit).data);
    compare.check("features", &values(answer.features).data);

    // D: softplus(D(fake) - D(real)) + (R1 + R2) / 2 by tangent passes.
    let penalty = Penalty::R1 { gamma: 1.0 };
    let mut value = 0.0;
    let mut tangent = |pictures: &Tensor<4>| {
        let input = pictures.clone().autodiff().require_grad();
        let grads = frozen.forward(input.clone(), class.clone()).logit.sum().backward();
        let slope = input.grad(&grads).expect("a gradient");
        let squared = squared_norm(&slope);
        value += 2.0 * values(penalty.value(squared.clone())).data[0];
        let direction = scale_examples(slope, penalty.direction(squared));
        discriminator.forward_tangent(pictures.clone(), direction, class.clone())
    };
    let ((logit_real, d_real), (logit_fake, d_fake)) = (tangent(&real), tangent(&fake));
    compare.check("penalty", &[value]);
    compare.check("logit.real", &values(logit_real.clone()).data);
    let loss = ops::softplus(logit_fake - logit_real.clone()).mean() + d_real.mean() + d_fake.mean();
    compare.gradients(&discriminator, &loss.backward(), "d");

    // G: softplus(D(real) - D(fake)).
    let logit = frozen.forward(generator.forward(noise, class.clone()), class).logit;
    let loss = ops::softplus(logit_real.without_autodiff() - logit).mean();
    compare.gradients(&generator, &loss.backward(), "g");
}

/// One test, as the precision is the process's.
#[test]
fn networks_and_gradients_are_those_of_pytorch() {
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/r3gan.safetensors")).unwrap();
    let (named, _) = file::from_bytes(&bytes).unwrap();
    for case in ["plain", "class"] {
        // bf16 has eight bits, and rounding moves some values over the kinks of LeakyReLUs.
        for (precision, tolerance) in [(Precision::F32, 1e-4), (Precision::Bf16, 0.3)] {
            set_precision(precision);
            parity(&named, case, tolerance);
        }
    }
    set_precision(Precision::F32);
}

#[test]
fn sizes_of_the_papers_networks() {
    // Table 2 of the paper: 23.058 M and 23.010 M.
    assert_eq!(R3ganConfig::ffhq256().parameters(), Ok([23_057_952, 23_009_568]));
    // Section 4.5: "40 M" in both.
    let [g, d] = R3ganConfig::cifar10().parameters().unwrap();
    assert!((40_000_000..43_000_000).contains(&(g + d)), "{g} + {d}");
    for config in [R3ganConfig::ffhq64(), R3ganConfig::imagenet32(), R3ganConfig::imagenet64()] {
        assert_eq!(config.check(), Ok(()));
    }
    for size in [4, 8, 16, 32, 64, 128, 256] {
        let config = R3ganConfig { classes: 7, ..R3ganConfig::small(size) };
        let [g, d] = config.parameters().unwrap();
        let init = &mut Init::zeros(&Device::flex());
        assert_eq!(Generator::new(&config, init).unwrap().num_params(), g);
        assert_eq!(Discriminator::new(&config, init).unwrap().num_params(), d);
        assert!(config.widths.iter().zip(&config.cardinalities).all(|(width, groups)| 2 * width / groups == 32));
    }
}

#[test]
fn weights_start_as_the_paper_says() {
    let config = R3ganConfig { classes: 10, ..R3ganConfig::small(32) };
    let init = &mut Init::new(1, "test", &Device::flex());
    let (g, d) = (Generator::new(&config, init).unwrap(), Discriminator::new(&config, init).unwrap());
    let named: Named = weights::collect(&g, "g").into_iter().chain(weights::collect(&d, "d")).collect();
    let std = |name: &str| {
        let data = &named[name].data;
        (data.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() / data.len() as f64).sqrt()
    };
    // Eight blocks: 8^(-1/4), and √(2 / 1.04) for LeakyReLU.
    let gain = (2.0f64 / 1.04).sqrt() * 8f64.powf(-0.25);
    for (name, expected) in [
        ("g.stages.0.blocks.1.expand.weight", gain / 256f64.sqrt()),
        ("d.stages.3.blocks.0.mix.weight", gain / (32.0 * 9f64).sqrt()),
        ("g.stages.1.change.weight", 1.0 / 256f64.sqrt()),
        ("d.stages.1.change.weight", 1.0 / 32f64.sqrt()),
        ("g.maps", 1.0),
        ("d.maps", 0.25),
        ("g.first.weight", 1.0 / 128f64.sqrt()),
        ("d.last.weight", 1.0 / 256f64.sqrt()),
        ("g.embed.weight", 1.0 / 10f64.sqrt()),
        ("d.embed.weight", 1.0 / (10.0 * 256f64).sqrt()),
    ] {
        let found = std(name);
        assert!((found / expected - 1.0).abs() < 0.1, "{name}: std {found}, expected {expected}");
    }
    assert!(named["g.stages.2.blocks.0.shrink.weight"].data.iter().all(|v| *v == 0.0));
    assert!(named["d.stages.0.blocks.0.expand.bias"].data.iter().all(|v| *v == 0.0));
}

#[test]
fn what_does_not_fit_is_refused() {
    let fits = config(0);
    assert_eq!(fits.check(), Ok(()));
    let text = Generator::new(&R3ganConfig { size: 24, ..fits.clone() }, &mut Init::zeros(&Device::flex()));
    let text = text.err().unwrap();
    for part in ["size 24", "3 widths (12, 8, 8)", "16x16", "8, 16, 32, 64"] {
        assert!(text.contains(part), "{text}");
    }
    for (config, part) in [
        (R3ganConfig { widths: vec![], ..fits.clone() }, "widths has 0 entries"),
        (R3ganConfig { blocks: vec![1, 1], ..fits.clone() }, "blocks has 2 entries: expected 3"),
        (R3ganConfig { cardinalities: vec![3, 2, 5], ..fits.clone() }, "5 groups do not divide the 16 channels"),
        (R3ganConfig { cardinalities: vec![3, 0, 4], ..fits.clone() }, "cardinalities 0: expected 1"),
        (R3ganConfig { widths: vec![12, 0, 8], ..fits.clone() }, "widths 0: expected 1"),
        (R3ganConfig { channels: 5, ..fits.clone() }, "channels 5: expected 1 to 4"),
        (R3ganConfig { class_embedding: 0, ..config(3) }, "class_embedding 0: expected 1"),
        (R3ganConfig::small(48), "size 48"),
        (R3ganConfig::small(0), "size 0"),
        (R3ganConfig::small(usize::MAX), "size 18446744073709551615"),
    ] {
        let text = config.check().err().unwrap();
        assert!(text.contains(part), "{text}");
        assert!(Discriminator::new(&config, &mut Init::zeros(&Device::flex())).is_err());
    }
}
