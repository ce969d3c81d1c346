//! How well pictures show their captions, by CLIP (CLIPScore: Hessel et al., 2104.08718, eq. 1, with a weight of 100
//! instead of 2.5, as torchmetrics has it): the mean over pictures of
//!
//! 100 · max(cos(E_I, E_T), 0)
//!
//! of a picture's and its caption's embeddings. Captions are given as they are, without the paper's "A photo depicts".
//! torchmetrics takes the maximum of the mean, the paper the mean of maxima: the same where no cosine is negative.
//!
//! On the same embeddings [`crate::r_precision::from_embeddings`] asks which caption is a picture's own.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use serde::Serialize;
use shenbi_data::Picture;
use shenbi_models::encoder::clip::Clip;
use shenbi_nn::kernels::in_f32;
use shenbi_nn::ops::normalize;
use shenbi_nn::weights;

use crate::features::{Kind, Preprocessing, Recipe};
use crate::{MetricsError, Result};

/// Pictures that pass through the network at once.
const BATCH: usize = 16;

/// How well pictures show their captions.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClipScore {
    /// What was measured by what; figures with different protocols do not compare.
    pub protocol: String,
    /// Pictures.
    pub n: usize,
    /// Mean, from 0 to 100; real photographs reach some 30 with ViT-B/32.
    pub score: f64,
    /// Standard error of the mean.
    pub error: f64,
}

/// CLIP's two towers, as judge of pictures and captions.
#[derive(Debug)]
pub struct ClipJudge {
    clip: Clip,
    recipe: Recipe,
    device: Device,
    id: String,
}

impl ClipJudge {
    /// The networks in a folder as Hugging Face has it (`config.json`, `model.safetensors`, a tokenizer).
    ///
    /// # Errors
    /// A file is missing or damaged, or the folder holds no CLIP for pictures of 224x224.
    pub fn open(path: &Path, device: &Device) -> Result<Self> {
        let device = device.clone().without_autodiff();
        let clip = Clip::open(path, &device).map_err(|error| MetricsError::Setting(error.to_string()))?;
        let recipe = Recipe::new(Kind::ClipB32, Preprocessing::Own)?;
        let hash = clip.texts.fingerprint.get(..8).unwrap_or_default();
        let id = format!("clip-patch{}:{hash}/{}", clip.pictures.patch.stride, recipe.id());
        Ok(Self { clip, recipe, device, id })
    }

    /// Its place in a protocol.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Numbers in an embedding.
    pub fn dim(&self) -> usize {
        self.clip.texts.dim()
    }

    /// The embeddings of pictures of any size, of length one, in f32 whatever precision is in force: grey becomes RGB,
    /// transparency is laid onto white.
    ///
    /// # Shapes
    /// returns `[pictures, dim]`, row-major.
    ///
    /// # Errors
    /// A picture is empty or too narrow, or an embedding is no finite numbers.
    pub fn embed_pictures(&self, pictures: &[Picture]) -> Result<Vec<f32>> {
        let side = self.recipe.side();
        let mut rows = Vec::with_capacity(pictures.len() * self.dim());
        for pictures in pictures.chunks(BATCH) {
            let prepared = pictures.par_iter().map(|picture| self.recipe.prepare(picture));
            let pixels: Vec<Vec<f32>> = prepared.collect::<Result<_>>()?;
            let data = TensorData::new(pixels.concat(), [pictures.len(), 3, side, side]);
            let x = Tensor::from_data(data, &self.device);
            rows.extend(weights::values(in_f32(|| normalize(self.clip.pictures.features(x)))).data);
        }
        finite(rows)
    }

    /// The embeddings of captions, of length one.
    ///
    /// # Shapes
    /// returns `[captions, dim]`, row-major.
    ///
    /// # Errors
    /// A caption cannot be encoded, or an embedding is no finite numbers.
    pub fn embed_texts<S: AsRef<str>>(&self, captions: &[S]) -> Result<Vec<f32>> {
        let mut rows = self.clip.texts.encode(captions, &mut |_| {})?;
        for row in rows.chunks_exact_mut(self.dim().max(1)) {
            let length = row.iter().map(|value| value * value).sum::<f32>().sqrt().max(1e-6);
            row.iter_mut().for_each(|value| *value /= length);
        }
        finite(rows)
    }
}

fn finite(rows: Vec<f32>) -> Result<Vec<f32>> {
    if rows.iter().all(|value| value.is_finite()) {
        return Ok(rows);
    }
    Err(MetricsError::Metadata("CLIP's embeddings are no finite numbers: its weights are damaged".to_string()))
}

/// The score of pictures and their captions, from embeddings of length one.
///
/// # Shapes
/// pictures, captions: `[n, dim]`, row-major.
///
/// # Errors
/// The lists are empty or of different lengths.
pub fn clip_score(pictures: &[f32], captions: &[f32], dim: usize, protocol: &str) -> Result<ClipScore> {
    let n = pictures.len() / dim.max(1);
    if n == 0 || pictures.len() != captions.len() || pictures.len() != n * dim {
        let message = format!("CLIP score: {} and {} numbers of pictures and captions", pictures.len(), captions.len());
        return Err(MetricsError::Setting(message));
    }
    let cosine = |(a, b): (&[f32], &[f32])| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let scores: Vec<f64> =
        pictures.chunks_exact(dim).zip(captions.chunks_exact(dim)).map(|pair| 100.0 * cosine(pair).max(0.0)).collect();
    let score = scores.iter().sum::<f64>() / n as f64;
    let variance = scores.iter().map(|one| (one - score).powi(2)).sum::<f64>() / (n.max(2) - 1) as f64;
    let error = (variance / n as f64).sqrt();
    Ok(ClipScore { protocol: format!("clip-score-v1/{protocol}/n={n}"), n, score, error })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Cosines of 0.6, -1 and 1: the second counts as none.
        let pictures = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        let captions = [0.6, 0.8, -1.0, 0.0, 0.0, 1.0];
        let found = clip_score(&pictures, &captions, 2, "test").unwrap();
        assert!((found.score - 160.0 / 3.0).abs() < 1e-5, "{found:?}");
        assert!((found.error - (7600.0_f64 / 9.0).sqrt()).abs() < 1e-4, "{found:?}");
        assert_eq!((found.protocol.as_str(), found.n), ("clip-score-v1/test/n=3", 3));
        assert_eq!(clip_score(&pictures[..2], &captions[..2], 2, "test").unwrap().error, 0.0);
        assert!(clip_score(&pictures, &captions[2..], 2, "test").is_err());
        assert!(clip_score(&[], &[], 2, "test").is_err());
    }
}
