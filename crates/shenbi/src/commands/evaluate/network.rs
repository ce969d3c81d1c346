//! The network of `--features`.

use std::path::Path;

use burn::tensor::Device;
use shenbi_data::Picture;
use shenbi_metrics::prdc::NEIGHBOURS;
use shenbi_metrics::{Classifier, FeatureNetwork, MetricsError};

use super::Args;
use crate::failure::Failure;

const REMEDY: &str = "any safetensors file of torchvision's squeezenet1_0 will do whose input is RGB from 0 to 255 less \
                      (123, 117, 104); docs/squeezenet1_0.py writes one from torchvision's own weights; or train a \
                      classifier on labelled pictures: shenbi data classifier";

/// Refuses what cannot be measured, before a picture is read.
pub fn check_network(args: &Args) -> Result<&Path, Failure> {
    let Some(path) = &args.features else {
        return Err(Failure::usage(format!(
            "--features FILE is missing: pictures are compared by what a network sees in them that was trained on \
             photographs; {REMEDY}"
        )));
    };
    if args.number.is_some_and(|number| number as usize <= NEIGHBOURS[1]) {
        return Err(Failure::usage(format!("-n: a score needs at least {} pictures", NEIGHBOURS[1] + 1)));
    }
    Ok(path)
}

/// What looks at the pictures: a pretrained network, or a classifier of `shenbi data classifier`.
pub enum Network {
    Pretrained(Box<FeatureNetwork>),
    Classifier(Box<Classifier>),
}

impl Network {
    /// The network in a file, given with `--features`.
    pub fn open(path: &Path, device: &Device) -> Result<Self, Failure> {
        let at = |message: String| Failure::Failed(format!("--features {}: {message}; {REMEDY}", path.display()));
        let bytes = std::fs::read(path).map_err(|error| at(error.to_string()))?;
        let network = if Classifier::is_in(&bytes) {
            Classifier::from_bytes(&bytes, device).map(|network| Self::Classifier(Box::new(network)))
        } else {
            FeatureNetwork::from_bytes(&bytes, device).map(|network| Self::Pretrained(Box::new(network)))
        };
        network.map_err(|error| at(error.to_string()))
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
    Network::open(check_network(args)?, device)
}
