//! Two-dimensional convolution and its gradients, channels-last.
//!
//! The forward pass and the data gradient are the same computation, a [`direct::Direct`]; the weight gradient is in
//! [`weights`]. Depthwise convolutions have a path of their own, [`depthwise`]. A transposed convolution is the data gradient
//! used as a forward pass, and the other way round.

mod depthwise;
mod direct;
mod weights;

use crate::activation::Activation;
use crate::element::{Element, Input, bf16};
use crate::error::{KernelError, elements, expect_len, expect_nonzero};
use crate::isa::{Micro, Precision};
use crate::scratch::Buffer;
use depthwise::Depthwise;
use direct::{Direct, PARTS};

/// The geometry of a convolution (cross-correlation, as everywhere in deep learning).
///
/// # Shapes
/// `x`: `[batch, in_h, in_w, in_channels]`, `w`: `[out_channels, in_channels / groups, kernel[0], kernel[1]]` (in this
/// order in memory, as PyTorch has it), `y`: `[batch, out_h, out_w, out_channels]`.
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
        [self.batch, self.in_h, self.in_w, self.in_channels]
    }

    fn w_shape(&self) -> [usize; 4] {
        [self.out_channels, self.in_channels / self.groups, self.kernel[0], self.kernel[1]]
    }

    fn y_shape(&self, out: [usize; 2]) -> [usize; 4] {
        [self.batch, out[0], out[1], self.out_channels]
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

/// Weights in the order that the kernels want, for one direction of one convolution: worth keeping where the same
/// weights are used again.
pub struct PackedWeights {
    g: Conv2d,
    backward: bool,
    split: bool,
    job: Job,
    words: Buffer,
}

/// How a convolution, or its data gradient, is computed.
enum Job {
    Direct(Direct),
    Depthwise(Depthwise),
}

impl Job {
    fn micro(&self) -> Micro {
        match self {
            Self::Direct(job) => job.micro(),
            Self::Depthwise(job) => job.micro,
        }
    }

    fn with_batch(&self, batch: usize) -> Self {
        match self {
            Self::Direct(job) => Self::Direct(job.with_batch(batch)),
            Self::Depthwise(job) => Self::Depthwise(job.with_batch(batch)),
        }
    }

    fn run<X: Element, Y: Element>(
        &self,
        x: Input<'_, X>,
        w: &[u32],
        bias: Option<&[f32]>,
        act: Activation,
        y: &mut [Y],
    ) {
        match self {
            Self::Direct(job) => job.run(x, w, bias, act, y),
            Self::Depthwise(job) => job.run(x, w, bias, act, y),
        }
    }
}

impl PackedWeights {
    /// For [`conv2d_forward_packed`].
    ///
    /// # Errors
    /// As [`conv2d_forward`].
    pub fn forward(g: &Conv2d, w: &[f32], p: Precision) -> Result<Self, KernelError> {
        Self::new(g, w, p, false)
    }

    /// For [`conv2d_forward_packed`] of f32 values without a gate: nearly f32's products by three of bf16. Each value v is
    /// taken as u + l, u = bf16(v) and l = bf16(v - u), and x w as u_x u_w + l_x u_w + u_x l_w, summed in f32: what is
    /// left out is within 2^-16 of |x w|. Worth it where bf16 is more than three times as fast, as on AMX.
    ///
    /// # Errors
    /// As [`conv2d_forward`].
    pub fn split(g: &Conv2d, w: &[f32]) -> Result<Self, KernelError> {
        const OP: &str = "pack_split_weights";
        let wide = Conv2d { in_channels: elements(OP, &[g.in_channels, PARTS])?, ..*g };
        let lens = Lens { x: None, w: Some(w.len()), y: None, bias: None, names: ["x", "w", "y"] };
        let (out, _) = (g.check(OP, lens)?, wide.out_size_for(OP)?);
        // [output][part, input][tap]
        let each = w.len() / g.out_channels;
        let mut parts = Vec::with_capacity(w.len() * PARTS);
        for w in w.chunks_exact(each) {
            let upper = |w: &f32| bf16::from_f32(*w).to_f32();
            parts.extend(w.iter().map(upper));
            parts.extend(w.iter().map(upper));
            parts.extend(w.iter().map(|w| w - upper(w)));
        }
        let job = Direct::forward(&wide, out, Micro::active(Precision::Bf16)?).in_parts();
        let words = job.pack(&parts);
        Ok(Self { g: *g, backward: false, split: true, job: Job::Direct(job), words })
    }

    /// What they are multiplied in.
    pub(crate) fn precision(&self) -> Precision {
        self.job.micro().precision
    }

    /// Whether they are [`Self::split`].
    pub fn is_split(&self) -> bool {
        self.split
    }

    /// For [`conv2d_backward_data_packed`].
    ///
    /// # Errors
    /// As [`conv2d_forward`].
    pub fn backward(g: &Conv2d, w: &[f32], p: Precision) -> Result<Self, KernelError> {
        Self::new(g, w, p, true)
    }

    fn new(g: &Conv2d, w: &[f32], p: Precision, backward: bool) -> Result<Self, KernelError> {
        let lens = Lens { x: None, w: Some(w.len()), y: None, bias: None, names: ["x", "w", "y"] };
        let out = g.check("pack_weights", lens)?;
        let micro = Micro::active(p)?;
        let (job, words) = if let Some(job) = Depthwise::new(g, out, micro, backward) {
            let words = job.pack(w);
            (Job::Depthwise(job), words)
        } else {
            let job = if backward { Direct::backward(g, out, micro) } else { Direct::forward(g, out, micro) };
            let words = job.pack(w);
            (Job::Direct(job), words)
        };
        Ok(Self { g: *g, backward, split: false, job, words })
    }

    /// Whether they are for this convolution (of any number of pictures), this direction, this precision and the active
    /// instruction set.
    pub fn fits(&self, g: &Conv2d, backward: bool, p: Precision) -> bool {
        let same = Conv2d { batch: self.g.batch, ..*g } == self.g && self.backward == backward;
        same && Micro::active(p).is_ok_and(|micro| micro == self.job.micro())
    }

    /// The job for `g.batch` pictures.
    fn checked(&self, op: &'static str, g: &Conv2d, backward: bool) -> Result<Job, KernelError> {
        if !self.fits(g, backward, self.job.micro().precision) {
            let message = format!("weights packed for {:?} cannot serve {g:?}", self.g);
            return Err(KernelError::Shape { op, message });
        }
        Ok(self.job.with_batch(g.batch))
    }
}

/// [`conv2d_forward`] with packed weights.
///
/// # Errors
/// As there, or if the weights were packed for something else.
pub fn conv2d_forward_packed<'a, X: Element, Y: Element>(
    g: &Conv2d,
    x: impl Into<Input<'a, X>>,
    w: &PackedWeights,
    bias: Option<&[f32]>,
    act: Activation,
    y: &mut [Y],
) -> Result<(), KernelError> {
    const OP: &str = "conv2d_forward";
    let x = x.into();
    let bias_len = bias.map(|b| (b.len(), g.out_channels));
    let lens = Lens { x: Some(x.values.len()), w: None, y: Some(y.len()), bias: bias_len, names: ["x", "w", "y"] };
    g.check(OP, lens)?;
    x.check(OP)?;
    if w.split && x.gate.is_some() {
        let message = "weights packed in parts take no gate".to_string();
        return Err(KernelError::Shape { op: OP, message });
    }
    w.checked(OP, g, false)?.run(x, &w.words, bias, act, y);
    Ok(())
}

/// [`conv2d_backward_data`] with packed weights.
///
/// # Errors
/// As there, or if the weights were packed for something else.
pub fn conv2d_backward_data_packed<'a, Y: Element, X: Element>(
    g: &Conv2d,
    dy: impl Into<Input<'a, Y>>,
    w: &PackedWeights,
    bias: Option<&[f32]>,
    act: Activation,
    dx: &mut [X],
) -> Result<(), KernelError> {
    const OP: &str = "conv2d_backward_data";
    let dy = dy.into();
    let bias_len = bias.map(|b| (b.len(), g.in_channels));
    let lens = Lens { x: Some(dx.len()), w: None, y: Some(dy.values.len()), bias: bias_len, names: ["dx", "w", "dy"] };
    g.check(OP, lens)?;
    dy.check(OP)?;
    w.checked(OP, g, true)?.run(dy, &w.words, bias, act, dx);
    Ok(())
}

/// `y = act(conv(x, w) + bias)`. The activation's backward is [`Input::gate`] of the gradients' kernels.
///
/// Also the gradient of a transposed convolution's input: see [`conv2d_backward_data`].
///
/// # Shapes
/// See [`Conv2d`]; `bias`: `[out_channels]`.
///
/// # Errors
/// If a slice does not fit its shape or a dimension (the batch included) is zero; then `y` is untouched.
pub fn conv2d_forward<'a, X: Element, Y: Element>(
    g: &Conv2d,
    x: impl Into<Input<'a, X>>,
    w: &[f32],
    bias: Option<&[f32]>,
    act: Activation,
    y: &mut [Y],
    p: Precision,
) -> Result<(), KernelError> {
    const OP: &str = "conv2d_forward";
    let x = x.into();
    let bias_len = bias.map(|b| (b.len(), g.out_channels));
    let lens =
        Lens { x: Some(x.values.len()), w: Some(w.len()), y: Some(y.len()), bias: bias_len, names: ["x", "w", "y"] };
    g.check(OP, lens)?;
    conv2d_forward_packed(g, x, &PackedWeights::forward(g, w, p)?, bias, act, y)
}

/// `dx = act(convᵀ(dy, w) + bias)`: the gradient of the input, and as such the transposed convolution of `dy`.
///
/// A transposed convolution from `[b, h, w, i]` to `[b, h', w', o]` is this with `in_channels` = o, `out_channels` = i,
/// `in_h` = h' and `in_w` = w' (which also settles PyTorch's `output_padding`); its input's gradient is
/// [`conv2d_forward`], its weights' is [`conv2d_backward_weights`] with the two tensors exchanged.
///
/// # Shapes
/// See [`Conv2d`]; `bias`: `[in_channels]`.
///
/// # Errors
/// As [`conv2d_forward`].
pub fn conv2d_backward_data<'a, Y: Element, X: Element>(
    g: &Conv2d,
    dy: impl Into<Input<'a, Y>>,
    w: &[f32],
    bias: Option<&[f32]>,
    act: Activation,
    dx: &mut [X],
    p: Precision,
) -> Result<(), KernelError> {
    const OP: &str = "conv2d_backward_data";
    let dy = dy.into();
    let bias_len = bias.map(|b| (b.len(), g.in_channels));
    let names = ["dx", "w", "dy"];
    g.check(OP, Lens { x: Some(dx.len()), w: Some(w.len()), y: Some(dy.values.len()), bias: bias_len, names })?;
    conv2d_backward_data_packed(g, dy, &PackedWeights::backward(g, w, p)?, bias, act, dx)
}

/// `dw`, the gradient of the weights, from `x` and `dy`.
///
/// # Errors
/// As [`conv2d_forward`].
pub fn conv2d_backward_weights<'a, X: Element, Y: Element>(
    g: &Conv2d,
    x: impl Into<Input<'a, X>>,
    dy: impl Into<Input<'a, Y>>,
    dw: &mut [f32],
    p: Precision,
) -> Result<(), KernelError> {
    const OP: &str = "conv2d_backward_weights";
    let (x, dy) = (x.into(), dy.into());
    let lens = Lens {
        x: Some(x.values.len()),
        w: Some(dw.len()),
        y: Some(dy.values.len()),
        bias: None,
        names: ["x", "dw", "dy"],
    };
    let out = g.check(OP, lens)?;
    x.check(OP)?;
    dy.check(OP)?;
    let micro = Micro::active(p)?;
    match Depthwise::new(g, out, micro, false) {
        Some(job) => job.weights(x, dy, dw),
        None => weights::run(g, out, micro, x, dy, dw),
    }
    Ok(())
}
