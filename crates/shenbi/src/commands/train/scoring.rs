//! Scores while a model trains: the Fréchet distance of what it makes from its data.

use burn::tensor::Device;
use shenbi_metrics::Reference;
use shenbi_models::model::Model;
use shenbi_train::config::Recipe;
use shenbi_train::scoring::Scoring;

use crate::commands::evaluate::network::Network;
use crate::commands::evaluate::sets::{Generated, Set, Sourced};
use crate::commands::evaluate::side::{Keep, look};
use crate::data_source::Data;
use crate::failure::Failure;

/// Noise of the pictures that are scored.
const SEED: u64 = 1;

/// How a run is scored.
#[derive(clap::Args)]
pub struct Flags {
    /// Score the model every so many thousand pictures by its Fréchet distance from the data; RUN/best.safetensors is the
    /// best one (models without sentences; needs --features)
    #[arg(long, value_name = "KIMG", requires = "features", value_parser = kimg)]
    eval_every: Option<f64>,
    /// Pictures of each side in such a score: more of them for a lower and truer one
    #[arg(long, value_name = "N", default_value_t = 2000, value_parser = clap::value_parser!(u64).range(10..=100_000))]
    eval_number: u64,
    /// The network whose features --eval-every compares: as evaluate's
    #[arg(long, value_name = "FILE", requires = "eval_every")]
    features: Option<String>,
}

fn kimg(text: &str) -> Result<f64, String> {
    let number = text.parse().ok().filter(|kimg: &f64| (0.001..=1e9).contains(kimg));
    number.ok_or_else(|| "expected thousands of pictures, from 0.001 on".to_string())
}

impl Flags {
    /// The score, with the data looked at; nothing where none is asked for.
    pub fn open(&self, recipe: &Recipe, data: &Data) -> Result<Option<Scoring>, Failure> {
        let (Some(every), Some(features)) = (self.eval_every, &self.features) else { return Ok(None) };
        if recipe.reads_captions() {
            let message = "--eval-every: models of sentences are not scored while they train; use evaluate on the run";
            return Err(Failure::usage(message));
        }
        let network = Network::open(features, None, &Device::flex())?;
        let set = Sourced { source: data.source.clone(), name: data.summary.data.clone() };
        let number = self.eval_number;
        let real = look(&set, &network, number, false, Keep::default(), "data")?;
        let failed = |error: shenbi_metrics::MetricsError| Failure::Failed(format!("--eval-every: {error}"));
        let reference = Reference::new(real.moments.gaussian().map_err(failed)?).map_err(failed)?;
        let [height, width, channels] = set.shape().unwrap_or_default();
        let of = format!("{}/{height}x{width}x{channels}", network.id());
        let protocol = format!("frechet-v1/{of}/reference={}:{}/n={number}/seed={SEED}", set.name(), real.hash);
        let name = format!("frechet_{}", network.name().to_lowercase().replace([' ', '.', '-'], "_"));
        let score = move |model: &Model| -> Result<f64, String> {
            let Model::Image(model) = model else { return Err("the model paints sentences".to_string()) };
            let made = Generated { model, seed: SEED };
            let side = look(&made, &network, number, false, Keep::default(), "scored");
            let side = side.map_err(|failure| failure.message())?;
            let gaussian = side.moments.gaussian().map_err(|error| error.to_string())?;
            reference.distance(&gaussian, "").map(|found| found.distance).map_err(|error| error.to_string())
        };
        Ok(Some(Scoring { every: (every * 1000.0).round() as u64, name, protocol, score: Box::new(score) }))
    }
}
