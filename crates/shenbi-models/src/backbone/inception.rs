//! InceptionV3 (Szegedy et al., 1512.00567), in two variants that share their tensors' names:
//!
//! - The network that FID (1706.08500) and the Inception Score (1606.03498) are defined by: TensorFlow's of 5 December
//!   2015, with 1,008 classes, as pytorch-fid and torch-fidelity have it. Average pooling does not count the zeros around
//!   the picture, and the last module pools by maximum.
//! - torchvision's `inception_v3`, with 1,000 classes. Its auxiliary classifier is not needed and ignored.
//!
//! The features are the mean over the pixels of the last module's 2,048 channels.
//!
//! Input: RGB from -1 to 1, 299x299.

use burn::module::Module;
use burn::tensor::Tensor;
use shenbi_nn::pool::{Pool, max_pool2d, mean_of_pixels};
use shenbi_nn::weights::WeightsError;
use shenbi_nn::{Conv2d, Linear};

use super::branches::{Branches, Builder, Plan, Start, conv};
use super::load::{Shape, Tensors};

/// Height and width of its pictures.
pub const SIDE: usize = 299;
/// Numbers in a picture's features.
pub const FEATURES: usize = 2048;
/// Classes of the network of 2015; torchvision's has 1,000.
pub const CLASSES_2015: usize = 1008;

const ONE: [usize; 2] = [1, 1];
const THREE: [usize; 2] = [3, 3];
const WIDE3: [usize; 2] = [1, 3];
const TALL3: [usize; 2] = [3, 1];
const WIDE7: [usize; 2] = [1, 7];
const TALL7: [usize; 2] = [7, 1];
/// 3x3, halving.
const HALVE: Start = Start::Max(Pool::new(3, 2));

/// Pictures to features and classes.
#[derive(Module, Debug)]
pub struct InceptionV3 {
    /// Five convolutions; pooling follows the third and the fifth.
    pub stem: Vec<Conv2d>,
    /// Eleven modules.
    pub modules: Vec<Branches>,
    /// To the classes.
    pub classify: Linear,
}

impl InceptionV3 {
    /// Whether these are the tensors of the network of 2015: it has 1,008 classes.
    ///
    /// # Errors
    /// They are of another network.
    pub fn is_2015(tensors: &Tensors) -> Result<bool, WeightsError> {
        Ok(tensors.shape("fc.weight")?.first() == Some(&CLASSES_2015))
    }

    /// The network of either variant's named tensors. Other tensors are ignored.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn from_tensors(tensors: &Tensors) -> Result<Self, WeightsError> {
        let classes = tensors.shape("fc.weight")?.first().copied().unwrap_or(0);
        let of_2015 = Self::is_2015(tensors)?;
        let mean = Start::Mean(!of_2015);
        let last = if of_2015 { Start::Max(Pool::new(3, 1).padded(1)) } else { mean };
        let stem = [
            ("Conv2d_1a_3x3", Shape::square([3, 32], 3, 2, 0)),
            ("Conv2d_2a_3x3", Shape::square([32, 32], 3, 1, 0)),
            ("Conv2d_2b_3x3", Shape::square([32, 64], 3, 1, 1)),
            ("Conv2d_3b_1x1", Shape::square([64, 80], 1, 1, 0)),
            ("Conv2d_4a_3x3", Shape::square([80, 192], 3, 1, 0)),
        ];
        let stem = stem.into_iter().map(|(name, shape)| conv(tensors, name, shape)).collect::<Result<_, _>>()?;
        let mut build = Builder { tensors, channels: 192 };
        let modules = vec![
            a(&mut build, "Mixed_5b", mean, 32)?,
            a(&mut build, "Mixed_5c", mean, 64)?,
            a(&mut build, "Mixed_5d", mean, 64)?,
            b(&mut build, "Mixed_6a")?,
            c(&mut build, "Mixed_6b", mean, 128)?,
            c(&mut build, "Mixed_6c", mean, 160)?,
            c(&mut build, "Mixed_6d", mean, 160)?,
            c(&mut build, "Mixed_6e", mean, 192)?,
            d(&mut build, "Mixed_7a")?,
            e(&mut build, "Mixed_7b", mean)?,
            e(&mut build, "Mixed_7c", last)?,
        ];
        Ok(Self { stem, modules, classify: tensors.linear("fc", [FEATURES, classes])? })
    }

    /// What the network sees.
    ///
    /// # Shapes
    /// x: `[b, 3, 299, 299]` from -1 to 1 (any sides of at least 75 will do), returns `[b, 2048]`, f32.
    pub fn features(&self, x: Tensor<4>) -> Tensor<2> {
        let mut x = x;
        for (place, conv) in self.stem.iter().enumerate() {
            x = conv.forward_leaky(x, 0.0);
            x = if matches!(place, 2 | 4) { max_pool2d(x, Pool::new(3, 2)) } else { x };
        }
        mean_of_pixels(self.modules.iter().fold(x, |x, module| module.forward(x)))
    }

    /// Class logits of features. The Inception Score leaves out the bias.
    ///
    /// # Shapes
    /// features: `[b, 2048]`, returns `[b, classes]`.
    pub fn logits(&self, features: Tensor<2>, bias: bool) -> Tensor<2> {
        if bias {
            return self.classify.forward(features);
        }
        Linear { weight: self.classify.weight.clone(), bias: None }.forward(features)
    }
}

/// Three kernels' sizes over a mean. Figure 5 of the paper, with 5x5 kept.
fn a(build: &mut Builder, name: &str, mean: Start, pooled: usize) -> Result<Branches, WeightsError> {
    let tower: [Plan; 3] =
        [("branch3x3dbl_1", 64, ONE, 1), ("branch3x3dbl_2", 96, THREE, 1), ("branch3x3dbl_3", 96, THREE, 1)];
    build.module(
        name,
        &[
            (Start::Convolution, &[("branch1x1", 64, ONE, 1)], &[]),
            (Start::Convolution, &[("branch5x5_1", 48, ONE, 1), ("branch5x5_2", 64, [5, 5], 1)], &[]),
            (Start::Convolution, &tower, &[]),
            (mean, &[("branch_pool", pooled, ONE, 1)], &[]),
        ],
    )
}

/// To half the size. Figure 10.
fn b(build: &mut Builder, name: &str) -> Result<Branches, WeightsError> {
    let tower: [Plan; 3] =
        [("branch3x3dbl_1", 64, ONE, 1), ("branch3x3dbl_2", 96, THREE, 1), ("branch3x3dbl_3", 96, THREE, 2)];
    build.module(
        name,
        &[
            (Start::Convolution, &[("branch3x3", 384, THREE, 2)], &[]),
            (Start::Convolution, &tower, &[]),
            (HALVE, &[], &[]),
        ],
    )
}

/// 7x7 as 1x7 and 7x1. Figure 6.
fn c(build: &mut Builder, name: &str, mean: Start, n: usize) -> Result<Branches, WeightsError> {
    let single: [Plan; 3] = [("branch7x7_1", n, ONE, 1), ("branch7x7_2", n, WIDE7, 1), ("branch7x7_3", 192, TALL7, 1)];
    let double: [Plan; 5] = [
        ("branch7x7dbl_1", n, ONE, 1),
        ("branch7x7dbl_2", n, TALL7, 1),
        ("branch7x7dbl_3", n, WIDE7, 1),
        ("branch7x7dbl_4", n, TALL7, 1),
        ("branch7x7dbl_5", 192, WIDE7, 1),
    ];
    build.module(
        name,
        &[
            (Start::Convolution, &[("branch1x1", 192, ONE, 1)], &[]),
            (Start::Convolution, &single, &[]),
            (Start::Convolution, &double, &[]),
            (mean, &[("branch_pool", 192, ONE, 1)], &[]),
        ],
    )
}

/// To half the size again.
fn d(build: &mut Builder, name: &str) -> Result<Branches, WeightsError> {
    let tower: [Plan; 4] = [
        ("branch7x7x3_1", 192, ONE, 1),
        ("branch7x7x3_2", 192, WIDE7, 1),
        ("branch7x7x3_3", 192, TALL7, 1),
        ("branch7x7x3_4", 192, THREE, 2),
    ];
    build.module(
        name,
        &[
            (Start::Convolution, &[("branch3x3_1", 192, ONE, 1), ("branch3x3_2", 320, THREE, 2)], &[]),
            (Start::Convolution, &tower, &[]),
            (HALVE, &[], &[]),
        ],
    )
}

/// 3x3 as 1x3 beside 3x1. Figure 7.
fn e(build: &mut Builder, name: &str, pool: Start) -> Result<Branches, WeightsError> {
    let single: [Plan; 2] = [("branch3x3_2a", 384, WIDE3, 1), ("branch3x3_2b", 384, TALL3, 1)];
    let double: [Plan; 2] = [("branch3x3dbl_3a", 384, WIDE3, 1), ("branch3x3dbl_3b", 384, TALL3, 1)];
    build.module(
        name,
        &[
            (Start::Convolution, &[("branch1x1", 320, ONE, 1)], &[]),
            (Start::Convolution, &[("branch3x3_1", 384, ONE, 1)], &single),
            (Start::Convolution, &[("branch3x3dbl_1", 448, ONE, 1), ("branch3x3dbl_2", 384, THREE, 1)], &double),
            (pool, &[("branch_pool", 192, ONE, 1)], &[]),
        ],
    )
}
