//! A small decoder-only Transformer (GPT; Radford et al. 2018, with the pre-norm of GPT-2): token and position
//! embeddings, causal blocks, a norm, softmax. While writing it keeps the keys and values of what it has read.
//!
//! Deviates: ReLU, a feed-forward layer twice as wide as the rest (not four times), no dropout.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use shenbi_nn::transformer::{Block, Cache, causal};
use shenbi_nn::weights::values;
use shenbi_nn::{Embedding, Init, LayerNorm, Linear};

/// Shape of a [`Gpt`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct GptConfig {
    /// Number of tokens.
    pub vocabulary: usize,
    /// Tokens of the longest text, the end included.
    pub length: usize,
    /// Width of the Transformer.
    pub width: usize,
    /// Number of blocks.
    pub layers: usize,
    /// Attention heads a block.
    pub heads: usize,
}

impl GptConfig {
    /// # Errors
    /// The sizes do not fit each other, or are out of any sensible range; the text says which.
    pub fn check(&self) -> Result<(), String> {
        super::language::check_sizes(&[
            ("vocabulary", self.vocabulary, 2, 1 << 20),
            ("length", self.length, 1, 4096),
            ("width", self.width, 1, 4096),
            ("layers", self.layers, 1, 48),
            ("heads", self.heads, 1, 64),
        ])?;
        if !self.width.is_multiple_of(self.heads) {
            return Err(format!("width {} is no multiple of its {} heads", self.width, self.heads));
        }
        Ok(())
    }
}

/// The Transformer.
#[derive(Module, Debug)]
pub struct Gpt {
    /// `[vocabulary, width]`
    pub embed: Embedding,
    /// `[length, width]`
    pub positions: Param<Tensor<2>>,
    /// The blocks.
    pub blocks: Vec<Block>,
    /// After the last block.
    pub norm: LayerNorm,
    /// To logits, `[vocabulary, width]`.
    pub out: Linear,
}

impl Gpt {
    /// Untrained.
    pub fn new(config: &GptConfig, init: &mut Init) -> Self {
        let GptConfig { vocabulary, length, width, layers, heads } = *config;
        Self {
            embed: Embedding::new(vocabulary, width, 0.3, init),
            positions: init.normal([length, width], 0.1),
            blocks: (0..layers).map(|_| Block::new(width, heads, init)).collect(),
            norm: LayerNorm::new(width, init),
            out: Linear::new(width, vocabulary, 0.3, init),
        }
    }

    /// What it makes of each token and those before. inputs: `b` rows of `t` tokens.
    ///
    /// # Shapes
    /// Returns `[b * t, width]`.
    pub fn features(&self, inputs: Vec<i32>, [b, t]: [usize; 2], device: &Device) -> Tensor<2> {
        let ids = Tensor::<2, Int>::from_data(TensorData::new(inputs, [b, t]), device);
        let bias = causal(t, device);
        let mut x = self.embed.forward(ids) + self.positions.val().narrow(0, 0, t).unsqueeze(); // [b, t, width]
        for block in &self.blocks {
            x = block.forward(x, bias.clone());
        }
        let [.., width] = x.dims();
        self.norm.forward(x).reshape([b * t, width])
    }

    /// Reads texts token by token, all at one place.
    pub fn reader(&self) -> GptReader {
        let network = self.valid();
        let caches = network.blocks.iter().map(|_| None).collect();
        GptReader { device: network.devices().into_iter().next().unwrap_or_default(), network, caches, place: 0 }
    }
}

/// A [`Gpt`] that reads tokens one by one.
#[derive(Clone, Debug)]
pub struct GptReader {
    network: Gpt,
    caches: Vec<Option<Cache>>,
    place: usize,
    device: Device,
}

impl GptReader {
    /// Reads one token a row; returns what it makes of it, `[b, width]`. Beyond the longest text it stays at its last
    /// place.
    pub fn read(&mut self, tokens: &[u32]) -> Vec<f32> {
        let ids: Vec<i32> = tokens.iter().map(|token| *token as i32).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [tokens.len(), 1]), &self.device);
        let [length, _] = self.network.positions.dims();
        let position = self.network.positions.val().narrow(0, self.place.min(length - 1), 1).unsqueeze();
        let mut x = self.network.embed.forward(ids) + position; // [b, 1, width]
        for (block, cache) in self.network.blocks.iter().zip(&mut self.caches) {
            x = block.forward_next(x, cache);
        }
        self.place += 1;
        values(self.network.norm.forward(x)).data
    }

    /// Each row `times` times, one after the other.
    #[must_use]
    pub fn repeat(&self, times: usize) -> Self {
        let caches = self.caches.iter().map(|cache| cache.as_ref().map(|cache| cache.repeat(times))).collect();
        Self { caches, ..self.clone() }
    }
}
