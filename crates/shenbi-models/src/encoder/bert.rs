//! BERT (Devlin et al., 1810.04805), and those of its kin that differ in their files alone: RoBERTa (1907.11692), XLM-R
//! (1911.02116), MiniLM (2002.10957).
//!
//! Words, positions and the kind of sentence (always the first) are added and normalised; then post-norm Transformer
//! layers. Every token sees every other. RoBERTa counts positions from the one after its padding token's index.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use shenbi_nn::weights::WeightsError;
use shenbi_nn::{Embedding, LayerNorm};

use super::tokenizer::Tokens;
use crate::backbone::Tensors;
use crate::backbone::transformer::{Layer, LayerOptions, Names};

const LAYER: Names = Names {
    norms: ["encoder.layer.#.attention.output.LayerNorm", "encoder.layer.#.output.LayerNorm"],
    qkv: &[
        ("encoder.layer.#.attention.self.query.weight", "encoder.layer.#.attention.self.query.bias"),
        ("encoder.layer.#.attention.self.key.weight", "encoder.layer.#.attention.self.key.bias"),
        ("encoder.layer.#.attention.self.value.weight", "encoder.layer.#.attention.self.value.bias"),
    ],
    out: "encoder.layer.#.attention.output.dense",
    mlp: ["encoder.layer.#.intermediate.dense", "encoder.layer.#.output.dense"],
    scales: None,
};
const WORDS: &str = "embeddings.word_embeddings.weight";
const POSITIONS: &str = "embeddings.position_embeddings.weight";
const KINDS: &str = "embeddings.token_type_embeddings.weight";

/// What the tensors do not tell.
#[derive(Clone, Copy, Debug)]
pub struct BertConfig {
    /// Tokens that it knows.
    pub vocabulary: usize,
    /// Numbers in a token.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads, a divisor of the width.
    pub heads: usize,
    /// Rows of the table of positions.
    pub positions: usize,
    /// The first position's row.
    pub offset: usize,
    /// Added to the norms' variance.
    pub epsilon: f64,
}

/// Tokens to hidden states.
#[derive(Module, Debug)]
pub struct Bert {
    /// `[vocabulary, n]`
    pub tokens: Embedding,
    /// Of each position, that of the first kind of sentence added, `[positions, n]`.
    pub positions: Param<Tensor<2>>,
    /// Before the layers.
    pub norm: LayerNorm,
    /// In order.
    pub layers: Vec<Layer>,
}

impl Bert {
    /// The network of a file's named tensors. Others (its pooler, heads for other tasks) are ignored.
    ///
    /// # Errors
    /// A tensor is missing, or has another shape than the configuration says.
    pub fn from_tensors(tensors: &Tensors, config: &BertConfig) -> Result<Self, WeightsError> {
        let BertConfig { vocabulary, width: n, heads, positions, offset, epsilon, .. } = *config;
        let prefix = ["", "bert.", "roberta."].into_iter().find(|prefix| tensors.has(&format!("{prefix}{WORDS}")));
        let prefix = prefix.unwrap_or_default();
        let name = |name: &str| format!("{prefix}{name}");
        let words = tensors.values(&name(WORDS), &[vocabulary, n])?.to_vec();
        let mut places =
            tensors.values(&name(POSITIONS), &[positions, n])?.split_at(offset.min(positions) * n).1.to_vec();
        if tensors.has(&name(KINDS)) {
            let kinds = tensors.shape(&name(KINDS))?.first().copied().unwrap_or(0).max(1);
            let first = &tensors.values(&name(KINDS), &[kinds, n])?[..n];
            places.iter_mut().zip(first.iter().cycle()).for_each(|(place, kind)| *place += kind);
        }
        let options = LayerOptions { n, heads, epsilon, quick: false, post: true };
        let layers = (0..config.layers).map(|i| Layer::from_tensors(tensors, prefix, &LAYER, i, options));
        Ok(Self {
            tokens: Embedding { weight: tensors.param(words, [vocabulary, n]) },
            positions: tensors.param(places, [positions.saturating_sub(offset), n]),
            norm: tensors.layer_norm(&name("embeddings.LayerNorm"), n, epsilon)?,
            layers: layers.collect::<Result<_, _>>()?,
        })
    }

    /// The longest text, in tokens.
    pub fn max_tokens(&self) -> usize {
        self.positions.dims()[0]
    }

    /// What each token is in the others' light. tokens: no longer than [`Self::max_tokens`].
    ///
    /// # Shapes
    /// Returns `[b, t, n]`.
    pub fn forward(&self, tokens: &Tokens, device: &Device) -> Tensor<3> {
        self.below(tokens, self.layers.len(), device)
    }

    /// The same after the first layers only.
    pub fn below(&self, tokens: &Tokens, layers: usize, device: &Device) -> Tensor<3> {
        let attend = tokens.attend(device);
        let places = self.positions.val().narrow(0, 0, tokens.length).unsqueeze();
        let x = self.norm.forward(self.tokens.forward(tokens.to_tensor(device)) + places);
        self.layers.iter().take(layers).fold(x, |x, layer| layer.forward(x, attend.clone()))
    }
}
