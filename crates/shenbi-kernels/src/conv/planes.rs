//! Zero-padded copies of a few input rows in packed words, split by stride so that neighbours stay neighbours.
#![allow(unsafe_code)]

use crate::isa::Micro;
use crate::pack::rows_to_words;

/// The part of the input that one work item reads, and its layout
/// `[channel word][phase row][phase column][image][rows][columns]`.
///
/// Row r of phase f is input row `(first_row + r) * stride + f + origin`; the same for columns, from 0.
#[derive(Clone, Copy)]
pub(super) struct Planes {
    pub(super) images: usize,
    pub(super) first_row: usize,
    pub(super) rows: usize,
    pub(super) columns: usize,
    pub(super) stride: [usize; 2],
    pub(super) origin: [isize; 2],
}

impl Planes {
    /// Words of one image of one phase.
    pub(super) fn plane(&self) -> usize {
        self.rows * self.columns
    }

    /// Words of one channel word: all phases and images.
    pub(super) fn channel(&self) -> usize {
        self.stride[0] * self.stride[1] * self.images * self.plane()
    }

    /// The word at (phase, row, column) of the first image, relative to its channel.
    pub(super) fn offset(&self, phase: [usize; 2], row: usize, column: usize) -> usize {
        ((phase[0] * self.stride[1] + phase[1]) * self.images) * self.plane() + row * self.columns + column
    }

    /// Fills the planes of one image from its `channels` input channels, each `[h, w]`.
    #[inline(always)]
    pub(super) fn fill_image(
        &self,
        micro: Micro,
        image: usize,
        x: &[f32],
        [h, w]: [usize; 2],
        row: &mut [u32],
        out: &mut [u32],
    ) {
        let per_word = micro.per_word();
        let [_, sx] = self.stride;
        for (x, out) in x.chunks(per_word * h * w).zip(out.chunks_exact_mut(self.channel())) {
            for fy in 0..self.stride[0] {
                for r in 0..self.rows {
                    let at = self.offset([fy, 0], r, 0) + image * self.plane();
                    let y = ((self.first_row + r) * self.stride[0] + fy) as isize + self.origin[0];
                    let phase = self.images * self.plane();
                    let Some(y) = usize::try_from(y).ok().filter(|&y| y < h) else {
                        for fx in 0..sx {
                            out[at + fx * phase..][..self.columns].fill(0);
                        }
                        continue;
                    };
                    let low = &x[y * w..][..w];
                    let high = (x.len() > h * w && per_word == 2).then(|| &x[h * w + y * w..][..w]);
                    if sx == 1 {
                        self.fill_row(micro, low, high, &mut out[at..][..self.columns]);
                        continue;
                    }
                    self.fill_row(micro, low, high, &mut row[..self.columns * sx]);
                    if sx == 2 {
                        let (pairs, _) = row[..2 * self.columns].as_chunks::<2>();
                        let (even, odd) = out[at..].split_at_mut(phase);
                        for ((e, o), [a, b]) in even[..self.columns].iter_mut().zip(&mut odd[..self.columns]).zip(pairs)
                        {
                            (*e, *o) = (*a, *b);
                        }
                    } else {
                        for fx in 0..sx {
                            let out = &mut out[at + fx * phase..][..self.columns];
                            for (o, &v) in out.iter_mut().zip(row[fx..].iter().step_by(sx)) {
                                *o = v;
                            }
                        }
                    }
                }
            }
        }
    }

    /// Input columns `origin..origin + out.len()` of one row, zero outside of the input.
    #[inline(always)]
    fn fill_row(&self, micro: Micro, low: &[f32], high: Option<&[f32]>, out: &mut [u32]) {
        let n = out.len() as isize;
        let begin = (-self.origin[1]).clamp(0, n) as usize;
        let end = (low.len() as isize - self.origin[1]).clamp(begin as isize, n) as usize;
        out[..begin].fill(0);
        out[end..].fill(0);
        if begin < end {
            let source = (begin as isize + self.origin[1]) as usize;
            let range = source..source + end - begin;
            rows_to_words(micro, &low[range.clone()], high.map(|h| &h[range]), &mut out[begin..end]);
        }
    }
}

/// Where the columns of a B panel lie in the planes: copies of `width` words, in increasing `to`.
///
/// A copy may be wider than the run of neighbours it stands for: what it writes too much is overwritten by the next
/// copy, or by the next row of the panel. Hence the slack of 16 words that panels and planes need at their ends.
pub(super) struct Copies {
    width: usize,
    count: usize,
    from: [u32; 32],
    to: [u32; 32],
}

/// Words past the end of panels and planes that copies may touch.
pub(super) const SLACK: usize = 16;

impl Copies {
    /// From runs of (source offset, length) that fill the panel's columns from 0 on.
    pub(super) fn new(runs: impl Iterator<Item = (usize, usize)> + Clone) -> Self {
        let longest = runs.clone().map(|(_, len)| len).max().unwrap_or(0);
        let width = if longest <= 4 {
            4
        } else if longest <= 8 {
            8
        } else {
            16
        };
        let mut copies = Self { width, count: 0, from: [0; 32], to: [0; 32] };
        let mut column = 0;
        for (from, len) in runs {
            for step in (0..len).step_by(width) {
                copies.from[copies.count] = (from + step) as u32;
                copies.to[copies.count] = (column + step) as u32;
                copies.count += 1;
            }
            column += len;
        }
        copies
    }

    /// Builds the panel: row i from the plane that begins at `rows[i]`.
    ///
    /// # Safety
    /// Every `rows[i] + from + 16` is inside of `planes`, and `panel` has `32 * rows.len() + 16` words.
    #[inline(always)]
    pub(super) unsafe fn gather(&self, planes: &[u32], rows: &[u32], panel: &mut [u32]) {
        debug_assert!(panel.len() >= 32 * rows.len() + SLACK);
        let (src, dst) = (planes.as_ptr(), panel.as_mut_ptr());
        // SAFETY: the caller's promise.
        unsafe {
            match (self.width, self.count) {
                (16, 2) => {
                    let [a, b] = [self.from[0] as usize, self.from[1] as usize];
                    let second = self.to[1] as usize;
                    for (i, &row) in rows.iter().enumerate() {
                        let (src, dst) = (src.add(row as usize), dst.add(32 * i));
                        copy::<16>(src.add(a), dst);
                        copy::<16>(src.add(b), dst.add(second));
                    }
                }
                (16, _) => self.gather_by::<16>(src, rows, dst),
                (8, _) => self.gather_by::<8>(src, rows, dst),
                _ => self.gather_by::<4>(src, rows, dst),
            }
        }
    }

    #[inline(always)]
    unsafe fn gather_by<const W: usize>(&self, src: *const u32, rows: &[u32], dst: *mut u32) {
        let (from, to) = (&self.from[..self.count], &self.to[..self.count]);
        for (i, &row) in rows.iter().enumerate() {
            for (&from, &to) in from.iter().zip(to) {
                // SAFETY: the caller's promise.
                unsafe { copy::<W>(src.add(row as usize + from as usize), dst.add(32 * i + to as usize)) };
            }
        }
    }
}

/// A copy of a fixed size, which compiles to vector moves.
#[inline(always)]
unsafe fn copy<const W: usize>(from: *const u32, to: *mut u32) {
    // SAFETY: the caller's promise; planes and panels are different buffers.
    unsafe { std::ptr::copy_nonoverlapping(from.cast::<[u32; W]>(), to.cast::<[u32; W]>(), 1) };
}
