//! `shenbi data scenes`: the built-in scenes as a captioned folder, for other programs, for tests, to look at.

use std::io::Write;
use std::path::PathBuf;

use serde::Serialize;
use shenbi_data::scenes::{Scenes, ScenesOptions, Split};
use shenbi_data::{Source, decode};

use crate::failure::Failure;
use crate::{output, values};

const EXAMPLES: &str = "\
Examples:
  shenbi data scenes --out drawn -n 1000
  shenbi data scenes --out held-out -n 500 --level two --size 32 --held-out
  shenbi train --data drawn --caption-column text --caption-column text_zh";

/// Writes pictures and a metadata.jsonl with an English (text) and a Chinese caption (text_zh) each.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A folder that is new or empty
    #[arg(long, value_name = "DIR")]
    out: PathBuf,
    /// Number of pictures
    #[arg(short = 'n', long, value_name = "N", default_value_t = 100, value_parser = clap::value_parser!(u64).range(1..=10_000_000))]
    number: u64,
    /// one, two, many or mixed
    #[arg(long, default_value = "mixed")]
    level: String,
    /// 64, or height and width as 48x64
    #[arg(long, value_parser = values::size, default_value = "64")]
    size: [usize; 2],
    /// Other seeds, other scenes
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Only the combinations of colour and shape that training never sees
    #[arg(long)]
    held_out: bool,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Line<'a> {
    file_name: &'a str,
    text: &'a str,
    text_zh: &'a str,
}

#[derive(Serialize)]
struct Report<'a> {
    out: &'a PathBuf,
    pictures: u64,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let level = values::level(&args.level).map_err(|error| Failure::usage(format!("--level {error}")))?;
    let split = if args.held_out { Split::HeldOut } else { Split::Train };
    let scenes = Scenes::new(ScenesOptions { size: args.size, level, seed: args.seed, split })?;
    let failed = |error: std::io::Error| {
        Failure::Failed(format!("--out {}: {error}; choose a folder that you may write to", args.out.display()))
    };
    std::fs::create_dir_all(&args.out).map_err(failed)?;
    if std::fs::read_dir(&args.out).map_err(failed)?.next().is_some() {
        let message = format!("--out {}: the folder is not empty; give a new one", args.out.display());
        return Err(Failure::Failed(message));
    }
    let mut metadata = Vec::new();
    for index in 0..args.number {
        let example = scenes.get(index)?;
        let file_name = format!("{index:06}.png");
        decode::write_png(args.out.join(&file_name), &example.picture)?;
        let caption = |i: usize| example.captions.get(i).map_or("", String::as_str);
        let line = Line { file_name: &file_name, text: caption(0), text_zh: caption(1) };
        serde_json::to_writer(&mut metadata, &line).map_err(|error| Failure::Failed(error.to_string()))?;
        metadata.write_all(b"\n").map_err(failed)?;
    }
    // Last: with it the folder is a data set.
    decode::write_atomically(args.out.join("metadata.jsonl"), &metadata)?;
    if args.json {
        return output::json(&Report { out: &args.out, pictures: args.number });
    }
    output::line(&args.out.display().to_string())
}
