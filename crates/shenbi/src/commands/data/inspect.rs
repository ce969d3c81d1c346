//! `shenbi data inspect`: what is in a data set, before a minute of training is spent on it.

use std::cell::Cell;
use std::io::{IsTerminal, Write};
use std::path::PathBuf;
use std::time::{Duration, Instant};

use shenbi_data::folder::FolderOptions;

use crate::failure::Failure;
use crate::{output, values};

const EXAMPLES: &str = "\
Examples:
  shenbi data inspect my-pictures
  shenbi data inspect potions.zip --size 64
  shenbi data inspect my-pictures --caption-column text --caption-column text_zh --json";

/// Decodes every picture and reports counts, sizes, channels, captions, duplicates, what would be skipped and why.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// A folder or a .zip archive
    path: PathBuf,
    /// A column of metadata.jsonl or metadata.csv that holds captions (repeatable)
    #[arg(long = "caption-column", value_name = "COLUMN")]
    caption_columns: Vec<String>,
    /// The caption of a class folder; {class} stands for its name
    #[arg(long, default_value = "a photo of a {class}")]
    template: String,
    /// Only the pictures of this split
    #[arg(long)]
    split: Option<String>,
    /// The size that you would train at: 64, or height and width as 48x64
    #[arg(long, value_parser = values::size, default_value = "64")]
    size: [usize; 2],
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    if !args.path.exists() {
        return Err(Failure::Failed(format!("{}: no such folder or archive; check the path", args.path.display())));
    }
    let options = FolderOptions {
        size: args.size,
        caption_columns: args.caption_columns.clone(),
        template: args.template.clone(),
        split: args.split.clone(),
        ..FolderOptions::default()
    };
    let terminal = std::io::stderr().is_terminal();
    let shown = Cell::new(Instant::now());
    let progress = |done: usize, total: usize| {
        if terminal && (shown.get().elapsed() > Duration::from_millis(100) || done == total) {
            shown.set(Instant::now());
            let text = if done == total { String::new() } else { format!("looked at {done} of {total} pictures") };
            let mut out = std::io::stderr().lock();
            let _ = write!(out, "\r\x1b[K{text}");
            let _ = out.flush();
        }
    };
    let report = shenbi_data::inspect::inspect(&args.path, &options, Some(&progress))?;
    if args.json { output::json(&report) } else { output::line(report.to_string().trim_end()) }
}
