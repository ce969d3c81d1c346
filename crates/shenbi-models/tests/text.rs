//! The text networks against PyTorch (fixtures/text.py), and reading token by token against whole texts.
#![allow(clippy::unwrap_used)]

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Int, Tensor, TensorData};
use shenbi_models::text::gan_text::policy_weights;
use shenbi_models::text::gpt::GptConfig;
use shenbi_models::text::lstm::LstmConfig;
use shenbi_models::text::relgan::{self, Relational, RelationalConfig};
use shenbi_models::text::seqgan::{Discriminator, DiscriminatorConfig};
use shenbi_models::text::{END, Language, LanguageConfig, Sequences, oracle};
use shenbi_nn::weights::{self, Named, values};
use shenbi_nn::{Init, file, ops};

const TOLERANCE: f32 = 1e-4;
const RELATIONAL: RelationalConfig = RelationalConfig { vocabulary: 11, embedding: 4, slots: 2, heads: 2, head: 3 };

fn fixture() -> Named {
    file::from_bytes(include_bytes!("fixtures/text.safetensors")).unwrap().0
}

fn ids(named: &Named) -> Sequences {
    Sequences { length: 5, ids: named["ids"].data.iter().map(|id| *id as u32).collect() }
}

/// Relative to the largest of the expected.
#[track_caller]
fn near(name: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{name}");
    let scale = expected.iter().map(|v| v.abs()).fold(1e-3, f32::max);
    let error = expected.iter().zip(found).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
    println!("{name}: relative error {error:.1e}");
    assert!(error <= TOLERANCE, "{name}: relative error {error}");
}

/// Part `prefix` of the fixture, under its own names.
fn part(named: &Named, prefix: &str) -> Named {
    let named =
        named.iter().filter_map(|(name, values)| Some((name.strip_prefix(prefix)?.to_string(), values.clone())));
    named.collect()
}

/// A network with the fixture's weights, with gradients; what the fixture lacks stays.
fn loaded<M: Module>(network: M, named: &Named, prefix: &str) -> M {
    let mut all = weights::collect(&network, "");
    let given = part(named, prefix);
    assert!(given.keys().all(|name| all.contains_key(name)), "{:?} {:?}", given.keys(), all.keys());
    all.extend(given);
    weights::apply(network, &all, "").unwrap().train()
}

struct Check<'a> {
    named: Named,
    grads: &'a Gradients,
    path: Vec<String>,
    case: &'a str,
    seen: usize,
}

impl ModuleVisitor for Check<'_> {
    fn enter_module(&mut self, name: &str, kind: &str) {
        if !kind.starts_with("Enum:") {
            self.path.push(name.to_string());
        }
    }

    fn exit_module(&mut self, _: &str, kind: &str) {
        if !kind.starts_with("Enum:") {
            self.path.pop();
        }
    }

    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = self.path.join(".");
        if let Some(expected) = self.named.get(&name) {
            let found = values(param.val().grad(self.grads).unwrap());
            near(&format!("{} gradient of {name}", self.case), &found.data, &expected.data);
            self.seen += 1;
        }
    }
}

fn gradients<M: Module>(network: &M, grads: &Gradients, named: &Named, prefix: &str) {
    let mut check = Check { named: part(named, prefix), grads, path: Vec::new(), case: prefix, seen: 0 };
    network.visit(&mut check);
    assert_eq!(check.seen, check.named.len(), "{prefix}");
}

/// Likelihood of the fixture's texts: features, loss, gradients.
fn language(config: &LanguageConfig, case: &str) {
    let (named, device) = (fixture(), Device::flex());
    let language = loaded(Language::new(config, &mut Init::zeros(&device)).unwrap(), &named, &format!("{case}.w."));
    let texts = ids(&named);
    let features = language.features(&texts, &device);
    let states = &named[&format!("{case}.states")];
    let width = states.shape[2];
    let rows: Vec<usize> = language.in_order(&(0..15).collect::<Vec<_>>(), 5);
    let expected: Vec<f32> = rows.iter().flat_map(|row| states.data[row * width..][..width].to_vec()).collect();
    near(case, &values(features.clone()).data, &expected);
    let loss = language.nll_of(features, &texts, &named["weight"].data);
    near(&format!("{case} loss"), &values(loss.clone()).data, &named[&format!("{case}.loss")].data);
    gradients(&language, &loss.backward(), &named, &format!("{case}.g."));
    // Without gradients, token by token.
    let losses = language.losses(&texts, &[1.0; 15]);
    let sum: f32 = losses.iter().zip(&named["weight"].data).map(|(loss, weight)| loss * weight).sum();
    near(&format!("{case} losses"), &[sum], &named[&format!("{case}.loss")].data);
}

#[test]
fn lstm_is_pytorchs() {
    language(&LanguageConfig::Lstm(LstmConfig { vocabulary: 11, embedding: 4, hidden: 6 }), "lstm");
}

#[test]
fn relational_memory_is_pytorchs() {
    language(&LanguageConfig::Relational(RELATIONAL), "relational");
}

#[test]
fn seqgans_discriminator_is_pytorchs() {
    let (named, device) = (fixture(), Device::flex());
    let config =
        DiscriminatorConfig { vocabulary: 11, length: 5, embedding: 4, filters: vec![[1, 3], [2, 4], [9, 7], [5, 2]] };
    let network = loaded(Discriminator::new(&config, &mut Init::zeros(&device)).unwrap(), &named, "seqgan.w.");
    let kept = &named["seqgan.kept"];
    let kept = Tensor::<2>::from_data(TensorData::new(kept.data.clone(), kept.shape.clone()), &device);
    let logits = network.forward(&ids(&named), Some(kept), &device);
    near("seqgan logits", &values(logits.clone()).data, &named["seqgan.logits"].data);
    let truth = Tensor::<1>::from_data(TensorData::new(named["seqgan.truth"].data.clone(), [3]), &device);
    let loss = (ops::softplus(logits.clone()) - logits * truth).mean();
    near("seqgan loss", &values(loss.clone()).data, &named["seqgan.loss"].data);
    gradients(&network, &loss.backward(), &named, "seqgan.g.");
}

#[test]
fn relgans_game_is_pytorchs() {
    let (named, device) = (fixture(), Device::flex());
    let config = relgan::DiscriminatorConfig {
        vocabulary: 11,
        length: 5,
        views: 3,
        embedding: 2,
        filters: vec![[1, 3], [2, 4], [5, 2]],
        features: 4,
    };
    let d = loaded(relgan::Discriminator::new(&config, &mut Init::zeros(&device)).unwrap(), &named, "game.d.");
    let g = loaded(Relational::new(&RELATIONAL, &mut Init::new(1, "g", &device)), &named, "game.w.");
    let gumbel = Tensor::<2>::from_data(TensorData::new(named["game.gumbel"].data.clone(), [15, 11]), &device);
    let soft = g.write_soft(3, 5, gumbel, 1.7, &device);
    near("soft tokens", &values(soft.clone()).data, &named["game.soft"].data);
    let hard: Vec<i32> = ids(&named).ids.iter().map(|id| *id as i32).collect();
    let real = d.forward_hard(Tensor::<2, Int>::from_data(TensorData::new(hard, [3, 5]), &device));
    let fake = d.forward(soft);
    near("logits of real texts", &values(real.clone()).data, &named["game.real"].data);
    near("logits of soft texts", &values(fake.clone()).data, &named["game.fake"].data);
    let loss = ops::softplus(real - fake).mean();
    near("relativistic loss", &values(loss.clone()).data, &named["game.loss"].data);
    let grads = loss.backward();
    gradients(&g, &grads, &named, "game.g.");
    gradients(&d, &grads, &named, "game.gd.");
}

#[test]
fn ppos_loss_is_pytorchs() {
    let named = fixture();
    let get = |name: &str| named[&format!("ppo.{name}")].data.clone();
    let (loss, weights) = policy_weights(&get("new"), &get("old"), &get("gains"), &get("mask"), 0.2);
    near("ppo loss", &[loss], &get("loss"));
    near("ppo gradient", &weights, &get("gradient"));
    assert!(weights.iter().zip(get("mask")).any(|(weight, mask)| *weight == 0.0 && mask > 0.0), "no clip was tested");
}

#[test]
fn reading_token_by_token_is_reading_the_whole() {
    let device = Device::flex();
    let texts = Sequences { length: 7, ids: (0..21).map(|i| i * 5 % 13).collect() };
    for config in [
        LanguageConfig::Lstm(LstmConfig { vocabulary: 13, embedding: 6, hidden: 9 }),
        LanguageConfig::Gpt(GptConfig { vocabulary: 13, length: 7, width: 8, layers: 2, heads: 2 }),
        LanguageConfig::Relational(RelationalConfig { vocabulary: 13, ..RELATIONAL }),
    ] {
        let language = Language::new(&config, &mut Init::new(3, "test", &device)).unwrap();
        let features = values(language.features(&texts, &device));
        let width = features.shape[1];
        let order = language.in_order(&(0..21).collect::<Vec<usize>>(), 7);
        let mut reader = language.reader(3);
        for t in 0..7 {
            let before: Vec<u32> = texts.iter().map(|row| if t == 0 { END } else { row[t - 1] }).collect();
            let found = reader.read(&before);
            for row in 0..3 {
                let place = order.iter().position(|at| *at == row * 7 + t).unwrap();
                near("features", &found[row * width..][..width], &features.data[place * width..][..width]);
            }
        }
        // Twice each row, and on: both copies go on as the original.
        let (mut twice, tokens) = (reader.repeat(2), [4, 9, 2]);
        let (one, two) = (reader.read(&tokens), twice.read(&[4, 4, 9, 9, 2, 2]));
        for row in 0..6 {
            near("copies", &two[row * width..][..width], &one[row / 2 * width..][..width]);
        }
    }
}

#[test]
fn texts_end_and_stay_ended() {
    let config = LanguageConfig::Lstm(LstmConfig { vocabulary: 4, embedding: 3, hidden: 5 });
    let language = Language::new(&config, &mut Init::new(3, "test", &Device::flex())).unwrap();
    let mut state = 0u32;
    let mut uniform = || {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        (state >> 8) as f32 / 16_777_216.0
    };
    let texts = language.write(50, 9, true, 1.0, &mut uniform);
    assert_eq!((texts.rows(), texts.length), (50, 9));
    for row in texts.iter() {
        let end = row.iter().position(|token| *token == END).unwrap_or(9);
        assert!(row[end..].iter().all(|token| *token == END), "{row:?}");
    }
    assert!(texts.iter().any(|row| row[0] != END) && texts.iter().any(|row| row.contains(&END)));
    let mask = texts.mask(true);
    let counted: f32 = mask.iter().sum();
    let expected: usize =
        texts.iter().map(|row| row.iter().filter(|token| **token != END).count() + usize::from(row[8] == END)).sum();
    assert_eq!(counted as usize, expected);
}

#[test]
fn seqgans_oracle_finds_its_own_texts_likely() {
    let path = std::path::Path::new(env!("CARGO_MANIFEST_DIR"))
        .join("../../../shared/data/weights/seqgan_oracle_lstm.safetensors");
    let Ok(bytes) = std::fs::read(&path) else {
        println!("skipped: {} is not there", path.display());
        return;
    };
    let (named, _) = file::from_bytes(&bytes).unwrap();
    let oracle = oracle::oracle(&named, &Device::flex()).unwrap();
    let mut stream = 1u64;
    let mut uniform = || {
        stream = stream.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (stream >> 40) as f32 / 16_777_216.0
    };
    let texts = oracle.write(512, oracle::LENGTH, false, 1.0, &mut uniform);
    let losses = oracle.losses(&texts, &vec![1.0; texts.ids.len()]);
    let nll = losses.iter().sum::<f32>() / losses.len() as f32;
    // The paper's oracle scores 5.75 on its own texts.
    println!("NLL of the oracle's own texts: {nll}");
    assert!((5.7..5.8).contains(&nll), "{nll}");
    let random = Sequences { length: 20, ids: (0..512 * 20).map(|_| (uniform() * 5000.0) as u32).collect() };
    let losses = oracle.losses(&random, &vec![1.0; random.ids.len()]);
    let nll = losses.iter().sum::<f32>() / losses.len() as f32;
    assert!(nll > 10.0, "{nll}");
    let damaged: Named = named.iter().filter(|(name, _)| *name != "Wc").map(|(n, v)| (n.clone(), v.clone())).collect();
    assert!(oracle::oracle(&damaged, &Device::flex()).unwrap_err().contains("'Wc'"));
}
