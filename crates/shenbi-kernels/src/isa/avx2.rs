//! AVX2 and FMA: the block product, and transposition. bf16 words are widened by shifts.

use std::arch::x86_64::*;

/// See [`super::Micro::block_at`]; step i of row r of A is at `rows[r] + offsets[i]`.
///
/// # Safety
/// As there; the CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn block(
    rows: &[*const u8; 32],
    offsets: &[u32],
    b: *const u32,
    c: *mut f32,
    size: [usize; 2],
    add: bool,
    bf16: bool,
) {
    if size[1] <= 8 {
        for first in (0..size[0]).step_by(8) {
            // SAFETY: eight rows lie in C's 32 (a multiple), eight columns in its and B's 32.
            unsafe {
                let (rows, c) = (&rows[first..], c.add(first * 32));
                if bf16 {
                    strip::<8, 1, true>(rows, offsets, b, c, add)
                } else {
                    strip::<8, 1, false>(rows, offsets, b, c, add)
                }
            }
        }
        return;
    }
    // Strips of up to six rows and 16 columns: 12 sums hide the latency of a multiply-add, and 16 registers hold all. 32
    // rows are strips of 6, 6, 5, 5, 5, 5. Two bf16 in a word take registers of their own.
    let strips = size[0].div_ceil(if bf16 { 4 } else { 6 });
    let mut first = 0;
    for s in 0..strips {
        let count = size[0] / strips + usize::from(s < size[0] % strips);
        let rows = &rows[first..first + count];
        for col in (0..size[1]).step_by(16) {
            // SAFETY: the strip lies in C's 32 rows, col..col + 16 in its and B's 32 columns.
            unsafe {
                let (b, c) = (b.add(col), c.add(first * 32 + col));
                match (count, bf16) {
                    (1, false) => strip::<1, 2, false>(rows, offsets, b, c, add),
                    (2, false) => strip::<2, 2, false>(rows, offsets, b, c, add),
                    (3, false) => strip::<3, 2, false>(rows, offsets, b, c, add),
                    (4, false) => strip::<4, 2, false>(rows, offsets, b, c, add),
                    (5, false) => strip::<5, 2, false>(rows, offsets, b, c, add),
                    (_, false) => strip::<6, 2, false>(rows, offsets, b, c, add),
                    (1, true) => strip::<1, 2, true>(rows, offsets, b, c, add),
                    (2, true) => strip::<2, 2, true>(rows, offsets, b, c, add),
                    (3, true) => strip::<3, 2, true>(rows, offsets, b, c, add),
                    (_, true) => strip::<4, 2, true>(rows, offsets, b, c, add),
                }
            }
        }
        first += count;
    }
}

/// R rows x V vectors of columns; B's and C's rows are 32 words apart.
///
/// # Safety
/// See [`block`]; there are R rows.
#[target_feature(enable = "avx2,fma")]
unsafe fn strip<const R: usize, const V: usize, const BF16: bool>(
    rows: &[*const u8],
    offsets: &[u32],
    mut b: *const u32,
    c: *mut f32,
    add: bool,
) {
    let rows: [*const u8; R] = std::array::from_fn(|r| rows[r]);
    // SAFETY: the caller's promise (see `block`).
    unsafe {
        let mut acc = [[_mm256_setzero_ps(); V]; R];
        if add {
            for (r, row) in acc.iter_mut().enumerate() {
                *row = std::array::from_fn(|v| _mm256_loadu_ps(c.add(r * 32 + v * 8)));
            }
        }
        let high = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
        for &offset in offsets {
            for i in 0..16 {
                let b: [__m256i; V] = std::array::from_fn(|v| _mm256_loadu_si256(b.add(i * 32 + v * 8).cast()));
                for (row, acc) in rows.iter().zip(&mut acc) {
                    let a = row.add(offset as usize + 4 * i).cast::<i32>().read_unaligned();
                    let a = _mm256_set1_epi32(a);
                    for (acc, b) in acc.iter_mut().zip(b) {
                        if BF16 {
                            let low = |v| _mm256_castsi256_ps(_mm256_slli_epi32(v, 16));
                            let top = |v| _mm256_castsi256_ps(_mm256_and_si256(v, high));
                            *acc = _mm256_fmadd_ps(low(a), low(b), *acc);
                            *acc = _mm256_fmadd_ps(top(a), top(b), *acc);
                        } else {
                            *acc = _mm256_fmadd_ps(_mm256_castsi256_ps(a), _mm256_castsi256_ps(b), *acc);
                        }
                    }
                }
            }
            b = b.add(512);
        }
        for (r, row) in acc.iter().enumerate() {
            for (v, sum) in row.iter().enumerate() {
                _mm256_storeu_ps(c.add(r * 32 + v * 8), *sum);
            }
        }
    }
}

/// `out[j * out_stride + i] = src[i * src_stride + j]` for i, j < 8.
#[target_feature(enable = "avx2")]
pub(crate) fn transpose8(src: &[u32], src_stride: usize, out: &mut [u32], out_stride: usize) {
    assert!(src.len() >= 7 * src_stride + 8 && out.len() >= 7 * out_stride + 8);
    // SAFETY: row i < 8 of 8 words is inside `src` by the assertion.
    let v: [__m256i; 8] =
        std::array::from_fn(|i| unsafe { _mm256_loadu_si256(src.as_ptr().add(i * src_stride).cast()) });
    // Pairs of rows, then fours, then the halves of the registers.
    let mut t = v;
    for i in 0..4 {
        t[2 * i] = _mm256_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
        t[2 * i + 1] = _mm256_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
    }
    let mut u = t;
    for i in 0..2 {
        u[4 * i] = _mm256_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        u[4 * i + 1] = _mm256_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        u[4 * i + 2] = _mm256_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        u[4 * i + 3] = _mm256_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    for i in 0..4 {
        let halves =
            [_mm256_permute2x128_si256::<0x20>(u[i], u[i + 4]), _mm256_permute2x128_si256::<0x31>(u[i], u[i + 4])];
        for (half, column) in halves.into_iter().enumerate() {
            // SAFETY: row i + 4 * half < 8 of 8 words is inside `out` by the assertion.
            unsafe { _mm256_storeu_si256(out.as_mut_ptr().add((i + 4 * half) * out_stride).cast(), column) };
        }
    }
}
