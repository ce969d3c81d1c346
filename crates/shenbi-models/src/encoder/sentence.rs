//! From a caption to the vector that a painter is told: by an encoder learnt with the pictures, or from the embedding of
//! one that others trained, which stays as it is but for its last layers if these are to learn, by a learnt projection.

use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use shenbi_nn::ops::normalize;
use shenbi_nn::{Init, Linear};

use super::pretrained::Pretrained;
use super::tail::Tail;
use super::text::TextEncoder;
use super::tokenizer::{Tokenizer, TokenizerError};

/// What a caption is first turned into.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there are two a process")]
pub enum Reader {
    /// Tokens learnt from the captions.
    Own(Tokenizer),
    /// An embedding.
    Pretrained(Arc<Pretrained>),
    /// An embedding, of an encoder that is not at hand.
    Absent,
}

impl Reader {
    /// Which texts are cut, and after how many tokens.
    ///
    /// # Errors
    /// A text cannot be encoded.
    pub fn truncated<S: AsRef<str>>(
        &self,
        texts: &[S],
        max_tokens: usize,
    ) -> Result<(Vec<bool>, usize), TokenizerError> {
        match self {
            Self::Own(tokenizer) => Ok((tokenizer.encode(texts)?.truncated, max_tokens)),
            Self::Pretrained(encoder) => {
                let vocabulary = &encoder.vocabulary;
                Ok((vocabulary.encode(texts)?.truncated, vocabulary.max_tokens()))
            }
            Self::Absent => Ok((vec![false; texts.len()], max_tokens)),
        }
    }
}

/// What is trained of it.
#[derive(Module, Debug)]
pub enum SentenceEncoder {
    /// From tokens.
    Own(TextEncoder),
    /// From embeddings.
    Pretrained(Projection),
    /// From the hidden states of a pretrained encoder, whose last layers learn.
    Tuned(Tuned),
}

/// The last layers of a pretrained encoder, and the projection of what they say.
#[derive(Module, Debug)]
pub struct Tuned {
    /// The layers.
    pub tail: Tail,
    /// Of their embeddings.
    pub above: Projection,
}

impl Tuned {
    /// The sentences of texts, read by the encoder that the layers are of, `[texts, sentence]`.
    ///
    /// # Errors
    /// A text cannot be encoded.
    pub fn forward<S: AsRef<str>>(
        &self,
        encoder: &Pretrained,
        texts: &[S],
        device: &Device,
    ) -> Result<Tensor<2>, TokenizerError> {
        let tokens = encoder.vocabulary.encode(texts)?;
        let hidden = encoder.below(&tokens, self.tail.layers.len());
        let hidden = hidden.to_device(device);
        Ok(self.above.project(self.tail.forward(hidden, &tokens)))
    }
}

/// W e + b of an embedding e of length √n.
#[derive(Module, Debug)]
pub struct Projection {
    /// `[sentence, n]`
    pub projection: Linear,
}

impl Projection {
    /// Untrained.
    pub fn new(dim: usize, sentence: usize, init: &mut Init) -> Self {
        Self { projection: Linear::new(dim, sentence, 0.7, init) }
    }

    /// Its parameters.
    pub fn parameters(dim: usize, sentence: usize) -> usize {
        dim.saturating_add(1).saturating_mul(sentence)
    }

    /// embeddings: `n` numbers for each of so many texts. Returns `[texts, sentence]`.
    pub fn forward(&self, embeddings: Vec<f32>, texts: usize, device: &Device) -> Tensor<2> {
        let dim = self.projection.weight.dims()[1];
        self.project(Tensor::from_data(TensorData::new(embeddings, [texts, dim]), device))
    }

    /// The same of `[texts, n]`.
    pub fn project(&self, embeddings: Tensor<2>) -> Tensor<2> {
        let dim = self.projection.weight.dims()[1] as f64;
        self.projection.forward(normalize(embeddings).mul_scalar(dim.sqrt()))
    }
}
