//! `shenbi train` with a recipe of texts.

use std::sync::atomic::Ordering;

use serde::Serialize;
use shenbi_train::config::{Recipe, TextRecipe};
use shenbi_train::run_folder::RunFolder;
use shenbi_train::session::TrainError;
use shenbi_train::text::data::TextSummary;
use shenbi_train::text::session::{TextPlan, run as train};
use shenbi_train::text::{TextData, untrained};
use shenbi_train::trainer::Devices;

use super::{Args, create, end, init_from, latest};
use crate::failure::Failure;
use crate::progress::Progress;
use crate::{output, signals};

/// Trains, or with `--dry-run` tells what would be trained. folder: of a run that goes on.
pub fn run(args: &Args, recipe: TextRecipe, folder: Option<RunFolder>, devices: Devices) -> Result<(), Failure> {
    let resume = match &folder {
        Some(folder) => latest(folder)?,
        None => None,
    };
    // A run that goes on keeps the tokens it began with.
    let tokenizer = resume.as_ref().and_then(|(_, checkpoint)| checkpoint.tokenizer_json.clone());
    let data = TextData::open(&recipe, tokenizer.as_deref())?;
    if args.dry_run {
        return dry_run(args, &recipe, &data, &devices);
    }
    let whole = Recipe::Text(recipe.clone());
    let init_from = args.init_from.as_deref().map(|run| init_from(run, &whole)).transpose()?;
    let init_from = init_from.map(|(path, checkpoint)| (path, checkpoint.named));
    let stop = signals::stop_flag()?;
    let folder = match folder {
        Some(folder) => folder,
        None => {
            // What cannot be trained leaves no folder behind.
            untrained(&recipe, &data, &devices).map_err(Failure::Usage)?;
            create(args.out.as_deref(), &whole)?
        }
    };
    output::note(&format!("data        {}", data.summary));
    for warning in &data.summary.warnings {
        output::note(&format!("warning: {warning}"));
    }
    output::note(&format!("run         {}", folder.path().display()));
    output::note(&format!("machine     {}, {} threads", shenbi_nn::kernels::describe(), rayon::current_num_threads()));
    let mut progress = Progress::of_texts();
    let plan = TextPlan { recipe, data, folder, resume, init_from, devices };
    let outcome = train(plan, &stop, &mut |event| progress.show(event))?;
    progress.finish();
    stop.store(false, Ordering::Relaxed);
    if !outcome.stopped && !progress.stepped() {
        output::note("The run had reached its length: nothing was trained. --minutes or --kimg lengthen it.");
    }
    end::report(&outcome, || Ok(Vec::new()), args.json)
}

#[derive(Serialize)]
struct DryRun<'a> {
    settings: &'a TextRecipe,
    parameters: Parameters,
    data: &'a TextSummary,
}

#[derive(Serialize)]
struct Parameters {
    generator: usize,
    discriminator: usize,
}

fn dry_run(args: &Args, recipe: &TextRecipe, data: &TextData, devices: &Devices) -> Result<(), Failure> {
    let trainer = untrained(recipe, data, devices).map_err(TrainError::Setting)?;
    let state = trainer.state();
    let count = |network: &str| {
        let of_network = state.iter().filter(|(name, _)| name.split('.').next() == Some(network));
        of_network.map(|(_, values)| values.data.len()).sum()
    };
    let parameters = Parameters { generator: count("generator"), discriminator: count("discriminator") };
    if args.json {
        return output::json(&DryRun { settings: recipe, parameters, data: &data.summary });
    }
    let Parameters { generator, discriminator } = parameters;
    output::line(&format!("# settings\n{}", Recipe::Text(recipe.clone()).to_toml()))?;
    output::line(&format!("# parameters\n# generator      {generator:>10}\n# discriminator  {discriminator:>10}\n"))?;
    output::line(&format!("# data\n# {}", data.summary))?;
    for warning in &data.summary.warnings {
        output::note(&format!("warning: {warning}"));
    }
    Ok(())
}
