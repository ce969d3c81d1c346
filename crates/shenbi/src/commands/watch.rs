//! `shenbi watch`: the curves and samples of a run, while it trains or after.

#[cfg(unix)]
mod chart;
mod curves;
#[cfg(unix)]
mod keys;
#[cfg(unix)]
mod picture;
mod plain;
mod run;
#[cfg(unix)]
mod screen;
mod tail;
#[cfg(unix)]
mod terminal;
#[cfg(test)]
#[cfg(unix)]
mod tests;
mod words;

use std::path::PathBuf;

use self::run::Run;
use crate::failure::Failure;

const EXAMPLES: &str = "\
Examples:
  shenbi watch runs/00001-brush-scenes
  shenbi watch runs/00001-brush-scenes --once
  shenbi watch runs/00001-brush-scenes --json

Keys: left and right for other charts, s for smoothing, up and down for older and
newer samples, p for the picture's size, ? for help, q to quit.
The run is only read, never written to.";

/// Shows a run in the terminal: where it stands, its curves, and its newest samples; or prints them, where the output
/// is no terminal.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// The run folder, of a run that trains or one that has ended
    #[arg(value_name = "RUN")]
    run: PathBuf,
    /// Print one frame as plain text, and end
    #[arg(long)]
    once: bool,
    /// Print the latest figures as one JSON object, and end
    #[arg(long)]
    json: bool,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    let mut run = Run::open(&args.run)?;
    #[cfg(unix)]
    if !args.once && !args.json {
        use std::io::IsTerminal;
        let capable = std::env::var_os("TERM").is_some_and(|name| name != "dumb");
        if let Some(keyboard) = terminal::keyboard().filter(|_| capable && std::io::stdout().is_terminal()) {
            return terminal::show(run, keyboard);
        }
    }
    while run.refresh() {}
    if args.json { plain::json(&run) } else { plain::print(&run) }
}
