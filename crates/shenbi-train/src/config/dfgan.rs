//! The `dfgan` recipe's settings: one field a line with its reason.

use serde::{Deserialize, Serialize};
use shenbi_models::text_to_image::brush::BrushConfig;
use shenbi_models::text_to_image::dfgan::DfganConfig;

use super::{ConfigError, RunSettings, SentenceSettings, check_ranges, one_of};

/// Everything that decides a run of DF-GAN (2008.05865), but for the data itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct DfganRecipe {
    /// What every recipe has.
    #[serde(flatten)]
    pub run: RunSettings,
    /// How captions become sentences.
    #[serde(flatten)]
    pub sentences: SentenceSettings,
    /// Channels of the layers next to the picture (nf).
    pub hidden: usize,
    /// Numbers of noise a picture.
    pub noise: usize,
    /// Step size of G.
    pub generator_rate: f64,
    /// Step size of D.
    pub discriminator_rate: f64,
    /// Step size at the end, as a share of that at the start (along a cosine).
    pub last_rate: f64,
    /// k of the matching-aware penalty.
    pub penalty: f64,
    /// p of the matching-aware penalty.
    pub power: f64,
    /// The penalty is computed every so many steps, and counts as many times.
    pub penalty_every: u64,
    /// Weight of mismatched captions beside that of generated pictures.
    pub mismatched: f64,
}

impl Default for DfganRecipe {
    fn default() -> Self {
        let run = RunSettings { recipe: "dfgan".into(), height: 64, width: 64, batch: 32, ..RunSettings::default() };
        Self {
            run,
            sentences: SentenceSettings::default(),
            hidden: 32,
            noise: 100,
            generator_rate: 1e-4,
            discriminator_rate: 4e-4,
            last_rate: 1.0,
            penalty: 2.0,
            power: 6.0,
            penalty_every: 1,
            mismatched: 1.0,
        }
    }
}

impl DfganRecipe {
    /// Shapes of the networks, for pictures of `channels` channels.
    ///
    /// # Errors
    /// The size does not fit; the text says which would.
    pub fn dfgan(&self, channels: usize) -> Result<DfganConfig, String> {
        let RunSettings { height, width, .. } = self.run;
        if height != width {
            return Err(format!("size {height}x{width}: this recipe makes square pictures only"));
        }
        let config = self.shapes(channels);
        config.check()?;
        Ok(config)
    }

    /// The same, unchecked.
    pub(crate) fn shapes(&self, channels: usize) -> DfganConfig {
        let (size, noise, sentence, width) = (self.run.height, self.noise, self.sentences.sentence, self.hidden);
        DfganConfig { size, channels, noise, sentence, width }
    }

    /// The network with which the sentence encoder learns.
    pub(crate) fn encoder(&self, channels: usize) -> BrushConfig {
        BrushConfig {
            size: [self.run.height, self.run.width],
            channels,
            noise: self.noise,
            sentence: self.sentences.sentence,
            generator_width: self.hidden,
            refine_width: self.hidden,
            discriminator_width: self.hidden,
            features: 256,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.run.check()?;
        self.sentences.check()?;
        check_ranges(&[
            ("hidden", self.hidden as f64, 1.0, 512.0),
            ("generator_rate", self.generator_rate, 0.0, 1.0),
            ("discriminator_rate", self.discriminator_rate, 0.0, 1.0),
            ("last_rate", self.last_rate, 0.0, 1.0),
            ("penalty", self.penalty, 0.0, 1e6),
            ("power", self.power, 2.0, 16.0),
            ("penalty_every", self.penalty_every as f64, 1.0, 1e6),
            ("mismatched", self.mismatched, 0.0, 1e3),
        ])?;
        one_of("recipe", &self.run.recipe, &["dfgan"])
    }
}
