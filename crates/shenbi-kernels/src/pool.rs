//! The largest value of each window of a picture, channels-last, and its gradient.
#![allow(unsafe_code)]

use crate::element::Element;
use crate::error::{KernelError, expect_len, expect_nonzero};
use crate::isa::{Work, active_isa, vectorize};
use crate::parallel::{SharedMut, for_items};

/// Square windows over pictures.
///
/// # Shapes
/// x: `[batch, size, channels]`, y: `[batch, windows, channels]`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MaxPool {
    /// Pictures.
    pub batch: usize,
    /// Height and width of a picture.
    pub size: [usize; 2],
    /// Channels.
    pub channels: usize,
    /// Side of a window.
    pub kernel: usize,
    /// Pixels between two windows.
    pub stride: usize,
    /// Pixels that the first window begins before the picture.
    pub padding: usize,
    /// Windows down and across; what of a window lies outside is not seen.
    pub windows: [usize; 2],
}

impl MaxPool {
    fn check(&self, op: &'static str, x: usize, y: usize) -> Result<(), KernelError> {
        let Self { batch, size: [h, w], channels, kernel, stride, windows: [rows, columns], .. } = *self;
        expect_nonzero(op, &[("batch", batch), ("height", h), ("width", w), ("channels", channels)])?;
        expect_nonzero(op, &[("kernel", kernel), ("stride", stride), ("rows", rows), ("columns", columns)])?;
        expect_len(op, "x", x, &[batch, h, w, channels])?;
        expect_len(op, "y", y, &[batch, rows, columns, channels])?;
        let empty = [(h, rows), (w, columns)].into_iter().any(|(side, n)| {
            [0, n - 1].into_iter().any(|at| at.checked_mul(stride).is_none() || self.window(at, side).is_empty())
        });
        if empty {
            let message = format!("windows that see no pixel: {self:?}");
            return Err(KernelError::Shape { op, message });
        }
        Ok(())
    }

    /// The pixels of a side that a window sees.
    #[inline(always)]
    fn window(&self, at: usize, side: usize) -> std::ops::Range<usize> {
        let begin = at * self.stride;
        begin.saturating_sub(self.padding)..(begin + self.kernel).saturating_sub(self.padding).min(side)
    }
}

/// `y = max(x)` over each window; a NaN stays.
///
/// # Errors
/// If a slice does not fit its shape, or a window sees nothing; then nothing is written.
pub fn max_pool_forward<E: Element>(g: &MaxPool, x: &[E], y: &mut [E]) -> Result<(), KernelError> {
    g.check("max_pool_forward", x.len(), y.len())?;
    let (isa, y) = (active_isa()?, SharedMut::new(y));
    let row = g.windows[1] * g.channels;
    for_items(g.batch * g.windows[0], |i| {
        // SAFETY: each item has its own row.
        let y = unsafe { y.slice(i * row, row) };
        vectorize(isa, Forward { g: *g, row: i, x, y });
    });
    Ok(())
}

/// `dx`: each window's `dy` at the first pixel (row by row) that is its largest.
///
/// # Errors
/// As [`max_pool_forward`].
pub fn max_pool_backward<E: Element>(g: &MaxPool, x: &[E], y: &[E], dy: &[E], dx: &mut [E]) -> Result<(), KernelError> {
    const OP: &str = "max_pool_backward";
    g.check(OP, x.len(), y.len())?;
    expect_len(OP, "dy", dy.len(), &[y.len()])?;
    expect_len(OP, "dx", dx.len(), &[x.len()])?;
    let (isa, dx) = (active_isa()?, SharedMut::new(dx));
    let [of_x, of_y] = [g.size, g.windows].map(|[rows, columns]| rows * columns * g.channels);
    for_items(g.batch, |i| {
        // SAFETY: each item has its own picture.
        let dx = unsafe { dx.slice(i * of_x, of_x) };
        let [y, dy] = [y, dy].map(|all| &all[i * of_y..][..of_y]);
        vectorize(isa, Backward { g: *g, x: &x[i * of_x..][..of_x], y, dy, dx });
    });
    Ok(())
}

/// One row of windows, counted through the batch.
struct Forward<'a, E> {
    g: MaxPool,
    row: usize,
    x: &'a [E],
    y: &'a mut [E],
}

impl<E: Element> Work for Forward<'_, E> {
    #[inline(always)]
    fn run(self) {
        let MaxPool { size: [h, w], channels, windows: [rows, _], .. } = self.g;
        let (picture, row) = (self.row / rows, self.row % rows);
        let lines = self.g.window(row, h);
        for (column, y) in self.y.chunks_exact_mut(channels).enumerate() {
            let seen = self.g.window(column, w);
            let mut first = true;
            for line in lines.clone() {
                let x = &self.x[((picture * h + line) * w + seen.start) * channels..][..seen.len() * channels];
                for x in x.chunks_exact(channels) {
                    if first {
                        y.copy_from_slice(x);
                        first = false;
                        continue;
                    }
                    for (y, x) in y.iter_mut().zip(x) {
                        let (a, b) = (y.to_f32(), x.to_f32());
                        *y = if a >= b || a.is_nan() { *y } else { *x };
                    }
                }
            }
        }
    }
}

/// One picture.
struct Backward<'a, E> {
    g: MaxPool,
    x: &'a [E],
    y: &'a [E],
    dy: &'a [E],
    dx: &'a mut [E],
}

impl<E: Element> Work for Backward<'_, E> {
    #[inline(always)]
    fn run(self) {
        let MaxPool { size: [h, w], channels, windows: [_, columns], .. } = self.g;
        let mut sums = vec![0.0f32; self.x.len()];
        let mut left = vec![0.0f32; channels];
        let windows = self.y.chunks_exact(channels).zip(self.dy.chunks_exact(channels));
        for (i, (y, dy)) in windows.enumerate() {
            left.iter_mut().zip(dy).for_each(|(left, dy)| *left = dy.to_f32());
            let seen = self.g.window(i % columns, w);
            for line in self.g.window(i / columns, h) {
                let at = (line * w + seen.start) * channels..(line * w + seen.end) * channels;
                let pixels = self.x[at.clone()].chunks_exact(channels).zip(sums[at].chunks_exact_mut(channels));
                for (x, sums) in pixels {
                    for (((sum, x), y), left) in sums.iter_mut().zip(x).zip(y).zip(&mut left) {
                        let here = x.to_f32() == y.to_f32();
                        *sum += if here { *left } else { 0.0 };
                        *left = if here { 0.0 } else { *left };
                    }
                }
            }
        }
        self.dx.iter_mut().zip(&sums).for_each(|(dx, sum)| *dx = E::from_f32(*sum));
    }
}
