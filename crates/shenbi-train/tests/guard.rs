//! The guard in whole runs: it takes back a run that goes wrong, and leaves a healthy one alone.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::AtomicBool;

use burn::tensor::Device;
use shenbi_data::scenes::{Level, Scenes, ScenesOptions, Split};
use shenbi_train::config::Recipe;
use shenbi_train::guard::Trouble;
use shenbi_train::run_folder::RunFolder;
use shenbi_train::session::{self, Event, Plan};

/// The troubles that were told, and how often the run was taken back.
fn train(path: &Path, settings: &str) -> (Vec<Trouble>, usize) {
    let mut recipe = Recipe::named("dcgan").unwrap();
    let common = "height=16 width=16 batch=8 hidden=8 noise=8 sample_seconds=1e9 checkpoint_seconds=1e9";
    for setting in common.split_whitespace().chain(settings.split_whitespace()) {
        recipe.set_text(setting).unwrap();
    }
    let options = ScenesOptions { size: [16, 16], level: Level::One, seed: 1, split: Split::Train };
    let plan = Plan {
        folder: RunFolder::create(path, &recipe.to_toml()).unwrap(),
        recipe,
        source: Arc::new(Scenes::new(options).unwrap()),
        prompts: Vec::new(),
        resume: None,
        init_from: None,
        devices: Device::flex().into(),
        loader_threads: 1,
        scoring: None,
    };
    let (mut troubles, mut rollbacks) = (Vec::new(), 0);
    session::run(plan, &AtomicBool::new(false), &mut |event| match event {
        Event::Trouble { trouble, .. } => troubles.push(trouble),
        Event::RolledBack { .. } => rollbacks += 1,
        _ => {}
    })
    .unwrap();
    (troubles, rollbacks)
}

#[test]
fn a_discriminator_that_does_not_learn_is_noticed_and_the_run_taken_back() {
    let parent = tempfile::tempdir().unwrap();
    let hopeless = "kimg=5.6 discriminator_rate=0 generator_rate=0.01";
    let (troubles, rollbacks) = train(&parent.path().join("warned"), hopeless);
    assert!(troubles.contains(&Trouble::Fooled) && rollbacks == 0, "{troubles:?}");
    let path = parent.path().join("back");
    let (troubles, rollbacks) = train(&path, &format!("{hopeless} guard=rollback"));
    assert!(!troubles.is_empty() && (1..=4).contains(&rollbacks), "{troubles:?}");
    let config = Recipe::from_toml(&std::fs::read_to_string(path.join("config.toml")).unwrap()).unwrap();
    let Recipe::Image(config) = config else { panic!("dcgan makes pictures") };
    assert!(config.r1 >= 0.5 && config.generator_rate < 0.01, "{config:?}");
    let log = std::fs::read_to_string(path.join("log.jsonl")).unwrap();
    let steps: Vec<u64> = log
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap())
        .collect();
    assert!(steps.is_sorted() && steps.last() == Some(&700), "what was taken back is not in the log: {steps:?}");
    let (troubles, rollbacks) = train(&parent.path().join("off"), &format!("{hopeless} guard=off"));
    assert!(troubles.is_empty() && rollbacks == 0);
}

#[test]
fn a_healthy_run_is_left_alone() {
    let parent = tempfile::tempdir().unwrap();
    let (troubles, _) = train(&parent.path().join("run"), "kimg=5.6 guard=rollback");
    assert_eq!(troubles, []);
}
