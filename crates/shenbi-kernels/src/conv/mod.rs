//! Two-dimensional convolution, its transposed form, and their gradients.
//!
//! The forward pass and the data gradient are the same computation, a [`gather::Gather`]; the weight gradient is in
//! [`weights`]. A transposed convolution is the data gradient used as a forward pass, and the other way round.

mod gather;
mod item;
mod planes;
mod weights;

use crate::activation::Activation;
use crate::error::{KernelError, elements, expect_len, expect_nonzero};
use crate::isa::{Micro, Precision};
use crate::parallel::{SharedMut, for_items};
use gather::Gather;

/// The geometry of a convolution (cross-correlation, as everywhere in deep learning).
///
/// # Shapes
/// `x`: `[batch, in_channels, in_h, in_w]`, `w`: `[out_channels, in_channels / groups, kernel[0], kernel[1]]`,
/// `y`: `[batch, out_channels, out_h, out_w]`, `bias`: `[out_channels]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Conv2d {
    /// Pictures.
    pub batch: usize,
    /// Channels of `x`.
    pub in_channels: usize,
    /// Channels of `y`.
    pub out_channels: usize,
    /// Rows of `x`.
    pub in_h: usize,
    /// Columns of `x`.
    pub in_w: usize,
    /// Rows and columns of the kernel.
    pub kernel: [usize; 2],
    /// Step between outputs, down and across.
    pub stride: [usize; 2],
    /// Zeros added at both ends, down and across.
    pub padding: [usize; 2],
    /// Channel groups that do not see each other.
    pub groups: usize,
}

impl Conv2d {
    /// Rows and columns of `y`: `(in + 2 padding - kernel) / stride + 1`.
    ///
    /// # Errors
    /// If a dimension is zero, the kernel is larger than the padded input, or a size overflows.
    pub fn out_size(&self) -> Result<[usize; 2], KernelError> {
        self.out_size_for("conv2d")
    }

    fn out_size_for(&self, op: &'static str) -> Result<[usize; 2], KernelError> {
        expect_nonzero(
            op,
            &[
                ("batch", self.batch),
                ("in_channels", self.in_channels),
                ("out_channels", self.out_channels),
                ("in_h", self.in_h),
                ("in_w", self.in_w),
                ("kernel", self.kernel[0].min(self.kernel[1])),
                ("stride", self.stride[0].min(self.stride[1])),
                ("groups", self.groups),
            ],
        )?;
        if !self.in_channels.is_multiple_of(self.groups) || !self.out_channels.is_multiple_of(self.groups) {
            let message = format!(
                "{} input and {} output channels do not divide into {} groups",
                self.in_channels, self.out_channels, self.groups
            );
            return Err(KernelError::Shape { op, message });
        }
        let mut out = [0; 2];
        for (name, dims) in [("kernel", self.kernel), ("stride", self.stride)] {
            if dims.iter().any(|&d| d > 1 << 24) {
                return Err(KernelError::Shape { op, message: format!("{name} {dims:?} is too large") });
            }
        }
        for (axis, size) in [self.in_h, self.in_w].into_iter().enumerate() {
            let padded = elements(op, &[2, self.padding[axis]])?
                .checked_add(size)
                .ok_or_else(|| KernelError::Overflow { op, shape: vec![size, self.padding[axis]] })?;
            if padded < self.kernel[axis] {
                let message = format!(
                    "the kernel {:?} is larger than the input {}x{} with padding {:?}",
                    self.kernel, self.in_h, self.in_w, self.padding
                );
                return Err(KernelError::Shape { op, message });
            }
            out[axis] = (padded - self.kernel[axis]) / self.stride[axis] + 1;
        }
        // Padded copies must be addressable as well as the tensors themselves, one picture's by 32 bits.
        let pad = |a: usize, size: usize| size + 2 * self.padding[a] + self.stride[a] + 2 * self.kernel[a];
        for channels in [self.in_channels + 1, self.out_channels + 1] {
            let picture = [channels, pad(0, self.in_h), pad(1, self.in_w)];
            if elements(op, &picture)? > 1 << 30 {
                return Err(KernelError::Overflow { op, shape: picture.to_vec() });
            }
            elements(op, &[self.batch, picture[0], picture[1], picture[2]])?;
        }
        elements(op, &self.w_shape())?;
        Ok(out)
    }

    fn x_shape(&self) -> [usize; 4] {
        [self.batch, self.in_channels, self.in_h, self.in_w]
    }

    fn w_shape(&self) -> [usize; 4] {
        [self.out_channels, self.in_channels / self.groups, self.kernel[0], self.kernel[1]]
    }

    fn y_shape(&self, out: [usize; 2]) -> [usize; 4] {
        [self.batch, self.out_channels, out[0], out[1]]
    }

    /// Checks the slices; returns the output size.
    fn check(&self, op: &'static str, lens: Lens) -> Result<[usize; 2], KernelError> {
        let out = self.out_size_for(op)?;
        for (len, name, shape) in [
            (lens.x, lens.names[0], &self.x_shape()[..]),
            (lens.w, lens.names[1], &self.w_shape()[..]),
            (lens.y, lens.names[2], &self.y_shape(out)[..]),
            (lens.bias.map(|(n, _)| n), "bias", &[lens.bias.map_or(0, |(_, channels)| channels)][..]),
        ] {
            if let Some(len) = len {
                expect_len(op, name, len, shape)?;
            }
        }
        Ok(out)
    }
}

/// The lengths of the slices of one call, with their names in its signature; a bias with its expected length.
#[derive(Clone, Copy)]
struct Lens {
    x: Option<usize>,
    w: Option<usize>,
    y: Option<usize>,
    bias: Option<(usize, usize)>,
    names: [&'static str; 3],
}

/// `y = conv(x, w) + bias`.
///
/// # Shapes
/// See [`Conv2d`].
///
/// # Errors
/// If a slice does not fit its shape or a dimension (the batch included) is zero; then `y` is untouched.
pub fn conv2d_forward(
    g: &Conv2d,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
    p: Precision,
) -> Result<(), KernelError> {
    conv2d_forward_act(g, x, w, bias, Activation::None, y, p)
}

/// `y = act(conv(x, w) + bias)` in one pass. Its backward begins with [`crate::activation_backward`] from `y`.
///
/// # Errors
/// As [`conv2d_forward`].
pub fn conv2d_forward_act(
    g: &Conv2d,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    act: Activation,
    y: &mut [f32],
    p: Precision,
) -> Result<(), KernelError> {
    let bias_len = bias.map(|b| (b.len(), g.out_channels));
    let lens = Lens { x: Some(x.len()), w: Some(w.len()), y: Some(y.len()), bias: bias_len, names: ["x", "w", "y"] };
    let out = g.check("conv2d_forward", lens)?;
    Gather::forward(g, out, Micro::active(p)?).run(x, w, bias, act, y);
    Ok(())
}

/// `dx`, the gradient of the input, from `dy`.
///
/// # Errors
/// As [`conv2d_forward`].
pub fn conv2d_backward_data(
    g: &Conv2d,
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
    p: Precision,
) -> Result<(), KernelError> {
    let lens = Lens { x: Some(dx.len()), w: Some(w.len()), y: Some(dy.len()), bias: None, names: ["dx", "w", "dy"] };
    let out = g.check("conv2d_backward_data", lens)?;
    Gather::backward(g, out, Micro::active(p)?).run(dy, w, None, Activation::None, dx);
    Ok(())
}

/// `dw`, the gradient of the weights, from `x` and `dy`.
///
/// # Errors
/// As [`conv2d_forward`].
pub fn conv2d_backward_weights(
    g: &Conv2d,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    p: Precision,
) -> Result<(), KernelError> {
    let lens = Lens { x: Some(x.len()), w: Some(dw.len()), y: Some(dy.len()), bias: None, names: ["x", "dw", "dy"] };
    let out = g.check("conv2d_backward_weights", lens)?;
    weights::run(g, out, Micro::active(p)?, x, dy, dw);
    Ok(())
}

/// `db[c]`, the sum of `dy[:, c, :, :]`, added up in f64.
///
/// # Errors
/// As [`conv2d_forward`].
pub fn conv2d_backward_bias(g: &Conv2d, dy: &[f32], db: &mut [f32]) -> Result<(), KernelError> {
    let lens =
        Lens { x: None, w: None, y: Some(dy.len()), bias: Some((db.len(), g.out_channels)), names: ["x", "w", "dy"] };
    let [h, w] = g.check("conv2d_backward_bias", lens)?;
    sum_channels(dy, g.out_channels, h * w, db);
    Ok(())
}

/// `y = conv_transpose(x, w) + bias` for the transposed convolution whose data gradient is the convolution `g`: its
/// input has `g`'s output shape and its output `g`'s input shape (which also settles PyTorch's `output_padding`).
///
/// # Shapes
/// `x`: `[batch, g.out_channels, out_h, out_w]`, `w`: `[g.out_channels, g.in_channels / groups, kh, kw]` (PyTorch's
/// `[in, out / groups, kh, kw]`), `bias`: `[g.in_channels]`, `y`: `[batch, g.in_channels, g.in_h, g.in_w]`.
///
/// # Errors
/// As [`conv2d_forward`].
pub fn conv_transpose2d_forward(
    g: &Conv2d,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    y: &mut [f32],
    p: Precision,
) -> Result<(), KernelError> {
    conv_transpose2d_forward_act(g, x, w, bias, Activation::None, y, p)
}

/// `y = act(conv_transpose(x, w) + bias)` in one pass; shapes as in [`conv_transpose2d_forward`].
///
/// # Errors
/// As [`conv2d_forward`].
pub fn conv_transpose2d_forward_act(
    g: &Conv2d,
    x: &[f32],
    w: &[f32],
    bias: Option<&[f32]>,
    act: Activation,
    y: &mut [f32],
    p: Precision,
) -> Result<(), KernelError> {
    let bias_len = bias.map(|b| (b.len(), g.in_channels));
    let lens = Lens { x: Some(y.len()), w: Some(w.len()), y: Some(x.len()), bias: bias_len, names: ["y", "w", "x"] };
    let out = g.check("conv_transpose2d_forward", lens)?;
    Gather::backward(g, out, Micro::active(p)?).run(x, w, bias, act, y);
    Ok(())
}

/// The gradient of a transposed convolution's input (a forward convolution of `dy`); shapes as in
/// [`conv_transpose2d_forward`].
///
/// # Errors
/// As [`conv2d_forward`].
pub fn conv_transpose2d_backward_data(
    g: &Conv2d,
    dy: &[f32],
    w: &[f32],
    dx: &mut [f32],
    p: Precision,
) -> Result<(), KernelError> {
    let lens = Lens { x: Some(dy.len()), w: Some(w.len()), y: Some(dx.len()), bias: None, names: ["dy", "w", "dx"] };
    let out = g.check("conv_transpose2d_backward_data", lens)?;
    Gather::forward(g, out, Micro::active(p)?).run(dy, w, None, Activation::None, dx);
    Ok(())
}

/// The gradient of a transposed convolution's weights; shapes as in [`conv_transpose2d_forward`].
///
/// # Errors
/// As [`conv2d_forward`].
pub fn conv_transpose2d_backward_weights(
    g: &Conv2d,
    x: &[f32],
    dy: &[f32],
    dw: &mut [f32],
    p: Precision,
) -> Result<(), KernelError> {
    let lens = Lens { x: Some(dy.len()), w: Some(dw.len()), y: Some(x.len()), bias: None, names: ["dy", "dw", "x"] };
    let out = g.check("conv_transpose2d_backward_weights", lens)?;
    weights::run(g, out, Micro::active(p)?, dy, x, dw);
    Ok(())
}

/// The gradient of a transposed convolution's bias: the sum of `dy[:, c, :, :]`, added up in f64.
///
/// # Errors
/// As [`conv2d_forward`].
pub fn conv_transpose2d_backward_bias(g: &Conv2d, dy: &[f32], db: &mut [f32]) -> Result<(), KernelError> {
    let lens =
        Lens { x: Some(dy.len()), w: None, y: None, bias: Some((db.len(), g.in_channels)), names: ["dy", "w", "x"] };
    g.check("conv_transpose2d_backward_bias", lens)?;
    sum_channels(dy, g.in_channels, g.in_h * g.in_w, db);
    Ok(())
}

/// `sums[c]` over the batch and the `plane` elements of each channel. Eight partial sums per plane keep it fast.
#[allow(unsafe_code)]
fn sum_channels(x: &[f32], channels: usize, plane: usize, sums: &mut [f32]) {
    let shared = SharedMut::new(sums);
    for_items(channels, |c| {
        let mut total = 0.0f64;
        for plane in x.chunks_exact(plane).skip(c).step_by(channels) {
            // f32 partial sums of at most 256 elements, then f64.
            for part in plane.chunks(256) {
                let mut lanes = [0.0f32; 16];
                let (whole, rest) = part.as_chunks::<16>();
                for chunk in whole {
                    lanes.iter_mut().zip(chunk).for_each(|(l, v)| *l += v);
                }
                total += lanes.iter().chain(rest).map(|&v| f64::from(v)).sum::<f64>();
            }
        }
        // SAFETY: each item has its own channel.
        let sum = unsafe { shared.slice(c, 1) };
        sum[0] = total as f32;
    });
}
