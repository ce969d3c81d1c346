//! `shenbi data classifier`: a classifier of a labelled data set, to make scores with.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use burn::tensor::Device;
use serde::Serialize;
use shenbi_data::folder::{Folder, FolderOptions};
use shenbi_data::mnist::Mnist;
use shenbi_data::{Source, decode};
use shenbi_metrics::classifier::Part;
use shenbi_metrics::{Classifier, ClassifierOptions, MetricsError};

use crate::failure::Failure;
use crate::progress::Bar;
use crate::{output, values};

const EXAMPLES: &str = "\
Examples:
  shenbi data classifier --data cifar10 --size 32 --flip --out cifar10-classifier.safetensors
  shenbi data classifier --data mnist --size 32 --steps 1000 --out digits.safetensors
  shenbi evaluate --model runs/00003-r3gan-cifar10 --data cifar10 --features cifar10-classifier.safetensors --metrics fid,is

The data is a folder or .zip with a folder for each class (or StyleGAN's dataset.json), or the folder of MNIST's files.
Where it has the splits train and test, it learns from the one and is tested on the other; else every tenth picture is
held out. Scores on its features compare only with others on the same file.";

/// Data without a test split: every so many pictures one is held out.
const EVERY: u64 = 10;

/// Trains a small classifier on labelled pictures and says how often it is right on those held out.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Labelled pictures: class folders in a folder or .zip, or MNIST's files
    #[arg(long, value_name = "PATH")]
    data: PathBuf,
    /// Where the classifier goes
    #[arg(long, value_name = "FILE")]
    out: PathBuf,
    /// Size that pictures are brought to: 32, or height and width as 48x64
    #[arg(long, value_parser = values::size, default_value = "32")]
    size: [usize; 2],
    /// Steps of 64 pictures
    #[arg(long, default_value_t = 2000, value_parser = clap::value_parser!(u64).range(1..=1_000_000))]
    steps: u64,
    /// Mirror pictures at random while it learns: right for photographs, wrong for digits and letters
    #[arg(long)]
    flip: bool,
    /// Initial weights and order of the pictures
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Print one JSON object
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Report {
    classifier: String,
    file: PathBuf,
    classes: usize,
    accuracy: f64,
    trained_on: u64,
    tested_on: u64,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let [train, test] = open(args)?;
    let counts = [train.len().unwrap_or(0), test.len().unwrap_or(0)];
    let classes = train.classes().len();
    let options =
        ClassifierOptions { steps: args.steps, flip: args.flip, seed: args.seed, ..ClassifierOptions::default() };
    let bar = Bar::new("classifier", args.steps);
    let classifier = Classifier::train(train, &options, &Device::flex(), |progress| bar.at(progress.step));
    let classifier = classifier.map_err(failed)?;
    let accuracy = classifier.accuracy(test.as_ref(), u64::MAX).map_err(failed)?;
    decode::write_atomically(&args.out, &classifier.to_bytes().map_err(failed)?)?;
    let [trained_on, tested_on] = counts;
    if args.json {
        let (classifier, file) = (classifier.id().to_string(), args.out.clone());
        return output::json(&Report { classifier, file, classes, accuracy, trained_on, tested_on });
    }
    output::note(&format!("{}: {} of {classes} classes", args.out.display(), classifier.id()));
    output::line(&format!(
        "right on {:.1}% of {tested_on} pictures held out of {trained_on} learnt from",
        100.0 * accuracy
    ))
}

/// What it learns from, and what it is tested on.
fn open(args: &Args) -> Result<[Arc<dyn Source>; 2], Failure> {
    let path = &args.data;
    if !path.exists() {
        return Err(Failure::Failed(format!("--data {}: no such folder or archive", path.display())));
    }
    let check = |source: &dyn Source| match source.classes().len() {
        found @ 0..2 => Err(Failure::usage(format!(
            "--data {}: {found} classes; give a folder with a folder for each of two or more classes",
            path.display()
        ))),
        _ => Ok(()),
    };
    let parts = |source: Arc<dyn Source>| -> Result<[Arc<dyn Source>; 2], Failure> {
        check(source.as_ref())?;
        let [train, test] = Part::split(&source, EVERY).map_err(failed)?;
        Ok([Arc::new(train), Arc::new(test)])
    };
    if Mnist::is_in(path) {
        return parts(Arc::new(Mnist::open(path, args.size, None)?));
    }
    let folder = |path: &Path, split: Option<&str>, channels: Option<usize>| {
        let split = split.map(str::to_string);
        let options =
            FolderOptions { size: args.size, channels, split, captions_required: false, ..Default::default() };
        Folder::open(path, &options)
    };
    let splits = folder(path, Some("train"), None).and_then(|train| {
        let test = folder(path, Some("test"), Some(Source::channels(&train)))?;
        Ok((train, test))
    });
    match splits {
        Ok((train, test)) => {
            check(&train)?;
            Ok([Arc::new(train), Arc::new(test)])
        }
        Err(_) => parts(Arc::new(folder(path, None, None)?)),
    }
}

fn failed(error: MetricsError) -> Failure {
    Failure::Failed(error.to_string())
}
