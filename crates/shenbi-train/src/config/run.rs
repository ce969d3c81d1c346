//! The settings that every recipe has: what to train on, how long, and what to leave on disk.

use serde::{Deserialize, Serialize};

use super::{ConfigError, check_ranges, one_of};

/// Settings of a run, whatever it trains.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct RunSettings {
    /// Which recipe the other keys belong to.
    pub recipe: String,
    /// Feeds every random stream: weights, data order, noise, captions, augmentation.
    pub seed: u64,
    /// `scenes`, or a folder or zip of pictures.
    pub data: String,
    /// Scenes only: `one`, `two`, `many` or `mixed`.
    pub level: String,
    /// Folders only: rows of the metadata whose `split` column says this; empty for all.
    pub split: String,
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
    /// The average of G forgets half of what it knew after this many thousand pictures...
    pub ema_kimg: f64,
    /// ...or this share of the pictures seen, whichever is less.
    pub ema_share: f64,
    /// When training goes wrong (see [`crate::guard`]): `warn`, `rollback` to a checkpoint with calmer settings, or `off`.
    pub guard: String,
    /// Seconds between sample pictures.
    pub sample_seconds: f64,
    /// Seconds between checkpoints.
    pub checkpoint_seconds: f64,
}

impl Default for RunSettings {
    fn default() -> Self {
        Self {
            recipe: "brush".into(),
            seed: 1,
            data: "scenes".into(),
            level: "one".into(),
            split: String::new(),
            flip: false,
            height: 32,
            width: 32,
            channels: 0,
            batch: 64,
            precision: "auto".into(),
            kimg: 0.0,
            minutes: 5.0,
            ema_kimg: 20.0,
            ema_share: 0.05,
            guard: "warn".into(),
            sample_seconds: 30.0,
            checkpoint_seconds: 120.0,
        }
    }
}

impl RunSettings {
    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_ranges(&[
            ("batch", self.batch as f64, 2.0, 4096.0),
            ("kimg", self.kimg, 0.0, 1e9),
            ("minutes", self.minutes, 0.0, 1e6),
            ("ema_kimg", self.ema_kimg, 0.0, 1e6),
            ("ema_share", self.ema_share, 0.0, 1.0),
            ("sample_seconds", self.sample_seconds, 0.0, 1e9),
            ("checkpoint_seconds", self.checkpoint_seconds, 0.0, 1e9),
        ])?;
        one_of("guard", &self.guard, &["warn", "rollback", "off"])?;
        one_of("precision", &self.precision, &["auto", "f32", "bf16"])
    }

    /// Half-life of G's average in pictures, when `seen` of them have been.
    pub(crate) fn half_life(&self, seen: f64) -> f64 {
        (self.ema_kimg * 1000.0).min(self.ema_share * seen)
    }
}
