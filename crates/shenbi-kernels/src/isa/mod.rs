//! Instruction sets, chosen at run time, and the block product each of them offers.
//!
//! A [`Micro`] computes `C[32][32] (+)= A[32][k] · B[k][32]` on packed words: A is `[k / 16][32 rows][16]`, B is
//! `[k][32]`. A word is one f32, or two bf16 neighbours along k (the first in the low half).
#![allow(unsafe_code)]

use crate::error::KernelError;
use std::cell::Cell;
use std::sync::OnceLock;

#[cfg(target_arch = "x86_64")]
pub(crate) mod amx;
#[cfg(target_arch = "x86_64")]
mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
mod portable;

/// Rows and columns of one block of C.
pub(crate) const BLOCK: usize = 32;

/// A family of instructions. Later ones in [`available_isas`] are slower.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Isa {
    /// AMX tiles for bf16, AVX-512 for f32.
    Amx,
    /// AVX-512 (F, BW, DQ, VL); bf16 products in hardware where the CPU has AVX512-BF16.
    Avx512,
    /// AVX2 and FMA; bf16 products are emulated.
    Avx2,
    /// Plain Rust, vectorised by the compiler (NEON on aarch64); bf16 products are emulated.
    Portable,
}

impl Isa {
    const ALL: [Self; 4] = [Self::Amx, Self::Avx512, Self::Avx2, Self::Portable];

    /// The name that `SHENBI_ISA` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amx => "amx",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Portable => "portable",
        }
    }
}

/// How operands of products are stored. Sums are f32 either way, and so are the tensors given and returned.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Precision {
    /// f32 operands.
    F32,
    /// Operands rounded to bf16 (nearest, ties to even). Every instruction set computes it; only AMX and AVX512-BF16
    /// are faster than f32 at it. [`auto_precision`] tells whether this CPU should.
    Bf16,
}

impl Precision {
    /// `f32` or `bf16`.
    pub fn name(self) -> &'static str {
        match self {
            Self::F32 => "f32",
            Self::Bf16 => "bf16",
        }
    }

    /// Values per word.
    #[inline(always)]
    pub(crate) const fn per_word(self) -> usize {
        match self {
            Self::F32 => 1,
            Self::Bf16 => 2,
        }
    }
}

/// What the CPU can do, asked once.
#[derive(Debug, Clone, Copy)]
struct Features {
    amx: bool,
    avx512: bool,
    avx512_bf16: bool,
    avx2: bool,
}

fn features() -> Features {
    static FEATURES: OnceLock<Features> = OnceLock::new();
    *FEATURES.get_or_init(detect)
}

#[cfg(target_arch = "x86_64")]
fn detect() -> Features {
    use std::arch::is_x86_feature_detected as has;
    let avx2 = has!("avx2") && has!("fma") && has!("bmi2");
    let avx512 = avx2 && has!("avx512f") && has!("avx512bw") && has!("avx512dq") && has!("avx512vl");
    let avx512_bf16 = avx512 && has!("avx512bf16");
    Features { amx: avx512_bf16 && amx::usable(), avx512, avx512_bf16, avx2 }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Features {
    Features { amx: false, avx512: false, avx512_bf16: false, avx2: false }
}

/// The instruction sets of this CPU, fastest first. `Portable` is always there.
pub fn available_isas() -> Vec<Isa> {
    let f = features();
    let has = |isa: &Isa| match isa {
        Isa::Amx => f.amx,
        Isa::Avx512 => f.avx512,
        Isa::Avx2 => f.avx2,
        Isa::Portable => true,
    };
    Isa::ALL.into_iter().filter(has).collect()
}

thread_local! {
    static OVERRIDE: Cell<Option<Isa>> = const { Cell::new(None) };
}

/// Runs `f` with the kernels that this thread calls bound to `isa` (for tests and comparisons).
///
/// # Errors
/// [`KernelError::Isa`] if the CPU does not have it.
pub fn with_isa<R>(isa: Isa, f: impl FnOnce() -> R) -> Result<R, KernelError> {
    struct Restore(Option<Isa>);
    impl Drop for Restore {
        fn drop(&mut self) {
            OVERRIDE.set(self.0);
        }
    }
    if !available_isas().contains(&isa) {
        return Err(KernelError::Isa(missing(isa.name(), "with_isa")));
    }
    let _restore = Restore(OVERRIDE.replace(Some(isa)));
    Ok(f())
}

fn missing(name: &str, from: &str) -> String {
    format!("{from}: `{name}` is not available on this CPU; choices here: {}", choices())
}

fn choices() -> String {
    available_isas().iter().map(|i| i.name()).collect::<Vec<_>>().join(", ")
}

/// The instruction set in use: `SHENBI_ISA` if set, else the fastest.
///
/// # Errors
/// [`KernelError::Isa`] if `SHENBI_ISA` holds something else than the name of an available one.
pub fn active_isa() -> Result<Isa, KernelError> {
    static CHOICE: OnceLock<Result<Isa, KernelError>> = OnceLock::new();
    if let Some(isa) = OVERRIDE.get() {
        return Ok(isa);
    }
    CHOICE.get_or_init(|| parse_choice(std::env::var("SHENBI_ISA").ok().as_deref())).clone()
}

fn parse_choice(value: Option<&str>) -> Result<Isa, KernelError> {
    let available = available_isas();
    let Some(name) = value.filter(|v| !v.is_empty()) else { return Ok(available[0]) };
    match Isa::ALL.into_iter().find(|i| i.name() == name) {
        Some(isa) if available.contains(&isa) => Ok(isa),
        Some(_) => Err(KernelError::Isa(missing(name, "SHENBI_ISA"))),
        None => Err(KernelError::Isa(format!("SHENBI_ISA: unknown value `{name}`; choices here: {}", choices()))),
    }
}

/// The precision that training should use on this CPU: bf16 where products of bf16 are faster than those of f32.
pub fn auto_precision() -> Precision {
    match active_isa() {
        Ok(Isa::Amx) => Precision::Bf16,
        Ok(Isa::Avx512) if features().avx512_bf16 => Precision::Bf16,
        _ => Precision::F32,
    }
}

/// One line: the CPU's features that matter here, and the path that was chosen.
pub fn describe() -> String {
    let f = features();
    let flags = [("amx-bf16", f.amx), ("avx512", f.avx512), ("avx512-bf16", f.avx512_bf16), ("avx2+fma", f.avx2)];
    let present: Vec<_> = flags.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    let present = if present.is_empty() { "none".to_string() } else { present.join(" ") };
    let path = match active_isa() {
        Ok(Isa::Portable) => "portable (slow: no instruction set that this program knows well)".to_string(),
        Ok(isa) => format!("{} (auto precision: {})", isa.name(), auto_precision().name()),
        Err(e) => e.to_string(),
    };
    format!("{} CPU, features: {present}; kernels: {path}", std::env::consts::ARCH)
}

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

/// Work that [`vectorize`] compiles once per instruction set. `run` must be `#[inline(always)]`, and so must the
/// functions it calls that are to be vectorised: a closure would not do, as nothing forces it to be inlined.
pub(crate) trait Work {
    /// Does it.
    fn run(self);
}

/// Runs `work` compiled for `isa`.
#[inline]
pub(crate) fn vectorize<W: Work>(isa: Isa, work: W) {
    #[cfg(target_arch = "x86_64")]
    {
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx2,fma,bmi2")]
        fn wide<W: Work>(work: W) {
            work.run();
        }
        #[target_feature(enable = "avx2,fma,bmi2")]
        fn medium<W: Work>(work: W) {
            work.run();
        }
        #[target_feature(enable = "avx512f,avx512bw,avx512dq,avx512vl,avx512bf16,avx2,fma,bmi2")]
        fn wide_with_bf16<W: Work>(work: W) {
            work.run();
        }
        match isa {
            // SAFETY: asked just now.
            Isa::Amx | Isa::Avx512 if features().avx512_bf16 => return unsafe { wide_with_bf16(work) },
            // SAFETY: an `Isa` in use is available on this CPU (BMI2 came with AVX2).
            Isa::Amx | Isa::Avx512 => return unsafe { wide(work) },
            // SAFETY: as above.
            Isa::Avx2 => return unsafe { medium(work) },
            Isa::Portable => {}
        }
    }
    let _ = isa;
    work.run();
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::scratch::{self, Slot};

    #[test]
    fn the_environment_choice_is_checked() {
        assert_eq!(parse_choice(None).unwrap(), available_isas()[0]);
        assert_eq!(parse_choice(Some("portable")).unwrap(), Isa::Portable);
        let text = parse_choice(Some("sse9")).unwrap_err().to_string();
        assert!(text.contains("sse9") && text.contains("portable"), "{text}");
    }

    #[test]
    fn an_override_ends_with_its_closure() {
        let before = active_isa().unwrap();
        assert_eq!(with_isa(Isa::Portable, active_isa).unwrap().unwrap(), Isa::Portable);
        assert_eq!(active_isa().unwrap(), before);
        assert!(describe().contains("kernels: "));
    }

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
