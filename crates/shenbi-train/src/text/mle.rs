//! Likelihood alone: the baseline that every text GAN has to beat.

use shenbi_models::model::Model;
use shenbi_models::text::{Language, Sequences};
use shenbi_nn::optim::{Optimizer, Rule};
use shenbi_nn::weights::{self, Fitted, Named, WeightsError};

use super::TextData;
use super::base::{Base, adam};
use crate::config::TextRecipe;
use crate::trainer::{Devices, Losses, Phase, Steps, Trainer};

/// Trains by likelihood.
pub(super) struct MleTrainer {
    base: Base,
    language: Language,
    optimizer: Optimizer,
}

impl MleTrainer {
    pub(super) fn new(recipe: &TextRecipe, data: &TextData, devices: &Devices) -> Result<Self, String> {
        let base = Base::new(recipe, data, devices);
        let language = base.language()?;
        Ok(Self { language, optimizer: Optimizer::adam(adam(recipe.weight_decay)), base })
    }
}

impl Trainer<Sequences> for MleTrainer {
    fn steps(&self) -> Steps {
        self.base.steps
    }

    fn step(&mut self, texts: &Sequences, _phase: Phase, progress: f64) -> Result<Losses, String> {
        let (language, losses) = self.base.likelihood(self.language.clone(), &mut self.optimizer, texts, progress);
        self.language = language;
        Ok(losses)
    }

    fn model(&self) -> Model {
        self.base.model(&self.language)
    }

    fn state(&self) -> Named {
        let mut named = weights::collect(&self.language, "generator");
        named.extend(self.optimizer.state("adam_likelihood"));
        named
    }

    fn restore(&mut self, named: &Named, steps: Steps) -> Result<(), WeightsError> {
        self.language = weights::apply(self.language.clone(), named, "generator")?;
        let rule = Rule::Adam(adam(self.base.recipe.weight_decay));
        self.optimizer = Optimizer::from_state(rule, named, "adam_likelihood", &self.base.device);
        self.base.steps = steps;
        Ok(())
    }

    fn start_from(&mut self, named: &Named) -> Vec<(&'static str, Fitted)> {
        let (language, fitted) = weights::apply_fitting(self.language.clone(), named, "generator");
        self.language = language;
        vec![("generator", fitted)]
    }
}
