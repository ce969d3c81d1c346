//! Naive f64 references and helpers shared by the tests.
#![allow(dead_code, unsafe_code, clippy::unwrap_used)]

use shenbi_kernels::{Conv2d, Precision};

pub const PRECISIONS: [Precision; 2] = [Precision::F32, Precision::Bf16];

/// Deterministic values in -1..1 (SplitMix64).
pub fn values(n: usize, seed: u64) -> Vec<f32> {
    let mut state = seed.wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ 0x1234_5678;
    (0..n)
        .map(|_| {
            state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
            let mut z = state;
            z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
            z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
            ((z ^ (z >> 31)) >> 40) as f32 / (1u64 << 23) as f32 - 1.0
        })
        .collect()
}

/// What the operand becomes at a precision: itself, or the nearest bf16 (ties to even).
pub fn rounded(x: &[f32], p: Precision) -> Vec<f64> {
    let bf16 = |v: f32| {
        let bits = v.to_bits();
        f32::from_bits(bits.wrapping_add(0x7fff + (bits >> 16 & 1)) & 0xffff_0000)
    };
    x.iter().map(|&v| f64::from(if p == Precision::F32 || !v.is_finite() { v } else { bf16(v) })).collect()
}

/// Calls `f(x index, w index, y index)` for every product of the convolution.
pub fn for_products(g: &Conv2d, mut f: impl FnMut(usize, usize, usize)) {
    let [oh, ow] = g.out_size().unwrap();
    let (ci, co) = (g.in_channels / g.groups, g.out_channels / g.groups);
    for n in 0..g.batch {
        for o in 0..g.out_channels {
            let group = o / co;
            for (y, x) in (0..oh).flat_map(|y| (0..ow).map(move |x| (y, x))) {
                let out = ((n * oh + y) * ow + x) * g.out_channels + o;
                for c in 0..ci {
                    for i in 0..g.kernel[0] {
                        let Some(iy) = (y * g.stride[0] + i).checked_sub(g.padding[0]).filter(|&v| v < g.in_h) else {
                            continue;
                        };
                        for j in 0..g.kernel[1] {
                            let Some(ix) = (x * g.stride[1] + j).checked_sub(g.padding[1]).filter(|&v| v < g.in_w)
                            else {
                                continue;
                            };
                            let xi = ((n * g.in_h + iy) * g.in_w + ix) * g.in_channels + group * ci + c;
                            let wi = ((o * ci + c) * g.kernel[0] + i) * g.kernel[1] + j;
                            f(xi, wi, out);
                        }
                    }
                }
            }
        }
    }
}

/// A sum and the sum of its terms' magnitudes.
#[derive(Clone, Copy, Default, Debug)]
pub struct Sum {
    pub value: f64,
    pub magnitude: f64,
}

impl Sum {
    pub fn add(&mut self, term: f64) {
        self.value += term;
        self.magnitude += term.abs();
    }
}

/// Fails unless every value is within 1e-5 of the accumulated magnitude.
pub fn assert_close(what: &str, got: &[f32], want: &[Sum]) {
    assert_eq!(got.len(), want.len(), "{what}");
    for (i, (g, w)) in got.iter().zip(want).enumerate() {
        let error = (f64::from(*g) - w.value).abs();
        assert!(error <= 1e-5 * w.magnitude + 1e-30, "{what}[{i}]: {g} instead of {} (|.| {})", w.value, w.magnitude);
    }
}

pub struct Sizes {
    pub x: usize,
    pub w: usize,
    pub y: usize,
}

pub fn sizes(g: &Conv2d) -> Sizes {
    let [oh, ow] = g.out_size().unwrap();
    Sizes {
        x: g.batch * g.in_channels * g.in_h * g.in_w,
        w: g.out_channels * g.in_channels / g.groups * g.kernel[0] * g.kernel[1],
        y: g.batch * g.out_channels * oh * ow,
    }
}

/// f32 values that end (or begin) at a page that cannot be touched.
pub struct Guarded {
    base: *mut libc::c_void,
    bytes: usize,
    data: *mut f32,
    len: usize,
}

impl Guarded {
    /// A copy of `values` whose last element is followed by a guard page.
    pub fn before_guard(values: &[f32]) -> Self {
        Self::new(values, true)
    }

    /// A copy of `values` whose first element follows a guard page.
    pub fn after_guard(values: &[f32]) -> Self {
        Self::new(values, false)
    }

    fn new(values: &[f32], at_end: bool) -> Self {
        const PAGE: usize = 4096;
        let len = values.len();
        let inner = (len * 4).next_multiple_of(PAGE);
        let bytes = inner + 2 * PAGE;
        // SAFETY: a fresh private anonymous mapping; the middle is made accessible; the copy stays inside of it.
        unsafe {
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let base = libc::mmap(std::ptr::null_mut(), bytes, libc::PROT_NONE, flags, -1, 0);
            assert_ne!(base, libc::MAP_FAILED);
            let middle = base.cast::<u8>().add(PAGE);
            assert_eq!(libc::mprotect(middle.cast(), inner, libc::PROT_READ | libc::PROT_WRITE), 0);
            let data = if at_end { middle.add(inner - len * 4) } else { middle }.cast::<f32>();
            std::ptr::copy_nonoverlapping(values.as_ptr(), data, len);
            Self { base, bytes, data, len }
        }
    }
}

impl std::ops::Deref for Guarded {
    type Target = [f32];
    fn deref(&self) -> &[f32] {
        // SAFETY: `len` initialised values in a live mapping.
        unsafe { std::slice::from_raw_parts(self.data, self.len) }
    }
}

impl std::ops::DerefMut for Guarded {
    fn deref_mut(&mut self) -> &mut [f32] {
        // SAFETY: as above, borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.data, self.len) }
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        // SAFETY: the mapping that `new` made.
        unsafe { libc::munmap(self.base, self.bytes) };
    }
}
