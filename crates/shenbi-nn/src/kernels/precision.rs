//! Which precision networks on the CPU compute in.

use std::cell::Cell;
use std::sync::atomic::{AtomicU8, Ordering};

use super::Precision;

static PRECISION: AtomicU8 = AtomicU8::new(0);

thread_local! {
    /// How many calls of [`in_f32`] are under way on this thread.
    static IN_F32: Cell<usize> = const { Cell::new(0) };
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
    struct Inside;
    impl Drop for Inside {
        fn drop(&mut self) {
            IN_F32.set(IN_F32.get() - 1);
        }
    }
    IN_F32.set(IN_F32.get() + 1);
    let _inside = Inside;
    work()
}
