//! NEON: the block product. bf16 words are widened by a shift or a mask.

use std::arch::aarch64::*;

/// Rows of a register tile: 16 sums, 8 vectors of A and 2 of B fill 26 of 32 registers.
const ROWS: usize = 8;

/// What of a word is multiplied.
type Part = u8;
/// An f32.
const WHOLE: Part = 0;
/// The bf16 in the low half.
const LOW: Part = 1;
/// The bf16 in the high half.
const HIGH: Part = 2;

/// See [`super::Micro::block_at`]; step i of row r of A is at `rows[r] + offsets[i]`.
///
/// # Safety
/// As there; the CPU has NEON, as every aarch64 CPU does.
#[target_feature(enable = "neon")]
pub(super) unsafe fn block(
    rows: &[*const u8; 32],
    offsets: &[u32],
    b: *const u32,
    c: *mut f32,
    size: [usize; 2],
    add: bool,
    bf16: bool,
) {
    for r in (0..size[0]).step_by(ROWS) {
        for col in (0..size[1]).step_by(8) {
            // SAFETY: rows r..r + 8 lie in A and C (which have 32, a multiple), columns col..col + 8 in B and C.
            unsafe {
                let (a, b, c) = (&rows[r..], b.add(col), c.add(r * 32 + col));
                match (size[0] - r > ROWS / 2, bf16) {
                    (true, false) => strip::<ROWS, false>(a, offsets, b, c, add),
                    (true, true) => strip::<ROWS, true>(a, offsets, b, c, add),
                    (false, false) => strip::<{ ROWS / 2 }, false>(a, offsets, b, c, add),
                    (false, true) => strip::<{ ROWS / 2 }, true>(a, offsets, b, c, add),
                }
            }
        }
    }
}

/// R rows x 8 columns; B's and C's rows are 32 words apart.
///
/// # Safety
/// See [`block`]; there are R rows.
#[target_feature(enable = "neon")]
unsafe fn strip<const R: usize, const BF16: bool>(
    rows: &[*const u8],
    offsets: &[u32],
    mut b: *const u32,
    c: *mut f32,
    add: bool,
) {
    let rows: [*const u8; R] = std::array::from_fn(|r| rows[r]);
    // SAFETY: the steps of these rows can be read; b has 512 words for each, of which 8 in 32 from `b` on are used; c R rows
    // of 32 floats, of which 8 follow `c`: the caller's promise.
    unsafe {
        let mut acc = [[vdupq_n_f32(0.0); 2]; R];
        if add {
            for (r, row) in acc.iter_mut().enumerate() {
                *row = [vld1q_f32(c.add(r * 32)), vld1q_f32(c.add(r * 32 + 4))];
            }
        }
        for &offset in offsets {
            for i in 0..4 {
                let a = rows.map(|row| row.add(offset as usize + 16 * i));
                if BF16 {
                    four::<R, LOW>(a, b, &mut acc);
                    four::<R, HIGH>(a, b, &mut acc);
                } else {
                    four::<R, WHOLE>(a, b, &mut acc);
                }
                b = b.add(4 * 32);
            }
        }
        for (r, row) in acc.iter().enumerate() {
            vst1q_f32(c.add(r * 32), row[0]);
            vst1q_f32(c.add(r * 32 + 4), row[1]);
        }
    }
}

/// Adds the products of four words along k: a row's four are one vector of A, whose lanes meet four rows of B.
///
/// # Safety
/// Each row of `a` has 4 words; `b` 4 rows of 8, 32 apart.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn four<const R: usize, const PART: Part>(a: [*const u8; R], b: *const u32, acc: &mut [[float32x4_t; 2]; R]) {
    // SAFETY: the caller's promise.
    unsafe {
        let widened = |at: *const u8| part::<PART>(vreinterpretq_u32_u8(vld1q_u8(at)));
        let (a, b) = (a.map(widened), b.cast::<u8>());
        macro_rules! lane {
            ($i:literal) => {
                let row = [widened(b.add($i * 128)), widened(b.add($i * 128 + 16))];
                for (acc, a) in acc.iter_mut().zip(a) {
                    acc[0] = vfmaq_laneq_f32::<$i>(acc[0], row[0], a);
                    acc[1] = vfmaq_laneq_f32::<$i>(acc[1], row[1], a);
                }
            };
        }
        lane!(0);
        lane!(1);
        lane!(2);
        lane!(3);
    }
}

/// The floats in one part of the words.
#[inline]
#[target_feature(enable = "neon")]
fn part<const PART: Part>(words: uint32x4_t) -> float32x4_t {
    vreinterpretq_f32_u32(match PART {
        LOW => vshlq_n_u32::<16>(words),
        HIGH => vandq_u32(words, vdupq_n_u32(0xffff_0000)),
        _ => words,
    })
}

/// `out[j * out_stride + i] = src[i * src_stride + j]` for i, j < 4.
#[target_feature(enable = "neon")]
pub(crate) fn transpose4(src: &[u32], src_stride: usize, out: &mut [u32], out_stride: usize) {
    assert!(src.len() >= 3 * src_stride + 4 && out.len() >= 3 * out_stride + 4);
    // SAFETY: row i < 4 of 4 words is inside `src` by the assertion.
    let v: [uint32x4_t; 4] = std::array::from_fn(|i| unsafe { vld1q_u32(src.as_ptr().add(i * src_stride)) });
    let pairs = |low: bool, i: usize| {
        let (a, b) = (v[i], v[i + 1]);
        vreinterpretq_u64_u32(if low { vtrn1q_u32(a, b) } else { vtrn2q_u32(a, b) })
    };
    // Columns 0 and 2 of two rows each, then 1 and 3.
    for (first, low) in [(0, true), (1, false)] {
        let (top, bottom) = (pairs(low, 0), pairs(low, 2));
        for (j, column) in [(first, vtrn1q_u64(top, bottom)), (first + 2, vtrn2q_u64(top, bottom))] {
            // SAFETY: row j < 4 of 4 words is inside `out` by the assertion.
            unsafe { vst1q_u32(out.as_mut_ptr().add(j * out_stride), vreinterpretq_u32_u64(column)) };
        }
    }
}
