//! `shenbi explore`: looks around in what a trained generator makes of its noise.

mod directions;
mod eigen;
mod inversion;
mod latent;
mod project;
mod seeds;
mod walk;

use std::path::{Path, PathBuf};

use serde::Serialize;
use shenbi_data::{Picture, decode};
use shenbi_models::image::ImageModel;
use shenbi_models::model::Model;

use super::generate::parent;
use super::generate::subject::{self, Subject};
use crate::failure::Failure;
use crate::{device, model, output};

/// Below the help.
pub const EXAMPLES: &str = "\
Examples:
  shenbi explore walk \"a red circle on a blue background\" --out walk.gif
  shenbi explore seeds --model runs/00002-r3gan-cifar10 --class cat --out seeds.png
  shenbi explore directions --model runs/00002-r3gan-cifar10 --class cat --out directions.png
  shenbi explore project cat.jpg --model runs/00002-r3gan-cifar10 --out projected.png";

/// How to look around.
#[derive(clap::Subcommand)]
pub enum Command {
    /// Go from seed to seed, as an animated GIF or a strip of pictures
    Walk(walk::Args),
    /// A sheet of seeds with their numbers, to find one you like
    Seeds(seeds::Args),
    /// The directions of the noise that change a picture most (image models)
    Directions(directions::Args),
    /// Find the noise whose picture comes closest to a given one (image models)
    Project(project::Args),
}

impl Command {
    /// Does it.
    pub fn run(self) -> Result<(), Failure> {
        match self {
            Self::Walk(args) => walk::run(&args),
            Self::Seeds(args) => seeds::run(&args),
            Self::Directions(args) => directions::run(&args),
            Self::Project(args) => project::run(&args),
        }
    }
}

/// What all of them ask for.
#[derive(clap::Args)]
pub struct Common {
    /// builtin, a run folder, a checkpoint folder or a model file
    #[arg(long, value_name = "MODEL", default_value = model::BUILTIN_NAME)]
    model: String,
    /// The file to write; one that is there is replaced
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Where to paint: cpu, or gpu in a build with the feature of that name
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

impl Common {
    /// The one of `known` that --out ends in, with the folder for the file made: before any work.
    fn extension(&self, known: &[&'static str]) -> Result<&'static str, Failure> {
        let found = self.out.extension().unwrap_or_default();
        let Some(&extension) = known.iter().find(|known| found.eq_ignore_ascii_case(known)) else {
            let all: Vec<String> = known.iter().map(|known| format!(".{known}")).collect();
            let message = format!("--out {}: expected a name that ends in {}", self.out.display(), all.join(" or "));
            return Err(Failure::usage(message));
        };
        std::fs::create_dir_all(parent(&self.out)).map_err(|error| {
            Failure::Failed(format!("--out {}: {error}; choose a folder that you may write to", self.out.display()))
        })?;
        Ok(extension)
    }

    /// The model.
    fn load(&self) -> Result<Model, Failure> {
        model::load(&self.model, &device::open("--device", &self.device)?, None)
    }

    /// The model, for what works on noise alone.
    fn load_image(&self) -> Result<ImageModel, Failure> {
        match self.load()? {
            Model::Image(model) => Ok(model),
            other => {
                let recipe = other.recipe();
                Err(Failure::Failed(format!(
                    "--model {}: a model of the recipe {recipe} paints sentences; this needs one that makes pictures of \
                     noise, as `shenbi train --recipe r3gan` does",
                    self.model
                )))
            }
        }
    }

    /// Writes --out, and says so if something was there.
    fn write(&self, write: impl FnOnce(&Path) -> shenbi_data::Result<()>) -> Result<(), Failure> {
        let replaced = self.out.exists();
        write(&self.out)?;
        if replaced {
            output::note(&format!("note: replaced {}", self.out.display()));
        }
        Ok(())
    }

    /// Writes --out as PNG.
    fn write_png(&self, picture: &Picture) -> Result<(), Failure> {
        self.write(|path| decode::write_png(path, picture))
    }

    /// Prints the path, or with --json the report.
    fn report(&self, report: &impl Serialize) -> Result<(), Failure> {
        if self.json { output::json(report) } else { output::line(&self.out.display().to_string()) }
    }
}

/// The one thing to make: the prompt, the class, or, of a model by class, its first.
fn subject_of(model: &Model, prompt: Option<&String>, class: Option<&String>) -> Result<Subject, Failure> {
    let classes: Vec<String> = class.into_iter().cloned().collect();
    let subjects = subject::subjects(model, prompt.into_iter().cloned().collect(), &classes)?;
    let several = subjects.len() > 1;
    let Some(subject) = subjects.into_iter().next() else {
        return Err(Failure::Failed("the model has nothing to make".to_string()));
    };
    if several {
        output::note(&format!("note: of the class '{}'; choose another with --class", subject.label()));
    }
    Ok(subject)
}

/// The place of the class that a subject of an image model is; 0 where there are none.
fn place(subject: &Subject) -> usize {
    match subject {
        Subject::Class { place, .. } => *place,
        _ => 0,
    }
}

/// The noise that `generate --seed` begins with.
fn noise_of(seed: u64, dim: usize) -> Vec<f32> {
    subject::noise(seed, 0, dim, None)
}
