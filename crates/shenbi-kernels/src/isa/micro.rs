//! The block product, whatever the instruction set.

#[cfg(target_arch = "aarch64")]
use super::neon;
use super::{BLOCK, Isa, Precision, active_isa, features, portable};
#[cfg(target_arch = "x86_64")]
use super::{amx, avx2, avx512};
use crate::error::KernelError;

/// Where the steps of a packed A block are, in bytes.
static PACKED: [u32; 256] = {
    let mut at = [0; 256];
    let mut i = 0;
    while i < 256 {
        at[i] = i as u32 * 2048;
        i += 1;
    }
    at
};

/// A block product on one instruction set at one precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Micro {
    pub(crate) isa: Isa,
    pub(crate) precision: Precision,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    hardware_bf16: bool,
}

impl Micro {
    /// Steps of 16 words along k that are multiplied in one go where there are no tiles: 16 KiB of B.
    const PART: usize = 8;

    /// The active instruction set's.
    pub(crate) fn active(precision: Precision) -> Result<Self, KernelError> {
        Ok(Self { isa: active_isa()?, precision, hardware_bf16: features().avx512_bf16 })
    }

    /// Values per word: 2 for bf16.
    #[inline(always)]
    pub(crate) fn per_word(self) -> usize {
        self.precision.per_word()
    }

    /// Whether bf16 conversions may use AVX512-BF16.
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    #[inline(always)]
    pub(crate) fn converts_in_hardware(self) -> bool {
        self.hardware_bf16 && matches!(self.isa, Isa::Amx | Isa::Avx512)
    }

    /// Whether products are those of AMX tiles.
    #[inline(always)]
    pub(crate) fn tiles(self) -> bool {
        self.isa == Isa::Amx && self.precision == Precision::Bf16
    }

    /// `values` along k as a number of words, rounded up to what the block product wants.
    pub(crate) fn k_words(self, values: usize) -> usize {
        values.div_ceil(self.per_word()).next_multiple_of(16)
    }

    /// Must be held by a thread while it calls [`Self::block`].
    pub(crate) fn enter(self) -> Session {
        #[cfg(target_arch = "x86_64")]
        if self.tiles() {
            // SAFETY: `Isa::Amx` exists only if `amx::usable()` said so.
            unsafe { amx::configure() };
            return Session { tiles: true };
        }
        Session { tiles: false }
    }

    /// `C[from.len()][columns] = A · B` where A is read in place: step i (of 64 bytes) of its row r begins `offsets[i]`
    /// bytes after `a[from[r]]`. What is past that in C may hold anything afterwards.
    ///
    /// # Safety
    /// All those bytes can be read; `from` has 1 to 32 rows, for [`Self::tiles`] 16 or 32, each 16 at equal distances; `b`
    /// has 512 words for each offset and `c` 1024 floats, both 64-byte aligned; the thread holds an [`Self::enter`]
    /// session.
    #[inline(always)]
    pub(crate) unsafe fn block_at<T>(
        self,
        a: *const T,
        from: &[u32],
        offsets: &[u32],
        b: *const u32,
        c: *mut f32,
        columns: usize,
    ) {
        debug_assert!((1..=BLOCK).contains(&from.len()) && (1..=BLOCK).contains(&columns));
        // SAFETY: the caller's promises; rows that are not there are the first again.
        unsafe {
            let row = |r: usize| a.add(*from.get(r).unwrap_or(&from[0]) as usize).cast::<u8>();
            #[cfg(target_arch = "x86_64")]
            if self.tiles() {
                let stride = from[1].wrapping_sub(from[0]) as usize * size_of::<T>();
                return amx::block_at([row(0), row(16)], stride, offsets, b, c, columns, false);
            }
            self.strips(&std::array::from_fn(row), offsets, b, c, [from.len(), columns], false);
        }
    }

    /// `C[rows][columns] = A · B` (or `+=`), C's rows 32 apart. What is past `size` may hold anything afterwards.
    ///
    /// # Safety
    /// `a` has 32 * `k` words; `b` 32 * `k`, 64-byte aligned; `c` 1024 floats, 64-byte aligned;
    /// both of `size`, rows and columns, are 1 to 32; `k` came from [`Self::k_words`]; the thread holds an [`Self::enter`] session.
    #[inline(always)]
    pub(crate) unsafe fn block(self, k: usize, a: *const u32, b: *const u32, c: *mut f32, size: [usize; 2], add: bool) {
        debug_assert!(size.iter().all(|n| (1..=BLOCK).contains(n)));
        for first in (0..(k / 16).max(1)).step_by(PACKED.len()) {
            let (offsets, add) = (&PACKED[..PACKED.len().min(k / 16 - first)], add || first > 0);
            // SAFETY: the caller's promises; steps lie one after the other, each of 32 rows of 16 words.
            unsafe {
                let (a, b) = (a.add(first * 512).cast::<u8>(), b.add(first * 512));
                #[cfg(target_arch = "x86_64")]
                if self.tiles() {
                    let second = if size[0] > 16 { a.add(1024) } else { a };
                    amx::block_at([a, second], 64, offsets, b, c, size[1], add);
                    continue;
                }
                self.strips(&std::array::from_fn(|r| a.add(r * 64)), offsets, b, c, size, add);
            }
        }
    }

    /// `C = A · B` (or `+=`) with A packed and B read in place: row r of its step i begins at `b + offsets[i] + r * stride`
    /// bytes. Rows of C are 32; its columns past `columns` may hold anything afterwards.
    ///
    /// # Safety
    /// [`Self::tiles`]; `a` has 512 words for each offset; 128 bytes can be read at each row of B; `c` has 1024 floats;
    /// the thread holds an [`Self::enter`] session.
    #[allow(clippy::too_many_arguments)]
    #[inline(always)]
    pub(crate) unsafe fn block_over(
        self,
        a: *const u32,
        b: *const u8,
        stride: usize,
        offsets: &[u32],
        c: *mut f32,
        columns: usize,
        add: bool,
    ) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's promises.
        unsafe {
            amx::block_over(a, b, stride, offsets, c, columns, add)
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (a, b, stride, offsets, c, columns, add);
    }

    /// The product without tiles: step i of row r of A is at `rows[r] + offsets[i]`.
    ///
    /// # Safety
    /// As [`Self::block_at`], for all 32 rows.
    #[inline(always)]
    unsafe fn strips(
        self,
        rows: &[*const u8; BLOCK],
        offsets: &[u32],
        b: *const u32,
        c: *mut f32,
        size: [usize; 2],
        add: bool,
    ) {
        if offsets.is_empty() && !add {
            // SAFETY: C has 1024 floats (caller).
            unsafe { std::slice::from_raw_parts_mut(c, BLOCK * BLOCK) }.fill(0.0);
        }
        // Part of B stays in the L1 cache while the strips of rows pass it.
        for (i, offsets) in offsets.chunks(Self::PART).enumerate() {
            let (add, bf16) = (add || i > 0, self.precision == Precision::Bf16);
            // SAFETY: the caller's promises are those of the kernels; `self.isa` is available by construction.
            unsafe {
                let b = b.add(i * Self::PART * 512);
                match self.isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Amx | Isa::Avx512 if !bf16 => avx512::block_f32(rows, offsets, b, c, size, add),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Amx | Isa::Avx512 if self.hardware_bf16 => avx512::block_bf16(rows, offsets, b, c, size, add),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Amx | Isa::Avx512 => avx512::block_bf16_emulated(rows, offsets, b, c, size, add),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => avx2::block(rows, offsets, b, c, size, add, bf16),
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon => neon::block(rows, offsets, b, c, size, add, bf16),
                    _ => portable::block(rows, offsets, b, c, size, add, bf16),
                }
            }
        }
    }
}

/// Holds a thread's tile configuration; gives it back on drop.
pub(crate) struct Session {
    tiles: bool,
}

impl Drop for Session {
    fn drop(&mut self) {
        #[cfg(target_arch = "x86_64")]
        if self.tiles {
            // SAFETY: this session configured the tiles on this thread.
            unsafe { amx::release() };
        }
        let _ = self.tiles;
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::isa::available_isas;
    use crate::scratch::{self, Slot};

    /// Every block product, also the emulated one that no CPU with AVX512-BF16 chooses, for all row counts.
    #[test]
    fn block_products() {
        let micros = available_isas().into_iter().flat_map(|isa| {
            let each = [(Precision::F32, true), (Precision::Bf16, true), (Precision::Bf16, false)];
            each.map(|(precision, native)| Micro { isa, precision, hardware_bf16: native && features().avx512_bf16 })
        });
        let value = |i: usize| (i * 37 % 17) as f32 - 8.0; // exact in bf16
        for micro in micros {
            for (values, rows) in [1, 31, 64, 9000].into_iter().flat_map(|k| (1..=32).map(move |r| (k, r))) {
                if values > 64 && rows % 13 != 0 {
                    continue;
                }
                let columns = if rows % 2 == 0 { 32 } else { 1 + rows / 2 };
                let k = micro.k_words(values);
                let mut buffers = [32 * k, 32 * k, 1024].map(|n| scratch::take(Slot::Row, n));
                buffers.iter_mut().for_each(|b| b.fill(0));
                let [a, b, c] = &mut buffers;
                let word = |f: &dyn Fn(usize) -> f32, i: usize| match micro.precision {
                    Precision::F32 => {
                        if i < values {
                            f(i).to_bits()
                        } else {
                            0
                        }
                    }
                    Precision::Bf16 => {
                        let bits = |i: usize| if i < values { f(i).to_bits() >> 16 } else { 0 };
                        bits(2 * i) | bits(2 * i + 1) << 16
                    }
                };
                for (i, j) in (0..k).flat_map(|i| (0..32).map(move |j| (i, j))) {
                    a[i / 16 * 512 + j * 16 + i % 16] = word(&|l| value(l + 5 * j), i);
                    b[i * 32 + j] = word(&|l| value(3 * l + j), i);
                }
                let _session = micro.enter();
                for add in [false, true] {
                    // SAFETY: buffers of the sizes demanded; the session is held.
                    unsafe {
                        micro.block(k, a.as_ptr(), b.as_ptr(), c.as_f32_mut().as_mut_ptr(), [rows, columns], add)
                    };
                }
                for (r, j) in (0..rows).flat_map(|r| (0..columns).map(move |j| (r, j))) {
                    let want: f32 = (0..values).map(|l| value(l + 5 * r) * value(3 * l + j)).sum();
                    assert_eq!(c.as_f32_mut()[r * 32 + j], 2.0 * want, "{micro:?} k {values} rows {rows} at {r} {j}");
                }
            }
        }
    }
}
