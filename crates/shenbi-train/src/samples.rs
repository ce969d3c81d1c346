//! Sample grids: the same prompts or classes with the same noise, again and again, so that a person sees what changed.

use std::path::{Path, PathBuf};

use shenbi_data::{DataError, Picture, convert, decode, rng, sheet};
use shenbi_models::image::ImageModel;
use shenbi_models::model::Model;
use shenbi_models::text_to_image::painter::{Painter, PainterError};
use shenbi_nn::weights;

use crate::atomic::write_atomic;
use crate::error::RunError;
use crate::session::Event;

/// Pictures a prompt.
const NOISES: usize = 4;
/// Pictures a row, and rows, of a grid of pictures without prompts.
const GRID: [usize; 2] = [10, 6];
/// Rows of a grid by class, at most.
const CLASSES: usize = 10;

/// Texts.
const TEXTS: usize = 40;

/// Why samples could not be made.
#[derive(Debug, thiserror::Error)]
pub enum SampleError {
    /// The model refuses.
    #[error(transparent)]
    Paint(#[from] PainterError),
    /// The picture cannot be written.
    #[error(transparent)]
    Write(#[from] DataError),
    /// The texts cannot be written.
    #[error(transparent)]
    Text(RunError),
}

/// What the grids show.
#[derive(Debug)]
pub struct Samples {
    prompts: Vec<String>,
    seed: u64,
}

impl Samples {
    /// `prompts`, each with the same four noises; for a model without sentences, a grid, by class where there are any.
    pub fn new(seed: u64, prompts: Vec<String>) -> Self {
        Self { prompts, seed }
    }

    /// [`Self::write`], which a run survives: a failure is a warning. Returns the path of what was written.
    pub(crate) fn show(&self, model: &Model, path: PathBuf, on_event: &mut dyn FnMut(Event<'_>)) -> Option<PathBuf> {
        match self.write(model, &path) {
            Ok(()) => {
                on_event(Event::Sample(path.clone()));
                Some(path)
            }
            Err(error) => {
                on_event(Event::Warning(format!("no sample at {}: {error}", path.display())));
                None
            }
        }
    }

    /// Makes the grid with `model` and writes it to `path` as PNG; texts, as lines.
    ///
    /// # Errors
    /// A prompt cannot be encoded, or the file not be written.
    fn write(&self, model: &Model, path: &Path) -> Result<(), SampleError> {
        let grid = match model {
            Model::Painter(painter) => self.painted(painter)?,
            Model::Image(model) => self.grid(model),
            Model::Text(model) => {
                let mut stream = rng::stream(self.seed, "samples", 0);
                let texts = model.decode(&model.write(TEXTS, 1.0, || rng::uniform(&mut stream)));
                let written = write_atomic(path, (texts.join("\n") + "\n").as_bytes());
                return written.map_err(SampleError::Text);
            }
        };
        Ok(decode::write_png(path, &grid)?)
    }

    fn painted(&self, painter: &Painter) -> Result<Picture, PainterError> {
        let noise = |i| noise(self.seed, "samples", i, painter.config.network.noise());
        let noises: Vec<_> = (0..NOISES as u64).map(noise).collect();
        let mut rows = Vec::with_capacity(self.prompts.len());
        for prompt in &self.prompts {
            let pictures = noises.iter().map(|noise| paint(painter, prompt, noise));
            rows.push((prompt.clone(), pictures.collect::<Result<Vec<_>, _>>()?));
        }
        Ok(sheet::sheet(&rows, NOISES, None))
    }

    fn grid(&self, model: &ImageModel) -> Picture {
        let [columns, rows] = GRID;
        let made = |class: usize, count: usize| -> Vec<Picture> {
            (0..count as u64).map(|i| make(model, class, &self.noise(model, i))).collect()
        };
        if model.config.classes.is_empty() {
            return sheet::grid(&made(0, columns * rows), columns);
        }
        let classes = model.config.classes.iter().take(CLASSES).enumerate();
        let rows: Vec<_> = classes.map(|(class, name)| (name.clone(), made(class, columns))).collect();
        sheet::sheet(&rows, columns, None)
    }

    fn noise(&self, model: &ImageModel, i: u64) -> Vec<f32> {
        noise(self.seed, "samples", i, model.config.network.noise())
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
    let ([height, width], channels) = (painter.config.network.size(), painter.config.network.channels());
    let floats = weights::values(painter.paint(&[prompt], noise.to_vec())?).data; // [1, c, h, w]
    Ok(convert::from_floats(&floats, channels, height, width))
}

/// The picture of a class (ignored where there are none) with `noise`, alone in its batch like [`paint`]'s.
pub fn make(model: &ImageModel, class: usize, noise: &[f32]) -> Picture {
    let network = &model.config.network;
    let floats = weights::values(model.paint(noise.to_vec(), &[class])).data; // [1, c, h, w]
    convert::from_floats(&floats, network.channels(), network.size(), network.size())
}
