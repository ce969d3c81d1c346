//! Training on texts: what is read, the steps, the loop.

mod base;
pub mod data;
mod gan_text;
mod mle;
mod relgan;
mod seqgan;
pub mod session;

pub use data::TextData;
pub use session::START;

use shenbi_models::text::Sequences;

use crate::config::{Method, TextRecipe};
use crate::trainer::{Devices, Trainer};

/// The networks of a recipe, untrained.
///
/// # Errors
/// The recipe's shapes do not fit.
pub fn untrained(
    recipe: &TextRecipe,
    data: &TextData,
    devices: &Devices,
) -> Result<Box<dyn Trainer<Sequences>>, String> {
    Ok(match recipe.method {
        Method::Likelihood => Box::new(mle::MleTrainer::new(recipe, data, devices)?),
        Method::Seqgan => Box::new(seqgan::SeqganTrainer::new(recipe, data, devices)?),
        Method::Relgan => Box::new(relgan::RelganTrainer::new(recipe, data, devices)?),
        Method::Ppo => Box::new(gan_text::GanTextTrainer::new(recipe, data, devices)?),
    })
}
