//! `shenbi data`: looks at data sets, trains classifiers of them, and writes the built-in scenes as one.

pub mod classifier;
pub mod inspect;
pub mod scenes;

use crate::failure::Failure;

/// Below the help.
pub const EXAMPLES: &str = "\
Examples:
  shenbi data inspect my-pictures
  shenbi data scenes --out drawn -n 1000
  shenbi data classifier --data cifar10 --out cifar10-classifier.safetensors";

/// What to do with data.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Report what is in a folder or archive of pictures, and what training would skip
    Inspect(inspect::Args),
    /// Train a classifier on labelled pictures, to make scores with
    Classifier(classifier::Args),
    /// Write the built-in captioned scenes as a folder of pictures
    Scenes(scenes::Args),
}

impl Command {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Classifier(args) => classifier::run(&args),
            Self::Inspect(args) => inspect::run(&args),
            Self::Scenes(args) => scenes::run(&args),
        }
    }
}
