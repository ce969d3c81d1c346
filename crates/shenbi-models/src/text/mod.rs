//! Language models and text GANs: what reads and writes tokens, and what judges them.
//!
//! Token 0 stands before every text and, where texts end of themselves, after it; padding is more of it.

pub mod gan_text;
pub mod gpt;
pub mod language;
pub mod lstm;
pub mod model;
pub mod oracle;
pub mod relgan;
pub mod seqgan;
pub mod tokenizer;

pub use language::{Language, LanguageConfig, Reader};
pub use model::TextModel;

/// The token before and after a text.
pub const END: u32 = 0;

/// Equally long rows of tokens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Sequences {
    /// Tokens a row.
    pub length: usize,
    /// `[rows, length]`
    pub ids: Vec<u32>,
}

impl Sequences {
    /// Number of rows.
    pub fn rows(&self) -> usize {
        self.ids.len() / self.length.max(1)
    }

    /// The tokens of each row.
    pub fn iter(&self) -> impl Iterator<Item = &[u32]> {
        self.ids.chunks(self.length.max(1))
    }

    /// The rows at these places.
    #[must_use]
    pub fn select(&self, places: &[usize]) -> Self {
        let ids = places.iter().flat_map(|place| &self.ids[place * self.length..][..self.length]).copied().collect();
        Self { length: self.length, ids }
    }

    /// 1 for every token up to the first [`END`], which counts, 0 after it; all 1 where texts do not end of themselves.
    pub fn mask(&self, ends: bool) -> Vec<f32> {
        let mut mask = Vec::with_capacity(self.ids.len());
        for row in self.iter() {
            let count = if ends { text_length(row) } else { row.len() };
            mask.extend((0..row.len()).map(|place| f32::from(u8::from(place < count))));
        }
        mask
    }
}

/// Tokens up to the first [`END`], it included.
pub fn text_length(row: &[u32]) -> usize {
    row.iter().position(|token| *token == END).map_or(row.len(), |place| place + 1)
}
