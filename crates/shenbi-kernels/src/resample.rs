//! Halving and doubling of pictures by a filter, channels-last. Each is the other's adjoint, so each is also the other's
//! gradient.
#![allow(unsafe_code)]

use crate::element::Element;
use crate::error::{KernelError, expect_len, expect_nonzero};
use crate::isa::{Work, active_isa, vectorize};
use crate::parallel::{SharedMut, for_items};
use crate::scratch::{self, Slot};

/// What a small pixel is made of, in each direction.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Filter {
    /// Two large pixels, `[1, 1] / 2`: average pooling, and (as the adjoint, times 4) nearest neighbour.
    Box,
    /// Four large pixels, `[1, 3, 3, 1] / 8` (StyleGAN2; Karras et al., 2020), zero outside of the picture.
    Binomial,
}

impl Filter {
    /// Weights, and how far the first is before the first of the two large pixels.
    fn taps(self) -> (&'static [f32], usize) {
        match self {
            Self::Box => (&[0.5, 0.5], 0),
            Self::Binomial => (&[0.125, 0.375, 0.375, 0.125], 1),
        }
    }
}

/// Large and small pictures.
///
/// # Shapes
/// large: `[batch, height, width, channels]`, small: `[batch, height / 2, width / 2, channels]`.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Resample {
    /// Pictures.
    pub batch: usize,
    /// Rows of the large ones, even.
    pub height: usize,
    /// Columns of the large ones, even.
    pub width: usize,
    /// Channels.
    pub channels: usize,
    /// The filter.
    pub filter: Filter,
    /// Multiplies the result: 1 to halve; 4 to double, as three of four large pixels are filled in.
    pub gain: f32,
}

impl Resample {
    fn check(&self, op: &'static str, large: usize, small: usize) -> Result<(), KernelError> {
        let Self { batch, height, width, channels, .. } = *self;
        expect_nonzero(op, &[("batch", batch), ("height", height), ("width", width), ("channels", channels)])?;
        if height % 2 + width % 2 > 0 {
            let message = format!("pictures of {height}x{width} cannot be halved: both sides must be even");
            return Err(KernelError::Shape { op, message });
        }
        expect_len(op, "large", large, &[batch, height, width, channels])?;
        expect_len(op, "small", small, &[batch, height / 2, width / 2, channels])
    }
}

/// `small = gain * filter(large)`.
///
/// # Errors
/// If a slice does not fit its shape, a side is odd or a dimension is zero; then nothing is written.
pub fn downsample<E: Element>(g: &Resample, large: &[E], small: &mut [E]) -> Result<(), KernelError> {
    g.check("downsample", large.len(), small.len())?;
    let (isa, small) = (active_isa()?, SharedMut::new(small));
    let row = g.width / 2 * g.channels;
    for_items(g.batch * g.height / 2, |i| {
        // SAFETY: each item has its own row.
        let out = unsafe { small.slice(i * row, row) };
        vectorize(isa, Down { g: *g, row: i, large, out });
    });
    Ok(())
}

/// `large = gain * filterᵀ(small)`.
///
/// # Errors
/// As [`downsample`].
pub fn upsample<E: Element>(g: &Resample, small: &[E], large: &mut [E]) -> Result<(), KernelError> {
    g.check("upsample", large.len(), small.len())?;
    let (isa, large) = (active_isa()?, SharedMut::new(large));
    let row = g.width * g.channels;
    for_items(g.batch * g.height, |i| {
        // SAFETY: each item has its own row.
        let out = unsafe { large.slice(i * row, row) };
        vectorize(isa, Up { g: *g, row: i, small, out });
    });
    Ok(())
}

/// `out += weight * row`.
#[inline(always)]
fn add<E: Element>(out: &mut [f32], row: &[E], weight: f32) {
    out.iter_mut().zip(row).for_each(|(o, v)| *o += weight * v.to_f32());
}

/// One row of a small picture, counted through the batch.
struct Down<'a, E> {
    g: Resample,
    row: usize,
    large: &'a [E],
    out: &'a mut [E],
}

impl<E: Element> Work for Down<'_, E> {
    #[inline(always)]
    fn run(self) {
        let Resample { height, width, channels, filter, gain, .. } = self.g;
        let (taps, before) = filter.taps();
        let (image, y) = (self.row / (height / 2), self.row % (height / 2));
        let mut buffer = scratch::take(Slot::Row, (width + 1) * channels);
        let (column, pixel) = buffer.as_f32_mut().split_at_mut(width * channels);
        column.fill(0.0);
        for (i, tap) in taps.iter().enumerate() {
            if let Some(from) = (2 * y + i).checked_sub(before).filter(|&from| from < height) {
                add(column, &self.large[(image * height + from) * width * channels..][..width * channels], tap * gain);
            }
        }
        for (x, out) in self.out.chunks_exact_mut(channels).enumerate() {
            pixel.fill(0.0);
            for (i, tap) in taps.iter().enumerate() {
                if let Some(from) = (2 * x + i).checked_sub(before).filter(|&from| from < width) {
                    add(pixel, &column[from * channels..][..channels], *tap);
                }
            }
            out.iter_mut().zip(&*pixel).for_each(|(o, v)| *o = E::from_f32(*v));
        }
    }
}

/// One row of a large picture, counted through the batch.
struct Up<'a, E> {
    g: Resample,
    row: usize,
    small: &'a [E],
    out: &'a mut [E],
}

impl<E: Element> Work for Up<'_, E> {
    #[inline(always)]
    fn run(self) {
        let Resample { height, width, channels, filter, gain, .. } = self.g;
        let [rows, columns] = [height / 2, width / 2];
        let (image, y) = (self.row / height, self.row % height);
        let mut buffer = scratch::take(Slot::Row, (columns + 1) * channels);
        let (column, pixel) = buffer.as_f32_mut().split_at_mut(columns * channels);
        column.fill(0.0);
        for (from, tap) in meets(filter, y, rows) {
            add(column, &self.small[(image * rows + from) * columns * channels..][..columns * channels], tap * gain);
        }
        for (x, out) in self.out.chunks_exact_mut(channels).enumerate() {
            pixel.fill(0.0);
            for (from, tap) in meets(filter, x, columns) {
                add(pixel, &column[from * channels..][..channels], tap);
            }
            out.iter_mut().zip(&*pixel).for_each(|(o, v)| *o = E::from_f32(*v));
        }
    }
}

/// The small pixels that large pixel `at` is part of, of `count`, with their taps.
#[inline(always)]
fn meets(filter: Filter, at: usize, count: usize) -> impl Iterator<Item = (usize, f32)> {
    let (taps, before) = filter.taps();
    // 2 small + i - before = at
    let meets = move |(i, tap): (usize, &f32)| {
        let twice = (at + before).checked_sub(i)?;
        (twice.is_multiple_of(2) && twice / 2 < count).then_some((twice / 2, *tap))
    };
    taps.iter().enumerate().filter_map(meets)
}
