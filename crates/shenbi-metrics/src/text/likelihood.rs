//! Likelihoods: what a language model thinks of texts, and what one that has learnt from generated texts thinks of real
//! ones (the reverse score, 1706.01399): low only where the generated ones are both good and varied.

use burn::module::Module;
use burn::tensor::Device;
use serde::Serialize;
use shenbi_data::rng;
use shenbi_models::text::lstm::LstmConfig;
use shenbi_models::text::{Language, LanguageConfig, Sequences};
use shenbi_nn::Init;
use shenbi_nn::optim::{AdamConfig, Optimizer};

use crate::error::{MetricsError, Result};

/// What a model thinks of texts.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Likelihood {
    /// Mean -log p of a token, in nats.
    pub nll: f64,
    /// Bits a character, where characters are known; the end of a text counts as one.
    pub bits_per_character: Option<f64>,
    /// Tokens that were counted.
    pub tokens: usize,
}

/// The mean -log p over the tokens that `mask` counts (1 or 0 for each token: see [`known`]). characters: of all of them
/// together, the ends of texts included.
///
/// # Errors
/// There are no tokens to count.
pub fn likelihood(
    language: &Language,
    texts: &Sequences,
    mask: &[f32],
    characters: Option<usize>,
) -> Result<Likelihood> {
    let tokens = mask.iter().filter(|mask| **mask > 0.0).count();
    if tokens == 0 {
        return Err(MetricsError::Setting("no texts to measure; hold some out, or give a file of them".into()));
    }
    let sum: f64 = language.losses(texts, mask).iter().map(|loss| f64::from(*loss)).sum();
    let bits_per_character = characters.map(|count| sum / std::f64::consts::LN_2 / count.max(1) as f64);
    Ok(Likelihood { nll: sum / tokens as f64, bits_per_character, tokens })
}

/// Which tokens a likelihood counts: up to a text's end, without those that stand for words out of the vocabulary. How
/// likely a model finds these says nothing: one that learnt from texts without any has never seen their token, and a few
/// per cent of them would outweigh all the rest.
pub fn known(texts: &Sequences, ends: bool, unknown: Option<u32>) -> Vec<f32> {
    let mut mask = texts.mask(ends);
    mask.iter_mut().zip(&texts.ids).filter(|(_, token)| Some(**token) == unknown).for_each(|(mask, _)| *mask = 0.0);
    mask
}

/// A model that learns from texts, to judge others.
#[derive(Clone, Copy, Debug)]
pub struct JudgeOptions {
    /// Numbers of state, and of an embedding.
    pub hidden: usize,
    /// Steps of 64 texts.
    pub steps: u64,
    /// Of weights and order.
    pub seed: u64,
}

impl Default for JudgeOptions {
    fn default() -> Self {
        Self { hidden: 64, steps: 600, seed: 1 }
    }
}

/// A small LSTM that has learnt from `texts`. What it thinks of generated ones, when it has learnt from real ones, is their
/// quality; what it thinks of real ones, when it has learnt from generated ones, is the reverse score, low only where these
/// are both good and varied. Compare with the same of real texts in place of the generated ones, equally many.
///
/// # Errors
/// There are no texts, or no network of so many tokens.
pub fn judge(texts: &Sequences, vocabulary: usize, ends: bool, options: JudgeOptions) -> Result<Language> {
    const BATCH: usize = 64;
    if texts.rows() == 0 {
        return Err(MetricsError::Setting("no texts to learn from".into()));
    }
    let (device, seed) = (Device::flex(), options.seed);
    let config = LstmConfig { vocabulary, embedding: options.hidden, hidden: options.hidden };
    let language = Language::new(&LanguageConfig::Lstm(config), &mut Init::new(seed, "reverse", &device));
    let mut language = language.map_err(MetricsError::Setting)?.train();
    let mut optimizer = Optimizer::adam(AdamConfig { beta1: 0.9, beta2: 0.999, ..AdamConfig::default() });
    for step in 0..options.steps {
        let mut stream = rng::stream(seed, "reverse/order", step);
        let n = texts.rows() as u64;
        let places: Vec<usize> = (0..BATCH).map(|_| rng::below(&mut stream, n) as usize).collect();
        let batch = texts.select(&places);
        let mut weights = batch.mask(ends);
        let count: f32 = weights.iter().sum();
        weights.iter_mut().for_each(|weight| *weight /= count);
        let mut grads = language.nll(&batch, &weights, &device).backward();
        let rate = 4e-3 * (1.0 - 0.9 * step as f64 / options.steps as f64);
        language = optimizer.step(language, &mut grads, |_| rate);
    }
    Ok(language)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_was_learnt_from_the_same_texts_is_likelier() {
        // Two kinds of texts: rising and falling.
        let kind = |up: bool| {
            let text = |i: u32| (0..6u32).map(move |t| 2 + if up { (i + t) % 8 } else { (i + 60 - t) % 8 });
            Sequences { length: 6, ids: (0..64).flat_map(text).collect() }
        };
        let options = JudgeOptions { hidden: 16, steps: 200, seed: 1 };
        let rising = judge(&kind(true), 10, false, options).unwrap();
        let of = |texts: &Sequences, unknown| {
            likelihood(&rising, texts, &known(texts, false, unknown), None).map(|found| (found.nll, found.tokens))
        };
        let (same, other) = (of(&kind(true), None).unwrap().0, of(&kind(false), None).unwrap().0);
        assert!(same < 1.0 && other > same + 1.0, "{same} {other}");
        // A word that it never saw would hide how well it knows the others.
        let mut strange = kind(true);
        strange.ids.iter_mut().step_by(17).for_each(|id| *id = 1);
        let (with, without) = (of(&strange, None).unwrap(), of(&strange, Some(1)).unwrap());
        assert!(with.0 > without.0 + 0.2, "{with:?} {without:?}");
        assert_eq!((with.1, without.1), (384, 384 - 23));
        let all = Sequences { length: 6, ids: vec![1; 12] };
        assert!(of(&all, Some(1)).is_err());
        let none = Sequences { length: 6, ids: Vec::new() };
        assert!(judge(&none, 10, false, options).is_err());
    }
}
