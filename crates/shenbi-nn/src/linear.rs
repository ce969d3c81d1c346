//! Fully connected layer and embedding table.

use burn::module::{Module, Param};
use burn::tensor::{Int, Tensor};

use crate::init::Init;
use crate::ops;

/// y = x Wᵀ + b, with W stored as `[out, in]` (PyTorch's layout).
#[derive(Module, Debug)]
pub struct Linear {
    /// `[out, in]`
    pub weight: Param<Tensor<2>>,
    /// `[out]`
    pub bias: Option<Param<Tensor<1>>>,
}

impl Linear {
    /// He-initialised (times `gain`) with a zero bias.
    pub fn new(inputs: usize, outputs: usize, gain: f32, init: &mut Init) -> Self {
        Self { weight: init.he([outputs, inputs], inputs, gain), bias: Some(init.constant([outputs], 0.0)) }
    }

    /// The same without a bias.
    pub fn without_bias(inputs: usize, outputs: usize, gain: f32, init: &mut Init) -> Self {
        Self { weight: init.he([outputs, inputs], inputs, gain), bias: None }
    }

    /// # Shapes
    /// x: `[.., in]`, of any float type; returns `[.., out]`, f32.
    pub fn forward<const D: usize>(&self, x: Tensor<D>) -> Tensor<D> {
        ops::linear(x, self.weight.val(), self.bias.as_ref().map(Param::val))
    }

    /// The layer and its tangent: dy = dx Wᵀ.
    pub fn forward_tangent<const D: usize>(&self, x: Tensor<D>, dx: Tensor<D>) -> (Tensor<D>, Tensor<D>) {
        let tangent = Self { weight: self.weight.clone(), bias: None };
        (self.forward(x), tangent.forward(dx))
    }
}

/// A table of vectors, looked up by index.
#[derive(Module, Debug)]
pub struct Embedding {
    /// `[count, dim]`
    pub weight: Param<Tensor<2>>,
}

impl Embedding {
    /// Drawn from N(0, std²).
    pub fn new(count: usize, dim: usize, std: f32, init: &mut Init) -> Self {
        Self { weight: init.normal([count, dim], std) }
    }

    /// # Shapes
    /// indices: `[b, t]`, returns `[b, t, dim]`.
    pub fn forward(&self, indices: Tensor<2, Int>) -> Tensor<3> {
        let [b, t] = indices.dims();
        let [_, dim] = self.weight.dims();
        self.weight.val().select(0, indices.reshape([b * t])).reshape([b, t, dim])
    }
}
