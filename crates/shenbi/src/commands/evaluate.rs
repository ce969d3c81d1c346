//! `shenbi evaluate`: how well pictures show what was asked for, and how near they are to real ones.

mod captions;
mod diversity;
mod learnt;
mod metrics;
pub mod network;
mod pairs;
mod picture_scores;
mod pictures;
mod plot;
mod prompts;
mod reference;
mod sentences;
pub mod sets;
mod sheet;
pub mod side;
mod taught;
mod text;
mod text_embeddings;
mod text_sides;

use std::path::PathBuf;

use serde::Serialize;
use shenbi_data::scenes::Level;
use shenbi_metrics::{AttributeReport, MetricsError, RPrecision};
use shenbi_models::model::Model;

use crate::failure::Failure;
use crate::{device, model, output, values};
use metrics::{Compat, Metric};
use picture_scores::PictureScores;

const EXAMPLES: &str = "\
Examples:
  shenbi evaluate                                        the built-in model, on the built-in scenes
  shenbi evaluate --model runs/00001-brush-scenes --level one
  shenbi evaluate --model runs/00002-brush-emoji --data emoji --caption-column text --encoder emoji-encoder.safetensors
  shenbi evaluate --model runs/00002-brush-emoji --data emoji --encoder emoji-encoder.safetensors --prompts synonyms.csv
  shenbi evaluate --model runs/00003-r3gan-cifar10 --data cifar10.zip --features squeezenet1_0.safetensors
  shenbi evaluate --images painted --data photos --features squeezenet1_0.safetensors -n 5000 --json
  shenbi evaluate --data photos --features squeezenet1_0.safetensors --save-reference photos-64.safetensors
  shenbi evaluate --images painted --reference photos-64.safetensors --features squeezenet1_0.safetensors --bootstrap 50
  shenbi evaluate --images restored --data originals --metrics pairs
  shenbi evaluate --model runs/00004-seqgan --against runs/00003-mle-lstm --data lines.txt --plot seqgan.svg
  shenbi evaluate --model runs/00003-r3gan-cifar10 --features vgg16-397923af.pth --lpips vgg.pth --metrics lpips
  shenbi evaluate --model runs/00002-brush-emoji --data emoji --caption-column text --clip clip-vit-base-patch32

On scenes: attribute accuracy, by a classifier trained on real scenes, for combinations of shape and colour that were
trained on and for those held out; only captions that name the background are painted. On a folder: R-precision, the share of pictures whose own caption is the best of 100,
by an encoder that is trained on the folder first (slow; --encoder keeps it), for painted and for real pictures.
A model without sentences, a folder of pictures (--images), or any model with --features: the scores of --metrics against --data, on the features of
a network (--features: torchvision's squeezenet1_0 as safetensors, or a classifier of 'shenbi data classifier'). Equal
numbers of pictures on both sides compare best; more pictures than features (512), or the Fréchet distance says little.
Each score's protocol is printed: numbers of different protocols do not compare. docs/metrics.md says what each means.";

/// Pictures on the sheet.
const ON_SHEET: usize = 24;
/// Scenes that no run trains on: it would take this seed.
const SEED: u64 = 0x5EED_0E7A;

/// Scores a model, or a folder of pictures; prints a table.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// builtin, a run folder, a checkpoint folder or a model file [default: builtin]
    #[arg(long, value_name = "MODEL")]
    model: Option<String>,
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
    #[arg(long = "caption-column", visible_alias = "column", value_name = "COLUMN")]
    caption_columns: Vec<String>,
    /// Folders: the split whose captions are painted, or whose pictures are compared with
    #[arg(long, value_name = "SPLIT", default_value = "train")]
    split: String,
    /// Folders: where the encoder is, or is put once trained
    #[arg(long, value_name = "FILE", default_value = "encoder.safetensors")]
    encoder: PathBuf,
    /// Folders: a .csv with columns caption and prompt: paint the prompts, and see whether their captions are found
    #[arg(long, value_name = "FILE.csv")]
    prompts: Option<PathBuf>,
    /// Folders: steps to train the encoder, if there is none yet
    #[arg(long, value_name = "STEPS", default_value_t = 1200)]
    encoder_steps: u64,
    /// Models without sentences, and --images: the network whose features are compared, a file of its weights or its
    /// name (docs/metrics.md)
    #[arg(long, value_name = "NETWORK")]
    features: Option<String>,
    /// For lpips: the linear layers of its authors' program (v0.1/vgg.pth and so on) [default: none, all weights 1]
    #[arg(long, value_name = "FILE", requires = "features")]
    lpips: Option<PathBuf>,
    /// For clip-score and clip-r-precision: a folder of CLIP as Hugging Face has it, such as clip-vit-base-patch32
    #[arg(long, value_name = "FOLDER")]
    clip: Option<PathBuf>,
    /// Which scores of pictures, separated by commas [default: fid,kid,prdc; with --clip alone, its two]
    #[arg(long, value_name = "LIST", value_enum, value_delimiter = ',')]
    metrics: Vec<Metric>,
    /// Repeat another tool's choices: its resizer, subsets, shuffles and seeds, pictures at their own sizes, all of them
    #[arg(long, value_name = "TOOL", value_enum)]
    compat: Option<Compat>,
    /// On CPUs with AMX: make a product of f32 of three of bf16, which is faster and changes scores by some 1e-5 of
    /// themselves; their protocols say so
    #[arg(long, requires = "features")]
    fast: bool,
    /// Compare with statistics in a file instead of --data: of --save-reference, or pytorch-fid's .npz
    #[arg(long, value_name = "FILE", conflicts_with = "data", requires = "features")]
    reference: Option<PathBuf>,
    /// Keep the statistics of --data in a file; without a model or --images, do nothing else
    #[arg(long, value_name = "FILE", conflicts_with = "reference", requires = "features")]
    save_reference: Option<PathBuf>,
    /// Say how far scores would be from themselves on other such pictures, by so many draws (slow with many features)
    #[arg(long, value_name = "DRAWS", value_parser = clap::value_parser!(u64).range(2..=10_000), requires = "features")]
    bootstrap: Option<u64>,
    /// The split of --data that was not trained on, for memorisation and cas
    #[arg(long, value_name = "SPLIT")]
    held_out: Option<String>,
    /// Pictures a score, of each side [default: 1000 for sentences, else 10000]
    #[arg(short = 'n', long, value_name = "N", value_parser = clap::value_parser!(u64).range(2..=100_000))]
    number: Option<u64>,
    /// Noise of the pictures, and the choice of captions or subsets
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// Models of texts: so likely or varied (repeatable) [default: 1]
    #[arg(long, value_name = "T")]
    temperature: Vec<f32>,
    /// Models of texts: another one beside it (repeatable); a run's own start, before its game, always is
    #[arg(long, value_name = "MODEL")]
    against: Vec<String>,
    /// Models of texts: quality against variety at each temperature, as a picture [default temperatures: 0.5 to 1.2]
    #[arg(long, value_name = "FILE.svg")]
    plot: Option<PathBuf>,
    /// Models of texts trained on an oracle's: its file, for the likelihood of what is generated
    #[arg(long, value_name = "FILE")]
    oracle: Option<PathBuf>,
    /// Models of texts: also the Fréchet distance of sentence embeddings, by this encoder that others trained (a folder as
    /// Hugging Face has it, such as all-MiniLM-L6-v2)
    #[arg(long, value_name = "FOLDER")]
    sentence_encoder: Option<PathBuf>,
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

impl Args {
    /// Draws of the intervals that are asked for.
    fn draws(&self) -> Option<usize> {
        self.bootstrap.and_then(|draws| usize::try_from(draws).ok())
    }
}

/// What was measured of one set of pictures.
#[derive(Serialize)]
#[serde(rename_all = "snake_case")]
enum Scores {
    Attributes(AttributeReport),
    RPrecision(RPrecision),
    Pictures(Box<PictureScores>),
    Text(text::TextScores),
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
    if let (Some(path), None, None) = (&args.save_reference, &args.images, &args.model) {
        return reference::save_reference(&args, path, &device);
    }
    let name = args.model.as_deref().unwrap_or(model::BUILTIN_NAME);
    let rows = match &args.images {
        Some(images) => pictures::of_folder(&args, images, &device)?,
        None => match model::load(name, &device, args.text_encoder.as_deref())? {
            Model::Image(model) => pictures::of_model(&args, &model, &device)?,
            Model::Painter(painter) if args.features.is_some() || args.clip.is_some() => {
                pictures::of_painter(&args, &painter, &device)?
            }
            Model::Painter(_) if !args.metrics.is_empty() || args.compat.is_some() || args.held_out.is_some() => {
                return Err(Failure::usage(
                    "--metrics, --compat and --held-out are for pictures as such: also give --features, the network that \
                     looks at them",
                ));
            }
            Model::Painter(painter) => match &args.prompts {
                Some(path) => prompts::rows(&args, path, &painter, &device)?,
                None => sentences::rows(&args, &painter, &device)?,
            },
            Model::Text(model) => text::rows(&args, name, model)?,
        },
    };
    if args.json {
        let model = args.images.is_none().then_some(name);
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
            Self::Text(scores) => scores.lines(),
        }
    }

    /// What measured it.
    fn protocols(&self) -> Vec<&str> {
        match self {
            Self::Attributes(report) => vec![&report.protocol],
            Self::RPrecision(report) => vec![&report.protocol],
            Self::Pictures(scores) => scores.protocols(),
            Self::Text(scores) => vec![&scores.protocol],
        }
    }
}

fn failed(error: MetricsError) -> Failure {
    Failure::Failed(error.to_string())
}
