//! The network of `--features`.

use std::path::Path;

use burn::tensor::Device;
use shenbi_data::Picture;
use shenbi_metrics::prdc::NEIGHBOURS;
use shenbi_metrics::{Classifier, FeatureNetwork, MetricsError, Preprocessing};

use super::Args;
use super::metrics::Compat;
use crate::failure::Failure;

const REMEDY: &str = "give a file of a known network's weights (safetensors or PyTorch's), a network's name, or a classifier of \
                      labelled pictures (shenbi data classifier); docs/squeezenet1_0.py writes the smallest, squeezenet1_0; \
                      docs/metrics.md says which there are";

/// Refuses what cannot be measured, before a picture is read.
pub fn check_network(args: &Args) -> Result<&str, Failure> {
    let Some(features) = &args.features else {
        return Err(Failure::usage(format!(
            "--features FILE is missing: pictures are compared by what a network sees in them that was trained on \
             photographs; {REMEDY}"
        )));
    };
    if args.number.is_some_and(|number| number as usize <= NEIGHBOURS[1]) {
        return Err(Failure::usage(format!("-n: a score needs at least {} pictures", NEIGHBOURS[1] + 1)));
    }
    Ok(features)
}

/// What looks at the pictures: a pretrained network, or a classifier of `shenbi data classifier`.
pub enum Network {
    Pretrained(Box<FeatureNetwork>),
    Classifier(Box<Classifier>),
}

impl Network {
    /// The network that `--features` says: a file, or a known network's name. compat: whose way of preparing pictures is
    /// taken, where there is one for this network.
    pub fn open(features: &str, compat: Option<Preprocessing>, device: &Device) -> Result<Self, Failure> {
        let at = |error: MetricsError| Failure::Failed(format!("--features {features}: {error}; {REMEDY}"));
        let file = Path::new(features);
        if file.is_file() {
            let read = std::fs::read(file);
            let bytes = read.map_err(|error| Failure::Failed(format!("--features {features}: {error}")))?;
            if Classifier::is_in(&bytes) {
                let classifier = Classifier::from_bytes(&bytes, device).map_err(at)?;
                return Ok(Self::Classifier(Box::new(classifier)));
            }
        }
        let network = FeatureNetwork::open(features, device).map_err(at)?;
        let network = match compat {
            Some(preprocessing) if network.can_prepare(preprocessing) => {
                network.with_preprocessing(preprocessing).map_err(at)?
            }
            _ => network,
        };
        Ok(Self::Pretrained(Box::new(network)))
    }

    /// What scores are named after.
    pub fn name(&self) -> &'static str {
        match self {
            Self::Pretrained(network) => network.name(),
            Self::Classifier(_) => "own classifier",
        }
    }

    /// Its place in a protocol.
    pub fn id(&self) -> &str {
        match self {
            Self::Pretrained(network) => network.id(),
            Self::Classifier(classifier) => classifier.id(),
        }
    }

    /// Numbers in a picture's features.
    pub fn dim(&self) -> usize {
        match self {
            Self::Pretrained(network) => network.dim(),
            Self::Classifier(classifier) => classifier.dim(),
        }
    }

    /// Classes that it tells apart; nothing where it tells none.
    pub fn classes(&self) -> Option<usize> {
        match self {
            Self::Pretrained(network) => network.classes(),
            Self::Classifier(classifier) => Some(classifier.classes().len()),
        }
    }

    /// Features, and class logits if there are any and they are asked for.
    pub fn look(&self, pictures: &[Picture], logits: bool) -> Result<(Vec<f32>, Vec<f32>), MetricsError> {
        match self {
            Self::Pretrained(network) if logits => {
                network.embed_with_logits(pictures).map(|(rows, logits)| (rows, logits.unwrap_or_default()))
            }
            Self::Pretrained(network) => network.embed(pictures).map(|rows| (rows, Vec::new())),
            Self::Classifier(classifier) => classifier.embed_with_logits(pictures),
        }
    }
}

/// The network of `--features`, as `evaluate` needs it.
pub fn open_features(args: &Args, device: &Device) -> Result<Network, Failure> {
    match Network::open(check_network(args)?, args.compat.map(Compat::preprocessing), device)? {
        Network::Pretrained(network) if args.fast => Ok(Network::Pretrained(Box::new(network.with_halves()))),
        Network::Classifier(_) if args.fast => {
            Err(Failure::usage("--fast: it belongs to pretrained networks, not to a classifier of one's own"))
        }
        network => Ok(network),
    }
}
