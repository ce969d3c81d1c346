//! The block product in plain Rust: fixed-size arrays that the compiler keeps in vector registers (SSE2 on x86-64).
//! It also defines what the others must compute.

/// Columns per register tile.
const COLUMNS: usize = 8;
/// Rows per register tile; NEON has twice the registers of SSE2.
const ROWS: usize = if cfg!(target_arch = "aarch64") { 8 } else { 4 };

/// See [`super::Micro::block`].
///
/// # Safety
/// As there.
pub(super) unsafe fn block(
    k: usize,
    a: *const u32,
    b: *const u32,
    c: *mut f32,
    size: [usize; 2],
    add: bool,
    bf16: bool,
) {
    // SAFETY: the sizes are the caller's promise.
    let (a, b, c) = unsafe {
        (
            std::slice::from_raw_parts(a, 32 * k),
            std::slice::from_raw_parts(b, 32 * k),
            std::slice::from_raw_parts_mut(c, 1024),
        )
    };
    for r in (0..size[0]).step_by(ROWS) {
        for col in (0..size[1]).step_by(COLUMNS) {
            if bf16 {
                tile::<true>(a, r, b, col, &mut c[r * 32..], add)
            } else {
                tile::<false>(a, r, b, col, &mut c[r * 32..], add)
            }
        }
    }
}

#[inline(always)]
fn tile<const BF16: bool>(a: &[u32], row: usize, b: &[u32], col: usize, c: &mut [f32], add: bool) {
    let mut acc = [[0.0f32; COLUMNS]; ROWS];
    if add {
        for (r, acc) in acc.iter_mut().enumerate() {
            acc.copy_from_slice(&c[r * 32 + col..][..COLUMNS]);
        }
    }
    for (a, b) in a.chunks_exact(512).zip(b.chunks_exact(512)) {
        for (i, b) in b.chunks_exact(32).enumerate() {
            let b = &b[col..col + COLUMNS];
            for (r, acc) in acc.iter_mut().enumerate() {
                let a = a[(row + r) * 16 + i];
                for (acc, &b) in acc.iter_mut().zip(b) {
                    if BF16 {
                        *acc = multiply_add(f32::from_bits(a << 16), f32::from_bits(b << 16), *acc);
                        *acc = multiply_add(f32::from_bits(a & 0xffff_0000), f32::from_bits(b & 0xffff_0000), *acc);
                    } else {
                        *acc = multiply_add(f32::from_bits(a), f32::from_bits(b), *acc);
                    }
                }
            }
        }
    }
    for (r, acc) in acc.iter().enumerate() {
        c[r * 32 + col..][..COLUMNS].copy_from_slice(acc);
    }
}

/// Fused where the base instruction set has it; elsewhere a fused form would be a slow library call.
#[inline(always)]
fn multiply_add(a: f32, b: f32, c: f32) -> f32 {
    if cfg!(any(target_arch = "aarch64", target_feature = "fma")) { a.mul_add(b, c) } else { a * b + c }
}
