//! Text recipes at SeqGAN's sizes: 5,000 tokens, texts of 20, 64 at a time; and a small Transformer that writes 64 texts
//! of 40.

use burn::tensor::Device;
use shenbi_models::model::Model;
use shenbi_models::text::tokenizer::TextTokenizer;
use shenbi_models::text::{Sequences, TextModel};
use shenbi_train::config::Recipe;
use shenbi_train::text::data::TextSummary;
use shenbi_train::text::{TextData, untrained};
use shenbi_train::trainer::{Phase, Trainer};

use crate::Workload;

const VOCABULARY: usize = 5000;
/// Texts of a step.
const BATCH: usize = 64;

/// A trainer, and the texts that it sees again and again.
pub struct Texts {
    trainer: Box<dyn Trainer<Sequences>>,
    batch: Sequences,
    phase: Phase,
    model: TextModel,
}

impl Texts {
    /// Untrained networks of this recipe.
    pub fn new(recipe: &str, precision: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let (settings, phase, length): (&[&str], _, _) = match recipe {
            "mle-lstm" => (&["embedding=32", "hidden=32"], Phase::Contrast, 20),
            "seqgan" => (&["embedding=32", "hidden=32", "warmup=0"], Phase::Gan, 20),
            _ => (&[], Phase::Contrast, 40),
        };
        let mut recipe = Recipe::named(recipe)?;
        let (batch, precision) = (format!("batch={BATCH}"), format!("precision={precision}"));
        for setting in [&*batch, &*precision].iter().chain(settings) {
            recipe.set_text(setting)?;
        }
        let Recipe::Text(recipe) = recipe else { return Err("a recipe of texts was expected".into()) };
        let texts = |rows: usize| {
            let ids = (0..(rows * length) as u32).map(|i| i.wrapping_mul(2_654_435_761) % VOCABULARY as u32);
            Sequences { length, ids: ids.collect() }
        };
        let data = TextData {
            tokenizer: TextTokenizer::Numbers(VOCABULARY),
            ends: false,
            train: texts(10_000),
            test: texts(0),
            summary: TextSummary::default(),
        };
        let trainer = untrained(&recipe, &data, &Device::flex().into())?;
        let Model::Text(model) = trainer.model() else { return Err("a model of texts was expected".into()) };
        Ok(Self { trainer, batch: texts(BATCH), phase, model })
    }
}

impl Workload for Texts {
    fn train(&mut self) {
        if let Err(error) = self.trainer.step(&self.batch, self.phase, 0.5) {
            panic!("{error}");
        }
    }

    fn paint(&self, texts: usize) {
        let mut number = 0u32;
        let uniform = || {
            number = number.wrapping_add(2_654_435_769);
            (number >> 8) as f32 / (1 << 24) as f32
        };
        std::hint::black_box(self.model.write(texts, 1.0, uniform));
    }
}
