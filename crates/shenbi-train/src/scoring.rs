//! Scores of the model while it trains, and the best one so far.
//!
//! What a score is, the caller knows: this crate only asks for it every so many pictures, writes it to the log and to
//! TensorBoard, and keeps the model with the lowest one as `best.safetensors` in the run folder, with `best.json` beside it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shenbi_models::model::Model;

use crate::atomic::write_atomic;
use crate::error::{Result, RunError};
use crate::run_folder::RunFolder;
use crate::session::{Event, TrainError};

/// The model with the lowest score.
pub const BEST: &str = "best.safetensors";
const BEST_JSON: &str = "best.json";

/// How a model is scored.
pub struct Scoring {
    /// Pictures of training between two scores.
    pub every: u64,
    /// The score's name in the log; lower is better.
    pub name: String,
    /// Under which the numbers compare: a best one of another is forgotten.
    pub protocol: String,
    /// The score itself.
    pub score: Score,
}

/// Gives a model's score, or says why there is none.
pub type Score = Box<dyn FnMut(&Model) -> std::result::Result<f64, String>>;

/// The lowest score so far, as `best.json` has it.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Best {
    /// The score's name.
    pub name: String,
    /// What measured it.
    pub protocol: String,
    /// The number.
    pub value: f64,
    /// Steps of training.
    pub step: u64,
    /// Pictures of training.
    pub images: u64,
}

/// A line of the log.
#[derive(Serialize)]
struct Line<'a> {
    step: u64,
    images: u64,
    seconds: f64,
    #[serde(flatten)]
    score: BTreeMap<&'a str, f64>,
}

impl Scoring {
    /// Whether a step that ends after `images` pictures, `batch` of them its own, is one to score after.
    pub(crate) fn is_due(&self, images: u64, batch: u64) -> bool {
        let every = self.every.max(1);
        images / every > images.saturating_sub(batch) / every
    }

    /// Scores `model`, which has seen `step` steps and `images` pictures, and keeps it where it is the best so far.
    pub(crate) fn ask(
        &mut self,
        folder: &mut RunFolder,
        model: &Model,
        [step, images]: [u64; 2],
        seconds: f64,
        on_event: &mut dyn FnMut(Event<'_>),
    ) -> std::result::Result<(), TrainError> {
        let found = (self.score)(model)
            .and_then(|value| if value.is_finite() { Ok(value) } else { Err(format!("it is {value}")) });
        let value = match found {
            Ok(value) => value,
            Err(error) => {
                on_event(Event::Warning(format!("no {}: {error}", self.name)));
                return Ok(());
            }
        };
        folder.scalar(&format!("score/{}", self.name), step, value as f32)?;
        let score = BTreeMap::from([(self.name.as_str(), value)]);
        folder.log(&Line { step, images, seconds: (seconds * 1000.0).round() / 1000.0, score })?;
        let (name, protocol) = (self.name.clone(), self.protocol.clone());
        let best = match keep_best(folder.path(), Best { name, protocol, value, step, images }, model)? {
            Kept::New(path) => Some(path),
            Kept::Earlier(_) => None,
        };
        on_event(Event::Score { name: &self.name, value, best });
        Ok(())
    }
}

/// Which model the run folder holds as the best.
pub(crate) enum Kept {
    /// The one that was just scored, here.
    New(PathBuf),
    /// One of before, which scored so.
    Earlier(Best),
}

/// Keeps `model`, which scored `new`, unless the run folder holds one that is as good.
pub(crate) fn keep_best(run: &Path, new: Best, model: &Model) -> std::result::Result<Kept, TrainError> {
    match best(run, &new.protocol, new.step) {
        Some(best) if best.value <= new.value => Ok(Kept::Earlier(best)),
        _ => {
            let bytes = model.to_bytes(true).map_err(|error| TrainError::Defect(error.to_string()))?;
            Ok(Kept::New(keep(run, &new, &bytes)?))
        }
    }
}

/// The best score that the run folder holds, if it is of this protocol and not later than `step`.
fn best(run: &Path, protocol: &str, step: u64) -> Option<Best> {
    let best: Best = serde_json::from_slice(&std::fs::read(run.join(BEST_JSON)).ok()?).ok()?;
    (best.protocol == protocol && best.step <= step).then_some(best)
}

/// Keeps `model` (the bytes of its file) as the best one.
fn keep(run: &Path, best: &Best, model: &[u8]) -> Result<PathBuf> {
    let path = run.join(BEST_JSON);
    let json = serde_json::to_vec(best).map_err(|error| RunError::encode(&path, &error))?;
    write_atomic(&run.join(BEST), model)?;
    write_atomic(&path, &json)?;
    Ok(run.join(BEST))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_so_many_pictures() {
        let score = Box::new(|_: &Model| Ok(0.0));
        let scoring = Scoring { every: 100, name: "s".into(), protocol: "p".into(), score };
        let due: Vec<u64> = (1..=50).map(|step| step * 8).filter(|images| scoring.is_due(*images, 8)).collect();
        assert_eq!(due, [104, 200, 304, 400]);
    }

    #[test]
    fn the_best_of_another_protocol_is_forgotten() {
        let folder = tempfile::tempdir().unwrap();
        let best = Best { name: "s".into(), protocol: "p".into(), value: 2.5, step: 7, images: 56 };
        keep(folder.path(), &best, b"model").unwrap();
        assert_eq!(std::fs::read(folder.path().join(BEST)).unwrap(), b"model");
        let found = |protocol, step| super::best(folder.path(), protocol, step);
        assert_eq!(found("p", 7), Some(best));
        assert_eq!(found("q", 7), None);
        assert_eq!(found("p", 6), None);
    }
}
