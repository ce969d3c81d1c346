//! An inverted bottleneck beside the identity, y = x + W₃ a(W₂ * a(W₁ x + b₁) + b₂), a few pictures at a time: what is
//! between the convolutions, the widest tensors of such a network, stays in the cache, and is computed again for the
//! gradients instead of being kept.
#![allow(unsafe_code)]

use crate::activation::{Activation, channel_sum};
use crate::conv::{Conv2d, PackedWeights, conv2d_backward_data_packed, conv2d_backward_weights, conv2d_forward_packed};
use crate::element::Element;
use crate::error::{KernelError, elements, expect_len};
use crate::isa::{Isa, Precision, Work, active_isa, vectorize, with_isa};
use crate::parallel::{SharedMut, for_items, for_ranges};
use crate::scratch::{self, Slot};
use std::ops::Range;

/// Bytes of the inner tensor that are computed at a time: three of them fit in a core's second cache.
const BYTES: usize = 512 << 10;
/// Groups of pictures whose weight gradients are summed beside each other; a constant, so that results do not depend on
/// the number of threads.
const SPLITS: usize = 8;

/// The geometry: a 1x1 convolution to `inner` channels, a 3x3 in groups, a 1x1 back.
///
/// # Shapes
/// x, y: `[batch, height, width, channels]`; W₁: `[inner, channels, 1, 1]`, W₂: `[inner, inner / groups, 3, 3]`, W₃:
/// `[channels, inner, 1, 1]`; biases: `[inner]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Bottleneck {
    /// Pictures.
    pub batch: usize,
    /// Rows.
    pub height: usize,
    /// Columns.
    pub width: usize,
    /// Channels of x and y.
    pub channels: usize,
    /// Channels between.
    pub inner: usize,
    /// Groups of the 3x3 convolution.
    pub groups: usize,
}

/// The parameters of the forward pass: weights packed for [`Bottleneck::convolutions`], and biases.
#[derive(Clone, Copy)]
pub struct BottleneckWeights<'a> {
    /// W₁, W₂ and W₃ for the forward pass.
    pub forward: [&'a PackedWeights; 3],
    /// b₁ and b₂.
    pub biases: [&'a [f32]; 2],
    /// Slope of the LeakyReLUs.
    pub slope: f32,
}

/// What [`bottleneck_backward`] writes.
pub struct BottleneckGradients<'a, E> {
    /// Of x.
    pub dx: &'a mut [E],
    /// Of the parameters, where wanted.
    pub parameters: Option<BottleneckParameters<'a>>,
}

/// Where the gradients of the parameters go.
pub struct BottleneckParameters<'a> {
    /// Of W₁, W₂ and W₃.
    pub weights: [&'a mut [f32]; 3],
    /// Of b₁ and b₂.
    pub biases: [&'a mut [f32]; 2],
}

impl Bottleneck {
    /// The three convolutions of so many pictures.
    pub fn convolutions(&self, batch: usize) -> [Conv2d; 3] {
        let conv = |in_channels, out_channels, side: usize, groups| Conv2d {
            batch,
            in_channels,
            out_channels,
            in_h: self.height,
            in_w: self.width,
            kernel: [side; 2],
            stride: [1; 2],
            padding: [side / 2; 2],
            groups,
        };
        [
            conv(self.channels, self.inner, 1, 1),
            conv(self.inner, self.inner, 3, self.groups),
            conv(self.inner, self.channels, 1, 1),
        ]
    }

    /// Checks the lengths of x and of what is like it.
    fn check(&self, op: &'static str, of_x: &[(&'static str, usize)]) -> Result<(), KernelError> {
        for conv in self.convolutions(self.batch) {
            conv.out_size()?;
        }
        let shape = [self.batch, self.height, self.width, self.channels];
        elements(op, &shape)?;
        of_x.iter().try_for_each(|(name, len)| expect_len(op, name, *len, &shape))
    }

    /// Pixels of a picture.
    fn plane(&self) -> usize {
        self.height * self.width
    }

    /// Ranges of pictures whose inner tensors fit.
    fn chunks<E>(&self) -> impl Fn(usize) -> Range<usize> + use<E> {
        let each = self.each::<E>();
        let batch = self.batch;
        move |i| i * each..batch.min((i + 1) * each)
    }

    /// Pictures at a time.
    fn each<E>(&self) -> usize {
        let picture = self.plane() * self.inner * size_of::<E>();
        // An even number where there are several: weight gradients like pairs.
        match (BYTES / picture).clamp(1, self.batch) {
            1 => 1,
            n => n / 2 * 2,
        }
    }
}

/// Computes y.
///
/// # Errors
/// If a slice does not fit its shape, a dimension is zero, or weights were packed for something else.
pub fn bottleneck_forward<E: Element>(
    g: &Bottleneck,
    x: &[E],
    w: BottleneckWeights<'_>,
    y: &mut [E],
) -> Result<(), KernelError> {
    g.check("bottleneck_forward", &[("x", x.len()), ("y", y.len())])?;
    let (isa, chunk) = (active_isa()?, g.chunks::<E>());
    let outer = g.plane() * g.channels;
    let shared = SharedMut::new(y);
    for_results(isa, g.batch.div_ceil(g.each::<E>()), |i| {
        let images = chunk(i);
        let x = &x[images.start * outer..images.end * outer];
        // SAFETY: each item has its own pictures.
        let y = unsafe { shared.slice(images.start * outer, images.len() * outer) };
        let [mut first, mut second] = [(); 2].map(|()| between::<E>(g, images.len()));
        let second = second.elements::<E>();
        inside(g, images.len(), x, w, first.elements(), second)?;
        conv2d_forward_packed(&g.convolutions(images.len())[2], &*second, w.forward[2], None, Activation::None, y)?;
        add(isa, y, x);
        Ok(())
    })
}

/// Computes y and its derivative dy along `dx`: both LeakyReLUs of the second have the slopes of the first.
///
/// # Errors
/// As [`bottleneck_forward`].
pub fn bottleneck_tangent<E: Element>(
    g: &Bottleneck,
    [x, dx]: [&[E]; 2],
    w: BottleneckWeights<'_>,
    [y, dy]: [&mut [E]; 2],
) -> Result<(), KernelError> {
    const OP: &str = "bottleneck_tangent";
    g.check(OP, &[("x", x.len()), ("dx", dx.len()), ("y", y.len()), ("dy", dy.len())])?;
    let (isa, chunk) = (active_isa()?, g.chunks::<E>());
    let outer = g.plane() * g.channels;
    let shared = [SharedMut::new(y), SharedMut::new(dy)];
    for_results(isa, g.batch.div_ceil(g.each::<E>()), |i| {
        let images = chunk(i);
        let range = images.start * outer..images.end * outer;
        let (x, dx) = (&x[range.clone()], &dx[range.clone()]);
        // SAFETY: each item has its own pictures.
        let [y, dy] = shared.map(|shared| unsafe { shared.slice(range.start, range.len()) });
        let mut buffers = [(); 4].map(|()| between::<E>(g, images.len()));
        let [first, second, d_first, d_second] = buffers.each_mut().map(|buffer| buffer.elements::<E>());
        inside(g, images.len(), x, w, first, second)?;
        inside_tangent(g, isa, images.len(), dx, w, [first, second], [d_first, d_second])?;
        let shrink = &g.convolutions(images.len())[2];
        conv2d_forward_packed(shrink, &*second, w.forward[2], None, Activation::None, y)?;
        conv2d_forward_packed(shrink, &*d_second, w.forward[2], None, Activation::None, dy)?;
        add(isa, y, x);
        add(isa, dy, dx);
        Ok(())
    })
}

/// A buffer for the inner tensor of so many pictures.
fn between<E: Element>(g: &Bottleneck, images: usize) -> scratch::Buffer {
    scratch::take(Slot::Between, (images * g.plane() * g.inner).div_ceil(E::PRECISION.per_word()))
}

/// The outputs of the first two convolutions.
fn inside<E: Element>(
    g: &Bottleneck,
    images: usize,
    x: &[E],
    w: BottleneckWeights<'_>,
    first: &mut [E],
    second: &mut [E],
) -> Result<(), KernelError> {
    let (convolutions, act) = (g.convolutions(images), Activation::LeakyRelu(w.slope));
    conv2d_forward_packed(&convolutions[0], x, w.forward[0], Some(w.biases[0]), act, first)?;
    conv2d_forward_packed(&convolutions[1], &*first, w.forward[1], Some(w.biases[1]), act, second)
}

/// The derivatives of what [`inside`] gives, `gates`, along `dx`.
fn inside_tangent<E: Element>(
    g: &Bottleneck,
    isa: Isa,
    images: usize,
    dx: &[E],
    w: BottleneckWeights<'_>,
    gates: [&[E]; 2],
    [first, second]: [&mut [E]; 2],
) -> Result<(), KernelError> {
    let convolutions = g.convolutions(images);
    conv2d_forward_packed(&convolutions[0], dx, w.forward[0], None, Activation::None, first)?;
    pass(isa, w.slope, gates[0], first);
    conv2d_forward_packed(&convolutions[1], &*first, w.forward[1], None, Activation::None, second)?;
    pass(isa, w.slope, gates[1], second);
    Ok(())
}

/// The gradients from x and `dy`, that of y; `backward`: W₁, W₂ and W₃ packed for the data gradient.
///
/// With a `tangent`, the dx of [`bottleneck_tangent`], `dy` is the gradient of that function's dy, and the gradients are
/// that of `tangent` and those of the weights; those of x and of the biases are zero (a LeakyReLU is straight).
///
/// # Errors
/// As [`bottleneck_forward`].
pub fn bottleneck_backward<E: Element>(
    g: &Bottleneck,
    x: &[E],
    tangent: Option<&[E]>,
    dy: &[E],
    w: BottleneckWeights<'_>,
    backward: [&PackedWeights; 3],
    out: BottleneckGradients<'_, E>,
) -> Result<(), KernelError> {
    const OP: &str = "bottleneck_backward";
    let (BottleneckGradients { dx, parameters }, p) = (out, w.forward[0].precision());
    let tangent_len = tangent.map_or(x.len(), <[E]>::len);
    g.check(OP, &[("x", x.len()), ("tangent", tangent_len), ("dy", dy.len()), ("dx", dx.len())])?;
    let (isa, chunk) = (active_isa()?, g.chunks::<E>());
    let shapes = g.convolutions(1).map(|g| [g.out_channels, g.in_channels / g.groups, g.kernel[0], g.kernel[1]]);
    if let Some(BottleneckParameters { weights, biases }) = &parameters {
        for ((name, w), shape) in ["dw1", "dw2", "dw3"].into_iter().zip(weights).zip(&shapes) {
            expect_len(OP, name, w.len(), shape)?;
        }
        for (name, b) in ["db1", "db2"].into_iter().zip(biases) {
            expect_len(OP, name, b.len(), &[g.inner])?;
        }
    }
    let outer = g.plane() * g.channels;
    let each = g.each::<E>();
    let chunks = g.batch.div_ceil(each);
    let splits = chunks.min(SPLITS);
    // The sums of a split, one after the other: W₁, W₂, W₃, b₁, b₂.
    let weights = |shape: &[usize; 4]| shape.iter().product::<usize>();
    let total = if parameters.is_some() { shapes.iter().map(weights).sum::<usize>() + 2 * g.inner } else { 0 };
    let mut sums = scratch::take(Slot::Sums, splits * total);
    let (shared_dx, shared_sums) = (SharedMut::new(dx), SharedMut::new(sums.as_f32_mut()));
    for_results(isa, splits, |split| {
        // SAFETY: each item has its own sums.
        let sums = unsafe { shared_sums.slice(split * total, total) };
        let mut parts = scratch::take(Slot::Sums, total);
        let parts = parts.as_f32_mut();
        for (at, i) in (split * chunks / splits..(split + 1) * chunks / splits).enumerate() {
            let images = chunk(i);
            let range = images.start * outer..images.end * outer;
            let [x, dy] = [x, dy].map(|all| &all[range.clone()]);
            let tangent = tangent.map(|all| &all[range.clone()]);
            // SAFETY: each item has its own pictures.
            let dx = unsafe { shared_dx.slice(range.start, range.len()) };
            let part = if at == 0 { &mut *sums } else { &mut parts[..total] };
            let sums_at = (total > 0).then_some((part, p));
            backward_chunk(g, isa, images.len(), (x, tangent, dy), w, backward, dx, sums_at)?;
            if at > 0 {
                add(isa, sums, &parts[..total]);
            }
        }
        Ok(())
    })?;
    let sums = &sums.as_f32_mut()[..splits * total];
    let mut first = 0;
    let Some(BottleneckParameters { weights, biases }) = parameters else { return Ok(()) };
    for out in weights.into_iter().chain(biases) {
        let len = out.len();
        let shared = SharedMut::new(out);
        for_ranges(len, crate::parallel::ELEMENTS_PER_ITEM, |range| {
            // SAFETY: each item has its own range.
            let out = unsafe { shared.slice(range.start, range.len()) };
            for split in 0..splits {
                let from = &sums[split * total + first + range.start..][..range.len()];
                if split == 0 { out.copy_from_slice(from) } else { add(isa, out, from) }
            }
        });
        first += len;
    }
    Ok(())
}

/// The gradients of a few pictures; `sums` as in [`bottleneck_backward`].
#[allow(clippy::too_many_arguments)]
fn backward_chunk<E: Element>(
    g: &Bottleneck,
    isa: Isa,
    images: usize,
    (x, tangent, dy): (&[E], Option<&[E]>, &[E]),
    w: BottleneckWeights<'_>,
    backward: [&PackedWeights; 3],
    dx: &mut [E],
    sums: Option<(&mut [f32], Precision)>,
) -> Result<(), KernelError> {
    let convolutions = g.convolutions(images);
    let [expand, mix, shrink] = &convolutions;
    let mut sums = sums.map(|(mut sums, p)| {
        let mut part = |len: usize| {
            let (part, rest) = std::mem::take(&mut sums).split_at_mut(len);
            sums = rest;
            part
        };
        let size = |g: &Conv2d| g.out_channels * g.in_channels / g.groups * g.kernel[0] * g.kernel[1];
        (convolutions.each_ref().map(|g| part(size(g))), [part(g.inner), part(g.inner)], p)
    });
    let mut weights = |i: usize, x: &[E], dy: &[E]| match &mut sums {
        Some((dw, db, p)) => {
            match db.get_mut(i) {
                Some(db) if tangent.is_some() => db.fill(0.0),
                Some(db) => channel_sum(dy, db)?,
                None => {}
            }
            conv2d_backward_weights(&convolutions[i], x, dy, dw[i], *p)
        }
        None => Ok(()),
    };
    let mut gates = [(); 2].map(|()| between::<E>(g, images));
    let [gate1, gate2] = gates.each_mut().map(|buffer| buffer.elements::<E>());
    inside(g, images, x, w, gate1, gate2)?;
    // What the convolutions saw, and the gradient.
    let mut buffers = [(); 3].map(|()| between::<E>(g, images));
    let [gradient, first, second] = buffers.each_mut().map(|buffer| buffer.elements::<E>());
    if let Some(tangent) = tangent {
        inside_tangent(g, isa, images, tangent, w, [gate1, gate2], [first, second])?;
    }
    weights(2, if tangent.is_some() { second } else { gate2 }, dy)?;
    conv2d_backward_data_packed(shrink, dy, backward[2], None, Activation::None, gradient)?;
    pass(isa, w.slope, gate2, gradient);
    weights(1, if tangent.is_some() { first } else { gate1 }, gradient)?;
    let of_first = gate2; // no longer needed, and in the cache
    conv2d_backward_data_packed(mix, &*gradient, backward[1], None, Activation::None, of_first)?;
    pass(isa, w.slope, gate1, of_first);
    weights(0, tangent.unwrap_or(x), of_first)?;
    conv2d_backward_data_packed(expand, &*of_first, backward[0], None, Activation::None, dx)?;
    add(isa, dx, dy);
    Ok(())
}

/// [`for_items`] of what may fail.
fn for_results(
    isa: Isa,
    items: usize,
    f: impl Fn(usize) -> Result<(), KernelError> + Sync + Send,
) -> Result<(), KernelError> {
    let failed = std::sync::OnceLock::new();
    for_items(items, |i| {
        if let Err(error) = with_isa(isa, || f(i)).flatten() {
            let _ = failed.set(error); // the first is as good as any
        }
    });
    failed.into_inner().map_or(Ok(()), Err)
}

/// `to += from`.
fn add<E: Element>(isa: Isa, to: &mut [E], from: &[E]) {
    vectorize(isa, Add { to, from });
}

struct Add<'a, E> {
    to: &'a mut [E],
    from: &'a [E],
}

impl<E: Element> Work for Add<'_, E> {
    #[inline(always)]
    fn run(self) {
        self.to.iter_mut().zip(self.from).for_each(|(to, from)| *to = E::from_f32(to.to_f32() + from.to_f32()));
    }
}

/// The gradient of a LeakyReLU with these outputs, in place.
fn pass<E: Element>(isa: Isa, slope: f32, outputs: &[E], gradient: &mut [E]) {
    vectorize(isa, Pass { slope, outputs, gradient });
}

struct Pass<'a, E> {
    slope: f32,
    outputs: &'a [E],
    gradient: &'a mut [E],
}

impl<E: Element> Work for Pass<'_, E> {
    #[inline(always)]
    fn run(self) {
        for (d, y) in self.gradient.iter_mut().zip(self.outputs) {
            let value = d.to_f32();
            *d = E::from_f32(if y.to_f32() > 0.0 { value } else { value * self.slope });
        }
    }
}
