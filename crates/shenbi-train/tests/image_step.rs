//! One whole step of the image trainer against PyTorch (fixtures/image_step.py): losses, penalties, heads, optimizers.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;

use burn::tensor::Device;
use shenbi_data::loader::Batch;
use shenbi_nn::file;
use shenbi_nn::weights::{Named, Values, values};
use shenbi_train::config::Recipe;
use shenbi_train::image::ImageTrainer;
use shenbi_train::trainer::{Phase, Steps, Trainer, noise};

const SHAPE: [usize; 4] = [6, 3, 8, 8];
const CASES: [(&str, &str); 13] = [
    ("minimax", "loss=minimax"),
    ("non-saturating", "loss=non-saturating"),
    ("least-squares", "loss=least-squares"),
    ("wasserstein", "loss=wasserstein discriminator_norm=none clip=0.03"),
    ("hinge", "loss=hinge"),
    ("relativistic", "loss=relativistic discriminator_norm=none r1=0.7 r2=0.4"),
    ("r1-batch-norm", "loss=non-saturating r1=0.5"),
    ("projection", "loss=hinge head=projection by_class=true"),
    ("auxiliary", "loss=non-saturating head=auxiliary by_class=true auxiliary=0.5"),
    ("matching", "loss=non-saturating feature_matching=0.8 mmd=0.6 lecam=0.3"),
    ("adamw", "loss=non-saturating optimizer=adamw weight_decay=0.1"),
    ("rmsprop", "loss=wasserstein discriminator_norm=none optimizer=rmsprop"),
    ("sgd", "loss=non-saturating optimizer=sgd"),
];

fn trainer(settings: &str) -> ImageTrainer {
    let mut recipe = Recipe::named("dcgan").unwrap();
    let common = "height=8 width=8 batch=6 precision=f32 noise=5 hidden=4 generator_rate=0.01 discriminator_rate=0.01 \
        beta1=0.5 beta2=0.9 last_beta2=0.9";
    for setting in common.split_whitespace().chain(settings.split_whitespace()) {
        recipe.set_text(setting).unwrap();
    }
    let Recipe::Image(recipe) = recipe else { panic!("dcgan makes pictures") };
    let classes = ["a", "b", "c"].map(String::from);
    ImageTrainer::new(&recipe, 3, &classes, &Device::flex().into()).unwrap()
}

/// The tensors of `fixture` below `prefix`.
fn below(fixture: &Named, prefix: &str) -> Named {
    let start = format!("{prefix}/");
    let named =
        fixture.iter().filter_map(|(name, values)| Some((name.strip_prefix(&start)?.to_string(), values.clone())));
    named.collect()
}

#[test]
fn a_step_agrees_with_pytorch() {
    let drawn = values(noise(1, "noise", 0, 6, 5, &Device::flex()));
    if let Some(path) = std::env::var_os("SHENBI_WRITE_NOISE") {
        let named = Named::from([("noise".to_string(), drawn)]);
        return std::fs::write(path, file::to_bytes(&named, HashMap::new(), false).unwrap()).unwrap();
    }
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/image_step.safetensors")).unwrap();
    let (fixture, _) = file::from_bytes(&bytes).unwrap();
    assert_eq!(fixture["noise"], drawn, "the trainer's noise has changed: make the fixture again");
    for (name, settings) in CASES {
        let mut trainer = trainer(settings);
        let mut state = trainer.state();
        for (key, values) in below(&fixture, &format!("{name}/before")) {
            let old = state.insert(key.clone(), values.clone());
            assert_eq!(old.unwrap().shape, values.shape, "{name}: {key}");
        }
        trainer.restore(&state, Steps::default()).unwrap();
        let labels = fixture["labels"].data.iter().map(|label| *label as usize).collect();
        let batch = Batch {
            pixels: fixture["real"].data.clone(),
            shape: SHAPE,
            captions: vec![vec![String::new()]; 6],
            contraries: Vec::new(),
            classes: labels,
            indices: (0..6).collect(),
        };
        let losses = trainer.step(&batch, Phase::Gan, 0.0).unwrap();
        for figure in ["d", "g", "r1", "r2"] {
            let Some(expected) = fixture.get(&format!("{name}/{figure}")).map(|values| values.data[0]) else {
                continue;
            };
            let found = losses.get(figure).unwrap();
            assert!((found - expected).abs() <= 1e-4 * expected.abs().max(1.0), "{name} {figure}: {found} {expected}");
        }
        let after = trainer.state();
        let mut moved = 0.0f32;
        for (key, expected) in below(&fixture, &format!("{name}/after")) {
            let Values { data, .. } = &after[&key];
            let error = data.iter().zip(&expected.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            assert!(error <= 1e-4, "{name}: {key} is off by {error}");
            let before = &fixture[&format!("{name}/before/{key}")].data;
            moved = before.iter().zip(&expected.data).map(|(a, b)| (a - b).abs()).fold(moved, f32::max);
        }
        assert!(moved > 1e-3, "{name}: nothing moved");
    }
}
