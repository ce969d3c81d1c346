//! The weight gradient: `dW[co, column] = sum over pixels of dy[co, pixel] · col[pixel, column]`, where a column is
//! (kernel row, kernel column, input channel).
//!
//! The input is transposed once to padded channels-last form. There all columns of one kernel row are neighbours, so
//! that a B panel (pixels x 32 columns) is made of a few copies per pixel. Work is divided over column blocks and a
//! number of pixel groups that depends on the shape alone; the groups are added up in order, which makes the result
//! independent of the number of threads.
#![allow(unsafe_code)]

use super::Conv2d;
use crate::isa::{BLOCK, Micro, Parts, Precision, Work, vectorize};
use crate::pack::{pack_a_block, rows_to_words, run_to_words, transpose};
use crate::parallel::{SharedMut, for_items};
use crate::scratch::{self, Slot};
use std::ops::Range;

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
    // A slab of images is transposed, then used by all items, while it is (about) in the L2 cache:
    // measured 1.2 to 1.6 times faster than slabs of 2 M words.
    const SLAB_WORDS: usize = 512 * 1024;
    let slab = (SLAB_WORDS / (padded[0] * padded[1] * ci_padded + co * pixels)).clamp(1, g.batch);
    let slice = (Parts::LONGEST * micro.per_word()).min((slab * pixels).next_multiple_of(BLOCK));
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
                let fresh = first == 0;
                vectorize(self.micro.isa, Sum { job: self, block, range, total, fresh, last, dy_packed, sums });
            });
        }
        let dw = SharedMut::new(dw);
        let sums = &sums[..];
        for_items(co_blocks, |block| self.finish(group, block, groups, sums_each, sums, dw));
    }

    /// Writes the images as `[image][row][column][channel]`, padded with zeros.
    fn channels_last(&self, group: usize, first: usize, images: usize, x: &[f32], out: &mut [u32]) {
        let size = self.ci * self.g.in_h * self.g.in_w;
        let out = SharedMut::new(out);
        for_items(images, |image| {
            // SAFETY: each item has its own image.
            let out = unsafe { out.slice(image * self.image_words(), self.image_words()) };
            let x = &x[((first + image) * self.g.groups + group) * size..][..size];
            vectorize(self.micro.isa, ChannelsLast { job: self, x, out });
        });
    }

    /// Packs `dy` as A blocks: `[slice][block of channels]`, k = the slice's pixels.
    fn pack_dy(&self, group: usize, first: usize, total: usize, dy: &[f32], out: &mut [u32]) {
        let k = self.micro.k_words(self.slice);
        let co_blocks = self.co.div_ceil(BLOCK);
        let out = SharedMut::new(out);
        for_items(total.div_ceil(self.slice) * co_blocks, |i| {
            let (slice, block) = (i / co_blocks, i % co_blocks);
            let range = slice * self.slice..total.min((slice + 1) * self.slice);
            let packed = out.part(slice * co_blocks * BLOCK * k, co_blocks * BLOCK * k);
            vectorize(self.micro.isa, PackDy { job: self, group, first, range, block, dy, packed });
        });
    }

    /// Where the windows of the output pixels from `first` on begin in the channels-last slab, in elements.
    #[inline(always)]
    fn pixel_bases(&self, first: usize, bases: &mut [u32]) {
        let [h, w] = self.out;
        let (mut image, mut y, mut x) = (first / self.pixels, first % self.pixels / w, first % w);
        let mut row = ((image * self.padded[0] + y * self.g.stride[0]) * self.padded[1]) * self.ci_padded;
        for base in bases {
            *base = (row + x * self.g.stride[1] * self.ci_padded) as u32;
            x += 1;
            if x == w {
                (x, y) = (0, y + 1);
                if y == h {
                    (y, image) = (0, image + 1);
                }
                row = ((image * self.padded[0] + y * self.g.stride[0]) * self.padded[1]) * self.ci_padded;
            }
        }
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

    /// Adds up the pixel groups in order and writes `dw[co, ci, kh, kw]` for one block of output channels.
    fn finish(&self, group: usize, block: usize, groups: usize, each: usize, sums: &[f32], dw: SharedMut<'_, f32>) {
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

/// Transposes one image.
struct ChannelsLast<'a> {
    job: &'a Geometry,
    x: &'a [f32],
    out: &'a mut [u32],
}

impl Work for ChannelsLast<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { job, x, out } = self;
        let (h, w, per_word) = (job.g.in_h, job.g.in_w, job.micro.per_word());
        let channel_words = job.ci_padded / per_word;
        // Input columns that the padded row holds: the rest of the input is never read at this stride.
        let begin = job.g.padding[1].min(job.padded[1]);
        let width = w.min(job.padded[1] - begin);
        let mut words = scratch::take(Slot::Row, channel_words * width.max(1));
        for (r, out) in out.chunks_exact_mut(job.padded[1] * channel_words).enumerate() {
            let Some(y) = r.checked_sub(job.g.padding[0]).filter(|&y| y < h && width > 0) else {
                out.fill(0);
                continue;
            };
            for (c, words) in words.chunks_exact_mut(width).enumerate() {
                let row = |c: usize| &x[(c * h + y) * w..][..width];
                let high = (per_word == 2 && 2 * c + 1 < job.ci).then(|| row(2 * c + 1));
                rows_to_words(job.micro, row(c * per_word), high, words);
            }
            let (left, rest) = out.split_at_mut(begin * channel_words);
            let (middle, right) = rest.split_at_mut(width * channel_words);
            left.fill(0);
            right.fill(0);
            transpose(job.micro, &words, width, middle, channel_words, channel_words, width);
        }
    }
}

/// Packs one slice of one block of `dy`.
struct PackDy<'a> {
    job: &'a Geometry,
    group: usize,
    /// First image of the slab.
    first: usize,
    /// Pixels, counted from there.
    range: Range<usize>,
    block: usize,
    dy: &'a [f32],
    /// The slice's blocks.
    packed: SharedMut<'a, u32>,
}

impl Work for PackDy<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { job, range, .. } = self;
        let rows = BLOCK.min(job.co - self.block * BLOCK);
        let parts = Parts::new(job.micro.k_words(job.slice));
        let mut row = scratch::take(Slot::Row, parts.words);
        let block = [self.block, job.co.div_ceil(BLOCK)];
        let mut values = scratch::take(Slot::Block, range.len());
        let values = values.as_f32_mut();
        let fill = |r: usize, words: &mut [u32]| {
            let mut done = 0;
            while done < values.len() {
                let (image, at) = ((range.start + done) / job.pixels, (range.start + done) % job.pixels);
                let len = (job.pixels - at).min(values.len() - done);
                let plane = ((self.first + image) * job.g.groups + self.group) * job.co + self.block * BLOCK + r;
                values[done..done + len].copy_from_slice(&self.dy[plane * job.pixels + at..][..len]);
                done += len;
            }
            run_to_words(job.micro, values, words);
        };
        // SAFETY: each item has its own slice and block.
        unsafe { pack_a_block(job.micro.layout(), parts, block, rows, &mut row, self.packed, fill) };
    }
}

/// Adds slices to one column block's sums, for all blocks of output channels.
struct Sum<'a> {
    job: &'a Geometry,
    block: usize,
    /// Slices.
    range: Range<usize>,
    /// Pixels of the slab.
    total: usize,
    /// Whether the sums begin here.
    fresh: bool,
    last: &'a [u32],
    dy_packed: &'a [u32],
    sums: &'a mut [f32],
}

impl Work for Sum<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { job, last, sums, .. } = self;
        if self.fresh {
            sums.fill(0.0);
        }
        let micro = job.micro;
        let co_blocks = job.co.div_ceil(BLOCK);
        let k = micro.k_words(job.slice);
        let mut panel = scratch::take(Slot::Panel, 32 * k + SLACK);
        let mut bases = scratch::take(Slot::Table, job.slice);
        let runs = job.column_runs(self.block);
        let session = micro.enter();
        for slice in self.range {
            let pixels = slice * job.slice..self.total.min((slice + 1) * job.slice);
            let bases = &mut bases[..pixels.len()];
            job.pixel_bases(pixels.start, bases);
            match micro.precision {
                Precision::F32 => fill_f32(last, bases, &runs, &mut panel),
                Precision::Bf16 => fill_bf16(last, bases, &runs, &mut panel),
            }
            panel[32 * bases.len().div_ceil(micro.per_word())..32 * k].fill(0);
            for (b, sums) in sums.chunks_exact_mut(BLOCK * BLOCK).enumerate() {
                let a = &self.dy_packed[(slice * co_blocks + b) * BLOCK * k..][..BLOCK * k];
                let rows = BLOCK.min(job.co - b * BLOCK);
                // SAFETY: sizes as demanded (slices above), buffers 64-byte aligned, session held.
                unsafe { micro.block(k, a.as_ptr(), panel.as_ptr(), sums.as_mut_ptr(), rows, true) };
            }
        }
        drop(session);
    }
}

/// A copy may overrun its columns: the next run or pixel overwrites that (see `planes::Copies`).
#[inline(always)]
fn fill_f32(last: &[u32], bases: &[u32], runs: &[(usize, usize, usize)], panel: &mut [u32]) {
    for (i, &base) in bases.iter().enumerate() {
        for &(offset, column, len) in runs {
            for step in (0..len).step_by(16) {
                let from: &[u32] = &last[base as usize + offset + step..][..16];
                panel[32 * i + column + step..][..16].copy_from_slice(from);
            }
        }
    }
}

/// As [`fill_f32`], from bf16 elements and two pixels at a time.
#[inline(always)]
fn fill_bf16(last: &[u32], bases: &[u32], runs: &[(usize, usize, usize)], panel: &mut [u32]) {
    // SAFETY: the words as pairs of u16; on little-endian machines the low half is the first.
    let (_, elements, _) = unsafe { last.align_to::<u16>() };
    let load = |at: usize| -> [u16; 16] {
        debug_assert!(at + 16 <= elements.len());
        // SAFETY: windows and runs lie inside of the slab by construction, and it has SLACK words after its end.
        unsafe { elements.as_ptr().add(at).cast::<[u16; 16]>().read_unaligned() }
    };
    let (pairs, last_pixel) = bases.as_chunks::<2>();
    for (i, &[first, second]) in pairs.iter().enumerate() {
        for &(offset, column, len) in runs {
            for step in (0..len).step_by(16) {
                let (low, high) = (load(first as usize + offset + step), load(second as usize + offset + step));
                let words: [u32; 16] = std::array::from_fn(|j| u32::from(low[j]) | u32::from(high[j]) << 16);
                panel[BLOCK * i + column + step..][..16].copy_from_slice(&words);
            }
        }
    }
    for &base in last_pixel {
        for &(offset, column, len) in runs {
            for step in (0..len).step_by(16) {
                let words = load(base as usize + offset + step).map(u32::from);
                panel[BLOCK * pairs.len() + column + step..][..16].copy_from_slice(&words);
            }
        }
    }
}
