//! Named random streams: one seed, many independent streams, equal on every machine and in every version.
//!
//! A stream is addressed by `(seed, name, position)`: what is drawn for picture 1,000 does not depend on what was drawn
//! for picture 999, so a resumed run continues exactly. The draws below ([`below`], [`uniform`], [`normal`],
//! [`shuffle`]) are written out here rather than taken from `rand`, whose algorithms may change between versions.

use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::{Rng, SeedableRng};

/// The stream called `name` of `seed`, at `position` (a picture's index, a step, an epoch).
///
/// ```
/// use shenbi_rng as rng;
/// let mut noise = rng::stream(7, "noise", 0);
/// let z: Vec<f32> = (0..4).map(|_| rng::normal(&mut noise)).collect();
/// assert_eq!(z, { let mut again = rng::stream(7, "noise", 0); (0..4).map(|_| rng::normal(&mut again)).collect::<Vec<_>>() });
/// ```
#[must_use]
pub fn stream(seed: u64, name: &str, position: u64) -> ChaCha8Rng {
    // FNV-1a of the name; its 64 bits, the seed and the position each pass through SplitMix64, a bijection, so two
    // addresses share a key only if their names share a hash.
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in name.bytes() {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    let words = [mix(seed), mix(hash), mix(position), mix(seed ^ hash.rotate_left(21) ^ position.rotate_left(42))];
    let mut key = [0_u8; 32];
    for (bytes, word) in key.chunks_exact_mut(8).zip(words) {
        bytes.copy_from_slice(&word.to_le_bytes());
    }
    ChaCha8Rng::from_seed(key)
}

/// SplitMix64's step (Steele, Lea, Flood 2014): a bijection of the 64-bit words that spreads every bit.
fn mix(word: u64) -> u64 {
    let mut z = word.wrapping_add(0x9e37_79b9_7f4a_7c15);
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}

/// A whole number in `0..n`, every one equally likely (Lemire 2019, with rejection). 0 where `n` is 0.
pub fn below(rng: &mut impl Rng, n: u64) -> u64 {
    if n == 0 {
        return 0;
    }
    let reject_under = n.wrapping_neg() % n;
    loop {
        let product = u128::from(rng.next_u64()) * u128::from(n);
        if product as u64 >= reject_under {
            return (product >> 64) as u64;
        }
    }
}

/// A number in `[0, 1)`, a multiple of 2⁻²⁴ (each is exact in f32).
pub fn uniform(rng: &mut impl Rng) -> f32 {
    (rng.next_u64() >> 40) as f32 * (1.0 / 16_777_216.0)
}

/// A number in `[0, 1)`, a multiple of 2⁻⁵³.
pub fn uniform_f64(rng: &mut impl Rng) -> f64 {
    (rng.next_u64() >> 11) as f64 * (1.0 / 9_007_199_254_740_992.0)
}

/// A standard normal number (Box and Muller 1958, the cosine half; two draws a number, so positions stay simple).
pub fn normal(rng: &mut impl Rng) -> f32 {
    let u = 1.0 - uniform_f64(rng); // (0, 1]: the logarithm is finite
    let v = uniform_f64(rng);
    ((-2.0 * u.ln()).sqrt() * (std::f64::consts::TAU * v).cos()) as f32
}

/// Puts `items` into random order, every order equally likely (Fisher and Yates, Durstenfeld's form).
pub fn shuffle<T>(rng: &mut impl Rng, items: &mut [T]) {
    for last in (1..items.len()).rev() {
        let other = below(rng, last as u64 + 1) as usize;
        items.swap(last, other);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn streams_are_pinned() {
        // Changing these numbers changes every trained model: a format break, not a refactoring.
        let mut first = stream(0, "noise", 0);
        assert_eq!([first.next_u64(), first.next_u64()], PINNED);
    }
    const PINNED: [u64; 2] = [4_521_226_332_730_496_903, 8_904_737_438_977_601_967];

    #[test]
    fn streams_differ_by_seed_name_and_position() {
        let draw = |seed, name, position| stream(seed, name, position).next_u64();
        let all = [draw(1, "a", 2), draw(2, "a", 1), draw(1, "b", 2), draw(1, "a", 3), draw(1, "", 2)];
        for (i, x) in all.iter().enumerate() {
            assert!(all[i + 1..].iter().all(|y| x != y), "{all:?}");
        }
    }

    #[test]
    fn below_is_even_and_in_range() {
        let mut rng = stream(3, "test", 0);
        let mut counts = [0_u32; 7];
        for _ in 0..70_000 {
            counts[below(&mut rng, 7) as usize] += 1;
        }
        assert!(counts.iter().all(|&c| (9_600..10_400).contains(&c)), "{counts:?}"); // 4 sigma
        assert_eq!(below(&mut rng, 0), 0);
        assert_eq!(below(&mut rng, 1), 0);
    }

    #[test]
    fn normal_has_the_moments_of_a_normal() {
        let mut rng = stream(4, "test", 0);
        let n = 200_000;
        let draws: Vec<f64> = (0..n).map(|_| f64::from(normal(&mut rng))).collect();
        let moment = |p| draws.iter().map(|x| x.powi(p)).sum::<f64>() / f64::from(n);
        assert!(moment(1).abs() < 0.01, "{}", moment(1));
        assert!((moment(2) - 1.0).abs() < 0.015, "{}", moment(2));
        assert!((moment(4) - 3.0).abs() < 0.1, "{}", moment(4));
    }

    #[test]
    fn shuffle_permutes_and_every_order_is_equally_likely() {
        let mut rng = stream(5, "test", 0);
        let mut counts = std::collections::BTreeMap::new();
        for _ in 0..24_000 {
            let mut items = [0, 1, 2, 3];
            shuffle(&mut rng, &mut items);
            *counts.entry(items).or_insert(0) += 1;
        }
        assert_eq!(counts.len(), 24);
        assert!(counts.values().all(|c| (850..1150).contains(c)), "{counts:?}");
    }
}
