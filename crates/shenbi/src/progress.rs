//! How far a training run is: a bar on a terminal, a line now and then elsewhere.

use std::io::{IsTerminal, Write};
use std::time::{Duration, Instant};

use shenbi_train::session::Event;
use shenbi_train::trainer::{Losses, Phase};

use crate::output;

/// Between two drawings of the bar.
const REDRAW: Duration = Duration::from_millis(100);
/// Between two lines where there is no terminal.
const LINE: Duration = Duration::from_secs(10);
/// Characters of the bar, at most.
const BAR: usize = 24;

/// Shows events of a session on standard error.
pub struct Progress {
    terminal: bool,
    shown: Option<Instant>,
    drawn: bool,
    smooth: Losses,
    stepped: bool,
    texts: bool,
}

impl Progress {
    /// Shows nothing yet.
    pub fn new() -> Self {
        let terminal = std::io::stderr().is_terminal();
        Self { terminal, shown: None, drawn: false, smooth: Losses::default(), stepped: false, texts: false }
    }

    /// The same for a run on texts.
    pub fn of_texts() -> Self {
        let mut progress = Self::new();
        progress.texts = true;
        progress
    }

    /// Whether the session has taken a step.
    pub fn stepped(&self) -> bool {
        self.stepped
    }

    /// Shows an event.
    pub fn show(&mut self, event: Event<'_>) {
        match event {
            Event::Step { phase, images, progress, images_per_second, seconds_left, losses } => {
                self.stepped = true;
                self.smooth = smooth(&self.smooth, losses);
                let wait = if self.terminal { REDRAW } else { LINE };
                if self.shown.is_some_and(|shown| shown.elapsed() < wait) {
                    return;
                }
                self.shown = Some(Instant::now());
                let progress = progress.clamp(0.0, 1.0);
                let unit = if self.texts { "texts" } else { "img" };
                let time = format!("{images_per_second:.0} {unit}/s  {} left", duration(seconds_left));
                let losses = describe(&self.smooth, phase);
                let name = if self.texts && phase == Phase::Contrast { "nll" } else { phase.name() };
                let percent = progress * 100.0;
                if self.terminal {
                    let figures = format!("{percent:>3.0}%  {time}  {losses}");
                    self.draw(name, progress, &figures);
                } else {
                    let seen = if self.texts { format!("{images} texts") } else { kilo(images) };
                    output::note(&format!("{name:<8} {percent:>3.0}%  {seen}  {time}  {losses}"));
                }
            }
            Event::Started { network, fitted, from } => {
                let (copied, all) = (fitted.copied, fitted.all);
                self.note(&format!("{network:<11} {copied} of {all} tensors from {}", from.display()));
            }
            Event::Score { name, value, best } => {
                let best = best.map_or_else(String::new, |path| format!("  the best so far: {}", path.display()));
                self.note(&format!("score       {name} {value:.4}{best}"));
            }
            Event::Sample(path) => self.note(&format!("sample      {}", path.display())),
            Event::Checkpoint(path) => self.note(&format!("checkpoint  {}", path.display())),
            Event::Trouble { trouble, value, step } => {
                self.note(&format!("warning: at step {step} {}", trouble.message(value)));
            }
            Event::RolledBack { to, change } => {
                let to = to.map_or_else(|| "its start".to_string(), |to| to.display().to_string());
                self.note(&format!("rolled back to {to}: {change}"));
            }
            Event::Warning(message) => self.note(&format!("warning: {message}")),
        }
    }

    /// Clears the bar away.
    pub fn finish(&mut self) {
        if std::mem::take(&mut self.drawn) {
            let _ = write!(std::io::stderr().lock(), "\r\x1b[K");
        }
    }

    fn note(&mut self, text: &str) {
        self.finish();
        output::note(text);
    }

    fn draw(&mut self, name: &str, progress: f64, figures: &str) {
        let width = terminal_size::terminal_size_of(std::io::stderr()).map_or(80, |(width, _)| usize::from(width.0));
        // The bar takes the room that the figures leave.
        let bar = bar(progress, width.saturating_sub(figures.len() + 14).min(BAR));
        let text: String = format!("{name:<8} {bar} {figures}").chars().take(width.saturating_sub(1)).collect();
        let mut out = std::io::stderr().lock();
        let _ = write!(out, "\r\x1b[K{text}");
        let _ = out.flush();
        self.drawn = true;
    }
}

impl Drop for Progress {
    fn drop(&mut self) {
        self.finish();
    }
}

fn bar(progress: f64, length: usize) -> String {
    let full = ((progress * length as f64) as usize).min(length);
    format!("[{}{}]", "=".repeat(full), " ".repeat(length - full))
}

/// A bar for work that counts up to a total; nothing where there is no terminal.
pub struct Bar {
    what: String,
    total: u64,
}

impl Bar {
    /// `total` of `what` are to be done.
    pub fn new(what: &str, total: u64) -> Self {
        Self { what: what.to_string(), total }
    }

    /// `done` are done; with the last the bar is cleared away.
    pub fn at(&self, done: u64) {
        if !std::io::stderr().is_terminal() {
            return;
        }
        let mut err = std::io::stderr().lock();
        let _ = if done >= self.total {
            write!(err, "\r\x1b[K")
        } else {
            let share = done as f64 / self.total.max(1) as f64;
            write!(err, "\r\x1b[K{} {} {done} of {}", self.what, bar(share, BAR), self.total)
        };
        let _ = err.flush();
    }
}

/// The average of about the last twenty steps.
fn smooth(old: &Losses, new: &Losses) -> Losses {
    let mix = |(name, new): (&'static str, f32)| (name, old.get(name).map_or(new, |old| old + (new - old) * 0.05));
    // What this step did not compute stays as it was.
    let kept = old.iter().filter(|(name, _)| new.get(name).is_none());
    new.iter().map(mix).chain(kept).collect()
}

/// The losses that tell most; match: pictures whose caption is found among the batch's.
fn describe(losses: &Losses, phase: Phase) -> String {
    let figure = |shown: &str, name: &str| losses.get(name).map(|value| format!("{shown} {value:.3}"));
    let found = losses.get("accuracy").map(|share| format!("match {:.0}%", share * 100.0));
    let figures = match phase {
        Phase::Contrast => vec![figure("contrast", "contrast"), figure("NLL", "nll"), found],
        Phase::Gan => vec![
            figure("D", "d"),
            figure("G", "g"),
            figure("real", "real"),
            figure("fake", "fake"),
            figure("reward", "reward"),
            found,
        ],
    };
    figures.into_iter().flatten().collect::<Vec<_>>().join("  ")
}

/// Thousands of pictures.
fn kilo(images: u64) -> String {
    format!("{:.1} kimg", images as f64 / 1000.0)
}

/// `4:05`, `1:02:03`; `-:--` while unknown.
pub fn duration(seconds: f64) -> String {
    if !seconds.is_finite() {
        return "-:--".to_string();
    }
    let seconds = seconds.clamp(0.0, 1e9).round() as u64;
    let (h, m, s) = (seconds / 3600, seconds / 60 % 60, seconds % 60);
    if h > 0 { format!("{h}:{m:02}:{s:02}") } else { format!("{m}:{s:02}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        assert_eq!(duration(0.4), "0:00");
        assert_eq!(duration(245.0), "4:05");
        assert_eq!(duration(3723.0), "1:02:03");
        assert_eq!(duration(f64::INFINITY), "-:--");
    }

    #[test]
    fn the_bar_fills() {
        assert_eq!(bar(0.0, 4), "[    ]");
        assert_eq!(bar(0.5, 4), "[==  ]");
        assert_eq!(bar(1.0, 4), "[====]");
        assert_eq!(bar(0.7, 0), "[]");
    }
}
