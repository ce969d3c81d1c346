//! SeqGAN's step (1609.05473, algorithm 1): texts written, rollouts judged, the generator's policy gradient, the rollout
//! policy's average, the discriminator.
//!
//! Rewards are all positive, as in the paper: whatever was written becomes likelier, the better judged the more, so that
//! the generator also grows more certain of itself. With `baseline` the mean reward of a place over the batch is
//! subtracted: the same gradient on average, with less variance and without that effect.

use burn::module::Module;
use burn::tensor::{Tensor, TensorData};
use shenbi_data::rng;
use shenbi_models::model::Model;
use shenbi_models::text::seqgan::{Discriminator, DiscriminatorConfig};
use shenbi_models::text::{END, Language, Sequences};
use shenbi_nn::optim::{Optimizer, Rule};
use shenbi_nn::weights::{self, Fitted, Named, WeightsError, values};
use shenbi_nn::{Init, ema, ops};

use super::TextData;
use super::base::{Base, adam};
use crate::config::TextRecipe;
use crate::trainer::{Devices, Losses, Phase, Steps, Trainer, scalar};

/// A discriminator of finished texts and its optimizer.
pub(super) struct Judge {
    pub(super) network: Discriminator,
    optimizer: Optimizer,
    /// What it is shown of the real texts.
    real: Sequences,
    steps: u64,
}

impl Judge {
    pub(super) fn new(base: &Base, data: &TextData) -> Result<Self, String> {
        let config = DiscriminatorConfig {
            vocabulary: base.vocabulary(),
            length: base.config.length,
            embedding: base.recipe.discriminator_embedding,
            filters: base.recipe.filters.clone(),
        };
        let network = Discriminator::new(&config, &mut Init::new(base.recipe.run.seed, "discriminator", &base.device))?;
        Ok(Self { network: network.train(), optimizer: Optimizer::adam(adam(0.0)), real: data.train.clone(), steps: 0 })
    }

    /// One step on real texts drawn anew and those that the generator wrote.
    pub(super) fn step(&mut self, base: &Base, fake: &Sequences) -> Losses {
        let (b, seed) = (fake.rows(), base.recipe.run.seed);
        let mut stream = rng::stream(seed, "discriminator/real", self.steps);
        let n = self.real.rows() as u64;
        let places: Vec<usize> = (0..b).map(|_| rng::below(&mut stream, n) as usize).collect();
        let mut both = self.real.select(&places);
        both.ids.extend(&fake.ids);
        let kept = (base.recipe.keep < 1.0).then(|| {
            let mut stream = rng::stream(seed, "discriminator/dropout", self.steps);
            let (keep, shape) = (base.recipe.keep as f32, [2 * b, self.network.width()]);
            let one = |_| if rng::uniform(&mut stream) < keep { 1.0 / keep } else { 0.0 };
            let values: Vec<f32> = (0..shape[0] * shape[1]).map(one).collect();
            Tensor::<2>::from_data(TensorData::new(values, shape), &base.device)
        });
        let logits = self.network.forward(&both, kept, &base.device); // [2b]
        let (real, fake) = (logits.clone().narrow(0, 0, b), logits.narrow(0, b, b));
        let share = |logits: Tensor<1>| scalar(logits.without_autodiff().greater_scalar(0.0).float().mean());
        let right = (share(real.clone()) + 1.0 - share(fake.clone())) / 2.0;
        let loss = (ops::softplus(real.neg()) + ops::softplus(fake)).mean().mul_scalar(0.5);
        let losses = Losses::from_iter([("d", scalar(loss.clone())), ("accuracy", right)]);
        let mut grads = loss.backward();
        let rate = base.recipe.discriminator_rate;
        self.network = self.optimizer.step(self.network.clone(), &mut grads, |_| rate);
        self.steps += 1;
        losses
    }

    /// Logits of texts, without gradients.
    pub(super) fn logits(&self, base: &Base, texts: &Sequences) -> Vec<f32> {
        let network = self.network.valid();
        let places: Vec<usize> = (0..texts.rows()).collect();
        // Few at a time: their windows take memory.
        let part = |places: &[usize]| values(network.forward(&texts.select(places), None, &base.device)).data;
        places.chunks(512).flat_map(part).collect()
    }

    pub(super) fn state(&self) -> Named {
        let mut named = weights::collect(&self.network, "discriminator");
        named.extend(self.optimizer.state("adam_discriminator"));
        named
    }

    pub(super) fn restore(&mut self, base: &Base, named: &Named, game_steps: u64) -> Result<(), WeightsError> {
        self.network = weights::apply(self.network.clone(), named, "discriminator")?;
        self.optimizer = Optimizer::from_state(Rule::Adam(adam(0.0)), named, "adam_discriminator", &base.device);
        self.steps = game_steps * base.recipe.discriminator_steps;
        Ok(())
    }
}

/// Trains by likelihood, then by the game.
pub(super) struct SeqganTrainer {
    base: Base,
    language: Language,
    likelihood: Optimizer,
    optimizer: Optimizer,
    judge: Judge,
    /// Finishes texts; an average of `language`.
    policy: Language,
}

impl SeqganTrainer {
    pub(super) fn new(recipe: &TextRecipe, data: &TextData, devices: &Devices) -> Result<Self, String> {
        let base = Base::new(recipe, data, devices);
        let language = base.language()?;
        Ok(Self {
            policy: language.valid(),
            language,
            likelihood: Optimizer::adam(adam(recipe.weight_decay)),
            optimizer: Optimizer::adam(adam(0.0)),
            judge: Judge::new(&base, data)?,
            base,
        })
    }

    /// How real the discriminator finds what follows from each token: `[b, t]`, text by text.
    fn rewards(&self, texts: &Sequences) -> Vec<f32> {
        let Base { recipe, config, .. } = &self.base;
        let (b, length, n) = (texts.rows(), texts.length, recipe.rollouts);
        let probability = |logit: f32| 1.0 / (1.0 + (-logit).exp());
        let mut rewards = vec![0.0; b * length];
        let (mut reader, head) = (self.policy.reader(b), self.policy.head());
        let mut stream = rng::stream(recipe.run.seed, "rollouts", self.base.steps.all());
        for t in 0..length - 1 {
            let before: Vec<u32> = texts.iter().map(|row| if t == 0 { END } else { row[t - 1] }).collect();
            reader.read(&before);
            // Texts that have ended need no more judging.
            let prefixes = texts.iter().flat_map(|row| std::iter::repeat_n(row[..=t].to_vec(), n)).collect();
            let uniform = || rng::uniform(&mut stream);
            let reader = reader.repeat(n);
            let finished = self.policy.continue_texts(reader, &head, prefixes, length, config.ends, 1.0, uniform);
            for (row, judged) in self.judge.logits(&self.base, &finished).chunks(n).enumerate() {
                rewards[row * length + t] = judged.iter().map(|logit| probability(*logit)).sum::<f32>() / n as f32;
            }
        }
        for (row, logit) in self.judge.logits(&self.base, texts).into_iter().enumerate() {
            rewards[(row + 1) * length - 1] = probability(logit);
        }
        rewards
    }

    fn game(&mut self) -> Losses {
        let (b, length) = (self.base.recipe.run.batch, self.base.config.length);
        let mut losses = Losses::default();
        if self.base.steps.gan >= self.base.recipe.warmup {
            // G step: each token's log p by what it earned above its place's mean.
            let texts = self.base.written(&self.language.valid(), "generator", b);
            let (rewards, mask) = (self.rewards(&texts), texts.mask(self.base.config.ends));
            let mut weights = vec![0.0; rewards.len()];
            for t in 0..length {
                let places = || (t..rewards.len()).step_by(length).filter(|at| mask[*at] > 0.0);
                let count = places().count().max(1) as f32;
                let mean = places().map(|at| rewards[at]).sum::<f32>() / count;
                let mean = if self.base.recipe.baseline { mean } else { 0.0 };
                places().for_each(|at| weights[at] = (rewards[at] - mean) / b as f32);
            }
            let counted: f32 = mask.iter().sum();
            let reward = rewards.iter().zip(&mask).map(|(reward, mask)| reward * mask).sum::<f32>() / counted;
            let loss = self.language.nll(&texts, &weights, &self.base.device);
            losses.push("g", scalar(loss.clone()));
            losses.push("reward", reward);
            let mut grads = loss.backward();
            let rate = self.base.recipe.generator_rate;
            self.language = self.optimizer.step(self.language.clone(), &mut grads, |_| rate);
            self.policy = ema::update(self.policy.clone(), &self.language, self.base.recipe.policy_decay);
        }
        // D steps, each on texts written anew.
        let language = self.language.valid();
        for step in 0..self.base.recipe.discriminator_steps {
            let fake = self.base.written(&language, &format!("discriminator/fake/{step}"), b);
            let of_step = self.judge.step(&self.base, &fake);
            if step + 1 == self.base.recipe.discriminator_steps {
                of_step.iter().for_each(|(name, value)| losses.push(name, value));
            }
        }
        self.base.steps.gan += 1;
        losses
    }
}

impl Trainer<Sequences> for SeqganTrainer {
    fn steps(&self) -> Steps {
        self.base.steps
    }

    fn step(&mut self, texts: &Sequences, phase: Phase, progress: f64) -> Result<Losses, String> {
        if phase == Phase::Gan {
            return Ok(self.game());
        }
        let (language, losses) = self.base.likelihood(self.language.clone(), &mut self.likelihood, texts, progress);
        (self.policy, self.language) = (language.valid(), language);
        Ok(losses)
    }

    fn model(&self) -> Model {
        self.base.model(&self.language)
    }

    fn state(&self) -> Named {
        let mut named = weights::collect(&self.language, "generator");
        named.extend(weights::collect(&self.policy, "policy"));
        named.extend(self.likelihood.state("adam_likelihood"));
        named.extend(self.optimizer.state("adam_generator"));
        named.extend(self.judge.state());
        named
    }

    fn restore(&mut self, named: &Named, steps: Steps) -> Result<(), WeightsError> {
        self.language = weights::apply(self.language.clone(), named, "generator")?;
        self.policy = weights::apply(self.policy.clone(), named, "policy")?;
        let (rule, device) = (Rule::Adam(adam(self.base.recipe.weight_decay)), &self.base.device);
        self.likelihood = Optimizer::from_state(rule, named, "adam_likelihood", device);
        self.optimizer = Optimizer::from_state(Rule::Adam(adam(0.0)), named, "adam_generator", device);
        self.judge.restore(&self.base, named, steps.gan)?;
        self.base.steps = steps;
        Ok(())
    }

    fn start_from(&mut self, named: &Named) -> Vec<(&'static str, Fitted)> {
        let (language, in_language) = weights::apply_fitting(self.language.clone(), named, "generator");
        let (judge, in_judge) = weights::apply_fitting(self.judge.network.clone(), named, "discriminator");
        (self.policy, self.language, self.judge.network) = (language.valid(), language, judge);
        vec![("generator", in_language), ("discriminator", in_judge)]
    }
}
