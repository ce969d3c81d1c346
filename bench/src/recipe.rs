//! Networks of a recipe: the step that `shenbi train` takes, everything included but for loading.

use std::sync::Arc;

use burn::tensor::Device;
use shenbi_data::Source;
use shenbi_data::loader::{Batch, Loader, LoaderOptions};
use shenbi_data::scenes::{Level, Scenes, ScenesOptions, Split};
use shenbi_models::model::Model;
use shenbi_train::config::Recipe;
use shenbi_train::session::untrained;
use shenbi_train::trainer::{Phase, Trainer};

use crate::{BATCH, Workload};

/// A trainer, and one batch that it sees again and again: loading is not measured.
pub struct Trained {
    trainer: Box<dyn Trainer>,
    batch: Batch,
}

impl Trained {
    /// Untrained networks of this recipe for pictures of 64x64.
    pub fn new(recipe: &str, precision: &str, settings: &[&str]) -> Result<Self, Box<dyn std::error::Error>> {
        let mut recipe = Recipe::named(recipe)?;
        let (batch, precision) = (format!("batch={BATCH}"), format!("precision={precision}"));
        for setting in ["height=64", "width=64", &batch, &precision].iter().chain(settings) {
            recipe.set_text(setting)?;
        }
        let options = ScenesOptions { size: [64, 64], level: Level::One, seed: 1, split: Split::Train };
        let source: Arc<dyn Source> = Arc::new(Scenes::new(options)?);
        let trainer = untrained(&recipe, source.as_ref(), None, None, &Device::flex().into())?;
        let options = LoaderOptions { batch: BATCH, ..LoaderOptions::default() };
        let batch = Loader::new(source, options)?.next_batch()?;
        Ok(Self { trainer, batch })
    }
}

impl Workload for Trained {
    fn train(&mut self) {
        if let Err(error) = self.trainer.step(&self.batch, Phase::Gan, 0.5) {
            panic!("{error}");
        }
    }

    fn paint(&self, pictures: usize) {
        let painted = match self.trainer.model() {
            Model::Painter(painter) => {
                let prompts: Vec<&str> = self.batch.captions.iter().take(pictures).map(|c| c[0].as_str()).collect();
                painter.paint(&prompts, vec![0.5; pictures * painter.config.network.noise()])
            }
            Model::Image(model) => Ok(model.paint(vec![0.5; pictures * model.config.network.noise()], &[])),
            Model::Text(_) => unreachable!("these recipes make pictures"),
        };
        match painted {
            Ok(painted) => drop(std::hint::black_box(painted.into_data())),
            Err(error) => panic!("{error}"),
        }
    }
}
