//! What a run measures of itself: averages for the log, and the signs that it is lost.

use std::collections::VecDeque;
use std::path::PathBuf;

use serde::Serialize;
use shenbi_nn::weights::Named;

use crate::error::Result;
use crate::run_folder::RunFolder;
use crate::session::TrainError;
use crate::trainer::{Losses, Phase};

/// A loss beyond this is no loss any more...
const HUGE: f32 = 1e4;
/// ...if it stays so for so many steps.
const PATIENCE: u32 = 50;
/// Speed is measured over so many seconds.
const WINDOW: f64 = 10.0;

/// Averages of the losses since the last line of the log, and the speed.
#[derive(Debug)]
pub(crate) struct Meter {
    sums: Vec<(&'static str, f64, u32)>,
    /// Seconds and pictures of the last steps.
    recent: VecDeque<(f64, usize)>,
    speed: f64,
    /// Seconds spent waiting for the loader, and the time of the last line.
    waited: f64,
    written: f64,
}

#[derive(Serialize)]
struct Line<'a> {
    step: u64,
    phase: &'a str,
    images: u64,
    seconds: f64,
    images_per_second: f64,
    /// Share of the time spent waiting for data.
    loader_share: f64,
    #[serde(flatten)]
    losses: Losses,
}

impl Meter {
    /// start: seconds of training that earlier parts of the run took.
    pub(crate) fn new(start: f64) -> Self {
        Self { sums: Vec::new(), recent: VecDeque::new(), speed: 0.0, waited: 0.0, written: start }
    }

    /// Takes in a step that ended at `now` seconds; returns the speed in pictures a second.
    pub(crate) fn add(&mut self, losses: &Losses, batch: usize, now: f64) -> f64 {
        for (name, value) in losses.iter() {
            match self.sums.iter_mut().find(|(known, ..)| *known == name) {
                Some((_, sum, count)) => (*sum, *count) = (*sum + f64::from(value), *count + 1),
                None => self.sums.push((name, f64::from(value), 1)),
            }
        }
        self.recent.push_back((now, batch));
        while self.recent.len() > 2 && self.recent.front().is_some_and(|(time, _)| now - time > WINDOW) {
            self.recent.pop_front();
        }
        let start = self.recent.front().map_or(now, |(time, _)| *time);
        if now > start {
            let images: usize = self.recent.iter().skip(1).map(|(_, images)| images).sum();
            self.speed = images as f64 / (now - start);
        }
        self.speed
    }

    /// Waited so many seconds for a batch.
    pub(crate) fn waited(&mut self, seconds: f64) {
        self.waited += seconds;
    }

    /// Writes the averages to the log and to TensorBoard, and starts anew.
    pub(crate) fn write(
        &mut self,
        folder: &mut RunFolder,
        phase: Phase,
        step: u64,
        images: u64,
        seconds: f64,
    ) -> Result<()> {
        let means = std::mem::take(&mut self.sums).into_iter();
        let losses: Losses = means.map(|(name, sum, count)| (name, (sum / f64::from(count)) as f32)).collect();
        for (name, value) in losses.iter() {
            folder.scalar(&format!("loss/{name}"), step, value)?;
        }
        folder.scalar("speed/images_per_second", step, self.speed as f32)?;
        let round = |value: f64| (value * 1000.0).round() / 1000.0;
        let waited = std::mem::take(&mut self.waited);
        let loader_share =
            round(waited / (seconds - std::mem::replace(&mut self.written, seconds)).max(waited).max(1e-9));
        let (seconds, images_per_second) = (round(seconds), round(self.speed));
        let phase = phase.name();
        folder.log(&Line { step, phase, images, seconds, images_per_second, loader_share, losses })
    }
}

/// Stops a run that is lost, and knows the checkpoint to go back to.
#[derive(Debug)]
pub(crate) struct Watch {
    good: Option<PathBuf>,
    /// The one before it.
    earlier: Option<PathBuf>,
    huge: u32,
}

impl Watch {
    /// good: the checkpoint that the run continues from.
    pub(crate) fn new(good: Option<PathBuf>) -> Self {
        Self { good, earlier: None, huge: 0 }
    }

    /// A checkpoint was written.
    pub(crate) fn saved(&mut self, path: PathBuf) {
        self.earlier = self.good.replace(path);
    }

    /// The newest checkpoint.
    pub(crate) fn good(&self) -> Option<&PathBuf> {
        self.good.as_ref()
    }

    /// Where to go back to when a run goes wrong slowly: the newest checkpoint may hold the trouble already.
    pub(crate) fn earlier(&mut self) -> Option<PathBuf> {
        self.good = self.earlier.take().or(self.good.take());
        self.good.clone()
    }

    /// Looks at the losses of a step.
    pub(crate) fn check(&mut self, step: u64, losses: &Losses) -> std::result::Result<(), TrainError> {
        if let Some((name, value)) = losses.iter().find(|(_, value)| !value.is_finite()) {
            return Err(self.diverged(step, format!("the loss '{name}' is {value}")));
        }
        let huge = ["d", "g", "contrast", "contrast_fake"].into_iter().filter_map(|name| losses.get(name));
        let largest = huge.map(f32::abs).fold(0.0, f32::max);
        self.huge = if largest > HUGE { self.huge + 1 } else { 0 };
        if self.huge >= PATIENCE {
            let reason = format!("a loss was above {HUGE:.0} for {PATIENCE} steps, now {largest:.3e}");
            return Err(self.diverged(step, reason));
        }
        Ok(())
    }

    /// Looks at the weights, before they become a checkpoint.
    pub(crate) fn check_weights(&self, step: u64, named: &Named) -> std::result::Result<(), TrainError> {
        match named.iter().find(|(_, values)| values.data.iter().any(|value| !value.is_finite())) {
            Some((name, _)) => Err(self.diverged(step, format!("'{name}' holds values that are no numbers"))),
            None => Ok(()),
        }
    }

    fn diverged(&self, step: u64, reason: String) -> TrainError {
        let good = match &self.good {
            Some(path) => format!("The last good checkpoint is {}", path.display()),
            None => "No checkpoint had been written".to_string(),
        };
        TrainError::Diverged { step, reason, good }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_meter_averages_and_times() {
        let mut meter = Meter::new(0.0);
        let step = |d| Losses::from_iter([("d", d)]);
        meter.add(&step(1.0), 8, 0.0);
        meter.add(&step(3.0), 8, 1.0);
        assert!((meter.add(&Losses::default(), 8, 2.0) - 8.0).abs() < 1e-9);
        assert_eq!(meter.sums, [("d", 4.0, 2)]);
    }

    #[test]
    fn a_lost_run_is_told() {
        let mut watch = Watch::new(Some("runs/1/checkpoints/00000007".into()));
        let step = |d| Losses::from_iter([("d", d)]);
        watch.check(1, &step(0.5)).unwrap();
        let error = watch.check(2, &step(f32::NAN)).unwrap_err().to_string();
        assert!(error.contains("'d' is NaN") && error.contains("00000007"), "{error}");
        for _ in 0..PATIENCE - 1 {
            watch.check(3, &step(-1e5)).unwrap();
        }
        watch.check(3, &step(0.0)).unwrap();
        for _ in 0..PATIENCE - 1 {
            watch.check(4, &step(1e5)).unwrap();
        }
        let error = watch.check(5, &step(1e5)).unwrap_err().to_string();
        assert!(error.contains("for 50 steps"), "{error}");
    }
}
