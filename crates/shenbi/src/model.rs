//! The model to paint with: the one inside the program, or one from a file or a run.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use shenbi_models::encoder::pretrained::Pretrained;
use shenbi_models::model::Model;
use shenbi_train::checkpoint;

use crate::failure::Failure;

/// Trained on the scenes, levels one and two, 64x64; see its card in `models/`.
static BUILTIN: &[u8] = include_bytes!("../../../models/brush-scenes-64.safetensors");

/// What `--model` calls it.
pub const BUILTIN_NAME: &str = "builtin";

/// The model that `--model` names, with the text encoder it needs: the one that `--text-encoder` names, or the one it was
/// trained with, if that is still there.
pub fn load(name: &str, device: &Device, encoder: Option<&Path>) -> Result<Model, Failure> {
    let mut model = read(name, device)?;
    let Model::Painter(painter) = &mut model else {
        return match encoder {
            None => Ok(model),
            Some(_) => Err(Failure::usage("--text-encoder: this model reads no sentences; leave it out")),
        };
    };
    let path = match (encoder, &painter.config.pretrained) {
        (None, None) => return Ok(model),
        (Some(path), _) => path.to_path_buf(),
        (None, Some(trained)) if Path::new(&trained.path).exists() => trained.path.clone().into(),
        (None, Some(trained)) => {
            return Err(Failure::Failed(format!(
                "--model {name}: its text encoder was at {}, where nothing is now; give its folder with --text-encoder",
                trained.path
            )));
        }
    };
    if painter.config.pretrained.is_none() {
        return Err(Failure::usage("--text-encoder: this model has a text encoder of its own; leave it out"));
    }
    // On the CPU, wherever the model is.
    let opened = Pretrained::open(&path, &Device::flex()).map_err(|error| Failure::Failed(error.to_string()))?;
    painter.attach(Arc::new(opened)).map_err(|error| Failure::Failed(format!("{}: {error}", path.display())))?;
    Ok(model)
}

fn read(name: &str, device: &Device) -> Result<Model, Failure> {
    if name == BUILTIN_NAME {
        return Model::from_bytes(BUILTIN, device)
            .map_err(|error| Failure::Failed(format!("the built-in model: {error}")));
    }
    let path = checkpoint::model_path(Path::new(name))?;
    let failed = |error: &dyn std::fmt::Display| Failure::Failed(format!("--model {}: {error}", path.display()));
    let bytes = std::fs::read(&path).map_err(|error| failed(&error))?;
    Model::from_bytes(&bytes, device).map_err(|error| failed(&error))
}
