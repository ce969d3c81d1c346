//! Exponential moving average of a network's weights.

use burn::module::{Module, ModuleMapper, ModuleVisitor, Param};
use burn::tensor::Tensor;
use std::collections::VecDeque;

use crate::ops;

/// The average's decay after `step_images` more pictures, for a half-life of `half_life_images` pictures
/// (StyleGAN2's formulation, 1912.04958).
pub fn decay(step_images: f64, half_life_images: f64) -> f64 {
    0.5f64.powf(step_images / half_life_images.max(1e-8))
}

/// Moves every parameter and buffer of `average` towards `current`: a ← decay · a + (1 - decay) · c.
///
/// Both must be the same network; `average` has no autodiff.
#[must_use]
pub fn update<M: Module>(average: M, current: &M, decay: f64) -> M {
    let mut seen = Collect(VecDeque::new());
    current.visit(&mut seen);
    average.map(&mut Lerp { current: seen.0, weight: 1.0 - decay })
}

struct Collect(VecDeque<Tensor<1>>);

impl ModuleVisitor for Collect {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        self.0.push_back(param.val().without_autodiff().flatten(0, D - 1));
    }
}

struct Lerp {
    current: VecDeque<Tensor<1>>,
    weight: f64,
}

impl ModuleMapper for Lerp {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        let Some(current) = self.current.pop_front() else { return param };
        let weight = self.weight;
        param.map(|average| {
            let current = current.reshape(average.dims());
            ops::approach(average, current, weight)
        })
    }
}
