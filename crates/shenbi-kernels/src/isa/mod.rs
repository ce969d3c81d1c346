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
pub(crate) mod avx2;
#[cfg(target_arch = "x86_64")]
pub(crate) mod avx512;
mod micro;
#[cfg(target_arch = "aarch64")]
pub(crate) mod neon;
mod portable;

pub(crate) use micro::Micro;

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
    /// NEON, which every aarch64 CPU has; bf16 products are emulated.
    Neon,
    /// Plain Rust, vectorised by the compiler; bf16 products are emulated.
    Portable,
}

impl Isa {
    const ALL: [Self; 5] = [Self::Amx, Self::Avx512, Self::Avx2, Self::Neon, Self::Portable];

    /// The name that `SHENBI_ISA` takes.
    pub fn name(self) -> &'static str {
        match self {
            Self::Amx => "amx",
            Self::Avx512 => "avx512",
            Self::Avx2 => "avx2",
            Self::Neon => "neon",
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
    neon: bool,
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
    Features { amx: avx512_bf16 && amx::usable(), avx512, avx512_bf16, avx2, neon: false }
}

#[cfg(not(target_arch = "x86_64"))]
fn detect() -> Features {
    let neon = cfg!(target_arch = "aarch64"); // part of the architecture
    Features { amx: false, avx512: false, avx512_bf16: false, avx2: false, neon }
}

/// The instruction sets of this CPU, fastest first. `Portable` is always there.
pub fn available_isas() -> Vec<Isa> {
    let f = features();
    let has = |isa: &Isa| match isa {
        Isa::Amx => f.amx,
        Isa::Avx512 => f.avx512,
        Isa::Avx2 => f.avx2,
        Isa::Neon => f.neon,
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
    let flags = [
        ("amx-bf16", f.amx),
        ("avx512", f.avx512),
        ("avx512-bf16", f.avx512_bf16),
        ("avx2+fma", f.avx2),
        ("neon", f.neon),
    ];
    let present: Vec<_> = flags.iter().filter(|(_, has)| *has).map(|(name, _)| *name).collect();
    let present = if present.is_empty() { "none".to_string() } else { present.join(" ") };
    let path = match active_isa() {
        Ok(Isa::Portable) => "portable (slow: no instruction set that this program knows well)".to_string(),
        Ok(isa) => format!("{} (auto precision: {})", isa.name(), auto_precision().name()),
        Err(e) => e.to_string(),
    };
    format!("{} CPU, features: {present}; kernels: {path}", std::env::consts::ARCH)
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
            // NEON is what the compiler assumes on aarch64 anyway.
            Isa::Neon | Isa::Portable => {}
        }
    }
    let _ = isa;
    work.run();
}

#[cfg(test)]
mod tests {
    use super::*;

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
}
