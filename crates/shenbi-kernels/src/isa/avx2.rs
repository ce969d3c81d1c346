//! AVX2 and FMA: the block product. bf16 words are widened by shifts.

use std::arch::x86_64::*;

/// See [`super::Micro::block`].
///
/// # Safety
/// As there; the CPU has AVX2 and FMA.
#[target_feature(enable = "avx2,fma")]
pub(super) unsafe fn block(
    k: usize,
    a: *const u32,
    b: *const u32,
    c: *mut f32,
    size: [usize; 2],
    add: bool,
    bf16: bool,
) {
    for r in (0..size[0]).step_by(4) {
        for col in (0..size[1]).step_by(16) {
            // SAFETY: rows r..r + 4 lie in A and C (which have 32), columns col..col + 16 in B and C.
            unsafe {
                let a = a.add(r * 16);
                let (b, c) = (b.add(col), c.add(r * 32 + col));
                if bf16 { four_rows::<true>(k, a, b, c, add) } else { four_rows::<false>(k, a, b, c, add) }
            }
        }
    }
}

/// 4 rows x 16 columns in eight registers; A's rows are 16 words apart, B's 32.
#[target_feature(enable = "avx2,fma")]
unsafe fn four_rows<const BF16: bool>(k: usize, a: *const u32, b: *const u32, c: *mut f32, add: bool) {
    // SAFETY: the caller's promise (see `block`).
    unsafe {
        let mut acc = [[_mm256_setzero_ps(); 2]; 4];
        if add {
            for (r, row) in acc.iter_mut().enumerate() {
                *row = [_mm256_loadu_ps(c.add(r * 32)), _mm256_loadu_ps(c.add(r * 32 + 8))];
            }
        }
        let high = _mm256_set1_epi32(0xffff_0000_u32.cast_signed());
        for step in 0..k / 16 {
            let (a, b) = (a.add(step * 512), b.add(step * 512));
            for i in 0..16 {
                let b0 = _mm256_loadu_si256(b.add(i * 32).cast());
                let b1 = _mm256_loadu_si256(b.add(i * 32 + 8).cast());
                for (r, row) in acc.iter_mut().enumerate() {
                    let a = _mm256_set1_epi32(a.add(r * 16 + i).read().cast_signed());
                    for (acc, b) in row.iter_mut().zip([b0, b1]) {
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
        }
        for (r, row) in acc.iter().enumerate() {
            _mm256_storeu_ps(c.add(r * 32), row[0]);
            _mm256_storeu_ps(c.add(r * 32 + 8), row[1]);
        }
    }
}
