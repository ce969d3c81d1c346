//! The weight gradient: `dw[o][ky][q]` is a product over pixels, with q = (kx, input channel) running through the
//! neighbours under one kernel row, as channels-last order has them.
//!
//! A is `dy` transposed, `[output channels][pixels]`; B is `[pixels][32 q]`. The pixels of a few pictures are taken in
//! the order (row, picture, column), so that for every ky B is a window of one and the same copy of the input.
//!
//! Pairs of bf16 along the sum are neighbouring pixels or, where AMX tiles can then read B in place, the same pixel of two
//! pictures ([`paired`]).
#![allow(unsafe_code)]

mod gather;
mod paired;

use super::Conv2d;
use crate::element::{Element, Input, bf16, pair};
use crate::isa::{BLOCK, Micro, Precision, Work, vectorize};
use crate::pack::transpose;
use crate::parallel::{SharedMut, for_items, for_ranges};
use crate::scratch::{self, Slot};
use gather::Gather;
use paired::{PadPair, SumInPlace};
use std::marker::PhantomData;
use std::ops::Range;

/// Pixels that one sum runs over at a time, about: A and B of a work item stay in the L2 cache.
const PIXELS: usize = 2048;
/// Work items that there should be at least, by sharing pixels if need be. A constant, so that results do not depend on
/// the number of threads.
const ITEMS: usize = 8;
/// Elements past the end of the padded copy that blocks of 32 may touch.
const SLACK: usize = 32;

struct Geometry {
    micro: Micro,
    g: Conv2d,
    ci: usize,
    co: usize,
    out: [usize; 2],
    /// Words of one row of pixels of one picture: pairs do not cross rows.
    row_words: usize,
    /// Pictures that are summed in one go.
    images: usize,
    /// Such groups of pictures that are summed beside each other.
    splits: usize,
    /// Rows and columns of the padded copy of one picture, rounded up to a multiple of the stride.
    padded: [usize; 2],
    /// Whether a word is a pixel of two pictures.
    paired: bool,
}

/// Computes `dw`.
pub(super) fn run<X: Element, Y: Element>(
    g: &Conv2d,
    out: [usize; 2],
    micro: Micro,
    x: Input<'_, X>,
    dy: Input<'_, Y>,
    dw: &mut [f32],
) {
    let (ci, co) = (g.in_channels / g.groups, g.out_channels / g.groups);
    let row_words = out[1].div_ceil(micro.per_word());
    let columns = (g.kernel[1] * ci).div_ceil(BLOCK) * g.groups;
    let wanted = ITEMS.div_ceil(columns).min(g.batch);
    let padded: [usize; 2] =
        std::array::from_fn(|a| ((out[a] - 1) * g.stride[a] + g.kernel[a]).next_multiple_of(g.stride[a]));
    let images = (PIXELS / (out[0] * out[1])).clamp(1, g.batch.div_ceil(wanted));
    let paired = paired::suits(g, out, micro, images * padded[0] * padded[1]);
    let images = if paired { images.next_multiple_of(2) } else { images };
    let splits = wanted.min(g.batch.div_ceil(images));
    let job = Geometry { micro, g: *g, ci, co, out, row_words, images, splits, padded, paired };
    match micro.precision {
        Precision::F32 => job.run::<X, Y, f32>(x, dy, dw),
        Precision::Bf16 => job.run::<X, Y, bf16>(x, dy, dw),
    }
}

impl Geometry {
    /// Blocks of 32 q.
    fn q_blocks(&self) -> usize {
        (self.g.kernel[1] * self.ci).div_ceil(BLOCK)
    }

    fn o_blocks(&self) -> usize {
        self.co.div_ceil(BLOCK)
    }

    /// Words along the sum for `images` pictures, as the block product wants them.
    fn words(&self, images: usize) -> usize {
        (self.out[0] * self.order(images).into_iter().product::<usize>()).next_multiple_of(16)
    }

    /// The words of a row of output pixels of `images` pictures, as two loops.
    #[inline(always)]
    fn order(&self, images: usize) -> [usize; 2] {
        if self.paired { [images.div_ceil(2), self.out[1]] } else { [images, self.row_words] }
    }

    /// Where in a padded row the 32 elements of a block of q begin, if they are neighbours.
    #[inline(always)]
    fn first(&self, group: usize, q: usize) -> Option<usize> {
        match (self.g.groups, q * BLOCK) {
            (1, at) => Some(at),
            (_, at) if self.ci.is_multiple_of(BLOCK) => {
                Some(at / self.ci * self.g.in_channels + group * self.ci + at % self.ci)
            }
            _ => None,
        }
    }

    fn run<X: Element, Y: Element, T: Element>(&self, x: Input<'_, X>, dy: Input<'_, Y>, dw: &mut [f32]) {
        let Self { g, micro, images, splits, .. } = *self;
        let words = self.words(images);
        let pitch = self.padded[1] * g.in_channels;
        // Elements and number of what is padded in one go: a picture, or a pair.
        let image = self.padded[0] * pitch * if self.paired { 2 } else { 1 };
        let copies = |images: usize| if self.paired { images.div_ceil(2) } else { images };
        let per_word = micro.per_word();
        let item_sums = g.kernel[0] * self.o_blocks() * BLOCK * BLOCK;
        let items = g.groups * self.q_blocks();
        let mut sums = scratch::take(Slot::Accumulators, splits * items * item_sums);
        let mut padded = scratch::take(Slot::Planes, (splits * copies(images) * image).div_ceil(per_word) + SLACK);
        let mut packed = scratch::take(Slot::PackedA, splits * g.groups * self.o_blocks() * BLOCK * words);
        for slab in (0..g.batch).step_by(images * splits) {
            let in_slab = (images * splits).min(g.batch - slab);
            // First the padded copy and the transposed dy, then the products.
            let blocks = g.groups * self.o_blocks();
            let groups = in_slab.div_ceil(images);
            let padded_shared = SharedMut::new(padded.elements::<T>());
            let packed_shared = SharedMut::new(&mut packed);
            let copies = copies(in_slab);
            for_items(copies + groups * blocks, |i| match i.checked_sub(copies) {
                None => {
                    // SAFETY: each item has its own picture or pair.
                    let out = unsafe { padded_shared.slice(i * image, image) };
                    if self.paired {
                        let images = slab + in_slab.min(2 * i)..slab + in_slab.min(2 * i + 2);
                        vectorize(micro.isa, PadPair { job: self, x, images, out });
                    } else {
                        vectorize(micro.isa, Pad { job: self, x, image: slab + i, out });
                    }
                }
                Some(i) => {
                    let (split, block) = (i / blocks, i % blocks);
                    let range = slab + split * images..slab + in_slab.min((split + 1) * images);
                    // SAFETY: each item has its own group of pictures and block of channels.
                    let out = unsafe { packed_shared.slice(i * BLOCK * words, BLOCK * words) };
                    vectorize(micro.isa, PackDy::<Y, T> { job: self, dy, range, block, out, operand: PhantomData });
                }
            });
            let padded: &[T] = padded.elements();
            let packed = &packed[..];
            let shared = SharedMut::new(sums.as_f32_mut());
            for_items(groups * items, |i| {
                // SAFETY: each item has its own sums.
                let sums = unsafe { shared.slice(i * item_sums, item_sums) };
                let (split, item) = (i / items, i % items);
                let first = split * images;
                let images = first..in_slab.min(first + images);
                let fresh = slab == 0;
                if self.paired {
                    vectorize(micro.isa, SumInPlace { job: self, split, item, images, fresh, padded, packed, sums });
                } else {
                    vectorize(micro.isa, Sum { job: self, split, item, images, fresh, padded, packed, sums });
                }
            });
        }
        let sums: &[f32] = sums.as_f32_mut();
        let size = self.ci * g.kernel[0] * g.kernel[1];
        let dw = SharedMut::new(dw);
        for_ranges(g.out_channels, (1 << 14) / size + 1, |range| {
            for o in range {
                // SAFETY: each item has its own output channels.
                let dw = unsafe { dw.slice(o * size, size) };
                vectorize(micro.isa, Gather { job: self, o, sums, dw });
            }
        });
    }
}

/// Copies one picture between zeros, channels and columns as they are.
struct Pad<'a, X, T> {
    job: &'a Geometry,
    x: Input<'a, X>,
    image: usize,
    out: &'a mut [T],
}

impl<X: Element, T: Element> Work for Pad<'_, X, T> {
    #[inline(always)]
    fn run(self) {
        let Self { job, x, image, out } = self;
        let Conv2d { in_h, in_w, in_channels: channels, padding, .. } = job.g;
        let begin = padding[1].min(job.padded[1]);
        let width = in_w.min(job.padded[1] - begin);
        for (r, out) in out.chunks_exact_mut(job.padded[1] * channels).enumerate() {
            let Some(y) = r.checked_sub(padding[0]).filter(|&y| y < in_h && width > 0) else {
                out.fill(T::default());
                continue;
            };
            let (left, rest) = out.split_at_mut(begin * channels);
            let (middle, right) = rest.split_at_mut(width * channels);
            left.fill(T::default());
            right.fill(T::default());
            x.read(job.micro, (image * in_h + y) * in_w * channels, middle);
        }
    }
}

/// Transposes 32 channels of `dy`, in the order of the sum.
struct PackDy<'a, Y, T> {
    job: &'a Geometry,
    dy: Input<'a, Y>,
    /// Pictures.
    range: Range<usize>,
    /// Block of channels, counted through the groups.
    block: usize,
    out: &'a mut [u32],
    operand: PhantomData<T>,
}

impl<Y: Element, T: Element> Work for PackDy<'_, Y, T> {
    #[inline(always)]
    fn run(self) {
        let Self { job, range, .. } = self;
        let (group, block) = (self.block / job.o_blocks(), self.block % job.o_blocks());
        let channels = BLOCK.min(job.co - block * BLOCK);
        let first = group * job.co + block * BLOCK;
        let per_word = job.micro.per_word();
        let mut lines = [0u32; 16 * BLOCK];
        let mut word = 0;
        let mut flush = |word: usize, lines: &[u32]| {
            let out = &mut self.out[word / 16 * 512..][..512];
            transpose(job.micro, lines, BLOCK, out, 16, 16, BLOCK);
        };
        // Words of a row of output pixels, in the order of the sum.
        let [outer, inner] = job.order(range.len());
        for y in 0..job.out[0] {
            for (i, j) in (0..outer).flat_map(|i| (0..inner).map(move |j| (i, j))) {
                // The pixels of the word, up to two: the picture and column of each.
                let (image, x) = if job.paired {
                    ([range.start + 2 * i, range.start + 2 * i + 1], [j; 2])
                } else {
                    ([range.start + i; 2], [j * per_word, j * per_word + 1])
                };
                let mut pixels = [[T::default(); BLOCK]; 2];
                for (n, pixel) in pixels.iter_mut().enumerate().take(per_word) {
                    if image[n] >= range.end || x[n] >= job.out[1] {
                        continue;
                    }
                    let at = ((image[n] * job.out[0] + y) * job.out[1] + x[n]) * job.g.out_channels + first;
                    if channels == BLOCK {
                        self.dy.read(job.micro, at, &mut pixel[..]);
                    } else {
                        self.dy.read(job.micro, at, &mut pixel[..channels]);
                    }
                }
                if let Ok(line) = <&mut [u32; BLOCK]>::try_from(&mut lines[word % 16 * BLOCK..][..BLOCK]) {
                    pair(job.micro, &pixels[0], &pixels[1], line);
                }
                word += 1;
                if word % 16 == 0 {
                    flush(word - 16, &lines);
                }
            }
        }
        if word % 16 > 0 {
            lines[word % 16 * BLOCK..].fill(0);
            flush(word / 16 * 16, &lines);
        }
        debug_assert_eq!(word.next_multiple_of(16), job.words(range.len()));
    }
}

/// Adds one group of pictures to the sums of one block of q, for all kernel rows and output channels.
struct Sum<'a, T> {
    job: &'a Geometry,
    split: usize,
    /// Group of channels and block of q.
    item: usize,
    /// Pictures, counted from the slab's first.
    images: Range<usize>,
    fresh: bool,
    padded: &'a [T],
    packed: &'a [u32],
    /// `[ky][block of output channels][32][32]`.
    sums: &'a mut [f32],
}

impl<T: Element> Work for Sum<'_, T> {
    #[inline(always)]
    fn run(self) {
        let Self { job, images, padded, packed, sums, .. } = self;
        let (group, q) = (self.item / job.q_blocks(), self.item % job.q_blocks());
        let (micro, g, n) = (job.micro, job.g, images.len());
        let per_word = micro.per_word();
        let words = job.words(n);
        let used = job.out[0] * n * job.row_words;
        // B: [phase of the row][row / stride][picture][word of the row][32 q].
        let line = n * job.row_words * BLOCK;
        let rows = job.padded[0] / g.stride[0];
        let mut b = scratch::take(Slot::Panel, g.stride[0] * rows * line + 16 * BLOCK);
        let columns = BLOCK.min(g.kernel[1] * job.ci - q * BLOCK);
        let zero = [T::default(); BLOCK];
        let first = job.first(group, q);
        for r in 0..job.padded[0] {
            let at = (r % g.stride[0] * rows + r / g.stride[0]) * line;
            for (i, image) in images.clone().enumerate() {
                let out = &mut b[at + i * job.row_words * BLOCK..][..job.row_words * BLOCK];
                let pitch = job.padded[1] * g.in_channels;
                let row = &padded[(image * job.padded[0] + r) * pitch..];
                for (word, out) in out.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
                    let x = word * per_word;
                    let second = per_word == 2 && x + 1 < job.out[1];
                    if let Some(first) = first {
                        // The 32 elements from here on; those past the kernel's row belong to whatever comes next, and
                        // no sum that is kept sees them.
                        let window = |x: usize| row[x * g.stride[1] * g.in_channels + first..].first_chunk();
                        let high = if second { window(x + 1) } else { None };
                        pair(micro, window(x).unwrap_or(&zero), high.unwrap_or(&zero), out);
                    } else {
                        let window = |x: usize| job.window(row, x, group, q);
                        let high = if second { window(x + 1) } else { zero };
                        pair(micro, &window(x), &high, out);
                    }
                }
            }
        }
        // The last step of the sum may reach past the rows: it gets its own copy.
        let whole = used / 16 * 16;
        let mut tail = scratch::take(Slot::Row, 16 * BLOCK);
        let a_words = job.words(job.images);
        let blocks = job.o_blocks();
        let session = micro.enter();
        for (ky, sums) in sums.chunks_exact_mut(blocks * BLOCK * BLOCK).enumerate() {
            let b = &b[(ky % g.stride[0] * rows + ky / g.stride[0]) * line..];
            if whole < used {
                tail.fill(0);
                tail[..(used - whole) * BLOCK].copy_from_slice(&b[whole * BLOCK..used * BLOCK]);
            }
            let parts = [(0, whole, &b[..whole * BLOCK]), (whole, used.next_multiple_of(16) - whole, &tail[..])];
            for (at, len, b) in parts.into_iter().filter(|(_, len, _)| *len > 0) {
                for (o, sums) in sums.chunks_exact_mut(BLOCK * BLOCK).enumerate() {
                    let a = ((self.split * g.groups + group) * blocks + o) * BLOCK * a_words;
                    let a = &packed[a + BLOCK * at..][..BLOCK * len];
                    let rows = BLOCK.min(job.co - o * BLOCK);
                    let add = at > 0 || !self.fresh;
                    // SAFETY: sizes as demanded (slices above), buffers and offsets 64-byte aligned, session held.
                    unsafe { micro.block(len, a.as_ptr(), b.as_ptr(), sums.as_mut_ptr(), [rows, columns], add) };
                }
            }
        }
        drop(session);
        debug_assert!(words <= a_words);
    }
}

impl Geometry {
    /// The 32 elements of block `q` of a group under output column `x` of a padded row, zero past the kernel's row.
    #[inline(always)]
    fn window<T: Element>(&self, row: &[T], x: usize, group: usize, q: usize) -> [T; BLOCK] {
        let last = self.g.kernel[1] * self.ci;
        let mut window = [T::default(); BLOCK];
        let mut at = q * BLOCK;
        let end = last.min(at + BLOCK);
        while at < end {
            // What is left of this column's channels.
            let (kx, c) = (at / self.ci, at % self.ci);
            let count = (self.ci - c).min(end - at);
            let from = (x * self.g.stride[1] + kx) * self.g.in_channels + group * self.ci + c;
            let to = at - q * BLOCK;
            window[to..to + count].copy_from_slice(&row[from..from + count]);
            at += count;
        }
        window
    }
}
