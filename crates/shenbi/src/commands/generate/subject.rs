//! What a picture is to show: a prompt, a class, or anything the model makes.

use serde::Serialize;
use shenbi_data::{Picture, rng};
use shenbi_models::model::Model;
use shenbi_train::config::nearest;
use shenbi_train::samples::{make as make_image, paint};

use crate::failure::Failure;

/// What to make.
#[derive(Clone, Debug, Serialize)]
#[serde(untagged)]
pub enum Subject {
    /// A sentence.
    Prompt {
        /// As given.
        prompt: String,
    },
    /// A class of the model.
    Class {
        /// Its name.
        class: String,
        /// Its place.
        #[serde(skip)]
        place: usize,
    },
    /// Whatever the noise says.
    Any {
        /// The recipe of the model: what to call its pictures.
        recipe: String,
    },
}

impl Subject {
    /// What to call it.
    pub fn label(&self) -> String {
        match self {
            Self::Prompt { prompt: name } | Self::Class { class: name, .. } | Self::Any { recipe: name } => {
                name.clone()
            }
        }
    }
}

/// What the person asked `model` for.
pub fn subjects(model: &Model, prompts: Vec<String>, classes: &[String]) -> Result<Vec<Subject>, Failure> {
    let model = match model {
        Model::Painter(_) if !classes.is_empty() => {
            return Err(Failure::usage("--class: this model paints sentences; say the class in a prompt"));
        }
        Model::Painter(_) if prompts.is_empty() => {
            return Err(Failure::usage(
                "no prompt; say what to paint, as in: shenbi generate \"a red circle on a blue background\"",
            ));
        }
        Model::Painter(_) => return Ok(prompts.into_iter().map(|prompt| Subject::Prompt { prompt }).collect()),
        Model::Image(model) => model,
        Model::Text(model) => return Err(of_texts(&model.recipe)),
    };
    let known = &model.config.classes;
    if let Some(prompt) = prompts.first() {
        let remedy = match known.first() {
            Some(class) => format!("choose a class, as in --class '{class}'"),
            None => "leave the prompt out".to_string(),
        };
        return Err(Failure::usage(format!(
            "'{prompt}': a model of {} understands no sentences; {remedy}",
            model.recipe
        )));
    }
    let class = |(place, class): (usize, &String)| Subject::Class { class: class.clone(), place };
    match (known.is_empty(), classes.is_empty()) {
        (true, true) => Ok(vec![Subject::Any { recipe: model.recipe.clone() }]),
        (true, false) => Err(Failure::usage("--class: this model was trained without classes; leave it out")),
        (false, true) => Ok(known.iter().enumerate().map(class).collect()),
        (false, false) => classes
            .iter()
            .map(|asked| {
                known.iter().enumerate().find(|(_, known)| *known == asked).map(class).ok_or_else(|| {
                    let nearest = nearest(known.iter().map(String::as_str), asked);
                    let all: String = known.join(", ").chars().take(400).collect();
                    Failure::usage(format!("--class {asked}: no such class; did you mean '{nearest}'? (all: {all})"))
                })
            })
            .collect(),
    }
}

/// The picture number `index` of `subject`.
pub fn make(
    model: &Model,
    subject: &Subject,
    seed: u64,
    index: u64,
    truncation: Option<f32>,
) -> Result<Picture, Failure> {
    make_of(model, subject, &noise(seed, index, dim(model), truncation))
}

/// The picture of `subject` with this noise, [`dim`] numbers.
pub fn make_of(model: &Model, subject: &Subject, noise: &[f32]) -> Result<Picture, Failure> {
    Ok(match (model, subject) {
        (Model::Painter(painter), subject) => paint(painter, &subject.label(), noise)?,
        (Model::Image(model), Subject::Class { place, .. }) => make_image(model, *place, noise),
        (Model::Image(model), _) => make_image(model, 0, noise),
        (Model::Text(model), _) => return Err(of_texts(&model.recipe)),
    })
}

/// Numbers of noise a picture.
pub fn dim(model: &Model) -> usize {
    match model {
        Model::Painter(painter) => painter.config.network.noise(),
        Model::Image(model) => model.config.network.noise(),
        Model::Text(_) => 0,
    }
}

/// A model of texts was asked for a picture.
fn of_texts(recipe: &str) -> Failure {
    Failure::usage(format!("a model of the recipe {recipe} writes texts, and makes no pictures"))
}

/// Normal numbers; those beyond `truncation` are drawn again (BigGAN, 1809.11096, section 3.1).
pub fn noise(seed: u64, index: u64, dim: usize, truncation: Option<f32>) -> Vec<f32> {
    let mut stream = rng::stream(seed, "generate", index);
    let mut draw = || loop {
        let number = rng::normal(&mut stream);
        if truncation.is_none_or(|most| number.abs() <= most) {
            return number;
        }
    };
    (0..dim).map(|_| draw()).collect()
}

/// Reads `--truncation`.
pub fn truncation(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(size) if (0.01..=100.0).contains(&size) => Ok(size),
        _ => Err("expected a number from 0.01 to 100".to_string()),
    }
}
