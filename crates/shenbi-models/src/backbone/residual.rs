//! ResNet-18 and ResNet-50 (He et al., 1512.03385), as torchvision's `resnet18` and `resnet50`: ImageNet classifiers.
//!
//! A block adds to its input (through a 1x1 convolution where shapes differ) what two 3x3 convolutions make of it, or a
//! 1x1, a 3x3 and a 1x1; ReLU. Deviation from the paper, as in torchvision: where a block of three halves its picture, the
//! 3x3 convolution does.
//!
//! The features are the mean over the pixels of the last stage's channels. Input: RGB from 0 to 1 less ImageNet's means
//! over its deviations.

use burn::module::Module;
use burn::tensor::Tensor;
use shenbi_nn::pool::{Pool, max_pool2d, mean_of_pixels};
use shenbi_nn::weights::WeightsError;
use shenbi_nn::{Conv2d, Linear, ops};

use super::load::{Shape, Tensors};

/// Height and width of its pictures.
pub const SIDE: usize = 224;
/// The batch norms' ε.
const EPSILON: f64 = 1e-5;
/// Channels of the 3x3 convolutions of each stage.
const WIDTHS: [usize; 4] = [64, 128, 256, 512];

/// A block.
#[derive(Module, Debug)]
pub struct Block {
    /// Two or three; ReLU follows all but the last.
    pub convs: Vec<Conv2d>,
    /// For the input, where shapes differ.
    pub change: Option<Conv2d>,
}

impl Block {
    /// # Shapes
    /// x: `[b, c, h, w]`, returns `[b, c', h', w']`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        let last = self.convs.len().saturating_sub(1);
        let convs = self.convs.iter().enumerate();
        let y = convs.fold(x.clone(), |y, (i, conv)| conv.forward_leaky(y, if i == last { 1.0 } else { 0.0 }));
        let x = self.change.as_ref().map_or(x.clone(), |change| change.forward(x));
        ops::relu(ops::add(x, y))
    }
}

/// Blocks of one size.
#[derive(Module, Debug)]
pub struct Stage {
    /// In order.
    pub blocks: Vec<Block>,
}

/// Pictures to features and classes.
#[derive(Module, Debug)]
pub struct ResNet {
    /// 7x7, stride 2.
    pub first: Conv2d,
    /// Four.
    pub stages: Vec<Stage>,
    /// To the classes.
    pub classify: Linear,
}

impl ResNet {
    /// How many blocks the named tensors have in each stage, and whether a block has three convolutions.
    pub fn blocks(tensors: &Tensors) -> ([usize; 4], bool) {
        let count =
            |stage: usize| (0..).take_while(|block| tensors.has(&format!("layer{stage}.{block}.conv1.weight"))).count();
        ([1, 2, 3, 4].map(count), tensors.has("layer1.0.conv3.weight"))
    }

    /// The network of torchvision's named tensors, with as many blocks as they have.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn from_tensors(tensors: &Tensors) -> Result<Self, WeightsError> {
        let first = tensors.conv_norm("conv1", "bn1", Shape::square([3, 64], 7, 2, 3), EPSILON)?;
        let (counts, three) = Self::blocks(tensors);
        let (mut channels, mut stages) = (64, Vec::with_capacity(WIDTHS.len()));
        for ((stage, blocks), width) in counts.into_iter().enumerate().zip(WIDTHS) {
            let mut built = Vec::with_capacity(blocks);
            for block in 0..blocks {
                let stride = if stage > 0 && block == 0 { 2 } else { 1 };
                let name = format!("layer{}.{block}", stage + 1);
                let (block, outputs) = Self::block(tensors, &name, (channels, width), (stride, three))?;
                channels = outputs;
                built.push(block);
            }
            stages.push(Stage { blocks: built });
        }
        let classes = tensors.shape("fc.weight")?.first().copied().unwrap_or(0);
        Ok(Self { first, stages, classify: tensors.linear("fc", [channels, classes])? })
    }

    /// The block `name` and its channels.
    fn block(
        tensors: &Tensors,
        name: &str,
        (inputs, width): (usize, usize),
        (stride, three): (usize, bool),
    ) -> Result<(Block, usize), WeightsError> {
        let outputs = if three { 4 * width } else { width };
        let shapes = if three {
            vec![
                Shape::square([inputs, width], 1, 1, 0),
                Shape::square([width, width], 3, stride, 1),
                Shape::square([width, outputs], 1, 1, 0),
            ]
        } else {
            vec![Shape::square([inputs, width], 3, stride, 1), Shape::square([width, width], 3, 1, 1)]
        };
        let convs = shapes
            .into_iter()
            .zip(1..)
            .map(|(shape, i)| tensors.conv_norm(&format!("{name}.conv{i}"), &format!("{name}.bn{i}"), shape, EPSILON));
        let convs = convs.collect::<Result<_, _>>()?;
        let mut change = None;
        if stride > 1 || inputs != outputs {
            let shape = Shape::square([inputs, outputs], 1, stride, 0);
            let (conv, norm) = (format!("{name}.downsample.0"), format!("{name}.downsample.1"));
            change = Some(tensors.conv_norm(&conv, &norm, shape, EPSILON)?);
        }
        Ok((Block { convs, change }, outputs))
    }

    /// What it sees after each stage.
    ///
    /// # Shapes
    /// x: `[b, 3, h, w]`, returns `[b, c, h / 4, w / 4]` to `[b, 8 c, h / 32, w / 32]`.
    pub fn stages(&self, x: Tensor<4>) -> Vec<Tensor<4>> {
        let mut x = max_pool2d(self.first.forward_leaky(x, 0.0), Pool::new(3, 2).padded(1));
        let after = |stage: &Stage| {
            x = stage.blocks.iter().fold(x.clone(), |x, block| block.forward(x));
            x.clone()
        };
        self.stages.iter().map(after).collect()
    }

    /// What the network sees.
    ///
    /// # Shapes
    /// x: `[b, 3, h, w]`, returns `[b, 512]`, or `[b, 2048]` with blocks of three, f32.
    pub fn features(&self, x: Tensor<4>) -> Tensor<2> {
        let Some(last) = self.stages(x).pop() else { unreachable!("there are four stages") };
        mean_of_pixels(last)
    }

    /// Class logits of features.
    ///
    /// # Shapes
    /// features: `[b, c]`, returns `[b, classes]`.
    pub fn logits(&self, features: Tensor<2>) -> Tensor<2> {
        self.classify.forward(features)
    }
}
