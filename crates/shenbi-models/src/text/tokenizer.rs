//! Texts to tokens and back: words, characters, byte pairs, or plain numbers.

use std::collections::HashMap;

use serde::{Deserialize, Serialize};

use super::END;
use crate::encoder::tokenizer::{Tokenizer, TokenizerError};

/// What stands for every word or character that is not in the vocabulary.
const UNKNOWN: u32 = 1;
/// Their names; no text can hold them, as texts are split at spaces.
const SPECIAL: [&str; 2] = ["<end>", "<unknown>"];
/// Longer texts are cut here before anything else.
const MOST: usize = 1 << 16;

/// What a token is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Unit {
    /// What stands between spaces.
    Words,
    /// A character; where a file separates its characters by spaces, these are no part of the text.
    Characters,
    /// Byte pairs learnt from the texts (lower case).
    Bytes,
}

/// Texts to tokens and back.
#[derive(Clone, Debug)]
pub enum TextTokenizer {
    /// What stands between spaces.
    Words(Table),
    /// Characters.
    Characters {
        /// Known ones.
        table: Table,
        /// The texts separate characters by spaces.
        spaced: bool,
    },
    /// Byte pairs.
    Bytes(Box<Tokenizer>),
    /// Token k is the number k: sequences that are no texts.
    Numbers(usize),
}

/// Words by number and numbers by word.
#[derive(Clone, Debug)]
pub struct Table {
    words: Vec<String>,
    places: HashMap<String, u32>,
}

/// How a tokenizer is written into a file.
#[derive(Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "unit")]
enum Stored {
    Words { tokens: Vec<String> },
    Characters { tokens: Vec<String>, spaced: bool },
    Bytes { tokenizer: serde_json::Value },
    Numbers { count: usize },
}

impl Table {
    /// The commonest `most` words (the first met first among equals), the special ones included.
    fn learn<'a>(words: impl Iterator<Item = &'a str>, most: usize) -> Self {
        let mut counts: HashMap<&str, (usize, usize)> = HashMap::new();
        for (place, word) in words.enumerate() {
            counts.entry(word).or_insert((0, place)).0 += 1;
        }
        let mut ranked: Vec<(&str, (usize, usize))> = counts.into_iter().collect();
        ranked.sort_by_key(|(_, (count, place))| (std::cmp::Reverse(*count), *place));
        let known = ranked.into_iter().map(|(word, _)| word).filter(|word| !SPECIAL.contains(word));
        Self::new(SPECIAL.into_iter().chain(known).take(most.max(SPECIAL.len())).map(str::to_string).collect())
    }

    fn new(words: Vec<String>) -> Self {
        let places = words.iter().zip(0..).map(|(word, place)| (word.clone(), place)).collect();
        Self { words, places }
    }

    fn place(&self, word: &str) -> u32 {
        self.places.get(word).copied().filter(|place| *place > UNKNOWN).unwrap_or(UNKNOWN)
    }

    fn word(&self, place: u32) -> &str {
        self.words.get(place as usize).map_or(SPECIAL[1], String::as_str)
    }
}

/// A character as text.
fn character(of: char, buffer: &mut [u8; 4]) -> &str {
    of.encode_utf8(buffer)
}

impl TextTokenizer {
    /// Learns at most `vocabulary` tokens from `texts`.
    ///
    /// # Errors
    /// As [`Tokenizer::train`].
    pub fn train(unit: Unit, texts: &[String], vocabulary: usize) -> Result<Self, TokenizerError> {
        Ok(match unit {
            Unit::Words => Self::Words(Table::learn(texts.iter().flat_map(|text| text.split_whitespace()), vocabulary)),
            Unit::Characters => {
                let words = texts.iter().flat_map(|text| text.split_whitespace()).take(10_000);
                let (single, all) = words
                    .fold((0, 0), |(single, all), word| (single + usize::from(word.chars().nth(1).is_none()), all + 1));
                let spaced = single * 10 >= all * 9;
                let mut all = Vec::new();
                for text in texts {
                    all.extend(text.chars().filter(|c| !spaced || !c.is_whitespace()).map(String::from));
                }
                Self::Characters { table: Table::learn(all.iter().map(String::as_str), vocabulary), spaced }
            }
            Unit::Bytes => Self::Bytes(Box::new(Tokenizer::train(texts.iter().cloned(), vocabulary, MOST)?)),
        })
    }

    /// Number of tokens.
    pub fn vocabulary(&self) -> usize {
        match self {
            Self::Words(table) | Self::Characters { table, .. } => table.words.len(),
            Self::Bytes(tokenizer) => tokenizer.vocabulary(),
            Self::Numbers(count) => *count,
        }
    }

    /// The tokens of a text, without [`END`].
    ///
    /// # Errors
    /// As [`Tokenizer::encode`]; or it is no list of numbers, where tokens are numbers.
    pub fn encode(&self, text: &str) -> Result<Vec<u32>, TokenizerError> {
        Ok(match self {
            Self::Words(table) => text.split_whitespace().map(|word| table.place(word)).collect(),
            Self::Characters { table, spaced } => {
                let kept = text.chars().filter(|c| !spaced || !c.is_whitespace());
                kept.map(|c| table.place(character(c, &mut [0; 4]))).collect()
            }
            Self::Bytes(tokenizer) => {
                let tokens = tokenizer.encode(&[text])?;
                tokens.ids.iter().map(|id| *id as u32).filter(|id| *id != END).collect()
            }
            Self::Numbers(count) => {
                let number = |word: &str| word.parse().ok().filter(|number: &u32| (*number as usize) < *count);
                let wrong = |word| TokenizerError(format!("'{word}': expected a number from 0 to {}", count - 1));
                text.split_whitespace().map(|word| number(word).ok_or_else(|| wrong(word))).collect::<Result<_, _>>()?
            }
        })
    }

    /// The token of every word or character that is not in the vocabulary, where there can be any.
    pub fn unknown_token(&self) -> Option<u32> {
        matches!(self, Self::Words(_) | Self::Characters { .. }).then_some(UNKNOWN)
    }

    /// The words or characters of a text that are not in the vocabulary.
    pub fn unknown(&self, text: &str) -> Vec<String> {
        let mut unknown: Vec<String> = match self {
            Self::Words(table) => {
                text.split_whitespace().filter(|word| table.place(word) == UNKNOWN).map(String::from).collect()
            }
            Self::Characters { table, spaced } => {
                let kept = text.chars().filter(|c| !spaced || !c.is_whitespace());
                kept.filter(|c| table.place(character(*c, &mut [0; 4])) == UNKNOWN).map(String::from).collect()
            }
            _ => Vec::new(),
        };
        unknown.dedup();
        unknown
    }

    /// The text of these tokens, up to the first [`END`] where texts have one.
    pub fn decode(&self, ids: &[u32]) -> String {
        let end = ids.iter().position(|id| *id == END).unwrap_or(ids.len());
        match self {
            Self::Words(table) => ids[..end].iter().map(|id| table.word(*id)).collect::<Vec<_>>().join(" "),
            Self::Characters { table, .. } => ids[..end].iter().map(|id| table.word(*id)).collect(),
            Self::Bytes(tokenizer) => tokenizer.decode(&ids[..end]).unwrap_or_default(),
            Self::Numbers(_) => ids.iter().map(u32::to_string).collect::<Vec<_>>().join(" "),
        }
    }

    /// The whole tokenizer as JSON.
    ///
    /// # Errors
    /// The library cannot write it.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        let failed = |error: serde_json::Error| TokenizerError(error.to_string());
        let stored = match self {
            Self::Words(table) => Stored::Words { tokens: table.words.clone() },
            Self::Characters { table, spaced } => Stored::Characters { tokens: table.words.clone(), spaced: *spaced },
            Self::Bytes(tokenizer) => {
                Stored::Bytes { tokenizer: serde_json::from_str(&tokenizer.to_json()?).map_err(failed)? }
            }
            Self::Numbers(count) => Stored::Numbers { count: *count },
        };
        serde_json::to_string(&stored).map_err(failed)
    }

    /// The tokenizer saved by [`TextTokenizer::to_json`].
    ///
    /// # Errors
    /// The text is not such a file.
    pub fn from_json(json: &str) -> Result<Self, TokenizerError> {
        let stored = serde_json::from_str(json).map_err(|error| TokenizerError(format!("{error}: damaged")))?;
        let whole = |tokens: Vec<String>| {
            let table = Table::new(tokens);
            let special = SPECIAL.iter().zip(&table.words).all(|(special, word)| special == word);
            if special && table.words.len() >= SPECIAL.len() && table.places.len() == table.words.len() {
                return Ok(table);
            }
            Err(TokenizerError("a word twice, or its special ones missing: damaged".into()))
        };
        Ok(match stored {
            Stored::Words { tokens } => Self::Words(whole(tokens)?),
            Stored::Characters { tokens, spaced } => Self::Characters { table: whole(tokens)?, spaced },
            Stored::Bytes { tokenizer } => Self::Bytes(Box::new(Tokenizer::from_json(&tokenizer.to_string(), MOST)?)),
            Stored::Numbers { count } if count > 0 => Self::Numbers(count),
            Stored::Numbers { .. } => return Err(TokenizerError("no numbers: damaged".into())),
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn texts(texts: &[&str]) -> Vec<String> {
        texts.iter().map(|text| (*text).to_string()).collect()
    }

    #[test]
    fn words_come_back_and_unknown_ones_are_named() {
        let tokenizer = TextTokenizer::train(Unit::Words, &texts(&["a dog and a cat", "a <end> dog"]), 4).unwrap();
        assert_eq!(tokenizer.vocabulary(), 4);
        assert_eq!(tokenizer.encode("a dog <end> cat").unwrap(), [2, 3, 1, 1]);
        assert_eq!(tokenizer.decode(&[2, 3, 0, 2]), "a dog");
        assert_eq!(tokenizer.unknown("a cat"), ["cat"]);
    }

    #[test]
    fn spaced_characters_are_one_text() {
        let poems = texts(&["秦 川 雄 帝 宅 ， 函 谷 壮 皇 居 。", "春 眠 不 觉 晓"]);
        let tokenizer = TextTokenizer::train(Unit::Characters, &poems, 5000).unwrap();
        assert_eq!(tokenizer.decode(&tokenizer.encode("秦 川 雄").unwrap()), "秦川雄");
        assert_eq!(tokenizer.encode("秦川雄").unwrap(), tokenizer.encode("秦 川 雄").unwrap());
        let english = TextTokenizer::train(Unit::Characters, &texts(&["to be or not"]), 100).unwrap();
        assert_eq!(english.decode(&english.encode("be not").unwrap()), "be not");
    }

    #[test]
    fn all_of_them_survive_json() {
        let sentences = texts(&["a red circle", "a blue circle", "红色的星星"]);
        let mut all = vec![TextTokenizer::Numbers(50)];
        for unit in [Unit::Words, Unit::Characters, Unit::Bytes] {
            all.push(TextTokenizer::train(unit, &sentences, 300).unwrap());
        }
        for tokenizer in all {
            let again = TextTokenizer::from_json(&tokenizer.to_json().unwrap()).unwrap();
            let text = if let TextTokenizer::Numbers(_) = tokenizer { "3 0 49" } else { "a red circle" };
            assert_eq!(tokenizer.encode(text).unwrap(), again.encode(text).unwrap());
            assert_eq!(again.decode(&again.encode(text).unwrap()), text);
        }
        for damaged in ["", "{}", r#"{"unit":"words","tokens":["a"]}"#, r#"{"unit":"numbers","count":0}"#] {
            assert!(TextTokenizer::from_json(damaged).is_err(), "{damaged}");
        }
        assert!(TextTokenizer::Numbers(5).encode("3 7").unwrap_err().to_string().contains("'7'"));
    }
}
