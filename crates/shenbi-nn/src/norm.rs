//! Normalisation layers.

use burn::module::{Module, Param};
use burn::tensor::Tensor;

use crate::init::Init;
use crate::linear::Linear;
use crate::ops;

const EPSILON: f64 = 1e-5;

/// Mean and variance of each channel over one batch.
#[derive(Clone, Debug)]
pub struct BatchStats {
    /// `[c]`
    pub mean: Tensor<1>,
    /// `[c]`, the biased estimate.
    pub var: Tensor<1>,
}

/// Whose statistics a batch norm uses.
pub enum NormMode<'a> {
    /// The batch's own, which are also pushed onto the list (one entry a layer, in order).
    Train(&'a mut Vec<BatchStats>),
    /// The running averages.
    Eval,
}

/// Batch normalisation (1502.03167), as PyTorch's `BatchNorm2d`, with the activation that follows it.
#[derive(Module, Debug)]
pub struct BatchNorm {
    /// `[c]`
    pub weight: Param<Tensor<1>>,
    /// `[c]`
    pub bias: Param<Tensor<1>>,
    /// Average of the batches' means, `[c]`.
    pub running_mean: Param<Tensor<1>>,
    /// Average of the batches' variances, `[c]`.
    pub running_var: Param<Tensor<1>>,
}

impl BatchNorm {
    /// Scales from N(1, std²), zero shifts.
    pub fn new(channels: usize, std: f32, init: &mut Init) -> Self {
        let weight = init.normal([channels], std).map(|weight| weight.add_scalar(1.0));
        Self {
            weight,
            bias: init.constant([channels], 0.0),
            running_mean: init.buffer([channels], 0.0),
            running_var: init.buffer([channels], 1.0),
        }
    }

    /// The norm followed by a LeakyReLU of this slope (0 for ReLU, 1 for none).
    ///
    /// # Shapes
    /// x: `[b, c, h, w]`, returns the same.
    pub fn forward_leaky(&self, x: Tensor<4>, slope: f64, mode: &mut NormMode) -> Tensor<4> {
        let (weight, bias) = (self.weight.val(), self.bias.val());
        match mode {
            NormMode::Train(seen) => {
                let (y, mean, var) = ops::batch_norm(x, weight, bias, EPSILON, slope);
                seen.push(BatchStats { mean, var });
                y
            }
            NormMode::Eval => {
                let stats = [self.running_mean.val(), self.running_var.val()];
                ops::batch_norm_eval(x, stats, weight, bias, EPSILON, slope)
            }
        }
    }

    /// The norm by the batch's own statistics with its LeakyReLU, and its tangent (see [`ops::batch_norm_tangent`]).
    ///
    /// # Shapes
    /// x and dx: `[b, c, h, w]`, returns y and dy like them.
    pub fn forward_tangent(&self, x: Tensor<4>, dx: Tensor<4>, slope: f64) -> (Tensor<4>, Tensor<4>) {
        ops::batch_norm_tangent(x, dx, self.weight.val(), self.bias.val(), EPSILON, slope)
    }

    /// Moves the running averages by `momentum` towards a batch's statistics.
    #[must_use]
    pub fn with_running(mut self, seen: &BatchStats, momentum: f64) -> Self {
        self.running_mean = approach(self.running_mean, &seen.mean, momentum);
        self.running_var = approach(self.running_var, &seen.var, momentum);
        self
    }
}

/// A buffer after a step of `momentum` towards `new`.
fn approach(buffer: Param<Tensor<1>>, new: &Tensor<1>, momentum: f64) -> Param<Tensor<1>> {
    buffer.map(|old| ops::approach(old.without_autodiff(), new.clone(), momentum).set_require_grad(false))
}

/// Batch normalisation whose scale and shift are linear in a condition vector (conditional batch norm, 1707.00683):
/// y = (x - μ) / σ · (1 + γ(e)) + β(e).
#[derive(Module, Debug)]
pub struct ConditionalBatchNorm {
    /// Condition to `[γ, β]`, `[2c, cond]`.
    pub affine: Linear,
    /// Average of the batches' means, `[c]`.
    pub running_mean: Param<Tensor<1>>,
    /// Average of the batches' variances, `[c]`.
    pub running_var: Param<Tensor<1>>,
}

impl ConditionalBatchNorm {
    /// `channels` normalised under a condition of `cond` numbers.
    pub fn new(channels: usize, cond: usize, init: &mut Init) -> Self {
        Self {
            affine: Linear::new(cond, 2 * channels, 0.5, init),
            running_mean: init.buffer([channels], 0.0),
            running_var: init.buffer([channels], 1.0),
        }
    }

    /// The norm followed by ReLU.
    ///
    /// # Shapes
    /// x: `[b, c, h, w]`, cond: `[b, cond]`, returns `[b, c, h, w]`.
    pub fn forward_relu(&self, x: Tensor<4>, cond: Tensor<2>, mode: &mut NormMode) -> Tensor<4> {
        let [_, c, _, _] = x.dims();
        let affine = self.affine.forward(cond); // [b, 2c]
        let gamma = affine.clone().narrow(1, 0, c).add_scalar(1.0); // [b, c]
        let beta = affine.narrow(1, c, c); // [b, c]
        match mode {
            NormMode::Train(seen) => {
                let (y, mean, var) = ops::batch_norm(x, gamma, beta, EPSILON, 0.0);
                seen.push(BatchStats { mean, var });
                y
            }
            NormMode::Eval => {
                let stats = [self.running_mean.val(), self.running_var.val()];
                ops::batch_norm_eval(x, stats, gamma, beta, EPSILON, 0.0)
            }
        }
    }

    /// Moves the running averages by `momentum` towards a batch's statistics.
    #[must_use]
    pub fn with_running(mut self, seen: &BatchStats, momentum: f64) -> Self {
        self.running_mean = approach(self.running_mean, &seen.mean, momentum);
        self.running_var = approach(self.running_var, &seen.var, momentum);
        self
    }
}

/// Layer normalisation over the last dimension (1607.06450).
#[derive(Module, Debug)]
pub struct LayerNorm {
    /// `[n]`
    pub weight: Param<Tensor<1>>,
    /// `[n]`
    pub bias: Param<Tensor<1>>,
    /// Added to the variance.
    #[module(skip)]
    pub epsilon: f64,
}

impl LayerNorm {
    /// Scale one, shift zero.
    pub fn new(n: usize, init: &mut Init) -> Self {
        Self { weight: init.constant([n], 1.0), bias: init.constant([n], 0.0), epsilon: EPSILON }
    }

    /// # Shapes
    /// x: `[b, t, n]`, returns the same.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        let centred = x.clone() - x.mean_dim(2);
        let var = centred.clone().powi_scalar(2).mean_dim(2);
        centred / var.add_scalar(self.epsilon).sqrt() * self.weight.val().unsqueeze() + self.bias.val().unsqueeze()
    }
}
