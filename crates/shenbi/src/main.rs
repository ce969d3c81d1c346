//! `shenbi`: trains GANs on captioned pictures and paints from prompts. Each command is a file under `commands/`.

mod commands;
mod data_source;
mod device;
mod failure;
mod model;
mod output;
mod progress;
mod signals;
mod values;

use std::process::ExitCode;

use clap::Parser;

/// Training makes and drops large tensors all the time; this allocator keeps their pages, where the system's gives each
/// back and has the next one zeroed anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

const EXAMPLES: &str = "\
Examples:
  shenbi generate \"a green star on a purple background\" \"紫色圆形在黄色背景上\"
  shenbi train
  shenbi train --data my-pictures --minutes 60 --out runs/mine
  shenbi generate \"a red potion\" --model runs/mine";

/// The magic brush: trains text-to-image GANs on your own captioned pictures, and paints from prompts in milliseconds,
/// offline, on a CPU.
#[derive(Parser)]
#[command(name = "shenbi", version, after_help = EXAMPLES, propagate_version = true)]
struct Cli {
    #[command(subcommand)]
    command: commands::Command,
}

fn main() -> ExitCode {
    let result = Cli::parse().command.run();
    match result {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}
