//! A trained language model, ready to write: network and tokenizer in one safetensors file.

use std::collections::HashMap;

use burn::tensor::Device;
use serde::{Deserialize, Serialize};
use shenbi_nn::Init;
use shenbi_nn::weights::{self, Named};

use super::language::{Language, LanguageConfig};
use super::tokenizer::TextTokenizer;
use super::{END, Sequences, text_length};

/// What a model file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TextModelConfig {
    /// The network.
    pub language: LanguageConfig,
    /// Tokens of the longest text, the end included.
    pub length: usize,
    /// Whether texts end of themselves; if not, all have this length.
    pub ends: bool,
}

/// Writes texts.
#[derive(Clone, Debug)]
pub struct TextModel {
    /// The recipe that trained it.
    pub recipe: String,
    /// Shapes.
    pub config: TextModelConfig,
    /// Texts to tokens and back.
    pub tokenizer: TextTokenizer,
    /// The network.
    pub language: Language,
}

impl TextModel {
    /// Its tensors, and the metadata that make them a model again.
    pub(crate) fn parts(&self) -> Result<(Named, HashMap<String, String>), String> {
        let config = serde_json::to_string(&self.config).map_err(|error| error.to_string())?;
        let tokenizer = self.tokenizer.to_json().map_err(|error| error.to_string())?;
        let metadata = [("recipe", self.recipe.clone()), ("config", config), ("tokenizer", tokenizer)];
        let metadata = metadata.into_iter().map(|(key, value)| (key.to_string(), value)).collect();
        Ok((weights::collect(&self.language, "language"), metadata))
    }

    /// The model of named tensors (`language.*`).
    ///
    /// # Errors
    /// The config makes no network, or tensors or tokenizer do not fit it.
    pub(crate) fn from_parts(
        metadata: &HashMap<String, String>,
        named: &Named,
        device: &Device,
    ) -> Result<Self, String> {
        let get = |key: &str| metadata.get(key).map_or("", String::as_str);
        let damaged = |error: String| format!("the file's config is damaged: {error}");
        let config: TextModelConfig =
            serde_json::from_str(get("config")).map_err(|error| damaged(error.to_string()))?;
        if !(1..=4096).contains(&config.length) {
            return Err(damaged(format!("texts of {} tokens", config.length)));
        }
        let tokenizer = TextTokenizer::from_json(get("tokenizer")).map_err(|error| error.to_string())?;
        if tokenizer.vocabulary() != config.language.vocabulary() {
            let (ours, its) = (config.language.vocabulary(), tokenizer.vocabulary());
            return Err(damaged(format!("a network of {ours} tokens and a tokenizer of {its}")));
        }
        let language = Language::new(&config.language, &mut Init::zeros(device)).map_err(damaged)?;
        let language = weights::apply(language, named, "language").map_err(|error| error.to_string())?;
        Ok(Self { recipe: get("recipe").to_string(), config, tokenizer, language })
    }

    /// The tokens of `rows` texts.
    pub fn write(&self, rows: usize, temperature: f32, uniform: impl FnMut() -> f32) -> Sequences {
        self.language.write(rows, self.config.length, self.config.ends, temperature, uniform)
    }

    /// One text that begins with `prompt`, told token by token: `told` is given all tokens so far.
    pub fn continue_prompt(
        &self,
        prompt: &[u32],
        temperature: f32,
        mut uniform: impl FnMut() -> f32,
        mut told: impl FnMut(&[u32]),
    ) -> Vec<u32> {
        let (mut reader, head) = (self.language.reader(1), self.language.head());
        let mut text: Vec<u32> = prompt.iter().copied().take(self.config.length).collect();
        let read: Vec<u32> = std::iter::once(END).chain(text.iter().copied()).collect();
        let (last, before) = read.split_last().map_or((END, &[][..]), |(last, before)| (*last, before));
        before.iter().for_each(|token| drop(reader.read(&[*token])));
        let mut token = last;
        while text.len() < self.config.length {
            token = self.language.next(&mut reader, &head, token, temperature, uniform());
            if self.config.ends && token == END {
                break;
            }
            text.push(token);
            told(&text);
        }
        text
    }

    /// The texts of tokens.
    pub fn decode(&self, texts: &Sequences) -> Vec<String> {
        let whole = |row: &[u32]| if self.config.ends { text_length(row) } else { row.len() };
        texts.iter().map(|row| self.tokenizer.decode(&row[..whole(row)])).collect()
    }
}
