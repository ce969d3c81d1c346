//! Activations, forward and backward.
#![allow(unsafe_code)]

use crate::error::{KernelError, expect_len};
use crate::isa::{Work, active_isa, vectorize};
use crate::parallel::{ELEMENTS_PER_ITEM, SharedMut, for_ranges};

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
pub fn activation_forward(act: Activation, x: &[f32], y: &mut [f32]) -> Result<(), KernelError> {
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
pub fn activation_backward(act: Activation, z: &[f32], dy: &[f32], dx: &mut [f32]) -> Result<(), KernelError> {
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

/// [`activation_forward`] with [`Activation::LeakyRelu`].
///
/// # Errors
/// If the lengths differ.
pub fn leaky_relu_forward(x: &[f32], slope: f32, y: &mut [f32]) -> Result<(), KernelError> {
    activation_forward(Activation::LeakyRelu(slope), x, y)
}

/// [`activation_backward`] with [`Activation::LeakyRelu`].
///
/// # Errors
/// If the lengths differ.
pub fn leaky_relu_backward(z: &[f32], dy: &[f32], slope: f32, dx: &mut [f32]) -> Result<(), KernelError> {
    activation_backward(Activation::LeakyRelu(slope), z, dy, dx)
}

struct Forward<'a> {
    slope: f32,
    x: &'a [f32],
    y: &'a mut [f32],
}

impl Work for Forward<'_> {
    #[inline(always)]
    fn run(self) {
        self.y.iter_mut().zip(self.x).for_each(|(y, &x)| *y = leaky(x, self.slope));
    }
}

struct Backward<'a> {
    slope: f32,
    z: &'a [f32],
    dy: &'a [f32],
    dx: &'a mut [f32],
}

impl Work for Backward<'_> {
    #[inline(always)]
    fn run(self) {
        let gradients = self.z.iter().zip(self.dy);
        for (dx, (&z, &dy)) in self.dx.iter_mut().zip(gradients) {
            *dx = if z > 0.0 { dy } else { dy * self.slope };
        }
    }
}
