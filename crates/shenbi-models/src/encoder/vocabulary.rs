//! Tokenizers that others trained, as transformers has them: from a `tokenizer.json`, or from the older files of each
//! family, whose rules are written down here in that same form.
//!
//! - BERT's WordPiece (1609.08144) over words, punctuation and single Chinese characters: `vocab.txt`.
//! - RoBERTa's byte-level byte pairs: `vocab.json` and `merges.txt`.
//! - CLIP's byte pairs over lower-case words that end in `</w>`: the same two files, or OpenAI's `.txt.gz` of merges alone.
//!   Broken Unicode is not mended and HTML entities stay as they are (OpenAI's code does both; transformers neither).

use std::io::Read;

use flate2::read::GzDecoder;
use serde_json::{Map, Value, json};
use tokenizers::{Tokenizer as Inner, TruncationParams};

use super::tokenizer::{TokenizerError, Tokens};

/// Merges in OpenAI's file that count: what fills a vocabulary of 49,408.
const CLIP_MERGES: usize = 49_152 - 256 - 2;
/// Bytes of merges, unpacked, at most.
const CLIP_BYTES: u64 = 1 << 24;
/// Bytes of a text that one token can cover, generously.
const BYTES_A_TOKEN: usize = 512;

/// A tokenizer that others trained.
#[derive(Clone)]
pub struct Vocabulary {
    inner: Inner,
    max_tokens: usize,
}

impl std::fmt::Debug for Vocabulary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "Vocabulary({} tokens)", self.size())
    }
}

/// How BERT's words are made plain.
#[derive(Clone, Copy, Debug)]
pub struct Plain {
    /// Everything in lower case.
    pub lower_case: bool,
    /// Without accents; where it is not said, in lower case only.
    pub strip_accents: Option<bool>,
    /// Chinese characters are words each.
    pub chinese: bool,
}

impl Vocabulary {
    /// A `tokenizer.json`. Texts are cut after `max_tokens`, the special ones included.
    ///
    /// # Errors
    /// It is none, or of a kind that the library does not know; here and below.
    pub fn from_json(json: &[u8], max_tokens: usize) -> Result<Self, TokenizerError> {
        let mut inner = Inner::from_bytes(json).map_err(|error| TokenizerError(error.to_string()))?;
        inner.with_padding(None);
        let cut = TruncationParams { max_length: max_tokens, ..TruncationParams::default() };
        inner.with_truncation(Some(cut)).map_err(|error| TokenizerError(error.to_string()))?;
        Ok(Self { inner, max_tokens })
    }

    /// BERT's `vocab.txt`: a token a line.
    ///
    /// # Errors
    /// As [`Self::from_json`]; a special token is not in it.
    pub fn word_piece(vocab: &str, plain: Plain, max_tokens: usize) -> Result<Self, TokenizerError> {
        let lines = vocab.strip_suffix('\n').unwrap_or(vocab).split('\n').map(|line| line.trim_end_matches('\r'));
        let vocab: Map<String, Value> = lines.enumerate().map(|(id, token)| (token.to_string(), json!(id))).collect();
        let special = specials(&vocab, &["[PAD]", "[UNK]", "[CLS]", "[SEP]", "[MASK]"])?;
        let tokenizer = json!({
            "version": "1.0",
            "added_tokens": special,
            "normalizer": {
                "type": "BertNormalizer", "clean_text": true, "handle_chinese_chars": plain.chinese,
                "strip_accents": plain.strip_accents, "lowercase": plain.lower_case
            },
            "pre_tokenizer": {"type": "BertPreTokenizer"},
            "post_processor": {
                "type": "BertProcessing", "sep": ["[SEP]", vocab["[SEP]"]], "cls": ["[CLS]", vocab["[CLS]"]]
            },
            "model": {
                "type": "WordPiece", "unk_token": "[UNK]", "continuing_subword_prefix": "##",
                "max_input_chars_per_word": 100, "vocab": vocab
            }
        });
        Self::from_json(tokenizer.to_string().as_bytes(), max_tokens)
    }

    /// RoBERTa's `vocab.json` and `merges.txt`.
    ///
    /// # Errors
    /// As [`Self::word_piece`].
    pub fn roberta(vocab: &[u8], merges: &str, max_tokens: usize) -> Result<Self, TokenizerError> {
        let vocab = table(vocab)?;
        let special = specials(&vocab, &["<s>", "<pad>", "</s>", "<unk>", "<mask>"])?;
        let tokenizer = json!({
            "version": "1.0",
            "added_tokens": special,
            "pre_tokenizer": {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true},
            "post_processor": {
                "type": "RobertaProcessing", "sep": ["</s>", vocab["</s>"]], "cls": ["<s>", vocab["<s>"]],
                "trim_offsets": true, "add_prefix_space": false
            },
            "model": {"type": "BPE", "vocab": vocab, "merges": pairs(merges)}
        });
        Self::from_json(tokenizer.to_string().as_bytes(), max_tokens)
    }

    /// CLIP's `vocab.json` and `merges.txt`.
    ///
    /// # Errors
    /// As [`Self::word_piece`].
    pub fn clip(vocab: &[u8], merges: &str, max_tokens: usize) -> Result<Self, TokenizerError> {
        Self::clip_of(table(vocab)?, pairs(merges), max_tokens)
    }

    /// OpenAI's packed merges, `bpe_simple_vocab_16e6.txt.gz`.
    ///
    /// # Errors
    /// As [`Self::from_json`].
    pub fn clip_merges(packed: &[u8], max_tokens: usize) -> Result<Self, TokenizerError> {
        let mut text = String::new();
        let read = GzDecoder::new(packed).take(CLIP_BYTES).read_to_string(&mut text);
        read.map_err(|error| TokenizerError(format!("the packed merges: {error}; copy the file again")))?;
        let merges: Vec<&str> = pairs(&text).into_iter().take(CLIP_MERGES).collect();
        let bytes = byte_letters();
        let tokens = bytes.iter().cloned().chain(bytes.iter().map(|letter| format!("{letter}</w>")));
        let tokens = tokens.chain(merges.iter().map(|pair| pair.replacen(' ', "", 1)));
        let tokens = tokens.chain(["<|startoftext|>".to_string(), "<|endoftext|>".to_string()]);
        let vocab = tokens.enumerate().map(|(id, token)| (token, json!(id))).collect();
        Self::clip_of(vocab, merges, max_tokens)
    }

    fn clip_of(vocab: Map<String, Value>, merges: Vec<&str>, max_tokens: usize) -> Result<Self, TokenizerError> {
        let (start, end) = ("<|startoftext|>", "<|endoftext|>");
        let special = specials(&vocab, &[start, end])?;
        let words = r"'s|'t|'re|'ve|'m|'ll|'d|[\p{L}]+|[\p{N}]|[^\s\p{L}\p{N}]+";
        let tokenizer = json!({
            "version": "1.0",
            "added_tokens": special,
            "normalizer": {"type": "Sequence", "normalizers": [
                {"type": "NFC"},
                {"type": "Replace", "pattern": {"Regex": r"\s+"}, "content": " "},
                {"type": "Lowercase"}
            ]},
            "pre_tokenizer": {"type": "Sequence", "pretokenizers": [
                {"type": "Split", "pattern": {"Regex": words}, "behavior": "Removed", "invert": true},
                {"type": "ByteLevel", "add_prefix_space": false, "trim_offsets": true, "use_regex": true}
            ]},
            "post_processor": {
                "type": "RobertaProcessing", "sep": [end, vocab[end]], "cls": [start, vocab[start]],
                "trim_offsets": false, "add_prefix_space": false
            },
            "model": {
                "type": "BPE", "unk_token": end, "continuing_subword_prefix": "", "end_of_word_suffix": "</w>",
                "vocab": vocab, "merges": merges
            }
        });
        Self::from_json(tokenizer.to_string().as_bytes(), max_tokens)
    }

    /// One more than the largest index of a token.
    pub fn size(&self) -> usize {
        self.inner.get_vocab(true).values().max().map_or(0, |id| *id as usize + 1)
    }

    /// The longest text, in tokens.
    pub fn max_tokens(&self) -> usize {
        self.max_tokens
    }

    /// Encodes texts, with the special tokens around each, and pads them to the longest.
    ///
    /// # Errors
    /// The library refuses a text.
    pub fn encode<S: AsRef<str>>(&self, texts: &[S]) -> Result<Tokens, TokenizerError> {
        let mut rows = Vec::with_capacity(texts.len());
        let mut truncated = Vec::with_capacity(texts.len());
        for text in texts {
            let text = text.as_ref();
            let enough = text.floor_char_boundary(self.max_tokens.saturating_mul(BYTES_A_TOKEN).min(text.len()));
            let encoding = self.inner.encode_fast(&text[..enough], true);
            let encoding = encoding.map_err(|error| TokenizerError(error.to_string()))?;
            let mut ids: Vec<i32> = encoding.get_ids().iter().map(|&id| id as i32).collect();
            if ids.is_empty() {
                ids.push(0);
            }
            truncated.push(enough < text.len() || !encoding.get_overflowing().is_empty());
            rows.push(ids);
        }
        Ok(Tokens::padded(&rows, truncated))
    }
}

/// A `vocab.json`.
fn table(json: &[u8]) -> Result<Map<String, Value>, TokenizerError> {
    serde_json::from_slice(json).map_err(|error| TokenizerError(format!("vocab.json: {error}")))
}

/// Merges, one a line, after an optional line that names the version.
fn pairs(merges: &str) -> Vec<&str> {
    let lines = merges.lines().enumerate().filter(|(at, line)| !(*at == 0 && line.starts_with("\"bpe_simple")));
    lines.map(|(_, line)| line).filter(|line| !line.starts_with("#version") && !line.trim().is_empty()).collect()
}

/// Tokens that are never cut, nor made of others.
fn specials(vocab: &Map<String, Value>, tokens: &[&str]) -> Result<Vec<Value>, TokenizerError> {
    let special = |token: &&str| {
        let missing = || TokenizerError(format!("the vocabulary has no '{token}': not one of this family"));
        let id = vocab.get(*token).ok_or_else(missing)?;
        Ok(json!({
            "id": id, "content": token, "single_word": false, "lstrip": false, "rstrip": false, "normalized": false,
            "special": true
        }))
    };
    tokens.iter().map(special).collect()
}

/// A visible letter for each byte (GPT-2's), in the order of CLIP's vocabulary: those that are visible as they are, then
/// the others from U+0100 on.
fn byte_letters() -> Vec<String> {
    let visible = |byte: &u8| matches!(byte, b'!'..=b'~' | 0xA1..=0xAC | 0xAE..=0xFF);
    let hidden = (0..=255_u8).filter(|byte| !visible(byte)).count() as u32;
    let shown = (0..=255_u8).filter(visible).map(char::from);
    shown.chain((0..hidden).filter_map(|i| char::from_u32(256 + i))).map(String::from).collect()
}
