//! Captioned pictures for GAN training.
//!
//! A [`Source`] hands out one [`Example`] by its index; [`scenes::Scenes`] draws them, [`folder::Folder`] reads them
//! from a directory or an archive, [`mnist::Mnist`] reads digits. [`loader::Loader`] turns a source into batches, in worker threads, in an order that
//! depends on the seed alone.

pub mod convert;
pub mod decode;
pub mod error;
pub mod folder;
pub mod gif;
pub mod inspect;
pub mod loader;
pub mod mnist;
pub mod scenes;
pub mod sheet;
pub mod text;

pub use error::{DataError, Result};
/// Named random streams.
pub use shenbi_rng as rng;

/// A picture: 8-bit samples, rows from the top, channels interleaved, alpha not premultiplied.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Picture {
    /// Pixels per row.
    pub width: usize,
    /// Number of rows.
    pub height: usize,
    /// 1 (grey), 3 (RGB) or 4 (RGBA).
    pub channels: usize,
    /// `height * width * channels` samples.
    pub pixels: Vec<u8>,
}

/// A picture and the captions that describe it.
#[derive(Clone, Debug)]
pub struct Example {
    /// The picture, at the size its source was opened with.
    pub picture: Picture,
    /// At least one caption; several are paraphrases or translations of each other.
    pub captions: Vec<String>,
}

/// Something that hands out examples by index. Equal indices give equal examples, on every machine.
#[expect(clippy::len_without_is_empty, reason = "no source is empty: opening one that would be is an error")]
pub trait Source: Send + Sync {
    /// Number of examples, or `None` for an endless source (any index is valid).
    fn len(&self) -> Option<u64>;

    /// The example at `index`.
    ///
    /// # Errors
    /// The file cannot be read or decoded; the error names it.
    fn get(&self, index: u64) -> Result<Example>;

    /// The captions of the example at `index`, without its picture where the source can do so.
    ///
    /// # Errors
    /// As [`Source::get`].
    fn captions(&self, index: u64) -> Result<Vec<String>> {
        Ok(self.get(index)?.captions)
    }

    /// For each caption of the example at `index`, one of nearly the same words that is not true of the picture, from which
    /// a model learns what the order of words means; empty where there are none.
    ///
    /// # Errors
    /// As [`Source::get`].
    fn contraries(&self, _index: u64) -> Result<Vec<String>> {
        Ok(Vec::new())
    }

    /// The class of the example at `index`, a place in [`Source::classes`]; nothing where there are no classes.
    fn class(&self, _index: u64) -> Option<usize> {
        None
    }

    /// The names of the classes; empty where there are none.
    fn classes(&self) -> &[String] {
        &[]
    }

    /// Channels of every picture this source hands out: 1, 3 or 4.
    fn channels(&self) -> usize;

    /// Height and width of every picture this source hands out.
    fn size(&self) -> [usize; 2];
}
