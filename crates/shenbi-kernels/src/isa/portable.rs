//! The block product in plain Rust: fixed-size arrays that the compiler keeps in vector registers (SSE2 on x86-64).
//! It also defines what the others must compute.

/// Columns per register tile.
const COLUMNS: usize = 8;
/// Rows per register tile; NEON has twice the registers of SSE2.
const ROWS: usize = if cfg!(target_arch = "aarch64") { 8 } else { 4 };

/// See [`super::Micro::block_at`]; step i of row r of A is at `rows[r] + offsets[i]`.
///
/// # Safety
/// As there.
pub(super) unsafe fn block(
    rows: &[*const u8; 32],
    offsets: &[u32],
    b: *const u32,
    c: *mut f32,
    size: [usize; 2],
    add: bool,
    bf16: bool,
) {
    // SAFETY: the sizes are the caller's promise.
    let (b, c) =
        unsafe { (std::slice::from_raw_parts(b, 512 * offsets.len()), std::slice::from_raw_parts_mut(c, 1024)) };
    for (r, rows) in rows.as_chunks::<ROWS>().0.iter().enumerate().take(size[0].div_ceil(ROWS)) {
        for col in (0..size[1]).step_by(COLUMNS) {
            let c = &mut c[r * ROWS * 32..];
            // SAFETY: the steps of these rows can be read: the caller's promise.
            unsafe {
                if bf16 {
                    tile::<true>(rows, offsets, b, col, c, add)
                } else {
                    tile::<false>(rows, offsets, b, col, c, add)
                }
            }
        }
    }
}

/// # Safety
/// 64 bytes can be read at each offset of each row.
#[inline(always)]
unsafe fn tile<const BF16: bool>(
    rows: &[*const u8; ROWS],
    offsets: &[u32],
    b: &[u32],
    col: usize,
    c: &mut [f32],
    add: bool,
) {
    let mut acc = [[0.0f32; COLUMNS]; ROWS];
    if add {
        for (r, acc) in acc.iter_mut().enumerate() {
            acc.copy_from_slice(&c[r * 32 + col..][..COLUMNS]);
        }
    }
    for (offset, b) in offsets.iter().zip(b.chunks_exact(512)) {
        for (i, b) in b.chunks_exact(32).enumerate() {
            let b = &b[col..col + COLUMNS];
            for (row, acc) in rows.iter().zip(&mut acc) {
                // SAFETY: inside of the step's 64 bytes.
                let a = unsafe { row.add(*offset as usize + 4 * i).cast::<u32>().read_unaligned() };
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
