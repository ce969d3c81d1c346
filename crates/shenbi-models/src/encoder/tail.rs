//! The last layers of a text encoder that others trained, to be trained on with the pictures: all below them stays as it
//! is, and everything that changes is here, so that a model's file holds it.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use shenbi_nn::ops::normalize;
use shenbi_nn::transformer::causal;
use shenbi_nn::{Init, LayerNorm, Linear};

use super::pretrained::Pooling;
use super::text::HIDDEN;
use super::tokenizer::Tokens;
use crate::backbone::transformer::Layer;

/// Numbers in any of its shapes, at most.
const LARGEST: usize = 1 << 16;

/// Shapes of a [`Tail`], and what its tensors do not tell.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TailConfig {
    /// Layers.
    pub layers: usize,
    /// Numbers in a token.
    pub width: usize,
    /// Attention heads, a divisor of the width.
    pub heads: usize,
    /// Numbers inside of a layer's MLP.
    pub inner: usize,
    /// Added to the norms' variance.
    pub epsilon: f64,
    /// GELU as x σ(1.702 x).
    pub quick: bool,
    /// Norms after the sums: BERT's kin. Else a token sees those before it only, and a norm comes last: CLIP.
    pub post: bool,
    /// How tokens become a sentence.
    pub pooling: Pooling,
    /// CLIP's end token, where its files say.
    pub end: Option<i32>,
    /// CLIP: numbers in an embedding after its projection, if it has one.
    pub projected: Option<usize>,
    /// Whether embeddings are brought to length one.
    pub normalized: bool,
}

impl TailConfig {
    /// # Errors
    /// The shapes do not fit each other, or are out of any sensible range.
    pub fn check(&self) -> Result<(), String> {
        let Self { layers, width, heads, inner, projected, .. } = *self;
        let sizes = [layers, width, heads, inner, projected.unwrap_or(1)];
        if sizes.iter().any(|size| !(1..=LARGEST).contains(size)) || !width.is_multiple_of(heads) {
            return Err(format!("the tuned layers of its text encoder cannot be of {sizes:?}: damaged"));
        }
        Ok(())
    }

    /// Its weights.
    pub fn parameters(&self) -> usize {
        let (n, m) = (self.width, self.inner);
        let layer = (n + 1) * 3 * n + (n + 1) * n + (n + 1) * m + (m + 1) * n + 4 * n;
        let after = if self.post { 0 } else { 2 * n };
        self.layers.saturating_mul(layer).saturating_add(after + self.projected.unwrap_or(0) * n)
    }

    /// Numbers in an embedding.
    pub fn dim(&self) -> usize {
        self.projected.unwrap_or(self.width)
    }
}

/// Hidden states to embeddings.
#[derive(Module, Debug)]
pub struct Tail {
    /// In order.
    pub layers: Vec<Layer>,
    /// After them (CLIP).
    pub after: Option<LayerNorm>,
    /// To the embedding (CLIP), without a bias.
    pub project: Option<Linear>,
    /// How tokens become a sentence.
    #[module(skip)]
    pub pooling: Pooling,
    /// CLIP's end token.
    #[module(skip)]
    pub end: Option<i32>,
    /// Whether embeddings are brought to length one.
    #[module(skip)]
    pub normalized: bool,
}

impl Tail {
    /// One whose weights are about to be loaded.
    pub fn new(config: &TailConfig, init: &mut Init) -> Self {
        let TailConfig { width: n, heads, inner, epsilon, quick, post, pooling, end, normalized, .. } = *config;
        let layer = |init: &mut Init| Layer {
            norm1: LayerNorm { epsilon, ..LayerNorm::new(n, init) },
            qkv: Linear::new(n, 3 * n, 1.0, init),
            out: Linear::new(n, n, 1.0, init),
            norm2: LayerNorm { epsilon, ..LayerNorm::new(n, init) },
            up: Linear::new(n, inner, 1.0, init),
            down: Linear::new(inner, n, 1.0, init),
            heads,
            quick,
            post,
        };
        Self {
            layers: (0..config.layers).map(|_| layer(init)).collect(),
            after: (!post).then(|| LayerNorm { epsilon, ..LayerNorm::new(n, init) }),
            project: config.projected.map(|dim| Linear::without_bias(n, dim, 1.0, init)),
            pooling,
            end,
            normalized,
        }
    }

    /// What the layers make of hidden states, and the embeddings of those.
    ///
    /// # Shapes
    /// hidden: `[b, t, n]`, returns `[b, dim]`.
    pub fn forward(&self, hidden: Tensor<3>, tokens: &Tokens) -> Tensor<2> {
        // Kept apart from autodiff: a mask is no weight.
        let device = hidden.device().without_autodiff();
        let attend = if self.after.is_some() { Some(causal(tokens.length, &device)) } else { tokens.attend(&device) };
        let x = self.layers.iter().fold(hidden, |x, layer| layer.forward(x, attend.clone()));
        let x = self.after.as_ref().map_or(x.clone(), |norm| norm.forward(x));
        let pooled = match self.pooling {
            Pooling::Mean => tokens.mean(x),
            Pooling::First => tokens.pick(x, &vec![0; tokens.batch]),
            Pooling::End => tokens.pick(x, &tokens.ends(self.end)),
        };
        let embedding = self.project.as_ref().map_or(pooled.clone(), |project| project.forward(pooled));
        if self.normalized { normalize(embedding) } else { embedding }
    }
}

impl Tokens {
    /// Where nothing is padding there is nothing to hide: the bias of attention, `[batch, 1, 1, length]`, if there is.
    pub(super) fn attend(&self, device: &Device) -> Option<Tensor<4>> {
        let padded = self.lengths.iter().any(|length| *length < self.length);
        padded.then(|| self.where_real(0.0, HIDDEN, device).reshape([self.batch, 1, 1, self.length]))
    }

    /// The place of each text's end token: of `end`, or of the largest where that is not said or absent.
    pub(super) fn ends(&self, end: Option<i32>) -> Vec<usize> {
        let rows = self.ids.chunks_exact(self.length.max(1)).zip(&self.lengths);
        rows.map(|(ids, length)| {
            let ids = &ids[..*length];
            let end = end.as_ref().filter(|end| ids.contains(end)).or(ids.iter().max());
            ids.iter().position(|id| Some(id) == end).unwrap_or(length - 1)
        })
        .collect()
    }

    /// One token of each text. x: `[batch, length, n]`, returns `[batch, n]`.
    pub(super) fn pick(&self, x: Tensor<3>, places: &[usize]) -> Tensor<2> {
        let [b, t, n] = x.dims();
        let rows: Vec<i32> = places.iter().enumerate().map(|(row, place)| (row * t + place) as i32).collect();
        let rows =
            Tensor::<1, burn::tensor::Int>::from_data(TensorData::new(rows, [b]), &x.device().without_autodiff());
        x.reshape([b * t, n]).select(0, rows)
    }
}
