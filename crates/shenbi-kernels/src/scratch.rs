//! Reused work buffers: each thread keeps the ones it had, so that a call after the first allocates next to nothing.
#![allow(unsafe_code)]

use crate::element::Element;
use std::cell::RefCell;
use std::ops::{Deref, DerefMut};

/// Buffers are kept by purpose, so that each grows once to the size its purpose needs.
#[derive(Clone, Copy)]
#[repr(usize)]
pub(crate) enum Slot {
    /// Packed A operand, shared by all threads.
    PackedA,
    /// Padded copy of the input (planes).
    Planes,
    /// One B panel (or a few).
    Panel,
    /// Blocks of C.
    Block,
    /// Output phases before they are interleaved.
    Phases,
    /// One row while it is packed.
    Row,
    /// Where pixels are.
    Table,
    /// Where taps are.
    Offsets,
    /// Sums that live across work items.
    Accumulators,
    /// What is between two convolutions.
    Between,
    /// Weight gradients before they are added up.
    Sums,
    /// Logits, and what becomes of them.
    Logits,
}
const SLOTS: usize = 12;

/// 64 bytes: a cache line, an AVX-512 register, a tile row.
#[derive(Clone, Copy)]
#[repr(C, align(64))]
struct Line([u32; 16]);

thread_local! {
    static FREE: RefCell<[Vec<Vec<Line>>; SLOTS]> = const { RefCell::new([const { Vec::new() }; SLOTS]) };
}

/// A borrowed buffer of words, 64-byte aligned, with whatever contents it had; it goes back to its thread on drop.
pub(crate) struct Buffer {
    lines: Vec<Line>,
    words: usize,
    slot: Slot,
}

/// A buffer with at least `words` words (and one cache line more).
pub(crate) fn take(slot: Slot, words: usize) -> Buffer {
    let mut lines = FREE.with(|f| f.borrow_mut()[slot as usize].pop()).unwrap_or_default();
    let need = words.div_ceil(16) + 1;
    if lines.len() < need {
        lines = vec![Line([0; 16]); need];
    }
    Buffer { lines, words, slot }
}

impl Drop for Buffer {
    fn drop(&mut self) {
        let lines = std::mem::take(&mut self.lines);
        // During thread shutdown the free list may be gone: then the buffer is simply released.
        let _ = FREE.try_with(|f| f.borrow_mut()[self.slot as usize].push(lines));
    }
}

impl Deref for Buffer {
    type Target = [u32];
    fn deref(&self) -> &[u32] {
        // SAFETY: lines are initialised u32 arrays without padding, and words <= 16 * lines.len().
        unsafe { std::slice::from_raw_parts(self.lines.as_ptr().cast(), self.words) }
    }
}

impl DerefMut for Buffer {
    fn deref_mut(&mut self) -> &mut [u32] {
        // SAFETY: as above, and the buffer is borrowed exclusively.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.words) }
    }
}

impl Buffer {
    /// The words seen as elements, as many as fit (every bit pattern is one).
    pub(crate) fn elements<T: Element>(&mut self) -> &mut [T] {
        let len = self.words * size_of::<u32>() / size_of::<T>();
        // SAFETY: f32 and bf16 need no more alignment than a line, divide its size, and take every bit pattern.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), len) }
    }

    /// The words seen as f32 (every bit pattern is one).
    pub(crate) fn as_f32_mut(&mut self) -> &mut [f32] {
        // SAFETY: u32 and f32 have the same size and alignment, and every bit pattern is valid for both.
        unsafe { std::slice::from_raw_parts_mut(self.lines.as_mut_ptr().cast(), self.words) }
    }
}
