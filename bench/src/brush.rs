//! `brush` at 64x64, size `small`: the step that `shenbi train` takes, sentence encoder and lazy penalties included.

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
pub struct Brush {
    trainer: Box<dyn Trainer>,
    batch: Batch,
}

impl Brush {
    /// Untrained networks.
    pub fn new(precision: &str) -> Result<Self, Box<dyn std::error::Error>> {
        let mut recipe = Recipe::default();
        for setting in
            ["height=64", "width=64", "model=small", &format!("batch={BATCH}"), &format!("precision={precision}")]
        {
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

impl Workload for Brush {
    fn train(&mut self) {
        if let Err(error) = self.trainer.step(&self.batch, Phase::Gan, 0.5) {
            panic!("{error}");
        }
    }

    fn paint(&self, pictures: usize) {
        let Model::Painter(painter) = self.trainer.model() else { unreachable!("brush paints sentences") };
        let prompts: Vec<&str> = self.batch.captions.iter().take(pictures).map(|c| c[0].as_str()).collect();
        let noise = vec![0.5; pictures * painter.config.network.noise()];
        match painter.paint(&prompts, noise) {
            Ok(painted) => drop(std::hint::black_box(painted.into_data())),
            Err(error) => panic!("{error}"),
        }
    }
}
