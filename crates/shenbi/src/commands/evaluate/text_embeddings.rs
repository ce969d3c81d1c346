//! The Fréchet distance of sentence embeddings ("FD" of 1806.04936, there with InferSent): of texts from real ones, by an
//! encoder that others trained.

use std::path::Path;

use burn::tensor::Device;
use shenbi_metrics::{Frechet, Moments, Reference};
use shenbi_models::encoder::pretrained::Pretrained;

use super::failed;
use crate::failure::Failure;

/// Texts of a side that are read, at most.
const MOST: usize = 5000;

/// An encoder and what it makes of real texts.
pub struct Embeddings {
    encoder: Pretrained,
    real: Reference,
}

impl Embeddings {
    /// The encoder in `folder`, and the texts that others are compared with.
    pub fn open(folder: &Path, real: &[&str]) -> Result<Self, Failure> {
        let encoder = Pretrained::open(folder, &Device::flex())
            .map_err(|error| Failure::Failed(format!("--sentence-encoder {}: {error}", folder.display())))?;
        let real = Reference::new(moments(&encoder, real)?.gaussian().map_err(failed)?).map_err(failed)?;
        Ok(Self { encoder, real })
    }

    /// How far these texts are, with a warning where they are too few to tell.
    pub fn distance(&self, texts: &[&str]) -> Result<Frechet, Failure> {
        let gaussian = moments(&self.encoder, texts)?.gaussian().map_err(failed)?;
        self.real.distance(&gaussian, "").map_err(failed)
    }

    /// Which encoder it is.
    pub fn protocol(&self) -> String {
        format!("embeddings of {} numbers by the encoder {:.12}", self.encoder.dim(), self.encoder.fingerprint)
    }
}

fn moments(encoder: &Pretrained, texts: &[&str]) -> Result<Moments, Failure> {
    let texts = &texts[..texts.len().min(MOST)];
    let embeddings = encoder.encode(texts, &mut |_| ()).map_err(|error| Failure::Failed(error.to_string()))?;
    let mut moments = Moments::new(encoder.dim());
    moments.add(&embeddings).map_err(failed)?;
    Ok(moments)
}
