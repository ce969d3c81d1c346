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

/// See [`super::Micro::block`].
///
/// # Safety
/// As there; the CPU has NEON, as every aarch64 CPU does.
#[target_feature(enable = "neon")]
pub(super) unsafe fn block(
    k: usize,
    a: *const u32,
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
                let (a, b, c) = (a.add(r * 16), b.add(col), c.add(r * 32 + col));
                match (size[0] - r > ROWS / 2, bf16) {
                    (true, false) => strip::<ROWS, false>(k, a, b, c, add),
                    (true, true) => strip::<ROWS, true>(k, a, b, c, add),
                    (false, false) => strip::<{ ROWS / 2 }, false>(k, a, b, c, add),
                    (false, true) => strip::<{ ROWS / 2 }, true>(k, a, b, c, add),
                }
            }
        }
    }
}

/// R rows x 8 columns; A's rows are 16 words apart, B's and C's 32.
///
/// # Safety
/// See [`block`]; `k` is a multiple of 16.
#[target_feature(enable = "neon")]
unsafe fn strip<const R: usize, const BF16: bool>(k: usize, a: *const u32, b: *const u32, c: *mut f32, add: bool) {
    // SAFETY: A has k / 16 steps of 512 words, of which R rows of 16 follow `a`; B k rows of 32 words, of which 8 follow
    // `b`; C R rows of 32 floats, of which 8 follow `c`: the caller's promise.
    unsafe {
        let mut acc = [[vdupq_n_f32(0.0); 2]; R];
        if add {
            for (r, row) in acc.iter_mut().enumerate() {
                *row = [vld1q_f32(c.add(r * 32)), vld1q_f32(c.add(r * 32 + 4))];
            }
        }
        for i in (0..k).step_by(4) {
            let (a, b) = (a.add(i / 16 * 512 + i % 16), b.add(i * 32));
            if BF16 {
                four::<R, LOW>(a, b, &mut acc);
                four::<R, HIGH>(a, b, &mut acc);
            } else {
                four::<R, WHOLE>(a, b, &mut acc);
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
/// `a` has R rows of 4 words, 16 apart; `b` 4 rows of 8, 32 apart.
#[inline]
#[target_feature(enable = "neon")]
unsafe fn four<const R: usize, const PART: Part>(a: *const u32, b: *const u32, acc: &mut [[float32x4_t; 2]; R]) {
    // SAFETY: the caller's promise.
    unsafe {
        let widened = |at: *const u32| part::<PART>(vld1q_u32(at));
        let a: [float32x4_t; R] = std::array::from_fn(|r| widened(a.add(r * 16)));
        macro_rules! lane {
            ($i:literal) => {
                let row = [widened(b.add($i * 32)), widened(b.add($i * 32 + 4))];
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
