//! `gan-text`, ours: a Transformer started by likelihood, then moved by a discriminator's reward with proximal policy
//! optimisation (PPO, 1707.06347), and kept near its start (1909.08593).
//!
//! - The policy is a [`super::gpt::Gpt`]; a linear layer on its features estimates the value of every prefix.
//! - The discriminator is [`super::seqgan::Discriminator`]; its logit on the finished text is the reward of the last token,
//!   less its mean over the batch. Each token also pays β (log p(x) - log p_start(x)): with a perfect discriminator of the
//!   start and β = 1 the best policy would be the real texts' distribution.
//! - Advantages are generalised (1506.02438): δₜ = rₜ + γ Vₜ₊₁ - Vₜ, Aₜ = δₜ + γλ Aₜ₊₁, then normalised over the batch.
//! - The policy's loss is -min(ρA, clip(ρ, 1-ε, 1+ε) A), ρ = p(x) / p_old(x) (eq. 7); the value's is its squared error.
//! - The likelihood of real texts may be part of the loss (2203.02155, section 3.5).
//!
//! The clipped loss depends on the parameters through log p(x) alone, so that its gradient is that of Σ w (-log p) with
//! w = ρA where the clip does not bind and 0 where it does ([`policy_weights`]).

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use shenbi_nn::{Init, Linear};

use super::Sequences;
use super::gpt::{Gpt, GptConfig};
use super::language::Language;

/// The policy and its estimate of what is to come.
#[derive(Module, Debug)]
pub struct Policy {
    /// Writes: always a Transformer.
    pub language: Language,
    /// Features to values, `[1, width]`.
    pub value: Linear,
}

impl Policy {
    /// Untrained; all values are 0.
    pub fn new(config: &GptConfig, init: &mut Init) -> Self {
        let language = Language::Gpt(Gpt::new(config, init));
        Self { language, value: Linear::new(config.width, 1, 0.0, init) }
    }

    /// Features before each token, and the values of those prefixes.
    ///
    /// # Shapes
    /// `[b * t, width]` and `[b * t]`, text by text.
    pub fn features(&self, texts: &Sequences, device: &Device) -> (Tensor<2>, Tensor<1>) {
        let features = self.language.features(texts, device);
        let [n, _] = features.dims();
        (features.clone(), self.value.forward(features).reshape([n]))
    }
}

/// Advantages and returns of every token. rewards, values and mask: `[b, t]`, text by text; a text's value is 0 after its
/// last token.
pub fn advantages(
    rewards: &[f32],
    values: &[f32],
    mask: &[f32],
    length: usize,
    gamma: f32,
    lambda: f32,
) -> (Vec<f32>, Vec<f32>) {
    let (mut advantages, mut returns) = (vec![0.0; rewards.len()], vec![0.0; rewards.len()]);
    for row in (0..rewards.len()).step_by(length.max(1)) {
        let (mut later, mut next) = (0.0, 0.0);
        for at in (row..row + length).rev().filter(|at| mask[*at] > 0.0) {
            later = rewards[at] + gamma * next - values[at] + gamma * lambda * later;
            next = values[at];
            (advantages[at], returns[at]) = (later, later + values[at]);
        }
    }
    (advantages, returns)
}

/// The clipped loss (its mean over counted tokens), and the weight of each token's -log p with which a weighted likelihood
/// has its gradient. new and old: -log p of each token, now and when it was written.
pub fn policy_weights(new: &[f32], old: &[f32], advantages: &[f32], mask: &[f32], clip: f32) -> (f32, Vec<f32>) {
    let count = mask.iter().sum::<f32>().max(1.0);
    let mut loss = 0.0f64;
    let weight = |i: usize| {
        if mask[i] == 0.0 {
            return 0.0;
        }
        let (ratio, advantage) = ((old[i] - new[i]).exp(), advantages[i]);
        let (free, clipped) = (ratio * advantage, ratio.clamp(1.0 - clip, 1.0 + clip) * advantage);
        loss -= f64::from(free.min(clipped));
        if free <= clipped { free / count } else { 0.0 }
    };
    let weights = (0..new.len()).map(weight).collect();
    ((loss / f64::from(count)) as f32, weights)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn advantages_of_a_text_that_ends() {
        // One reward at the end of two tokens; the third is padding.
        let (a, r) = advantages(&[0.0, 1.0, 5.0], &[0.5, 0.25, 9.0], &[1.0, 1.0, 0.0], 3, 0.9, 0.5);
        let last = 1.0 - 0.25;
        let first = 0.9 * 0.25 - 0.5 + 0.45 * last;
        assert!((a[1] - last).abs() < 1e-6 && (a[0] - first).abs() < 1e-6 && a[2] == 0.0, "{a:?}");
        assert!((r[1] - 1.0).abs() < 1e-6 && (r[0] - first - 0.5).abs() < 1e-6, "{r:?}");
    }
}
