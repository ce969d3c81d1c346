//! From f32 slices to packed words (see [`crate::isa`]): conversion, A blocks, transposition.
#![allow(unsafe_code)]

use crate::isa::{BLOCK, Isa, Micro, Precision};
use std::cmp::Ordering;

/// The nearest bf16, ties to even; a NaN stays a NaN.
#[inline(always)]
pub(crate) fn round_bf16(x: f32) -> u16 {
    let bits = x.to_bits();
    let rounded = bits.wrapping_add(0x7fff + (bits >> 16 & 1));
    (if x.is_nan() { bits | 0x40_0000 } else { rounded } >> 16) as u16
}

#[inline(always)]
pub(crate) fn word(low: f32, high: f32) -> u32 {
    u32::from(round_bf16(low)) | u32::from(round_bf16(high)) << 16
}

/// One row of words from the rows `low` and `high` that are neighbours along k: f32 takes `low` alone; in bf16 a
/// missing `high` is zero.
#[inline(always)]
pub(crate) fn rows_to_words(micro: Micro, low: &[f32], high: Option<&[f32]>, out: &mut [u32]) {
    match (micro.precision, high) {
        (Precision::F32, _) => {
            // A whole row is two registers: a call that copies would take longer.
            if let (Some(out), Some(low)) = (out.first_chunk_mut::<BLOCK>(), low.first_chunk::<BLOCK>()) {
                *out = low.map(f32::to_bits);
                return;
            }
            for (o, l) in out.iter_mut().zip(low) {
                *o = l.to_bits();
            }
        }
        (Precision::Bf16, None) => {
            for (o, &l) in out.iter_mut().zip(low) {
                *o = u32::from(round_bf16(l));
            }
        }
        (Precision::Bf16, Some(high)) => {
            #[cfg(target_arch = "x86_64")]
            if micro.converts_in_hardware() {
                // SAFETY: `converts_in_hardware` says that AVX-512 with BF16 is there.
                return unsafe { crate::isa::avx512::pair_words(low, high, out) };
            }
            for ((o, &l), &h) in out.iter_mut().zip(low).zip(high) {
                *o = word(l, h);
            }
        }
    }
}

/// Values that are contiguous along k, as words; `out` past the last value becomes zero.
#[inline(always)]
pub(crate) fn run_to_words(micro: Micro, values: &[f32], out: &mut [u32]) {
    let used = values.len().div_ceil(micro.per_word());
    out[used..].fill(0);
    match micro.precision {
        Precision::F32 => {
            for (o, v) in out.iter_mut().zip(values) {
                *o = v.to_bits();
            }
        }
        Precision::Bf16 => {
            let whole = values.len() / 2;
            if values.len() % 2 == 1 {
                out[whole] = u32::from(round_bf16(values[values.len() - 1]));
            }
            #[cfg(target_arch = "x86_64")]
            if micro.converts_in_hardware() {
                let out: &mut [u32] = &mut out[..whole];
                // SAFETY: `whole` words are 2 * `whole` halves; x86 is little-endian, so the first is the low half.
                let halves = unsafe { std::slice::from_raw_parts_mut(out.as_mut_ptr().cast::<u16>(), 2 * whole) };
                // SAFETY: `converts_in_hardware` says that AVX-512 with BF16 is there.
                return unsafe { crate::isa::avx512::round(&values[..2 * whole], halves) };
            }
            for (o, v) in out.iter_mut().zip(values.chunks_exact(2)) {
                *o = word(v[0], v[1]);
            }
        }
    }
}

/// Writes one row of words to its place in an A block.
#[inline(always)]
fn place_row(row: usize, words: &[u32], block: &mut [u32]) {
    for (step, words) in block.chunks_exact_mut(512).zip(words.chunks_exact(16)) {
        if let (Some(step), Some(words)) = (step[row * 16..].first_chunk_mut::<16>(), words.first_chunk::<16>()) {
            *step = *words;
        }
    }
}

/// Packs an A block whose row r (of `rows`) is made by `fill(r, words)`; the other rows become zero. `row` is scratch of
/// the row's length.
#[inline(always)]
pub(crate) fn pack_a_block(rows: usize, row: &mut [u32], packed: &mut [u32], mut fill: impl FnMut(usize, &mut [u32])) {
    for r in 0..BLOCK {
        match r.cmp(&rows) {
            Ordering::Less => fill(r, row),
            Ordering::Equal => row.fill(0),
            Ordering::Greater => {}
        }
        place_row(r, row, packed);
    }
}

/// `out[j * out_stride + i] = src[i * src_stride + j]` for i < `rows`, j < `columns`.
#[inline(always)]
pub(crate) fn transpose(
    micro: Micro,
    src: &[u32],
    src_stride: usize,
    out: &mut [u32],
    out_stride: usize,
    rows: usize,
    columns: usize,
) {
    for i in (0..rows).step_by(16) {
        for j in (0..columns).step_by(16) {
            let (height, width) = (16.min(rows - i), 16.min(columns - j));
            let (src, out) = (&src[i * src_stride + j..], &mut out[j * out_stride + i..]);
            #[cfg(target_arch = "x86_64")]
            if matches!(micro.isa, Isa::Amx | Isa::Avx512) {
                // SAFETY: both ISAs imply AVX-512 F; the function checks the slices' lengths.
                unsafe { crate::isa::avx512::transpose16(src, src_stride, out, out_stride, [height, width]) };
                continue;
            }
            let small = match micro.isa {
                #[cfg(target_arch = "x86_64")]
                Isa::Avx2 => 8,
                #[cfg(target_arch = "aarch64")]
                Isa::Neon => 4,
                _ => 16,
            };
            for (i, j) in (0..height).step_by(small).flat_map(|i| (0..width).step_by(small).map(move |j| (i, j))) {
                let (src, out) = (&src[i * src_stride + j..], &mut out[j * out_stride + i..]);
                let (height, width) = (small.min(height - i), small.min(width - j));
                match micro.isa {
                    #[cfg(target_arch = "x86_64")]
                    // SAFETY: this ISA implies AVX2; the function checks the slices' lengths.
                    Isa::Avx2 if height == 8 && width == 8 => unsafe {
                        crate::isa::avx2::transpose8(src, src_stride, out, out_stride)
                    },
                    #[cfg(target_arch = "aarch64")]
                    // SAFETY: this ISA implies NEON; the function checks the slices' lengths.
                    Isa::Neon if height == 4 && width == 4 => unsafe {
                        crate::isa::neon::transpose4(src, src_stride, out, out_stride)
                    },
                    _ => {
                        for (i, j) in (0..height).flat_map(|i| (0..width).map(move |j| (i, j))) {
                            out[j * out_stride + i] = src[i * src_stride + j];
                        }
                    }
                }
            }
        }
    }
}

/// The B panel whose rows along k are the 32 f32 at `stage[row]` for each of `rows`, and zero beyond.
#[inline(always)]
pub(crate) fn pair_panel(micro: Micro, stage: &[u32], mut rows: impl Iterator<Item = usize>, panel: &mut [u32]) {
    let floats = |at: usize| {
        // SAFETY: f32 and u32 have the same size and alignment, and every bit pattern is valid for both.
        let (_, floats, _) = unsafe { stage[at..at + BLOCK].align_to::<f32>() };
        floats
    };
    let zeros = [0.0; BLOCK];
    for out in panel.chunks_exact_mut(BLOCK) {
        let Some(low) = rows.next() else {
            out.fill(0);
            continue;
        };
        let high = if micro.per_word() == 2 { rows.next().map_or(&zeros[..], floats) } else { &zeros };
        rows_to_words(micro, floats(low), Some(high), out);
    }
}
