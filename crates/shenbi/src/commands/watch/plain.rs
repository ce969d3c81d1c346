//! A run in plain text or JSON, for where there is no terminal to draw on.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::curves::{Curve, span};
use super::run::{Run, clean};
use super::words;
use crate::failure::Failure;
use crate::output;

/// Columns of the lines where no terminal says otherwise.
const WIDTH: usize = 80;
/// Columns of a curve, at most.
const CURVE: usize = 60;
/// Of so many characters of a curve, the most extreme at either end may be cut.
const EXTREME: usize = 20;
/// A value from the lowest to the highest.
const BARS: [char; 8] = ['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'];

/// One frame: where the run stands, and a line for each of its curves.
pub fn print(run: &Run) -> Result<(), Failure> {
    let width = terminal_size::terminal_size_of(std::io::stdout()).map_or(WIDTH, |(width, _)| usize::from(width.0));
    for line in frame(run, width) {
        output::line(&line)?;
    }
    Ok(())
}

fn frame(run: &Run, width: usize) -> Vec<String> {
    let mut lines = vec![format!("{}  {}", clean(&run.path.display().to_string()), words::settings(&run.settings))];
    lines.push(words::standing(run).join("  "));
    lines.extend(words::trouble(run).filter(|trouble| *trouble != lines[1]));
    if let Some(sample) = run.samples.last() {
        lines.push(format!("sample  {}", clean(&sample.display().to_string())));
    }
    let curves: Vec<_> = run.curves.iter().map(|(name, curve)| (clean(name), curve)).collect();
    let Some(name) = curves.iter().map(|(name, _)| name.chars().count()).max() else { return lines };
    let name = name.max(6);
    lines.extend([String::new(), format!("{:name$} {:>10} {:>10} {:>10}", "figure", "latest", "lowest", "highest")]);
    for (called, curve) in curves {
        let values = [curve.latest.1, curve.range.0, curve.range.1].map(words::figure);
        let room = width.saturating_sub(name + 35).min(CURVE);
        let [latest, low, high] = values;
        lines
            .push(format!("{called:name$} {latest:>10} {low:>10} {high:>10}  {}", bars(curve, room)).trim_end().into());
    }
    lines
}

/// The curve in so many characters, each the mean of its part of the run; a blank is a part without values.
fn bars(curve: &Curve, columns: usize) -> String {
    let points = curve.points();
    let (Some(first), Some(last)) = (points.first(), points.last()) else { return String::new() };
    if columns == 0 {
        return String::new();
    }
    let mut sums = vec![(0.0, 0_u32); columns];
    for (x, y) in &points {
        let part = (x - first.0) / (last.0 - first.0).max(f64::MIN_POSITIVE) * columns as f64;
        let (sum, count) = &mut sums[(part as usize).min(columns - 1)];
        *sum += y;
        *count += 1;
    }
    let means: Vec<_> = sums.into_iter().map(|(sum, count)| (count > 0).then(|| sum / f64::from(count))).collect();
    let (low, high) = span(means.iter().flatten().copied().collect(), EXTREME);
    let bar = |mean: f64| {
        let height = (mean - low) / (high - low) * BARS.len() as f64;
        BARS[(height.max(0.0) as usize).min(BARS.len() - 1)]
    };
    means.into_iter().map(|mean| mean.map_or(' ', bar)).collect()
}

#[derive(Serialize)]
struct Report<'a> {
    run: &'a Path,
    recipe: Option<&'a str>,
    data: Option<&'a str>,
    size: Option<[u64; 2]>,
    state: &'static str,
    phase: Option<&'a str>,
    step: Option<u64>,
    images: Option<u64>,
    seconds: Option<f64>,
    images_per_second: Option<f64>,
    progress: Option<f64>,
    seconds_left: Option<f64>,
    bad_lines: u64,
    sample: Option<&'a Path>,
    series: BTreeMap<&'a str, Series>,
}

#[derive(Serialize)]
struct Series {
    latest: f64,
    /// Pictures seen when it was measured.
    at: f64,
    lowest: f64,
    highest: f64,
}

/// The latest figures as one JSON object.
pub fn json(run: &Run) -> Result<(), Failure> {
    let (settings, facts) = (&run.settings, &run.facts);
    let series = run.curves.iter().map(|(name, curve)| {
        let Curve { latest: (at, latest), range: (lowest, highest), .. } = *curve;
        (name, Series { latest, at, lowest, highest })
    });
    output::json(&Report {
        run: &run.path,
        recipe: settings.recipe.as_deref(),
        data: settings.data.as_deref(),
        size: settings.size,
        state: run.state().name(),
        phase: facts.phase.as_deref(),
        step: facts.step.map(|step| step as u64),
        images: facts.images.map(|images| images as u64),
        seconds: facts.seconds,
        images_per_second: facts.images_per_second,
        progress: run.progress(),
        seconds_left: run.seconds_left(),
        bad_lines: run.bad_lines,
        sample: run.samples.last().map(PathBuf::as_path),
        series: series.collect(),
    })
}
