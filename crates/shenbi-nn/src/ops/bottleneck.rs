//! Inverted bottlenecks.

use burn::backend::Dispatch;
use burn::tensor::Tensor;

use super::{add, conv2d, leaky_relu_tangent, on_cpu, twice};
use crate::kernels::{self, Kernels, Stride};

/// An inverted bottleneck's parameters.
///
/// # Shapes
/// weights: `[n, c, 1, 1]`, `[n, n / groups, 3, 3]`, `[c, n, 1, 1]`; biases: `[n]`, zero where there is none.
pub struct Bottleneck {
    /// W₁, W₂ and W₃.
    pub weights: [Tensor<4>; 3],
    /// b₁ and b₂.
    pub biases: [Option<Tensor<1>>; 2],
    /// Groups of the 3x3 convolution.
    pub groups: usize,
    /// Slope of the LeakyReLUs, a.
    pub slope: f64,
}

const PIXEL: Stride = Stride { stride: 1, padding: 0, groups: 1 };

impl Bottleneck {
    fn mix(&self) -> Stride {
        Stride { padding: 1, groups: self.groups, ..PIXEL }
    }

    fn how(&self) -> kernels::Bottleneck {
        kernels::Bottleneck { groups: self.groups, slope: self.slope as f32 }
    }

    /// The biases, there or not.
    fn full_biases(&self) -> [Tensor<1>; 2] {
        let weight = &self.weights[0];
        let zeros = || Tensor::zeros([weight.dims()[0]], &weight.device().without_autodiff());
        self.biases.each_ref().map(|bias| bias.clone().unwrap_or_else(zeros))
    }
}

/// x + W₃ a(W₂ * a(W₁ x + b₁) + b₂).
///
/// # Shapes
/// x: `[b, c, h, w]`, returns the same.
pub fn bottleneck(x: Tensor<4>, block: Bottleneck) -> Tensor<4> {
    if on_cpu(x.device()) {
        let (how, [b1, b2], [w1, w2, w3]) = (block.how(), block.full_biases(), block.weights);
        let (w1, w2, w3) = (w1.into_dispatch(), w2.into_dispatch(), w3.into_dispatch());
        let (x, b1, b2) = (x.into_dispatch(), b1.into_dispatch(), b2.into_dispatch());
        return Tensor::from_dispatch(Dispatch::shenbi_bottleneck(x, w1, b1, w2, b2, w3, how));
    }
    let mix = block.mix();
    let Bottleneck { weights: [w1, w2, w3], biases: [b1, b2], slope, .. } = block;
    let [x, y] = twice(x);
    let y = conv2d(conv2d(y, w1, b1, PIXEL, slope), w2, b2, mix, slope);
    add(x, conv2d(y, w3, None, PIXEL, 1.0))
}

/// The same y, and its derivative along `dx`, which has no gradient in x and in the biases: a LeakyReLU does not bend.
///
/// # Shapes
/// x and dx: `[b, c, h, w]`, returns the same.
pub fn bottleneck_tangent(x: Tensor<4>, dx: Tensor<4>, block: Bottleneck) -> (Tensor<4>, Tensor<4>) {
    if on_cpu(x.device()) {
        let (how, [b1, b2], [w1, w2, w3]) = (block.how(), block.full_biases(), block.weights);
        let (w1, w2, w3) = (w1.into_dispatch(), w2.into_dispatch(), w3.into_dispatch());
        let (x, dx, b1, b2) = (x.into_dispatch(), dx.into_dispatch(), b1.into_dispatch(), b2.into_dispatch());
        let (y, dy) = Dispatch::shenbi_bottleneck_tangent(x, dx, w1, b1, w2, b2, w3, how);
        return (Tensor::from_dispatch(y), Tensor::from_dispatch(dy));
    }
    let mix = block.mix();
    let Bottleneck { weights: [w1, w2, w3], biases: [b1, b2], slope, .. } = block;
    let first = conv2d(x.clone(), w1.clone(), b1, PIXEL, slope);
    let second = conv2d(first.clone(), w2.clone(), b2, mix, slope);
    let y = add(x, conv2d(second.clone(), w3.clone(), None, PIXEL, 1.0));
    let d = leaky_relu_tangent(first, conv2d(dx.clone(), w1, None, PIXEL, 1.0), slope);
    let d = leaky_relu_tangent(second, conv2d(d, w2, None, mix, 1.0), slope);
    (y, add(dx, conv2d(d, w3, None, PIXEL, 1.0)))
}
