//! Weights and pictures by a formula, which fixtures/formula.py has too: fixtures then hold results only.
#![allow(dead_code)]

use shenbi_nn::weights::Values;

/// `n` numbers in [0, 1), multiples of 2^-24: SplitMix64 of FNV-1a of the name, and of the place.
pub fn uniform(name: &str, n: usize) -> impl Iterator<Item = f64> {
    let key = name
        .bytes()
        .fold(0xcbf2_9ce4_8422_2325_u64, |key, byte| (key ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3));
    (1..=n as u64).map(move |i| {
        let z = i.wrapping_mul(0x9e37_79b9_7f4a_7c15).wrapping_add(key);
        let z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        let z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        ((z ^ (z >> 31)) >> 40) as f64 / f64::from(1 << 24)
    })
}

/// As in formula.py.
pub fn weight(name: &str, shape: &[usize], variance: f64) -> Values {
    let draws = uniform(name, shape.iter().product());
    let data = if ["pos_embed", "position", "cls_token", "class_embedding"].iter().any(|part| name.contains(part)) {
        draws.map(|draw| (draw - 0.5) as f32).collect()
    } else if shape.len() > 1 {
        let bound = (3.0 * variance / shape.iter().skip(1).product::<usize>() as f64).sqrt();
        draws.map(|draw| ((2.0 * draw - 1.0) * bound) as f32).collect()
    } else if ["weight", "running_var", "gamma", "lambda1"].iter().any(|end| name.ends_with(end)) {
        draws.map(|draw| (0.5 + draw) as f32).collect()
    } else {
        draws.map(|draw| (draw * 0.1) as f32).collect()
    };
    Values { shape: shape.to_vec(), data }
}

/// Bytes as floats.
pub fn picture(name: &str, [c, h, w]: [usize; 3]) -> Vec<f32> {
    uniform(name, c * h * w).map(|draw| (draw * 256.0).floor() as f32).collect()
}

/// Blocks of one colour with a ramp across: bytes as floats, `[c, h, w]`.
pub fn smooth(name: &str, [c, h, w]: [usize; 3]) -> Vec<f32> {
    const CELLS: usize = 7;
    let blocks = picture(name, [c, CELLS, CELLS]);
    let value = |plane: usize, y: usize, x: usize| {
        let block = blocks[(plane * CELLS + y * CELLS / h) * CELLS + x * CELLS / w];
        (block * 0.75).floor() + (x as f32 * 64.0 / w as f32).floor()
    };
    (0..c)
        .flat_map(|plane| (0..h).flat_map(move |y| (0..w).map(move |x| (plane, y, x))))
        .map(|(p, y, x)| value(p, y, x))
        .collect()
}

/// Noise in the upper half, blocks of colours below: `[h, w, 3]`, as `bytes_of` has it in the metrics' features.py.
pub fn rgb(name: &str, [h, w]: [usize; 2]) -> Vec<u8> {
    let (noise, blocks) = (picture(name, [3, h, w]), smooth(name, [3, h, w]));
    let value = |c: usize, at: usize| if at / w < h / 2 { noise[c * h * w + at] } else { blocks[c * h * w + at] } as u8;
    (0..h * w).flat_map(|at| [0, 1, 2].map(|c| value(c, at))).collect()
}
