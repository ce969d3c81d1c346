//! A training run from its first step to its last: the loop, its budget, and what it leaves in the run folder.
//!
//! With a budget in pictures (`kimg`) every step depends on the count of steps alone, never on the clock: a run that is
//! stopped and resumed ends with the same weights, to the bit. With a budget in minutes the learning rate follows the
//! time spent, so that the run ends when it was told to, on any machine.

mod start;

pub(crate) use start::steps_of;
pub use start::{spread_captions, train_tokenizer, untrained};

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use shenbi_data::Source;
use shenbi_data::loader::{Loader, LoaderOptions};
use shenbi_models::encoder::sentence::Reader;
use shenbi_models::model::Model;
use shenbi_models::text_to_image::painter::Painter;
use shenbi_nn::weights::Fitted;

use crate::atomic::write_atomic;
use crate::budget::{Budget, Clock};
use crate::checkpoint::{self, Checkpoint, FORMAT, TrainState};
use crate::config::{Recipe, RunSettings};
use crate::embeddings::EmbeddingsError;
use crate::error::RunError;
use crate::guard::{Guard, Trouble};
use crate::run_folder::RunFolder;
use crate::samples::Samples;
use crate::scoring::Scoring;
use crate::trainer::{Devices, Losses, Phase, Trainer};
use crate::watch::{Meter, Watch};

/// Seconds between lines of the log.
pub(crate) const LOG_SECONDS: f64 = 1.0;
/// The table of a sentence encoder's tokens.
const TOKENS: &str = "text.tokens.weight";
/// A run is taken back so many times at most.
const ROLLBACKS: u32 = 4;

/// What a session does, for whoever watches.
#[derive(Debug)]
pub enum Event<'a> {
    /// A step was taken.
    Step {
        /// The phase it belongs to.
        phase: Phase,
        /// Pictures seen so far, both phases together.
        images: u64,
        /// Share of the whole run that is over, 0 to 1.
        progress: f64,
        /// Speed over the last seconds.
        images_per_second: f64,
        /// Until the budget is spent, at this speed.
        seconds_left: f64,
        /// What it measured.
        losses: &'a Losses,
    },
    /// A network took over what fits of another run's.
    Started {
        /// Which network.
        network: &'static str,
        /// How much of it.
        fitted: Fitted,
        /// Where from.
        from: &'a Path,
    },
    /// The model was scored.
    Score {
        /// The score's name.
        name: &'a str,
        /// The number.
        value: f64,
        /// Where the model is kept, if it is the best so far.
        best: Option<PathBuf>,
    },
    /// A grid of samples was written.
    Sample(PathBuf),
    /// A checkpoint was written.
    Checkpoint(PathBuf),
    /// The guard sees the run go wrong.
    Trouble {
        /// In what way.
        trouble: Trouble,
        /// The figure that shows it.
        value: f64,
        /// The step.
        step: u64,
    },
    /// The run went back, and goes on with other settings.
    RolledBack {
        /// To this checkpoint; to its start where there was none.
        to: Option<&'a Path>,
        /// What was changed.
        change: String,
    },
    /// Something a person should know, that does not stop the run.
    Warning(String),
}

/// How a session ended.
#[derive(Debug)]
pub struct Outcome {
    /// The model as it stands.
    pub model: Model,
    /// Pictures seen, earlier parts of the run included.
    pub images: u64,
    /// Steps taken, earlier parts of the run included.
    pub steps: u64,
    /// Seconds of training, earlier parts of the run included.
    pub seconds: f64,
    /// It was asked to stop before its budget was spent.
    pub stopped: bool,
    /// The run folder.
    pub run: PathBuf,
    /// The newest sample grid of this session.
    pub last_sample: Option<PathBuf>,
    /// The checkpoint that holds the model.
    pub checkpoint: Option<PathBuf>,
}

/// Why a session ended before its time.
#[derive(Debug, thiserror::Error)]
pub enum TrainError {
    /// Settings that make no run.
    #[error("{0}")]
    Setting(String),
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] shenbi_data::DataError),
    /// The run folder cannot be written or read.
    #[error(transparent)]
    Run(#[from] RunError),
    /// A checkpoint does not fit the run's settings.
    #[error("the checkpoint does not fit the settings in {}: {message}; restore the settings it was trained with, or start a new run", path.display())]
    Mismatch {
        /// The run's settings.
        path: PathBuf,
        /// What does not fit.
        message: String,
    },
    /// The losses are no numbers any more, or huge.
    #[error("training diverged at step {step}: {reason}. {good}; lower learning_rate or raise gamma, and train again")]
    Diverged {
        /// The step that showed it.
        step: u64,
        /// What was seen.
        reason: String,
        /// The last good checkpoint, in words.
        good: String,
    },
    /// Text could not be encoded, or samples not be painted.
    #[error("{0}; this is a defect of the program, please report it")]
    Defect(String),
}

impl From<EmbeddingsError> for TrainError {
    fn from(error: EmbeddingsError) -> Self {
        match error {
            EmbeddingsError::Data(error) => Self::Data(error),
            EmbeddingsError::Text(error) => Self::Defect(error.to_string()),
            EmbeddingsError::Keep(error) => Self::Run(error),
        }
    }
}

/// All that a session is given.
pub struct Plan {
    /// The settings, complete.
    pub recipe: Recipe,
    /// The pictures, and their captions or classes.
    pub source: Arc<dyn Source>,
    /// Text to image: what the sample grids show.
    pub prompts: Vec<String>,
    /// Where the run is written.
    pub folder: RunFolder,
    /// Where it continues, and that checkpoint's folder: what [`RunFolder::latest_checkpoint`] found.
    pub resume: Option<(PathBuf, Checkpoint)>,
    /// A new run: a checkpoint whose networks to start from, as far as they fit, and where it is.
    pub init_from: Option<(PathBuf, Checkpoint)>,
    /// Where the networks live.
    pub devices: Devices,
    /// Threads that prepare batches; 0: as many as there are cores, at most 4.
    pub loader_threads: usize,
    /// Scores of the model now and then. Their time is no time of training, and they change nothing in it.
    pub scoring: Option<Scoring>,
}

/// Trains until the budget is spent or `stop` is set; the step in hand is always finished.
///
/// # Errors
/// See [`TrainError`]. Whatever it is, the run folder's checkpoints are good.
pub fn run(plan: Plan, stop: &AtomicBool, on_event: &mut dyn FnMut(Event<'_>)) -> Result<Outcome, TrainError> {
    let Plan { mut recipe, source, prompts, mut folder, resume, init_from, devices, loader_threads, mut scoring } =
        plan;
    let run = recipe.run().clone();
    let run = &run;
    check(run, source.as_ref())?;
    let (resumed_from, resume) = resume.unzip();
    let first = resume.as_ref().map_or(0, |checkpoint| checkpoint.state.examples_consumed);
    let (mut trainer, earlier) = start::trainer(&recipe, source.as_ref(), &folder, resume, &devices)?;
    // With no checkpoint, what an earlier attempt logged is dropped as well.
    folder.truncate_log(trainer.steps().all())?;
    let loader_at = |start| Loader::new(source.clone(), LoaderOptions { start, ..loader_options(run, loader_threads) });
    let mut loader = loader_at(first)?;
    let samples = Samples::new(run.seed, prompts);
    let budget = Budget::new(&recipe);
    let mut saved_step = resumed_from.is_some().then(|| trainer.steps().all());
    let mut watch = Watch::new(resumed_from);
    let loss = recipe.loss();
    let new_guard = || (run.guard != "off").then(|| Guard::new(loss));
    let (mut guard, mut rollbacks) = (new_guard(), 0);
    let mut meter = Meter::new(earlier);
    let mut clock = Clock::new(earlier);
    let (mut logged, mut sampled, mut saved) = (earlier, earlier, earlier);
    if let (Some((from, Checkpoint { mut named, tokenizer_json: theirs, .. })), None) = (init_from, saved_step) {
        // The rows of another vocabulary's table are other words.
        if theirs.is_some() && theirs != tokenizer_json(&trainer.model())? {
            named.remove(TOKENS);
        }
        for (network, fitted) in trainer.start_from(&named) {
            on_event(Event::Started { network, fitted, from: &from });
        }
        // A run that is killed before its first checkpoint must not go on from nothing.
        save(&mut folder, run, trainer.as_ref(), loader.position(), 0.0, &mut watch, on_event)?;
        saved_step = Some(0);
    }
    let (mut last_sample, mut unreadable, mut before) = (None, 0, None);

    let stopped = loop {
        let progress = budget.progress(trainer.steps(), clock.seconds());
        if progress >= 1.0 {
            break false;
        }
        if stop.load(Ordering::Relaxed) {
            break true;
        }
        let (phase, share) = budget.phase(trainer.steps(), progress);
        if before == Some(Phase::Contrast) && phase == Phase::Gan {
            save(&mut folder, run, trainer.as_ref(), loader.position(), clock.seconds(), &mut watch, on_event)?;
            (saved, saved_step) = (clock.seconds(), Some(trainer.steps().all()));
        }
        before = Some(phase);

        let asked = Instant::now();
        let batch = loader.next_batch()?;
        meter.waited(asked.elapsed().as_secs_f64());
        let losses = trainer.step(&batch, phase, share).map_err(TrainError::Defect)?;
        clock.step();
        watch.check(trainer.steps().all(), &losses)?;
        if let Some((trouble, value)) = guard.as_mut().and_then(|guard| guard.look(&losses)) {
            on_event(Event::Trouble { trouble, value, step: trainer.steps().all() });
            if run.guard == "rollback" && rollbacks < ROLLBACKS {
                rollbacks += 1;
                let to = watch.earlier();
                let change = recipe.calm();
                write_atomic(&folder.path().join("config.toml"), recipe.to_toml().as_bytes())?;
                let checkpoint = to.as_deref().map(checkpoint::read).transpose()?;
                let start = checkpoint.as_ref().map_or(0, |checkpoint| checkpoint.state.examples_consumed);
                trainer = start::trainer(&recipe, source.as_ref(), &folder, checkpoint, &devices)?.0;
                folder.truncate_log(trainer.steps().all())?;
                (loader, guard, saved_step) = (loader_at(start)?, new_guard(), None);
                on_event(Event::RolledBack { to: to.as_deref(), change });
                continue;
            }
        }

        let (now, images) = (clock.seconds(), trainer.steps().all() * run.batch as u64);
        let speed = meter.add(&losses, run.batch, now);
        let progress = budget.progress(trainer.steps(), now);
        let seconds_left = budget.seconds_left(images, now, speed);
        on_event(Event::Step { phase, images, progress, images_per_second: speed, seconds_left, losses: &losses });
        if now - logged >= LOG_SECONDS || progress >= 1.0 {
            meter.write(&mut folder, phase, trainer.steps().all(), images, now)?;
            logged = now;
            unreadable = warn_unreadable(&loader, unreadable, on_event);
        }
        if phase == Phase::Gan && now - sampled >= run.sample_seconds {
            last_sample = samples.show(&trainer.model(), folder.sample_path(images), on_event).or(last_sample);
            sampled = clock.seconds();
        }
        if let Some(scoring) = scoring.as_mut().filter(|s| phase == Phase::Gan && s.is_due(images, run.batch as u64)) {
            let asked = Instant::now();
            scoring.ask(&mut folder, &trainer.model(), [trainer.steps().all(), images], now, on_event)?;
            clock.without(asked.elapsed().as_secs_f64());
        }
        if now - saved >= run.checkpoint_seconds {
            save(&mut folder, run, trainer.as_ref(), loader.position(), now, &mut watch, on_event)?;
            (saved, saved_step) = (clock.seconds(), Some(trainer.steps().all()));
        }
    };

    let steps = trainer.steps().all();
    if saved_step != Some(steps) {
        save(&mut folder, run, trainer.as_ref(), loader.position(), clock.seconds(), &mut watch, on_event)?;
    }
    if !stopped {
        let path = folder.sample_path(steps * run.batch as u64);
        last_sample = samples.show(&trainer.model(), path, on_event).or(last_sample);
    }
    Ok(Outcome {
        model: trainer.model(),
        images: steps * run.batch as u64,
        steps,
        seconds: clock.seconds(),
        stopped,
        run: folder.path().to_path_buf(),
        last_sample,
        checkpoint: watch.good().cloned(),
    })
}

fn loader_options(run: &RunSettings, threads: usize) -> LoaderOptions {
    LoaderOptions { batch: run.batch, seed: run.seed, flip: run.flip, threads, ..LoaderOptions::default() }
}

fn check(run: &RunSettings, source: &dyn Source) -> Result<(), TrainError> {
    if run.kimg <= 0.0 && run.minutes <= 0.0 {
        let message = "minutes and kimg are both 0: nothing would be trained; give one of them";
        return Err(TrainError::Setting(message.to_string()));
    }
    if source.size() != [run.height, run.width] {
        let ([h, w], RunSettings { height, width, .. }) = (source.size(), run);
        return Err(TrainError::Defect(format!("the data is {h}x{w}, the recipe {height}x{width}")));
    }
    Ok(())
}

/// Writes a checkpoint, unless what it would hold is no longer good.
pub(crate) fn save<B>(
    folder: &mut RunFolder,
    run: &RunSettings,
    trainer: &dyn Trainer<B>,
    examples: u64,
    seconds: f64,
    watch: &mut Watch,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<(), TrainError> {
    let (named, steps) = (trainer.state(), trainer.steps());
    watch.check_weights(steps.all(), &named)?;
    let defect = |error: &dyn std::fmt::Display| TrainError::Defect(error.to_string());
    let model = trainer.model();
    let tokenizer_json = tokenizer_json(&model)?;
    let text_encoder = start::text_encoder(&model);
    let model = model.to_bytes(true).map_err(|error| defect(&error))?;
    let state = TrainState {
        format: FORMAT,
        recipe: run.recipe.clone(),
        contrast_steps: steps.contrast,
        gan_steps: steps.gan,
        examples_consumed: examples,
        elapsed_seconds: seconds,
        text_encoder,
    };
    let path = folder.save_checkpoint(steps.all(), &Checkpoint { named, state, tokenizer_json, model })?;
    watch.saved(path.clone());
    on_event(Event::Checkpoint(path));
    Ok(())
}

/// What a model reads its texts with, where that was learnt from them.
fn tokenizer_json(model: &Model) -> Result<Option<String>, TrainError> {
    let defect = |error: &dyn std::fmt::Display| TrainError::Defect(error.to_string());
    Ok(match model {
        Model::Painter(Painter { reader: Reader::Own(tokenizer), .. }) => {
            Some(tokenizer.to_json().map_err(|error| defect(&error))?)
        }
        Model::Text(model) => Some(model.tokenizer.to_json().map_err(|error| defect(&error))?),
        _ => None,
    })
}

/// Says so when further pictures turn out to be unreadable; returns how many there are.
fn warn_unreadable(loader: &Loader, known: usize, on_event: &mut dyn FnMut(Event<'_>)) -> usize {
    let skipped = loader.skipped();
    if skipped.count > known {
        let first = skipped.first.first().map_or_else(String::new, |reason| format!("; the first: {reason}"));
        let count = if skipped.count == 1 { "1 picture".to_string() } else { format!("{} pictures", skipped.count) };
        on_event(Event::Warning(format!("{count} skipped, unreadable{first}")));
    }
    skipped.count
}
