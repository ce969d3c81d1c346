//! RelGAN (Nie, Narodytska & Patel, ICLR 2019, "RelGAN: Relational Generative Adversarial Networks for Text Generation"):
//! a relational memory as generator, the Gumbel-softmax with a falling temperature, and a discriminator that sees a text
//! through many embeddings at once.
//!
//! - Generator: a memory M of a few slots (1806.01822). A token's embedding joins the slots, these attend to all of them
//!   by several heads, pass a small MLP, and replace the memory as far as a gate lets them:
//!   M̃ = norm(M + attend(M, [M; x])), M̃ = norm(M̃ + mlp(M̃)), M' = σ(f + 1) M + σ(i) tanh(M̃),
//!   [i, f] = W x + U tanh(M).
//! - Tokens with gradients: ŷ = softmax(β (o + g)), g Gumbel noise, β the inverse temperature, βmax^(n/N) at step n of N;
//!   the next input is Σ ŷ E.
//! - Discriminator: S embeddings of the text, each through the same windows of tokens, largest over places, highway, one
//!   logit each. Loss: relativistic, log(1 + e^(D(fake) - D(real))), a mean over the S logits.
//!
//! Deviates: one MLP layer less in the memory, one attention over memory a step; no separate layer norms of queries.

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use serde::{Deserialize, Serialize};
use shenbi_nn::weights::values;
use shenbi_nn::{Embedding, Init, LayerNorm, Linear, ops};

use super::END;
use super::seqgan::{highway, over_windows};

/// Shape of a [`Relational`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RelationalConfig {
    /// Number of tokens.
    pub vocabulary: usize,
    /// Numbers a token's embedding.
    pub embedding: usize,
    /// Slots of the memory.
    pub slots: usize,
    /// Attention heads.
    pub heads: usize,
    /// Numbers a head; a slot holds all heads'.
    pub head: usize,
}

impl RelationalConfig {
    /// # Errors
    /// A size is out of any sensible range; the text says which.
    pub fn check(&self) -> Result<(), String> {
        super::language::check_sizes(&[
            ("vocabulary", self.vocabulary, 2, 1 << 20),
            ("embedding", self.embedding, 1, 4096),
            ("slots", self.slots, 1, 64),
            ("heads", self.heads, 1, 64),
            ("head", self.head, 1, 1024),
        ])
    }
}

/// The generator.
#[derive(Module, Debug)]
pub struct Relational {
    /// `[vocabulary, embedding]`
    pub embed: Embedding,
    /// Embeddings to slots.
    pub input: Linear,
    /// Slots to query, key and value.
    pub qkv: Linear,
    /// After attention.
    pub norm1: LayerNorm,
    /// The MLP.
    pub mlp: Vec<Linear>,
    /// After it.
    pub norm2: LayerNorm,
    /// The gates' view of the input, `[2n, n]`: input gate, forget gate.
    pub gate_input: Linear,
    /// The gates' view of the memory, `[2n, n]`.
    pub gate_memory: Linear,
    /// The memory at first, `[slots, n]`; fixed.
    pub start: Param<Tensor<2>>,
    /// The whole memory to logits.
    pub out: Linear,
    #[module(skip)]
    heads: usize,
}

impl Relational {
    /// Untrained.
    pub fn new(config: &RelationalConfig, init: &mut Init) -> Self {
        let RelationalConfig { vocabulary, embedding, slots, heads, head } = *config;
        let n = heads * head;
        let plain = 0.5f32.sqrt();
        let start: Vec<f32> = (0..slots * n).map(|i| f32::from(u8::from(i / n == i % n))).collect();
        let eye = init.buffer([slots, n], 0.0).map(|zeros| {
            Tensor::from_data(TensorData::new(start, [slots, n]), &zeros.device()).set_require_grad(false)
        });
        Self {
            embed: Embedding::new(vocabulary, embedding, 0.3, init),
            input: Linear::new(embedding, n, plain, init),
            qkv: Linear::new(n, 3 * n, plain, init),
            norm1: LayerNorm::new(n, init),
            mlp: (0..2).map(|_| Linear::new(n, n, 1.0, init)).collect(),
            norm2: LayerNorm::new(n, init),
            gate_input: Linear::new(n, 2 * n, plain, init),
            gate_memory: Linear::without_bias(n, 2 * n, plain, init),
            start: eye,
            out: Linear::new(slots * n, vocabulary, plain, init),
            heads,
        }
    }

    /// The memory before anything was read, `[b, slots, n]`.
    pub fn start(&self, b: usize) -> Tensor<3> {
        self.start.val().unsqueeze::<3>().repeat_dim(0, b)
    }

    /// The memory after an embedding was read.
    ///
    /// # Shapes
    /// memory: `[b, slots, n]`, x: `[b, embedding]`; returns the memory.
    pub fn step(&self, memory: Tensor<3>, x: Tensor<2>) -> Tensor<3> {
        let [b, slots, n] = memory.dims();
        let d = n / self.heads;
        let x = self.input.forward(x).reshape([b, 1, n]);
        let both = Tensor::cat(vec![memory.clone(), x.clone()], 1); // [b, slots + 1, n]
        let qkv = self.qkv.forward(both).reshape([b, slots + 1, 3 * self.heads, d]).swap_dims(1, 2);
        let part = |i: usize| qkv.clone().narrow(1, i * self.heads, self.heads); // [b, heads, slots + 1, d]
        let query = part(0).narrow(2, 0, slots);
        let scores = query.matmul(part(1).transpose()).mul_scalar((d as f64).powf(-0.5));
        let mixed = activation::softmax(scores, 3).matmul(part(2)).swap_dims(1, 2).reshape([b, slots, n]);
        let new = self.norm1.forward(memory.clone() + mixed);
        let hidden = self.mlp.iter().fold(new.clone(), |x, layer| ops::relu(layer.forward(x)));
        let new = self.norm2.forward(new + hidden);
        let gates = self.gate_input.forward(x) + self.gate_memory.forward(ops::tanh(memory.clone())); // [b, slots, 2n]
        let take = activation::sigmoid(gates.clone().narrow(2, 0, n));
        let keep = activation::sigmoid(gates.narrow(2, n, n).add_scalar(1.0));
        keep * memory + take * ops::tanh(new)
    }

    /// The memory before each token. inputs: `t` rows of `b` tokens, time first.
    ///
    /// # Shapes
    /// Returns `[t * b, slots * n]`.
    pub fn features(&self, inputs: Vec<i32>, [t, b]: [usize; 2], device: &Device) -> Tensor<2> {
        let ids = Tensor::<2, Int>::from_data(TensorData::new(inputs, [t, b]), device);
        let x = self.embed.forward(ids); // [t, b, embedding]
        let [.., embedding] = x.dims();
        let mut memory = self.start(b);
        let [_, slots, n] = memory.dims();
        let mut all = Vec::with_capacity(t);
        for step in 0..t {
            memory = self.step(memory, x.clone().narrow(0, step, 1).reshape([b, embedding]));
            all.push(memory.clone().reshape([b, slots * n]));
        }
        Tensor::cat(all, 0)
    }

    /// Texts of `length` soft tokens, ŷ. gumbel: noise, `[length * b, vocabulary]`, time first.
    ///
    /// # Shapes
    /// Returns `[b, length, vocabulary]`.
    pub fn write_soft(&self, b: usize, length: usize, gumbel: Tensor<2>, beta: f64, device: &Device) -> Tensor<3> {
        let first = Tensor::<2, Int>::from_data(TensorData::new(vec![END as i32; b], [b, 1]), device);
        let x = self.embed.forward(first);
        let [.., embedding] = x.dims();
        let (mut x, mut memory) = (x.reshape([b, embedding]), self.start(b));
        let [_, slots, n] = memory.dims();
        let mut tokens = Vec::with_capacity(length);
        for t in 0..length {
            memory = self.step(memory, x);
            let logits = self.out.forward(memory.clone().reshape([b, slots * n]));
            let soft = gumbel_softmax(logits, gumbel.clone().narrow(0, t * b, b), beta);
            x = ops::linear(soft.clone(), self.embed.weight.val().transpose(), None);
            tokens.push(soft);
        }
        Tensor::stack(tokens, 1)
    }

    /// Reads `rows` texts token by token.
    pub fn reader(&self, rows: usize) -> RelationalReader {
        let network = self.valid();
        let device = network.devices().into_iter().next().unwrap_or_default();
        RelationalReader { memory: network.start(rows), network, device }
    }
}

/// softmax(β (logits + gumbel)) (1611.01144).
///
/// # Shapes
/// `[b, vocabulary]`
pub fn gumbel_softmax(logits: Tensor<2>, gumbel: Tensor<2>, beta: f64) -> Tensor<2> {
    activation::softmax((logits + gumbel).mul_scalar(beta), 1)
}

/// A [`Relational`] that reads tokens one by one.
#[derive(Clone, Debug)]
pub struct RelationalReader {
    network: Relational,
    memory: Tensor<3>,
    device: Device,
}

impl RelationalReader {
    /// Reads one token a row; returns the memories, `[b, slots * n]`.
    pub fn read(&mut self, tokens: &[u32]) -> Vec<f32> {
        let ids: Vec<i32> = tokens.iter().map(|token| *token as i32).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [tokens.len(), 1]), &self.device);
        let x = self.network.embed.forward(ids);
        let [b, _, embedding] = x.dims();
        self.memory = self.network.step(self.memory.clone(), x.reshape([b, embedding]));
        values(self.memory.clone()).data
    }

    /// Each row `times` times, one after the other.
    #[must_use]
    pub fn repeat(&self, times: usize) -> Self {
        let [b, slots, n] = self.memory.dims();
        let memory = self.memory.clone().reshape([b, 1, slots * n]).repeat_dim(1, times);
        Self { memory: memory.reshape([b * times, slots, n]), ..self.clone() }
    }
}

/// Shape of a [`Discriminator`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscriminatorConfig {
    /// Number of tokens.
    pub vocabulary: usize,
    /// Tokens of a text.
    pub length: usize,
    /// S: views of the text.
    pub views: usize,
    /// Numbers of a token in each view.
    pub embedding: usize,
    /// Tokens a window, and filters; windows longer than a text are left out.
    pub filters: Vec<[usize; 2]>,
    /// Numbers before the logit.
    pub features: usize,
}

/// Windows of the paper's discriminator, and how many filters each has.
pub const PAPER_FILTERS: [[usize; 2]; 4] = [[2, 300], [3, 300], [4, 300], [5, 300]];

/// Soft texts to logits, one a view.
#[derive(Module, Debug)]
pub struct Discriminator {
    /// All views' embeddings of the tokens, `[views * embedding, vocabulary]`.
    pub embed: Linear,
    /// Windows to features, `[filters, k * embedding]` each.
    pub convolutions: Vec<Linear>,
    /// The highway's transformed features.
    pub transform: Linear,
    /// How much of them is taken.
    pub gate: Linear,
    /// Features to fewer.
    pub narrow: Linear,
    /// To the logit.
    pub out: Linear,
    #[module(skip)]
    windows: Vec<usize>,
    #[module(skip)]
    views: usize,
}

impl Discriminator {
    /// Untrained.
    ///
    /// # Errors
    /// No window fits a text, or a size is out of any sensible range.
    pub fn new(config: &DiscriminatorConfig, init: &mut Init) -> Result<Self, String> {
        super::language::check_sizes(&[
            ("vocabulary", config.vocabulary, 2, 1 << 20),
            ("views", config.views, 1, 1024),
            ("discriminator embedding", config.embedding, 1, 1024),
            ("features", config.features, 1, 4096),
        ])?;
        let fitting: Vec<[usize; 2]> =
            config.filters.iter().copied().filter(|[window, _]| (1..=config.length).contains(window)).collect();
        if fitting.is_empty() || fitting.iter().any(|[_, count]| !(1..=4096).contains(count)) {
            return Err(format!("filters: expected 1 to 4096 of windows of 1 to {} tokens", config.length));
        }
        let count = fitting.iter().map(|[_, count]| count).sum();
        let plain = 0.5f32.sqrt();
        Ok(Self {
            embed: Linear::without_bias(config.vocabulary, config.views * config.embedding, 10.0, init),
            convolutions: fitting
                .iter()
                .map(|[window, count]| Linear::new(window * config.embedding, *count, 1.0, init))
                .collect(),
            transform: Linear::new(count, count, 1.0, init),
            gate: Linear::new(count, count, plain, init),
            narrow: Linear::new(count, config.features, plain, init),
            out: Linear::new(config.features, 1, plain, init),
            windows: fitting.iter().map(|[window, _]| *window).collect(),
            views: config.views,
        })
    }

    /// # Shapes
    /// texts: `[b, t, vocabulary]`, rows that sum to 1; returns `[b * views]`.
    pub fn forward(&self, texts: Tensor<3>) -> Tensor<1> {
        self.judge(self.embed.forward(texts))
    }

    /// The same for hard tokens. ids: `[b, t]`.
    pub fn forward_hard(&self, ids: Tensor<2, Int>) -> Tensor<1> {
        let [b, t] = ids.dims();
        let table = self.embed.weight.val().transpose(); // [vocabulary, views * embedding]
        let [_, n] = table.dims();
        self.judge(table.select(0, ids.reshape([b * t])).reshape([b, t, n]))
    }

    /// x: `[b, t, views * embedding]`.
    fn judge(&self, x: Tensor<3>) -> Tensor<1> {
        let [b, t, n] = x.dims();
        let (views, e) = (self.views, n / self.views);
        // Views become texts.
        let x = x.reshape([b, t, views, e]).swap_dims(1, 2).reshape([b * views, t, e]);
        let features = over_windows(&self.convolutions, &self.windows, x);
        let features = highway(&self.transform, &self.gate, features);
        self.out.forward(self.narrow.forward(features)).reshape([b * views])
    }
}
