//! The `brush` recipe's settings: one field a line with its reason.

use serde::{Deserialize, Serialize};
use shenbi_models::text_to_image::brush::BrushConfig;

use crate::losses::Adversarial;

use super::{BackboneSettings, ConfigError, RunSettings, SentenceSettings, check_ranges, one_of};

/// Everything that decides a run, but for the data itself. Written into the run folder as `config.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BrushRecipe {
    /// What every recipe has.
    #[serde(flatten)]
    pub run: RunSettings,
    /// How captions become sentences.
    #[serde(flatten)]
    pub sentences: SentenceSettings,
    /// Widths of the networks by name: `tiny`, `small` or `base` (see [`SIZES`]).
    pub model: String,
    /// Channels of the generator's largest hidden grid; 0: as `model` says, like the next two.
    pub generator_width: usize,
    /// Channels of the generator at full resolution, before its last convolution.
    pub refine_width: usize,
    /// Channels of the discriminator's largest hidden grid.
    pub discriminator_width: usize,
    /// Features from which the discriminator answers.
    pub features: usize,
    /// Numbers of noise a picture.
    pub noise: usize,
    /// Adam's step size for both networks.
    pub learning_rate: f64,
    /// D's step size, as a share of learning_rate.
    pub discriminator_rate: f64,
    /// The sentence encoder's step size during the GAN, as a share of learning_rate.
    pub text_rate: f64,
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// Step size at the end, as a share of learning_rate.
    pub last_rate: f64,
    /// Weight γ of R1 and R2 at the start. A discriminator on a backbone has neither: its features do not learn, and its
    /// heads are held by spectral norm.
    pub gamma: f64,
    /// Weight γ of R1 and R2 at the end (geometric in between).
    pub last_gamma: f64,
    /// The penalties are computed every so many steps, and count as many times (up to Adam's bound on a step).
    pub penalty_every: u64,
    /// Weight of the mismatched captions.
    pub mismatched: f64,
    /// Weight of the contrastive head, for D on real and for G on generated pictures.
    pub contrastive: f64,
    /// CLIP as a folder of Hugging Face's: G learns to make pictures that it takes for their captions'; empty for none.
    pub clip: String,
    /// SHA-256 of that folder's files, written when the run begins and checked when it goes on.
    pub clip_sha256: String,
    /// Weight of 1 - cos(picture, caption) in G's loss.
    pub clip_weight: f64,
    /// The network that D looks through, if it is to.
    #[serde(flatten)]
    pub backbone: BackboneSettings,
}

impl Default for BrushRecipe {
    fn default() -> Self {
        Self {
            run: RunSettings::default(),
            sentences: SentenceSettings::default(),
            model: "small".into(),
            generator_width: 0,
            refine_width: 0,
            discriminator_width: 0,
            features: 256,
            noise: 32,
            learning_rate: 2e-3,
            discriminator_rate: 1.0,
            text_rate: 0.2,
            warmup: 100,
            last_rate: 0.1,
            gamma: 0.5,
            last_gamma: 0.1,
            penalty_every: 16,
            mismatched: 1.0,
            contrastive: 1.0,
            clip: String::new(),
            clip_sha256: String::new(),
            clip_weight: 1.0,
            backbone: BackboneSettings::default(),
        }
    }
}

/// The named sizes: widths of the generator, of its full resolution, and of the discriminator.
pub const SIZES: [(&str, [usize; 3]); 3] = [("tiny", [16, 8, 16]), ("small", [32, 16, 32]), ("base", [48, 24, 48])];

impl BrushRecipe {
    /// Shapes of the networks, for pictures of `channels` channels.
    pub fn brush(&self, channels: usize) -> BrushConfig {
        // Another name does not pass the checks.
        let by_name = SIZES.iter().find(|(name, _)| *name == self.model).map_or(SIZES[1].1, |(_, widths)| *widths);
        let or = |width: usize, by_name: usize| if width == 0 { by_name } else { width };
        BrushConfig {
            size: [self.run.height, self.run.width],
            channels,
            noise: self.noise,
            sentence: self.sentences.sentence,
            generator_width: or(self.generator_width, by_name[0]),
            refine_width: or(self.refine_width, by_name[1]),
            discriminator_width: or(self.discriminator_width, by_name[2]),
            features: self.features,
        }
    }

    /// The game between D and G: pairs of real and generated pictures; on a backbone the hinge loss, as in its paper, which
    /// lets D rest where it is ahead.
    pub fn loss(&self) -> Adversarial {
        if self.backbone.is_set() { Adversarial::Hinge } else { Adversarial::Relativistic }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.run.check()?;
        self.sentences.check()?;
        self.backbone.check()?;
        check_ranges(&[
            ("learning_rate", self.learning_rate, 0.0, 1.0),
            ("discriminator_rate", self.discriminator_rate, 0.0, 10.0),
            ("text_rate", self.text_rate, 0.0, 10.0),
            ("last_rate", self.last_rate, 0.0, 1.0),
            ("gamma", self.gamma, 1e-6, 1e6),
            ("last_gamma", self.last_gamma, 1e-6, 1e6),
            ("penalty_every", self.penalty_every as f64, 1.0, 1e6),
            ("mismatched", self.mismatched, 0.0, 1e3),
            ("contrastive", self.contrastive, 0.0, 1e3),
            ("clip_weight", self.clip_weight, 0.0, 1e3),
        ])?;
        one_of("model", &self.model, &SIZES.map(|(name, _)| name))?;
        one_of("recipe", &self.run.recipe, &["brush"])
    }
}
