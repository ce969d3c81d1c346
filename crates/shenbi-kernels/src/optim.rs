//! Optimizer steps and weight averages, each in one pass over its tensors.
#![allow(unsafe_code)]

use crate::error::{KernelError, expect_len, expect_nonzero};
use crate::isa::{Work, active_isa, vectorize};
use crate::parallel::{ELEMENTS_PER_ITEM, SharedMut, for_ranges};

/// The settings of one Adam step (Kingma & Ba, 2015; AdamW: Loshchilov & Hutter, 2019), computed as PyTorch does.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct AdamStep {
    /// Learning rate.
    pub lr: f32,
    /// Decay of the first moment.
    pub beta1: f32,
    /// Decay of the second moment.
    pub beta2: f32,
    /// Added to the denominator.
    pub eps: f32,
    /// Weight decay; 0 for none.
    pub weight_decay: f32,
    /// AdamW: the decay shrinks the parameter directly. Otherwise it is added to the gradient.
    pub decoupled: bool,
    /// Number of this step, from 1: it sets the bias corrections `1 - beta^step`.
    pub step: u64,
}

/// One step: updates `param` and the moments `m` and `v`.
///
/// # Errors
/// If the lengths differ or `step` is 0; then nothing is written.
pub fn adam_step(
    s: &AdamStep,
    param: &mut [f32],
    grad: &[f32],
    m: &mut [f32],
    v: &mut [f32],
) -> Result<(), KernelError> {
    const OP: &str = "adam_step";
    let n = param.len();
    expect_len(OP, "grad", grad.len(), &[n])?;
    expect_len(OP, "m", m.len(), &[n])?;
    expect_len(OP, "v", v.len(), &[n])?;
    expect_nonzero(OP, &[("step", usize::from(s.step != 0))])?;
    let isa = active_isa()?;
    let correction = |beta: f32| 1.0 - f64::from(beta).powf(s.step as f64);
    let step_size = (f64::from(s.lr) / correction(s.beta1)) as f32;
    let root2 = correction(s.beta2).sqrt() as f32;
    let [param, m, v] = [param, m, v].map(SharedMut::new);
    for_ranges(n, ELEMENTS_PER_ITEM, |range| {
        // SAFETY: each item has its own range of each tensor.
        let [param, m, v] = [param, m, v].map(|t| unsafe { t.slice(range.start, range.len()) });
        vectorize(isa, Adam { s: *s, step_size, root2, param, grad: &grad[range], m, v });
    });
    Ok(())
}

/// The moving average of weights: `average += (1 - decay) * (value - average)`.
///
/// # Errors
/// If the lengths differ.
pub fn ema_update(average: &mut [f32], value: &[f32], decay: f32) -> Result<(), KernelError> {
    expect_len("ema_update", "value", value.len(), &[average.len()])?;
    let isa = active_isa()?;
    let shared = SharedMut::new(average);
    for_ranges(value.len(), ELEMENTS_PER_ITEM, |range| {
        // SAFETY: each item has its own range.
        let average = unsafe { shared.slice(range.start, range.len()) };
        vectorize(isa, Ema { rate: 1.0 - decay, value: &value[range], average });
    });
    Ok(())
}

struct Adam<'a> {
    s: AdamStep,
    step_size: f32,
    /// Square root of the second bias correction.
    root2: f32,
    param: &'a mut [f32],
    grad: &'a [f32],
    m: &'a mut [f32],
    v: &'a mut [f32],
}

impl Work for Adam<'_> {
    #[inline(always)]
    fn run(self) {
        let s = self.s;
        let (shrink, coupled) = if s.decoupled { (1.0 - s.lr * s.weight_decay, 0.0) } else { (1.0, s.weight_decay) };
        let moments = self.m.iter_mut().zip(self.v);
        for ((p, &g), (m, v)) in self.param.iter_mut().zip(self.grad).zip(moments) {
            let g = g + coupled * *p;
            *m += (1.0 - s.beta1) * (g - *m);
            *v = s.beta2 * *v + (1.0 - s.beta2) * g * g;
            *p = *p * shrink - self.step_size * *m / (v.sqrt() / self.root2 + s.eps);
        }
    }
}

struct Ema<'a> {
    rate: f32,
    value: &'a [f32],
    average: &'a mut [f32],
}

impl Work for Ema<'_> {
    #[inline(always)]
    fn run(self) {
        self.average.iter_mut().zip(self.value).for_each(|(a, &v)| *a += self.rate * (v - *a));
    }
}
