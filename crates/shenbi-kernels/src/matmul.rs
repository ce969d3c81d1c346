//! Matrix product of row-major matrices, on the convolutions' block products.
#![allow(unsafe_code)]

use crate::error::{KernelError, elements, expect_len, expect_nonzero};
use crate::isa::{BLOCK, Micro, Precision, vectorize};
use crate::pack::{place_row, rows_to_words, run_to_words, transpose};
use crate::parallel::{SharedMut, for_items};
use crate::scratch::{self, Slot};

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
        let out = unsafe { shared.slice(i * BLOCK * words, BLOCK * words) };
        vectorize(micro.isa, || pack_a(micro, a, [m, k], ta, i * BLOCK, out));
    });

    // Few columns (a small batch): rows are shared among the threads as well.
    let splits = rayon::current_num_threads().div_ceil(n_blocks).min(m_blocks);
    let packed = &packed[..];
    let out = SharedMut::new(c);
    for_items(n_blocks * splits, |i| {
        let (panel_index, split) = (i / splits, i % splits);
        vectorize(micro.isa, || {
            let mut panel = scratch::take(Slot::Panel, 32 * words);
            let column = panel_index * BLOCK;
            let width = BLOCK.min(n - column);
            pack_b(micro, b, [k, n], tb, column, &mut panel);
            let mut block = scratch::take(Slot::Block, BLOCK * BLOCK);
            let _session = micro.enter();
            for mb in split * m_blocks / splits..(split + 1) * m_blocks / splits {
                let rows = BLOCK.min(m - mb * BLOCK);
                let a = &packed[mb * BLOCK * words..][..BLOCK * words];
                let block = block.as_f32_mut();
                // SAFETY: sizes as demanded, buffers 64-byte aligned, session held.
                unsafe { micro.block(words, a.as_ptr(), panel.as_ptr(), block.as_mut_ptr(), rows, false) };
                for (r, row) in block.chunks_exact(BLOCK).take(rows).enumerate() {
                    // SAFETY: each item has its own rows and columns.
                    let out = unsafe { out.slice((mb * BLOCK + r) * n + column, width) };
                    out.copy_from_slice(&row[..width]);
                }
            }
        });
    });
    Ok(())
}

/// Packs rows `first..first + 32` of op(a) as an A block.
#[inline(always)]
fn pack_a(micro: Micro, a: &[f32], [m, k]: [usize; 2], transposed: bool, first: usize, out: &mut [u32]) {
    let words = out.len() / BLOCK;
    let rows = BLOCK.min(m - first);
    let mut row = scratch::take(Slot::Row, words);
    let mut values = scratch::take(Slot::Block, k);
    let values = values.as_f32_mut();
    for r in 0..BLOCK {
        if r >= rows {
            row.fill(0);
        } else if transposed {
            values.iter_mut().zip(a[first + r..].iter().step_by(m)).for_each(|(v, a)| *v = *a);
            run_to_words(micro, values, &mut row);
        } else {
            run_to_words(micro, &a[(first + r) * k..][..k], &mut row);
        }
        place_row(micro.layout(), r, &row, out);
    }
}

/// Packs columns `first..first + 32` of op(b) as a B panel.
#[inline(always)]
fn pack_b(micro: Micro, b: &[f32], [k, n]: [usize; 2], transposed: bool, first: usize, panel: &mut [u32]) {
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
