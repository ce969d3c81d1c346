//! How far a run is, by pictures or by the clock.

use std::time::Instant;

use crate::config::Recipe;
use crate::trainer::{Phase, Steps};

/// How long a run is, in steps or in seconds.
#[derive(Debug)]
pub(crate) struct Budget {
    /// Total steps, if pictures are counted.
    steps: Option<u64>,
    seconds: f64,
    batch: u64,
    pretrain: f64,
}

impl Budget {
    pub(crate) fn new(recipe: &Recipe) -> Self {
        let run = recipe.run();
        let steps = (run.kimg > 0.0).then(|| (run.kimg * 1000.0 / run.batch as f64).ceil() as u64);
        let pretrain = match recipe {
            Recipe::Text(recipe) => recipe.likelihood_share(),
            _ => recipe.sentences().map_or(0.0, |sentences| sentences.pretrain),
        };
        Self { steps, seconds: run.minutes * 60.0, batch: run.batch as u64, pretrain }
    }

    /// Share of the whole run, 0 to 1.
    pub(crate) fn progress(&self, done: Steps, seconds: f64) -> f64 {
        match self.steps {
            Some(steps) => done.all() as f64 / steps as f64,
            None => seconds / self.seconds,
        }
    }

    /// The phase of the next step, and the share of that phase that is over.
    pub(crate) fn phase(&self, done: Steps, progress: f64) -> (Phase, f64) {
        let after = |start: f64| ((progress - start) / (1.0 - start)).clamp(0.0, 1.0);
        match self.steps {
            // A run that was given more pictures after its contrastive phase does not go back to it.
            Some(steps) if done.gan == 0 => {
                let contrast = (self.pretrain * steps as f64).round() as u64;
                if done.contrast < contrast {
                    (Phase::Contrast, done.contrast as f64 / contrast as f64)
                } else {
                    (Phase::Gan, 0.0)
                }
            }
            Some(steps) => (Phase::Gan, after(done.contrast as f64 / steps as f64)),
            None if done.gan == 0 && progress < self.pretrain => (Phase::Contrast, progress / self.pretrain),
            None => (Phase::Gan, after(self.pretrain)),
        }
    }

    pub(crate) fn seconds_left(&self, images: u64, seconds: f64, speed: f64) -> f64 {
        match self.steps {
            Some(steps) => (steps * self.batch).saturating_sub(images) as f64 / speed, // infinite while unknown
            None => (self.seconds - seconds).max(0.0),
        }
    }
}

/// Seconds of training. The first step is not counted: on a GPU it compiles.
#[derive(Debug)]
pub(crate) struct Clock {
    earlier: f64,
    since: Option<Instant>,
}

impl Clock {
    pub(crate) fn new(earlier: f64) -> Self {
        Self { earlier, since: None }
    }

    pub(crate) fn step(&mut self) {
        self.since.get_or_insert_with(Instant::now);
    }

    /// Takes out time that was not spent on training.
    pub(crate) fn without(&mut self, seconds: f64) {
        self.earlier -= seconds;
    }

    pub(crate) fn seconds(&self) -> f64 {
        self.earlier + self.since.map_or(0.0, |since| since.elapsed().as_secs_f64())
    }
}
