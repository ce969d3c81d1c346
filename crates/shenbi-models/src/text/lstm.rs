//! The LSTM language model that SeqGAN (1609.05473) and its followers start from: embedding, one LSTM layer, softmax.
//!
//! p(xₜ | x₁ … xₜ₋₁) = softmax(V hₜ + c), hₜ = LSTM(hₜ₋₁, E xₜ₋₁), x₀ = [`super::END`].

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use shenbi_nn::lstm::LstmReader;
use shenbi_nn::{Embedding, Init, Linear, Lstm};

/// Shape of an [`LstmLanguage`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct LstmConfig {
    /// Number of tokens.
    pub vocabulary: usize,
    /// Numbers a token's embedding.
    pub embedding: usize,
    /// Numbers of state.
    pub hidden: usize,
}

impl LstmConfig {
    /// # Errors
    /// A size is out of any sensible range; the text says which.
    pub fn check(&self) -> Result<(), String> {
        super::language::check_sizes(&[
            ("vocabulary", self.vocabulary, 2, 1 << 20),
            ("embedding", self.embedding, 1, 4096),
            ("hidden", self.hidden, 1, 4096),
        ])
    }
}

/// Embedding, LSTM, linear layer.
#[derive(Module, Debug)]
pub struct LstmLanguage {
    /// `[vocabulary, embedding]`
    pub embed: Embedding,
    /// Embeddings to states.
    pub lstm: Lstm,
    /// States to logits, `[vocabulary, hidden]`.
    pub out: Linear,
}

impl LstmLanguage {
    /// Untrained.
    pub fn new(config: &LstmConfig, init: &mut Init) -> Self {
        let LstmConfig { vocabulary, embedding, hidden } = *config;
        Self {
            embed: Embedding::new(vocabulary, embedding, 0.3, init),
            lstm: Lstm::new(embedding, hidden, init),
            out: Linear::new(hidden, vocabulary, 0.5f32.sqrt(), init),
        }
    }

    /// The states before each token. inputs: `t` rows of `b` tokens, time first.
    ///
    /// # Shapes
    /// Returns `[t * b, hidden]`.
    pub fn features(&self, inputs: Vec<i32>, [t, b]: [usize; 2], device: &Device) -> Tensor<2> {
        let ids = Tensor::<2, Int>::from_data(TensorData::new(inputs, [t, b]), device);
        let states = self.lstm.forward(self.embed.forward(ids)); // [t, b, hidden]
        let [.., hidden] = states.dims();
        states.reshape([t * b, hidden])
    }

    /// Reads `rows` texts token by token.
    pub fn reader(&self, rows: usize) -> LstmReader {
        self.lstm.valid().reader(self.embed.weight.val().without_autodiff(), rows)
    }
}
