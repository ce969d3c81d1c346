//! AMX-BF16 from stable Rust: permission, tile configuration, and the 32x32 block on 2x2 tiles.

use std::arch::asm;
use std::arch::x86_64::__cpuid_count;

/// Whether the CPU has AMX-BF16 and the kernel lets this process use the tile registers (asked once by the caller).
pub(crate) fn usable() -> bool {
    let max_leaf = __cpuid_count(0, 0).eax;
    if max_leaf < 7 {
        return false;
    }
    let edx = __cpuid_count(7, 0).edx;
    let (bf16, tile) = (edx >> 22 & 1, edx >> 24 & 1);
    bf16 == 1 && tile == 1 && request_permission()
}

/// Asks Linux for the tile state of all threads of this process: `arch_prctl(ARCH_REQ_XCOMP_PERM, XTILEDATA)`.
#[cfg(target_os = "linux")]
fn request_permission() -> bool {
    const SYS_ARCH_PRCTL: isize = 158;
    const ARCH_REQ_XCOMP_PERM: usize = 0x1023;
    const XFEATURE_XTILEDATA: usize = 18;
    let result: isize;
    // SAFETY: the system call reads its two integer arguments only; `syscall` clobbers rcx and r11.
    unsafe {
        asm!(
            "syscall",
            inlateout("rax") SYS_ARCH_PRCTL => result,
            in("rdi") ARCH_REQ_XCOMP_PERM,
            in("rsi") XFEATURE_XTILEDATA,
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack)
        );
    }
    result == 0
}

#[cfg(not(target_os = "linux"))]
fn request_permission() -> bool {
    false
}

/// The operand of `ldtilecfg`.
#[repr(C, align(64))]
struct TileConfig {
    palette: u8,
    start_row: u8,
    reserved: [u8; 14],
    bytes_per_row: [u16; 16],
    rows: [u8; 16],
}

/// Sets all eight tiles of this thread to 16 rows of 64 bytes.
///
/// # Safety
/// [`usable`] returned true.
pub(crate) unsafe fn configure() {
    let mut config = TileConfig { palette: 1, start_row: 0, reserved: [0; 14], bytes_per_row: [0; 16], rows: [0; 16] };
    config.bytes_per_row[..8].fill(64);
    config.rows[..8].fill(16);
    // SAFETY: the operand is a valid 64-byte palette-1 configuration.
    unsafe { asm!("ldtilecfg [{0}]", in(reg) &config, options(nostack, readonly)) }
}

/// Returns this thread's tiles to their initial state, so that the kernel need not save them.
///
/// # Safety
/// [`usable`] returned true, and no tile's content is needed any more.
pub(crate) unsafe fn release() {
    // SAFETY: touches tile registers only.
    unsafe { asm!("tilerelease", options(nostack, nomem)) }
}

/// See [`super::Micro::block`]; `k` is a multiple of 16.
///
/// # Safety
/// As there, and the tiles are configured.
#[inline(always)]
pub(super) unsafe fn block(k: usize, a: *const u32, b: *const u32, c: *mut f32, rows: usize, add: bool) {
    // SAFETY: the caller's promises.
    unsafe { if rows > 16 { full(k / 16, a, b, c, add) } else { half(k / 16, a, b, c, add) } }
}

/// 32 rows: tmm0..3 are C, tmm4..5 the two halves of A, tmm6..7 those of B.
/// B is in L1; A, which streams from L2, is prefetched two steps ahead, spread between the products.
unsafe fn full(steps: usize, a: *const u32, b: *const u32, c: *mut f32, add: bool) {
    // SAFETY: A and B have 2 * `steps` KiB, C 4 KiB (caller). Prefetches do not fault.
    unsafe {
        asm!(
            "test {add:e}, {add:e}",
            "jz 2f",
            "tileloadd tmm0, [{c} + {s128}*1]",
            "tileloadd tmm1, [{c} + {s128}*1 + 64]",
            "tileloadd tmm2, [{c} + {s128}*1 + 2048]",
            "tileloadd tmm3, [{c} + {s128}*1 + 2112]",
            "jmp 3f",
            "2:",
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "3:",
            "tileloadd tmm6, [{b} + {s128}*1]",
            "tileloadd tmm4, [{a} + {s64}*1]",
            "tileloadd tmm7, [{b} + {s128}*1 + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "prefetcht0 [{a} + 4096]",
            "prefetcht0 [{a} + 4160]",
            "prefetcht0 [{a} + 4224]",
            "prefetcht0 [{a} + 4288]",
            "prefetcht0 [{a} + 4352]",
            "prefetcht0 [{a} + 4416]",
            "prefetcht0 [{a} + 4480]",
            "prefetcht0 [{a} + 4544]",
            "tileloadd tmm5, [{a} + {s64}*1 + 1024]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "prefetcht0 [{a} + 4608]",
            "prefetcht0 [{a} + 4672]",
            "prefetcht0 [{a} + 4736]",
            "prefetcht0 [{a} + 4800]",
            "prefetcht0 [{a} + 4864]",
            "prefetcht0 [{a} + 4928]",
            "prefetcht0 [{a} + 4992]",
            "prefetcht0 [{a} + 5056]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "prefetcht0 [{a} + 5120]",
            "prefetcht0 [{a} + 5184]",
            "prefetcht0 [{a} + 5248]",
            "prefetcht0 [{a} + 5312]",
            "prefetcht0 [{a} + 5376]",
            "prefetcht0 [{a} + 5440]",
            "prefetcht0 [{a} + 5504]",
            "prefetcht0 [{a} + 5568]",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "prefetcht0 [{a} + 5632]",
            "prefetcht0 [{a} + 5696]",
            "prefetcht0 [{a} + 5760]",
            "prefetcht0 [{a} + 5824]",
            "prefetcht0 [{a} + 5888]",
            "prefetcht0 [{a} + 5952]",
            "prefetcht0 [{a} + 6016]",
            "prefetcht0 [{a} + 6080]",
            "add {a}, 2048",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 3b",
            "tilestored [{c} + {s128}*1], tmm0",
            "tilestored [{c} + {s128}*1 + 64], tmm1",
            "tilestored [{c} + {s128}*1 + 2048], tmm2",
            "tilestored [{c} + {s128}*1 + 2112], tmm3",
            add = in(reg) u32::from(add),
            c = in(reg) c,
            a = inout(reg) a => _,
            b = inout(reg) b => _,
            steps = inout(reg) steps => _,
            s64 = in(reg) 64usize,
            s128 = in(reg) 128usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        );
    }
}

/// The first 16 rows only.
unsafe fn half(steps: usize, a: *const u32, b: *const u32, c: *mut f32, add: bool) {
    // SAFETY: A and B have 2 * `steps` KiB, C 2 KiB (caller).
    unsafe {
        asm!(
            "test {add:e}, {add:e}",
            "jz 2f",
            "tileloadd tmm0, [{c} + {s128}*1]",
            "tileloadd tmm1, [{c} + {s128}*1 + 64]",
            "jmp 3f",
            "2:",
            "tilezero tmm0", "tilezero tmm1",
            "3:",
            "tileloadd tmm4, [{a} + {s64}*1]",
            "tileloadd tmm6, [{b} + {s128}*1]",
            "tileloadd tmm7, [{b} + {s128}*1 + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {a}, 2048",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 3b",
            "tilestored [{c} + {s128}*1], tmm0",
            "tilestored [{c} + {s128}*1 + 64], tmm1",
            add = in(reg) u32::from(add),
            c = in(reg) c,
            a = inout(reg) a => _,
            b = inout(reg) b => _,
            steps = inout(reg) steps => _,
            s64 = in(reg) 64usize,
            s128 = in(reg) 128usize,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        );
    }
}

/// See [`super::Micro::block_at`].
///
/// # Safety
/// As there, and the tiles are configured.
#[inline(always)]
pub(super) unsafe fn block_at(a: [*const u8; 2], stride: usize, offsets: &[u32], b: *const u32, c: *mut f32) {
    if offsets.is_empty() {
        // SAFETY: C has 1024 floats (caller).
        return unsafe { std::slice::from_raw_parts_mut(c, 1024) }.fill(0.0);
    }
    // SAFETY: the caller's promises.
    unsafe { if a[1].is_null() { half_at(a[0], stride, offsets, b, c) } else { full_at(a, stride, offsets, b, c) } }
}

/// 32 rows, in place: tmm0..3 are C, tmm4..5 the two halves of A, tmm6..7 those of B.
unsafe fn full_at(a: [*const u8; 2], stride: usize, offsets: &[u32], b: *const u32, c: *mut f32) {
    // SAFETY: the tile rows are the bytes that the caller vouches for; B has 2 KiB for each offset, C 4 KiB.
    // Prefetches do not fault.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "3:",
            "mov {at:e}, dword ptr [{offset}]",
            "tileloadd tmm6, [{b} + {s128}*1]",
            "lea {row}, [{a0} + {at}]",
            "tileloadd tmm4, [{row} + {stride}*1]",
            "tileloadd tmm7, [{b} + {s128}*1 + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "lea {row}, [{a1} + {at}]",
            "tileloadd tmm5, [{row} + {stride}*1]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "add {offset}, 4",
            "add {b}, 2048",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {steps}",
            "jnz 3b",
            "tilestored [{c} + {s128}*1], tmm0",
            "tilestored [{c} + {s128}*1 + 64], tmm1",
            "tilestored [{c} + {s128}*1 + 2048], tmm2",
            "tilestored [{c} + {s128}*1 + 2112], tmm3",
            c = in(reg) c,
            a0 = in(reg) a[0],
            a1 = in(reg) a[1],
            at = out(reg) _,
            row = out(reg) _,
            offset = inout(reg) offsets.as_ptr() => _,
            b = inout(reg) b => _,
            steps = inout(reg) offsets.len() => _,
            stride = in(reg) stride,
            s128 = in(reg) 128usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        );
    }
}

/// 16 rows, in place.
unsafe fn half_at(a: *const u8, stride: usize, offsets: &[u32], b: *const u32, c: *mut f32) {
    // SAFETY: as in `full_at`.
    unsafe {
        asm!(
            "tilezero tmm0", "tilezero tmm1",
            "3:",
            "mov {at:e}, dword ptr [{offset}]",
            "add {at}, {a}",
            "tileloadd tmm6, [{b} + {s128}*1]",
            "tileloadd tmm4, [{at} + {stride}*1]",
            "tileloadd tmm7, [{b} + {s128}*1 + 64]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "add {offset}, 4",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 3b",
            "tilestored [{c} + {s128}*1], tmm0",
            "tilestored [{c} + {s128}*1 + 64], tmm1",
            c = in(reg) c,
            a = in(reg) a,
            at = out(reg) _,
            offset = inout(reg) offsets.as_ptr() => _,
            b = inout(reg) b => _,
            steps = inout(reg) offsets.len() => _,
            stride = in(reg) stride,
            s128 = in(reg) 128usize,
            out("tmm0") _, out("tmm1") _, out("tmm4") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        );
    }
}
