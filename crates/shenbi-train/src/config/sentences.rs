//! How captions become sentences, in every recipe that paints them.

use serde::{Deserialize, Serialize};
use shenbi_models::encoder::text::TextConfig;

use super::{ConfigError, check_ranges};

/// Settings of captions and of the encoder that reads them.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct SentenceSettings {
    /// Folders only: caption columns of the metadata; empty to choose by name.
    pub caption_columns: Vec<String>,
    /// Folders only: caption of a class folder.
    pub template: String,
    /// A text encoder that others trained, as a folder of Hugging Face's; empty to learn one with the pictures. It stays
    /// as it is (but see tune_layers); what is learnt is how its embeddings become sentences.
    pub text_encoder: String,
    /// Layers of that encoder, its last ones, that learn with the pictures; 0 for none. Captions are then read anew in
    /// each step.
    pub tune_layers: usize,
    /// Their step size, as a share of the sentences' own.
    pub tune_rate: f64,
    /// Share of the run spent on teaching the sentence encoder by contrast before the GAN.
    pub pretrain: f64,
    /// Numbers in a sentence embedding.
    pub sentence: usize,
    /// Width of the sentence encoder.
    pub text_width: usize,
    /// Blocks of the sentence encoder.
    pub text_layers: usize,
    /// Tokens learnt from the captions, at most.
    pub vocabulary: usize,
    /// Longer captions are cut here.
    pub max_tokens: usize,
    /// Shift and cut pictures before D sees them: for small data sets.
    pub augment: bool,
}

impl Default for SentenceSettings {
    fn default() -> Self {
        Self {
            caption_columns: Vec::new(),
            template: "a photo of a {class}".into(),
            text_encoder: String::new(),
            tune_layers: 0,
            tune_rate: 0.02,
            pretrain: 0.12,
            sentence: 128,
            text_width: 128,
            text_layers: 2,
            vocabulary: 2048,
            max_tokens: 48,
            augment: false,
        }
    }
}

impl SentenceSettings {
    /// Shape of the sentence encoder.
    pub fn config(&self) -> TextConfig {
        TextConfig {
            vocabulary: self.vocabulary,
            max_tokens: self.max_tokens,
            width: self.text_width,
            layers: self.text_layers,
            heads: 4,
            sentence: self.sentence,
        }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_ranges(&[
            ("pretrain", self.pretrain, 0.0, 0.9),
            ("tune_layers", self.tune_layers as f64, 0.0, 100.0),
            ("tune_rate", self.tune_rate, 0.0, 10.0),
        ])
    }
}
