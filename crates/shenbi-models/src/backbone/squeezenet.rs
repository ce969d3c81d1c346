//! SqueezeNet 1.0 (Iandola et al., 1602.07360), as torchvision's `squeezenet1_0`: an ImageNet classifier of 1.25 million
//! weights, small enough to look at thousands of pictures on a CPU.
//!
//! - A *fire module* squeezes the channels with a 1x1 convolution, then expands them with a 1x1 and a 3x3 one side by
//!   side; each has a bias and a ReLU.
//! - One 7x7 convolution of stride 2 comes before eight of them; 3x3 max pooling of stride 2 follows the convolution, the
//!   third and the seventh.
//! - A 1x1 convolution to the 1,000 classes, ReLU, and the mean over all pixels.
//!
//! The features of a picture are the mean over the pixels of the last fire module's 512 channels.
//!
//! Deviation from the paper, as in torchvision: the first convolution has no padding. Its dropout only trains. The input
//! is that of the weights' first home, Caffe: RGB from 0 to 255 less the mean of each channel.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use shenbi_nn::weights::{self, Named, WeightsError};
use shenbi_nn::{Conv2d, Init, ops};

/// Height and width of the pictures it was trained on.
pub const SIDE: usize = 227;
/// Numbers in a picture's features.
pub const FEATURES: usize = 512;
/// Classes of ImageNet.
pub const CLASSES: usize = 1000;
/// Means of red, green and blue over the training pictures.
const MEANS: [f32; 3] = [123.0, 117.0, 104.0];
/// Place in torchvision's list, channels in, squeezed, and of each half expanded.
const FIRES: [(usize, [usize; 3]); 8] = [
    (3, [96, 16, 64]),
    (4, [128, 16, 64]),
    (5, [128, 32, 128]),
    (7, [256, 32, 128]),
    (8, [256, 48, 192]),
    (9, [384, 48, 192]),
    (10, [384, 64, 256]),
    (12, [512, 64, 256]),
];
/// Fire modules that max pooling follows.
const POOLED: [usize; 2] = [5, 10];
/// torchvision's name of the last convolution.
const CLASSIFIER: &str = "classifier.1";

/// torchvision's name of what is at this place in its list.
fn name(place: usize) -> String {
    format!("features.{place}")
}

/// Squeeze, then expand.
#[derive(Module, Debug)]
pub struct Fire {
    /// 1x1
    pub squeeze: Conv2d,
    /// 1x1
    pub expand1x1: Conv2d,
    /// 3x3
    pub expand3x3: Conv2d,
}

impl Fire {
    fn new([inputs, squeezed, expanded]: [usize; 3], init: &mut Init) -> Self {
        Self {
            squeeze: Conv2d::new(inputs, squeezed, 1, 1, 0, 1.0, init),
            expand1x1: Conv2d::new(squeezed, expanded, 1, 1, 0, 1.0, init),
            expand3x3: Conv2d::new(squeezed, expanded, 3, 1, 1, 1.0, init),
        }
    }

    /// # Shapes
    /// x: `[b, c, h, w]`, returns `[b, 2 expanded, h, w]`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let x = self.squeeze.forward_leaky(x, 0.0);
        // Channels-last, as they lie: side by side in one pass.
        let halves =
            [&self.expand1x1, &self.expand3x3].map(|expand| expand.forward_leaky(x.clone(), 0.0).permute([0, 2, 3, 1])); // [b, h, w, expanded]
        Tensor::cat(halves.to_vec(), 3).permute([0, 3, 1, 2])
    }
}

/// Pictures to features and classes.
#[derive(Module, Debug)]
pub struct SqueezeNet {
    /// 7x7, stride 2.
    pub first: Conv2d,
    /// In order.
    pub fires: Vec<Fire>,
    /// 1x1, to the classes.
    pub classify: Conv2d,
}

impl SqueezeNet {
    /// An untrained network: its features are those of random filters.
    pub fn new(init: &mut Init) -> Self {
        Self {
            first: Conv2d::new(3, 96, 7, 2, 0, 1.0, init),
            fires: FIRES.iter().map(|(_, channels)| Fire::new(*channels, init)).collect(),
            classify: Conv2d::new(FEATURES, CLASSES, 1, 1, 0, 1.0, init),
        }
    }

    /// The network of torchvision's named tensors, on `device`. Other tensors are ignored.
    ///
    /// # Errors
    /// A tensor is missing or has another shape; the error has torchvision's name of it.
    pub fn from_named(named: &Named, device: &Device) -> Result<Self, WeightsError> {
        let Self { first, fires, classify } = Self::new(&mut Init::zeros(device));
        let fires = FIRES.iter().zip(fires).map(|((place, _), fire)| weights::apply(fire, named, &name(*place)));
        Ok(Self {
            first: weights::apply(first, named, &name(0))?,
            fires: fires.collect::<Result<_, _>>()?,
            classify: weights::apply(classify, named, CLASSIFIER)?,
        })
    }

    /// Its tensors under torchvision's names.
    pub fn to_named(&self) -> Named {
        let mut named = weights::collect(&self.first, &name(0));
        for ((place, _), fire) in FIRES.iter().zip(&self.fires) {
            named.extend(weights::collect(fire, &name(*place)));
        }
        named.extend(weights::collect(&self.classify, CLASSIFIER));
        named
    }

    /// The last fire module's channels.
    ///
    /// # Shapes
    /// x: `[b, 3, h, w]` as [`prepare`] gives it (sides of at least 32), returns `[b, 512, h / 16, w / 16]` or so.
    fn trunk(&self, x: Tensor<4>) -> Tensor<4> {
        let pool = |x| ops::max_pool2d(x, 3, 2);
        let mut x = pool(self.first.forward_leaky(x, 0.0));
        for ((place, _), fire) in FIRES.iter().zip(&self.fires) {
            x = fire.forward(x);
            x = if POOLED.contains(place) { pool(x) } else { x };
        }
        x
    }

    /// What the network sees, for comparing sets of pictures.
    ///
    /// # Shapes
    /// x: `[b, 3, h, w]` as [`prepare`] gives it, returns `[b, 512]`, f32.
    pub fn features(&self, x: Tensor<4>) -> Tensor<2> {
        mean_of_pixels(self.trunk(x))
    }

    /// Class logits: none is negative.
    ///
    /// # Shapes
    /// x: `[b, 3, h, w]` as [`prepare`] gives it, returns `[b, 1000]`, f32.
    pub fn logits(&self, x: Tensor<4>) -> Tensor<2> {
        mean_of_pixels(self.classify.forward_leaky(self.trunk(x), 0.0))
    }
}

/// Mean over the pixels, in f32: `[b, c, h, w]` to `[b, c]`.
fn mean_of_pixels(x: Tensor<4>) -> Tensor<2> {
    let [b, c, h, w] = x.dims();
    ops::to_f32(x).permute([0, 2, 3, 1]).reshape([b, h * w, c]).mean_dim(1).reshape([b, c])
}

/// A picture as the network wants it: stretched to 227x227 by [`super::resize`], less the means.
///
/// # Shapes
/// rgb: `[3, size[0], size[1]]` from 0 to 255, returns `[3, 227, 227]`.
pub fn prepare(rgb: &[f32], size: [usize; 2]) -> Vec<f32> {
    let mut planes = super::resize(rgb, size, [SIDE; 2]);
    for (plane, mean) in planes.chunks_exact_mut(SIDE * SIDE).zip(MEANS) {
        plane.iter_mut().for_each(|value| *value -= mean);
    }
    planes
}
