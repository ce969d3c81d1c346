//! The `brush` recipe's settings: one field a line with its reason.

use serde::{Deserialize, Serialize};
use shenbi_models::encoder::text::TextConfig;
use shenbi_models::text_to_image::brush::BrushConfig;

/// Everything that decides a run, but for the data itself. Written into the run folder as `config.toml`.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields, default)]
pub struct BrushRecipe {
    /// Always `brush`: which recipe the other keys belong to.
    pub recipe: String,
    /// Feeds every random stream: weights, data order, noise, captions, augmentation.
    pub seed: u64,
    /// `scenes`, or a folder or zip of captioned pictures.
    pub data: String,
    /// Scenes only: `one`, `two`, `many` or `mixed`.
    pub level: String,
    /// Folders only: rows of the metadata whose `split` column says this; empty for all.
    pub split: String,
    /// Folders only: caption columns of the metadata; empty to choose by name.
    pub caption_columns: Vec<String>,
    /// Folders only: caption of a class folder.
    pub template: String,
    /// Folders only: random mirror images; off, as captions may say left and right.
    pub flip: bool,
    /// Height of a picture.
    pub height: usize,
    /// Width of a picture.
    pub width: usize,
    /// 1, 3 or 4 (RGBA); 0 takes what the data has.
    pub channels: usize,
    /// Pictures a step.
    pub batch: usize,
    /// Numbers inside CPU convolutions: `f32`, `bf16` (f32 sums and weights), or `auto`: bf16 where the CPU is fast at it.
    pub precision: String,
    /// Length of the run in thousands of pictures; 0 when minutes decide.
    pub kimg: f64,
    /// Length of the run in minutes of training; 0 when kimg decides.
    pub minutes: f64,
    /// Share of the run spent on teaching the sentence encoder by contrast before the GAN.
    pub pretrain: f64,
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
    /// Adam's step size for both networks.
    pub learning_rate: f64,
    /// The sentence encoder's step size during the GAN, as a share of learning_rate.
    pub text_rate: f64,
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// Step size at the end, as a share of learning_rate.
    pub last_rate: f64,
    /// Weight γ of R1 and R2 at the start.
    pub gamma: f64,
    /// Weight γ of R1 and R2 at the end (geometric in between).
    pub last_gamma: f64,
    /// The penalties are computed every so many steps, and count as many times (up to Adam's bound on a step).
    pub penalty_every: u64,
    /// Weight of the mismatched captions.
    pub mismatched: f64,
    /// Weight of the contrastive head, for D on real and for G on generated pictures.
    pub contrastive: f64,
    /// Shift and cut pictures before D sees them: for small data sets.
    pub augment: bool,
    /// The average of G forgets half of what it knew after this many thousand pictures...
    pub ema_kimg: f64,
    /// ...or this share of the pictures seen, whichever is less.
    pub ema_share: f64,
    /// Seconds between sample pictures.
    pub sample_seconds: f64,
    /// Seconds between checkpoints.
    pub checkpoint_seconds: f64,
}

impl Default for BrushRecipe {
    fn default() -> Self {
        Self {
            recipe: "brush".into(),
            seed: 1,
            data: "scenes".into(),
            level: "one".into(),
            split: String::new(),
            caption_columns: Vec::new(),
            template: "a photo of a {class}".into(),
            flip: false,
            height: 32,
            width: 32,
            channels: 0,
            batch: 64,
            precision: "auto".into(),
            kimg: 0.0,
            minutes: 5.0,
            pretrain: 0.12,
            model: "small".into(),
            generator_width: 0,
            refine_width: 0,
            discriminator_width: 0,
            features: 256,
            noise: 32,
            sentence: 128,
            text_width: 128,
            text_layers: 2,
            vocabulary: 2048,
            max_tokens: 48,
            learning_rate: 2e-3,
            text_rate: 0.2,
            warmup: 100,
            last_rate: 0.1,
            gamma: 0.5,
            last_gamma: 0.1,
            penalty_every: 16,
            mismatched: 1.0,
            contrastive: 1.0,
            augment: false,
            ema_kimg: 20.0,
            ema_share: 0.05,
            sample_seconds: 30.0,
            checkpoint_seconds: 120.0,
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
            size: [self.height, self.width],
            channels,
            noise: self.noise,
            sentence: self.sentence,
            generator_width: or(self.generator_width, by_name[0]),
            refine_width: or(self.refine_width, by_name[1]),
            discriminator_width: or(self.discriminator_width, by_name[2]),
            features: self.features,
        }
    }

    /// Shape of the sentence encoder.
    pub fn text(&self) -> TextConfig {
        TextConfig {
            vocabulary: self.vocabulary,
            max_tokens: self.max_tokens,
            width: self.text_width,
            layers: self.text_layers,
            heads: 4,
            sentence: self.sentence,
        }
    }
}

/// Why a setting was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No such key.
    #[error("unknown setting '{key}'; did you mean '{nearest}'? (all: {all})")]
    Unknown {
        /// As typed.
        key: String,
        /// The known key with the fewest differences.
        nearest: String,
        /// Every known key.
        all: String,
    },
    /// The value has the wrong type or is out of range.
    #[error("setting '{key}': {message}")]
    Value {
        /// The key.
        key: String,
        /// What was expected.
        message: String,
    },
    /// The file is not TOML.
    #[error("{0}")]
    Syntax(String),
}

impl BrushRecipe {
    /// The recipe in a TOML text; absent keys keep their defaults.
    ///
    /// # Errors
    /// Syntax, an unknown key or a wrong value, named.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let table: toml::Table = toml::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
        let mut recipe = Self::default();
        for (key, value) in table {
            recipe.set(&key, value)?;
        }
        Ok(recipe)
    }

    /// The recipe as TOML, every key written out.
    pub fn to_toml(&self) -> String {
        // A flat struct of numbers, texts and lists of texts always has a TOML form.
        toml::to_string(self).unwrap_or_default()
    }

    /// Sets one key from a person's `key=value`; text needs no quotes.
    ///
    /// # Errors
    /// As [`BrushRecipe::set`]; or there is no `=`.
    pub fn set_text(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let Some((key, value)) = assignment.split_once('=') else {
            return Err(ConfigError::Syntax(format!("'{assignment}': expected key=value, as in --set batch=32")));
        };
        let (key, value) = (key.trim(), value.trim());
        let parsed =
            toml::from_str::<toml::Table>(&format!("value = {value}")).ok().and_then(|mut t| t.remove("value"));
        self.set(key, parsed.unwrap_or_else(|| toml::Value::String(value.to_string())))
    }

    /// Sets one key.
    ///
    /// # Errors
    /// The key is unknown (the nearest known one is named), or the value has another type.
    pub fn set(&mut self, key: &str, value: toml::Value) -> Result<(), ConfigError> {
        let wrong = |message: String| ConfigError::Value { key: key.to_string(), message };
        let mut table = toml::Table::try_from(&*self).map_err(|error| wrong(error.to_string()))?;
        let Some(old) = table.get(key) else {
            let nearest = table.keys().min_by_key(|known| distance(known, key)).cloned().unwrap_or_default();
            let all = table.keys().cloned().collect::<Vec<_>>().join(", ");
            return Err(ConfigError::Unknown { key: key.to_string(), nearest, all });
        };
        let value = match (old, value) {
            (toml::Value::Float(_), toml::Value::Integer(whole)) => toml::Value::Float(whole as f64),
            (toml::Value::Array(_), toml::Value::String(one)) => toml::Value::Array(vec![toml::Value::String(one)]),
            (_, value) => value,
        };
        table.insert(key.to_string(), value);
        let changed: Self = table.try_into().map_err(|error: toml::de::Error| wrong(error.message().to_string()))?;
        changed.check_ranges()?;
        *self = changed;
        Ok(())
    }

    fn check_ranges(&self) -> Result<(), ConfigError> {
        let ranges = [
            ("batch", self.batch as f64, 2.0, 4096.0),
            ("kimg", self.kimg, 0.0, 1e9),
            ("minutes", self.minutes, 0.0, 1e6),
            ("pretrain", self.pretrain, 0.0, 0.9),
            ("learning_rate", self.learning_rate, 0.0, 1.0),
            ("text_rate", self.text_rate, 0.0, 10.0),
            ("last_rate", self.last_rate, 0.0, 1.0),
            ("gamma", self.gamma, 1e-6, 1e6),
            ("last_gamma", self.last_gamma, 1e-6, 1e6),
            ("penalty_every", self.penalty_every as f64, 1.0, 1e6),
            ("mismatched", self.mismatched, 0.0, 1e3),
            ("contrastive", self.contrastive, 0.0, 1e3),
            ("ema_kimg", self.ema_kimg, 0.0, 1e6),
            ("ema_share", self.ema_share, 0.0, 1.0),
            ("sample_seconds", self.sample_seconds, 0.0, 1e9),
            ("checkpoint_seconds", self.checkpoint_seconds, 0.0, 1e9),
        ];
        for (key, value, low, high) in ranges {
            if !(low..=high).contains(&value) {
                return Err(ConfigError::Value {
                    key: key.into(),
                    message: format!("{value}: expected {low} to {high}"),
                });
            }
        }
        if !["auto", "f32", "bf16"].contains(&self.precision.as_str()) {
            let message = format!("'{}': expected auto, f32 or bf16", self.precision);
            return Err(ConfigError::Value { key: "precision".into(), message });
        }
        if SIZES.iter().all(|(name, _)| *name != self.model) {
            let message = format!("'{}': expected {}", self.model, SIZES.map(|(name, _)| name).join(", "));
            return Err(ConfigError::Value { key: "model".into(), message });
        }
        if self.recipe != "brush" {
            let message = format!("'{}': this program knows the recipe 'brush'", self.recipe);
            return Err(ConfigError::Value { key: "recipe".into(), message });
        }
        Ok(())
    }
}

/// Levenshtein distance, in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let best = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = best;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_survives_toml() {
        let mut recipe = BrushRecipe::default();
        for assignment in
            ["batch=32", "kimg=10", "level=two", "caption_columns=[\"text\", \"text_zh\"]", "template=ein {class}"]
        {
            recipe.set_text(assignment).unwrap();
        }
        assert_eq!((recipe.batch, recipe.kimg, recipe.level.as_str()), (32, 10.0, "two"));
        assert_eq!(BrushRecipe::from_toml(&recipe.to_toml()).unwrap(), recipe);
    }

    #[test]
    fn names_the_nearest_key() {
        let error = BrushRecipe::default().set_text("learnin_rate=1").unwrap_err().to_string();
        assert!(error.contains("did you mean 'learning_rate'"), "{error}");
        assert!(BrushRecipe::default().set_text("batch=many").unwrap_err().to_string().contains("'batch'"));
        assert!(BrushRecipe::default().set_text("batch=0").unwrap_err().to_string().contains("expected 2"));
        assert!(BrushRecipe::from_toml("batch = 8\nspeed = 3").is_err());
    }
}
