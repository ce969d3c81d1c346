//! Short runs of tiny networks, and what their folders hold.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use shenbi_data::Source;
use shenbi_data::scenes::{Level, Scenes, ScenesOptions, Split};
use shenbi_train::config::Recipe;
use shenbi_train::run_folder::RunFolder;
use shenbi_train::session::{self, Event, Outcome, Plan, TrainError};

/// 20 steps: 6 of contrast, 14 of the GAN.
pub fn tiny() -> Recipe {
    let mut recipe = Recipe::default();
    let settings = "height=16 width=16 batch=8 kimg=0.16 pretrain=0.3 generator_width=8 discriminator_width=8 features=16 \
        noise=4 sentence=16 text_width=16 text_layers=1 vocabulary=300 max_tokens=16 warmup=4 penalty_every=4 augment=true \
        sample_seconds=1e9 checkpoint_seconds=1e9";
    for setting in settings.split_whitespace() {
        recipe.set_text(setting).unwrap();
    }
    recipe
}

pub fn plan(recipe: &Recipe, path: &Path) -> Plan {
    let run = recipe.run();
    let size = [run.height, run.width];
    let options = ScenesOptions { size, level: Level::One, seed: run.seed, split: Split::Train };
    let source: Arc<dyn Source> = Arc::new(Scenes::new(options).unwrap());
    let folder = if path.exists() {
        RunFolder::open(path).unwrap()
    } else {
        RunFolder::create(path, &recipe.to_toml()).unwrap()
    };
    let resume = folder.latest_checkpoint().unwrap().found;
    let prompts = vec!["a red circle on a blue background".to_string(), "红色的圆形".to_string()];
    Plan {
        recipe: recipe.clone(),
        source,
        prompts,
        folder,
        resume,
        init_from: None,
        devices: Device::flex().into(),
        loader_threads: 1,
        scoring: None,
    }
}

/// The same with other settings.
pub fn with(mut recipe: Recipe, settings: &str) -> Recipe {
    for setting in settings.split_whitespace() {
        match setting.strip_prefix("recipe=") {
            Some(name) => recipe.run_mut().recipe = name.to_string(),
            None => recipe.set_text(setting).unwrap(),
        }
    }
    recipe
}

/// Runs until the step `stop_at`, or to the end.
pub fn train(recipe: &Recipe, path: &Path, stop_at: Option<u64>) -> Result<Outcome, TrainError> {
    let stop = AtomicBool::new(false);
    session::run(plan(recipe, path), &stop, &mut |event| {
        if let Event::Step { images, .. } = event
            && stop_at == Some(images / recipe.run().batch as u64)
        {
            stop.store(true, Ordering::Relaxed);
        }
    })
}

/// Of every weight and moment in the newest checkpoint, and of the counters.
pub fn hash(path: &Path) -> (u64, u64, u64) {
    let (_, checkpoint) = RunFolder::open(path).unwrap().latest_checkpoint().unwrap().found.unwrap();
    let mut hasher = DefaultHasher::new();
    for (name, values) in &checkpoint.named {
        name.hash(&mut hasher);
        values.shape.hash(&mut hasher);
        values.data.iter().for_each(|value| value.to_bits().hash(&mut hasher));
    }
    checkpoint.tokenizer_json.hash(&mut hasher);
    (hasher.finish(), checkpoint.state.contrast_steps, checkpoint.state.gan_steps)
}

pub fn steps_logged(path: &Path) -> Vec<u64> {
    let log = std::fs::read_to_string(path.join("log.jsonl")).unwrap();
    let step = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap();
    log.lines().map(step).collect()
}
