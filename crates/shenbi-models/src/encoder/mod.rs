//! Encoders of text.

pub mod text;
pub mod tokenizer;
