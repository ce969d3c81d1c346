//! The end of a run: six prompts painted, and what to do next.

use std::path::{Path, PathBuf};

use serde::Serialize;
use shenbi_data::{decode, sheet};
use shenbi_models::model::Model;
use shenbi_train::session::Outcome;

use crate::commands::generate::paint_all;
use crate::failure::Failure;
use crate::output::{self, quoted};
use crate::progress::duration;

/// The labelled picture in the run folder.
const PAINTED: &str = "painted.png";

#[derive(Serialize)]
struct Report<'a> {
    run: &'a Path,
    checkpoint: Option<&'a Path>,
    painted: Option<PathBuf>,
    prompts: Vec<String>,
    images: u64,
    steps: u64,
    seconds: f64,
    stopped: bool,
}

/// Paints, and tells on standard output what was made and on standard error what to try next.
pub fn report(
    outcome: &Outcome,
    painted_prompts: impl FnOnce() -> Result<Vec<String>, Failure>,
    json: bool,
) -> Result<(), Failure> {
    let run = quoted(&outcome.run.display().to_string());
    let kimg = outcome.images as f64 / 1000.0;
    let time = duration(outcome.seconds);
    let (mut painted, mut prompts) = (None, Vec::new());
    if outcome.stopped {
        output::note(&format!("stopped after {time} and {kimg:.1} kimg; resume with: shenbi train --resume {run}"));
    } else {
        let shown = match &outcome.model {
            Model::Painter(painter) => {
                prompts = painted_prompts()?;
                let path = outcome.run.join(PAINTED);
                decode::write_png(&path, &sheet::labelled(&paint_all(painter, &prompts)?, 3))?;
                painted = Some(path.clone());
                Some(path)
            }
            Model::Image(_) | Model::Text(_) => outcome.last_sample.clone(),
        };
        output::note(&format!("trained     {time}, {kimg:.1} kimg"));
        if let Some(shown) = shown.filter(|_| !json) {
            output::line(&shown.display().to_string())?;
        }
        let what = match &outcome.model {
            Model::Painter(_) => format!(" {}", quoted(prompts.first().map_or("...", String::as_str))),
            Model::Image(model) => {
                model.config.classes.first().map_or_else(String::new, |class| format!(" --class {}", quoted(class)))
            }
            Model::Text(_) => String::new(),
        };
        output::note(&format!(
            "next:\n  shenbi generate{what} -n 8 --model {run}\n  shenbi train --resume {run} --minutes {}",
            ((outcome.seconds / 60.0 * 3.0).ceil() as u64).max(10),
        ));
    }
    if json {
        return output::json(&Report {
            run: &outcome.run,
            checkpoint: outcome.checkpoint.as_deref(),
            painted,
            prompts,
            images: outcome.images,
            steps: outcome.steps,
            seconds: outcome.seconds,
            stopped: outcome.stopped,
        });
    }
    Ok(())
}
