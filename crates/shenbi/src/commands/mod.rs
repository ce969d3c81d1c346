//! The commands, a file each.

pub mod data;
pub mod evaluate;
pub mod generate;
pub mod train;
pub mod watch;

use crate::failure::Failure;

/// What to do.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Train a model on captioned pictures (without arguments: on the built-in scenes, for five minutes)
    Train(Box<train::Args>),
    /// Paint pictures from prompts
    Generate(generate::Args),
    /// Score a model: attributes of scenes, or R-precision on a folder
    Evaluate(evaluate::Args),
    /// Show a run in the terminal: its curves and samples, while it trains or after
    Watch(watch::Args),
    /// Look at data sets, or make one
    #[command(subcommand, after_help = data::EXAMPLES)]
    Data(data::Command),
}

impl Command {
    /// Does it. threads: as many as were asked for.
    pub fn run(self, threads: Option<usize>) -> Result<(), Failure> {
        match self {
            Self::Train(args) => train::run(*args, threads),
            Self::Generate(args) => generate::run(args),
            Self::Evaluate(args) => evaluate::run(args),
            Self::Watch(args) => watch::run(args),
            Self::Data(command) => command.run(),
        }
    }
}
