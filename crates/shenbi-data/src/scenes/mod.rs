//! Captioned scenes, drawn by the program itself: a data set without a download.
//!
//! A [`Scene`] is the description (which objects, where, on what); it can be drawn at any size, captioned in English
//! and Chinese, and asked for its [`Attributes`], the labels an evaluation judges. [`Scenes`] is the endless
//! [`Source`] of them: example `i` depends on the seed, the level, the split and `i` alone.
//!
//! Three things are kept from a learner on purpose: the [`HELD_OUT`] combinations of colour and shape (a model that
//! paints them has understood the words), and an equal object and background colour.
//!
//! | file | holds |
//! |---|---|
//! | `words` | shapes, colours, sizes, relations and their names |
//! | `split` | the held-out combinations |
//! | `scene` | what is where |
//! | `palette`, `art`, `draw` | how it looks |
//! | `english`, `chinese` | how it is told |
//! | `showcase` | six prompts worth a look |

mod art;
mod chinese;
mod draw;
mod english;
mod palette;
mod scene;
mod showcase;
mod split;
#[cfg(test)]
mod tests;
mod words;

pub use scene::{Attributes, Background, Level, Object, Scene};
pub use showcase::showcase;
pub use split::{HELD_OUT, Split, is_held_out};
pub use words::{Colour, Relation, Shape, Size};

use crate::rng::stream;
use crate::{DataError, Example, Result, Source};

/// Which scenes, and how large.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct ScenesOptions {
    /// Height and width in pixels, 16 to 1024 each.
    pub size: [usize; 2],
    /// How much is in a picture.
    pub level: Level,
    /// Other seeds, other scenes.
    pub seed: u64,
    /// Combinations for training, or those held out.
    pub split: Split,
}

impl Default for ScenesOptions {
    fn default() -> Self {
        Self { size: [32, 32], level: Level::One, seed: 0, split: Split::Train }
    }
}

/// Endless captioned scenes.
///
/// ```
/// use shenbi_data::Source;
/// use shenbi_data::scenes::{Scenes, ScenesOptions};
/// let scenes = Scenes::new(ScenesOptions::default())?;
/// let example = scenes.get(7)?;
/// assert_eq!(example.picture.pixels.len(), 32 * 32 * 3);
/// assert_eq!(example.captions.len(), 2); // English, Chinese
/// assert_eq!(scenes.scene(7).attributes().count, 1);
/// # Ok::<(), shenbi_data::DataError>(())
/// ```
#[derive(Clone, Debug)]
pub struct Scenes {
    options: ScenesOptions,
}

impl Scenes {
    /// The source these options describe.
    ///
    /// # Errors
    /// A side of `size` is outside 16 to 1024.
    pub fn new(options: ScenesOptions) -> Result<Self> {
        let [h, w] = options.size;
        for (side, pixels) in [("height", h), ("width", w)] {
            if !(16..=1024).contains(&pixels) {
                let message = format!("scenes: {side} is {pixels}, expected 16 to 1024 pixels");
                return Err(DataError::Setting(message));
            }
        }
        Ok(Self { options })
    }

    /// What these scenes were asked to be.
    #[must_use]
    pub fn options(&self) -> &ScenesOptions {
        &self.options
    }

    /// The description of example `index`.
    #[must_use]
    pub fn scene(&self, index: u64) -> Scene {
        Scene::sample(&mut self.stream("scene", index), self.options.level, self.options.split)
    }

    /// Splits have streams of their own: what is held out says nothing about the training example of that index.
    fn stream(&self, purpose: &str, index: u64) -> rand_chacha::ChaCha8Rng {
        let split = match self.options.split {
            Split::Train => "train",
            Split::HeldOut => "held-out",
        };
        stream(self.options.seed, &format!("scenes/{split}/{purpose}"), index)
    }
}

impl Source for Scenes {
    fn len(&self) -> Option<u64> {
        None
    }

    fn get(&self, index: u64) -> Result<Example> {
        let scene = self.scene(index);
        Ok(Example {
            picture: scene.draw(self.options.size, &mut self.stream("draw", index)),
            captions: scene.captions(&mut self.stream("captions", index)),
        })
    }

    fn captions(&self, index: u64) -> Result<Vec<String>> {
        Ok(self.scene(index).captions(&mut self.stream("captions", index)))
    }

    /// The same captions with the objects the other way round.
    fn contraries(&self, index: u64) -> Result<Vec<String>> {
        let scene = self.scene(index).turned();
        Ok(scene.map_or_else(Vec::new, |scene| scene.captions(&mut self.stream("captions", index))))
    }

    fn channels(&self) -> usize {
        3
    }

    fn size(&self) -> [usize; 2] {
        self.options.size
    }
}
