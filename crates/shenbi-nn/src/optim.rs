//! Optimizers, with their state in the open, so that checkpoints hold it and resuming is exact.

use std::collections::BTreeMap;

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Gradients, Tensor, TensorData};

use crate::kernels::AdamStep;
use crate::ops;
use crate::weights::{Named, Values, enter, exit, values};

/// Which rule makes steps of gradients.
#[derive(Clone, Copy, Debug)]
pub enum Rule {
    /// Adam (1412.6980), and AdamW.
    Adam(AdamConfig),
    /// The gradient over the root of its averaged square, as PyTorch's `RMSprop`.
    RmsProp {
        /// Decay of the squared gradient's average.
        alpha: f64,
        /// Added to the root.
        epsilon: f64,
    },
    /// Gradient descent, as PyTorch's `SGD`.
    Sgd {
        /// Decay of the sum of gradients.
        momentum: f64,
    },
}

/// Adam's constants.
#[derive(Clone, Copy, Debug)]
pub struct AdamConfig {
    /// Decay of the gradient's average; 0 keeps none.
    pub beta1: f64,
    /// Decay of the squared gradient's average.
    pub beta2: f64,
    /// Added to the root of the second moment.
    pub epsilon: f64,
    /// The direction of each tensor is scaled down to this root mean square if it is larger (StableAdamW, 2304.13013,
    /// algorithm 2, with 1; infinite for plain Adam). With beta1 = 0 a gradient far above what the second moment
    /// remembers would else move a network by up to 1 / sqrt(1 - beta2) times its rate, and tear it apart.
    pub max_rms: f64,
    /// Decoupled weight decay (AdamW, 1711.05101).
    pub weight_decay: f64,
}

impl Default for AdamConfig {
    fn default() -> Self {
        Self { beta1: 0.0, beta2: 0.99, epsilon: 1e-8, max_rms: f64::INFINITY, weight_decay: 0.0 }
    }
}

/// The optimizer and the moments of each parameter, by its path.
#[derive(Clone)]
pub struct Optimizer {
    rule: Rule,
    steps: u64,
    first: BTreeMap<String, Tensor<1>>,
    second: BTreeMap<String, Tensor<1>>,
}

impl Optimizer {
    /// An optimizer that has seen nothing.
    pub fn new(rule: Rule) -> Self {
        Self { rule, steps: 0, first: BTreeMap::new(), second: BTreeMap::new() }
    }

    /// Adam that has seen nothing.
    pub fn adam(config: AdamConfig) -> Self {
        Self::new(Rule::Adam(config))
    }

    /// From now on by this rule, with the moments that are.
    pub fn set_rule(&mut self, rule: Rule) {
        self.rule = rule;
    }

    /// One step: every parameter with a gradient moves by `rate(path)` times the rule's direction.
    #[must_use]
    pub fn step<M: Module>(&mut self, module: M, grads: &mut Gradients, rate: impl Fn(&str) -> f64) -> M {
        self.steps += 1;
        module.map(&mut Step { optimizer: self, grads, rate, path: Vec::new() })
    }

    /// The moments as named tensors under `prefix`, for a checkpoint; the step count is `[2]`.
    pub fn state(&self, prefix: &str) -> Named {
        let mut named = Named::new();
        for (kind, moments) in [("first", &self.first), ("second", &self.second)] {
            for (name, moment) in moments {
                named.insert(format!("{prefix}.{kind}.{name}"), values(moment.clone()));
            }
        }
        // Two limbs of 24 bits, each exact in f32.
        let limbs = vec![(self.steps >> 24) as f32, (self.steps & 0xff_ffff) as f32];
        named.insert(format!("{prefix}.steps"), Values { shape: vec![2], data: limbs });
        named
    }

    /// The optimizer whose [`Optimizer::state`] was `named`, its moments on `device`.
    pub fn from_state(rule: Rule, named: &Named, prefix: &str, device: &burn::tensor::Device) -> Self {
        let mut optimizer = Self::new(rule);
        for (kind, moments) in [("first", &mut optimizer.first), ("second", &mut optimizer.second)] {
            let start = format!("{prefix}.{kind}.");
            for (name, moment) in named.range(start.clone()..).take_while(|(name, _)| name.starts_with(&start)) {
                let data = TensorData::new(moment.data.clone(), moment.shape.clone());
                moments.insert(name[start.len()..].to_string(), Tensor::from_data(data, device));
            }
        }
        if let Some([high, low]) = named.get(&format!("{prefix}.steps")).map(|steps| &steps.data[..]) {
            optimizer.steps = ((*high as u64) << 24) | *low as u64;
        }
        optimizer
    }

    /// The tensor at `path` after a step along `grad`.
    fn moved(&mut self, path: String, old: Tensor<1>, grad: Tensor<1>, rate: f64) -> Tensor<1> {
        let zeros = || Tensor::zeros(grad.dims(), &grad.device());
        match self.rule {
            Rule::Adam(AdamConfig { beta1, beta2, epsilon, max_rms, weight_decay }) => {
                let step = AdamStep {
                    lr: rate as f32,
                    beta1: beta1 as f32,
                    beta2: beta2 as f32,
                    eps: epsilon as f32,
                    weight_decay: weight_decay as f32,
                    decoupled: true,
                    step: self.steps,
                    max_rms: max_rms as f32,
                };
                let second = self.second.remove(&path).unwrap_or_else(zeros);
                let first = (beta1 != 0.0).then(|| self.first.remove(&path).unwrap_or_else(zeros));
                let (moved, first, second) = ops::adam(old, grad, first, second, step);
                if let Some(first) = first {
                    self.first.insert(path.clone(), first);
                }
                self.second.insert(path, second);
                moved
            }
            Rule::RmsProp { alpha, epsilon } => {
                let second = self.second.remove(&path).unwrap_or_else(zeros).mul_scalar(alpha)
                    + grad.clone().powi_scalar(2).mul_scalar(1.0 - alpha);
                let direction = grad / second.clone().sqrt().add_scalar(epsilon);
                self.second.insert(path, second);
                old - direction.mul_scalar(rate)
            }
            Rule::Sgd { momentum } => {
                let first = self.first.remove(&path).unwrap_or_else(zeros).mul_scalar(momentum) + grad;
                self.first.insert(path, first.clone());
                old - first.mul_scalar(rate)
            }
        }
    }
}

struct Step<'a, F> {
    optimizer: &'a mut Optimizer,
    grads: &'a mut Gradients,
    rate: F,
    path: Vec<String>,
}

impl<F: Fn(&str) -> f64> ModuleMapper for Step<'_, F> {
    fn enter_module(&mut self, name: &str, container_type: &str) {
        enter(&mut self.path, name, container_type);
    }

    fn exit_module(&mut self, _name: &str, container_type: &str) {
        exit(&mut self.path, container_type);
    }

    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(grad) = param.val().grad_remove(self.grads) else { return param };
        let path = self.path.join(".");
        let rate = (self.rate)(&path);
        let grad: Tensor<1> = grad.flatten(0, D - 1);
        param.map(|old| {
            let shape = old.dims();
            let old = old.without_autodiff().flatten(0, D - 1);
            self.optimizer.moved(path, old, grad, rate).reshape(shape).autodiff().require_grad()
        })
    }
}
