//! A linear layer onto a vocabulary with the softmax that follows, without ever holding all logits: they are made for 32
//! rows and a group of tokens at a time, and of each group the largest and the sum of exponentials are kept.
#![allow(unsafe_code)]

mod nll;

use crate::error::{KernelError, expect_len, expect_nonzero};
use crate::functions::exp;
use crate::isa::{BLOCK, Micro, Work, vectorize};
use crate::matmul::pack_columns;
use crate::parallel::{SharedMut, for_items};
use crate::scratch::{self, Buffer, Slot};
pub use nll::{NllGradients, nll};

/// Floats of a block of logits: 32 rows by a panel of 32 tokens.
pub(crate) const AREA: usize = BLOCK * BLOCK;
/// Panels in a group.
pub(crate) const PANELS: usize = 4;
/// Tokens in a group.
pub(crate) const GROUP: usize = PANELS * BLOCK;

/// A linear layer onto a vocabulary, kept as products want it.
#[derive(Clone, Debug)]
pub struct Head {
    pub(crate) vocabulary: usize,
    pub(crate) width: usize,
    /// `[width, vocabulary]`
    pub(crate) turned: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

impl Head {
    /// The layer of this weight `[vocabulary, width]` and bias.
    ///
    /// # Errors
    /// The sizes do not fit each other.
    pub fn new(weight: &[f32], bias: &[f32]) -> Result<Self, KernelError> {
        let vocabulary = bias.len();
        expect_nonzero("head", &[("vocabulary", vocabulary), ("width", weight.len() / vocabulary.max(1))])?;
        let width = weight.len() / vocabulary;
        expect_len("head", "weight", weight.len(), &[vocabulary, width])?;
        let mut turned = vec![0.0; weight.len()];
        for (token, row) in weight.chunks_exact(width).enumerate() {
            row.iter().enumerate().for_each(|(i, value)| turned[i * vocabulary + token] = *value);
        }
        Ok(Self { vocabulary, width, turned, bias: bias.to_vec() })
    }

    /// Number of tokens.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }
}

/// A head packed for block products: panels of 32 tokens.
pub(crate) struct PackedHead<'a> {
    pub(crate) micro: Micro,
    pub(crate) head: &'a Head,
    panels: Buffer,
    /// Past the vocabulary's end it is -infinity, which leaves those tokens nothing of the softmax.
    bias: Vec<f32>,
}

impl<'a> PackedHead<'a> {
    pub(crate) fn new(head: &'a Head, micro: Micro) -> Self {
        let count = head.vocabulary.div_ceil(BLOCK);
        let size = BLOCK * micro.k_words(head.width);
        let mut panels = scratch::take(Slot::PackedA, count * size);
        let shared = SharedMut::new(&mut panels);
        for_items(count, |i| {
            // SAFETY: each item has its own panel.
            let panel = unsafe { shared.slice(i * size, size) };
            vectorize(micro.isa, PackPanel { micro, head, first: i * BLOCK, panel });
        });
        let mut bias = head.bias.clone();
        bias.resize(count * BLOCK, f32::NEG_INFINITY);
        Self { micro, head, panels, bias }
    }

    /// Groups of tokens.
    pub(crate) fn groups(&self) -> usize {
        self.bias.len().div_ceil(GROUP)
    }

    /// Panels of all groups.
    pub(crate) fn panels(&self) -> usize {
        self.bias.len() / BLOCK
    }

    /// The biases of a group, a multiple of 32 in number.
    #[inline(always)]
    pub(crate) fn bias(&self, group: usize) -> &[f32] {
        let first = group * GROUP;
        &self.bias[first..self.bias.len().min(first + GROUP)]
    }

    /// The logits of `rows` rows, packed as an A block, for a group, without bias: `[panels, 32, 32]`.
    ///
    /// # Safety
    /// `logits` is 64-byte aligned; the thread holds a session of the micro-kernel.
    #[inline(always)]
    pub(crate) unsafe fn products(&self, a: &[u32], rows: usize, group: usize, logits: &mut [f32]) {
        let words = self.micro.k_words(self.head.width);
        assert!(a.len() >= BLOCK * words && (1..=BLOCK).contains(&rows));
        for (i, c) in logits.chunks_exact_mut(AREA).take(self.bias(group).len() / BLOCK).enumerate() {
            let b = &self.panels[(group * PANELS + i) * BLOCK * words..][..BLOCK * words];
            // SAFETY: sizes as demanded, panels aligned as their buffer is; the rest is the caller's promise.
            unsafe { self.micro.block(words, a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), [rows, BLOCK], false) };
        }
    }
}

struct PackPanel<'a> {
    micro: Micro,
    head: &'a Head,
    first: usize,
    panel: &'a mut [u32],
}

impl Work for PackPanel<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { micro, head, first, panel } = self;
        panel.fill(0);
        pack_columns(micro, &head.turned, [head.vocabulary, head.width], false, first, panel);
    }
}

/// The largest of a row's logits in a group, and the sum of what e is to them all less it.
#[derive(Clone, Copy)]
pub(crate) struct Part {
    pub(crate) most: f32,
    pub(crate) sum: f32,
}

/// One row of [`PackedHead::products`].
#[inline(always)]
pub(crate) fn row_of(products: &[f32], row: usize, logits: &mut [f32]) {
    for (panel, logits) in logits.as_chunks_mut::<BLOCK>().0.iter_mut().enumerate() {
        logits.copy_from_slice(&products[panel * AREA + row * BLOCK..][..BLOCK]);
    }
}

/// Adds the bias, multiplies by `factor`, and takes e to the power of what is left without the largest; in place. Lengths
/// are multiples of 16.
#[inline(always)]
pub(crate) fn exponentials(logits: &mut [f32], bias: &[f32], factor: f32) -> Part {
    logits.iter_mut().zip(bias).for_each(|(logit, bias)| *logit = (*logit + bias) * factor);
    // Not -infinity: a group of nothing else would become NaN.
    let mut most = [f32::MIN; 16];
    for part in logits.chunks_exact(16) {
        most.iter_mut().zip(part).for_each(|(most, value)| *most = larger(*most, *value));
    }
    let most = most.into_iter().fold(f32::MIN, larger);
    logits.iter_mut().for_each(|value| *value = exp(*value - most));
    let mut sums = [0.0f32; 16];
    for part in logits.chunks_exact(16) {
        sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
    Part { most, sum: sums.iter().sum() }
}

#[inline(always)]
pub(crate) fn larger(a: f32, b: f32) -> f32 {
    if b > a { b } else { a }
}

#[cfg(test)]
pub(crate) mod tests {
    /// Numbers in [-1, 1).
    pub(crate) fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }
}
