//! How good are generated texts: likelihoods, n-grams shared with real texts, variety, and what was learnt by heart.
//!
//! N-gram measures work on [`Words`]: numbers for words (or characters), equal where the words are.

pub mod bleu;
pub mod likelihood;
pub mod ngrams;

use std::collections::HashMap;

pub use bleu::{References, self_bleu};
pub use likelihood::{JudgeOptions, Likelihood, judge, known, likelihood};
pub use ngrams::{copied, distinct};

/// Gives the same word the same number, for texts of several sources.
#[derive(Debug, Default)]
pub struct Words {
    known: HashMap<String, u32>,
}

impl Words {
    /// The words of a text; characters without white space, where these are the words.
    pub fn of(&mut self, text: &str, characters: bool) -> Vec<u32> {
        if characters {
            let mut buffer = [0; 4];
            let kept = text.chars().filter(|c| !c.is_whitespace());
            return kept.map(|c| self.number(c.encode_utf8(&mut buffer))).collect();
        }
        text.split_whitespace().map(|word| self.number(word)).collect()
    }

    fn number(&mut self, word: &str) -> u32 {
        let next = self.known.len() as u32;
        match self.known.get(word) {
            Some(number) => *number,
            None => *self.known.entry(word.to_string()).or_insert(next),
        }
    }
}
