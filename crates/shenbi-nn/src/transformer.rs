//! Pre-norm Transformer blocks, of an encoder or a decoder (1706.03762; norm placement of 2002.04745).

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData, activation};

use crate::init::Init;
use crate::linear::Linear;
use crate::norm::LayerNorm;

/// Keys and values of the tokens that a decoder has read, `[b, h, t, d]`.
#[derive(Clone, Debug)]
pub struct Cache {
    key: Tensor<4>,
    value: Tensor<4>,
}

impl Cache {
    /// Each text `times` times, one after the other.
    #[must_use]
    pub fn repeat(&self, times: usize) -> Self {
        let rows = |x: &Tensor<4>| {
            let [b, h, t, d] = x.dims();
            x.clone().reshape([b, 1, h * t * d]).repeat_dim(1, times).reshape([b * times, h, t, d])
        };
        Self { key: rows(&self.key), value: rows(&self.value) }
    }
}

/// The bias with which each of `t` tokens looks at itself and the ones before, `[1, 1, t, t]`.
pub fn causal(t: usize, device: &Device) -> Tensor<4> {
    let values: Vec<f32> = (0..t * t).map(|i| if i % t > i / t { -1e9 } else { 0.0 }).collect();
    Tensor::from_data(TensorData::new(values, [1, 1, t, t]), &device.clone().without_autodiff())
}

/// Self-attention and a feed-forward layer, each added to its input.
#[derive(Module, Debug)]
pub struct Block {
    /// Before attention.
    pub norm1: LayerNorm,
    /// To query, key and value at once, `[3n, n]`.
    pub qkv: Linear,
    /// From the heads back, `[n, n]`.
    pub out: Linear,
    /// Before the feed-forward layer.
    pub norm2: LayerNorm,
    /// `[2n, n]`
    pub up: Linear,
    /// `[n, 2n]`
    pub down: Linear,
    /// Number of attention heads.
    #[module(skip)]
    pub heads: usize,
}

impl Block {
    /// A block of width `n` with `heads` heads; `n` is a multiple of `heads`.
    pub fn new(n: usize, heads: usize, init: &mut Init) -> Self {
        Self {
            norm1: LayerNorm::new(n, init),
            qkv: Linear::new(n, 3 * n, 0.7, init),
            out: Linear::new(n, n, 0.35, init),
            norm2: LayerNorm::new(n, init),
            up: Linear::new(n, 2 * n, 1.0, init),
            down: Linear::new(2 * n, n, 0.5, init),
            heads,
        }
    }

    /// # Shapes
    /// x: `[b, t, n]`; bias: `[b or 1, 1, 1 or t, t]`, 0 where a token may be looked at and very negative where it is
    /// padding, or (in a decoder, [`causal`]) comes later.
    pub fn forward(&self, x: Tensor<3>, bias: Tensor<4>) -> Tensor<3> {
        let mixed = attention(self.qkv.forward(self.norm1.forward(x.clone())), self.heads, Some(bias));
        self.after(x, mixed)
    }

    /// A decoder's next tokens, which look at those of `cache` and at themselves, and join them there.
    ///
    /// # Shapes
    /// x: `[b, 1, n]`.
    pub fn forward_next(&self, x: Tensor<3>, cache: &mut Option<Cache>) -> Tensor<3> {
        let [query, key, value] = parts(self.qkv.forward(self.norm1.forward(x.clone())), self.heads);
        let [key, value] = match cache.take() {
            Some(Cache { key: k, value: v }) => [Tensor::cat(vec![k, key], 2), Tensor::cat(vec![v, value], 2)],
            None => [key, value],
        };
        *cache = Some(Cache { key: key.clone(), value: value.clone() });
        self.after(x, mix([query, key, value], None))
    }

    /// All after attention. mixed: `[b, t, n]`.
    fn after(&self, x: Tensor<3>, mixed: Tensor<3>) -> Tensor<3> {
        let x = x + self.out.forward(mixed);
        let hidden = activation::relu(self.up.forward(self.norm2.forward(x.clone())));
        x + self.down.forward(hidden)
    }
}

/// softmax(Q Kᵀ / √d + bias) V of several heads side by side.
///
/// # Shapes
/// qkv: query, key and value of each token, `[b, t, 3n]`; bias: `[b or 1, 1, t or 1, t]`, 0 where a token may be looked at
/// and very negative where it may not; returns `[b, t, n]`.
pub fn attention(qkv: Tensor<3>, heads: usize, bias: Option<Tensor<4>>) -> Tensor<3> {
    mix(parts(qkv, heads), bias)
}

/// Query, key and value, `[b, h, t, d]` each.
fn parts(qkv: Tensor<3>, heads: usize) -> [Tensor<4>; 3] {
    let [b, t, n] = qkv.dims();
    let qkv = qkv.reshape([b, t, 3 * heads, n / 3 / heads]).swap_dims(1, 2); // [b, 3h, t, d]
    [0, 1, 2].map(|part| qkv.clone().narrow(1, part * heads, heads))
}

/// Attention of queries `[b, h, t, d]` to keys and values `[b, h, s, d]`; returns `[b, t, h * d]`.
fn mix([query, key, value]: [Tensor<4>; 3], bias: Option<Tensor<4>>) -> Tensor<3> {
    let [b, heads, t, d] = query.dims();
    let scores = query.matmul(key.transpose()).mul_scalar((d as f64).powf(-0.5)); // [b, h, t, s]
    let scores = bias.map_or(scores.clone(), |bias| scores + bias);
    activation::softmax(scores, 3).matmul(value).swap_dims(1, 2).reshape([b, t, heads * d])
}

/// GELU (1606.08415); quick: as x σ(1.702 x), as CLIP has it.
pub fn gelu<const D: usize>(x: Tensor<D>, quick: bool) -> Tensor<D> {
    if quick { x.clone() * activation::sigmoid(x.mul_scalar(1.702)) } else { activation::gelu(x) }
}
