//! What a model of texts learnt from: its run's settings say, and copies are counted against it.

use std::path::Path;

use serde::Serialize;
use shenbi_data::text;
use shenbi_metrics::text::ngrams::copied_whole;
use shenbi_metrics::text::{Words, copied};
use shenbi_train::config::Recipe;

use super::text::COPIED;

/// How much of a model's texts stands in those it learnt from.
#[derive(Clone, Copy, Serialize)]
pub struct ByHeart {
    /// Share of their n-grams of five words.
    pub ngrams: f64,
    /// Share of the texts that do, whole.
    pub whole: f64,
}

/// The words of the texts that the model called `name` learnt from; None where it lies in no run folder, or they are gone.
pub fn learnt_by(name: &str, words: &mut Words, characters: bool) -> Option<Vec<Vec<u32>>> {
    // A run, a file in it, a checkpoint, or a file in that.
    let config =
        Path::new(name).ancestors().take(4).map(|folder| folder.join("config.toml")).find(|file| file.is_file())?;
    let Ok(Recipe::Text(recipe)) = Recipe::from_toml(&std::fs::read_to_string(config).ok()?) else { return None };
    let read = text::read(Path::new(&recipe.run.data), &recipe.columns).ok()?;
    Some(read.texts.iter().map(|text| words.of(text, characters)).collect())
}

impl ByHeart {
    /// Of these `texts`, which learnt from those.
    pub fn of(texts: &[Vec<u32>], learnt: &[Vec<u32>]) -> Self {
        Self { ngrams: copied(texts, learnt, COPIED), whole: copied_whole(texts, learnt) }
    }
}
