//! Which precision networks on the CPU compute in.

use std::cell::Cell;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::LocalKey;

use shenbi_kernels::{Isa, active_isa};

use super::Precision;

static PRECISION: AtomicU8 = AtomicU8::new(0);

thread_local! {
    /// How many calls of [`in_f32`] are under way on this thread.
    static IN_F32: Cell<usize> = const { Cell::new(0) };
    /// And of [`in_split_f32`].
    static IN_PARTS: Cell<usize> = const { Cell::new(0) };
}

/// Chooses the precision of every network on the CPU from now on, in the whole process.
pub fn set_precision(precision: Precision) {
    PRECISION.store(u8::from(precision == Precision::Bf16), Ordering::Relaxed);
}

/// The precision in force; f32 at first.
pub fn precision() -> Precision {
    if IN_F32.get() == 0 && PRECISION.load(Ordering::Relaxed) == 1 { Precision::Bf16 } else { Precision::F32 }
}

/// Runs `work` with networks at f32 on this thread, whatever precision is in force.
pub fn in_f32<T>(work: impl FnOnce() -> T) -> T {
    let _inside = Inside::of(&IN_F32);
    work()
}

/// The same for networks that are only looked through, with convolutions as three products of bf16 where that is faster
/// ([`splits`]; [`shenbi_kernels::PackedWeights::split`] says what is left out).
pub fn in_split_f32<T>(work: impl FnOnce() -> T) -> T {
    let _split = Inside::of(&IN_PARTS);
    in_f32(work)
}

/// Whether three products of bf16 are faster than one of f32 here: where tiles compute.
pub fn splits() -> bool {
    active_isa().is_ok_and(|isa| isa == Isa::Amx)
}

/// Whether convolutions are to be three products of bf16.
pub(super) fn split() -> bool {
    IN_PARTS.get() > 0 && splits()
}

/// Counts a call for as long as it lasts.
struct Inside(&'static LocalKey<Cell<usize>>);

impl Inside {
    fn of(calls: &'static LocalKey<Cell<usize>>) -> Self {
        calls.set(calls.get() + 1);
        Self(calls)
    }
}

impl Drop for Inside {
    fn drop(&mut self) {
        self.0.set(self.0.get() - 1);
    }
}
