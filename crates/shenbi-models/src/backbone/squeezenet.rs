//! SqueezeNet (Iandola et al., 1602.07360), as torchvision's `squeezenet1_0` and `squeezenet1_1`: an ImageNet classifier
//! of 1.25 million weights, small enough to look at thousands of pictures on a CPU.
//!
//! - A *fire module* squeezes the channels with a 1x1 convolution, then expands them with a 1x1 and a 3x3 one side by
//!   side; each has a bias and a ReLU.
//! - One 7x7 convolution of stride 2 comes before eight of them; 3x3 max pooling of stride 2 follows the convolution, the
//!   third and the seventh.
//! - A 1x1 convolution to the 1,000 classes, ReLU, and the mean over all pixels.
//! - Version 1.1 begins with a 3x3 convolution and pools after the second and the fourth fire module, which takes less than
//!   half the time.
//!
//! The features of a picture are the mean over the pixels of the last fire module's 512 channels.
//!
//! Deviation from the paper, as in torchvision: the first convolution has no padding. Its dropout only trains. The input
//! is RGB from 0 to 1 less ImageNet's means over its deviations (torchvision's weights), or that of the weights' first
//! home, Caffe: RGB from 0 to 255 less the mean of each channel ([`prepare`]).

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use shenbi_nn::pool::{Pool, max_pool2d, mean_of_pixels};
use shenbi_nn::weights::{self, Named, WeightsError};
use shenbi_nn::{Conv2d, Init};

use super::load::{Shape, Tensors};

/// Height and width of the pictures it was trained on.
pub const SIDE: usize = 227;
/// Numbers in a picture's features.
pub const FEATURES: usize = 512;
/// Classes of ImageNet.
pub const CLASSES: usize = 1000;
/// Means of red, green and blue over the training pictures.
pub const MEANS: [f32; 3] = [123.0, 117.0, 104.0];

/// What sets a version apart.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Version {
    /// Channels and side of the first convolution.
    first: [usize; 2],
    /// Fire modules: place in torchvision's list, channels in, squeezed, and of each half expanded.
    fires: [(usize, [usize; 3]); 8],
    /// Places of those that max pooling follows.
    pooled: [usize; 2],
}

/// `squeezenet1_0`
pub const VERSION_1_0: Version = Version {
    first: [96, 7],
    fires: [
        (3, [96, 16, 64]),
        (4, [128, 16, 64]),
        (5, [128, 32, 128]),
        (7, [256, 32, 128]),
        (8, [256, 48, 192]),
        (9, [384, 48, 192]),
        (10, [384, 64, 256]),
        (12, [512, 64, 256]),
    ],
    pooled: [5, 10],
};
/// `squeezenet1_1`
pub const VERSION_1_1: Version = Version {
    first: [64, 3],
    fires: [
        (3, [64, 16, 64]),
        (4, [128, 16, 64]),
        (6, [128, 32, 128]),
        (7, [256, 32, 128]),
        (9, [256, 48, 192]),
        (10, [384, 48, 192]),
        (11, [384, 64, 256]),
        (12, [512, 64, 256]),
    ],
    pooled: [4, 7],
};
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
    /// Stride 2.
    pub first: Conv2d,
    /// In order.
    pub fires: Vec<Fire>,
    /// 1x1, to the classes.
    pub classify: Conv2d,
    /// 1.0 or 1.1.
    #[module(skip)]
    pub version: Version,
}

impl SqueezeNet {
    /// An untrained network of version 1.0: its features are those of random filters.
    pub fn new(init: &mut Init) -> Self {
        Self::of_version(VERSION_1_0, init)
    }

    /// The same of either version.
    pub fn of_version(version: Version, init: &mut Init) -> Self {
        let [channels, side] = version.first;
        Self {
            first: Conv2d::new(3, channels, side, 2, 0, 1.0, init),
            fires: version.fires.iter().map(|(_, channels)| Fire::new(*channels, init)).collect(),
            classify: Conv2d::new(FEATURES, CLASSES, 1, 1, 0, 1.0, init),
            version,
        }
    }

    /// [`Self::from_tensors`] of tensors on `device`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape; the error has torchvision's name of it.
    pub fn from_named(named: &Named, device: &Device) -> Result<Self, WeightsError> {
        Self::from_tensors(&Tensors::new(named, device))
    }

    /// The network of torchvision's named tensors: 1.1 if the first convolution is 3x3, 1.0 otherwise. Other tensors are
    /// ignored.
    ///
    /// # Errors
    /// As [`Self::from_named`].
    pub fn from_tensors(tensors: &Tensors) -> Result<Self, WeightsError> {
        let newer = tensors.shape(&format!("{}.weight", name(0)))?.last() == Some(&3);
        let version = if newer { VERSION_1_1 } else { VERSION_1_0 };
        let [channels, side] = version.first;
        let fire = |(place, [inputs, squeezed, expanded]): &(usize, [usize; 3])| {
            let conv = |part: &str, channels, side| {
                tensors.conv(&format!("{}.{part}", name(*place)), Shape::square(channels, side, 1, side / 2))
            };
            Ok(Fire {
                squeeze: conv("squeeze", [*inputs, *squeezed], 1)?,
                expand1x1: conv("expand1x1", [*squeezed, *expanded], 1)?,
                expand3x3: conv("expand3x3", [*squeezed, *expanded], 3)?,
            })
        };
        Ok(Self {
            first: tensors.conv(&name(0), Shape::square([3, channels], side, 2, 0))?,
            fires: version.fires.iter().map(fire).collect::<Result<_, WeightsError>>()?,
            classify: tensors.conv(CLASSIFIER, Shape::square([FEATURES, CLASSES], 1, 1, 0))?,
            version,
        })
    }

    /// Its tensors under torchvision's names.
    pub fn to_named(&self) -> Named {
        let mut named = weights::collect(&self.first, &name(0));
        for ((place, _), fire) in self.version.fires.iter().zip(&self.fires) {
            named.extend(weights::collect(fire, &name(*place)));
        }
        named.extend(weights::collect(&self.classify, CLASSIFIER));
        named
    }

    /// What LPIPS (1801.03924) compares: what it sees before each pooling, and after each fire module that no pooling
    /// follows any more. Version 1.1: 64, 128, 256, 384, 384, 512 and 512 channels; 1.0: 96, 256, 512 and 512.
    ///
    /// # Shapes
    /// x: `[b, 3, h, w]` as [`prepare`] gives it (sides of at least 32), returns `[b, c, h / 2, w / 2]` to
    /// `[b, 512, h / 16, w / 16]` or so.
    pub fn layers(&self, x: Tensor<4>) -> Vec<Tensor<4>> {
        let mut seen = vec![self.first.forward_leaky(x, 0.0)];
        let pooled = |x: &Tensor<4>| max_pool2d(x.clone(), Pool::new(3, 2).hanging_over());
        let mut x = pooled(&seen[0]);
        for ((place, _), fire) in self.version.fires.iter().zip(&self.fires) {
            x = fire.forward(x);
            let pools = self.version.pooled.contains(place);
            if pools || self.version.pooled.iter().all(|pooled| place > pooled) {
                seen.push(x.clone());
            }
            x = if pools { pooled(&x) } else { x };
        }
        seen
    }

    /// What it sees before each pooling, and last: the channels of the first convolution, and 256, 512 and 512 (of 1.1:
    /// 128, 256 and 512).
    ///
    /// # Shapes
    /// As [`Self::layers`].
    pub fn stages(&self, x: Tensor<4>) -> Vec<Tensor<4>> {
        let mut seen = self.layers(x);
        seen.drain(3..seen.len() - 1);
        seen
    }

    /// The last of them.
    fn trunk(&self, x: Tensor<4>) -> Tensor<4> {
        let Some(last) = self.stages(x).pop() else { unreachable!("there are four stages") };
        last
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
        self.features_and_logits(x).1
    }

    /// [`Self::features`] and [`Self::logits`] at once.
    pub fn features_and_logits(&self, x: Tensor<4>) -> (Tensor<2>, Tensor<2>) {
        let seen = self.trunk(x);
        let logits = mean_of_pixels(self.classify.forward_leaky(seen.clone(), 0.0));
        (mean_of_pixels(seen), logits)
    }
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
