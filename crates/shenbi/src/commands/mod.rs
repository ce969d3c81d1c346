//! The commands, a file each.

pub mod data;
pub mod evaluate;
pub mod explore;
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
    /// Look around in what a trained model makes: walks, seeds, directions, the noise of a picture
    #[command(subcommand, after_help = explore::EXAMPLES)]
    Explore(explore::Command),
    /// Score a model or a folder of pictures: attributes, R-precision, Fréchet distance and others
    Evaluate(Box<evaluate::Args>),
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
            Self::Explore(command) => command.run(),
            Self::Evaluate(args) => evaluate::run(*args),
            Self::Watch(args) => watch::run(args),
            Self::Data(command) => command.run(),
        }
    }
}
