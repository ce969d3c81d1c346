//! `shenbi evaluate`: how well pictures show what was asked for, and how near they are to real ones.

mod pictures;
mod sentences;

use std::path::PathBuf;

use serde::Serialize;
use shenbi_data::scenes::Level;
use shenbi_metrics::{AttributeReport, MetricsError, RPrecision};
use shenbi_models::model::Model;

use crate::failure::Failure;
use crate::{device, model, output, values};

const EXAMPLES: &str = "\
Examples:
  shenbi evaluate                                        the built-in model, on the built-in scenes
  shenbi evaluate --model runs/00001-brush-scenes --level one
  shenbi evaluate --model runs/00002-brush-emoji --data emoji --caption-column text --encoder emoji-encoder.safetensors
  shenbi evaluate --model runs/00003-r3gan-cifar10 --data cifar10.zip --features squeezenet1_0.safetensors
  shenbi evaluate --images painted --data photos --features squeezenet1_0.safetensors -n 5000 --json

On scenes: attribute accuracy, by a classifier trained on real scenes, for combinations of shape and colour that were
trained on and for those held out; only captions that name the background are painted. On a folder: R-precision, the share of pictures whose own caption is the best of 100,
by an encoder that is trained on the folder first (slow; --encoder keeps it), for painted and for real pictures.
A model without sentences, or a folder of pictures (--images): Fréchet distance, KID, precision, recall, density and
coverage against --data, on the features of a network trained on photographs (--features: torchvision's squeezenet1_0 as
safetensors). Equal numbers of pictures on both sides compare best; more than 512, or the Fréchet distance says little.";

/// Pictures on the sheet.
const ON_SHEET: usize = 24;
/// Scenes that no run trains on: it would take this seed.
const SEED: u64 = 0x5EED_0E7A;

/// Scores a model, or a folder of pictures; prints a table.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// builtin, a run folder, a checkpoint folder or a model file
    #[arg(long, value_name = "MODEL", default_value = model::BUILTIN_NAME)]
    model: String,
    /// The text encoder that the model was trained with [default: where it was then]
    #[arg(long, value_name = "PATH")]
    text_encoder: Option<PathBuf>,
    /// Pictures to score instead of a model's: a folder or .zip
    #[arg(long, value_name = "DIR", conflicts_with = "model")]
    images: Option<PathBuf>,
    /// scenes, or a folder or .zip of pictures (captioned, where the model paints sentences), or MNIST's files
    #[arg(long, value_name = "PATH", default_value = "scenes")]
    data: String,
    /// Scenes: one, two, or mixed for both
    #[arg(long, value_name = "LEVEL", default_value = "mixed", value_parser = values::level)]
    level: Level,
    /// Folders: a column of metadata.jsonl or metadata.csv that holds captions (repeatable)
    #[arg(long = "caption-column", value_name = "COLUMN")]
    caption_columns: Vec<String>,
    /// Folders: the split whose captions are painted, or whose pictures are compared with
    #[arg(long, value_name = "SPLIT", default_value = "train")]
    split: String,
    /// Folders: where the encoder is, or is put once trained
    #[arg(long, value_name = "FILE", default_value = "encoder.safetensors")]
    encoder: PathBuf,
    /// Folders: steps to train the encoder, if there is none yet
    #[arg(long, value_name = "STEPS", default_value_t = 1200)]
    encoder_steps: u64,
    /// Models without sentences, and --images: the network whose features are compared
    #[arg(long, value_name = "FILE")]
    features: Option<PathBuf>,
    /// Pictures a score, of each side [default: 1000 for sentences, else 10000]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=100_000))]
    number: Option<u64>,
    /// Noise of the pictures, and the choice of captions or subsets
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Write some of the pictures with their captions to this PNG
    #[arg(long, value_name = "FILE.png")]
    sheet: Option<PathBuf>,
    /// Where to paint: cpu, or gpu in a build with the feature of that name
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print one JSON object instead of the table
    #[arg(long)]
    json: bool,
}

/// What was measured of one set of pictures.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Scores {
    Attributes(AttributeReport),
    RPrecision(RPrecision),
    Pictures(pictures::PictureScores),
}

/// A line of the table.
#[derive(Serialize)]
struct Row {
    what: String,
    #[serde(flatten)]
    scores: Scores,
}

#[derive(Serialize)]
struct Report<'a> {
    #[serde(skip_serializing_if = "Option::is_none")]
    model: Option<&'a str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    images: Option<&'a PathBuf>,
    data: &'a str,
    rows: Vec<Row>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    let device = device::open("--device", &args.device)?;
    let rows = match &args.images {
        Some(images) => pictures::of_folder(&args, images, &device)?,
        None => match model::load(&args.model, &device, args.text_encoder.as_deref())? {
            Model::Image(model) => pictures::of_model(&args, &model, &device)?,
            Model::Painter(_) if args.features.is_some() => {
                return Err(Failure::usage(
                    "--features: a model of sentences is scored by what it was asked for; paint a folder with \
                     'shenbi generate' and give that as --images",
                ));
            }
            Model::Painter(painter) => sentences::rows(&args, &painter, &device)?,
        },
    };
    if args.json {
        let model = args.images.is_none().then_some(args.model.as_str());
        return output::json(&Report { model, images: args.images.as_ref(), data: &args.data, rows });
    }
    for Row { what, scores } in &rows {
        for line in scores.lines() {
            output::line(&format!("{what:28} {line}"))?;
        }
    }
    for Row { what, scores } in &rows {
        for protocol in scores.protocols() {
            output::note(&format!("{what}: {protocol}"));
        }
    }
    Ok(())
}

impl Scores {
    /// For the table.
    fn lines(&self) -> Vec<String> {
        match self {
            Self::Attributes(report) => {
                let AttributeReport { background, colour, shape, size, relation, .. } = report;
                let [background, colour, shape, size] = [background, colour, shape, size].map(|share| 100.0 * share);
                let relation = relation.map_or_else(String::new, |share| format!("  relation {:5.1}%", 100.0 * share));
                vec![format!(
                    "background {background:5.1}%  colour {colour:5.1}%  shape {shape:5.1}%  size {size:5.1}%{relation}"
                )]
            }
            Self::RPrecision(report) => {
                let (found, chance) = (100.0 * report.r_at_1, 100.0 * report.chance);
                vec![format!("R-precision {found:5.1}%  (chance {chance:.0}%)")]
            }
            Self::Pictures(scores) => scores.lines(),
        }
    }

    /// What measured it.
    fn protocols(&self) -> Vec<&str> {
        match self {
            Self::Attributes(report) => vec![&report.protocol],
            Self::RPrecision(report) => vec![&report.protocol],
            Self::Pictures(scores) => scores.protocols(),
        }
    }
}

fn failed(error: MetricsError) -> Failure {
    Failure::Failed(error.to_string())
}
