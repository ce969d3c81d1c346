//! `shenbi explore seeds`: many seeds on one sheet.

use std::path::PathBuf;

use serde::Serialize;
use shenbi_data::sheet;

use super::{Common, noise_of, subject_of};
use crate::commands::generate::subject::{self, Subject};
use crate::failure::Failure;

/// Pictures in a row, at most.
const COLUMNS: usize = 16;

const EXAMPLES: &str = "\
Examples:
  shenbi explore seeds --model runs/00002-r3gan-cifar10 --class cat --out seeds.png
  shenbi explore seeds --model runs/00003-dcgan-faces --from 65 -n 64 --out more.png
  shenbi explore seeds \"a red circle on a blue background\" -n 16 --out circles.png

`shenbi generate --seed S` paints the picture with the number S, alone.";

/// Makes a sheet of the pictures of many seeds, each with its number.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to paint, with a model that paints sentences
    #[arg(value_name = "PROMPT")]
    prompt: Option<String>,
    /// Which class, with a model by class [default: its first]
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// The first seed
    #[arg(long, value_name = "SEED", default_value_t = 1)]
    from: u64,
    /// How many seeds
    #[arg(short = 'n', long, value_name = "N", default_value_t = 64, value_parser = clap::value_parser!(u16).range(1..=1024))]
    number: u16,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Report<'a> {
    path: &'a PathBuf,
    model: &'a str,
    #[serde(flatten)]
    subject: Subject,
    /// In the order of the sheet, row by row.
    seeds: Vec<u64>,
    columns: usize,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let Some(last) = args.from.checked_add(u64::from(args.number) - 1) else {
        return Err(Failure::usage(format!("--from {}: there are no {} seeds from there on", args.from, args.number)));
    };
    args.common.extension(&["png"])?;
    let model = args.common.load()?;
    let subject = subject_of(&model, args.prompt.as_ref(), args.class.as_ref())?;
    let dim = subject::dim(&model);
    let seeds: Vec<u64> = (args.from..=last).collect();
    let cell = |seed: &u64| Ok((seed.to_string(), subject::make_of(&model, &subject, &noise_of(*seed, dim))?));
    let cells = seeds.iter().map(cell).collect::<Result<Vec<_>, Failure>>()?;
    let columns = (cells.len() as f64).sqrt().ceil() as usize;
    let columns = columns.clamp(1, COLUMNS);
    args.common.write_png(&sheet::labelled(&cells, columns))?;
    args.common.report(&Report { path: &args.common.out, model: &args.common.model, subject, seeds, columns })
}
