//! The weight gradient: `dW[co, column] = sum over pixels of dy[co, pixel] · col[pixel, column]`, where a column is
//! (kernel row, kernel column, input channel).
//!
//! The input is transposed once to padded channels-last form. There all columns of one kernel row are neighbours, so
//! that a B panel (pixels x 32 columns) is made of a few copies per pixel. Work is divided over column blocks and a
//! number of pixel groups that depends on the shape alone; the groups are added up in order, which makes the result
//! independent of the number of threads.
#![allow(unsafe_code)]

use super::Conv2d;
use crate::isa::{BLOCK, Micro, Precision, vectorize};
use crate::pack::{place_row, rows_to_words, run_to_words, transpose};
use crate::parallel::{SharedMut, for_items};
use crate::scratch::{self, Slot};

/// Pixels that one block product sums over, at most.
const SLICE: usize = 512;
/// Elements that a copy may read past a run; the channels-last buffer has as much slack.
const SLACK: usize = 32;

struct Geometry {
    micro: Micro,
    g: Conv2d,
    out: [usize; 2],
    /// Channels per group of input (also rounded to whole words) and output.
    ci: usize,
    ci_padded: usize,
    co: usize,
    /// Padded input, rows and columns.
    padded: [usize; 2],
    /// Columns of dW, input channels rounded up.
    columns: usize,
    /// Output pixels of one image.
    pixels: usize,
    /// Images that are worked on together, and pixels per block product.
    slab: usize,
    slice: usize,
}

/// Runs it; all slices have been checked.
pub(super) fn run(g: &Conv2d, out: [usize; 2], micro: Micro, x: &[f32], dy: &[f32], dw: &mut [f32]) {
    let (ci, co) = (g.in_channels / g.groups, g.out_channels / g.groups);
    let ci_padded = ci.next_multiple_of(micro.per_word());
    let padded = [(out[0] - 1) * g.stride[0] + g.kernel[0], (out[1] - 1) * g.stride[1] + g.kernel[1]];
    let columns = g.kernel[0] * g.kernel[1] * ci_padded;
    let pixels = out[0] * out[1];
    // A slab of images is transposed, then used by all items, while it is in the shared cache.
    const SLAB_WORDS: usize = 2 << 20;
    let slab = (SLAB_WORDS / (padded[0] * padded[1] * ci_padded + co * pixels)).clamp(1, g.batch);
    let slice = SLICE.min((slab * pixels).next_multiple_of(BLOCK));
    let geometry = Geometry { micro, g: *g, out, ci, ci_padded, co, padded, columns, pixels, slab, slice };
    for group in 0..g.groups {
        geometry.group(group, x, dy, dw);
    }
}

impl Geometry {
    /// Words of one image in channels-last form.
    fn image_words(&self) -> usize {
        self.padded[0] * self.padded[1] * self.ci_padded / self.micro.per_word()
    }

    /// How many partial sums: enough items for many threads where dW has few column blocks, but little memory.
    fn pixel_groups(&self, slices: usize) -> usize {
        const ITEMS: usize = 16;
        const WORDS: usize = 1 << 20;
        let size = self.columns.next_multiple_of(BLOCK) * self.co.next_multiple_of(BLOCK);
        ITEMS.div_ceil(self.columns.div_ceil(BLOCK)).min(WORDS.div_ceil(size)).min(slices)
    }

    fn group(&self, group: usize, x: &[f32], dy: &[f32], dw: &mut [f32]) {
        let co_blocks = self.co.div_ceil(BLOCK);
        let column_blocks = self.columns.div_ceil(BLOCK);
        let slab = self.slab;
        let slices_per_slab = (slab * self.pixels).div_ceil(self.slice);
        let groups = self.pixel_groups(slices_per_slab);
        let sums_each = column_blocks * co_blocks * BLOCK * BLOCK;
        let mut sums = scratch::take(Slot::Accumulators, groups * sums_each);
        let sums = sums.as_f32_mut();
        let mut last = scratch::take(Slot::Planes, slab * self.image_words() + SLACK);
        let mut dy_packed =
            scratch::take(Slot::PackedA, co_blocks * BLOCK * self.micro.k_words(self.slice) * slices_per_slab);
        for first in (0..self.g.batch).step_by(slab) {
            let images = slab.min(self.g.batch - first);
            let total = images * self.pixels;
            let slices = total.div_ceil(self.slice);
            self.channels_last(group, first, images, x, &mut last);
            self.pack_dy(group, first, total, dy, &mut dy_packed);
            let shared = SharedMut::new(sums);
            let (last, dy_packed) = (&last[..], &dy_packed[..]);
            for_items(groups * column_blocks, |i| {
                let (pixel_group, block) = (i / column_blocks, i % column_blocks);
                let range = pixel_group * slices / groups..(pixel_group + 1) * slices / groups;
                let at = pixel_group * sums_each + block * co_blocks * BLOCK * BLOCK;
                // SAFETY: each item has its own pixel group and column block.
                let sums = unsafe { shared.slice(at, co_blocks * BLOCK * BLOCK) };
                vectorize(self.micro.isa, || self.item(block, range, total, first == 0, last, dy_packed, sums));
            });
        }
        let dw = SharedMut::new(dw);
        let sums = &sums[..];
        for_items(co_blocks, |block| self.finish(group, block, groups, sums_each, sums, dw));
    }

    /// Writes the images as `[image][row][column][channel]`, padded with zeros.
    fn channels_last(&self, group: usize, first: usize, images: usize, x: &[f32], out: &mut [u32]) {
        let (h, w, per_word) = (self.g.in_h, self.g.in_w, self.micro.per_word());
        let channel_words = self.ci_padded / per_word;
        let row_words = self.padded[1] * channel_words;
        let out = SharedMut::new(out);
        for_items(images, |image| {
            // SAFETY: each item has its own image.
            let out = unsafe { out.slice(image * self.image_words(), self.image_words()) };
            let x = &x[((first + image) * self.g.groups + group) * self.ci * h * w..][..self.ci * h * w];
            vectorize(self.micro.isa, || {
                // Input columns that the padded row holds: the rest of the input is never read by this stride.
                let begin = self.g.padding[1].min(self.padded[1]);
                let width = w.min(self.padded[1] - begin);
                let mut words = scratch::take(Slot::Row, channel_words * width.max(1));
                for (r, out) in out.chunks_exact_mut(row_words).enumerate() {
                    let Some(y) = r.checked_sub(self.g.padding[0]).filter(|&y| y < h && width > 0) else {
                        out.fill(0);
                        continue;
                    };
                    for (c, words) in words.chunks_exact_mut(width).enumerate() {
                        let low = &x[(c * per_word * h + y) * w..][..width];
                        let high = (per_word == 2 && 2 * c + 1 < self.ci)
                            .then(|| &x[((c * per_word + 1) * h + y) * w..][..width]);
                        rows_to_words(self.micro, low, high, words);
                    }
                    let (left, rest) = out.split_at_mut(begin * channel_words);
                    let (middle, right) = rest.split_at_mut(width * channel_words);
                    left.fill(0);
                    right.fill(0);
                    transpose(self.micro, &words, width, middle, channel_words, channel_words, width);
                }
            });
        });
    }

    /// Packs `dy` as A blocks: `[slice][block of channels]`, k = the slice's pixels.
    fn pack_dy(&self, group: usize, first: usize, total: usize, dy: &[f32], out: &mut [u32]) {
        let k = self.micro.k_words(self.slice);
        let co_blocks = self.co.div_ceil(BLOCK);
        let out = SharedMut::new(out);
        for_items(total.div_ceil(self.slice) * co_blocks, |i| {
            // SAFETY: each item has its own slice and block.
            let out = unsafe { out.slice(i * BLOCK * k, BLOCK * k) };
            let (slice, block) = (i / co_blocks, i % co_blocks);
            let range = slice * self.slice..total.min((slice + 1) * self.slice);
            vectorize(self.micro.isa, || {
                let mut row = scratch::take(Slot::Row, k);
                let mut values = scratch::take(Slot::Block, self.slice);
                let values = &mut values.as_f32_mut()[..range.len()];
                for r in 0..BLOCK {
                    let channel = block * BLOCK + r;
                    if channel < self.co {
                        let mut done = 0;
                        while done < values.len() {
                            let pixel = range.start + done;
                            let (image, at) = (pixel / self.pixels, pixel % self.pixels);
                            let len = (self.pixels - at).min(values.len() - done);
                            let plane = ((first + image) * self.g.groups + group) * self.co + channel;
                            values[done..done + len].copy_from_slice(&dy[plane * self.pixels + at..][..len]);
                            done += len;
                        }
                        run_to_words(self.micro, values, &mut row);
                    } else {
                        row.fill(0);
                    }
                    place_row(self.micro.layout(), r, &row, out);
                }
            });
        });
    }

    /// Adds the slices in `range` to one column block's sums, for all blocks of output channels.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn item(
        &self,
        block: usize,
        range: std::ops::Range<usize>,
        total: usize,
        fresh: bool,
        last: &[u32],
        dy_packed: &[u32],
        sums: &mut [f32],
    ) {
        if fresh {
            sums.fill(0.0);
        }
        let co_blocks = self.co.div_ceil(BLOCK);
        let k = self.micro.k_words(self.slice);
        let mut panel = scratch::take(Slot::Panel, 32 * k + SLACK);
        let mut bases = scratch::take(Slot::Table, self.slice);
        let runs = self.column_runs(block);
        let session = self.micro.enter();
        for slice in range {
            let pixels = slice * self.slice..total.min((slice + 1) * self.slice);
            for (base, pixel) in bases.iter_mut().zip(pixels.clone()) {
                *base = self.pixel_base(pixel) as u32;
            }
            let bases = &bases[..pixels.len()];
            match self.micro.precision {
                Precision::F32 => self.fill_f32(last, bases, &runs, &mut panel),
                Precision::Bf16 => self.fill_bf16(last, bases, &runs, &mut panel),
            }
            panel[32 * bases.len().div_ceil(self.micro.per_word())..32 * k].fill(0);
            for (b, sums) in sums.chunks_exact_mut(BLOCK * BLOCK).enumerate() {
                let a = &dy_packed[(slice * co_blocks + b) * BLOCK * k..][..BLOCK * k];
                let rows = BLOCK.min(self.co - b * BLOCK);
                // SAFETY: sizes as demanded (slices above), buffers 64-byte aligned, session held.
                unsafe { self.micro.block(k, a.as_ptr(), panel.as_ptr(), sums.as_mut_ptr(), rows, true) };
            }
        }
        drop(session);
    }

    /// Where the output pixel's window begins in the channels-last slab, in elements.
    #[inline(always)]
    fn pixel_base(&self, pixel: usize) -> usize {
        let (image, at) = (pixel / self.pixels, pixel % self.pixels);
        let (y, x) = (at / self.out[1] * self.g.stride[0], at % self.out[1] * self.g.stride[1]);
        ((image * self.padded[0] + y) * self.padded[1] + x) * self.ci_padded
    }

    /// The runs of neighbours that 32 columns consist of: (offset from the pixel's base, first column, length).
    fn column_runs(&self, block: usize) -> Vec<(usize, usize, usize)> {
        let per_row = self.g.kernel[1] * self.ci_padded;
        let (mut at, end) = (block * BLOCK, self.columns.min((block + 1) * BLOCK));
        let mut runs = Vec::new();
        while at < end {
            let (row, within) = (at / per_row, at % per_row);
            let len = (per_row - within).min(end - at);
            runs.push((row * self.padded[1] * self.ci_padded + within, at - block * BLOCK, len));
            at += len;
        }
        runs
    }

    /// A copy may overrun its columns: the next run or pixel overwrites that (see `planes::Copies`).
    #[inline(always)]
    fn fill_f32(&self, last: &[u32], bases: &[u32], runs: &[(usize, usize, usize)], panel: &mut [u32]) {
        for (i, &base) in bases.iter().enumerate() {
            for &(offset, column, len) in runs {
                for step in (0..len).step_by(16) {
                    let from: &[u32] = &last[base as usize + offset + step..][..16];
                    panel[32 * i + column + step..][..16].copy_from_slice(from);
                }
            }
        }
    }

    /// As [`Self::fill_f32`], from bf16 elements and two pixels at a time.
    #[inline(always)]
    fn fill_bf16(&self, last: &[u32], bases: &[u32], runs: &[(usize, usize, usize)], panel: &mut [u32]) {
        // SAFETY: u32 as two u16 (on every platform the words were written with the even element in the low half,
        // which is the first on the little-endian ones that Rust's std::arch kernels and this crate support).
        let elements = unsafe { std::slice::from_raw_parts(last.as_ptr().cast::<u16>(), 2 * last.len()) };
        for (i, pair) in bases.chunks(2).enumerate() {
            for &(offset, column, len) in runs {
                for step in (0..len).step_by(16) {
                    let at = offset + step;
                    let (to, _) = panel[32 * i + column + step..].split_at_mut(16);
                    let first = &elements[pair[0] as usize + at..][..16];
                    if let [_, second] = *pair {
                        let second = &elements[second as usize + at..][..16];
                        for ((to, &a), &b) in to.iter_mut().zip(first).zip(second) {
                            *to = u32::from(a) | u32::from(b) << 16;
                        }
                    } else {
                        to.iter_mut().zip(first).for_each(|(to, &a)| *to = u32::from(a));
                    }
                }
            }
        }
    }

    /// Adds up the pixel groups in order and writes `dw[co, ci, kh, kw]` for one block of output channels.
    fn finish(&self, group: usize, block: usize, groups: usize, each: usize, sums: &[f32], dw: SharedMut<f32>) {
        let taps = self.g.kernel[0] * self.g.kernel[1];
        let co_blocks = self.co.div_ceil(BLOCK);
        let rows = BLOCK.min(self.co - block * BLOCK);
        let per_row = self.ci * taps;
        // SAFETY: each item has its own output channels.
        let dw = unsafe { dw.slice((group * self.co + block * BLOCK) * per_row, rows * per_row) };
        for (r, dw) in dw.chunks_exact_mut(per_row).enumerate() {
            for tap in 0..taps {
                for c in 0..self.ci {
                    let column = tap * self.ci_padded + c;
                    let at = ((column / BLOCK * co_blocks + block) * BLOCK + r) * BLOCK + column % BLOCK;
                    dw[c * taps + tap] = (0..groups).map(|g| sums[g * each + at]).sum();
                }
            }
        }
    }
}
