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
    /// The direction is scaled down to this root mean square if it is larger (StableAdamW; Wortsman et al., 2023,
    /// algorithm 2, with 1); infinite for plain Adam.
    pub max_rms: f32,
}

/// One step: `moved` becomes `param` after it; the moments `m` (which `beta1` = 0 does without) and `v` are updated.
///
/// # Errors
/// If the lengths differ, `step` is 0, or `m` is missing with a `beta1`; then nothing is written.
pub fn adam_step(
    s: &AdamStep,
    param: &[f32],
    grad: &[f32],
    m: Option<&mut [f32]>,
    v: &mut [f32],
    moved: &mut [f32],
) -> Result<(), KernelError> {
    const OP: &str = "adam_step";
    let n = param.len();
    expect_len(OP, "grad", grad.len(), &[n])?;
    match &m {
        Some(m) => expect_len(OP, "m", m.len(), &[n])?,
        None if s.beta1 != 0.0 => expect_len(OP, "m", 0, &[n])?,
        None => {}
    }
    expect_len(OP, "v", v.len(), &[n])?;
    expect_len(OP, "moved", moved.len(), &[n])?;
    expect_nonzero(OP, &[("step", usize::from(s.step != 0))])?;
    let isa = active_isa()?;
    let correction = |beta: f32| 1.0 - f64::from(beta).powf(s.step as f64);
    let scale = (1.0 / correction(s.beta1)) as f32;
    let root2 = correction(s.beta2).sqrt() as f32;
    let [moved, v] = [moved, v].map(SharedMut::new);
    let m = m.map(SharedMut::new);
    let bounded = s.max_rms.is_finite();
    let pass = |moments: bool, rate: Option<f32>, squares: Option<SharedMut<'_, f32>>| {
        for_ranges(n, ELEMENTS_PER_ITEM, |range| {
            // SAFETY: each item has its own range of each tensor.
            let [moved, v] = [moved, v].map(|t| unsafe { t.slice(range.start, range.len()) });
            // SAFETY: as above.
            let m = m.map(|m| unsafe { m.slice(range.start, range.len()) });
            // SAFETY: and its own sum.
            let squares = squares.map(|sums| unsafe { &mut sums.slice(range.start / ELEMENTS_PER_ITEM, 1)[0] });
            let (param, grad) = (&param[range.clone()], &grad[range]);
            vectorize(isa, Adam { s: *s, scale, root2, moments, rate, param, grad, m, v, moved, squares });
        });
    };
    if !bounded {
        pass(true, Some(s.lr), None);
        return Ok(());
    }
    let mut squares = vec![0.0; n.div_ceil(ELEMENTS_PER_ITEM)];
    pass(true, None, Some(SharedMut::new(&mut squares)));
    let rms = (squares.iter().map(|&v| f64::from(v)).sum::<f64>() / n as f64).sqrt() as f32;
    pass(false, Some(s.lr / (rms / s.max_rms).max(1.0)), None);
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
    /// One over the first bias correction.
    scale: f32,
    /// Square root of the second.
    root2: f32,
    /// Whether the moments move, and `moved` becomes the direction.
    moments: bool,
    /// How far the parameters go in that direction, if they do.
    rate: Option<f32>,
    param: &'a [f32],
    grad: &'a [f32],
    m: Option<&'a mut [f32]>,
    v: &'a mut [f32],
    moved: &'a mut [f32],
    /// Where the sum of the direction's squares goes.
    squares: Option<&'a mut f32>,
}

impl Work for Adam<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { s, scale, root2, .. } = self;
        let (shrink, coupled) = if s.decoupled { (1.0 - s.lr * s.weight_decay, 0.0) } else { (1.0, s.weight_decay) };
        if self.moments {
            for ((v, &g), p) in self.v.iter_mut().zip(self.grad).zip(self.param) {
                let g = g + coupled * p;
                *v = s.beta2 * *v + (1.0 - s.beta2) * g * g;
            }
        }
        let first: &[f32] = match self.m {
            Some(m) => {
                if self.moments {
                    for ((m, &g), p) in m.iter_mut().zip(self.grad).zip(self.param) {
                        *m += (1.0 - s.beta1) * (g + coupled * p - *m);
                    }
                }
                m
            }
            None => self.grad,
        };
        let coupled = if s.beta1 == 0.0 { coupled } else { 0.0 };
        if self.moments {
            let inverse = 1.0 / root2;
            for (((step, p), v), m) in self.moved.iter_mut().zip(self.param).zip(&*self.v).zip(first) {
                *step = (m + coupled * p) * scale / (v.sqrt() * inverse + s.eps);
            }
        }
        if let Some(sum) = self.squares {
            let mut lanes = [0.0f32; 32];
            for steps in self.moved.chunks(32) {
                lanes.iter_mut().zip(steps).for_each(|(lane, step)| *lane += step * step);
            }
            *sum = lanes.iter().map(|&v| f64::from(v)).sum::<f64>() as f32;
        }
        if let Some(rate) = self.rate {
            for (moved, p) in self.moved.iter_mut().zip(self.param) {
                *moved = p * shrink - rate * *moved;
            }
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
