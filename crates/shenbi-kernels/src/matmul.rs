//! Matrix product of row-major matrices, on the convolutions' block products.
#![allow(unsafe_code)]

use crate::error::{KernelError, elements, expect_len, expect_nonzero};
use crate::isa::{BLOCK, Micro, Precision, Work, vectorize};
use crate::pack::{pack_a_block, rows_to_words, run_to_words, transpose};
use crate::parallel::{SharedMut, for_items};
use crate::scratch::{self, Slot};
use std::ops::Range;

/// Whether a matrix is given as its transpose.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Transpose {
    /// As it is used.
    No,
    /// Rows and columns exchanged.
    Yes,
}

/// `c = op(a) · op(b)`, all row-major and contiguous.
///
/// # Shapes
/// `op(a)`: `[m, k]` (`a` is `[k, m]` if transposed), `op(b)`: `[k, n]` (`b` is `[n, k]` if transposed), `c`: `[m, n]`.
/// A linear layer with PyTorch's weight `[out, in]` is `gemm(batch, out, in, x, w, y, [No, Yes], p)`.
///
/// # Errors
/// If a slice does not fit its shape or a dimension is zero; then `c` is untouched.
#[allow(clippy::too_many_arguments)]
pub fn gemm(
    m: usize,
    n: usize,
    k: usize,
    a: &[f32],
    b: &[f32],
    c: &mut [f32],
    transposed: [Transpose; 2],
    p: Precision,
) -> Result<(), KernelError> {
    const OP: &str = "gemm";
    expect_nonzero(OP, &[("m", m), ("n", n), ("k", k)])?;
    let [ta, tb] = transposed.map(|t| t == Transpose::Yes);
    expect_len(OP, "a", a.len(), &if ta { [k, m] } else { [m, k] })?;
    expect_len(OP, "b", b.len(), &if tb { [n, k] } else { [k, n] })?;
    expect_len(OP, "c", c.len(), &[m, n])?;
    elements(OP, &[m.max(n).saturating_add(BLOCK), k.saturating_add(BLOCK)])?;
    let micro = Micro::active(p)?;
    let words = micro.k_words(k);
    let (m_blocks, n_blocks) = (m.div_ceil(BLOCK), n.div_ceil(BLOCK));

    let mut packed = scratch::take(Slot::PackedA, m_blocks * BLOCK * words);
    let shared = SharedMut::new(&mut packed);
    for_items(m_blocks, |i| {
        // SAFETY: each item packs its own block.
        let packed = unsafe { shared.slice(i * BLOCK * words, BLOCK * words) };
        vectorize(micro.isa, PackA { micro, a, size: [m, k], transposed: ta, block: i, packed });
    });

    // Few columns (a small batch): rows are shared among the threads as well.
    let splits = rayon::current_num_threads().div_ceil(n_blocks).min(m_blocks);
    let packed = &packed[..];
    let c = SharedMut::new(c);
    for_items(n_blocks * splits, |i| {
        let (first, split) = (i / splits * BLOCK, i % splits);
        let blocks = split * m_blocks / splits..(split + 1) * m_blocks / splits;
        vectorize(micro.isa, Columns { micro, size: [m, n, k], packed, b, transposed: tb, first, blocks, c });
    });
    Ok(())
}

/// Packs 32 rows of op(a) `[m, k]` as an A block.
pub(crate) struct PackA<'a> {
    pub(crate) micro: Micro,
    pub(crate) a: &'a [f32],
    pub(crate) size: [usize; 2],
    pub(crate) transposed: bool,
    pub(crate) block: usize,
    pub(crate) packed: &'a mut [u32],
}

impl Work for PackA<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { micro, a, size: [m, k], transposed, block, packed } = self;
        let first = block * BLOCK;
        let mut row = scratch::take(Slot::Row, packed.len() / BLOCK);
        let mut values = scratch::take(Slot::Block, k);
        let values = values.as_f32_mut();
        let fill = |r: usize, words: &mut [u32]| {
            if transposed {
                values.iter_mut().zip(a[first + r..].iter().step_by(m)).for_each(|(v, a)| *v = *a);
                run_to_words(micro, values, words);
            } else {
                run_to_words(micro, &a[(first + r) * k..][..k], words);
            }
        };
        pack_a_block(BLOCK.min(m - first), &mut row, packed, fill);
    }
}

/// Computes columns `first..first + 32` of some blocks of rows of `c`.
struct Columns<'a> {
    micro: Micro,
    size: [usize; 3],
    packed: &'a [u32],
    b: &'a [f32],
    transposed: bool,
    first: usize,
    blocks: Range<usize>,
    c: SharedMut<'a, f32>,
}

impl Work for Columns<'_> {
    #[inline(always)]
    fn run(self) {
        let (micro, [m, n, k]) = (self.micro, self.size);
        let words = micro.k_words(k);
        let width = BLOCK.min(n - self.first);
        let mut panel = scratch::take(Slot::Panel, 32 * words);
        pack_columns(micro, self.b, [n, k], self.transposed, self.first, &mut panel);
        let mut sums = scratch::take(Slot::Block, BLOCK * BLOCK);
        let sums = sums.as_f32_mut();
        let session = micro.enter();
        for i in self.blocks.clone() {
            let rows = BLOCK.min(m - i * BLOCK);
            let a = &self.packed[i * BLOCK * words..][..BLOCK * words];
            // SAFETY: sizes as demanded, buffers 64-byte aligned, session held.
            unsafe { micro.block(words, a.as_ptr(), panel.as_ptr(), sums.as_mut_ptr(), [rows, width], false) };
            for (r, row) in sums.chunks_exact(BLOCK).take(rows).enumerate() {
                // SAFETY: each item has its own rows and columns.
                let c = unsafe { self.c.slice((i * BLOCK + r) * n + self.first, width) };
                match (c.first_chunk_mut::<BLOCK>(), row.first_chunk::<BLOCK>()) {
                    (Some(c), Some(row)) => *c = *row,
                    _ => c.copy_from_slice(&row[..width]),
                }
            }
        }
        drop(session);
    }
}

/// Packs the columns of op(b) `[k, n]` from `first` on as a B panel.
#[inline(always)]
pub(crate) fn pack_columns(
    micro: Micro,
    b: &[f32],
    [n, k]: [usize; 2],
    transposed: bool,
    first: usize,
    panel: &mut [u32],
) {
    let width = BLOCK.min(n - first);
    let per_word = micro.per_word();
    let used = k.div_ceil(per_word);
    if transposed {
        let words = panel.len() / BLOCK;
        let mut rows = scratch::take(Slot::Row, BLOCK * words);
        for (r, row) in rows.chunks_exact_mut(words).take(width).enumerate() {
            run_to_words(micro, &b[(first + r) * k..][..k], row);
        }
        transpose(micro, &rows, words, panel, BLOCK, width, used);
    } else {
        for (i, out) in panel.chunks_exact_mut(BLOCK).take(used).enumerate() {
            let row = |r: usize| &b[r * n + first..][..width];
            let high = (per_word == 2 && 2 * i + 1 < k).then(|| row(2 * i + 1));
            rows_to_words(micro, row(i * per_word), high, &mut out[..width]);
        }
    }
    panel[32 * used..].fill(0);
}
