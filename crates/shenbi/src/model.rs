//! The model to paint with: the one inside the program, or one from a file or a run.

use std::path::Path;

use burn::tensor::Device;
use shenbi_models::model::Model;
use shenbi_train::checkpoint;

use crate::failure::Failure;

/// Trained on the scenes, levels one and two, 64x64; see its card in `models/`.
static BUILTIN: &[u8] = include_bytes!("../../../models/brush-scenes-64.safetensors");

/// What `--model` calls it.
pub const BUILTIN_NAME: &str = "builtin";

/// The model that `--model` names.
pub fn load(name: &str, device: &Device) -> Result<Model, Failure> {
    if name == BUILTIN_NAME {
        return Model::from_bytes(BUILTIN, device)
            .map_err(|error| Failure::Failed(format!("the built-in model: {error}")));
    }
    let path = checkpoint::model_path(Path::new(name))?;
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(format!("--model {}: {error}", path.display()));
    let bytes = std::fs::read(&path).map_err(|error| failed(&error))?;
    Model::from_bytes(&bytes, device).map_err(|error| failed(&error))
}
