//! Encoders of text: one learnt with the pictures (`text`, `tokenizer`), and those that others learnt from far more text
//! (`pretrained` and what it is made of).

pub mod bert;
pub mod clip;
pub mod clip_text;
mod described;
mod folder;
pub mod pretrained;
pub mod sentence;
pub mod tail;
pub mod text;
pub mod tokenizer;
pub mod vocabulary;
