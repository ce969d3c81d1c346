//! Tokens drawn at random from the softmax of a linear layer onto a vocabulary. Logits exist a few at a time: of each group
//! of them only the largest and the sum of exponentials are kept, by which a row chooses a group, whose logits it then
//! computes again.
#![allow(unsafe_code)]

use crate::error::{KernelError, expect_len};
use crate::functions::exp;
use crate::isa::{BLOCK, Micro, Precision, Work, vectorize};
use crate::matmul::PackA;
use crate::parallel::{SharedMut, for_items};
use crate::scratch::{self, Slot};
use crate::softmax::{AREA, GROUP, Head, PANELS, PackedHead, Part, exponentials, row_of};

/// One token a row, drawn from softmax((W x + b) / temperature) by that row's uniform number in [0, 1); at temperature 0
/// the likeliest. `p` is that of the product.
///
/// # Shapes
/// x: `[n, width]`, uniforms and tokens: `[n]`.
///
/// # Errors
/// If a slice does not fit its shape.
pub fn sample(
    head: &Head,
    x: &[f32],
    temperature: f32,
    uniforms: &[f32],
    tokens: &mut [u32],
    p: Precision,
) -> Result<(), KernelError> {
    const OP: &str = "sample";
    let (h, n) = (head.width, tokens.len());
    expect_len(OP, "x", x.len(), &[n, h])?;
    expect_len(OP, "uniforms", uniforms.len(), &[n])?;
    let micro = Micro::active(p)?;
    let (head, tokens) = (&PackedHead::new(head, micro), SharedMut::new(tokens));
    for_items(n.div_ceil(BLOCK), |block| {
        let first = block * BLOCK;
        let rows = BLOCK.min(n - first);
        // SAFETY: each item has its own rows.
        let tokens = unsafe { tokens.slice(first, rows) };
        let uniforms = &uniforms[first..][..rows];
        vectorize(micro.isa, Draw { head, x, n, block, temperature, uniforms, tokens });
    });
    Ok(())
}

/// The tokens of 32 rows.
struct Draw<'a> {
    head: &'a PackedHead<'a>,
    x: &'a [f32],
    n: usize,
    block: usize,
    temperature: f32,
    uniforms: &'a [f32],
    tokens: &'a mut [u32],
}

impl Work for Draw<'_> {
    #[inline(always)]
    fn run(self) {
        let (micro, head, rows) = (self.head.micro, self.head.head, self.tokens.len());
        let mut a = scratch::take(Slot::Panel, BLOCK * micro.k_words(head.width));
        let size = [self.n, head.width];
        PackA { micro, a: self.x, size, transposed: false, block: self.block, packed: &mut a }.run();
        let factor = if self.temperature > 0.0 { 1.0 / self.temperature } else { 1.0 };
        let mut products = scratch::take(Slot::Block, PANELS * AREA);
        let products = products.as_f32_mut();
        let mut logits = [0.0; GROUP];
        let groups = self.head.groups();
        let mut parts = vec![Part { most: f32::MIN, sum: 0.0 }; rows * groups]; // [rows, groups]
        let session = micro.enter();
        for group in 0..groups {
            let bias = self.head.bias(group);
            let logits = &mut logits[..bias.len()];
            // SAFETY: products are aligned as their buffer is, session held.
            unsafe { self.head.products(&a, rows, group, products) };
            for (row, parts) in parts.chunks_exact_mut(groups).enumerate() {
                row_of(products, row, logits);
                parts[group] = exponentials(logits, bias, factor);
            }
        }
        drop(session);
        for (row, (parts, (token, uniform))) in
            parts.chunks_exact(groups).zip(self.tokens.iter_mut().zip(self.uniforms)).enumerate()
        {
            let x = &self.x[(self.block * BLOCK + row) * head.width..][..head.width];
            let uniform = (self.temperature > 0.0).then_some(*uniform);
            *token = choose(head, x, parts, factor, uniform);
        }
    }
}

/// The token of a row by its uniform number, or the likeliest.
#[inline(always)]
fn choose(head: &Head, x: &[f32], parts: &[Part], factor: f32, uniform: Option<f32>) -> u32 {
    let most = parts.iter().map(|part| part.most).fold(f32::NEG_INFINITY, f32::max);
    let likeliest = parts.iter().position(|part| part.most == most).unwrap_or(0);
    let (mut group, mut share) = (likeliest, None);
    if let Some(uniform) = uniform {
        let weight = |part: &Part| part.sum * exp(part.most - most);
        let mut left = uniform * parts.iter().map(weight).sum::<f32>();
        for (i, part) in parts.iter().enumerate() {
            let weight = weight(part);
            if left < weight {
                (group, share) = (i, Some(left / weight));
                break;
            }
            left -= weight;
        }
    }
    let first = group * GROUP;
    let count = GROUP.min(head.vocabulary - first);
    let (mut logits, mut bias) = ([0.0; GROUP], [f32::NEG_INFINITY; GROUP]);
    bias[..count].copy_from_slice(&head.bias[first..][..count]);
    for (x, weights) in x.iter().zip(head.turned.chunks_exact(head.vocabulary)) {
        for (logit, weight) in logits.iter_mut().zip(&weights[first..][..count]) {
            *logit += x * weight;
        }
    }
    let sum = exponentials(&mut logits, &bias, factor).sum;
    if let Some(share) = share {
        let mut left = share * sum;
        for (i, value) in logits[..count].iter().enumerate() {
            left -= value;
            if left < 0.0 {
                return (first + i) as u32;
            }
        }
    }
    // The likeliest; or rounding left a little.
    (first + logits[..count].iter().position(|value| *value >= 1.0).unwrap_or(0)) as u32
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::softmax::tests::numbers;

    #[test]
    fn draws_follow_the_softmax() {
        for (v, n) in [(100, 40_000), (300, 40_000), (1, 5)] {
            let h = 2;
            let (weight, bias) = (numbers(v * h, 5), numbers(v, 6));
            let head = Head::new(&weight, &bias).unwrap();
            let x: Vec<f32> = [0.3, -0.8].repeat(n);
            let uniforms: Vec<f32> = (0..n).map(|i| i as f32 / n as f32).collect();
            let mut tokens = vec![0; n];
            for (temperature, p) in [(1.0, Precision::F32), (0.5, Precision::F32), (1.0, Precision::Bf16)] {
                sample(&head, &x, temperature, &uniforms, &mut tokens, p).unwrap();
                let logit = |i: usize| weight[i * h] * x[0] + weight[i * h + 1] * x[1] + bias[i];
                let e: Vec<f32> = (0..v).map(|i| (logit(i) / temperature).exp()).collect();
                let sum: f32 = e.iter().sum();
                let mut counts = vec![0.0; v];
                tokens.iter().for_each(|token| counts[*token as usize] += 1.0 / n as f32);
                for (token, (share, e)) in counts.iter().zip(&e).enumerate() {
                    assert!((share - e / sum).abs() < 3e-4, "{token}: {share}, expected {}", e / sum);
                }
            }
            sample(&head, &x[..h], 0.0, &[0.9], &mut tokens[..1], Precision::F32).unwrap();
            let mut greedy = tokens[..1].to_vec();
            sample(&head, &x[..h], 1e-3, &[0.2], &mut greedy, Precision::F32).unwrap();
            assert_eq!(greedy[0], tokens[0]);
        }
    }
}
