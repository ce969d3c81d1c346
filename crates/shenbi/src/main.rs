//! `shenbi`: trains GANs on captioned pictures and paints from prompts. Each command is a file under `commands/`.

mod commands;
mod data_source;
mod device;
mod failure;
mod hub;
mod model;
mod output;
mod progress;
mod signals;
mod values;

use std::process::ExitCode;

use clap::Parser;
use failure::Failure;
use shenbi_nn::kernels::{active_isa, describe};

/// Training makes and drops large tensors all the time; this allocator keeps their pages, where the system's gives each
/// back and has the next one zeroed anew.
#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Bytes of stack of each thread, as much as a main thread has.
const STACK: usize = 8 << 20;

const EXAMPLES: &str = "\
Examples:
  shenbi generate \"a green star on a purple background\" \"紫色圆形在黄色背景上\"
  shenbi train
  shenbi train --data my-pictures --minutes 60 --out runs/mine
  shenbi generate \"a red potion\" --model runs/mine";

/// The magic brush: trains text-to-image GANs on your own captioned pictures, and paints from prompts in milliseconds,
/// offline, on a CPU.
#[derive(Parser)]
#[command(
    name = "shenbi",
    version,
    disable_version_flag = true,
    after_help = EXAMPLES,
    propagate_version = true,
    arg_required_else_help = true
)]
struct Cli {
    #[command(subcommand)]
    command: Option<commands::Command>,
    /// Print the version
    #[arg(short = 'V', long)]
    version: bool,
    /// With --version: the features of this CPU too, and the path that the kernels take
    #[arg(long, requires = "version")]
    verbose: bool,
    /// Threads to compute with [default: the physical cores]
    #[arg(long, value_name = "N", global = true, value_parser = clap::value_parser!(u16).range(1..=1024))]
    threads: Option<u16>,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match run(cli) {
        Ok(()) => ExitCode::SUCCESS,
        Err(failure) => failure.report(),
    }
}

fn run(cli: Cli) -> Result<(), Failure> {
    let threads = cli.threads.map(usize::from);
    let cores = || num_cpus::get_physical().min(num_cpus::get()).max(1);
    let pool =
        rayon::ThreadPoolBuilder::new().num_threads(threads.unwrap_or_else(cores)).stack_size(STACK).build_global();
    pool.map_err(|error| Failure::Failed(format!("the threads cannot be started: {error}; try --threads 1")))?;
    if cli.version {
        output::line(&format!("shenbi {}", env!("CARGO_PKG_VERSION")))?;
        if cli.verbose {
            output::line(&format!("{}; {} threads", describe(), rayon::current_num_threads()))?;
        }
        return Ok(());
    }
    // A wrong SHENBI_ISA is the user's, and said before any work.
    active_isa().map_err(|error| Failure::usage(error.to_string()))?;
    // On one of the pool's own threads: a kernel then starts at once, where it would else be handed over and waited for.
    cli.command.map_or(Ok(()), |command| rayon::scope(|_| command.run(threads)))
}
