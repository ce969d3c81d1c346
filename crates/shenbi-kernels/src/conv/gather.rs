//! The forward convolution and the data gradient as one computation: every output pixel gathers its taps.
//!
//! Outputs lie on `out_stride` interleaved lattices (*phases*); each phase is a convolution with its own taps of an
//! input that is itself split by `in_stride`. The forward pass has one phase (and a strided input), the data gradient
//! stride x stride phases (and an input, `dy`, of stride one), so nothing is ever scattered or added up in memory.
//! Per phase: `C[channel, pixel] = A[channel, k] · B[k, pixel]` with k = (tap, input channel).
#![allow(unsafe_code)]

use super::Conv2d;
use super::planes::{Copies, Planes, SLACK};
use crate::isa::{BLOCK, Micro, vectorize};
use crate::pack::{pack_a_block, round_bf16};
use crate::parallel::{SharedMut, for_items};
use crate::scratch::{self, Slot};

/// One kernel element as a phase sees it: where in the planes, and which weight.
#[derive(Clone, Copy)]
struct Tap {
    phase: [usize; 2],
    row: usize,
    column: usize,
    weight: usize,
}

/// A computation as described above.
pub(super) struct Gather {
    micro: Micro,
    batch: usize,
    groups: usize,
    /// Per group.
    in_channels: usize,
    in_size: [usize; 2],
    /// Per group.
    out_channels: usize,
    out_size: [usize; 2],
    in_stride: [usize; 2],
    out_stride: [usize; 2],
    /// Outputs per phase (the largest phase's; others compute a little too much).
    lattice: [usize; 2],
    origin: [isize; 2],
    /// Plane rows and columns past those of the lattice.
    reach: [usize; 2],
    phases: Vec<Vec<Tap>>,
    /// Elements of the weights between output channels, input channels, groups.
    weight_strides: [usize; 3],
}

/// The work of one item: images, lattice rows.
#[derive(Clone, Copy)]
struct Chunk {
    first_image: usize,
    images: usize,
    first_row: usize,
    rows: usize,
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
    fn channel_words(&self) -> usize {
        self.in_channels.div_ceil(self.micro.per_word())
    }

    fn phase_words(&self, phase: usize) -> usize {
        self.micro.k_words(self.phases[phase].len() * self.channel_words() * self.micro.per_word())
    }

    /// Runs it; all slices have been checked.
    pub(super) fn run(&self, x: &[f32], w: &[f32], bias: Option<&[f32]>, y: &mut [f32]) {
        let blocks = self.out_channels.div_ceil(BLOCK);
        let block_words: usize = (0..self.phases.len()).map(|p| BLOCK * self.phase_words(p)).sum();
        let mut packed = scratch::take(Slot::PackedA, self.groups * blocks * block_words);
        let shared = SharedMut::new(&mut packed);
        for_items(self.groups * blocks, |i| {
            // SAFETY: each item packs its own block.
            let out = unsafe { shared.slice(i * block_words, block_words) };
            vectorize(self.micro.isa, || self.pack_weights(w, i / blocks, i % blocks, out));
        });
        let chunks = self.chunks();
        let threads = rayon::current_num_threads();
        let splits = threads.div_ceil(chunks.len() * self.groups).min(blocks);
        let y = SharedMut::new(y);
        let packed = &packed[..];
        for_items(chunks.len() * self.groups * splits, |i| {
            let (group, split, chunk) = (i / splits % self.groups, i % splits, chunks[i / splits / self.groups]);
            let range = split * blocks / splits..(split + 1) * blocks / splits;
            let packed = &packed[group * blocks * block_words..][..blocks * block_words];
            vectorize(self.micro.isa, || self.chunk(chunk, group, range, packed, x, bias, y));
        });
    }

    /// Packs the A blocks of all phases for 32 output channels.
    #[inline(always)]
    fn pack_weights(&self, w: &[f32], group: usize, block: usize, mut out: &mut [u32]) {
        let [per_out, per_in, per_group] = self.weight_strides;
        let rows = BLOCK.min(self.out_channels - block * BLOCK);
        let channel_words = self.channel_words();
        let mut row = scratch::take(Slot::Row, self.phase_words(0).max(16));
        for (p, taps) in self.phases.iter().enumerate() {
            let k = self.phase_words(p);
            let (this, rest) = out.split_at_mut(BLOCK * k);
            out = rest;
            let row = if row.len() >= k {
                &mut row[..k]
            } else {
                row = scratch::take(Slot::Row, k);
                &mut row[..k]
            };
            pack_a_block(self.micro.layout(), rows, row, this, |r, words| {
                let w = &w[group * per_group + (block * BLOCK + r) * per_out..];
                words[taps.len() * channel_words..].fill(0);
                if self.micro.per_word() == 1 {
                    for c in 0..self.in_channels {
                        for (t, tap) in taps.iter().enumerate() {
                            words[t * channel_words + c] = w[c * per_in + tap.weight].to_bits();
                        }
                    }
                    return;
                }
                for c in 0..channel_words {
                    let single = 2 * c + 1 == self.in_channels;
                    for (t, tap) in taps.iter().enumerate() {
                        let low = round_bf16(w[2 * c * per_in + tap.weight]);
                        let high = if single { 0 } else { round_bf16(w[(2 * c + 1) * per_in + tap.weight]) };
                        words[t * channel_words + c] = u32::from(low) | u32::from(high) << 16;
                    }
                }
            });
        }
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

    /// One item: planes, then panel by panel all blocks of output channels in `range`.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn chunk(
        &self,
        chunk: Chunk,
        group: usize,
        range: std::ops::Range<usize>,
        packed: &[u32],
        x: &[f32],
        bias: Option<&[f32]>,
        y: SharedMut<f32>,
    ) {
        let planes = Planes {
            images: chunk.images,
            first_row: chunk.first_row,
            rows: chunk.rows + self.reach[0],
            columns: self.lattice[1] + self.reach[1],
            stride: self.in_stride,
            origin: self.origin,
        };
        let words = planes.channel() * self.channel_words();
        let mut buffer = scratch::take(Slot::Planes, words + SLACK);
        let mut row = scratch::take(Slot::Row, planes.columns * self.in_stride[1]);
        let plane_in = self.in_channels * self.in_size[0] * self.in_size[1];
        for image in 0..chunk.images {
            let at = ((chunk.first_image + image) * self.groups + group) * plane_in;
            planes.fill_image(self.micro, image, &x[at..][..plane_in], self.in_size, &mut row, &mut buffer[..words]);
        }

        let columns = self.lattice[1];
        let per_image = chunk.rows * columns;
        let pixels = chunk.images * per_image;
        let longest = (0..self.phases.len()).map(|p| self.phase_words(p)).max().unwrap_or(0);
        let mut panel = scratch::take(Slot::Panel, 32 * longest + SLACK);
        let mut table = scratch::take(Slot::Table, longest);
        let mut c = scratch::take(Slot::Block, BLOCK * BLOCK);
        let phased = self.phases.len() > 1;
        let channels = (range.end * BLOCK).min(self.out_channels) - range.start * BLOCK;
        let mut phases = scratch::take(Slot::Phases, if phased { self.phases.len() * channels * pixels } else { 0 });
        let session = self.micro.enter();
        let mut packed_at = 0;
        for (p, taps) in self.phases.iter().enumerate() {
            let k = self.phase_words(p);
            let used = taps.len() * self.channel_words();
            for (tap, rows) in taps.iter().zip(table[..used].chunks_exact_mut(self.channel_words())) {
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
                // SAFETY: rows, runs and taps stay inside the planes by their construction, copies within SLACK.
                unsafe { copies.gather(&buffer, &table[..used], &mut panel) };
                panel[32 * used..32 * k].fill(0);
                for block in range.clone() {
                    let rows = BLOCK.min(self.out_channels - block * BLOCK);
                    let a =
                        &packed[block * packed.len() / self.out_channels.div_ceil(BLOCK) + packed_at..][..BLOCK * k];
                    let c = c.as_f32_mut();
                    // SAFETY: sizes as demanded (slices above), buffers aligned, session held.
                    unsafe { self.micro.block(k, a.as_ptr(), panel.as_ptr(), c.as_mut_ptr(), rows, false) };
                    if phased {
                        let to = p * channels + (block - range.start) * BLOCK;
                        let phases = phases.as_f32_mut();
                        for r in 0..rows {
                            phases[(to + r) * pixels + first..][..count].copy_from_slice(&c[r * BLOCK..][..count]);
                        }
                    } else {
                        self.store(chunk, group, block * BLOCK, rows, first, count, c, bias, y);
                    }
                }
            }
            packed_at += BLOCK * k;
        }
        drop(session);
        if phased {
            for channel in 0..channels {
                let out_channel = range.start * BLOCK + channel;
                self.interleave(chunk, group, out_channel, channel, channels, phases.as_f32_mut(), bias, y);
            }
        }
    }

    /// Stores `count` pixels from `first` on of a block (one phase: the lattice is the output).
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn store(
        &self,
        chunk: Chunk,
        group: usize,
        channel: usize,
        rows: usize,
        first: usize,
        count: usize,
        c: &[f32],
        bias: Option<&[f32]>,
        y: SharedMut<f32>,
    ) {
        let [height, width] = self.out_size;
        let per_image = chunk.rows * width;
        for (pixel, len) in (Runs { at: first, end: first + count, columns: per_image }) {
            let image = chunk.first_image + pixel / per_image;
            let at = chunk.first_row * width + pixel % per_image;
            for r in 0..rows {
                let out_channel = group * self.out_channels + channel + r;
                let plane = image * self.groups * self.out_channels + out_channel;
                // SAFETY: chunks and channel ranges of different items do not overlap.
                let y = unsafe { y.slice(plane * height * width + at, len) };
                let c = &c[r * BLOCK + pixel - first..][..len];
                let bias = bias.map_or(0.0, |b| b[out_channel]);
                y.iter_mut().zip(c).for_each(|(y, c)| *y = c + bias);
            }
        }
    }

    /// Writes one output channel of a chunk from its phases.
    #[inline(always)]
    #[allow(clippy::too_many_arguments)]
    fn interleave(
        &self,
        chunk: Chunk,
        group: usize,
        out_channel: usize,
        channel: usize,
        channels: usize,
        phases: &[f32],
        bias: Option<&[f32]>,
        y: SharedMut<f32>,
    ) {
        let [height, width] = self.out_size;
        let [sy, sx] = self.out_stride;
        let columns = self.lattice[1];
        let pixels = chunk.images * chunk.rows * columns;
        let out_channel = group * self.out_channels + out_channel;
        let bias = bias.map_or(0.0, |b| b[out_channel]);
        let lattice_rows = (0..chunk.images).flat_map(|i| (0..chunk.rows).map(move |r| (i, r)));
        for ((image, r), fy) in lattice_rows.flat_map(|at| (0..sy).map(move |fy| (at, fy))) {
            let row = (chunk.first_row + r) * sy + fy;
            if row >= height {
                continue;
            }
            let plane = (chunk.first_image + image) * self.groups * self.out_channels + out_channel;
            // SAFETY: chunks and channel ranges of different items do not overlap.
            let y = unsafe { y.slice((plane * height + row) * width, width) };
            let from = |fx: usize| {
                let at = ((fy * sx + fx) * channels + channel) * pixels + (image * chunk.rows + r) * columns;
                &phases[at..][..columns]
            };
            if sx == 2 {
                let (even, odd) = (from(0), from(1));
                let (pairs, last) = y.as_chunks_mut::<2>();
                for (([a, b], e), o) in pairs.iter_mut().zip(even).zip(odd) {
                    (*a, *b) = (e + bias, o + bias);
                }
                last.iter_mut().for_each(|v| *v = even[columns - 1] + bias);
            } else {
                for fx in 0..sx {
                    y[fx.min(width)..].iter_mut().step_by(sx).zip(from(fx)).for_each(|(y, v)| *y = v + bias);
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
