//! A run on texts, from its first step to its last: the loop of [`crate::session`] without pictures. Every step depends on
//! the count of steps alone, so that with a budget in texts (`kimg`) a resumed run ends with the same weights, to the bit.

use std::path::PathBuf;
use std::sync::atomic::{AtomicBool, Ordering};

use shenbi_models::model::Model;
use shenbi_models::text::Sequences;
use shenbi_nn::weights::Named;

use super::{TextData, untrained};
use crate::atomic::write_atomic;
use crate::budget::{Budget, Clock};
use crate::checkpoint::Checkpoint;
use crate::config::{Method, Recipe, TextRecipe};
use crate::run_folder::RunFolder;
use crate::samples::Samples;
use crate::scoring::{BEST, Best, Kept, keep_best};
use crate::session::{Event, LOG_SECONDS, Outcome, TrainError, save, steps_of};
use crate::trainer::{Devices, Losses, Phase, Trainer};
use crate::watch::{Meter, Watch};

/// The model as the game began, by likelihood alone; in the run folder.
pub const START: &str = "start.safetensors";
/// Held-out texts that are measured while training, at most.
const MEASURED: usize = 512;
/// By how much (nats a token) held-out texts get less likely before that is worth a word.
const BY_HEART: f64 = 0.02;

/// All that a session is given.
pub struct TextPlan {
    /// The settings, complete.
    pub recipe: TextRecipe,
    /// The texts.
    pub data: TextData,
    /// Where the run is written.
    pub folder: RunFolder,
    /// Where it continues, and that checkpoint's folder: what [`RunFolder::latest_checkpoint`] found.
    pub resume: Option<(PathBuf, Checkpoint)>,
    /// A new run: networks to start from, as far as they fit, and where they are from.
    pub init_from: Option<(PathBuf, Named)>,
    /// Where the networks live.
    pub devices: Devices,
}

/// Trains until the budget is spent or `stop` is set; the step in hand is always finished.
///
/// # Errors
/// See [`TrainError`]. Whatever it is, the run folder's checkpoints are good.
pub fn run(plan: TextPlan, stop: &AtomicBool, on_event: &mut dyn FnMut(Event<'_>)) -> Result<Outcome, TrainError> {
    let TextPlan { recipe, data, mut folder, resume, init_from, devices } = plan;
    let run = &recipe.run;
    if run.kimg <= 0.0 && run.minutes <= 0.0 {
        let message = "minutes and kimg are both 0: nothing would be trained; give one of them";
        return Err(TrainError::Setting(message.to_string()));
    }
    let mut trainer = untrained(&recipe, &data, &devices).map_err(TrainError::Setting)?;
    let whole = Recipe::Text(recipe.clone());
    let (mut earlier, mut resumed_from) = (0.0, None);
    if let Some((path, Checkpoint { named, state, .. })) = resume {
        let mismatch = |message: String| TrainError::Mismatch { path: folder.path().join("config.toml"), message };
        let steps = steps_of(&whole, &state).map_err(mismatch)?;
        trainer.restore(&named, steps).map_err(|error| mismatch(error.to_string()))?;
        (earlier, resumed_from) = (state.elapsed_seconds, Some(path));
    }
    folder.truncate_log(trainer.steps().all())?;
    let consumed = |trainer: &dyn Trainer<Sequences>| trainer.steps().all() * run.batch as u64;
    let samples = Samples::new(run.seed, Vec::new());
    let budget = Budget::new(&whole);
    let mut saved_step = resumed_from.is_some().then(|| trainer.steps().all());
    let (mut watch, mut meter, mut clock) = (Watch::new(resumed_from), Meter::new(earlier), Clock::new(earlier));
    let (mut logged, mut sampled, mut saved) = (earlier, earlier, earlier);
    if let (Some((from, named)), None) = (init_from, saved_step) {
        for (network, fitted) in trainer.start_from(&named) {
            on_event(Event::Started { network, fitted, from: &from });
        }
        save(&mut folder, run, trainer.as_ref(), 0, 0.0, &mut watch, on_event)?;
        saved_step = Some(0);
        if recipe.method != Method::Likelihood && recipe.pretrain == 0.0 {
            save_start(&folder, trainer.as_ref())?;
        }
    }
    let at = trainer.steps();
    let (mut better, mut least, mut newest) = (None, (f32::INFINITY, 0), f32::INFINITY);
    let (mut last_sample, mut before) = (None, (at.contrast > 0 && at.gan == 0).then_some(Phase::Contrast));

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
            // Where the game starts from.
            save(
                &mut folder,
                run,
                trainer.as_ref(),
                consumed(trainer.as_ref()),
                clock.seconds(),
                &mut watch,
                on_event,
            )?;
            (saved, saved_step) = (clock.seconds(), Some(trainer.steps().all()));
            save_start(&folder, trainer.as_ref())?;
            if newest > least.0 + BY_HEART as f32 {
                on_event(Event::Warning(format!(
                    "the game begins with a model that has learnt texts by heart: those kept from training were likeliest \
                     after {} texts (NLL {:.3}, now {newest:.3}). --set pretrain={:.2} would begin there",
                    least.1,
                    least.0,
                    recipe.pretrain * least.1 as f64 / consumed(trainer.as_ref()).max(1) as f64
                )));
            }
        }
        before = Some(phase);
        let texts = data.batch(run.seed, consumed(trainer.as_ref()), run.batch);
        let losses = trainer.step(&texts, phase, share).map_err(TrainError::Defect)?;
        clock.step();
        let (steps, now, seen) = (trainer.steps().all(), clock.seconds(), consumed(trainer.as_ref()));
        watch.check(steps, &losses)?;
        let speed = meter.add(&losses, run.batch, now);
        let progress = budget.progress(trainer.steps(), now);
        let seconds_left = budget.seconds_left(seen, now, speed);
        on_event(Event::Step {
            phase,
            images: seen,
            progress,
            images_per_second: speed,
            seconds_left,
            losses: &losses,
        });
        let sample = now - sampled >= run.sample_seconds;
        if sample || progress >= 1.0 {
            let path = folder.sample_path(seen).with_extension("txt");
            last_sample = samples.show(&trainer.model(), path, on_event).or(last_sample);
            if let Some(nll) = held_out(&trainer.model(), &data) {
                meter.add(&Losses::from_iter([("held_out", nll)]), 0, now);
                if phase == Phase::Contrast {
                    newest = nll;
                    least = if nll < least.0 { (nll, seen) } else { least };
                }
                // What a game is after is not this likelihood.
                if recipe.method == Method::Likelihood {
                    better = match keep_best(folder.path(), scored(nll, [steps, seen]), &trainer.model())? {
                        Kept::Earlier(best) if f64::from(nll) > best.value + BY_HEART => Some((best, nll)),
                        _ => None,
                    };
                }
            }
            sampled = clock.seconds();
        }
        if now - logged >= LOG_SECONDS || progress >= 1.0 || sample {
            meter.write(&mut folder, phase, steps, seen, now)?;
            logged = now;
        }
        if now - saved >= run.checkpoint_seconds {
            save(&mut folder, run, trainer.as_ref(), seen, now, &mut watch, on_event)?;
            (saved, saved_step) = (clock.seconds(), Some(steps));
        }
    };
    let (steps, seen) = (trainer.steps().all(), consumed(trainer.as_ref()));
    if saved_step != Some(steps) {
        save(&mut folder, run, trainer.as_ref(), seen, clock.seconds(), &mut watch, on_event)?;
    }
    if let Some((best, now)) = better {
        on_event(Event::Warning(format!(
            "texts kept from training were likeliest after {} texts (NLL {:.3}, now {now:.3}): since then the others are \
             learnt by heart. The model of then is {}; --kimg {:.0} would end there",
            best.images,
            best.value,
            folder.path().join(BEST).display(),
            (best.images as f64 / 1000.0).ceil()
        )));
    }
    Ok(Outcome {
        model: trainer.model(),
        images: seen,
        steps,
        seconds: clock.seconds(),
        stopped,
        run: folder.path().to_path_buf(),
        last_sample,
        checkpoint: watch.good().cloned(),
    })
}

/// Keeps the model as it is before the game.
fn save_start(folder: &RunFolder, trainer: &dyn Trainer<Sequences>) -> Result<(), TrainError> {
    let bytes = trainer.model().to_bytes(true).map_err(|error| TrainError::Defect(error.to_string()))?;
    Ok(write_atomic(&folder.path().join(START), &bytes)?)
}

/// A score of held-out texts, of a model that has taken `step` steps with `images` texts.
fn scored(nll: f32, [step, images]: [u64; 2]) -> Best {
    let protocol = format!("NLL a token of up to {MEASURED} held-out texts");
    Best { name: "held_out".into(), protocol, value: f64::from(nll), step, images }
}

/// Mean -log p of the held-out texts' tokens.
fn held_out(model: &Model, data: &TextData) -> Option<f32> {
    let Model::Text(model) = model else { return None };
    let places: Vec<usize> = (0..data.test.rows().min(MEASURED)).collect();
    let texts = data.test.select(&places);
    let mask = texts.mask(data.ends);
    let count: f32 = mask.iter().sum();
    (count > 0.0).then(|| {
        (model.language.losses(&texts, &mask).iter().map(|loss| f64::from(*loss)).sum::<f64>() / f64::from(count))
            as f32
    })
}
