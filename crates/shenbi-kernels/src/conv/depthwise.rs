//! Depthwise convolution: as many groups as channels, in and out. Every channel has a kernel of its own, so there is no
//! product of matrices; the arithmetic runs along the channels of a pixel, which are neighbours.
#![allow(unsafe_code)]

use super::Conv2d;
use crate::activation::{Activation, leaky};
use crate::element::{Element, Input, bf16};
use crate::isa::{Micro, Precision, Work, vectorize};
use crate::parallel::{ELEMENTS_PER_ITEM, SharedMut, for_items};
use crate::scratch::{self, Buffer, Slot};
use std::marker::PhantomData;
use std::ops::Range;

/// Work items of a weight gradient, at most. A constant, so that results do not depend on the number of threads.
const SPLITS: usize = 16;

/// One depthwise convolution, as forward pass or as data gradient: every output pixel is a sum over the input pixels under
/// its taps.
#[derive(Clone)]
pub(super) struct Depthwise {
    pub(super) micro: Micro,
    g: Conv2d,
    input: [usize; 2],
    output: [usize; 2],
    backward: bool,
}

impl Depthwise {
    /// If it is one.
    pub(super) fn new(g: &Conv2d, out: [usize; 2], micro: Micro, backward: bool) -> Option<Self> {
        let sizes = [[g.in_h, g.in_w], out];
        let (input, output) = if backward { (sizes[1], sizes[0]) } else { (sizes[0], sizes[1]) };
        let depthwise = g.groups > 1 && g.groups == g.in_channels && g.groups == g.out_channels;
        depthwise.then_some(Self { micro, g: *g, input, output, backward })
    }

    pub(super) fn with_batch(&self, batch: usize) -> Self {
        Self { g: Conv2d { batch, ..self.g }, ..self.clone() }
    }

    /// The input rows (or columns) that an output row (or column) sees.
    #[inline(always)]
    fn seen(&self, axis: usize, at: usize) -> Range<usize> {
        let (kernel, stride, padding) = (self.g.kernel[axis], self.g.stride[axis], self.g.padding[axis]);
        if self.backward {
            let past = at + padding + 1;
            past.saturating_sub(kernel).div_ceil(stride)..self.input[axis].min((past - 1) / stride + 1)
        } else {
            let begin = at * stride;
            begin.saturating_sub(padding)..self.input[axis].min((begin + kernel).saturating_sub(padding))
        }
    }

    /// The tap through which it sees one of them.
    #[inline(always)]
    fn tap(&self, axis: usize, at: usize, input: usize) -> usize {
        let (stride, padding) = (self.g.stride[axis], self.g.padding[axis]);
        if self.backward { at + padding - stride * input } else { input + padding - at * stride }
    }

    /// Elements of an input row and of an output row.
    #[inline(always)]
    fn pitches(&self) -> [usize; 2] {
        [self.input[1] * self.g.groups, self.output[1] * self.g.groups]
    }

    /// Output rows that are done in one go, and how often a picture has that many.
    fn strips(&self) -> (usize, usize) {
        let [from, to] = self.pitches();
        let rows = (ELEMENTS_PER_ITEM / from.max(to)).clamp(1, self.output[0]);
        (rows, self.output[0].div_ceil(rows))
    }

    /// Picture and output rows of a strip.
    fn strip(&self, i: usize) -> (usize, Range<usize>) {
        let (rows, strips) = self.strips();
        (i / strips, i % strips * rows..self.output[0].min((i % strips + 1) * rows))
    }

    /// The input rows that a strip sees.
    #[inline(always)]
    fn seen_by(&self, rows: &Range<usize>) -> Range<usize> {
        let seen = rows.clone().map(|y| self.seen(0, y)).filter(|seen| !seen.is_empty());
        seen.reduce(|all, one| all.start.min(one.start)..all.end.max(one.end)).unwrap_or(0..0)
    }

    /// The weights as `[tap][channel]`, rounded to the precision, f32.
    pub(super) fn pack(&self, w: &[f32]) -> Buffer {
        let taps = w.len() / self.g.groups;
        let mut packed = scratch::take(Slot::PackedA, w.len());
        for (c, w) in w.chunks_exact(taps).enumerate() {
            for (tap, &w) in w.iter().enumerate() {
                let w = if self.micro.precision == Precision::Bf16 { bf16::from_f32(w).to_f32() } else { w };
                packed[tap * self.g.groups + c] = w.to_bits();
            }
        }
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
        w: &[u32],
        bias: Option<&[f32]>,
        act: Activation,
        y: &mut [Y],
    ) {
        let (pitch, y) = (self.pitches()[1], SharedMut::new(y));
        for_items(self.g.batch * self.strips().1, |i| {
            let (image, rows) = self.strip(i);
            // SAFETY: each item has its own rows.
            let y = unsafe { y.slice((image * self.output[0] + rows.start) * pitch, rows.len() * pitch) };
            let operand = PhantomData::<T>;
            let strip = Strip { job: self, image, rows, x, w, bias, slope: act.slope(), y, operand };
            vectorize(self.micro.isa, strip);
        });
    }

    /// `dw` from `x` and `dy`; the job is the forward one.
    pub(super) fn weights<X: Element, Y: Element>(&self, x: Input<'_, X>, dy: Input<'_, Y>, dw: &mut [f32]) {
        match self.micro.precision {
            Precision::F32 => self.weights_as::<X, Y, f32>(x, dy, dw),
            Precision::Bf16 => self.weights_as::<X, Y, bf16>(x, dy, dw),
        }
    }

    fn weights_as<X: Element, Y: Element, T: Element>(&self, x: Input<'_, X>, dy: Input<'_, Y>, dw: &mut [f32]) {
        let strips = self.g.batch * self.strips().1;
        let splits = strips.min(SPLITS);
        let (size, channels) = (dw.len(), self.g.groups);
        let mut sums = scratch::take(Slot::Accumulators, splits * size);
        let shared = SharedMut::new(sums.as_f32_mut());
        for_items(splits, |i| {
            // SAFETY: each item has its own sums.
            let sums = unsafe { shared.slice(i * size, size) };
            let strips = i * strips / splits..(i + 1) * strips / splits;
            vectorize(self.micro.isa, Weights { job: self, strips, x, dy, sums, operand: PhantomData::<T> });
        });
        let taps = size / channels;
        let sums: &[f32] = sums.as_f32_mut();
        for (c, dw) in dw.chunks_exact_mut(taps).enumerate() {
            for (tap, dw) in dw.iter_mut().enumerate() {
                *dw = sums[tap * channels + c..].iter().step_by(size).sum();
            }
        }
    }
}

/// Some output rows of one picture.
struct Strip<'a, X, T, Y> {
    job: &'a Depthwise,
    image: usize,
    rows: Range<usize>,
    x: Input<'a, X>,
    w: &'a [u32],
    bias: Option<&'a [f32]>,
    slope: f32,
    y: &'a mut [Y],
    operand: PhantomData<T>,
}

impl<X: Element, T: Element, Y: Element> Work for Strip<'_, X, T, Y> {
    #[inline(always)]
    fn run(self) {
        let (job, channels) = (self.job, self.job.g.groups);
        let [pitch, out_pitch] = job.pitches();
        let seen = job.seen_by(&self.rows);
        let mut copy = scratch::take(Slot::Planes, seen.len() * pitch);
        let x = &mut copy.elements::<T>()[..seen.len() * pitch];
        self.x.read(job.micro, (self.image * job.input[0] + seen.start) * pitch, x);
        let mut sums = scratch::take(Slot::Row, channels);
        let sums = sums.as_f32_mut();
        for (row, y) in self.rows.zip(self.y.chunks_exact_mut(out_pitch)) {
            for (column, y) in y.chunks_exact_mut(channels).enumerate() {
                match self.bias {
                    Some(bias) => sums.copy_from_slice(bias),
                    None => sums.fill(0.0),
                }
                for from in job.seen(0, row) {
                    for across in job.seen(1, column) {
                        let tap = job.tap(0, row, from) * job.g.kernel[1] + job.tap(1, column, across);
                        let x = &x[(from - seen.start) * pitch + across * channels..][..channels];
                        let w = &self.w[tap * channels..][..channels];
                        for ((sum, x), w) in sums.iter_mut().zip(x).zip(w) {
                            *sum += x.to_f32() * f32::from_bits(*w);
                        }
                    }
                }
                for (y, sum) in y.iter_mut().zip(&*sums) {
                    *y = Y::from_f32(leaky(*sum, self.slope));
                }
            }
        }
    }
}

/// The sums of some strips, `[tap][channel]`.
struct Weights<'a, X, Y, T> {
    job: &'a Depthwise,
    strips: Range<usize>,
    x: Input<'a, X>,
    dy: Input<'a, Y>,
    sums: &'a mut [f32],
    operand: PhantomData<T>,
}

impl<X: Element, Y: Element, T: Element> Work for Weights<'_, X, Y, T> {
    #[inline(always)]
    fn run(self) {
        let (job, channels) = (self.job, self.job.g.groups);
        let [pitch, out_pitch] = job.pitches();
        self.sums.fill(0.0);
        for strip in self.strips {
            let (image, rows) = job.strip(strip);
            let seen = job.seen_by(&rows);
            let (inputs, outputs) = (seen.len() * pitch, rows.len() * out_pitch);
            let mut copies = [(Slot::Planes, inputs), (Slot::Phases, outputs)].map(|(slot, n)| scratch::take(slot, n));
            let [x, dy] = &mut copies;
            let (x, dy) = (&mut x.elements::<T>()[..inputs], &mut dy.elements::<T>()[..outputs]);
            self.x.read(job.micro, (image * job.input[0] + seen.start) * pitch, x);
            self.dy.read(job.micro, (image * job.output[0] + rows.start) * out_pitch, dy);
            for (row, dy) in rows.zip(dy.chunks_exact(out_pitch)) {
                for (column, dy) in dy.chunks_exact(channels).enumerate() {
                    for from in job.seen(0, row) {
                        for across in job.seen(1, column) {
                            let tap = job.tap(0, row, from) * job.g.kernel[1] + job.tap(1, column, across);
                            let x = &x[(from - seen.start) * pitch + across * channels..][..channels];
                            let sums = &mut self.sums[tap * channels..][..channels];
                            for ((sum, x), dy) in sums.iter_mut().zip(x).zip(dy) {
                                *sum += x.to_f32() * dy.to_f32();
                            }
                        }
                    }
                }
            }
        }
    }
}
