//! CLIP's opinion in the generator's loss: how far a picture is from its caption (as in GALIP, 2301.12959, section 3.3, and
//! StyleCLIP, 2103.17249, eq. 1). CLIP stays as it is; captions are read once.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use shenbi_data::Source;
use shenbi_models::backbone::Vit;
use shenbi_models::encoder::clip::{Clip, distance};

use crate::config::BrushRecipe;
use crate::embeddings::Embeddings;
use crate::session::TrainError;

/// CLIP's picture tower, and what its other tower says of the captions.
pub struct Guidance {
    tower: Vit,
    captions: Embeddings,
}

impl Guidance {
    /// The CLIP that the settings name, if they do; folder: where its embeddings of the captions are kept, if anywhere.
    ///
    /// # Errors
    /// There is none in its folder, or another one than the run began with; the captions cannot be read.
    pub fn open(
        recipe: &BrushRecipe,
        source: &dyn Source,
        folder: Option<&Path>,
        device: &Device,
    ) -> Result<Option<Self>, TrainError> {
        let path = recipe.clip.as_str();
        if path.is_empty() {
            return Ok(None);
        }
        let clip = opened(path, device).map_err(TrainError::Setting)?;
        let (found, expected) = (&clip.texts.fingerprint, &recipe.clip_sha256);
        if !expected.is_empty() && found != expected {
            return Err(TrainError::Setting(format!(
                "clip {path}: its fingerprint is {found}, the run was begun with {expected}: put those files back, or name \
                 their new place as clip in config.toml"
            )));
        }
        let mut captions = Embeddings::new(clip.texts, path);
        if let Some(folder) = folder {
            captions.read(source, folder)?;
        }
        Ok(Some(Self { tower: clip.pictures, captions }))
    }

    /// The mean of 1 - cos(picture, caption), `[1]`. pictures: `[b, c, h, w]` in [-1, 1].
    pub(crate) fn distance(
        &mut self,
        pictures: Tensor<4>,
        captions: &[&str],
        device: &Device,
    ) -> Result<Tensor<1>, String> {
        let texts = self.captions.get(captions).map_err(|error| error.to_string())?;
        let shape = [captions.len(), self.captions.config.dim];
        let texts = Tensor::from_data(TensorData::new(texts, shape), device);
        Ok(distance(&self.tower, pictures, texts))
    }
}

/// What tells the CLIP in a folder from others; nothing where none is named.
///
/// # Errors
/// There is none; the text says what is missing.
pub fn hash(path: &str) -> Result<String, String> {
    if path.is_empty() {
        return Ok(String::new());
    }
    opened(path, &Device::flex()).map(|clip| clip.texts.fingerprint)
}

fn opened(path: &str, device: &Device) -> Result<Clip, String> {
    // The error names a text encoder, which is one of its towers.
    Clip::open(Path::new(path), device).map_err(|error| format!("clip: {error}"))
}
