//! One work item of a [`Direct`]: the padded copy, A in place or packed, the products, and the way to memory.
#![allow(unsafe_code)]

use super::{Direct, Phase, SLACK};
use crate::element::{Element, Input};
use crate::isa::{BLOCK, Work};
use crate::parallel::SharedMut;
use crate::scratch::{self, Slot};
use std::ops::Range;

/// A strip of rows of some pictures, for some blocks of output channels.
pub(super) struct Item<'a, X, T, Y> {
    pub(super) job: &'a Direct,
    pub(super) group: usize,
    pub(super) images: Range<usize>,
    pub(super) rows: Range<usize>,
    pub(super) blocks: Range<usize>,
    pub(super) packed: &'a [u32],
    pub(super) x: Input<'a, X>,
    pub(super) bias: Option<&'a [f32]>,
    pub(super) slope: f32,
    pub(super) y: SharedMut<'a, Y>,
    pub(super) operand: std::marker::PhantomData<T>,
}

impl<X: Element, T: Element, Y: Element> Work for Item<'_, X, T, Y> {
    #[inline(always)]
    fn run(self) {
        let job = self.job;
        if let Some(input) = self.input() {
            return self.phase(&job.phases[0], input, [0; 2], [job.input[0], job.input[1] * job.ci]);
        }
        // The padded copy holds what any phase needs.
        let reach = |a: usize, end: &dyn Fn(&Phase) -> usize| {
            let last = |p: &Phase| (end(p).max(1) - 1) as isize * job.in_stride[a] as isize + p.origin[a];
            let low = |p: &Phase| p.origin[a] + if a == 0 { (self.rows.start * job.in_stride[0]) as isize } else { 0 };
            let first = job.phases.iter().map(low).min().unwrap_or(0);
            let past = job.phases.iter().map(|p| last(p) + p.taps[a].len() as isize).max().unwrap_or(0);
            (first, (past - first).max(0) as usize)
        };
        let (top, height) = reach(0, &|p| p.count[0].min(self.rows.end));
        let (left, width) = reach(1, &|p| p.count[1]);
        let pitch = width * job.ci;
        let mut padded =
            scratch::take(Slot::Planes, (self.images.len() * height * pitch).div_ceil(T::PRECISION.per_word()) + SLACK);
        let padded = padded.elements::<T>();
        padded[self.images.len() * height * pitch..].fill(T::default());
        for (n, image) in self.images.clone().enumerate() {
            for r in 0..height {
                self.fill_row(image, top + r as isize, left, &mut padded[(n * height + r) * pitch..][..pitch]);
            }
        }
        for phase in &job.phases {
            self.phase(phase, padded, [top, left], [height, pitch]);
        }
    }
}

impl<X: Element, T: Element, Y: Element> Item<'_, X, T, Y> {
    /// The pictures as they are, where nothing has to be done to them: for kernels of one pixel, in whole steps of 64 bytes.
    #[inline(always)]
    fn input(&self) -> Option<&[T]> {
        let job = self.job;
        let [phase] = &job.phases[..] else { return None };
        let pixels = phase.taps.iter().all(|taps| taps.len() == 1) && phase.origin == [0; 2] && job.in_stride == [1; 2];
        let whole = job.ci.is_multiple_of(16 * T::PRECISION.per_word()) && job.groups * job.parts == 1;
        if !pixels || !whole || X::PRECISION != T::PRECISION || self.x.gate.is_some() {
            return None;
        }
        let picture = job.input[0] * job.input[1] * job.ci;
        let x = &self.x.values[self.images.start * picture..self.images.end * picture];
        // SAFETY: X and T are the same type (each precision has one).
        Some(unsafe { std::slice::from_raw_parts(x.as_ptr().cast::<T>(), x.len()) })
    }

    /// One row of the padded copy: input row `y` from column `left` on, zero outside.
    #[inline(always)]
    fn fill_row(&self, image: usize, y: isize, left: isize, out: &mut [T]) {
        let job = self.job;
        let [h, w] = job.input;
        let Some(y) = usize::try_from(y).ok().filter(|&y| y < h) else { return out.fill(T::default()) };
        let columns = (out.len() / job.ci) as isize;
        let begin = (-left).clamp(0, columns) as usize;
        let end = (w as isize - left).clamp(begin as isize, columns) as usize;
        out[..begin * job.ci].fill(T::default());
        out[end * job.ci..].fill(T::default());
        let first = ((image * h + y) * w) as isize + begin as isize + left;
        let channels = job.ci / job.parts;
        let at = first.max(0) as usize * job.groups * channels + self.group * channels;
        let out = &mut out[begin * job.ci..end * job.ci];
        if job.parts > 1 {
            for (i, out) in out.chunks_exact_mut(job.ci).enumerate() {
                self.x.split(at + i * job.groups * channels, out);
            }
        } else if job.groups == 1 {
            self.x.read(job.micro, at, out);
        } else if X::PRECISION == T::PRECISION && self.x.gate.is_none() && size_of_val(out) == 64 * (out.len() / job.ci)
        {
            // Groups of 64 bytes, for which a call of `memcpy` would cost more than the copy.
            for (i, out) in out.chunks_exact_mut(job.ci).enumerate() {
                let values = &self.x.values[at + i * job.groups * job.ci..][..job.ci];
                // SAFETY: both have 64 bytes, of the same type (each precision has one).
                unsafe { copy_line(values.as_ptr(), &mut *out.as_mut_ptr().cast::<[u8; 64]>()) };
            }
        } else {
            for (i, out) in out.chunks_exact_mut(job.ci).enumerate() {
                self.x.read(job.micro, at + i * job.groups * job.ci, out);
            }
        }
    }

    #[inline(always)]
    fn phase(&self, phase: &Phase, padded: &[T], [top, left]: [isize; 2], [height, pitch]: [usize; 2]) {
        let job = self.job;
        let rows = self.rows.start..self.rows.end.min(phase.count[0]);
        let pixels = self.images.len() * rows.len() * phase.count[1];
        if pixels == 0 {
            return;
        }
        // Where each pixel's first tap is in the padded copy, and where the pixel is in the output.
        let mut tables = scratch::take(Slot::Table, 2 * pixels);
        let (from, to) = tables.split_at_mut(pixels);
        let images = self.images.len();
        // Pictures come innermost where 16 of them make a tile.
        let inner = if phase.count[1].is_multiple_of(16) || !images.is_multiple_of(16) { 1 } else { images };
        let mut at = 0;
        for n in (0..images).step_by(inner) {
            for r in rows.clone() {
                let y = (r * job.in_stride[0]) as isize + phase.origin[0] - top;
                let x = (phase.origin[1] - left) as usize * job.ci;
                let from_row = (n * height + y as usize) * pitch + x;
                let to_row = n * job.output[0] + phase.first[0] + r * job.out_stride[0];
                let to_row = to_row * job.output[1] + phase.first[1];
                let (from_step, to_step) = (job.in_stride[1] * job.ci, job.out_stride[1]);
                let (from_image, to_image) = (height * pitch, job.output[0] * job.output[1]);
                let row = at..at + phase.count[1] * inner;
                if inner == 1 {
                    line(&mut from[row.clone()], from_row, from_step);
                    line(&mut to[row.clone()], to_row, to_step);
                } else {
                    let places = from[row.clone()].chunks_exact_mut(inner).zip(to[row.clone()].chunks_exact_mut(inner));
                    for (c, (from, to)) in places.enumerate() {
                        line(from, from_row + c * from_step, from_image);
                        line(to, to_row + c * to_step, to_image);
                    }
                }
                at = row.end;
            }
        }
        let words = job.micro.k_words(phase.k(job));
        let source = Source { taps: [phase.taps[0].len(), phase.run(job)], padded, pitch };
        let stride = from.get(1).map_or(0, |second| second.wrapping_sub(from[0]));
        let even =
            |tile: &[u32]| tile.len() == 16 && tile.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == stride);
        let in_place = source.aligned() && (!job.micro.tiles() || from.chunks(16).all(even));
        let mut offsets = scratch::take(Slot::Offsets, if in_place { words / 16 } else { 0 });
        let mut a = scratch::take(Slot::Panel, if in_place { 0 } else { pixels.div_ceil(BLOCK) * BLOCK * words });
        source.check(from);
        if in_place {
            offsets.iter_mut().enumerate().for_each(|(i, o)| *o = (source.offset(i) * size_of::<T>()) as u32);
        } else {
            for (from, a) in from.chunks(BLOCK).zip(a.chunks_exact_mut((BLOCK * words).max(1))) {
                source.pack(from, a);
            }
        }
        let image = self.images.start * job.output[0] * job.output[1];
        let mut sums = scratch::take(Slot::Block, BLOCK * BLOCK);
        let sums = sums.as_f32_mut();
        let session = job.micro.enter();
        for block in self.blocks.clone() {
            let columns = BLOCK.min(job.co - block * BLOCK);
            let w =
                &self.packed[self.group * job.packed_words + phase.panel + BLOCK * block * words..][..BLOCK * words];
            for (b, (from, to)) in from.chunks(BLOCK).zip(to.chunks(BLOCK)).enumerate() {
                let column = self.group * job.co + block * BLOCK;
                for &to in to {
                    self.y.prefetch((image + to as usize) * job.groups * job.co + column);
                }
                if in_place {
                    let (a, c) = (padded.as_ptr(), sums.as_mut_ptr());
                    // SAFETY: `check` has seen the taps of these pixels inside of the copy; 16 neighbours are at equal
                    // distances where tiles want it (`even`); B as packed, C of 1024 floats, session held.
                    unsafe { job.micro.block_at(a, from, &offsets, w.as_ptr(), c, columns) };
                } else {
                    let a = &a[b * BLOCK * words..][..BLOCK * words];
                    // SAFETY: sizes as demanded (slices above), buffers 64-byte aligned, session held.
                    unsafe {
                        job.micro.block(words, a.as_ptr(), w.as_ptr(), sums.as_mut_ptr(), [from.len(), columns], false)
                    };
                }
                self.write(block, to, sums);
            }
        }
        drop(session);
    }

    /// Bias, activation, and the way to memory.
    #[inline(always)]
    fn write(&self, block: usize, to: &[u32], sums: &[f32]) {
        let job = self.job;
        let columns = BLOCK.min(job.co - block * BLOCK);
        let channels = job.groups * job.co;
        let channel = self.group * job.co + block * BLOCK;
        let mut bias = [0.0f32; BLOCK];
        if let Some(all) = self.bias {
            bias[..columns].copy_from_slice(&all[channel..][..columns]);
        }
        let image = self.images.start * job.output[0] * job.output[1];
        for (sums, &to) in sums.as_chunks::<BLOCK>().0.iter().zip(to) {
            // SAFETY: each item has its own pixels and channels.
            let y = unsafe { self.y.slice((image + to as usize) * channels + channel, columns) };
            crate::element::finish(job.micro, sums, &bias, self.slope, y);
        }
    }
}

/// Where A comes from: the rows under one pixel's kernel.
struct Source<'a, T> {
    /// Kernel rows, and elements under each.
    taps: [usize; 2],
    padded: &'a [T],
    /// Elements between rows.
    pitch: usize,
}

impl<T: Element> Source<'_, T> {
    /// Elements of 64 bytes.
    const STEP: usize = 16 * T::PRECISION.per_word();

    /// Whether steps of 64 bytes do not cross kernel rows.
    #[inline(always)]
    fn aligned(&self) -> bool {
        self.taps[1].is_multiple_of(Self::STEP)
    }

    /// Where step `i` begins, if they are aligned.
    #[inline(always)]
    fn offset(&self, i: usize) -> usize {
        let at = i * Self::STEP;
        at / self.taps[1] * self.pitch + at % self.taps[1]
    }

    /// Whether all taps of these pixels are inside of the padded copy.
    #[inline(always)]
    fn check(&self, from: &[u32]) {
        let [rows, run] = self.taps;
        let reach = rows.saturating_sub(1) * self.pitch + run;
        assert!(
            rows * run == 0 || from.iter().all(|&at| at as usize + reach <= self.padded.len()),
            "taps outside of the padded copy"
        );
    }

    /// Lines up the taps of up to 32 pixels (which [`Self::check`] has seen) as an A block.
    #[inline(always)]
    fn pack(&self, from: &[u32], a: &mut [u32]) {
        if self.aligned() {
            for (i, out) in a.chunks_exact_mut(512).enumerate() {
                let offset = self.offset(i);
                for (out, &from) in out.as_chunks_mut::<16>().0.iter_mut().zip(from) {
                    // SAFETY: 64 bytes of the taps that `check` has seen inside of the copy.
                    unsafe { copy_line(self.padded.as_ptr().add(from as usize + offset), bytes(out)) };
                }
            }
            return;
        }
        let [rows, run] = self.taps;
        let vectors = run.div_ceil(Self::STEP);
        let mut row = scratch::take(Slot::Row, a.len() / BLOCK + 32);
        let row = row.elements::<T>();
        row[rows * run..].fill(T::default());
        for (r, &from) in from.iter().enumerate() {
            // Whole vectors: what is too much is overwritten by the next run, or cleared after the last.
            for j in 0..rows {
                let from = &self.padded[from as usize + j * self.pitch..][..vectors * Self::STEP];
                let to = &mut row[j * run..][..vectors * Self::STEP];
                for (to, from) in to.chunks_exact_mut(Self::STEP).zip(from.chunks_exact(Self::STEP)) {
                    to.copy_from_slice(from);
                }
            }
            row[rows * run..][..Self::STEP].fill(T::default());
            for (out, line) in a.chunks_exact_mut(512).zip(row.chunks_exact(Self::STEP)) {
                if let Some(out) = out.as_chunks_mut::<16>().0.get_mut(r) {
                    // SAFETY: a line of the row is 64 bytes.
                    unsafe { copy_line(line.as_ptr(), bytes(out)) };
                }
            }
        }
    }
}

/// `first`, and so on in these steps.
#[inline(always)]
fn line(places: &mut [u32], first: usize, step: usize) {
    places.iter_mut().zip(0u32..).for_each(|(place, i)| *place = first as u32 + i * step as u32);
}

/// Words as bytes.
#[inline(always)]
fn bytes(words: &mut [u32; 16]) -> &mut [u8; 64] {
    // SAFETY: the same memory; bytes need no alignment, and any are valid words.
    unsafe { &mut *words.as_mut_ptr().cast() }
}

/// Copies 64 bytes.
///
/// # Safety
/// `from` has 64 readable bytes.
#[inline(always)]
unsafe fn copy_line<T>(from: *const T, out: &mut [u8; 64]) {
    // SAFETY: the caller's promise.
    *out = unsafe { from.cast::<[u8; 64]>().read_unaligned() };
}
