//! A GPU trains as the CPU does: the same first steps of `brush`, in f32, on both. Where there is no usable GPU the test
//! says so and ends.
#![cfg(feature = "gpu")]
#![allow(clippy::unwrap_used)]

use std::sync::Arc;

use burn::tensor::Device;
use shenbi_data::Source;
use shenbi_data::loader::{Batch, Loader, LoaderOptions};
use shenbi_data::scenes::{Level, Scenes, ScenesOptions, Split};
use shenbi_nn::weights::Named;
use shenbi_train::brush::BrushTrainer;
use shenbi_train::config::{BrushRecipe, Recipe};
use shenbi_train::session::train_tokenizer;
use shenbi_train::trainer::{Losses, Phase, Trainer};

/// Small steps: Adam's first one is about the sign of each gradient, also where that is rounding.
fn tiny() -> BrushRecipe {
    let mut recipe = Recipe::default();
    let settings = "height=16 width=16 batch=8 precision=f32 generator_width=8 discriminator_width=8 features=16 \
        noise=4 sentence=16 text_width=16 text_layers=1 vocabulary=300 max_tokens=16 warmup=1 learning_rate=1e-4";
    for setting in settings.split_whitespace() {
        recipe.set_text(setting).unwrap();
    }
    let Recipe::Brush(recipe) = recipe else { unreachable!("brush is the default") };
    recipe
}

/// The losses of one step of contrast and two of the GAN (the first with both penalties), and the networks afterwards.
fn train(device: &Device, source: &dyn Source, batches: &[Batch]) -> (Vec<Losses>, Named) {
    let recipe = tiny();
    let tokenizer = train_tokenizer(source, recipe.sentences.vocabulary, recipe.sentences.max_tokens).unwrap();
    let mut trainer = BrushTrainer::new(&recipe, 3, tokenizer.into(), &device.clone().into()).unwrap();
    let phases = [Phase::Contrast, Phase::Gan, Phase::Gan];
    let losses = phases.iter().zip(batches).map(|(phase, batch)| trainer.step(batch, *phase, 0.5).unwrap()).collect();
    let mut named = trainer.state();
    named.retain(|name, _| !name.starts_with("adam"));
    (losses, named)
}

/// All but the accuracy, which jumps.
fn figures(losses: &Losses) -> Vec<f32> {
    losses.iter().filter(|(name, _)| *name != "accuracy").map(|(_, value)| value).collect()
}

#[test]
fn first_steps_agree_with_the_cpu() {
    let gpu = match Device::wgpu_options().init() {
        Ok(gpu) => gpu,
        Err(error) => return eprintln!("skipped: no usable GPU: {error}"),
    };
    let options = ScenesOptions { size: [16, 16], level: Level::One, seed: 1, split: Split::Train };
    let source: Arc<dyn Source> = Arc::new(Scenes::new(options).unwrap());
    let mut loader =
        Loader::new(source.clone(), LoaderOptions { batch: 8, seed: 1, ..LoaderOptions::default() }).unwrap();
    let batches: Vec<Batch> = (0..3).map(|_| loader.next_batch().unwrap()).collect();
    let (on_cpu, cpu_weights) = train(&Device::flex(), source.as_ref(), &batches);
    let (on_gpu, gpu_weights) = train(&gpu, source.as_ref(), &batches);
    for (step, (cpu, gpu)) in on_cpu.iter().zip(&on_gpu).enumerate() {
        let (cpu, gpu) = (figures(cpu), figures(gpu));
        assert_eq!(cpu.len(), gpu.len());
        for (cpu, gpu) in cpu.iter().zip(&gpu) {
            assert!((cpu - gpu).abs() <= 1e-3 * cpu.abs().max(1.0), "step {step}: {cpu} on the CPU, {gpu} on the GPU");
        }
    }
    for (name, cpu) in &cpu_weights {
        let gpu = &gpu_weights[name];
        let distance: f32 = cpu.data.iter().zip(&gpu.data).map(|(a, b)| (a - b).powi(2)).sum();
        let length: f32 = cpu.data.iter().map(|a| a * a).sum();
        assert!(distance.sqrt() <= 1e-3 * length.sqrt().max(1.0), "{name}: {} of {}", distance.sqrt(), length.sqrt());
    }
}
