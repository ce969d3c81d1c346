//! Which models of texts stand beside each other.

use std::path::Path;

use burn::tensor::Device;
use shenbi_models::model::Model;
use shenbi_models::text::TextModel;
use shenbi_train::text::START;

use crate::failure::Failure;
use crate::model;

/// A model of texts beside others.
pub struct Side {
    /// What the table calls it.
    pub name: String,
    /// Where it is.
    pub path: String,
    /// Itself.
    pub model: TextModel,
}

/// The model called `name`, its own start where it is a run with a game, and those `against` it.
pub fn sides(name: &str, model: TextModel, against: &[String]) -> Result<Vec<Side>, Failure> {
    let mut sides = vec![Side { name: name.to_string(), path: name.to_string(), model }];
    let start = Path::new(name).join(START);
    if start.is_file() {
        let path = start.to_string_lossy().into_owned();
        sides.push(Side { name: format!("{name}, its start"), model: texts(&path)?, path });
    }
    for other in against {
        sides.push(Side { name: other.clone(), path: other.clone(), model: texts(other)? });
    }
    Ok(sides)
}

fn texts(name: &str) -> Result<TextModel, Failure> {
    match model::load(name, &Device::flex(), None)? {
        Model::Text(model) => Ok(model),
        Model::Painter(_) | Model::Image(_) => {
            Err(Failure::usage(format!("--against {name}: a model of pictures; give one of texts")))
        }
    }
}
