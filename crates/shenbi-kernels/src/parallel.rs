//! Work items on rayon's current pool. Which thread takes an item never changes what the item computes.
#![allow(unsafe_code)]

use rayon::prelude::*;
use std::marker::PhantomData;

/// Runs `f` for `0..items`, in parallel where there is more than one item and more than one thread.
pub(crate) fn for_items(items: usize, f: impl Fn(usize) + Sync + Send) {
    if items <= 1 || rayon::current_num_threads() == 1 {
        (0..items).for_each(f);
    } else {
        (0..items).into_par_iter().with_max_len(1).for_each(f);
    }
}

/// A slice that items on several threads write, each to its own elements.
pub(crate) struct SharedMut<'a, T> {
    ptr: *mut T,
    len: usize,
    slice: PhantomData<&'a mut [T]>,
}

impl<T> Clone for SharedMut<'_, T> {
    fn clone(&self) -> Self {
        *self
    }
}

impl<T> Copy for SharedMut<'_, T> {}

// SAFETY: the pointer comes from an exclusive slice that is borrowed for 'a, and `slice` demands disjoint ranges.
unsafe impl<T: Send> Send for SharedMut<'_, T> {}
// SAFETY: as above.
unsafe impl<T: Send> Sync for SharedMut<'_, T> {}

impl<'a, T> SharedMut<'a, T> {
    pub(crate) fn new(slice: &'a mut [T]) -> Self {
        Self { ptr: slice.as_mut_ptr(), len: slice.len(), slice: PhantomData }
    }

    /// The part `start..start + len`, still shared. Bounds are checked.
    #[inline(always)]
    pub(crate) fn part(self, start: usize, len: usize) -> Self {
        assert!(start <= self.len && len <= self.len - start, "range {start}+{len} of {}", self.len);
        Self { ptr: self.ptr.wrapping_add(start), len, slice: PhantomData }
    }

    /// Fetches the line of element `start` into the cache, to be written soon; any index will do.
    #[inline(always)]
    pub(crate) fn prefetch(self, start: usize) {
        #[cfg(target_arch = "x86_64")]
        // SAFETY: a prefetch accesses nothing.
        unsafe {
            use std::arch::x86_64::{_MM_HINT_ET0, _mm_prefetch};
            _mm_prefetch::<_MM_HINT_ET0>(self.ptr.wrapping_add(start).cast());
        }
        let _ = start;
    }

    /// The elements `start..start + len`. Bounds are checked; disjointness is the caller's promise.
    ///
    /// # Safety
    /// No two live ranges overlap.
    #[inline(always)]
    pub(crate) unsafe fn slice(self, start: usize, len: usize) -> &'a mut [T] {
        let part = self.part(start, len);
        // SAFETY: in bounds by `part`, borrowed for 'a, exclusive by the caller's promise.
        unsafe { std::slice::from_raw_parts_mut(part.ptr, len) }
    }
}

/// Divides `0..len` into ranges of at most `each` for [`for_items`].
pub(crate) fn for_ranges(len: usize, each: usize, f: impl Fn(std::ops::Range<usize>) + Sync + Send) {
    for_items(len.div_ceil(each), |i| f(i * each..len.min((i + 1) * each)));
}

/// Elements per item of element-wise work: below this, a thread costs more than it gives.
pub(crate) const ELEMENTS_PER_ITEM: usize = 32 * 1024;
