//! The computation that serves as forward pass and as data gradient: every output pixel is a product of the input
//! under its kernel, one row of A, with the packed weights, B.
//!
//! In channels-last order the input under one kernel row is one run of neighbours. A work item copies the rows it needs
//! between zeros (undoing an activation and converting on the way), lines up the runs of 32 pixels as an A block, and
//! multiplies it with the weights, 32 channels at a time.
#![allow(unsafe_code)]

use super::Conv2d;
use crate::activation::Activation;
use crate::element::{Element, Input, bf16};
use crate::isa::{BLOCK, Micro, Precision, Work, vectorize};
use crate::pack::pair_panel;
use crate::parallel::{SharedMut, for_items};
use crate::scratch::{self, Buffer, Slot};
use std::ops::Range;

/// Bytes of packed A that a work item may fill: half an L2 cache.
const A_BYTES: usize = 768 << 10;

/// Words past the end of the padded copy that whole vectors and tiles may touch.
const SLACK: usize = 32;

/// One convolution in the sense above.
#[derive(Clone)]
pub(super) struct Direct {
    micro: Micro,
    batch: usize,
    groups: usize,
    /// Channels of a group.
    ci: usize,
    co: usize,
    input: [usize; 2],
    output: [usize; 2],
    /// Input pixels between neighbours of a phase.
    in_stride: [usize; 2],
    /// Output pixels between them.
    out_stride: [usize; 2],
    phases: Vec<Phase>,
    /// Distances of neighbouring output and input channels, and of groups, in the weights.
    weight_strides: [usize; 3],
    kernel: [usize; 2],
    /// Words of one group's packed weights.
    packed_words: usize,
    /// What the elements under a kernel row are rounded up to. Where tiles can read A in place this is a tile's row: what
    /// they read too much meets zero weights.
    step: usize,
}

/// Output pixels that see the same taps: all of a forward pass; for a data gradient one in stride x stride.
#[derive(Clone)]
struct Phase {
    /// Kernel rows and columns, in the order of the input rows and columns they meet.
    taps: [Vec<usize>; 2],
    /// Where pixel (0, 0)'s first tap is in the input.
    origin: [isize; 2],
    /// Where pixel (0, 0) is in the output.
    first: [usize; 2],
    /// Pixels.
    count: [usize; 2],
    /// Where its weights begin.
    panel: usize,
}

impl Phase {
    /// Elements under one kernel row.
    fn run(&self, job: &Direct) -> usize {
        (self.taps[1].len() * job.ci).next_multiple_of(job.step)
    }

    /// Values along the reduction.
    fn k(&self, job: &Direct) -> usize {
        self.taps[0].len() * self.run(job)
    }
}

impl Direct {
    /// `y = conv(x, w)`.
    pub(super) fn forward(g: &Conv2d, out: [usize; 2], micro: Micro) -> Self {
        let (ci, co, kk) = (g.in_channels / g.groups, g.out_channels / g.groups, g.kernel[0] * g.kernel[1]);
        let phase = Phase {
            taps: g.kernel.map(|k| (0..k).collect()),
            origin: g.padding.map(|p| -(p as isize)),
            first: [0; 2],
            count: out,
            panel: 0,
        };
        Self {
            micro,
            batch: g.batch,
            groups: g.groups,
            ci,
            co,
            input: [g.in_h, g.in_w],
            output: out,
            in_stride: g.stride,
            out_stride: [1; 2],
            phases: vec![phase],
            weight_strides: [ci * kk, kk, co * ci * kk],
            kernel: g.kernel,
            packed_words: 0,
            step: 1,
        }
        .with_panels()
    }

    /// `dx` from `dy`: its pixel t - padding sees kernel row k where t - k is a multiple of the stride. For t = stride q
    /// + f these are k = f + stride j, which meet the rows q - j of `dy`.
    pub(super) fn backward(g: &Conv2d, out: [usize; 2], micro: Micro) -> Self {
        let (ci, co, kk) = (g.in_channels / g.groups, g.out_channels / g.groups, g.kernel[0] * g.kernel[1]);
        let size = [g.in_h, g.in_w];
        let axis = |a: usize, f: usize| {
            let (s, p) = (g.stride[a], g.padding[a]);
            let taps: Vec<usize> = (f..g.kernel[a]).step_by(s).rev().collect();
            let begin = p.saturating_sub(f).div_ceil(s); // the first q inside of the picture
            let first = begin * s + f - p;
            let origin = begin as isize - taps.len() as isize + 1;
            (taps, origin, first, size[a].saturating_sub(first).div_ceil(s))
        };
        let phases = (0..g.stride[0]).flat_map(|fy| (0..g.stride[1]).map(move |fx| (fy, fx)));
        let phases = phases
            .map(|(fy, fx)| {
                let (y, x) = (axis(0, fy), axis(1, fx));
                Phase { taps: [y.0, x.0], origin: [y.1, x.1], first: [y.2, x.2], count: [y.3, x.3], panel: 0 }
            })
            .filter(|p| p.count[0] > 0 && p.count[1] > 0)
            .collect();
        Self {
            micro,
            batch: g.batch,
            groups: g.groups,
            ci: co,
            co: ci,
            input: out,
            output: size,
            in_stride: [1; 2],
            out_stride: g.stride,
            phases,
            weight_strides: [kk, ci * kk, co * ci * kk],
            kernel: g.kernel,
            packed_words: 0,
            step: 1,
        }
        .with_panels()
    }

    /// What it computes with.
    pub(super) fn micro(&self) -> Micro {
        self.micro
    }

    /// The same for another number of pictures.
    pub(super) fn with_batch(&self, batch: usize) -> Self {
        Self { batch, ..self.clone() }
    }

    fn with_panels(mut self) -> Self {
        if self.micro.reads_in_place() && self.phases.iter().all(|p| p.count[1].is_multiple_of(16)) {
            self.step = 16 * self.micro.per_word();
        }
        let mut words = 0;
        let panels = self.phases.iter().map(|phase| {
            let panel = words;
            words += self.co.div_ceil(BLOCK) * BLOCK * self.micro.k_words(phase.k(&self));
            panel
        });
        let panels: Vec<usize> = panels.collect();
        self.phases.iter_mut().zip(panels).for_each(|(phase, panel)| phase.panel = panel);
        self.packed_words = words;
        self
    }

    /// Packs the weights: words in the order that [`Self::run`] wants.
    pub(super) fn pack(&self, w: &[f32]) -> Buffer {
        let blocks = self.co.div_ceil(BLOCK);
        let mut packed = scratch::take(Slot::PackedA, self.groups * self.packed_words);
        let shared = SharedMut::new(&mut packed);
        for_items(self.groups * blocks, |i| {
            let (group, block) = (i / blocks, i % blocks);
            vectorize(self.micro.isa, PackWeights { job: self, w, group, block, packed: shared });
        });
        packed
    }

    /// Runs it with packed weights; `y` is channels-last.
    pub(super) fn run<X: Element, Y: Element>(
        &self,
        x: Input<'_, X>,
        w: &[u32],
        bias: Option<&[f32]>,
        act: Activation,
        y: &mut [Y],
    ) {
        match self.micro.precision {
            Precision::F32 => self.run_as::<X, f32, Y>(x, w, bias, act, y),
            Precision::Bf16 => self.run_as::<X, bf16, Y>(x, w, bias, act, y),
        }
    }

    fn run_as<X: Element, T: Element, Y: Element>(
        &self,
        x: Input<'_, X>,
        packed: &[u32],
        bias: Option<&[f32]>,
        act: Activation,
        y: &mut [Y],
    ) {
        let blocks = self.co.div_ceil(BLOCK);
        let pixels = |p: &Phase| p.count[0] * p.count[1];
        let most = self.phases.iter().map(pixels).max().unwrap_or(0).max(1);
        let row = self.phases.iter().map(|p| p.count[1]).max().unwrap_or(0).max(1);
        let rows = self.phases.iter().map(|p| p.count[0]).max().unwrap_or(0).max(1);
        let k = self.phases.iter().map(|p| self.micro.k_words(p.k(self))).max().unwrap_or(0).max(1);
        let target = (A_BYTES / (4 * k) / BLOCK * BLOCK).clamp(2 * BLOCK, 8 * BLOCK);
        // Tiles read in place where 16 pixels lie at equal distances: those of a row, or else one of each of 16 pictures.
        let images_inner = self.micro.reads_in_place() && !row.is_multiple_of(16) && self.batch >= 16;
        let (images, strip) = if images_inner {
            (16, (12 * BLOCK / (16 * row)).clamp(1, rows))
        } else {
            let images = (target / most).clamp(1, self.batch);
            (images, if images > 1 { rows } else { (target / row).clamp(1, rows) })
        };
        let (chunks, strips) = (self.batch.div_ceil(images), rows.div_ceil(strip));
        let items = self.groups * chunks * strips;
        // Few pixels (one small picture): threads share the output channels as well.
        let splits = rayon::current_num_threads().div_ceil(items).min(blocks);
        let y = SharedMut::new(y);
        for_items(items * splits, |i| {
            let (split, i) = (i % splits, i / splits);
            let (strip_at, i) = (i % strips * strip, i / strips);
            let (chunk, group) = (i % chunks, i / chunks);
            let item = Item::<X, T, Y> {
                job: self,
                group,
                images: chunk * images..self.batch.min((chunk + 1) * images),
                rows: strip_at..rows.min(strip_at + strip),
                blocks: split * blocks / splits..(split + 1) * blocks / splits,
                packed,
                x,
                bias,
                slope: act.slope(),
                y,
                operand: std::marker::PhantomData,
            };
            vectorize(self.micro.isa, item);
        });
    }
}

/// Packs 32 output channels' weights, for all phases.
struct PackWeights<'a> {
    job: &'a Direct,
    w: &'a [f32],
    group: usize,
    block: usize,
    packed: SharedMut<'a, u32>,
}

impl Work for PackWeights<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { job, w, group, block, packed } = self;
        let [kh, kw] = job.kernel;
        let [between_outputs, between_inputs, between_groups] = job.weight_strides;
        let outputs = BLOCK.min(job.co - block * BLOCK);
        // First [tap][input channel][32 outputs], in f32.
        let zeros = kh * kw * job.ci * BLOCK; // one more row
        let mut stage = scratch::take(Slot::Phases, zeros + BLOCK);
        stage[if outputs < BLOCK { 0 } else { zeros }..].fill(0);
        // SAFETY: f32 seen as words.
        let (_, words, _) = unsafe { w.align_to::<u32>() };
        let words = &words[group * between_groups + block * BLOCK * between_outputs..];
        let taps = kh * kw;
        if between_outputs == 1 {
            // Outputs are neighbours already.
            for (c, stage) in stage.chunks_exact_mut(BLOCK).take(job.ci).enumerate() {
                stage[..outputs].copy_from_slice(&words[c * between_inputs..][..outputs]);
            }
        } else if between_inputs == taps {
            // An output's weights are one run: 16 of them at a time, which go to 16 rows.
            let mut lines = [0u32; 16 * BLOCK];
            for first in (0..job.ci * taps).step_by(16) {
                let count = 16.min(job.ci * taps - first);
                crate::pack::transpose(job.micro, &words[first..], between_outputs, &mut lines, BLOCK, outputs, count);
                for (i, line) in lines.chunks_exact(BLOCK).take(count).enumerate() {
                    let (c, tap) = ((first + i) / taps, (first + i) % taps);
                    stage[(tap * job.ci + c) * BLOCK..][..BLOCK].copy_from_slice(line);
                }
            }
        } else {
            for c in 0..job.ci {
                let (from, out) = (&words[c * between_inputs..], &mut stage[c * BLOCK..]);
                crate::pack::transpose(job.micro, from, between_outputs, out, job.ci * BLOCK, outputs, taps);
            }
        }
        for phase in &job.phases {
            let words = job.micro.k_words(phase.k(job));
            let at = group * job.packed_words + phase.panel;
            let missing = phase.run(job) - phase.taps[1].len() * job.ci;
            let rows = phase.taps[0].iter().flat_map(|ky| {
                let taps = phase.taps[1].iter().map(move |kx| ky * kw + kx);
                let rows = taps.flat_map(|tap| (tap * job.ci..(tap + 1) * job.ci).map(|row| row * BLOCK));
                rows.chain(std::iter::repeat_n(zeros, missing))
            });
            // SAFETY: each item has its own block of channels.
            let out = unsafe { packed.slice(at + BLOCK * block * words, BLOCK * words) };
            pair_panel(job.micro, &stage, rows, out);
        }
    }
}

/// A strip of rows of some pictures, for some blocks of output channels.
struct Item<'a, X, T, Y> {
    job: &'a Direct,
    group: usize,
    images: Range<usize>,
    rows: Range<usize>,
    blocks: Range<usize>,
    packed: &'a [u32],
    x: Input<'a, X>,
    bias: Option<&'a [f32]>,
    slope: f32,
    y: SharedMut<'a, Y>,
    operand: std::marker::PhantomData<T>,
}

impl<X: Element, T: Element, Y: Element> Work for Item<'_, X, T, Y> {
    #[inline(always)]
    fn run(self) {
        let job = self.job;
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
        let at = first.max(0) as usize * job.groups * job.ci + self.group * job.ci;
        let out = &mut out[begin * job.ci..end * job.ci];
        if job.groups == 1 {
            self.x.read(job.micro, at, out);
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
                for c in 0..phase.count[1] {
                    for n in 0..inner {
                        from[at] = (from_row + c * job.in_stride[1] * job.ci + n * height * pitch) as u32;
                        to[at] = (to_row + c * job.out_stride[1] + n * job.output[0] * job.output[1]) as u32;
                        at += 1;
                    }
                }
            }
        }
        let words = job.micro.k_words(phase.k(job));
        let source = Source { taps: [phase.taps[0].len(), phase.run(job)], padded, pitch };
        let stride = from.get(1).map_or(0, |second| second.wrapping_sub(from[0]));
        let even =
            |tile: &[u32]| tile.len() == 16 && tile.windows(2).all(|pair| pair[1].wrapping_sub(pair[0]) == stride);
        let in_place = job.micro.reads_in_place() && source.aligned() && from.chunks(16).all(even);
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
                    let half = |i: usize| padded[from[i] as usize..].as_ptr().cast();
                    let a = [half(0), half(if from.len() > 16 { 16 } else { 0 })];
                    let stride = stride as usize * size_of::<T>();
                    // SAFETY: rows of 16 neighbours at that stride; `check` has seen their taps inside of the copy;
                    // B as packed, C of 1024 floats, session held.
                    unsafe { job.micro.block_at(a, stride, &offsets, w.as_ptr(), sums.as_mut_ptr(), columns) };
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
                    unsafe { copy_line(self.padded.as_ptr().add(from as usize + offset), out) };
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
                    unsafe { copy_line(line.as_ptr(), out) };
                }
            }
        }
    }
}

/// Copies 64 bytes.
///
/// # Safety
/// `from` has 64 readable bytes.
#[inline(always)]
unsafe fn copy_line<T>(from: *const T, out: &mut [u32; 16]) {
    // SAFETY: the caller's promise.
    unsafe { out.as_mut_ptr().cast::<[u8; 64]>().write_unaligned(from.cast::<[u8; 64]>().read_unaligned()) }
}
