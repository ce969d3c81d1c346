//! The weight gradient on AMX tiles: the two bf16 of a word are the same pixel of two pictures.
//!
//! The padded copy then holds words, `[pair][row][column][channel]`, made once, and what 16 neighbours in a row see under
//! any tap is a tile as it lies there.
#![allow(unsafe_code)]

use super::{Conv2d, Geometry};
use crate::element::{Element, Input, pair};
use crate::isa::{BLOCK, Micro, Work};
use crate::scratch::{self, Slot};
use std::ops::Range;

/// Whether it is possible and wastes little, with so many padded pixels in one go.
pub(super) fn suits(g: &Conv2d, out: [usize; 2], micro: Micro, pixels: usize) -> bool {
    let neighbours = g.groups == 1 || (g.in_channels / g.groups).is_multiple_of(BLOCK);
    // A missing picture is one of zeros; tiles address the copy by 32 bits.
    let (full, bytes) = (g.batch.is_multiple_of(2) || g.batch > 4, pixels.saturating_mul(4 * g.in_channels));
    micro.tiles() && out[1].is_multiple_of(16) && neighbours && full && bytes <= u32::MAX as usize
}

/// Copies a pair of pictures (or one, or none, the others being zero) between zeros, as words.
pub(super) struct PadPair<'a, X, T> {
    pub(super) job: &'a Geometry,
    pub(super) x: Input<'a, X>,
    pub(super) images: Range<usize>,
    /// The copy, neighbours making a word.
    pub(super) out: &'a mut [T],
}

impl<X: Element, T: Element> Work for PadPair<'_, X, T> {
    #[inline(always)]
    fn run(self) {
        let Self { job, x, images, out } = self;
        let Conv2d { in_h, in_w, in_channels: channels, padding, .. } = job.g;
        let begin = padding[1].min(job.padded[1]);
        let width = in_w.min(job.padded[1] - begin);
        let length = width * channels;
        let mut rows = scratch::take(Slot::Row, 2 * length);
        let (low, high) = rows.elements::<T>()[..2 * length].split_at_mut(length);
        high.fill(T::default());
        for (r, out) in out.chunks_exact_mut(2 * job.padded[1] * channels).enumerate() {
            let Some(y) = r.checked_sub(padding[0]).filter(|&y| y < in_h && length > 0 && !images.is_empty()) else {
                out.fill(T::default());
                continue;
            };
            for (row, image) in [&mut *low, &mut *high].into_iter().zip(images.clone()) {
                x.read(job.micro, (image * in_h + y) * in_w * channels, row);
            }
            let (left, rest) = out.split_at_mut(2 * begin * channels);
            let (middle, right) = rest.split_at_mut(2 * length);
            left.fill(T::default());
            right.fill(T::default());
            interleave(job.micro, low, high, middle);
        }
    }
}

/// `out` is `low[0], high[0], low[1], ...`
#[inline(always)]
fn interleave<T: Element>(micro: Micro, low: &[T], high: &[T], out: &mut [T]) {
    assert!(2 * size_of::<T>() == size_of::<u32>());
    let (low, high) = (low.as_chunks::<BLOCK>(), high.as_chunks::<BLOCK>());
    let (chunks, rest) = out.as_chunks_mut::<{ 2 * BLOCK }>();
    for ((low, high), out) in low.0.iter().zip(high.0).zip(chunks) {
        let mut words = [0u32; BLOCK];
        pair(micro, low, high, &mut words);
        // SAFETY: a word is two T (asserted), and any bits are one.
        *out = unsafe { words.as_ptr().cast::<[T; 2 * BLOCK]>().read() };
    }
    for ((l, h), out) in low.1.iter().zip(high.1).zip(rest.as_chunks_mut::<2>().0) {
        *out = [*l, *h];
    }
}

/// As [`super::Sum`], with B read in place.
pub(super) struct SumInPlace<'a, T> {
    pub(super) job: &'a Geometry,
    pub(super) split: usize,
    /// Group of channels and block of q.
    pub(super) item: usize,
    /// Pictures, counted from the slab's first.
    pub(super) images: Range<usize>,
    pub(super) fresh: bool,
    pub(super) padded: &'a [T],
    pub(super) packed: &'a [u32],
    /// `[ky][block of output channels][32][32]`.
    pub(super) sums: &'a mut [f32],
}

impl<T: Element> Work for SumInPlace<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Self { job, padded, packed, sums, .. } = self;
        let (group, q) = (self.item / job.q_blocks(), self.item % job.q_blocks());
        let g = job.g;
        let columns = BLOCK.min(g.kernel[1] * job.ci - q * BLOCK);
        // All in words from here on.
        let pitch = job.padded[1] * g.in_channels;
        let (image, across) = (job.padded[0] * pitch, g.stride[1] * g.in_channels);
        let begin = self.images.start / 2 * image + job.first(group, q).unwrap_or(0);
        let (words, a_words) = (job.words(self.images.len()), job.words(job.images));
        let [pairs, columns_out] = job.order(self.images.len());
        let mut offsets = scratch::take(Slot::Offsets, words / 16);
        let places = (0..job.out[0])
            .flat_map(|y| (0..pairs).flat_map(move |pair| (0..columns_out).step_by(16).map(move |x| (y, pair, x))));
        let mut last = 0;
        for (offset, (y, pair, x)) in offsets.iter_mut().zip(places) {
            let at = pair * image + y * g.stride[0] * pitch + x * across;
            last = last.max(at);
            *offset = (4 * at) as u32;
        }
        let reach = begin + last + 15 * across + (g.kernel[0] - 1) * pitch + BLOCK;
        assert!(2 * size_of::<T>() == size_of::<u32>());
        assert!(2 * reach <= padded.len() && 4 * last <= u32::MAX as usize, "taps outside of the padded copy");
        debug_assert!(words <= a_words);
        let blocks = job.o_blocks();
        let session = job.micro.enter();
        for (ky, sums) in sums.chunks_exact_mut(blocks * BLOCK * BLOCK).enumerate() {
            for (o, sums) in sums.chunks_exact_mut(BLOCK * BLOCK).enumerate() {
                let a = ((self.split * g.groups + group) * blocks + o) * BLOCK * a_words;
                let a = packed[a..][..BLOCK * words].as_ptr();
                // SAFETY: 512 words of A for each offset (slice above); the assertion has seen B's last row inside of the
                // copy; C of 1024 floats, session held; pairs are made for tiles only.
                unsafe {
                    let b = padded.as_ptr().cast::<u32>().add(begin + ky * pitch).cast();
                    job.micro.block_over(a, b, 4 * across, &offsets, sums.as_mut_ptr(), columns, !self.fresh);
                }
            }
        }
        drop(session);
    }
}
