//! Bringing pictures to the size that a network takes, as the programs do that published scores come from. A score
//! changes more by this than by most of what it is meant to show (2104.11222), so it is part of the score's protocol.
//!
//! | resizer | is |
//! |---|---|
//! | [`Resizer::PilBilinear`] | triangle over all that a pixel covers, rounded to 8 bits after each direction |
//! | [`Resizer::PilBicubic`] | the same with cubic convolution, a = -0.5 |
//! | [`Resizer::PilBicubicFloat`] | the same in floats (PIL's mode `F`), cut to 0..255: clean-fid |
//! | [`Resizer::Tf1`] | TensorFlow 1's `resize_bilinear`: two neighbours, without antialiasing, corners at corners: torch-fidelity |
//! | [`Resizer::Torch`] | PyTorch's `interpolate(mode="bilinear")`: the same with half-pixel centres: pytorch-fid |
//! | [`Resizer::TorchAntialias`] | the same with `antialias=True` |
//!
//! PIL's are ours since the crates at hand are now and then a grey level off. They are those of Pillow up to 12: Pillow 13
//! goes down before it goes across for some sizes, where its bytes differ from all numbers published before.

use shenbi_models::backbone::{self, Filter, Taps, taps};

use crate::{MetricsError, Result};

/// How pictures are brought to another size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Resizer {
    /// PIL's `BILINEAR` on 8-bit pictures.
    PilBilinear,
    /// PIL's `BICUBIC` on 8-bit pictures.
    PilBicubic,
    /// PIL's `BICUBIC` on floats.
    PilBicubicFloat,
    /// TensorFlow 1's `resize_bilinear(align_corners=False)`.
    Tf1,
    /// PyTorch's `interpolate(mode="bilinear", align_corners=False)`.
    Torch,
    /// The same with `antialias=True`.
    TorchAntialias,
}

impl Resizer {
    /// Its name in protocols.
    pub fn name(self) -> &'static str {
        match self {
            Self::PilBilinear => "pil-bilinear",
            Self::PilBicubic => "pil-bicubic",
            Self::PilBicubicFloat => "pil-bicubic-float",
            Self::Tf1 => "tf1-bilinear",
            Self::Torch => "torch-bilinear",
            Self::TorchAntialias => backbone::RESIZER,
        }
    }

    /// A picture at another size, stretched to it.
    ///
    /// # Shapes
    /// rgb: `[from[0], from[1], 3]`, returns planes `[3, to[0], to[1]]` from 0 to 255; sizes are height and width.
    ///
    /// # Errors
    /// A side is 0, or `rgb` has another size.
    pub fn resize(self, rgb: &[u8], from: [usize; 2], to: [usize; 2]) -> Result<Vec<f32>> {
        if from.iter().chain(&to).any(|side| *side == 0 || *side > 1 << 20) || rgb.len() != 3 * from[0] * from[1] {
            let ([h, w], [height, width], n) = (from, to, rgb.len());
            return Err(MetricsError::Setting(format!(
                "{n} samples of a {h}x{w} picture cannot become {height}x{width}"
            )));
        }
        match self {
            Self::PilBilinear => Ok(planes(&in_bytes(rgb, from, to, Filter::Triangle))),
            Self::PilBicubic => Ok(planes(&in_bytes(rgb, from, to, Filter::Cubic))),
            Self::PilBicubicFloat => {
                let mut resized = in_floats(&planes(rgb), from, to, Filter::Cubic);
                resized.iter_mut().for_each(|value| *value = value.clamp(0.0, 255.0));
                Ok(resized)
            }
            Self::Tf1 => Ok(two_neighbours(&planes(rgb), from, to, 0.0)),
            Self::Torch => Ok(two_neighbours(&planes(rgb), from, to, 0.5)),
            Self::TorchAntialias => Ok(backbone::resize(&planes(rgb), from, to)),
        }
    }
}

/// Interleaved pixels, `[h, w, 3]`, as planes, `[3, h, w]`.
fn planes(rgb: &[u8]) -> Vec<f32> {
    (0..3).flat_map(|c| rgb.iter().skip(c).step_by(3).map(|value| f32::from(*value)).collect::<Vec<_>>()).collect()
}

/// As PIL does it with bytes: first across, then down, with weights of 22 bits, each rounded to a byte.
///
/// # Shapes
/// rgb: `[from[0], from[1], 3]`, returns `[to[0], to[1], 3]`.
fn in_bytes(rgb: &[u8], from: [usize; 2], to: [usize; 2], filter: Filter) -> Vec<u8> {
    const BITS: u32 = 32 - 8 - 2;
    let whole = |from, to| -> Vec<(usize, Vec<i32>)> {
        let round = |weight: &f64| (weight * f64::from(1 << BITS)).round() as i32;
        taps(from, to, filter).iter().map(|taps| (taps.start, taps.weights.iter().map(round).collect())).collect()
    };
    let byte = |sum: i32| (sum >> BITS).clamp(0, 255) as u8;
    let half = 1 << (BITS - 1);
    let mut wide = rgb.to_vec();
    if from[1] != to[1] {
        let columns = whole(from[1], to[1]);
        wide = Vec::with_capacity(from[0] * to[1] * 3);
        for row in rgb.chunks_exact(from[1] * 3) {
            for (start, weights) in &columns {
                let pixels = row[start * 3..].as_chunks::<3>().0;
                let sums = weights.iter().zip(pixels).fold([half; 3], |sums: [i32; 3], (weight, pixel)| {
                    [0, 1, 2].map(|c| sums[c] + weight * i32::from(pixel[c]))
                });
                wide.extend(sums.map(byte));
            }
        }
    }
    if from[0] == to[0] {
        return wide;
    }
    let length = to[1] * 3;
    let mut out = Vec::with_capacity(to[0] * length);
    for (start, weights) in whole(from[0], to[0]) {
        let mut sums = vec![half; length];
        for (weight, row) in weights.iter().zip(wide[start * length..].chunks_exact(length)) {
            sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * i32::from(*value));
        }
        out.extend(sums.into_iter().map(byte));
    }
    out
}

/// As PIL does it with floats: first across, then down, sums in f64.
///
/// # Shapes
/// x: `[3, from[0], from[1]]`, returns `[3, to[0], to[1]]`.
fn in_floats(x: &[f32], from: [usize; 2], to: [usize; 2], filter: Filter) -> Vec<f32> {
    let (rows, columns) = (taps(from[0], to[0], filter), taps(from[1], to[1], filter));
    let mut out = Vec::with_capacity(3 * to[0] * to[1]);
    for plane in x.chunks_exact(from[0] * from[1]) {
        let across = plane.chunks_exact(from[1]).flat_map(|row| {
            columns.iter().map(|Taps { start, weights }| {
                weights.iter().zip(&row[*start..]).map(|(weight, value)| weight * f64::from(*value)).sum::<f64>() as f32
            })
        });
        let wide: Vec<f32> = across.collect(); // [from[0], to[1]]
        for Taps { start, weights } in &rows {
            let mut sums = vec![0.0; to[1]];
            for (weight, row) in weights.iter().zip(wide[start * to[1]..].chunks_exact(to[1])) {
                sums.iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * f64::from(*value));
            }
            out.extend(sums.into_iter().map(|sum| sum as f32));
        }
    }
    out
}

/// Each pixel from the two nearest in each direction; `centre`: where a pixel's middle is, from its corner.
///
/// # Shapes
/// x: `[3, from[0], from[1]]`, returns `[3, to[0], to[1]]`.
fn two_neighbours(x: &[f32], from: [usize; 2], to: [usize; 2], centre: f32) -> Vec<f32> {
    let taps = |from: usize, to: usize| {
        let scale = from as f32 / to as f32;
        let tap = move |at: usize| {
            let place = ((at as f32 + centre) * scale - centre).max(0.0);
            let low = (place as usize).min(from - 1);
            (low, (low + 1).min(from - 1), place - low as f32)
        };
        (0..to).map(tap).collect::<Vec<_>>()
    };
    let (rows, columns) = (taps(from[0], to[0]), taps(from[1], to[1]));
    let mut out = Vec::with_capacity(3 * to[0] * to[1]);
    for plane in x.chunks_exact(from[0] * from[1]) {
        for (top, bottom, down) in &rows {
            let [top, bottom] = [top, bottom].map(|row| &plane[row * from[1]..][..from[1]]);
            out.extend(columns.iter().map(|(left, right, across)| {
                let [above, below] = [top, bottom].map(|row| row[*left] + (row[*right] - row[*left]) * across);
                above + (below - above) * down
            }));
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Resizer; 6] = [
        Resizer::PilBilinear,
        Resizer::PilBicubic,
        Resizer::PilBicubicFloat,
        Resizer::Tf1,
        Resizer::Torch,
        Resizer::TorchAntialias,
    ];

    #[test]
    fn where_the_neighbours_are() {
        let rgb = [0, 0, 0, 4, 4, 4];
        let first = |resizer: Resizer| resizer.resize(&rgb, [1, 2], [1, 4]).unwrap()[..4].to_vec();
        assert_eq!(first(Resizer::Tf1), [0.0, 2.0, 4.0, 4.0]);
        assert_eq!(first(Resizer::Torch), [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(first(Resizer::TorchAntialias), [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(first(Resizer::PilBilinear), [0.0, 1.0, 3.0, 4.0]);
    }

    #[test]
    fn the_same_size_and_one_colour_stay() {
        let rgb: Vec<u8> = (0..3 * 35).map(|i| (i * 37 % 256) as u8).collect();
        for resizer in ALL {
            assert_eq!(resizer.resize(&rgb, [5, 7], [5, 7]).unwrap(), planes(&rgb), "{}", resizer.name());
            let flat = resizer.resize(&[200; 3 * 35], [5, 7], [11, 3]).unwrap();
            assert!(flat.iter().all(|value| (value - 200.0).abs() < 1e-4), "{}", resizer.name());
            assert!(resizer.resize(&rgb, [5, 6], [3, 3]).is_err() && resizer.resize(&[], [0, 4], [3, 3]).is_err());
        }
    }
}
