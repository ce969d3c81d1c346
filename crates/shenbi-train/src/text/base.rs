//! What all text trainers share: a network that writes, and its likelihood.

use burn::module::Module;
use burn::tensor::Device;
use shenbi_data::rng;
use shenbi_models::model::Model;
use shenbi_models::text::model::TextModelConfig;
use shenbi_models::text::tokenizer::TextTokenizer;
use shenbi_models::text::{Language, Sequences, TextModel};
use shenbi_nn::Init;
use shenbi_nn::optim::{AdamConfig, Optimizer};

use super::TextData;
use crate::config::TextRecipe;
use crate::schedule::cosine;
use crate::trainer::{Devices, Losses, Steps, choose_precision, scalar};

/// Steps over which likelihood's rate rises.
const WARMUP: u64 = 50;

/// Adam as language models have it.
pub(crate) fn adam(weight_decay: f64) -> AdamConfig {
    AdamConfig { beta1: 0.9, beta2: 0.999, epsilon: 1e-8, max_rms: f64::INFINITY, weight_decay }
}

/// The settings and the texts' form.
#[derive(Clone)]
pub(crate) struct Base {
    pub(crate) recipe: TextRecipe,
    pub(crate) config: TextModelConfig,
    pub(crate) tokenizer: TextTokenizer,
    pub(crate) device: Device,
    pub(crate) steps: Steps,
}

impl Base {
    pub(crate) fn new(recipe: &TextRecipe, data: &TextData, devices: &Devices) -> Self {
        choose_precision(&recipe.run);
        let (vocabulary, length) = (data.tokenizer.vocabulary(), data.train.length);
        let config = TextModelConfig { language: recipe.language(vocabulary, length), length, ends: data.ends };
        let (tokenizer, device) = (data.tokenizer.clone(), devices.plain().generator);
        Self { recipe: recipe.clone(), config, tokenizer, device, steps: Steps::default() }
    }

    pub(crate) fn vocabulary(&self) -> usize {
        self.config.language.vocabulary()
    }

    /// An untrained network that writes, with gradients.
    pub(crate) fn language(&self) -> Result<Language, String> {
        Ok(Language::new(&self.config.language, &mut Init::new(self.recipe.run.seed, "generator", &self.device))?
            .train())
    }

    /// A step of likelihood: the mean over tokens of -log p.
    pub(crate) fn likelihood(
        &mut self,
        language: Language,
        optimizer: &mut Optimizer,
        texts: &Sequences,
        progress: f64,
    ) -> (Language, Losses) {
        let mut weights = texts.mask(self.config.ends);
        let count: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= count);
        let loss = language.nll(texts, &weights, &self.device);
        let losses = Losses::from_iter([("nll", scalar(loss.clone()))]);
        let mut grads = loss.backward();
        let rate = cosine(self.steps.contrast, WARMUP, progress, self.recipe.rate, self.recipe.last_rate);
        self.steps.contrast += 1;
        (optimizer.step(language, &mut grads, |_| rate), losses)
    }

    /// Texts that `language`, which has no gradients, writes in a step. name: of the random stream.
    pub(crate) fn written(&self, language: &Language, name: &str, rows: usize) -> Sequences {
        let mut stream = rng::stream(self.recipe.run.seed, name, self.steps.all());
        language.write(rows, self.config.length, self.config.ends, 1.0, || rng::uniform(&mut stream))
    }

    pub(crate) fn model(&self, language: &Language) -> Model {
        Model::Text(TextModel {
            recipe: self.recipe.run.recipe.clone(),
            config: self.config.clone(),
            tokenizer: self.tokenizer.clone(),
            language: language.valid(),
        })
    }

    /// Texts padded to the length that every text of the game has.
    pub(crate) fn padded(&self, texts: &Sequences) -> Sequences {
        let length = self.config.length;
        let pad = |row: &[u32]| {
            let mut row = row.to_vec();
            row.resize(length, shenbi_models::text::END);
            row
        };
        Sequences { length, ids: texts.iter().flat_map(pad).collect() }
    }
}
