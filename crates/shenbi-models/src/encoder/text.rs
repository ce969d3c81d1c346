//! A sentence encoder: token and position embeddings, a small pre-norm Transformer, the mean over tokens, a projection.
//!
//! It is trained contrastively against pictures of the same data (symmetric InfoNCE, CLIP, 2103.00020) before the GAN.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use shenbi_nn::transformer::Block;
use shenbi_nn::{Embedding, Init, LayerNorm, Linear};

use super::tokenizer::Tokens;

/// Shape of a [`TextEncoder`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextConfig {
    /// At most this many tokens are learnt from the captions.
    pub vocabulary: usize,
    /// Longer captions are cut here.
    pub max_tokens: usize,
    /// Width of the Transformer.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Attention heads a block.
    pub heads: usize,
    /// Numbers in a sentence's embedding.
    pub sentence: usize,
}

impl Default for TextConfig {
    fn default() -> Self {
        Self { vocabulary: 2048, max_tokens: 48, width: 128, layers: 2, heads: 4, sentence: 128 }
    }
}

impl TextConfig {
    /// # Errors
    /// The shapes do not fit each other, or are out of any sensible range; the text says which.
    pub fn check(&self) -> Result<(), String> {
        let ranges = [
            ("vocabulary", self.vocabulary, 257..=65_536),
            ("max_tokens", self.max_tokens, 1..=512),
            ("width", self.width, 1..=2048),
            ("layers", self.layers, 1..=24),
            ("heads", self.heads, 1..=64),
            ("sentence", self.sentence, 1..=4096),
        ];
        for (name, value, range) in ranges {
            if !range.contains(&value) {
                return Err(format!("text {name} {value}: expected {} to {}", range.start(), range.end()));
            }
        }
        if !self.width.is_multiple_of(self.heads) {
            return Err(format!("text width {} is no multiple of its {} heads", self.width, self.heads));
        }
        Ok(())
    }
}

impl TextConfig {
    /// Weights of the encoder of so many tokens.
    pub fn parameters(&self, vocabulary: usize) -> usize {
        let n = self.width;
        let block = 4 * n + (n + 1) * 3 * n + (n + 1) * n + (n + 1) * 2 * n + (2 * n + 1) * n;
        (vocabulary + self.max_tokens) * n + self.layers * block + 2 * n + n * self.sentence
    }
}

/// Text to sentence embedding.
#[derive(Module, Debug)]
pub struct TextEncoder {
    /// `[vocabulary, width]`
    pub tokens: Embedding,
    /// `[max_tokens, width]`
    pub positions: Param<Tensor<2>>,
    /// The Transformer.
    pub blocks: Vec<Block>,
    /// After the last block.
    pub norm: LayerNorm,
    /// `[sentence, width]`
    pub project: Linear,
}

impl TextEncoder {
    /// An untrained encoder for `vocabulary` tokens (the tokenizer's real count).
    pub fn new(config: &TextConfig, vocabulary: usize, init: &mut Init) -> Self {
        Self {
            tokens: Embedding::new(vocabulary, config.width, 0.5, init),
            positions: init.normal([config.max_tokens, config.width], 0.1),
            blocks: (0..config.layers).map(|_| Block::new(config.width, config.heads, init)).collect(),
            norm: LayerNorm::new(config.width, init),
            project: Linear::without_bias(config.width, config.sentence, 0.7, init),
        }
    }

    /// # Shapes
    /// Returns `[b, sentence]`.
    pub fn forward(&self, tokens: &Tokens, device: &Device) -> Tensor<2> {
        let (b, t) = (tokens.batch, tokens.length);
        let ids = tokens.to_tensor(device);
        let attend = tokens.where_real(0.0, HIDDEN, device).reshape([b, 1, 1, t]);
        let mut x = self.tokens.forward(ids) + self.positions.val().narrow(0, 0, t).unsqueeze(); // [b, t, width]
        for block in &self.blocks {
            x = block.forward(x, attend.clone());
        }
        self.project.forward(tokens.mean(self.norm.forward(x)))
    }
}

/// Added to the attention score of what may not be looked at.
pub(super) const HIDDEN: f32 = -1e9;

impl Tokens {
    /// The indices, `[batch, length]`.
    pub(super) fn to_tensor(&self, device: &Device) -> Tensor<2, Int> {
        Tensor::from_data(TensorData::new(self.ids.clone(), [self.batch, self.length]), device)
    }

    /// One number where a token is real, another where it is padding, `[batch length]`.
    pub(super) fn where_real(&self, real: f32, padding: f32, device: &Device) -> Tensor<1> {
        let row = |&n: &usize| (0..self.length).map(move |i| if i < n { real } else { padding });
        let values: Vec<f32> = self.lengths.iter().flat_map(row).collect();
        Tensor::from_data(TensorData::new(values, [self.batch * self.length]), device)
    }

    /// The mean of each text's real tokens. x: `[batch, length, n]`, returns `[batch, n]`.
    pub(super) fn mean(&self, x: Tensor<3>) -> Tensor<2> {
        let [b, t, n] = x.dims();
        let mask = self.where_real(1.0, 0.0, &x.device()).reshape([b, t, 1]);
        ((x * mask.clone()).sum_dim(1) / mask.sum_dim(1)).reshape([b, n])
    }
}
