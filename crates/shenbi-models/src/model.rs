//! A trained model of any kind, as a file.

use std::collections::HashMap;

use burn::tensor::Device;
use shenbi_nn::file;
use shenbi_nn::weights::Named;

use crate::image::ImageModel;
use crate::text::TextModel;
use crate::text_to_image::painter::{Painter, PainterError};

/// Version of the files' layout.
pub(crate) const FORMAT: &str = "1";

/// What can be generated with.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one a process")]
pub enum Model {
    /// Sentences to pictures.
    Painter(Painter),
    /// Noise to pictures.
    Image(ImageModel),
    /// Texts.
    Text(TextModel),
}

impl Model {
    /// The recipe that trained it.
    pub fn recipe(&self) -> &str {
        match self {
            Self::Painter(painter) => painter.config.network.recipe(),
            Self::Image(model) => &model.recipe,
            Self::Text(model) => &model.recipe,
        }
    }

    /// The file's bytes. half: weights as f16, half the size.
    ///
    /// # Errors
    /// The tokenizer or the tensors cannot be written.
    pub fn to_bytes(&self, half: bool) -> Result<Vec<u8>, PainterError> {
        match self {
            Self::Painter(painter) => painter.to_bytes(half),
            Self::Image(model) => of_kind("image", model.parts(), half),
            Self::Text(model) => of_kind("text", model.parts(), half),
        }
    }

    /// The model in `bytes`, on `device`.
    ///
    /// # Errors
    /// The bytes are no such model; the message says in what way.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Self, PainterError> {
        let (named, metadata) = file::from_bytes(bytes)?;
        let get = |key: &str| metadata.get(key).map_or("", String::as_str);
        let kind = get("kind");
        if !matches!(kind, "image" | "text") {
            return Painter::from_named(&named, &metadata, device).map(Self::Painter);
        }
        if get("format") != FORMAT {
            let message = format!("file format '{}', this program reads {FORMAT}: update it", get("format"));
            return Err(PainterError::Metadata(message));
        }
        if kind == "text" {
            let model = TextModel::from_parts(&metadata, &named, device);
            return model.map(Self::Text).map_err(PainterError::Metadata);
        }
        let model = ImageModel::from_parts(get("recipe"), get("config"), &named, device);
        model.map(Self::Image).map_err(PainterError::Metadata)
    }
}

/// The bytes of a model's tensors and metadata.
fn of_kind(
    kind: &str,
    parts: Result<(Named, HashMap<String, String>), String>,
    half: bool,
) -> Result<Vec<u8>, PainterError> {
    let (named, mut metadata) = parts.map_err(PainterError::Metadata)?;
    metadata.insert("format".to_string(), FORMAT.to_string());
    metadata.insert("kind".to_string(), kind.to_string());
    Ok(file::to_bytes(&named, metadata, half)?)
}
