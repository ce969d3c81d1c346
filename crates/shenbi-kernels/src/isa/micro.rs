//! The block product, whatever the instruction set.

#[cfg(target_arch = "aarch64")]
use super::neon;
use super::{BLOCK, Isa, Precision, active_isa, features, portable};
#[cfg(target_arch = "x86_64")]
use super::{amx, avx2, avx512};
use crate::error::KernelError;

/// A block product on one instruction set at one precision.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Micro {
    pub(crate) isa: Isa,
    pub(crate) precision: Precision,
    #[cfg_attr(not(target_arch = "x86_64"), allow(dead_code))]
    hardware_bf16: bool,
}

impl Micro {
    /// Words along k that are multiplied in one go where there are no tiles: 16 KiB of B.
    const PART: usize = 128;

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

    #[inline(always)]
    fn tiles(self) -> bool {
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

    /// Whether [`Self::block_at`] is there.
    #[inline(always)]
    pub(crate) fn reads_in_place(self) -> bool {
        self.tiles()
    }

    /// `C = A · B` where A need not be packed: step i (of 64 bytes) of its row r is at
    /// `a[r / 16] + (r % 16) * stride + offsets[i]` bytes. Columns of C past `columns` may hold anything afterwards.
    ///
    /// # Safety
    /// [`Self::reads_in_place`]; all those bytes can be read; `b` has 512 words for each offset and `c` 1024 floats,
    /// both 64-byte aligned; the thread holds an [`Self::enter`] session.
    #[inline(always)]
    pub(crate) unsafe fn block_at(
        self,
        a: [*const u8; 2],
        stride: usize,
        offsets: &[u32],
        b: *const u32,
        c: *mut f32,
        columns: usize,
    ) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: the caller's promises.
        unsafe {
            amx::block_at(a, stride, offsets, b, c, columns, false);
        }
        #[cfg(not(target_arch = "x86_64"))]
        let _ = (a, stride, offsets, b, c, columns);
    }

    /// `C[rows][columns] = A · B` (or `+=`), C's rows 32 apart. What is past `size` may hold anything afterwards.
    ///
    /// # Safety
    /// `a` has 32 * `k` words; `b` 32 * `k`, 64-byte aligned; `c` 1024 floats, 64-byte aligned;
    /// both of `size`, rows and columns, are 1 to 32; `k` came from [`Self::k_words`]; the thread holds an [`Self::enter`] session.
    #[inline(always)]
    pub(crate) unsafe fn block(self, k: usize, a: *const u32, b: *const u32, c: *mut f32, size: [usize; 2], add: bool) {
        debug_assert!(size.iter().all(|n| (1..=BLOCK).contains(n)));
        // SAFETY: the caller's promises are those of the kernels; `self.isa` is available by construction.
        unsafe {
            if k == 0 {
                if !add {
                    std::slice::from_raw_parts_mut(c, BLOCK * BLOCK).fill(0.0);
                }
                return;
            }
            #[cfg(target_arch = "x86_64")]
            if self.tiles() {
                return amx::block(k, a, b, c, size, add);
            }
            // Part of B stays in the L1 cache while the strips of rows pass it.
            for at in (0..k).step_by(Self::PART) {
                let (k, a, b, add) = (Self::PART.min(k - at), a.add(32 * at), b.add(32 * at), add || at > 0);
                let bf16 = self.precision == Precision::Bf16;
                match self.isa {
                    #[cfg(target_arch = "x86_64")]
                    Isa::Amx | Isa::Avx512 if !bf16 => avx512::block_f32(k, a, b, c, size, add),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Amx | Isa::Avx512 if self.hardware_bf16 => avx512::block_bf16(k, a, b, c, size, add),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Amx | Isa::Avx512 => avx512::block_bf16_emulated(k, a, b, c, size, add),
                    #[cfg(target_arch = "x86_64")]
                    Isa::Avx2 => avx2::block(k, a, b, c, size, add, bf16),
                    #[cfg(target_arch = "aarch64")]
                    Isa::Neon => neon::block(k, a, b, c, size, add, bf16),
                    _ => portable::block(k, a, b, c, size, add, bf16),
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
