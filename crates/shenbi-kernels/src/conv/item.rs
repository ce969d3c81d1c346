//! One work item of a [`Gather`]: a chunk of pictures or rows, for some blocks of output channels.
#![allow(unsafe_code)]

use super::gather::{Chunk, Gather};
use super::planes::{Copies, Planes, SLACK};
use crate::activation::leaky;
use crate::isa::{BLOCK, Parts, Work};
use crate::parallel::SharedMut;
use crate::scratch::{self, Slot};
use std::ops::Range;

/// What an item reads and where it writes.
pub(super) struct Item<'a> {
    pub(super) job: &'a Gather,
    pub(super) chunk: Chunk,
    pub(super) group: usize,
    /// Blocks of 32 output channels.
    pub(super) blocks: Range<usize>,
    /// The group's packed weights.
    pub(super) packed: &'a [u32],
    pub(super) x: &'a [f32],
    pub(super) bias: Option<&'a [f32]>,
    /// Of the activation after the bias; 1 for none.
    pub(super) slope: f32,
    pub(super) y: SharedMut<'a, f32>,
}

impl Work for Item<'_> {
    /// Fills the planes, then panel by panel all blocks of output channels.
    #[inline(always)]
    fn run(self) {
        let Self { job, chunk, .. } = self;
        let micro = job.micro;
        let planes = Planes {
            images: chunk.images,
            first_row: chunk.first_row,
            rows: chunk.rows + job.reach[0],
            columns: job.lattice[1] + job.reach[1],
            stride: job.in_stride,
            origin: job.origin,
        };
        let channel_words = job.channel_words();
        let words = planes.channel() * channel_words;
        let mut buffer = scratch::take(Slot::Planes, words + SLACK);
        let mut row = scratch::take(Slot::Row, planes.columns * job.in_stride[1]);
        let image_size = job.in_channels * job.in_size[0] * job.in_size[1];
        for image in 0..chunk.images {
            let at = ((chunk.first_image + image) * job.groups + self.group) * image_size;
            let x = &self.x[at..][..image_size];
            planes.fill_image(micro, image, x, job.in_size, &mut row, &mut buffer[..words]);
        }

        let columns = job.lattice[1];
        let per_image = chunk.rows * columns;
        let pixels = chunk.images * per_image;
        let mut panel = scratch::take(Slot::Panel, BLOCK * Parts::LONGEST + SLACK);
        let mut table = scratch::take(Slot::Table, job.longest_phase());
        let mut sums = scratch::take(Slot::Block, self.blocks.len() * BLOCK * BLOCK);
        let sums = sums.as_f32_mut();
        let phased = job.phases.len() > 1;
        let channels = (self.blocks.end * BLOCK).min(job.out_channels) - self.blocks.start * BLOCK;
        let mut phases = scratch::take(Slot::Phases, if phased { job.phases.len() * channels * pixels } else { 0 });
        let phases = phases.as_f32_mut();
        let all_blocks = job.out_channels.div_ceil(BLOCK);
        let mut packed_at = 0;
        let session = micro.enter();
        for (p, taps) in job.phases.iter().enumerate() {
            let k = job.phase_words(p);
            let used = taps.len() * channel_words;
            for (tap, rows) in taps.iter().zip(table[..used].chunks_exact_mut(channel_words)) {
                let offset = planes.offset(tap.phase, tap.row, tap.column);
                rows.iter_mut().enumerate().for_each(|(c, row)| *row = (offset + c * planes.channel()) as u32);
            }
            for first in (0..pixels).step_by(BLOCK) {
                let count = BLOCK.min(pixels - first);
                let runs = Runs { at: first, end: first + count, columns };
                let copies = Copies::new(runs.map(|(pixel, len)| {
                    let (image, row) = (pixel / per_image, pixel % per_image / columns);
                    (image * planes.plane() + row * planes.columns + pixel % columns, len)
                }));
                for (at, len) in Parts::new(k).iter() {
                    let rows = &table[at.min(used)..(at + len).min(used)];
                    // SAFETY: rows, runs and taps stay inside the planes by construction, copies within SLACK.
                    unsafe { copies.gather(&buffer, rows, &mut panel) };
                    panel[BLOCK * rows.len()..BLOCK * len].fill(0);
                    for (block, c) in self.blocks.clone().zip(sums.chunks_exact_mut(BLOCK * BLOCK)) {
                        let rows = BLOCK.min(job.out_channels - block * BLOCK);
                        let a = &self.packed[packed_at + BLOCK * (at * all_blocks + block * len)..][..BLOCK * len];
                        // SAFETY: sizes as demanded (slices above), buffers aligned, session held.
                        unsafe { micro.block(len, a.as_ptr(), panel.as_ptr(), c.as_mut_ptr(), rows, at > 0) };
                    }
                }
                if k == 0 {
                    sums.fill(0.0);
                }
                for (block, c) in self.blocks.clone().zip(sums.chunks_exact(BLOCK * BLOCK)) {
                    let rows = BLOCK.min(job.out_channels - block * BLOCK);
                    if phased {
                        let to = p * channels + (block - self.blocks.start) * BLOCK;
                        for (r, c) in c.chunks_exact(BLOCK).take(rows).enumerate() {
                            phases[(to + r) * pixels + first..][..count].copy_from_slice(&c[..count]);
                        }
                    } else {
                        self.store(block * BLOCK, rows, first, count, c);
                    }
                }
            }
            packed_at += all_blocks * BLOCK * k;
        }
        drop(session);
        if phased {
            for channel in 0..channels {
                self.interleave(channel, channels, phases);
            }
        }
    }
}

impl Item<'_> {
    /// Stores `count` pixels from `first` on of a block (one phase: the lattice is the output).
    #[inline(always)]
    fn store(&self, channel: usize, rows: usize, first: usize, count: usize, c: &[f32]) {
        let [height, width] = self.job.out_size;
        let per_image = self.chunk.rows * width;
        for (pixel, len) in (Runs { at: first, end: first + count, columns: per_image }) {
            let image = self.chunk.first_image + pixel / per_image;
            let at = self.chunk.first_row * width + pixel % per_image;
            for r in 0..rows {
                let out_channel = self.group * self.job.out_channels + channel + r;
                let plane = image * self.job.groups * self.job.out_channels + out_channel;
                // SAFETY: chunks and channel ranges of different items do not overlap.
                let y = unsafe { self.y.slice(plane * height * width + at, len) };
                let c = &c[r * BLOCK + pixel - first..][..len];
                let bias = self.bias.map_or(0.0, |b| b[out_channel]);
                y.iter_mut().zip(c).for_each(|(y, c)| *y = leaky(c + bias, self.slope));
            }
        }
    }

    /// Writes one output channel of the chunk from its phases, `[phase][channels][pixels]`.
    #[inline(always)]
    fn interleave(&self, channel: usize, channels: usize, phases: &[f32]) {
        let (job, chunk) = (self.job, self.chunk);
        let [height, width] = job.out_size;
        let [sy, sx] = job.out_stride;
        let columns = job.lattice[1];
        let pixels = chunk.images * chunk.rows * columns;
        let out_channel = self.group * job.out_channels + self.blocks.start * BLOCK + channel;
        let bias = self.bias.map_or(0.0, |b| b[out_channel]);
        let plane = |image: usize| (chunk.first_image + image) * job.groups * job.out_channels + out_channel;
        for image in 0..chunk.images {
            for r in 0..chunk.rows {
                for fy in 0..sy.min(height - (chunk.first_row + r) * sy) {
                    let row = (chunk.first_row + r) * sy + fy;
                    // SAFETY: chunks and channel ranges of different items do not overlap.
                    let y = unsafe { self.y.slice((plane(image) * height + row) * width, width) };
                    let from = |fx: usize| {
                        let at = ((fy * sx + fx) * channels + channel) * pixels + (image * chunk.rows + r) * columns;
                        &phases[at..][..columns]
                    };
                    if sx == 2 {
                        let (even, odd) = (from(0), from(1));
                        let (pairs, last) = y.as_chunks_mut::<2>();
                        for (([a, b], e), o) in pairs.iter_mut().zip(even).zip(odd) {
                            (*a, *b) = (leaky(e + bias, self.slope), leaky(o + bias, self.slope));
                        }
                        last.iter_mut().for_each(|v| *v = leaky(even[columns - 1] + bias, self.slope));
                    } else {
                        for fx in 0..sx {
                            let y = y[fx.min(width)..].iter_mut().step_by(sx);
                            y.zip(from(fx)).for_each(|(y, v)| *y = leaky(v + bias, self.slope));
                        }
                    }
                }
            }
        }
    }
}

/// Splits pixels `at..end` at multiples of `columns`: (first, length).
#[derive(Clone)]
struct Runs {
    at: usize,
    end: usize,
    columns: usize,
}

impl Iterator for Runs {
    type Item = (usize, usize);
    fn next(&mut self) -> Option<(usize, usize)> {
        let first = self.at;
        self.at = (first / self.columns + 1).saturating_mul(self.columns).min(self.end);
        (first < self.end).then_some((first, self.at - first))
    }
}
