//! Byte-level byte-pair encoding (Radford et al., 2019), learnt from the captions themselves.
//!
//! Every text of every language can be encoded: what no merge covers stays as bytes, so nothing is ever dropped.

use tokenizers::models::bpe::{BPE, BpeTrainerBuilder};
use tokenizers::normalizers::{Lowercase, NFKC, Sequence};
use tokenizers::pre_tokenizers::byte_level::ByteLevel;
use tokenizers::{AddedToken, Model, NormalizerWrapper, TokenizerBuilder, TokenizerImpl};

type Inner = TokenizerImpl<BPE, NormalizerWrapper, ByteLevel, ByteLevel, ByteLevel>;

/// Why a tokenizer could not be made.
#[derive(Debug, thiserror::Error)]
#[error("tokenizer: {0}")]
pub struct TokenizerError(pub(crate) String);

/// Token indices of several texts, padded with zeros to one length.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Tokens {
    /// Number of texts.
    pub batch: usize,
    /// Tokens a text, padding included.
    pub length: usize,
    /// `[batch, length]`
    pub ids: Vec<i32>,
    /// How many of each text's tokens are not padding; at least one.
    pub lengths: Vec<usize>,
    /// Which texts were cut at the maximum.
    pub truncated: Vec<bool>,
}

/// A learnt vocabulary and its merges.
#[derive(Clone)]
pub struct Tokenizer {
    inner: Inner,
    max_tokens: usize,
}

impl std::fmt::Debug for Tokenizer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Tokenizer({} tokens)", self.vocabulary())
    }
}

impl Tokenizer {
    /// Learns at most `vocabulary` tokens (at least the 256 bytes and the padding) from `captions`.
    ///
    /// # Errors
    /// The library refuses, which no caption is known to cause.
    pub fn train(
        captions: impl Iterator<Item = String> + Send,
        vocabulary: usize,
        max_tokens: usize,
    ) -> Result<Self, TokenizerError> {
        let mut trainer = BpeTrainerBuilder::new()
            .show_progress(false)
            .vocab_size(vocabulary.max(257))
            .min_frequency(2)
            .special_tokens(vec![AddedToken::from("[PAD]", true)])
            .initial_alphabet(ByteLevel::alphabet().into_iter().collect())
            .build();
        let normalizer = NormalizerWrapper::Sequence(Sequence::new(vec![NFKC.into(), Lowercase.into()]));
        let bytes = ByteLevel::default().add_prefix_space(false);
        let mut inner: Inner = TokenizerBuilder::new()
            .with_model(BPE::default())
            .with_normalizer(Some(normalizer))
            .with_pre_tokenizer(Some(bytes))
            .with_post_processor(Some(bytes))
            .with_decoder(Some(bytes))
            .build()
            .map_err(|error| TokenizerError(error.to_string()))?;
        inner.train(&mut trainer, captions).map_err(|error| TokenizerError(error.to_string()))?;
        Ok(Self { inner, max_tokens })
    }

    /// The tokenizer saved by [`Tokenizer::to_json`] (the `tokenizers` library's own format).
    ///
    /// # Errors
    /// The text is not such a file.
    pub fn from_json(json: &str, max_tokens: usize) -> Result<Self, TokenizerError> {
        let mut inner: Inner = json.parse().map_err(|error: tokenizers::Error| TokenizerError(error.to_string()))?;
        // Ours are done here; a file may not ask for others.
        inner.with_padding(None);
        inner.with_truncation(None).map_err(|error| TokenizerError(error.to_string()))?;
        Ok(Self { inner, max_tokens })
    }

    /// The whole tokenizer as JSON.
    ///
    /// # Errors
    /// The library cannot write it.
    pub fn to_json(&self) -> Result<String, TokenizerError> {
        self.inner.to_string(false).map_err(|error| TokenizerError(error.to_string()))
    }

    /// Number of tokens, padding included.
    pub fn vocabulary(&self) -> usize {
        self.inner.get_model().get_vocab_size()
    }

    /// The text of these tokens; padding and what is no token is left out, bytes that are no UTF-8 become U+FFFD.
    ///
    /// # Errors
    /// The library refuses, which no tokens are known to cause.
    pub fn decode(&self, ids: &[u32]) -> Result<String, TokenizerError> {
        self.inner.decode(ids, true).map_err(|error| TokenizerError(error.to_string()))
    }

    /// Encodes texts and pads them to the longest. An empty text becomes one padding token.
    ///
    /// # Errors
    /// The library refuses a text.
    pub fn encode<S: AsRef<str>>(&self, texts: &[S]) -> Result<Tokens, TokenizerError> {
        let mut rows = Vec::with_capacity(texts.len());
        let mut truncated = Vec::with_capacity(texts.len());
        // More than any caption's tokens cover: a very long text costs no more than this.
        let enough = self.max_tokens.saturating_mul(64);
        for text in texts {
            let text = text.as_ref().trim();
            let end = (0..=text.len().min(enough)).rev().find(|&end| text.is_char_boundary(end)).unwrap_or(0);
            let encoding = self.inner.encode(&text[..end], false).map_err(|error| TokenizerError(error.to_string()))?;
            let mut ids: Vec<i32> = encoding.get_ids().iter().map(|&id| id as i32).collect();
            if let Some(id) = encoding.get_ids().iter().find(|&&id| id as usize >= self.vocabulary()) {
                return Err(TokenizerError(format!("token {id} of a vocabulary of {}: damaged", self.vocabulary())));
            }
            truncated.push(ids.len() > self.max_tokens || end < text.len());
            ids.truncate(self.max_tokens);
            if ids.is_empty() {
                ids.push(0);
            }
            rows.push(ids);
        }
        Ok(Tokens::padded(&rows, truncated))
    }
}

impl Tokens {
    /// Rows of different lengths, none of them empty, filled up with zeros.
    pub(super) fn padded(rows: &[Vec<i32>], truncated: Vec<bool>) -> Self {
        let length = rows.iter().map(Vec::len).max().unwrap_or(1);
        let lengths = rows.iter().map(Vec::len).collect();
        let mut ids = Vec::with_capacity(rows.len() * length);
        for row in rows {
            ids.extend_from_slice(row);
            ids.resize(ids.len() + length - row.len(), 0);
        }
        Self { batch: rows.len(), length, ids, lengths, truncated }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn tokenizer() -> Tokenizer {
        let captions = ["a red circle on a yellow background", "黄色背景上的红色圆形", "a blue star", "蓝色的星星"];
        Tokenizer::train(captions.iter().cycle().take(40).map(|c| (*c).to_string()), 400, 16).unwrap()
    }

    #[test]
    fn survives_json() {
        let tokenizer = tokenizer();
        let again = Tokenizer::from_json(&tokenizer.to_json().unwrap(), 16).unwrap();
        let texts = ["a Red star", "红色的星星", "🐉 never seen"];
        assert_eq!(tokenizer.encode(&texts).unwrap(), again.encode(&texts).unwrap());
    }

    #[test]
    fn decodes_what_it_encoded() {
        let tokenizer = tokenizer();
        for text in ["a red circle", "黄色背景上的红色圆形", "🐉 never seen"] {
            let ids: Vec<u32> = tokenizer.encode(&[text]).unwrap().ids.iter().map(|id| *id as u32).collect();
            assert_eq!(tokenizer.decode(&ids).unwrap(), text);
        }
    }

    #[test]
    fn drops_nothing() {
        let tokens = tokenizer().encode(&["龘", "", "x"]).unwrap();
        assert_eq!(tokens.lengths, [3, 1, 1]);
        assert_ne!(tokens.ids[0], 0);
    }

    #[test]
    fn cuts_long_texts() {
        let long = "red circle ".repeat(10_000);
        let tokens = tokenizer().encode(&[long.as_str(), "red"]).unwrap();
        assert_eq!(tokens.length, 16);
        assert_eq!(tokens.truncated, [true, false]);
    }
}
