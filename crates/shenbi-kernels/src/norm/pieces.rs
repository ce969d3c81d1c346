//! What is done with one piece of a picture: the passes of [`super`].

use super::{Norm, NormStats};
use crate::activation::leaky;
use crate::element::Element;
use crate::isa::Work;
use crate::scratch::{self, Slot};

/// Mean of each channel over a piece, and the sum of squared distances from it.
pub(super) struct Moments<'a, E> {
    pub(super) channels: usize,
    pub(super) x: &'a [E],
    /// `[2][channels]`.
    pub(super) out: &'a mut [f32],
}

impl<E: Element> Work for Moments<'_, E> {
    #[inline(always)]
    fn run(self) {
        let Self { channels, x, out } = self;
        let count = (x.len() / channels) as f32;
        let (mean, square) = out.split_at_mut(channels);
        mean.fill(0.0);
        for x in x.chunks_exact(channels) {
            mean.iter_mut().zip(x).for_each(|(m, x)| *m += x.to_f32());
        }
        mean.iter_mut().for_each(|m| *m /= count);
        square.fill(0.0);
        let mut buffer = scratch::take(Slot::Row, channels);
        let first = buffer.as_f32_mut();
        first.fill(0.0);
        for x in x.chunks_exact(channels) {
            for (((first, square), x), mean) in first.iter_mut().zip(&mut *square).zip(x).zip(&*mean) {
                let distance = x.to_f32() - mean;
                *first += distance;
                *square += distance * distance;
            }
        }
        // The first moment about the rounded mean corrects it.
        for ((first, square), mean) in first.iter().zip(square).zip(mean) {
            let correction = first / count;
            *mean += correction;
            *square -= correction * first;
        }
    }
}

pub(super) struct Apply<'a, E> {
    pub(super) g: &'a Norm,
    pub(super) i: usize,
    pub(super) x: &'a [E],
    pub(super) affine: &'a [f32],
    pub(super) y: &'a mut [E],
}

impl<E: Element> Work for Apply<'_, E> {
    #[inline(always)]
    fn run(self) {
        let (g, slope) = (self.g, self.g.activation.slope());
        let (scale, shift) = g.affine_of(self.affine, g.piece(self.i).0);
        for (y, x) in self.y.chunks_exact_mut(g.channels).zip(self.x.chunks_exact(g.channels)) {
            for (((y, x), scale), shift) in y.iter_mut().zip(x).zip(scale).zip(shift) {
                *y = E::from_f32(leaky(x.to_f32() * scale + shift, slope));
            }
        }
    }
}

/// Sums of dz and dz (x - mean) over a piece.
pub(super) struct Dots<'a, E> {
    pub(super) g: &'a Norm,
    pub(super) i: usize,
    pub(super) x: &'a [E],
    pub(super) dy: &'a [E],
    pub(super) stats: &'a NormStats,
    pub(super) affine: &'a [f32],
    /// `[2][channels]`.
    pub(super) sums: &'a mut [f32],
}

impl<E: Element> Work for Dots<'_, E> {
    #[inline(always)]
    fn run(self) {
        let (g, slope) = (self.g, self.g.activation.slope());
        let (n, at, pixels) = g.piece(self.i);
        let (scale, shift) = g.affine_of(self.affine, n);
        let mut buffer = scratch::take(Slot::Row, g.channels);
        let mean = buffer.as_f32_mut();
        mean.iter_mut().enumerate().for_each(|(c, m)| *m = self.stats.mean[g.set(n, c)]);
        self.sums.fill(0.0);
        let (sum, dot) = self.sums.split_at_mut(g.channels);
        let len = pixels * g.channels;
        let inputs = self.x[at..at + len].chunks_exact(g.channels).zip(self.dy[at..at + len].chunks_exact(g.channels));
        for (x, dy) in inputs {
            let factors = scale.iter().zip(shift).zip(&*mean);
            let values = sum.iter_mut().zip(&mut *dot).zip(x.iter().zip(dy)).zip(factors);
            for (((sum, dot), (x, dy)), ((scale, shift), mean)) in values {
                let (x, dy) = (x.to_f32(), dy.to_f32());
                let dz = if x * scale + shift > 0.0 { dy } else { dy * slope };
                *sum += dz;
                *dot += dz * (x - mean);
            }
        }
    }
}

pub(super) struct Backward<'a, E> {
    pub(super) g: &'a Norm,
    pub(super) i: usize,
    pub(super) x: &'a [E],
    pub(super) dy: &'a [E],
    pub(super) stats: &'a NormStats,
    pub(super) affine: &'a [f32],
    /// Of each set: mean of gamma dz / std, and of gamma dz (x - mean) / std^3.
    pub(super) means: &'a [(f32, f32)],
    pub(super) dx: &'a mut [E],
}

impl<E: Element> Work for Backward<'_, E> {
    #[inline(always)]
    fn run(self) {
        let (g, slope) = (self.g, self.g.activation.slope());
        let (n, at, pixels) = g.piece(self.i);
        let (scale, shift) = g.affine_of(self.affine, n);
        // dx = scale dz - (constant + x linear)
        let mut buffer = scratch::take(Slot::Row, 2 * g.channels);
        let (linear, constant) = buffer.as_f32_mut().split_at_mut(g.channels);
        for c in 0..g.channels {
            let (sum, dot) = self.means[g.set(n, c)];
            linear[c] = dot;
            constant[c] = sum - self.stats.mean[g.set(n, c)] * dot;
        }
        let len = pixels * g.channels;
        let inputs = self.x[at..at + len].chunks_exact(g.channels).zip(self.dy[at..at + len].chunks_exact(g.channels));
        for (dx, (x, dy)) in self.dx.chunks_exact_mut(g.channels).zip(inputs) {
            let factors = scale.iter().zip(shift).zip(linear.iter().zip(&*constant));
            for (((dx, x), dy), ((scale, shift), (linear, constant))) in dx.iter_mut().zip(x).zip(dy).zip(factors) {
                let (x, dy) = (x.to_f32(), dy.to_f32());
                let dz = if x * scale + shift > 0.0 { dy } else { dy * slope };
                *dx = E::from_f32(dz * scale - (constant + x * linear));
            }
        }
    }
}
