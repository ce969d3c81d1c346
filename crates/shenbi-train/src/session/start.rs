//! What a session starts from: captions, a tokenizer, networks new or restored.

use std::path::Path;

use burn::tensor::Device;
use shenbi_data::Source;
use shenbi_models::encoder::pretrained::Pretrained;
use shenbi_models::encoder::tokenizer::Tokenizer;
use shenbi_models::model::Model;

use super::TrainError;
use crate::brush::BrushTrainer;
use crate::checkpoint::{Checkpoint, TrainState};
use crate::config::{Recipe, SentenceSettings};
use crate::dfgan::DfganTrainer;
use crate::embeddings::{Captions, Embeddings};
use crate::guidance::Guidance;
use crate::image::ImageTrainer;
use crate::run_folder::RunFolder;
use crate::trainer::{Devices, Steps, Trainer};

/// Captions that the tokenizer learns from, at most.
const TOKENIZER_CAPTIONS: usize = 20_000;
/// Examples of an endless source that the tokenizer learns from.
const TOKENIZER_EXAMPLES: u64 = 8_000;

/// The captions' embeddings, in the run folder.
const EMBEDDINGS: &str = "embeddings";

/// `count` captions spread over a source, in its languages by turns: what a sample grid shows.
///
/// # Errors
/// The captions cannot be read.
pub fn spread_captions(source: &dyn Source, count: usize) -> Result<Vec<String>, TrainError> {
    // Far into an endless source: examples that the run is unlikely to come to.
    let (start, step) = source.len().map_or((1 << 40, 1), |n| (n / (2 * count as u64), (n / count as u64).max(1)));
    let mut captions = Vec::with_capacity(count);
    for i in 0..count as u64 {
        let index = start + i * step;
        if source.len().is_some_and(|n| index >= n) {
            break;
        }
        let of_one = source.captions(index)?;
        if let Some(caption) = of_one.get(i as usize % of_one.len().max(1)) {
            captions.push(caption.clone());
        }
    }
    Ok(captions)
}

/// A tokenizer learnt from the captions of `source`.
///
/// # Errors
/// The captions cannot be read.
pub fn train_tokenizer(source: &dyn Source, vocabulary: usize, max_tokens: usize) -> Result<Tokenizer, TrainError> {
    let examples = source.len().unwrap_or(TOKENIZER_EXAMPLES);
    let mut captions = Vec::new();
    // Where there are more than enough, take them from all over.
    let each = source.captions(0)?.len() as u64;
    let stride = (examples * each.max(1)).div_ceil(TOKENIZER_CAPTIONS as u64).max(1);
    for index in (0..examples).step_by(stride as usize) {
        captions.extend(source.captions(index)?);
        if captions.len() >= TOKENIZER_CAPTIONS {
            break;
        }
    }
    Tokenizer::train(captions.into_iter(), vocabulary, max_tokens)
        .map_err(|error| TrainError::Defect(error.to_string()))
}

/// What captions are first turned into: tokens by the tokenizer in a checkpoint or a new one, or embeddings, which are kept
/// in the run's folder.
fn captions(
    text: &SentenceSettings,
    source: &dyn Source,
    json: Option<&str>,
    folder: Option<&Path>,
) -> Result<Captions, TrainError> {
    if !text.text_encoder.is_empty() {
        // On the CPU, wherever the networks are: it is needed once.
        let encoder = Pretrained::open(Path::new(&text.text_encoder), &Device::flex());
        let encoder = encoder.map_err(|error| TrainError::Setting(error.to_string()))?;
        let mut embeddings = Embeddings::new(encoder, &text.text_encoder);
        if let Some(folder) = folder.filter(|_| text.tune_layers == 0) {
            embeddings.read(source, &folder.join(EMBEDDINGS))?;
        }
        return Ok(Captions::Pretrained(embeddings));
    }
    let tokenizer = match json {
        Some(json) => {
            let read = Tokenizer::from_json(json, text.max_tokens);
            read.map_err(|error| TrainError::Setting(error.to_string()))?
        }
        None => train_tokenizer(source, text.vocabulary, text.max_tokens)?,
    };
    Ok(tokenizer.into())
}

/// The networks of a recipe, untrained. folder: the run's, where there is one.
///
/// # Errors
/// The recipe's shapes do not fit, the captions cannot be read, or the text encoder not be opened.
pub fn untrained(
    recipe: &Recipe,
    source: &dyn Source,
    tokenizer_json: Option<&str>,
    folder: Option<&Path>,
    devices: &Devices,
) -> Result<Box<dyn Trainer>, TrainError> {
    Ok(match recipe {
        Recipe::Brush(recipe) => {
            let captions = captions(&recipe.sentences, source, tokenizer_json, folder)?;
            let trainer = BrushTrainer::new(recipe, source.channels(), captions, devices);
            let folder = folder.map(|folder| folder.join(EMBEDDINGS));
            let guidance = Guidance::open(recipe, source, folder.as_deref(), &devices.plain().discriminator)?;
            Box::new(trainer.map_err(TrainError::Setting)?.guided(guidance))
        }
        Recipe::Dfgan(recipe) => {
            let captions = captions(&recipe.sentences, source, tokenizer_json, folder)?;
            let trainer = DfganTrainer::new(recipe, source.channels(), captions, devices);
            Box::new(trainer.map_err(TrainError::Setting)?)
        }
        Recipe::Image(recipe) => {
            let trainer = ImageTrainer::new(recipe, source.channels(), source.classes(), devices);
            Box::new(trainer.map_err(TrainError::Setting)?)
        }
        Recipe::Text(recipe) => {
            return Err(TrainError::Defect(format!("{} learns texts, not pictures", recipe.run.recipe)));
        }
    })
}

/// The networks, new or restored, and the seconds they have been trained.
pub(super) fn trainer(
    recipe: &Recipe,
    source: &dyn Source,
    folder: &RunFolder,
    resume: Option<Checkpoint>,
    devices: &Devices,
) -> Result<(Box<dyn Trainer>, f64), TrainError> {
    let Some(Checkpoint { named, state, tokenizer_json, .. }) = resume else {
        return Ok((untrained(recipe, source, None, Some(folder.path()), devices)?, 0.0));
    };
    let mismatch = |message: String| TrainError::Mismatch { path: folder.path().join("config.toml"), message };
    let steps = steps_of(recipe, &state).map_err(mismatch)?;
    let trainer = untrained(recipe, source, tokenizer_json.as_deref(), Some(folder.path()), devices);
    let mut trainer = trainer.map_err(|error| match error {
        TrainError::Setting(message) => mismatch(message),
        other => other,
    })?;
    let encoder = text_encoder(&trainer.model());
    if encoder != state.text_encoder {
        let was = state.text_encoder.map_or("none".to_string(), |was| format!("one of fingerprint {was}"));
        let is = encoder.map_or("none".to_string(), |is| format!("one of {is}"));
        return Err(mismatch(format!("it was trained with another text encoder, {was}; now there is {is}")));
    }
    trainer.restore(&named, steps).map_err(|error| mismatch(error.to_string()))?;
    Ok((trainer, state.elapsed_seconds))
}

/// The steps of a checkpoint, which has to be this recipe's.
pub(crate) fn steps_of(recipe: &Recipe, state: &TrainState) -> Result<Steps, String> {
    let run = recipe.run();
    if state.recipe != run.recipe {
        return Err(format!("it is of recipe '{}', the run is '{}'", state.recipe, run.recipe));
    }
    let steps = Steps { contrast: state.contrast_steps, gan: state.gan_steps };
    if state.examples_consumed != steps.all() * run.batch as u64 {
        let found = state.examples_consumed.checked_div(steps.all()).unwrap_or(0);
        return Err(format!("it was trained with batch = {found}, the settings say {}", run.batch));
    }
    Ok(steps)
}

/// The fingerprint of the pretrained encoder that reads a model's prompts, if one does.
pub(super) fn text_encoder(model: &Model) -> Option<String> {
    match model {
        Model::Painter(painter) => painter.config.pretrained.as_ref().map(|encoder| encoder.fingerprint.clone()),
        Model::Image(_) | Model::Text(_) => None,
    }
}
