//! AVX-512: the block product in f32 and bf16, and the bf16 conversions.

use std::arch::x86_64::*;

/// Makes `$name`: strips of 8 rows (or fewer, where that saves something), one or two vectors of columns, one broadcast
/// of A per row and k.
macro_rules! block {
    ($name:ident, $features:literal, |$acc:ident, $a:ident, $b:ident| $product:expr) => {
        /// See [`super::Micro::block_at`]; step i of row r of A is at `rows[r] + offsets[i]`.
        ///
        /// # Safety
        /// As there; the CPU has the features named.
        #[target_feature(enable = $features)]
        pub(super) unsafe fn $name(
            rows: &[*const u8; 32],
            offsets: &[u32],
            b: *const u32,
            c: *mut f32,
            size: [usize; 2],
            add: bool,
        ) {
            #[target_feature(enable = $features)]
            unsafe fn strip<const R: usize, const V: usize>(
                rows: &[*const u8],
                offsets: &[u32],
                mut b: *const u32,
                c: *mut f32,
                add: bool,
            ) {
                let rows: [*const u8; R] = std::array::from_fn(|r| rows[r]);
                // SAFETY: the steps of these rows can be read, b has 512 words for each (aligned), c R rows of 32
                // (aligned): the caller's promise.
                unsafe {
                    let mut acc = [[_mm512_setzero_ps(); V]; R];
                    if add {
                        for (r, row) in acc.iter_mut().enumerate() {
                            *row = std::array::from_fn(|v| _mm512_load_ps(c.add(r * 32 + v * 16)));
                        }
                    }
                    for &offset in offsets {
                        for i in 0..16 {
                            let b: [__m512i; V] =
                                std::array::from_fn(|v| _mm512_load_si512(b.add(i * 32 + v * 16).cast()));
                            for (row, sums) in rows.iter().zip(&mut acc) {
                                let a = row.add(offset as usize + 4 * i).cast::<i32>().read_unaligned();
                                let $a = _mm512_set1_epi32(a);
                                for (sum, b) in sums.iter_mut().zip(b) {
                                    let ($acc, $b) = (*sum, b);
                                    *sum = $product;
                                }
                            }
                        }
                        b = b.add(512);
                    }
                    for (r, row) in acc.iter().enumerate() {
                        for (v, sum) in row.iter().enumerate() {
                            _mm512_store_ps(c.add(r * 32 + v * 16), *sum);
                        }
                    }
                }
            }
            for s in 0..size[0].div_ceil(8) {
                let a = &rows[s * 8..];
                // SAFETY: strip s lies inside the 32 rows.
                unsafe {
                    let c = c.add(s * 8 * 32);
                    match (size[0] - s * 8, size[1] > 16) {
                        (1, true) => strip::<1, 2>(a, offsets, b, c, add),
                        (2, true) => strip::<2, 2>(a, offsets, b, c, add),
                        (3, true) => strip::<3, 2>(a, offsets, b, c, add),
                        (4, true) => strip::<4, 2>(a, offsets, b, c, add),
                        (_, true) => strip::<8, 2>(a, offsets, b, c, add),
                        (_, false) => strip::<8, 1>(a, offsets, b, c, add),
                    }
                }
            }
        }
    };
}

block!(block_f32, "avx512f", |acc, a, b| _mm512_fmadd_ps(_mm512_castsi512_ps(a), _mm512_castsi512_ps(b), acc));
block!(block_bf16, "avx512f,avx512bw,avx512bf16", |acc, a, b| {
    // SAFETY (of the transmutes): __m512bh is 32 bf16 in 64 bytes, as __m512i is.
    _mm512_dpbf16_ps(acc, std::mem::transmute::<__m512i, __m512bh>(a), std::mem::transmute::<__m512i, __m512bh>(b))
});
block!(block_bf16_emulated, "avx512f", |acc, a, b| {
    let high = _mm512_set1_epi32(0xffff_0000_u32.cast_signed());
    let (a0, a1) = (_mm512_slli_epi32(a, 16), _mm512_and_si512(a, high));
    let (b0, b1) = (_mm512_slli_epi32(b, 16), _mm512_and_si512(b, high));
    let acc = _mm512_fmadd_ps(_mm512_castsi512_ps(a0), _mm512_castsi512_ps(b0), acc);
    _mm512_fmadd_ps(_mm512_castsi512_ps(a1), _mm512_castsi512_ps(b1), acc)
});

/// `out[i]` = bf16 of `low[i]` and `high[i]`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(crate) fn pair_words(low: &[f32], high: &[f32], out: &mut [u32]) {
    let n = out.len();
    assert!(low.len() == n && high.len() == n);
    let interleave: [u16; 32] = std::array::from_fn(|i| (i / 2 + i % 2 * 16) as u16);
    // SAFETY: masked loads and stores touch only the first n elements of each slice.
    unsafe {
        let index = _mm512_loadu_si512(interleave.as_ptr().cast());
        for i in (0..n).step_by(16) {
            let mask = if n - i >= 16 { 0xffff } else { (1u16 << (n - i)) - 1 };
            let low = _mm512_maskz_loadu_ps(mask, low.as_ptr().add(i));
            let high = _mm512_maskz_loadu_ps(mask, high.as_ptr().add(i));
            let both = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(high, low));
            let words = _mm512_permutexvar_epi16(index, both);
            _mm512_mask_storeu_epi32(out.as_mut_ptr().add(i).cast(), mask, words);
        }
    }
}

/// `out[i]` = the bits `low[i]` below `high[i]`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw")]
pub(crate) fn interleave(low: &[u16; 32], high: &[u16; 32], out: &mut [u32; 32]) {
    const fn index(first: u16) -> [u16; 32] {
        let mut at = [0; 32];
        let mut i = 0;
        while i < 32 {
            at[i] = first + i as u16 / 2 + i as u16 % 2 * 32;
            i += 1;
        }
        at
    }
    const FIRST: [u16; 32] = index(0);
    const SECOND: [u16; 32] = index(16);
    // SAFETY: loads and stores of the arrays' sizes.
    unsafe {
        let (low, high) = (_mm512_loadu_si512(low.as_ptr().cast()), _mm512_loadu_si512(high.as_ptr().cast()));
        let first = _mm512_permutex2var_epi16(low, _mm512_loadu_si512(FIRST.as_ptr().cast()), high);
        let second = _mm512_permutex2var_epi16(low, _mm512_loadu_si512(SECOND.as_ptr().cast()), high);
        _mm512_storeu_si512(out.as_mut_ptr().cast(), first);
        _mm512_storeu_si512(out.as_mut_ptr().add(16).cast(), second);
    }
}

/// `out[i]` = bf16 of `leaky(sums[i] + bias[i])`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(crate) fn finish(sums: &[f32; 32], bias: &[f32; 32], slope: f32, out: &mut [u16; 32]) {
    // SAFETY: loads and stores of the arrays' sizes.
    unsafe {
        let half = |at: usize| {
            let x = _mm512_add_ps(_mm512_loadu_ps(sums.as_ptr().add(at)), _mm512_loadu_ps(bias.as_ptr().add(at)));
            if slope == 1.0 {
                return x;
            }
            // As `leaky`: what is not above zero (a NaN included) is multiplied; with slope 0 only a NaN is left of it.
            let positive = _mm512_cmp_ps_mask::<_CMP_GT_OQ>(x, _mm512_setzero_ps());
            let negative = if slope == 0.0 {
                _mm512_maskz_mov_ps(_mm512_cmp_ps_mask::<_CMP_UNORD_Q>(x, x), x)
            } else {
                _mm512_mul_ps(x, _mm512_set1_ps(slope))
            };
            _mm512_mask_mov_ps(negative, positive, x)
        };
        let words = std::mem::transmute::<__m512bh, __m512i>(_mm512_cvtne2ps_pbh(half(16), half(0)));
        _mm512_storeu_si512(out.as_mut_ptr().cast(), words);
    }
}

/// `out[i]` = bf16 of `x[i]`.
#[inline]
#[target_feature(enable = "avx512f,avx512bw,avx512vl,avx512bf16")]
pub(crate) fn round(x: &[f32], out: &mut [u16]) {
    let n = out.len();
    assert!(x.len() == n);
    // SAFETY: masked loads and stores touch only the first n elements of each slice.
    unsafe {
        for i in (0..n).step_by(16) {
            let mask = if n - i >= 16 { 0xffff } else { (1u16 << (n - i)) - 1 };
            let x = _mm512_cvtneps_pbh(_mm512_maskz_loadu_ps(mask, x.as_ptr().add(i)));
            let x = std::mem::transmute::<__m256bh, __m256i>(x);
            _mm256_mask_storeu_epi16(out.as_mut_ptr().add(i).cast(), mask, x);
        }
    }
}

/// `out[j * out_stride + i] = src[i * src_stride + j]` for i < `rows`, j < `columns`, both 1 to 16.
#[target_feature(enable = "avx512f")]
pub(crate) fn transpose16(src: &[u32], src_stride: usize, out: &mut [u32], out_stride: usize, size: [usize; 2]) {
    let [rows, columns] = size;
    assert!((1..=16).contains(&rows) && (1..=16).contains(&columns));
    assert!(src.len() >= (rows - 1) * src_stride + columns && out.len() >= (columns - 1) * out_stride + rows);
    let (mask, out_mask) = (0xffff_u16 >> (16 - columns), 0xffff_u16 >> (16 - rows));
    let mut v = [_mm512_setzero_si512(); 16];
    for (i, v) in v.iter_mut().enumerate().take(rows) {
        // SAFETY: row i < rows of `columns` words is inside `src` by the assertion; the mask reads no more.
        *v = unsafe { _mm512_maskz_loadu_epi32(mask, src.as_ptr().add(i * src_stride).cast()) };
    }
    let mut t = v;
    for i in 0..8 {
        t[2 * i] = _mm512_unpacklo_epi32(v[2 * i], v[2 * i + 1]);
        t[2 * i + 1] = _mm512_unpackhi_epi32(v[2 * i], v[2 * i + 1]);
    }
    for i in 0..4 {
        v[4 * i] = _mm512_unpacklo_epi64(t[4 * i], t[4 * i + 2]);
        v[4 * i + 1] = _mm512_unpackhi_epi64(t[4 * i], t[4 * i + 2]);
        v[4 * i + 2] = _mm512_unpacklo_epi64(t[4 * i + 1], t[4 * i + 3]);
        v[4 * i + 3] = _mm512_unpackhi_epi64(t[4 * i + 1], t[4 * i + 3]);
    }
    // Now the 128-bit lanes: v[4 b + c] holds columns c, c + 4, c + 8, c + 12 of rows 4 b .. 4 b + 4.
    for i in 0..4 {
        t[i] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0x88);
        t[i + 4] = _mm512_shuffle_i32x4(v[i], v[i + 4], 0xdd);
        t[i + 8] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0x88);
        t[i + 12] = _mm512_shuffle_i32x4(v[i + 8], v[i + 12], 0xdd);
    }
    for i in 0..4 {
        v[i] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0x88);
        v[i + 8] = _mm512_shuffle_i32x4(t[i], t[i + 8], 0xdd);
        v[i + 4] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0x88);
        v[i + 12] = _mm512_shuffle_i32x4(t[i + 4], t[i + 12], 0xdd);
    }
    for (j, v) in v.iter().enumerate().take(columns) {
        // SAFETY: row j < columns of `rows` words is inside `out` by the assertion; the mask writes no more.
        unsafe { _mm512_mask_storeu_epi32(out.as_mut_ptr().add(j * out_stride).cast(), out_mask, *v) };
    }
}
