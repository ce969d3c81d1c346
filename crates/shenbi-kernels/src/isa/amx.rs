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

/// `C = A · B` (or `+=`): step i (of 64 bytes) of row r of A is at `a[r / 16] + (r % 16) * stride + offsets[i]`; the rest
/// as in [`super::Micro::block_at`].
///
/// # Safety
/// As there, and the tiles are configured.
#[inline(always)]
pub(super) unsafe fn block_at(
    a: [*const u8; 2],
    stride: usize,
    offsets: &[u32],
    b: *const u32,
    c: *mut f32,
    columns: usize,
    add: bool,
) {
    if offsets.is_empty() {
        if !add {
            // SAFETY: C has 1024 floats (caller).
            unsafe { std::slice::from_raw_parts_mut(c, 1024) }.fill(0.0);
        }
        return;
    }
    // SAFETY: the caller's promises.
    unsafe { if columns > 16 { wide(a, stride, offsets, b, c, add) } else { narrow(a, stride, offsets, b, c, add) } }
}

/// 32 columns: tmm0..3 are C, tmm4..5 the two halves of A, tmm6..7 those of B.
unsafe fn wide(a: [*const u8; 2], stride: usize, offsets: &[u32], b: *const u32, c: *mut f32, add: bool) {
    // SAFETY: the tile rows of A are the bytes that the caller vouches for; B has 2 KiB for each offset, C 4 KiB.
    unsafe {
        asm!(
            "test {at:e}, {at:e}",
            "jz 2f",
            "tileloadd tmm0, [{c} + {s128}*1]",
            "tileloadd tmm1, [{c} + {s128}*1 + 64]",
            "tileloadd tmm2, [{c} + {s128}*1 + 2048]",
            "tileloadd tmm3, [{c} + {s128}*1 + 2112]",
            "jmp 3f",
            "2:",
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
            at = inout(reg) u64::from(add) => _,
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

/// The first 16 columns only.
unsafe fn narrow(a: [*const u8; 2], stride: usize, offsets: &[u32], b: *const u32, c: *mut f32, add: bool) {
    // SAFETY: as in `wide`.
    unsafe {
        asm!(
            "test {at:e}, {at:e}",
            "jz 2f",
            "tileloadd tmm0, [{c} + {s128}*1]",
            "tileloadd tmm2, [{c} + {s128}*1 + 2048]",
            "jmp 3f",
            "2:",
            "tilezero tmm0", "tilezero tmm2",
            "3:",
            "mov {at:e}, dword ptr [{offset}]",
            "tileloadd tmm6, [{b} + {s128}*1]",
            "lea {row}, [{a0} + {at}]",
            "tileloadd tmm4, [{row} + {stride}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "lea {row}, [{a1} + {at}]",
            "tileloadd tmm5, [{row} + {stride}*1]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "add {offset}, 4",
            "add {b}, 2048",
            "dec {steps}",
            "jnz 3b",
            "tilestored [{c} + {s128}*1], tmm0",
            "tilestored [{c} + {s128}*1 + 2048], tmm2",
            c = in(reg) c,
            a0 = in(reg) a[0],
            a1 = in(reg) a[1],
            at = inout(reg) u64::from(add) => _,
            row = out(reg) _,
            offset = inout(reg) offsets.as_ptr() => _,
            b = inout(reg) b => _,
            steps = inout(reg) offsets.len() => _,
            stride = in(reg) stride,
            s128 = in(reg) 128usize,
            out("tmm0") _, out("tmm2") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
            options(nostack)
        );
    }
}

/// `C = A · B` (or `+=`) with A packed and B where it is: step i of A is the 32 rows of 64 bytes at `a + 2048 i` bytes; row
/// r of step i of B, 64 bytes or for more than 16 columns 128, is at `b + offsets[i] + r * stride`.
///
/// # Safety
/// All those bytes can be read; `c` has 1024 floats; the tiles are configured.
#[inline(always)]
pub(super) unsafe fn block_over(
    a: *const u32,
    b: *const u8,
    stride: usize,
    offsets: &[u32],
    c: *mut f32,
    columns: usize,
    add: bool,
) {
    debug_assert!(!offsets.is_empty());
    // SAFETY: the caller's promises.
    unsafe {
        if columns > 16 { wide_over(a, b, stride, offsets, c, add) } else { narrow_over(a, b, stride, offsets, c, add) }
    }
}

/// 32 columns: the tiles are those of [`wide`].
unsafe fn wide_over(a: *const u32, b: *const u8, stride: usize, offsets: &[u32], c: *mut f32, add: bool) {
    // SAFETY: the tile rows of B are the bytes that the caller vouches for; A has 2 KiB for each offset, C 4 KiB.
    unsafe {
        asm!(
            "test {at:e}, {at:e}",
            "jz 2f",
            "tileloadd tmm0, [{c} + {s128}*1]",
            "tileloadd tmm1, [{c} + {s128}*1 + 64]",
            "tileloadd tmm2, [{c} + {s128}*1 + 2048]",
            "tileloadd tmm3, [{c} + {s128}*1 + 2112]",
            "jmp 3f",
            "2:",
            "tilezero tmm0", "tilezero tmm1", "tilezero tmm2", "tilezero tmm3",
            "3:",
            "mov {at:e}, dword ptr [{offset}]",
            "tileloadd tmm4, [{a} + {s64}*1]",
            "add {at}, {b}",
            "tileloadd tmm6, [{at} + {stride}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm7, [{at} + {stride}*1 + 64]",
            "tdpbf16ps tmm1, tmm4, tmm7",
            "tileloadd tmm5, [{a} + {s64}*1 + 1024]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "add {offset}, 4",
            "add {a}, 2048",
            "tdpbf16ps tmm3, tmm5, tmm7",
            "dec {steps}",
            "jnz 3b",
            "tilestored [{c} + {s128}*1], tmm0",
            "tilestored [{c} + {s128}*1 + 64], tmm1",
            "tilestored [{c} + {s128}*1 + 2048], tmm2",
            "tilestored [{c} + {s128}*1 + 2112], tmm3",
            c = in(reg) c,
            a = inout(reg) a => _,
            b = in(reg) b,
            at = inout(reg) u64::from(add) => _,
            offset = inout(reg) offsets.as_ptr() => _,
            steps = inout(reg) offsets.len() => _,
            stride = in(reg) stride,
            s64 = in(reg) 64usize,
            s128 = in(reg) 128usize,
            out("tmm0") _, out("tmm1") _, out("tmm2") _, out("tmm3") _,
            out("tmm4") _, out("tmm5") _, out("tmm6") _, out("tmm7") _,
            options(nostack)
        );
    }
}

/// The first 16 columns only.
unsafe fn narrow_over(a: *const u32, b: *const u8, stride: usize, offsets: &[u32], c: *mut f32, add: bool) {
    // SAFETY: as in `wide_over`.
    unsafe {
        asm!(
            "test {at:e}, {at:e}",
            "jz 2f",
            "tileloadd tmm0, [{c} + {s128}*1]",
            "tileloadd tmm2, [{c} + {s128}*1 + 2048]",
            "jmp 3f",
            "2:",
            "tilezero tmm0", "tilezero tmm2",
            "3:",
            "mov {at:e}, dword ptr [{offset}]",
            "tileloadd tmm4, [{a} + {s64}*1]",
            "add {at}, {b}",
            "tileloadd tmm6, [{at} + {stride}*1]",
            "tdpbf16ps tmm0, tmm4, tmm6",
            "tileloadd tmm5, [{a} + {s64}*1 + 1024]",
            "tdpbf16ps tmm2, tmm5, tmm6",
            "add {offset}, 4",
            "add {a}, 2048",
            "dec {steps}",
            "jnz 3b",
            "tilestored [{c} + {s128}*1], tmm0",
            "tilestored [{c} + {s128}*1 + 2048], tmm2",
            c = in(reg) c,
            a = inout(reg) a => _,
            b = in(reg) b,
            at = inout(reg) u64::from(add) => _,
            offset = inout(reg) offsets.as_ptr() => _,
            steps = inout(reg) offsets.len() => _,
            stride = in(reg) stride,
            s64 = in(reg) 64usize,
            s128 = in(reg) 128usize,
            out("tmm0") _, out("tmm2") _, out("tmm4") _, out("tmm5") _, out("tmm6") _,
            options(nostack)
        );
    }
}
