//! The computation that serves as forward pass and as data gradient: every output pixel is a product of the input
//! under its kernel, one row of A, with the packed weights, B.
//!
//! In channels-last order the input under one kernel row is one run of neighbours. A work item copies the rows it needs
//! between zeros (undoing an activation and converting on the way), lines up the runs of 32 pixels as an A block, and
//! multiplies it with the weights, 32 channels at a time.
#![allow(unsafe_code)]

mod item;

use super::Conv2d;
use crate::activation::Activation;
use crate::element::{Element, Input, bf16};
use crate::isa::{BLOCK, Micro, Precision, Work, vectorize};
use crate::pack::pair_panel;
use crate::parallel::{SharedMut, for_items};
use crate::scratch::{self, Buffer, Slot};
use item::Item;

/// Bytes of packed A that a work item may fill: half an L2 cache.
const A_BYTES: usize = 768 << 10;

/// Words past the end of the padded copy that whole vectors and tiles may touch.
const SLACK: usize = 32;

/// What x w is made of, where both are sums of two bf16: upper times upper, lower times upper, upper times lower.
pub(super) const PARTS: usize = 3;

/// One convolution in the sense above.
#[derive(Clone)]
pub(super) struct Direct {
    micro: Micro,
    batch: usize,
    groups: usize,
    /// Channels of a group, those of all parts together.
    ci: usize,
    /// Parts that a value of the input becomes: 1, or 3 where products of halves stand for one of f32.
    parts: usize,
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
            parts: 1,
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
            parts: 1,
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

    /// The same where each channel of the input is three: its upper half, its lower half, and its upper half again.
    pub(super) fn in_parts(self) -> Self {
        Self { parts: PARTS, ..self }
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
        if self.micro.tiles() && self.phases.iter().all(|p| p.count[1].is_multiple_of(16)) {
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
        let images_inner = self.micro.tiles() && !row.is_multiple_of(16) && self.batch >= 16;
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
