//! From f32 slices to packed words (see [`crate::isa`]): conversion, A blocks, transposition.
#![allow(unsafe_code)]

use crate::isa::{BLOCK, Layout, Micro, Parts, Precision};
use crate::parallel::SharedMut;
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

/// Writes one row of `k` words to its place in an A block.
#[inline(always)]
fn place_row(layout: Layout, row: usize, words: &[u32], block: &mut [u32]) {
    match layout {
        Layout::Tiles => {
            for (tiles, words) in block.chunks_exact_mut(512).zip(words.chunks_exact(16)) {
                tiles[row * 16..][..16].copy_from_slice(words);
            }
        }
        Layout::Strips => {
            let strip = &mut block[row / 8 * 8 * words.len()..][..8 * words.len()];
            for (group, &w) in strip.chunks_exact_mut(8).zip(words) {
                group[row % 8] = w;
            }
        }
    }
}

/// Packs block `block` of `blocks` of an A operand, whose row r (of `rows`) is made by `fill(r, words)`; the other rows
/// become zero. `row` is scratch of the parts' total length.
///
/// # Safety
/// No one else uses this block of `packed` meanwhile.
#[inline(always)]
pub(crate) unsafe fn pack_a_block(
    layout: Layout,
    parts: Parts,
    [block, blocks]: [usize; 2],
    rows: usize,
    row: &mut [u32],
    packed: SharedMut<'_, u32>,
    mut fill: impl FnMut(usize, &mut [u32]),
) {
    for r in 0..BLOCK {
        match r.cmp(&rows) {
            Ordering::Less => fill(r, row),
            Ordering::Equal => row.fill(0),
            Ordering::Greater => {}
        }
        for (at, len) in parts.iter() {
            // SAFETY: this block's words, which are the caller's to write.
            let out = unsafe { packed.slice(BLOCK * (at * blocks + block * len), BLOCK * len) };
            place_row(layout, r, &row[at..at + len], out);
        }
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
            if height == 16 && width == 16 && matches!(micro.isa, crate::isa::Isa::Amx | crate::isa::Isa::Avx512) {
                // SAFETY: both ISAs imply AVX-512 F; the function checks the slices' lengths.
                unsafe { crate::isa::avx512::transpose16(src, src_stride, out, out_stride) };
                continue;
            }
            for i in 0..height {
                for j in 0..width {
                    out[j * out_stride + i] = src[i * src_stride + j];
                }
            }
        }
    }
    let _ = micro;
}
