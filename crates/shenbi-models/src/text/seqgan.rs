//! SeqGAN (1609.05473): a discriminator's verdict on a finished text, brought back to each of its tokens by rollouts.
//!
//! The generator is [`super::lstm`]. Token t of a text earns Q(t) = E D(x₁ … xₜ, then what the rollout policy writes),
//! estimated with N finished texts (eq. 4), and the last token D of the text itself; the generator follows
//! Σₜ Q(t) ∇ log p(xₜ | x₁ … xₜ₋₁) (eq. 8). The rollout policy is an average of the generator.
//!
//! The discriminator is a convolutional classifier of texts (1408.5882) with a highway layer (1505.00387):
//!
//! ```text
//! tokens ─ embedding ─ windows of k tokens ─ linear ─ ReLU ─ largest over places ─┐ for each k
//! features ─ τ relu(W_h f) + (1 - τ) f, τ = sigmoid(W_τ f) ─ dropout ─ logit ◄────┘
//! ```
//!
//! Deviates: one logit where the paper has a softmax over two; no L2 term.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use serde::{Deserialize, Serialize};
use shenbi_nn::ops::{self, Stride};
use shenbi_nn::pool::max_of_pixels;
use shenbi_nn::{Embedding, Init, Linear};

use super::Sequences;

/// Windows of the paper's discriminator for texts of 20 tokens, and how many filters each has.
pub const PAPER_FILTERS: [[usize; 2]; 12] = [
    [1, 100],
    [2, 200],
    [3, 200],
    [4, 200],
    [5, 200],
    [6, 100],
    [7, 100],
    [8, 100],
    [9, 100],
    [10, 100],
    [15, 160],
    [20, 160],
];

/// Shape of a [`Discriminator`].
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct DiscriminatorConfig {
    /// Number of tokens.
    pub vocabulary: usize,
    /// Tokens of a text.
    pub length: usize,
    /// Numbers a token's embedding.
    pub embedding: usize,
    /// Tokens a window, and filters; windows longer than a text are left out.
    pub filters: Vec<[usize; 2]>,
}

impl DiscriminatorConfig {
    /// # Errors
    /// The sizes are out of any sensible range, or no window fits a text; the text says which.
    pub fn check(&self) -> Result<(), String> {
        super::language::check_sizes(&[
            ("vocabulary", self.vocabulary, 2, 1 << 20),
            ("length", self.length, 1, 4096),
            ("discriminator embedding", self.embedding, 1, 4096),
        ])?;
        if self.fitting().next().is_none() {
            return Err(format!("filters: none has a window of at most the {} tokens of a text", self.length));
        }
        if let Some([window, count]) =
            self.filters.iter().find(|[window, count]| *window == 0 || !(1..=4096).contains(count))
        {
            return Err(format!("filters: {count} of {window} tokens: expected 1 to 4096, of at least 1"));
        }
        Ok(())
    }

    fn fitting(&self) -> impl Iterator<Item = [usize; 2]> + '_ {
        self.filters.iter().copied().filter(|[window, _]| *window <= self.length)
    }
}

/// Texts to logits: positive where real.
#[derive(Module, Debug)]
pub struct Discriminator {
    /// `[vocabulary, embedding]`
    pub embed: Embedding,
    /// Windows to features, `[filters, k * embedding]` each.
    pub convolutions: Vec<Linear>,
    /// The highway's transformed features.
    pub transform: Linear,
    /// How much of them is taken.
    pub gate: Linear,
    /// Features to the logit.
    pub out: Linear,
    #[module(skip)]
    windows: Vec<usize>,
}

impl Discriminator {
    /// Untrained.
    ///
    /// # Errors
    /// As [`DiscriminatorConfig::check`].
    pub fn new(config: &DiscriminatorConfig, init: &mut Init) -> Result<Self, String> {
        config.check()?;
        let features = config.fitting().map(|[_, count]| count).sum();
        let convolution = |[window, count]: [usize; 2]| Linear::new(window * config.embedding, count, 1.0, init);
        let (windows, convolutions) =
            (config.fitting().map(|[window, _]| window).collect(), config.fitting().map(convolution).collect());
        let gate = Linear::new(features, features, 0.3, init);
        // Mostly the features as they are, at first.
        let bias = gate.bias.map(|bias| bias.map(|bias| bias.add_scalar(-2.0)));
        Ok(Self {
            embed: Embedding::new(config.vocabulary, config.embedding, 0.3, init),
            convolutions,
            transform: Linear::new(features, features, 1.0, init),
            gate: Linear { bias, ..gate },
            out: Linear::new(features, 1, 0.3, init),
            windows,
        })
    }

    /// Features after the highway.
    ///
    /// # Shapes
    /// Returns `[b, features]`.
    pub fn features(&self, texts: &Sequences, device: &Device) -> Tensor<2> {
        let ids: Vec<i32> = texts.ids.iter().map(|id| *id as i32).collect();
        let ids = Tensor::<2, Int>::from_data(TensorData::new(ids, [texts.rows(), texts.length]), device);
        let features = over_windows(&self.convolutions, &self.windows, self.embed.forward(ids));
        highway(&self.transform, &self.gate, features)
    }

    /// Logits of texts. kept: 0, or 1 / p where a feature is kept with probability p (dropout), `[b, features]`.
    ///
    /// # Shapes
    /// Returns `[b]`.
    pub fn forward(&self, texts: &Sequences, kept: Option<Tensor<2>>, device: &Device) -> Tensor<1> {
        let features = self.features(texts, device);
        let features = match kept {
            Some(kept) => features * kept,
            None => features,
        };
        let [b, _] = features.dims();
        self.out.forward(features).reshape([b])
    }

    /// Number of features.
    pub fn width(&self) -> usize {
        self.out.weight.dims()[1]
    }
}

/// The largest response of each filter over a text: a convolution along the tokens.
///
/// # Shapes
/// convolutions: weights `[filters, window * e]`, x: `[b, t, e]`; returns `[b, all filters]`.
pub(crate) fn over_windows(convolutions: &[Linear], windows: &[usize], x: Tensor<3>) -> Tensor<2> {
    let [b, t, e] = x.dims();
    let x = x.reshape([b, 1, t, e]).permute([0, 3, 1, 2]); // a picture one pixel high
    let parts = convolutions.iter().zip(windows).map(|(convolution, &window)| {
        let weight = convolution.weight.val();
        let [filters, _] = weight.dims();
        let weight = weight.reshape([filters, 1, window, e]).permute([0, 3, 1, 2]); // [filters, e, 1, window]
        let stride = Stride { stride: 1, padding: 0, groups: 1 };
        max_of_pixels(ops::conv2d(x.clone(), weight, convolution.bias.as_ref().map(|bias| bias.val()), stride, 0.0))
    });
    ops::to_f32(Tensor::cat(parts.collect(), 1))
}

/// τ relu(W x) + (1 - τ) x with τ = sigmoid(V x) (1505.00387, eq. 3).
pub(crate) fn highway(transform: &Linear, gate: &Linear, x: Tensor<2>) -> Tensor<2> {
    let gate = activation::sigmoid(gate.forward(x.clone()));
    x.clone() + gate * (ops::relu(transform.forward(x.clone())) - x)
}
