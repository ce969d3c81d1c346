//! RelGAN's step (see [`shenbi_models::text::relgan`]): one soft generation serves both steps, with a relativistic loss.

use burn::module::Module;
use burn::tensor::{Int, Tensor, TensorData};
use shenbi_data::rng;
use shenbi_models::model::Model;
use shenbi_models::text::relgan::{Discriminator, DiscriminatorConfig};
use shenbi_models::text::{Language, Sequences};
use shenbi_nn::optim::{AdamConfig, Optimizer, Rule};
use shenbi_nn::weights::{self, Fitted, Named, WeightsError};
use shenbi_nn::{Init, ops};

use super::TextData;
use super::base::{Base, adam};
use crate::config::TextRecipe;
use crate::trainer::{Devices, Losses, Phase, Steps, Trainer, scalar};

/// Numbers before each view's logit.
const FEATURES: usize = 100;

/// Trains by likelihood, then by the game.
pub(super) struct RelganTrainer {
    base: Base,
    language: Language,
    likelihood: Optimizer,
    optimizer: Optimizer,
    discriminator: Discriminator,
    optimizer_discriminator: Optimizer,
}

/// A Gumbel number from a uniform one, which is at least 0 and below 1.
fn gumbel(uniform: f32) -> f32 {
    -(-uniform.max(f32::MIN_POSITIVE).ln()).ln()
}

/// Of the game.
fn game_adam() -> AdamConfig {
    AdamConfig { max_rms: 1.0, ..adam(0.0) }
}

impl RelganTrainer {
    pub(super) fn new(recipe: &TextRecipe, data: &TextData, devices: &Devices) -> Result<Self, String> {
        let base = Base::new(recipe, data, devices);
        let config = DiscriminatorConfig {
            vocabulary: base.vocabulary(),
            length: base.config.length,
            views: recipe.views,
            embedding: recipe.discriminator_embedding,
            filters: recipe.filters.clone(),
            features: FEATURES,
        };
        let discriminator =
            Discriminator::new(&config, &mut Init::new(recipe.run.seed, "discriminator", &base.device))?;
        Ok(Self {
            language: base.language()?,
            likelihood: Optimizer::adam(adam(recipe.weight_decay)),
            optimizer: Optimizer::adam(game_adam()),
            discriminator: discriminator.train(),
            optimizer_discriminator: Optimizer::adam(game_adam()),
            base,
        })
    }

    /// progress: share of the game that is over.
    fn game(&mut self, texts: &Sequences, progress: f64) -> Result<Losses, String> {
        let recipe = &self.base.recipe;
        let (b, length, device) = (texts.rows(), self.base.config.length, &self.base.device);
        let Language::Relational(generator) = &self.language else {
            return Err("relgan needs a relational memory".to_string());
        };
        let real = self.base.padded(texts);
        let ids: Vec<i32> = real.ids.iter().map(|id| *id as i32).collect();
        let real = Tensor::<2, Int>::from_data(TensorData::new(ids, [b, length]), device);
        let mut stream = rng::stream(recipe.run.seed, "gumbel", self.base.steps.all());
        let count = length * b * self.base.vocabulary();
        let gumbel: Vec<f32> = (0..count).map(|_| gumbel(rng::uniform(&mut stream))).collect();
        let gumbel = Tensor::<2>::from_data(TensorData::new(gumbel, [length * b, self.base.vocabulary()]), device);
        let beta = recipe.last_beta.powf(progress);
        let fake = generator.write_soft(b, length, gumbel, beta, device); // [b, t, v]

        // D step: real above generated.
        let on_real = self.discriminator.forward_hard(real.clone());
        let on_fake = self.discriminator.forward(fake.clone().without_autodiff().autodiff());
        let loss = ops::softplus(on_fake.clone() - on_real.clone()).mean();
        let mut losses = Losses::from_iter([
            ("d", scalar(loss.clone())),
            ("real", scalar(on_real.mean())),
            ("fake", scalar(on_fake.mean())),
            ("beta", beta as f32),
        ]);
        let mut grads = loss.backward();
        let rate = recipe.discriminator_rate;
        self.discriminator = self.optimizer_discriminator.step(self.discriminator.clone(), &mut grads, |_| rate);

        // G step: generated above real.
        let judge = self.discriminator.valid();
        let on_real = judge.forward_hard(real);
        let loss = ops::softplus(on_real - judge.forward(fake)).mean();
        losses.push("g", scalar(loss.clone()));
        let mut grads = loss.backward();
        let rate = recipe.generator_rate;
        self.language = self.optimizer.step(self.language.clone(), &mut grads, |_| rate);
        self.base.steps.gan += 1;
        Ok(losses)
    }
}

impl Trainer<Sequences> for RelganTrainer {
    fn steps(&self) -> Steps {
        self.base.steps
    }

    fn step(&mut self, texts: &Sequences, phase: Phase, progress: f64) -> Result<Losses, String> {
        if phase == Phase::Gan {
            return self.game(texts, progress);
        }
        let (language, losses) = self.base.likelihood(self.language.clone(), &mut self.likelihood, texts, progress);
        self.language = language;
        Ok(losses)
    }

    fn model(&self) -> Model {
        self.base.model(&self.language)
    }

    fn state(&self) -> Named {
        let mut named = weights::collect(&self.language, "generator");
        named.extend(weights::collect(&self.discriminator, "discriminator"));
        named.extend(self.likelihood.state("adam_likelihood"));
        named.extend(self.optimizer.state("adam_generator"));
        named.extend(self.optimizer_discriminator.state("adam_discriminator"));
        named
    }

    fn restore(&mut self, named: &Named, steps: Steps) -> Result<(), WeightsError> {
        self.language = weights::apply(self.language.clone(), named, "generator")?;
        self.discriminator = weights::apply(self.discriminator.clone(), named, "discriminator")?;
        let (rule, device) = (Rule::Adam(adam(self.base.recipe.weight_decay)), &self.base.device);
        self.likelihood = Optimizer::from_state(rule, named, "adam_likelihood", device);
        let game = Rule::Adam(game_adam());
        self.optimizer = Optimizer::from_state(game, named, "adam_generator", device);
        self.optimizer_discriminator = Optimizer::from_state(game, named, "adam_discriminator", device);
        self.base.steps = steps;
        Ok(())
    }

    fn start_from(&mut self, named: &Named) -> Vec<(&'static str, Fitted)> {
        let (language, in_language) = weights::apply_fitting(self.language.clone(), named, "generator");
        let (judge, in_judge) = weights::apply_fitting(self.discriminator.clone(), named, "discriminator");
        (self.language, self.discriminator) = (language, judge);
        vec![("generator", in_language), ("discriminator", in_judge)]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn gumbel_noise_is_finite() {
        // The least and the greatest of the numbers drawn: multiples of 2^-24.
        let (least, greatest) = (gumbel(0.0), gumbel(1.0 - 1.0 / 16_777_216.0));
        assert!((least + 4.47).abs() < 0.01 && (greatest - 16.64).abs() < 0.01, "{least} {greatest}");
    }
}
