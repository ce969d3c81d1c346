//! Which models of texts stand beside each other.

use std::path::Path;

use burn::tensor::Device;
use shenbi_models::model::Model;
use shenbi_models::text::TextModel;
use shenbi_train::text::START;

use crate::failure::Failure;
use crate::model;

/// The model called `name`, its own start where it is a run with a game, and those `against` it: what each is called in
/// the table, where it is, and itself.
pub fn sides(name: &str, model: TextModel, against: &[String]) -> Result<Vec<(String, String, TextModel)>, Failure> {
    let mut sides = vec![(name.to_string(), name.to_string(), model)];
    let start = Path::new(name).join(START);
    if start.is_file() {
        let path = start.to_string_lossy().into_owned();
        let model = texts(&path)?;
        sides.push((format!("{name}, its start"), path, model));
    }
    for other in against {
        sides.push((other.clone(), other.clone(), texts(other)?));
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
