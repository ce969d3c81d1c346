//! Inception modules (Szegedy et al., 1409.4842): branches of convolutions that see the same input; their channels are
//! laid side by side. Each convolution has a batch norm and a ReLU.

use burn::module::Module;
use burn::tensor::Tensor;
use shenbi_nn::pool::{Pool, avg_pool2d, max_pool2d};
use shenbi_nn::weights::WeightsError;
use shenbi_nn::{Conv2d, ops};

use super::load::{Shape, Tensors};

/// The batch norms' ε, in GoogLeNet and InceptionV3.
const EPSILON: f64 = 1e-3;

/// A convolution in a branch: its name, channels out, the kernel's height and width, and its stride. With a stride of 1
/// the picture keeps its size; with a stride of 2 there is no padding.
pub type Plan<'a> = (&'a str, usize, [usize; 2], usize);

/// What a branch begins with.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Start {
    /// Its convolutions.
    Convolution,
    /// The largest value of each window.
    Max(Pool),
    /// The mean over 3x3; whether zeros around the picture count.
    Mean(bool),
}

/// One branch.
#[derive(Module, Debug)]
pub struct Branch {
    /// One after the other.
    pub convs: Vec<Conv2d>,
    /// After these, each sees their output.
    pub halves: Vec<Conv2d>,
    /// Before them.
    #[module(skip)]
    pub start: Start,
}

impl Branch {
    /// The branch's output, in parts.
    fn forward(&self, x: Tensor<4>) -> Vec<Tensor<4>> {
        let x = match self.start {
            Start::Convolution => x,
            Start::Max(pool) => max_pool2d(x, pool),
            Start::Mean(zeros) => avg_pool2d(x, Pool::new(3, 1).padded(1), zeros),
        };
        let x = self.convs.iter().fold(x, |x, conv| conv.forward_leaky(x, 0.0));
        if self.halves.is_empty() {
            return vec![x];
        }
        self.halves.iter().map(|half| half.forward_leaky(x.clone(), 0.0)).collect()
    }
}

/// An Inception module.
#[derive(Module, Debug)]
pub struct Branches {
    /// Side by side.
    pub branches: Vec<Branch>,
}

impl Branches {
    /// # Shapes
    /// x: `[b, c, h, w]`, returns `[b, c', h', w']`.
    pub fn forward(&self, x: Tensor<4>) -> Tensor<4> {
        // Channels-last, as they lie: side by side in one pass.
        let parts = self.branches.iter().flat_map(|branch| branch.forward(x.clone()));
        let parts: Vec<Tensor<4>> = parts.map(|part| ops::to_f32(part).permute([0, 2, 3, 1])).collect(); // [b, h, w, c]
        Tensor::cat(parts, 3).permute([0, 3, 1, 2])
    }
}

/// The convolution `name` of a [`Plan`], named as PyTorch's models have it: `name.conv` and `name.bn`.
///
/// # Errors
/// A tensor is missing or has another shape.
pub fn conv(tensors: &Tensors, name: &str, shape: Shape) -> Result<Conv2d, WeightsError> {
    tensors.conv_norm(&format!("{name}.conv"), &format!("{name}.bn"), shape, EPSILON)
}

/// Builds modules one after another and counts their channels.
pub struct Builder<'a> {
    /// What they are made of.
    pub tensors: &'a Tensors<'a>,
    /// Channels that the next one sees.
    pub channels: usize,
}

impl Builder<'_> {
    /// The module `name`: what each branch begins with, its convolutions, and its halves.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn module(&mut self, name: &str, branches: &[(Start, &[Plan], &[Plan])]) -> Result<Branches, WeightsError> {
        let (inputs, mut outputs) = (self.channels, 0);
        let conv = |channels: usize, plan: &Plan| {
            let (part, out, kernel, stride) = *plan;
            let padding = if stride == 1 { kernel[0].max(kernel[1]) / 2 } else { 0 };
            conv(self.tensors, &format!("{name}.{part}"), Shape { channels: [channels, out], kernel, stride, padding })
        };
        let mut built = Vec::with_capacity(branches.len());
        for (start, plans, halves) in branches {
            let mut channels = inputs;
            let mut convs = Vec::with_capacity(plans.len());
            for plan in *plans {
                convs.push(conv(channels, plan)?);
                channels = plan.1;
            }
            outputs += if halves.is_empty() { channels } else { halves.iter().map(|plan| plan.1).sum() };
            let halves = halves.iter().map(|plan| conv(channels, plan)).collect::<Result<_, _>>()?;
            built.push(Branch { convs, halves, start: *start });
        }
        self.channels = outputs;
        Ok(Branches { branches: built })
    }
}
