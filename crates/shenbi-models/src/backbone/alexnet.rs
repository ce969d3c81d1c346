//! The five convolutions of AlexNet (Krizhevsky, 1404.5997), as torchvision's `alexnet`: what LPIPS (1801.03924) judges by
//! unless told otherwise. Its fully connected layers are not needed and ignored.
//!
//! Input: RGB from 0 to 1 less ImageNet's means over its deviations.

use burn::module::Module;
use burn::tensor::Tensor;
use shenbi_nn::Conv2d;
use shenbi_nn::pool::{Pool, max_pool2d};
use shenbi_nn::weights::WeightsError;

use super::load::{Shape, Tensors};

/// Place in torchvision's list, channels in and out, and side, steps and zeros of each convolution.
const CONVS: [(usize, [usize; 2], [usize; 3]); 5] = [
    (0, [3, 64], [11, 4, 2]),
    (3, [64, 192], [5, 1, 2]),
    (6, [192, 384], [3, 1, 1]),
    (8, [384, 256], [3, 1, 1]),
    (10, [256, 256], [3, 1, 1]),
];

/// Pictures to what each convolution sees.
#[derive(Module, Debug)]
pub struct AlexNet {
    /// Each with a ReLU; pooling follows the first two.
    pub convs: Vec<Conv2d>,
}

impl AlexNet {
    /// Whether these are its tensors.
    pub fn is_in(tensors: &Tensors) -> bool {
        tensors.shape("features.0.weight").is_ok_and(|shape| *shape == [64, 3, 11, 11])
    }

    /// The network of torchvision's named tensors. Other tensors are ignored.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn from_tensors(tensors: &Tensors) -> Result<Self, WeightsError> {
        let conv = |(place, channels, [side, stride, padding]): (usize, [usize; 2], [usize; 3])| {
            tensors.conv(&format!("features.{place}"), Shape::square(channels, side, stride, padding))
        };
        Ok(Self { convs: CONVS.into_iter().map(conv).collect::<Result<_, _>>()? })
    }

    /// What it sees after each ReLU.
    ///
    /// # Shapes
    /// x: `[b, 3, h, w]` (sides of at least 31), returns `[b, 64, h / 4, w / 4]` to `[b, 256, h / 16, w / 16]` or so.
    pub fn stages(&self, x: Tensor<4>) -> Vec<Tensor<4>> {
        let mut seen: Vec<Tensor<4>> = Vec::with_capacity(self.convs.len());
        for (place, conv) in self.convs.iter().enumerate() {
            let x = seen.last().unwrap_or(&x).clone();
            let x = if matches!(place, 1 | 2) { max_pool2d(x, Pool::new(3, 2)) } else { x };
            seen.push(conv.forward_leaky(x, 0.0));
        }
        seen
    }
}
