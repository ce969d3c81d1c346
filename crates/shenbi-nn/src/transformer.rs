//! A pre-norm Transformer encoder (1706.03762; norm placement of 2002.04745).

use burn::module::Module;
use burn::tensor::{Tensor, activation};

use crate::init::Init;
use crate::linear::Linear;
use crate::norm::LayerNorm;

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
    /// x: `[b, t, n]`; bias: `[b, 1, 1, t]`, 0 where a token may be looked at and very negative where it is padding.
    pub fn forward(&self, x: Tensor<3>, bias: Tensor<4>) -> Tensor<3> {
        let mixed = attention(self.qkv.forward(self.norm1.forward(x.clone())), self.heads, Some(bias));
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
    let [b, t, n] = qkv.dims();
    let (n, d) = (n / 3, n / 3 / heads);
    let qkv = qkv.reshape([b, t, 3 * heads, d]).swap_dims(1, 2); // [b, 3h, t, d]
    let query = qkv.clone().narrow(1, 0, heads); // [b, h, t, d]
    let key = qkv.clone().narrow(1, heads, heads);
    let value = qkv.narrow(1, 2 * heads, heads);
    let scores = query.matmul(key.transpose()).mul_scalar((d as f64).powf(-0.5)); // [b, h, t, t]
    let scores = bias.map_or(scores.clone(), |bias| scores + bias);
    activation::softmax(scores, 3).matmul(value).swap_dims(1, 2).reshape([b, t, n])
}

/// GELU (1606.08415); quick: as x σ(1.702 x), as CLIP has it.
pub fn gelu<const D: usize>(x: Tensor<D>, quick: bool) -> Tensor<D> {
    if quick { x.clone() * activation::sigmoid(x.mul_scalar(1.702)) } else { activation::gelu(x) }
}
