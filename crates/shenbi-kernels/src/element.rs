//! What tensors hold in memory: f32 or bf16, and the conversions between them.
#![allow(unsafe_code)]

use crate::activation::leaky;
use crate::error::{KernelError, expect_len};
use crate::isa::{Micro, Precision};
pub use half::bf16;

mod sealed {
    pub trait Sealed {}
    impl Sealed for f32 {}
    impl Sealed for super::bf16 {}
}

/// An element of a tensor: `f32` or [`bf16`]. Sums are f32 (or wider) either way.
pub trait Element: Copy + Default + Send + Sync + std::fmt::Debug + sealed::Sealed + 'static {
    /// The precision whose operands are stored like this.
    const PRECISION: Precision;
    /// Exact.
    fn to_f32(self) -> f32;
    /// The nearest, ties to even; a NaN stays one.
    fn from_f32(value: f32) -> Self;
}

impl Element for f32 {
    const PRECISION: Precision = Precision::F32;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        self
    }
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        value
    }
}

impl Element for bf16 {
    const PRECISION: Precision = Precision::Bf16;
    #[inline(always)]
    fn to_f32(self) -> f32 {
        f32::from_bits(u32::from(self.to_bits()) << 16)
    }
    #[inline(always)]
    fn from_f32(value: f32) -> Self {
        Self::from_bits(crate::pack::round_bf16(value))
    }
}

/// A tensor on its way into a kernel, with an activation undone on the way: where `gate` holds the outputs of a
/// piecewise linear activation, the kernel sees `values * act'(gate)` (the sign of the output tells the slope).
#[derive(Debug, Clone, Copy)]
pub struct Input<'a, E> {
    /// The values.
    pub values: &'a [E],
    /// The activation's outputs, as many as values, and its slope for those that are not positive.
    pub gate: Option<(&'a [E], f32)>,
}

impl<'a, E> From<&'a [E]> for Input<'a, E> {
    fn from(values: &'a [E]) -> Self {
        Self { values, gate: None }
    }
}

impl<'a, E> From<&'a Vec<E>> for Input<'a, E> {
    fn from(values: &'a Vec<E>) -> Self {
        Self { values, gate: None }
    }
}

impl<E: Element> Input<'_, E> {
    /// Whether the gate has as many elements as the values.
    pub(crate) fn check(&self, op: &'static str) -> Result<(), KernelError> {
        self.gate.map_or(Ok(()), |(gate, _)| expect_len(op, "gate", gate.len(), &[self.values.len()]))
    }

    /// Elements `at..at + out.len()`, gated and converted.
    #[inline(always)]
    pub(crate) fn read<T: Element>(&self, micro: Micro, at: usize, out: &mut [T]) {
        let values = &self.values[at..at + out.len()];
        match self.gate {
            Some((gate, slope)) => {
                for ((o, v), g) in out.iter_mut().zip(values).zip(&gate[at..at + values.len()]) {
                    let v = v.to_f32();
                    *o = T::from_f32(if g.to_f32() > 0.0 { v } else { v * slope });
                }
            }
            None => convert(micro, values, out),
        }
    }
}

impl<E: Element> Input<'_, E> {
    /// Elements from `at` on as the sum of two of type T: all upper parts, all lower parts, and all upper parts again.
    /// Gates are not looked at.
    #[inline(always)]
    pub(crate) fn split<T: Element>(&self, at: usize, out: &mut [T]) {
        let n = out.len() / 3;
        let (upper, rest) = out.split_at_mut(n);
        let (lower, again) = rest.split_at_mut(n);
        let parts = upper.iter_mut().zip(lower).zip(again);
        for (((upper, lower), again), value) in parts.zip(&self.values[at..at + n]) {
            let value = value.to_f32();
            *upper = T::from_f32(value);
            *lower = T::from_f32(value - upper.to_f32());
            *again = *upper;
        }
    }
}

/// `out[i]` = `values[i]`.
#[inline(always)]
pub(crate) fn convert<E: Element, T: Element>(micro: Micro, values: &[E], out: &mut [T]) {
    assert_eq!(values.len(), out.len());
    if E::PRECISION == T::PRECISION {
        // SAFETY: E and T are the same type (each precision has one), so this is a copy within one slice type.
        unsafe { std::ptr::copy_nonoverlapping(values.as_ptr().cast::<T>(), out.as_mut_ptr(), out.len()) };
        return;
    }
    #[cfg(target_arch = "x86_64")]
    if T::PRECISION == Precision::Bf16 && micro.converts_in_hardware() {
        // SAFETY: E is f32 and T is bf16, which is a u16 by its transparent layout; AVX512-BF16 is there.
        unsafe {
            let values = std::slice::from_raw_parts(values.as_ptr().cast::<f32>(), values.len());
            let out = std::slice::from_raw_parts_mut(out.as_mut_ptr().cast::<u16>(), out.len());
            return crate::isa::avx512::round(values, out);
        }
    }
    let _ = micro;
    for (o, v) in out.iter_mut().zip(values) {
        *o = T::from_f32(v.to_f32());
    }
}

/// `out[i]` = `leaky(sums[i] + bias[i])`, for up to 32 channels.
#[inline(always)]
pub(crate) fn finish<T: Element>(micro: Micro, sums: &[f32; 32], bias: &[f32; 32], slope: f32, out: &mut [T]) {
    #[cfg(target_arch = "x86_64")]
    if T::PRECISION == Precision::Bf16 && out.len() == 32 && micro.converts_in_hardware() {
        // SAFETY: T is bf16, which is a u16 by its transparent layout; 32 of them; AVX512-BF16 is there.
        return unsafe { crate::isa::avx512::finish(sums, bias, slope, &mut *out.as_mut_ptr().cast()) };
    }
    let _ = micro;
    if slope == 1.0 {
        for ((o, s), b) in out.iter_mut().zip(sums).zip(bias) {
            *o = T::from_f32(s + b);
        }
    } else {
        for ((o, s), b) in out.iter_mut().zip(sums).zip(bias) {
            *o = T::from_f32(leaky(s + b, slope));
        }
    }
}

/// Words of a pair of rows along the reduction: f32 takes `low` alone.
#[inline(always)]
pub(crate) fn pair<T: Element>(micro: Micro, low: &[T; 32], high: &[T; 32], out: &mut [u32; 32]) {
    match T::PRECISION {
        Precision::F32 => {
            for (o, l) in out.iter_mut().zip(low) {
                *o = l.to_f32().to_bits();
            }
        }
        Precision::Bf16 => {
            #[cfg(target_arch = "x86_64")]
            if matches!(micro.isa, crate::isa::Isa::Amx | crate::isa::Isa::Avx512) {
                // SAFETY: T is bf16, which is a u16 by its transparent layout; both ISAs imply AVX-512 BW.
                return unsafe {
                    crate::isa::avx512::interleave(&*low.as_ptr().cast(), &*high.as_ptr().cast(), out);
                };
            }
            for ((o, l), h) in out.iter_mut().zip(low).zip(high) {
                *o = (l.to_f32().to_bits() >> 16) | (h.to_f32().to_bits() & 0xffff_0000);
            }
        }
    }
    let _ = micro;
}
