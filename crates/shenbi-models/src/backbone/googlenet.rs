//! GoogLeNet (Szegedy et al., 1409.4842), as torchvision's `googlenet`: an ImageNet classifier of 6.6 million weights.
//!
//! Deviations from the paper, as in torchvision: batch norms instead of local response normalisation; the branch that the
//! paper gives 5x5 kernels has 3x3. Its auxiliary classifiers only train and are ignored.
//!
//! The features are the mean over the pixels of the last module's 1,024 channels. Input: RGB from -1 to 1, 224x224 (which
//! is what torchvision's `transform_input` makes of its normalised pictures).

use burn::module::Module;
use burn::tensor::Tensor;
use shenbi_nn::pool::{Pool, max_pool2d, mean_of_pixels};
use shenbi_nn::weights::WeightsError;
use shenbi_nn::{Conv2d, Linear};

use super::branches::{Branches, Builder, Start, conv};
use super::load::{Shape, Tensors};

/// Height and width of its pictures.
pub const SIDE: usize = 224;
/// Numbers in a picture's features.
pub const FEATURES: usize = 1024;

/// Channels of each module: 1x1; before and after 3x3, twice; after pooling. Table 1 of the paper.
const MODULES: [(&str, [usize; 6]); 9] = [
    ("3a", [64, 96, 128, 16, 32, 32]),
    ("3b", [128, 128, 192, 32, 96, 64]),
    ("4a", [192, 96, 208, 16, 48, 64]),
    ("4b", [160, 112, 224, 24, 64, 64]),
    ("4c", [128, 128, 256, 24, 64, 64]),
    ("4d", [112, 144, 288, 32, 64, 64]),
    ("4e", [256, 160, 320, 32, 128, 128]),
    ("5a", [256, 160, 320, 32, 128, 128]),
    ("5b", [384, 192, 384, 48, 128, 128]),
];
/// 3x3, halving.
const HALVE: Pool = Pool::new(3, 2).hanging_over();

/// Pictures to features and classes.
#[derive(Module, Debug)]
pub struct GoogLeNet {
    /// 7x7, 1x1 and 3x3; pooling follows the first and the last.
    pub stem: Vec<Conv2d>,
    /// Nine modules; pooling follows the second and the seventh.
    pub modules: Vec<Branches>,
    /// To the classes.
    pub classify: Linear,
}

impl GoogLeNet {
    /// The network of torchvision's named tensors. Other tensors are ignored.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn from_tensors(tensors: &Tensors) -> Result<Self, WeightsError> {
        let stem = [
            ("conv1", Shape::square([3, 64], 7, 2, 3)),
            ("conv2", Shape::square([64, 64], 1, 1, 0)),
            ("conv3", Shape::square([64, 192], 3, 1, 1)),
        ];
        let stem = stem.into_iter().map(|(name, shape)| conv(tensors, name, shape)).collect::<Result<_, _>>()?;
        let mut build = Builder { tensors, channels: 192 };
        let mut modules = Vec::with_capacity(MODULES.len());
        let (one, three) = ([1, 1], [3, 3]);
        for (name, [one_by_one, before3, after3, before5, after5, pooled]) in MODULES {
            let branches: [(Start, &[_], &[_]); 4] = [
                (Start::Convolution, &[("branch1", one_by_one, one, 1)], &[]),
                (Start::Convolution, &[("branch2.0", before3, one, 1), ("branch2.1", after3, three, 1)], &[]),
                (Start::Convolution, &[("branch3.0", before5, one, 1), ("branch3.1", after5, three, 1)], &[]),
                (Start::Max(Pool::new(3, 1).padded(1).hanging_over()), &[("branch4.1", pooled, one, 1)], &[]),
            ];
            modules.push(build.module(&format!("inception{name}"), &branches)?);
        }
        let classes = tensors.shape("fc.weight")?.first().copied().unwrap_or(0);
        Ok(Self { stem, modules, classify: tensors.linear("fc", [FEATURES, classes])? })
    }

    /// What the network sees.
    ///
    /// # Shapes
    /// x: `[b, 3, 224, 224]` from -1 to 1 (any sides of at least 15 will do), returns `[b, 1024]`, f32.
    pub fn features(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = x;
        for (place, conv) in self.stem.iter().enumerate() {
            x = conv.forward_leaky(x, 0.0);
            x = if matches!(place, 0 | 2) { max_pool2d(x, HALVE) } else { x };
        }
        for (place, module) in self.modules.iter().enumerate() {
            x = module.forward(x);
            x = match place {
                1 => max_pool2d(x, HALVE),
                6 => max_pool2d(x, Pool::new(2, 2).hanging_over()),
                _ => x,
            };
        }
        mean_of_pixels(x)
    }

    /// Class logits of features.
    ///
    /// # Shapes
    /// features: `[b, 1024]`, returns `[b, classes]`.
    pub fn logits(&self, features: Tensor<2>) -> Tensor<2> {
        self.classify.forward(features)
    }
}
