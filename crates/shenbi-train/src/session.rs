//! A training run from its first step to its last: the loop, its budget, and what it leaves in the run folder.
//!
//! With a budget in pictures (`kimg`) every step depends on the count of steps alone, never on the clock: a run that is
//! stopped and resumed ends with the same weights, to the bit. With a budget in minutes the learning rate follows the
//! time spent, so that the run ends when it was told to, on any machine.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Instant;

use shenbi_data::Source;
use shenbi_data::loader::{Loader, LoaderOptions};
use shenbi_models::encoder::tokenizer::Tokenizer;
use shenbi_models::model::Model;
use shenbi_nn::weights::{Fitted, Named};

use crate::budget::{Budget, Clock};
use crate::checkpoint::{Checkpoint, FORMAT, TrainState};
use crate::config::{BrushRecipe, Recipe, RunSettings};
use crate::error::RunError;
use crate::guard::{Guard, Trouble};
use crate::image::ImageTrainer;
use crate::run_folder::RunFolder;
use crate::samples::{SampleError, Samples};
use crate::text_to_image::BrushTrainer;
use crate::trainer::{Devices, Losses, Phase, Steps, Trainer};
use crate::watch::{Meter, Watch};

/// Captions that the tokenizer learns from, at most.
const TOKENIZER_CAPTIONS: usize = 20_000;
/// Examples of an endless source that the tokenizer learns from.
const TOKENIZER_EXAMPLES: u64 = 8_000;
/// Seconds between lines of the log.
const LOG_SECONDS: f64 = 1.0;

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

impl From<SampleError> for TrainError {
    fn from(error: SampleError) -> Self {
        match error {
            SampleError::Paint(error) => Self::Defect(error.to_string()),
            SampleError::Write(error) => Self::Data(error),
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
    /// A new run: networks to start from, as far as they fit, and where they are from.
    pub init_from: Option<(PathBuf, Named)>,
    /// Where the networks live.
    pub devices: Devices,
    /// Threads that prepare batches; 0: as many as there are cores, at most 4.
    pub loader_threads: usize,
}

/// Trains until the budget is spent or `stop` is set; the step in hand is always finished.
///
/// # Errors
/// See [`TrainError`]. Whatever it is, the run folder's checkpoints are good.
pub fn run(plan: Plan, stop: &AtomicBool, on_event: &mut dyn FnMut(Event<'_>)) -> Result<Outcome, TrainError> {
    let Plan { recipe, source, prompts, mut folder, resume, init_from, devices, loader_threads } = plan;
    let run = recipe.run();
    check(run, source.as_ref())?;
    let (resumed_from, resume) = resume.unzip();
    let start = resume.as_ref().map_or(0, |checkpoint| checkpoint.state.examples_consumed);
    let (mut trainer, earlier) = trainer(&recipe, source.as_ref(), &folder, resume, &devices)?;
    // With no checkpoint, what an earlier attempt logged is dropped as well.
    folder.truncate_log(trainer.steps().all())?;
    let mut loader = Loader::new(
        source,
        LoaderOptions {
            batch: run.batch,
            seed: run.seed,
            flip: run.flip,
            threads: loader_threads,
            start,
            ..LoaderOptions::default()
        },
    )?;
    let samples = Samples::new(run.seed, prompts);
    let budget = Budget::new(&recipe);
    let mut saved_step = resumed_from.is_some().then(|| trainer.steps().all());
    let mut watch = Watch::new(resumed_from);
    let mut guard = run.guard.then(|| Guard::new(recipe.loss()));
    let mut meter = Meter::new(earlier);
    let mut clock = Clock::new(earlier);
    let (mut logged, mut sampled, mut saved) = (earlier, earlier, earlier);
    if let (Some((from, named)), None) = (init_from, saved_step) {
        for (network, fitted) in trainer.start_from(&named) {
            on_event(Event::Started { network, fitted, from: &from });
        }
        // A run that is killed before its first checkpoint must not go on from nothing.
        save(&mut folder, run, trainer.as_ref(), &loader, 0.0, &mut watch, on_event)?;
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
            save(&mut folder, run, trainer.as_ref(), &loader, clock.seconds(), &mut watch, on_event)?;
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
            let path = folder.sample_path(images);
            samples.write(&trainer.model(), &path)?;
            on_event(Event::Sample(path.clone()));
            (sampled, last_sample) = (clock.seconds(), Some(path));
        }
        if now - saved >= run.checkpoint_seconds {
            save(&mut folder, run, trainer.as_ref(), &loader, now, &mut watch, on_event)?;
            (saved, saved_step) = (clock.seconds(), Some(trainer.steps().all()));
        }
    };

    let steps = trainer.steps().all();
    if saved_step != Some(steps) {
        save(&mut folder, run, trainer.as_ref(), &loader, clock.seconds(), &mut watch, on_event)?;
    }
    if !stopped {
        let path = folder.sample_path(steps * run.batch as u64);
        samples.write(&trainer.model(), &path)?;
        on_event(Event::Sample(path.clone()));
        last_sample = Some(path);
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

/// `count` captions spread over a source, in its languages by turns: what a sample grid shows.
///
/// # Errors
/// The captions cannot be read.
pub fn spread_captions(source: &dyn Source, count: usize) -> Result<Vec<String>, TrainError> {
    // Far into an endless source: examples that the run is unlikely to come to.
    let (start, step) = source.len().map_or((1 << 40, 1), |n| (n / (2 * count as u64), (n / count as u64).max(1)));
    let mut captions = Vec::with_capacity(count);
    for i in 0..count as u64 {
        let index = start + i * step;
        if source.len().is_some_and(|n| index >= n) {
            break;
        }
        let of_one = source.captions(index)?;
        if let Some(caption) = of_one.get(i as usize % of_one.len().max(1)) {
            captions.push(caption.clone());
        }
    }
    Ok(captions)
}

/// A tokenizer learnt from the captions of `source`.
///
/// # Errors
/// The captions cannot be read.
pub fn train_tokenizer(recipe: &BrushRecipe, source: &dyn Source) -> Result<Tokenizer, TrainError> {
    let examples = source.len().unwrap_or(TOKENIZER_EXAMPLES);
    let mut captions = Vec::new();
    // Where there are more than enough, take them from all over.
    let each = source.captions(0)?.len() as u64;
    let stride = (examples * each.max(1)).div_ceil(TOKENIZER_CAPTIONS as u64).max(1);
    for index in (0..examples).step_by(stride as usize) {
        captions.extend(source.captions(index)?);
        if captions.len() >= TOKENIZER_CAPTIONS {
            break;
        }
    }
    Tokenizer::train(captions.into_iter(), recipe.vocabulary, recipe.max_tokens)
        .map_err(|error| TrainError::Defect(error.to_string()))
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

/// The networks of a recipe, untrained.
///
/// # Errors
/// The recipe's shapes do not fit, or the captions cannot be read.
pub fn untrained(
    recipe: &Recipe,
    source: &dyn Source,
    tokenizer_json: Option<&str>,
    devices: &Devices,
) -> Result<Box<dyn Trainer>, TrainError> {
    Ok(match recipe {
        Recipe::Brush(recipe) => {
            let tokenizer = match tokenizer_json {
                Some(json) => Tokenizer::from_json(json, recipe.max_tokens)
                    .map_err(|error| TrainError::Setting(error.to_string()))?,
                None => train_tokenizer(recipe, source)?,
            };
            let trainer = BrushTrainer::new(recipe, source.channels(), tokenizer, devices);
            Box::new(trainer.map_err(TrainError::Setting)?)
        }
        Recipe::Image(recipe) => {
            let trainer = ImageTrainer::new(recipe, source.channels(), source.classes(), devices);
            Box::new(trainer.map_err(TrainError::Setting)?)
        }
    })
}

/// The networks, new or restored, and the seconds they have been trained.
fn trainer(
    recipe: &Recipe,
    source: &dyn Source,
    folder: &RunFolder,
    resume: Option<Checkpoint>,
    devices: &Devices,
) -> Result<(Box<dyn Trainer>, f64), TrainError> {
    let Some(Checkpoint { named, state, tokenizer_json, .. }) = resume else {
        return Ok((untrained(recipe, source, None, devices)?, 0.0));
    };
    let mismatch = |message: String| TrainError::Mismatch { path: folder.path().join("config.toml"), message };
    let run = recipe.run();
    if state.recipe != run.recipe {
        return Err(mismatch(format!("it is of recipe '{}', the run is '{}'", state.recipe, run.recipe)));
    }
    let steps = Steps { contrast: state.contrast_steps, gan: state.gan_steps };
    if state.examples_consumed != steps.all() * run.batch as u64 {
        let found = state.examples_consumed.checked_div(steps.all()).unwrap_or(0);
        return Err(mismatch(format!("it was trained with batch = {found}, the settings say {}", run.batch)));
    }
    let mut trainer = untrained(recipe, source, tokenizer_json.as_deref(), devices).map_err(|error| match error {
        TrainError::Setting(message) => mismatch(message),
        other => other,
    })?;
    trainer.restore(&named, steps).map_err(|error| mismatch(error.to_string()))?;
    Ok((trainer, state.elapsed_seconds))
}

/// Writes a checkpoint, unless what it would hold is no longer good.
fn save(
    folder: &mut RunFolder,
    run: &RunSettings,
    trainer: &dyn Trainer,
    loader: &Loader,
    seconds: f64,
    watch: &mut Watch,
    on_event: &mut dyn FnMut(Event<'_>),
) -> Result<(), TrainError> {
    let (named, steps) = (trainer.state(), trainer.steps());
    watch.check_weights(steps.all(), &named)?;
    let defect = |error: &dyn std::fmt::Display| TrainError::Defect(error.to_string());
    let model = trainer.model();
    let tokenizer_json = match &model {
        Model::Painter(painter) => Some(painter.tokenizer.to_json().map_err(|error| defect(&error))?),
        Model::Image(_) => None,
    };
    let model = model.to_bytes(true).map_err(|error| defect(&error))?;
    let state = TrainState {
        format: FORMAT,
        recipe: run.recipe.clone(),
        contrast_steps: steps.contrast,
        gan_steps: steps.gan,
        examples_consumed: loader.position(),
        elapsed_seconds: seconds,
    };
    let path = folder.save_checkpoint(steps.all(), &Checkpoint { named, state, tokenizer_json, model })?;
    watch.saved(path.clone());
    on_event(Event::Checkpoint(path));
    Ok(())
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
