//! `shenbi train`: from captioned pictures to a model.

mod end;
mod scoring;
mod settings;
mod text;

use std::path::{Path, PathBuf};
use std::sync::atomic::Ordering;

use serde::Serialize;
use shenbi_train::atomic::write_atomic;
use shenbi_train::checkpoint::Checkpoint;
use shenbi_train::config::Recipe;
use shenbi_train::error::RunError;
use shenbi_train::run_folder::RunFolder;
use shenbi_train::session::{self, Plan, TrainError, untrained};
use shenbi_train::trainer::Devices;

use crate::data_source::{Data, Summary};
use crate::device::Flags as DeviceFlags;
use crate::failure::Failure;
use crate::progress::{Progress, duration};
use crate::{output, signals};

/// Where runs go that are not told.
const RUNS: &str = "runs";

const EXAMPLES: &str = "\
Examples:
  shenbi train                                            the built-in scenes, five minutes
  shenbi train --data my-pictures --minutes 60
  shenbi train --data emoji --caption-column text --caption-column text_zh --size 64 --minutes 90
  shenbi train --level two --size 64 --set generator_width=64 --kimg 200 --out runs/two
  shenbi train --resume runs/two --kimg 400
  shenbi train --data potions.zip --dry-run
  shenbi train --recipe r3gan --data photos --size 64 --minutes 60
  shenbi train --recipe r3gan --data photos --size 64 --kimg 2000 --eval-every 100 --features squeezenet1_0.safetensors
  shenbi train --recipe mle-lstm --data lines.txt --minutes 10
  shenbi train --recipe gan-text --data jokes.csv --column title --column selftext --minutes 60
  shenbi train --recipe r3gan --data my-cats --init-from runs/00003-r3gan-photos --set freeze=discriminator.extract

Ctrl-C finishes the step, writes a checkpoint and says how to resume.
Settings are taken from --config, then from flags, then from --set; RUN/config.toml holds the result.";

/// Trains a model into a run folder: settings, log, TensorBoard curves, sample grids and checkpoints.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    #[command(flatten)]
    settings: settings::Flags,
    /// The run folder to make [default: runs/00001-brush-scenes, with the next free number]
    #[arg(long, value_name = "RUN")]
    out: Option<PathBuf>,
    /// Continue the run in this folder; --minutes or --kimg may lengthen it
    #[arg(long, value_name = "RUN")]
    resume: Option<PathBuf>,
    /// Start from the networks of this run, as far as they fit: another size, other classes or other data
    #[arg(long, value_name = "RUN", conflicts_with = "resume")]
    init_from: Option<PathBuf>,
    #[command(flatten)]
    scoring: scoring::Flags,
    /// Print settings, parameter counts and the data, and train nothing
    #[arg(long)]
    dry_run: bool,
    /// Print one JSON object at the end
    #[arg(long)]
    json: bool,
    #[command(flatten)]
    devices: DeviceFlags,
}

/// Runs the command.
pub fn run(args: Args, threads: Option<usize>) -> Result<(), Failure> {
    let devices = args.devices.open()?;
    let (mut recipe, folder) = match &args.resume {
        Some(run) => resumed(&args, run)?,
        None => (args.settings.recipe()?, None),
    };
    if let Recipe::Text(recipe) = recipe {
        return text::run(&args, recipe, folder, devices);
    }
    let data = Data::open(&recipe)?;
    if folder.is_none() {
        args.settings.fit_to_data(&mut recipe, &data)?;
    }
    if args.dry_run {
        return dry_run(&args, &recipe, &data, &devices);
    }
    let scoring = args.scoring.open(&recipe, &data)?;
    let init_from = args.init_from.as_deref().map(|run| init_from(run, &recipe)).transpose()?;
    let stop = signals::stop_flag()?;
    let folder = match folder {
        Some(folder) => folder,
        None => create(args.out.as_deref(), &recipe)?,
    };
    output::note(&format!("data        {}", data.summary));
    output::note(&format!("run         {}", folder.path().display()));
    output::note(&format!("machine     {}, {} threads", shenbi_nn::kernels::describe(), rayon::current_num_threads()));
    if let Some(sentences) = recipe.sentences().filter(|sentences| !sentences.text_encoder.is_empty()) {
        output::note(&format!("captions    read by {}, once", sentences.text_encoder));
    }
    let resume = if args.resume.is_some() { latest(&folder)? } else { None };
    let plan = Plan {
        scoring,
        source: data.source.clone(),
        prompts: if recipe.reads_captions() { data.sample_prompts()? } else { Vec::new() },
        folder,
        resume,
        init_from,
        devices,
        loader_threads: threads.map_or(0, |threads| threads.div_ceil(2).min(4)),
        recipe,
    };
    let mut progress = Progress::new();
    let outcome = session::run(plan, &stop, &mut |event| progress.show(event))?;
    progress.finish();
    // A signal that comes from here on means the painting, which takes no time.
    stop.store(false, Ordering::Relaxed);
    if !outcome.stopped && !progress.stepped() {
        output::note("The run had reached its length: nothing was trained. --minutes or --kimg lengthen it.");
    }
    end::report(&outcome, || data.painted_prompts(), args.json)
}

/// The checkpoint that a run goes on from, told to the person.
fn latest(folder: &RunFolder) -> Result<Option<(PathBuf, Checkpoint)>, Failure> {
    let latest = folder.latest_checkpoint()?;
    for (path, reason) in latest.damaged {
        output::note(&format!("warning: checkpoint {} is damaged ({reason}): an older one is used", path.display()));
    }
    match &latest.found {
        Some((path, checkpoint)) => {
            let time = duration(checkpoint.state.elapsed_seconds);
            output::note(&format!("resumed     {} after {time} of training", path.display()));
        }
        None => output::note("resumed     from the start: the run has no checkpoint yet"),
    }
    Ok(latest.found)
}

/// The settings and folder of a run that goes on.
fn resumed(args: &Args, run: &Path) -> Result<(Recipe, Option<RunFolder>), Failure> {
    let fixed = args.settings.fixed_when_resuming().or(args.out.as_ref().map(|_| "--out"));
    if let Some(flag) = fixed {
        return Err(Failure::usage(format!(
            "{flag} cannot be given with --resume: the run keeps the settings in {}; only --minutes or --kimg may \
             change; for other settings start a new run",
            run.join("config.toml").display()
        )));
    }
    let folder = RunFolder::open(run).map_err(|error| Failure::Failed(format!("--resume: {error}")))?;
    let text = folder.config_toml()?;
    let config = folder.path().join("config.toml");
    let mut recipe = Recipe::from_toml(&text)
        .map_err(|error| Failure::Failed(format!("{}: {error}; restore it, or start a new run", config.display())))?;
    args.settings.lengthen(&mut recipe)?;
    let lengthened = recipe.to_toml();
    if lengthened != text && !args.dry_run {
        write_atomic(&config, lengthened.as_bytes())?;
    }
    Ok((recipe, Some(folder)))
}

/// The networks of another run.
fn init_from(run: &Path, recipe: &Recipe) -> Result<(PathBuf, Checkpoint), Failure> {
    let folder = RunFolder::open(run).map_err(|error| Failure::Failed(format!("--init-from: {error}")))?;
    let other = Recipe::from_toml(&folder.config_toml()?)
        .map_err(|error| Failure::Failed(format!("--init-from {}: {error}", run.display())))?;
    let network = |recipe: &Recipe| match recipe {
        Recipe::Brush(_) => "brush".to_string(),
        Recipe::Dfgan(_) => "dfgan".to_string(),
        Recipe::Image(recipe) => format!("{:?}", recipe.network).to_lowercase(),
        Recipe::Text(recipe) => format!("{:?}", recipe.writer).to_lowercase(),
    };
    let (theirs, ours) = (network(&other), network(recipe));
    if theirs != ours {
        let run = run.display();
        return Err(Failure::usage(format!("--init-from {run}: its networks are {theirs}, this recipe's {ours}")));
    }
    match folder.latest_checkpoint()?.found {
        Some(found) => Ok(found),
        None => Err(Failure::Failed(format!("--init-from {}: it has no checkpoint yet", run.display()))),
    }
}

/// A new run folder: the one asked for, or the next number under `runs/`.
fn create(out: Option<&Path>, recipe: &Recipe) -> Result<RunFolder, Failure> {
    let config = recipe.to_toml();
    if let Some(out) = out {
        return RunFolder::create(out, &config).map_err(|error| match error {
            RunError::Io { .. } => Failure::Failed(format!("--out: {error}")),
            other => other.into(),
        });
    }
    let data =
        Path::new(&recipe.run().data).file_stem().map_or_else(String::new, |stem| stem.to_string_lossy().into_owned());
    let data: String = data.chars().map(|c| if c.is_alphanumeric() { c } else { '-' }).take(40).collect();
    let mut attempts = 0;
    loop {
        let path = RunFolder::next(Path::new(RUNS), &format!("{}-{data}", recipe.run().recipe));
        match RunFolder::create(&path, &config) {
            // Another run took the number at this moment.
            Err(RunError::AlreadyARun(_) | RunError::InUse(_)) if attempts < 20 => attempts += 1,
            other => return Ok(other?),
        }
    }
}

#[derive(Serialize)]
struct DryRun<'a> {
    settings: &'a Recipe,
    parameters: Parameters,
    data: &'a Summary,
}

#[derive(Serialize)]
struct Parameters {
    generator: usize,
    discriminator: usize,
    text: usize,
}

fn dry_run(args: &Args, recipe: &Recipe, data: &Data, devices: &Devices) -> Result<(), Failure> {
    let trainer = untrained(recipe, data.source.as_ref(), None, None, devices).map_err(|error| match error {
        TrainError::Setting(message) => Failure::Usage(message),
        other => other.into(),
    })?;
    let state = trainer.state();
    let count = |network: &str| {
        let of_network = state.iter().filter(|(name, _)| name.split('.').next() == Some(network));
        of_network.map(|(_, values)| values.data.len()).sum()
    };
    let parameters =
        Parameters { generator: count("generator"), discriminator: count("discriminator"), text: count("text") };
    if args.json {
        return output::json(&DryRun { settings: recipe, parameters, data: &data.summary });
    }
    let Parameters { generator, discriminator, text } = parameters;
    output::line(&format!("# settings\n{}", recipe.to_toml()))?;
    output::line(&format!(
        "# parameters\n# generator      {generator:>10}\n# discriminator  {discriminator:>10}\n# sentences      {text:>10}\n"
    ))?;
    output::line(&format!("# data\n# {}", data.summary))
}
