//! The forward convolution and the data gradient as one computation: every output pixel gathers its taps.
//!
//! Outputs lie on `out_stride` interleaved lattices (*phases*); each phase is a convolution with its own taps of an
//! input that is itself split by `in_stride`. The forward pass has one phase (and a strided input), the data gradient
//! stride x stride phases (and an input, `dy`, of stride one), so nothing is ever scattered or added up in memory.
//! Per phase: `C[channel, pixel] = A[channel, k] · B[k, pixel]` with k = (tap, input channel).
#![allow(unsafe_code)]

use super::Conv2d;
use super::item::Item;
use crate::activation::Activation;
use crate::isa::{BLOCK, Micro, Parts, Precision, Work, vectorize};
use crate::pack::{pack_a_block, word};
use crate::parallel::{SharedMut, for_items};
use crate::scratch::{self, Slot};

/// One kernel element as a phase sees it: where in the planes, and which weight.
#[derive(Clone, Copy)]
pub(super) struct Tap {
    pub(super) phase: [usize; 2],
    pub(super) row: usize,
    pub(super) column: usize,
    weight: usize,
}

/// A computation as described above.
pub(super) struct Gather {
    pub(super) micro: Micro,
    batch: usize,
    pub(super) groups: usize,
    /// Per group.
    pub(super) in_channels: usize,
    pub(super) in_size: [usize; 2],
    /// Per group.
    pub(super) out_channels: usize,
    pub(super) out_size: [usize; 2],
    pub(super) in_stride: [usize; 2],
    pub(super) out_stride: [usize; 2],
    /// Outputs per phase (the largest phase's; others compute a little too much).
    pub(super) lattice: [usize; 2],
    pub(super) origin: [isize; 2],
    /// Plane rows and columns past those of the lattice.
    pub(super) reach: [usize; 2],
    pub(super) phases: Vec<Vec<Tap>>,
    /// Elements of the weights between output channels, input channels, groups.
    weight_strides: [usize; 3],
}

/// The work of one item: images, lattice rows.
#[derive(Clone, Copy)]
pub(super) struct Chunk {
    pub(super) first_image: usize,
    pub(super) images: usize,
    pub(super) first_row: usize,
    pub(super) rows: usize,
}

impl Gather {
    /// `y` from `x`.
    pub(super) fn forward(g: &Conv2d, out: [usize; 2], micro: Micro) -> Self {
        let (ci, co) = (g.in_channels / g.groups, g.out_channels / g.groups);
        let [kh, kw] = g.kernel;
        let taps = (0..kh * kw).map(|t| {
            let (i, j) = (t / kw, t % kw);
            let phase = [i % g.stride[0], j % g.stride[1]];
            Tap { phase, row: i / g.stride[0], column: j / g.stride[1], weight: t }
        });
        Self {
            micro,
            batch: g.batch,
            groups: g.groups,
            in_channels: ci,
            in_size: [g.in_h, g.in_w],
            out_channels: co,
            out_size: out,
            in_stride: g.stride,
            out_stride: [1, 1],
            lattice: out,
            origin: [-(g.padding[0] as isize), -(g.padding[1] as isize)],
            reach: [(kh - 1) / g.stride[0], (kw - 1) / g.stride[1]],
            phases: vec![taps.collect()],
            weight_strides: [ci * kh * kw, kh * kw, co * ci * kh * kw],
        }
    }

    /// `dx` from `dy`: input row `i = j * stride + phase` receives `dy` row `o = (i + padding - k) / stride`, for the
    /// kernel rows k that make it whole.
    pub(super) fn backward(g: &Conv2d, out: [usize; 2], micro: Micro) -> Self {
        let (ci, co) = (g.in_channels / g.groups, g.out_channels / g.groups);
        let [kh, kw] = g.kernel;
        // (kernel index, o - j) of each phase of one axis.
        let axis = |a: usize, phase: usize| -> Vec<(usize, isize)> {
            let (s, at) = (g.stride[a] as isize, (phase + g.padding[a]) as isize);
            (0..g.kernel[a]).filter(|&k| (at - k as isize) % s == 0).map(|k| (k, (at - k as isize) / s)).collect()
        };
        let range = |a: usize| -> (isize, isize) {
            let all = (0..g.stride[a]).flat_map(|p| axis(a, p)).map(|(_, q)| q);
            all.fold((isize::MAX, isize::MIN), |(lo, hi), q| (lo.min(q), hi.max(q)))
        };
        let (rows, columns) = (range(0), range(1));
        let phases = (0..g.stride[0] * g.stride[1]).map(|p| {
            let (vertical, horizontal) = (axis(0, p / g.stride[1]), axis(1, p % g.stride[1]));
            let tap = |&(i, q): &(usize, isize), &(j, r): &(usize, isize)| Tap {
                phase: [0, 0],
                row: (q - rows.0) as usize,
                column: (r - columns.0) as usize,
                weight: i * kw + j,
            };
            vertical.iter().flat_map(|v| horizontal.iter().map(move |h| tap(v, h))).collect()
        });
        Self {
            micro,
            batch: g.batch,
            groups: g.groups,
            in_channels: co,
            in_size: out,
            out_channels: ci,
            out_size: [g.in_h, g.in_w],
            in_stride: [1, 1],
            out_stride: g.stride,
            lattice: [g.in_h.div_ceil(g.stride[0]), g.in_w.div_ceil(g.stride[1])],
            origin: [rows.0, columns.0],
            reach: [(rows.1 - rows.0) as usize, (columns.1 - columns.0) as usize],
            phases: phases.collect(),
            weight_strides: [kh * kw, ci * kh * kw, co * ci * kh * kw],
        }
    }

    /// Words along k of one tap: input channels, in pairs for bf16.
    pub(super) fn channel_words(&self) -> usize {
        self.in_channels.div_ceil(self.micro.per_word())
    }

    /// Words along k of one phase, as the block product wants them.
    pub(super) fn phase_words(&self, phase: usize) -> usize {
        self.micro.k_words(self.phases[phase].len() * self.channel_words() * self.micro.per_word())
    }

    /// The most words along k that a phase has.
    pub(super) fn longest_phase(&self) -> usize {
        (0..self.phases.len()).map(|p| self.phase_words(p)).max().unwrap_or(0)
    }

    /// Runs it; all slices have been checked.
    pub(super) fn run(&self, x: &[f32], w: &[f32], bias: Option<&[f32]>, act: Activation, y: &mut [f32]) {
        let blocks = self.out_channels.div_ceil(BLOCK);
        let words: usize = (0..self.phases.len()).map(|p| self.phase_words(p)).sum();
        let group_words = blocks * BLOCK * words;
        let mut packed = scratch::take(Slot::PackedA, self.groups * group_words);
        let shared = SharedMut::new(&mut packed);
        for_items(self.groups * blocks, |i| {
            let block = [i % blocks, blocks];
            vectorize(self.micro.isa, PackWeights { job: self, w, group: i / blocks, block, packed: shared });
        });
        let chunks = self.chunks();
        let threads = rayon::current_num_threads();
        let splits = threads.div_ceil(chunks.len() * self.groups).min(blocks);
        let y = SharedMut::new(y);
        let packed = &packed[..];
        for_items(chunks.len() * self.groups * splits, |i| {
            let (group, split, chunk) = (i / splits % self.groups, i % splits, chunks[i / splits / self.groups]);
            let blocks_here = split * blocks / splits..(split + 1) * blocks / splits;
            let packed = &packed[group * group_words..][..group_words];
            vectorize(
                self.micro.isa,
                Item { job: self, chunk, group, blocks: blocks_here, packed, x, bias, slope: act.slope(), y },
            );
        });
    }

    /// Divides the work so that a chunk's planes and phases stay in the L2 cache and every thread gets some.
    fn chunks(&self) -> Vec<Chunk> {
        const L2_WORDS: usize = 160 * 1024;
        const FEW_PIXELS: usize = 64;
        let [rows, columns] = self.lattice;
        let plane = (rows + self.reach[0]) * (columns + self.reach[1]) * self.in_stride[0] * self.in_stride[1];
        let phased = if self.phases.len() > 1 { self.phases.len() * self.out_channels * rows * columns } else { 0 };
        let per_image = self.channel_words() * plane + phased;
        let threads = rayon::current_num_threads();
        let (mut images, mut rows_each) = if per_image <= L2_WORDS {
            let fill = FEW_PIXELS.div_ceil(rows * columns);
            let fair = self.batch.div_ceil(2 * threads);
            ((L2_WORDS / per_image).min(fair).max(fill).min(self.batch), rows)
        } else {
            let parts = per_image.div_ceil(L2_WORDS).min((rows * columns).div_ceil(FEW_PIXELS)).clamp(1, rows);
            (1, rows.div_ceil(parts))
        };
        if self.batch.div_ceil(images) * rows.div_ceil(rows_each) < threads {
            // Few pictures (painting): the threads share their rows.
            let share = rows.div_ceil(threads.div_ceil(self.batch)).max(FEW_PIXELS.div_ceil(columns));
            if share < rows_each {
                (images, rows_each) = (1, share);
            }
        }
        let starts = (0..self.batch).step_by(images).flat_map(|i| (0..rows).step_by(rows_each).map(move |r| (i, r)));
        let chunk = |(first_image, first_row)| Chunk {
            first_image,
            images: images.min(self.batch - first_image),
            first_row,
            rows: rows_each.min(rows - first_row),
        };
        starts.map(chunk).collect()
    }
}

/// Packs the A blocks of all phases for 32 output channels: `[group][phase]`, then as [`crate::isa::Parts`] says.
struct PackWeights<'a> {
    job: &'a Gather,
    w: &'a [f32],
    group: usize,
    /// Which, and of how many.
    block: [usize; 2],
    packed: SharedMut<'a, u32>,
}

impl Work for PackWeights<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { job, w, group, block: [block, blocks], packed } = self;
        let [per_out, per_in, per_group] = job.weight_strides;
        let rows = BLOCK.min(job.out_channels - block * BLOCK);
        let channel_words = job.channel_words();
        let mut row = scratch::take(Slot::Row, job.longest_phase());
        let mut at = group * (packed.len() / job.groups);
        for (p, taps) in job.phases.iter().enumerate() {
            let k = job.phase_words(p);
            // SAFETY: phases do not overlap, and within this one the block is this item's own.
            unsafe {
                let packed = packed.part(at, blocks * BLOCK * k);
                pack_a_block(
                    job.micro.layout(),
                    Parts::new(k),
                    [block, blocks],
                    rows,
                    &mut row[..k],
                    packed,
                    |r, words| {
                        let w = &w[group * per_group + (block * BLOCK + r) * per_out..];
                        words[taps.len() * channel_words..].fill(0);
                        for c in 0..channel_words {
                            for (t, tap) in taps.iter().enumerate() {
                                let at = |c: usize| w[c * per_in + tap.weight];
                                words[t * channel_words + c] = match job.micro.precision {
                                    Precision::F32 => at(c).to_bits(),
                                    Precision::Bf16 if 2 * c + 1 == job.in_channels => word(at(2 * c), 0.0),
                                    Precision::Bf16 => word(at(2 * c), at(2 * c + 1)),
                                };
                            }
                        }
                    },
                );
            }
            at += blocks * BLOCK * k;
        }
    }
}
