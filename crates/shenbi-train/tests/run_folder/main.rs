//! Run folders and checkpoints, as crashes, full disks and other people's mistakes leave them.
#![allow(clippy::unwrap_used)]

mod checkpoints;
mod folder;
mod tensorboard;

use std::fs;
use std::path::{Path, PathBuf};

use shenbi_nn::weights::{Named, Values};
use shenbi_train::checkpoint::{Checkpoint, FORMAT, TrainState};
use shenbi_train::run_folder::RunFolder;

const CONFIG: &str = "recipe = \"brush\"\nseed = 1\n";

fn checkpoint(step: u64, values: usize) -> Checkpoint {
    let data: Vec<f32> = (0..values).map(|i| (i as f32 + step as f32).sin()).collect();
    let named = Named::from([
        ("generator.weight".to_string(), Values { shape: vec![values], data }),
        ("adam_generator.moment".to_string(), Values { shape: vec![1, 2], data: vec![f32::MIN_POSITIVE, -0.0] }),
    ]);
    let state = TrainState {
        format: FORMAT,
        recipe: "brush".into(),
        contrast_steps: step / 4,
        gan_steps: step - step / 4,
        examples_consumed: step * 64,
        elapsed_seconds: step as f64 * 0.5,
        text_encoder: None,
    };
    Checkpoint { named, state, tokenizer_json: Some("{\"红\": 1}".into()), model: step.to_le_bytes().to_vec() }
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

fn found(run: &RunFolder) -> (PathBuf, Checkpoint) {
    run.latest_checkpoint().unwrap().found.unwrap()
}

fn truncate(path: &Path) {
    let bytes = fs::read(path).unwrap();
    fs::write(path, &bytes[..bytes.len() / 2]).unwrap();
}

fn flip(path: &Path) {
    let mut bytes = fs::read(path).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(path, bytes).unwrap();
}
