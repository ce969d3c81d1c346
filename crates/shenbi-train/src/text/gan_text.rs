//! The steps of `gan-text` (see [`shenbi_models::text::gan_text`]): texts written and judged, advantages, some passes of the
//! clipped loss, the discriminator.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use shenbi_models::model::Model;
use shenbi_models::text::gan_text::{Policy, advantages, policy_weights};
use shenbi_models::text::{Language, Sequences, text_length};
use shenbi_nn::Init;
use shenbi_nn::optim::{Optimizer, Rule};
use shenbi_nn::weights::{self, Fitted, Named, WeightsError, values};

use super::TextData;
use super::base::{Base, adam};
use super::seqgan::Judge;
use crate::config::TextRecipe;
use crate::trainer::{Devices, Losses, Phase, Steps, Trainer, scalar};

/// Trains by likelihood, then by the discriminator's reward.
pub(super) struct GanTextTrainer {
    base: Base,
    policy: Policy,
    likelihood: Optimizer,
    optimizer: Optimizer,
    judge: Judge,
    /// The network as the game began.
    start: Language,
}

impl GanTextTrainer {
    pub(super) fn new(recipe: &TextRecipe, data: &TextData, devices: &Devices) -> Result<Self, String> {
        let base = Base::new(recipe, data, devices);
        let config = recipe.gpt(base.vocabulary(), base.config.length);
        config.check()?;
        let policy = Policy::new(&config, &mut Init::new(recipe.run.seed, "generator", &base.device)).train();
        Ok(Self {
            start: policy.language.valid(),
            policy,
            likelihood: Optimizer::adam(adam(recipe.weight_decay)),
            optimizer: Optimizer::adam(adam(0.0)),
            judge: Judge::new(&base, data)?,
            base,
        })
    }

    fn game(&mut self) -> Losses {
        let recipe = self.base.recipe.clone();
        let ends = self.base.config.ends;
        if self.base.steps.gan == 0 {
            self.start = self.policy.language.valid();
        }
        let frozen = self.policy.valid();
        let texts = self.base.written(&frozen.language, "generator", recipe.run.batch);
        let mask = texts.mask(ends);
        let mut losses = Losses::default();
        if self.base.steps.gan >= recipe.warmup {
            let (old, first) = (frozen.language.losses(&texts, &mask), self.start.losses(&texts, &mask));
            let (_, guesses) = frozen.features(&texts, &self.base.device);
            let guesses = values(guesses).data;
            let logits = self.judge.logits(&self.base, &texts);
            let (mean, _) = moments(&logits, |_| true);
            let (mut rewards, mut moved) = (vec![0.0; mask.len()], 0.0);
            for (row, (text, logit)) in texts.iter().zip(&logits).enumerate() {
                let length = if ends { text_length(text) } else { text.len() };
                for at in row * texts.length..row * texts.length + length {
                    rewards[at] = -recipe.kl as f32 * (first[at] - old[at]);
                    moved += first[at] - old[at];
                }
                rewards[row * texts.length + length - 1] += logit - mean;
            }
            let (gains, returns) = advantages(&rewards, &guesses, &mask, texts.length, 1.0, recipe.lambda as f32);
            let (middle, spread) = moments(&gains, |at| mask[at] > 0.0);
            let gains: Vec<f32> = gains.iter().map(|gain| (gain - middle) / spread.max(1e-6)).collect();
            losses.push("reward", mean);
            losses.push("kl", moved / mask.iter().sum::<f32>().max(1.0));
            for pass in 0..recipe.passes {
                let of_pass = self.pass(&texts, &mask, &old, &gains, &returns);
                if pass + 1 == recipe.passes {
                    of_pass.iter().for_each(|(name, value)| losses.push(name, value));
                }
            }
        }
        let mut of_step = self.judge.step(&self.base, &texts);
        for step in 1..recipe.discriminator_steps {
            let fake =
                self.base.written(&self.policy.language.valid(), &format!("discriminator/fake/{step}"), texts.rows());
            of_step = self.judge.step(&self.base, &fake);
        }
        of_step.iter().for_each(|(name, value)| losses.push(name, value));
        self.base.steps.gan += 1;
        losses
    }

    /// One pass of the clipped loss and the values' squared error.
    fn pass(&mut self, texts: &Sequences, mask: &[f32], old: &[f32], gains: &[f32], returns: &[f32]) -> Losses {
        let recipe = &self.base.recipe;
        let new = self.policy.language.losses(texts, mask);
        let (clipped, weights) = policy_weights(&new, old, gains, mask, recipe.clip as f32);
        let (features, guesses) = self.policy.features(texts, &self.base.device);
        let tensor = |numbers: &[f32]| {
            Tensor::<1>::from_data(TensorData::new(numbers.to_vec(), [numbers.len()]), &self.base.device)
        };
        let off = (guesses - tensor(returns)).powi_scalar(2) * tensor(mask);
        let value = off.sum().div_scalar(mask.iter().sum::<f32>().max(1.0));
        let losses = Losses::from_iter([("g", clipped), ("value", scalar(value.clone()))]);
        let loss = self.policy.language.nll_of(features, texts, &weights) + value.mul_scalar(recipe.value_weight);
        let mut grads = loss.backward();
        let rate = recipe.generator_rate;
        self.policy = self.optimizer.step(self.policy.clone(), &mut grads, |_| rate);
        losses
    }
}

/// Mean and standard deviation of those that are counted.
fn moments(numbers: &[f32], counted: impl Fn(usize) -> bool) -> (f32, f32) {
    let kept = || numbers.iter().enumerate().filter(|(at, _)| counted(*at)).map(|(_, number)| *number);
    let count = kept().count().max(1) as f32;
    let mean = kept().sum::<f32>() / count;
    (mean, (kept().map(|number| (number - mean).powi(2)).sum::<f32>() / count).sqrt())
}

impl Trainer<Sequences> for GanTextTrainer {
    fn steps(&self) -> Steps {
        self.base.steps
    }

    fn step(&mut self, texts: &Sequences, phase: Phase, progress: f64) -> Result<Losses, String> {
        if phase == Phase::Gan {
            return Ok(self.game());
        }
        let language = self.policy.language.clone();
        let (language, losses) = self.base.likelihood(language, &mut self.likelihood, texts, progress);
        self.policy.language = language;
        Ok(losses)
    }

    fn model(&self) -> Model {
        self.base.model(&self.policy.language)
    }

    fn state(&self) -> Named {
        let mut named = weights::collect(&self.policy.language, "generator");
        named.extend(weights::collect(&self.policy.value, "value"));
        named.extend(weights::collect(&self.start, "start"));
        named.extend(self.likelihood.state("adam_likelihood"));
        named.extend(self.optimizer.state("adam_generator"));
        named.extend(self.judge.state());
        named
    }

    fn restore(&mut self, named: &Named, steps: Steps) -> Result<(), WeightsError> {
        self.policy.language = weights::apply(self.policy.language.clone(), named, "generator")?;
        self.policy.value = weights::apply(self.policy.value.clone(), named, "value")?;
        self.start = weights::apply(self.start.clone(), named, "start")?;
        let (rule, device) = (Rule::Adam(adam(self.base.recipe.weight_decay)), &self.base.device);
        self.likelihood = Optimizer::from_state(rule, named, "adam_likelihood", device);
        self.optimizer = Optimizer::from_state(Rule::Adam(adam(0.0)), named, "adam_generator", device);
        self.judge.restore(&self.base, named, steps.gan)?;
        self.base.steps = steps;
        Ok(())
    }

    fn start_from(&mut self, named: &Named) -> Vec<(&'static str, Fitted)> {
        let (language, in_language) = weights::apply_fitting(self.policy.language.clone(), named, "generator");
        let (judge, in_judge) = weights::apply_fitting(self.judge.network.clone(), named, "discriminator");
        (self.start, self.policy.language, self.judge.network) = (language.valid(), language, judge);
        vec![("generator", in_language), ("discriminator", in_judge)]
    }
}
