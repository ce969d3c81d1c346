//! VGG16 (Simonyan and Zisserman, 1409.1556), as torchvision's `vgg16`: thirteen 3x3 convolutions in five stages, then
//! three fully connected layers.
//!
//! Its features for comparing sets of pictures are the 4,096 numbers after the second fully connected layer and its ReLU
//! (as in improved precision and recall, 1904.06991). What it sees on the way, after the last ReLU of each stage, is what
//! perceptual losses (1603.08155) and LPIPS (1801.03924) compare.
//!
//! Input: RGB from 0 to 1 less ImageNet's means over its deviations.

use burn::module::Module;
use burn::tensor::Tensor;
use shenbi_nn::pool::{Pool, max_pool2d, mean_of_pixels};
use shenbi_nn::weights::WeightsError;
use shenbi_nn::{Conv2d, Linear, ops};

use super::load::{Shape, Tensors};

/// Height and width of the pictures that the fully connected layers take.
pub const SIDE: usize = 224;
/// Numbers in a picture's features.
pub const FEATURES: usize = 4096;
/// Channels of each convolution, stage by stage.
const STAGES: [&[usize]; 5] = [&[64, 64], &[128, 128], &[256, 256, 256], &[512, 512, 512], &[512, 512, 512]];
/// Numbers before the fully connected layers: 512 channels of 7x7.
const FLAT: usize = 512 * 7 * 7;

/// The convolutions of one size.
#[derive(Module, Debug)]
pub struct Stage {
    /// 3x3, each with a ReLU.
    pub convs: Vec<Conv2d>,
}

/// Pictures to features and classes.
#[derive(Module, Debug)]
pub struct Vgg16 {
    /// Pooling follows each.
    pub stages: Vec<Stage>,
    /// Fully connected: two, and the classes. Empty where the file has none, as perceptual losses need none.
    pub head: Vec<Linear>,
}

impl Vgg16 {
    /// The network of torchvision's named tensors.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn from_tensors(tensors: &Tensors) -> Result<Self, WeightsError> {
        // ReLUs and pooling have places in torchvision's list.
        let (mut place, mut inputs) = (0, 3);
        let mut stages = Vec::with_capacity(STAGES.len());
        for widths in STAGES {
            let mut convs = Vec::with_capacity(widths.len());
            for width in widths {
                convs.push(tensors.conv(&format!("features.{place}"), Shape::square([inputs, *width], 3, 1, 1))?);
                (place, inputs) = (place + 2, *width);
            }
            stages.push(Stage { convs });
            place += 1;
        }
        let mut head = Vec::new();
        if tensors.has("classifier.0.weight") {
            let classes = tensors.shape("classifier.6.weight")?.first().copied().unwrap_or(0);
            head.push(tensors.linear("classifier.0", [FLAT, FEATURES])?);
            head.push(tensors.linear("classifier.3", [FEATURES, FEATURES])?);
            head.push(tensors.linear("classifier.6", [FEATURES, classes])?);
        }
        Ok(Self { stages, head })
    }

    /// Numbers in a picture's features: 4,096, or 512 where there is no head.
    pub fn dim(&self) -> usize {
        if self.head.is_empty() { 512 } else { FEATURES }
    }

    /// What it sees after the last ReLU of each stage: relu1_2, relu2_2, relu3_3, relu4_3 and relu5_3.
    ///
    /// # Shapes
    /// x: `[b, 3, h, w]`, returns `[b, 64, h, w]`, `[b, 128, h / 2, w / 2]` and so on.
    pub fn stages(&self, x: Tensor<4>) -> Vec<Tensor<4>> {
        let mut seen: Vec<Tensor<4>> = Vec::with_capacity(self.stages.len());
        for stage in &self.stages {
            let x = seen.last().map_or_else(|| x.clone(), |x| max_pool2d(x.clone(), Pool::new(2, 2)));
            seen.push(stage.convs.iter().fold(x, |x, conv| conv.forward_leaky(x, 0.0)));
        }
        seen
    }

    /// What the network sees: the second fully connected layer, or the mean of relu5_3 where there is none.
    ///
    /// # Shapes
    /// x: `[b, 3, 224, 224]`, returns `[b, 4096]` (or `[b, 512]`), f32.
    pub fn features(&self, x: Tensor<4>) -> Tensor<2> {
        let [b, _, _, _] = x.dims();
        let Some(last) = self.stages(x).pop() else { unreachable!("there are five stages") };
        if self.head.is_empty() {
            return mean_of_pixels(last);
        }
        let x = max_pool2d(last, Pool::new(2, 2)).reshape([b, FLAT]);
        self.head.iter().take(2).fold(x, |x, layer| ops::relu(layer.forward(x)))
    }

    /// Class logits of features, where the file has the fully connected layers.
    ///
    /// # Shapes
    /// features: `[b, 4096]`, returns `[b, classes]`.
    pub fn logits(&self, features: Tensor<2>) -> Option<Tensor<2>> {
        self.head.get(2).map(|layer| layer.forward(features))
    }
}
