//! Sample grids: the same prompts with the same noise, again and again, so that a person sees what changed.

use std::path::Path;

use shenbi_data::{DataError, Picture, convert, decode, rng, sheet};
use shenbi_models::text_to_image::painter::{Painter, PainterError};
use shenbi_nn::weights;

use crate::config::BrushRecipe;

/// Pictures a prompt.
const NOISES: usize = 4;

/// Why samples could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The model refuses.
    #[error(transparent)]
    Paint(#[from] PainterError),
    /// The picture cannot be written.
    #[error(transparent)]
    Write(#[from] DataError),
}

/// What the grids show.
#[derive(Debug)]
pub struct Samples {
    prompts: Vec<String>,
    noise: Vec<Vec<f32>>,
}

impl Samples {
    /// `prompts`, each with the same four noises.
    pub fn new(recipe: &BrushRecipe, prompts: Vec<String>) -> Self {
        let noise = |i| noise(recipe.seed, "samples", i, recipe.noise);
        Self { prompts, noise: (0..NOISES as u64).map(noise).collect() }
    }

    /// Paints the grid with `painter` and writes it to `path` as PNG.
    ///
    /// # Errors
    /// A prompt cannot be encoded, or the file not be written.
    pub fn write(&self, painter: &Painter, path: &Path) -> Result<(), SampleError> {
        let mut rows = Vec::with_capacity(self.prompts.len());
        for prompt in &self.prompts {
            let pictures = self.noise.iter().map(|noise| paint(painter, prompt, noise));
            rows.push((prompt.clone(), pictures.collect::<Result<Vec<_>, _>>()?));
        }
        Ok(decode::write_png(path, &sheet::sheet(&rows, NOISES, None))?)
    }
}

/// Normal noise of the stream `name` of `seed` at `position`: a picture's individuality.
pub fn noise(seed: u64, name: &str, position: u64, dim: usize) -> Vec<f32> {
    let mut stream = rng::stream(seed, name, position);
    (0..dim).map(|_| rng::normal(&mut stream)).collect()
}

/// The picture of `prompt` with `noise`. Alone in its batch, so that its last bit does not depend on its neighbours.
///
/// # Errors
/// The prompt cannot be encoded.
pub fn paint(painter: &Painter, prompt: &str, noise: &[f32]) -> Result<Picture, PainterError> {
    let ([height, width], channels) = (painter.config.brush.size, painter.config.brush.channels);
    let floats = weights::values(painter.paint(&[prompt], noise.to_vec())?).data; // [1, c, h, w]
    Ok(convert::from_floats(&floats, channels, height, width))
}
