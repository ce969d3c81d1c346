//! The small strided CNN behind judge and classifier: halvings by 4x4 convolutions, then two linear layers.

use burn::module::Module;
use burn::tensor::Tensor;
use shenbi_nn::{Conv2d, Init, Linear, ops};

use crate::support::SLOPE;

/// Pictures to features and logits.
#[derive(Module, Debug)]
pub(crate) struct Cnn {
    /// 4x4, stride 2.
    downs: Vec<Conv2d>,
    /// The smallest grid to features.
    features: Linear,
    /// Features to logits.
    heads: Linear,
}

impl Cnn {
    /// widths: channels after each halving of `size`.
    pub fn new(
        [channels, height, width]: [usize; 3],
        widths: &[usize],
        features: usize,
        outputs: usize,
        init: &mut Init,
    ) -> Self {
        let mut inputs = channels;
        let mut grid = [height, width];
        let mut downs = Vec::new();
        for &width in widths {
            downs.push(Conv2d::new(inputs, width, 4, 2, 1, 1.0, init));
            inputs = width;
            grid = grid.map(|side| side / 2);
        }
        let linear = Linear::new(inputs * grid[0] * grid[1], features, 1.0, init);
        let heads = Linear::new(features, outputs, 0.2, init);
        Self { downs, features: linear, heads }
    }

    /// Features, none of them far below zero, and logits.
    ///
    /// # Shapes
    /// x: `[b, c, h, w]`, returns `[b, features]` and `[b, outputs]`.
    pub fn both(&self, x: Tensor<4>) -> (Tensor<2>, Tensor<2>) {
        let x = self.downs.iter().fold(x, |x, down| down.forward_leaky(x, SLOPE));
        let features = ops::leaky_relu(self.features.forward(x.flatten(1, 3)), SLOPE);
        (features.clone(), self.heads.forward(features))
    }

    /// # Shapes
    /// x: `[b, c, h, w]`, returns `[b, outputs]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        self.both(x).1
    }
}
