//! Activations, forward and backward.
#![allow(unsafe_code)]

use crate::element::{Element, Input};
use crate::error::{KernelError, expect_len, expect_nonzero};
use crate::functions::tanh;
use crate::isa::{Micro, Precision, Work, active_isa, vectorize};
use crate::parallel::{ELEMENTS_PER_ITEM, SharedMut, for_ranges};
use crate::scratch::{self, Slot};

/// A piecewise linear activation; at 0 its derivative is that of the negative side, as in PyTorch.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Activation {
    /// The identity.
    None,
    /// `max(x, 0)`.
    Relu,
    /// `x` where positive, else `slope * x`.
    LeakyRelu(f32),
}

impl Activation {
    /// The factor of non-positive values.
    #[inline(always)]
    pub(crate) fn slope(self) -> f32 {
        match self {
            Self::None => 1.0,
            Self::Relu => 0.0,
            Self::LeakyRelu(slope) => slope,
        }
    }
}

/// `x` where positive, else `slope * x`; a NaN stays one, and relu of -infinity is 0.
#[inline(always)]
pub(crate) fn leaky(x: f32, slope: f32) -> f32 {
    let negative = if slope == 0.0 && x <= 0.0 { 0.0 } else { x * slope };
    if x > 0.0 { x } else { negative }
}

/// `y = act(x)`.
///
/// # Errors
/// If the lengths differ.
pub fn activation_forward<E: Element>(act: Activation, x: &[E], y: &mut [E]) -> Result<(), KernelError> {
    expect_len("activation_forward", "y", y.len(), &[x.len()])?;
    let (isa, out, slope) = (active_isa()?, SharedMut::new(y), act.slope());
    for_ranges(x.len(), ELEMENTS_PER_ITEM, |range| {
        // SAFETY: each item has its own range.
        let y = unsafe { out.slice(range.start, range.len()) };
        vectorize(isa, Forward { slope, x: &x[range], y });
    });
    Ok(())
}

/// `dx = act'(z) * dy`, where z is the activation's input, or its output (for a positive slope and for relu the signs
/// say the same).
///
/// # Errors
/// If the lengths differ.
pub fn activation_backward<E: Element>(act: Activation, z: &[E], dy: &[E], dx: &mut [E]) -> Result<(), KernelError> {
    expect_len("activation_backward", "dy", dy.len(), &[z.len()])?;
    expect_len("activation_backward", "dx", dx.len(), &[z.len()])?;
    let (isa, out, slope) = (active_isa()?, SharedMut::new(dx), act.slope());
    for_ranges(z.len(), ELEMENTS_PER_ITEM, |range| {
        // SAFETY: each item has its own range.
        let dx = unsafe { out.slice(range.start, range.len()) };
        vectorize(isa, Backward { slope, z: &z[range.clone()], dy: &dy[range], dx });
    });
    Ok(())
}

struct Forward<'a, E> {
    slope: f32,
    x: &'a [E],
    y: &'a mut [E],
}

impl<E: Element> Work for Forward<'_, E> {
    #[inline(always)]
    fn run(self) {
        self.y.iter_mut().zip(self.x).for_each(|(y, x)| *y = E::from_f32(leaky(x.to_f32(), self.slope)));
    }
}

struct Backward<'a, E> {
    slope: f32,
    z: &'a [E],
    dy: &'a [E],
    dx: &'a mut [E],
}

impl<E: Element> Work for Backward<'_, E> {
    #[inline(always)]
    fn run(self) {
        let gradients = self.z.iter().zip(self.dy);
        for (dx, (z, dy)) in self.dx.iter_mut().zip(gradients) {
            let dy = dy.to_f32();
            *dx = E::from_f32(if z.to_f32() > 0.0 { dy } else { dy * self.slope });
        }
    }
}

/// `sums[c]`, the sum of `x[.., c]`, with f32 sums over short runs and f64 over those: a bias's gradient.
///
/// # Shapes
/// x: `[pixels, channels]`, sums: `[channels]`.
///
/// # Errors
/// If `x` is no whole number of pixels.
pub fn channel_sum<'a, E: Element>(x: impl Into<Input<'a, E>>, sums: &mut [f32]) -> Result<(), KernelError> {
    const OP: &str = "channel_sum";
    let (x, channels) = (x.into(), sums.len());
    expect_nonzero(OP, &[("channels", channels)])?;
    expect_len(OP, "x", x.values.len(), &[x.values.len() / channels, channels])?;
    x.check(OP)?;
    let micro = Micro::active(Precision::F32)?;
    const RUN: usize = 256;
    let runs = (x.values.len() / channels).div_ceil(RUN);
    let mut partial = scratch::take(Slot::Accumulators, runs * channels);
    let shared = SharedMut::new(partial.as_f32_mut());
    for_ranges(runs, (ELEMENTS_PER_ITEM / (RUN * channels)).max(1), |range| {
        for run in range {
            // SAFETY: each run has its own sums.
            let sums = unsafe { shared.slice(run * channels, channels) };
            let range = run * RUN * channels..x.values.len().min((run + 1) * RUN * channels);
            vectorize(micro.isa, Sum { micro, x, range, sums });
        }
    });
    let partial = &partial.as_f32_mut()[..runs * channels];
    for (c, sum) in sums.iter_mut().enumerate() {
        *sum = partial.iter().skip(c).step_by(channels).map(|&v| f64::from(v)).sum::<f64>() as f32;
    }
    Ok(())
}

struct Sum<'a, E> {
    micro: Micro,
    x: Input<'a, E>,
    range: std::ops::Range<usize>,
    sums: &'a mut [f32],
}

impl<E: Element> Work for Sum<'_, E> {
    #[inline(always)]
    fn run(self) {
        let channels = self.sums.len();
        self.sums.fill(0.0);
        let mut row = scratch::take(Slot::Row, channels);
        let row = row.as_f32_mut();
        for at in self.range.step_by(channels) {
            self.x.read(self.micro, at, &mut *row);
            self.sums.iter_mut().zip(&*row).for_each(|(sum, v)| *sum += v);
        }
    }
}

/// `y = tanh(x)`, within 5e-7.
///
/// # Errors
/// If the lengths differ.
pub fn tanh_forward<E: Element>(x: &[E], y: &mut [f32]) -> Result<(), KernelError> {
    expect_len("tanh_forward", "y", y.len(), &[x.len()])?;
    let (isa, out) = (active_isa()?, SharedMut::new(y));
    for_ranges(x.len(), ELEMENTS_PER_ITEM, |range| {
        // SAFETY: each item has its own range.
        let y = unsafe { out.slice(range.start, range.len()) };
        vectorize(isa, TanhForward { x: &x[range], y });
    });
    Ok(())
}

/// `dx = (1 - y²) dy`, where y is the output.
///
/// # Errors
/// If the lengths differ.
pub fn tanh_backward<E: Element>(y: &[f32], dy: &[f32], dx: &mut [E]) -> Result<(), KernelError> {
    expect_len("tanh_backward", "dy", dy.len(), &[y.len()])?;
    expect_len("tanh_backward", "dx", dx.len(), &[y.len()])?;
    let (isa, out) = (active_isa()?, SharedMut::new(dx));
    for_ranges(y.len(), ELEMENTS_PER_ITEM, |range| {
        // SAFETY: each item has its own range.
        let dx = unsafe { out.slice(range.start, range.len()) };
        vectorize(isa, TanhBackward { y: &y[range.clone()], dy: &dy[range], dx });
    });
    Ok(())
}

struct TanhBackward<'a, E> {
    y: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [E],
}

impl<E: Element> Work for TanhBackward<'_, E> {
    #[inline(always)]
    fn run(self) {
        for ((dx, y), dy) in self.dx.iter_mut().zip(self.y).zip(self.dy) {
            *dx = E::from_f32((1.0 - y * y) * dy);
        }
    }
}

struct TanhForward<'a, E> {
    x: &'a [E],
    y: &'a mut [f32],
}

impl<E: Element> Work for TanhForward<'_, E> {
    #[inline(always)]
    fn run(self) {
        self.y.iter_mut().zip(self.x).for_each(|(y, x)| *y = tanh(x.to_f32()));
    }
}

#[cfg(test)]
mod tests {
    use super::{tanh_backward, tanh_forward};

    #[test]
    fn tanh_is_tanh() {
        let x: Vec<f32> = (-2000..=2000).map(|i| i as f32 * 0.01).collect();
        let (mut y, mut dx) = (vec![0.0; x.len()], vec![0.0; x.len()]);
        tanh_forward(&x, &mut y).unwrap();
        tanh_backward(&y, &vec![1.0; x.len()], &mut dx).unwrap();
        for ((&x, &y), &dx) in x.iter().zip(&y).zip(&dx) {
            let exact = f64::from(x).tanh();
            assert!((f64::from(y) - exact).abs() < 5e-7, "tanh({x}) = {y}");
            assert!((f64::from(dx) - (1.0 - exact * exact)).abs() < 1e-6, "tanh'({x}) = {dx}");
        }
        let mut y = [0.0; 3];
        tanh_forward(&[f32::NAN, f32::INFINITY, f32::NEG_INFINITY][..], &mut y).unwrap();
        assert!(y[0].is_nan() && y[1] > 0.999_999 && y[2] < -0.999_999);
    }
}
