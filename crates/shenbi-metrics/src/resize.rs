//! Bringing pictures to the size that a network takes, as the programs do that published scores come from. A score
//! changes more by this than by most of what it is meant to show (2104.11222), so it is part of the score's protocol.
//!
//! | resizer | is | by |
//! |---|---|---|
//! | [`Resizer::PilBilinear`] | triangle over all that a pixel covers, rounded to 8 bits after each direction | `fast_image_resize`, which agrees with PIL |
//! | [`Resizer::PilBicubic`] | the same with cubic convolution, a = -0.5 | the same |
//! | [`Resizer::PilBicubicFloat`] | the same in floats (PIL's mode `F`), cut to 0..255: clean-fid | the same |
//! | [`Resizer::Tf1`] | TensorFlow 1's `resize_bilinear`: two neighbours, without antialiasing, corners at corners: torch-fidelity | this file |
//! | [`Resizer::Torch`] | PyTorch's `interpolate(mode="bilinear")`: the same with half-pixel centres: pytorch-fid | this file |
//! | [`Resizer::TorchAntialias`] | the same with `antialias=True` | [`shenbi_models::backbone::resize`] |

use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer as Library};
use shenbi_models::backbone;

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
            Self::PilBilinear | Self::PilBicubic => {
                let filter = if self == Self::PilBilinear { FilterType::Bilinear } else { FilterType::CatmullRom };
                let pixels = by_library(rgb, (from, to), (PixelType::U8x3, filter))?;
                Ok(planes(&pixels, f32::from))
            }
            Self::PilBicubicFloat => {
                let mut out = Vec::with_capacity(3 * to[0] * to[1]);
                for plane in planes(rgb, f32::from).chunks_exact(from[0] * from[1]) {
                    let bytes: Vec<u8> = plane.iter().flat_map(|value| value.to_ne_bytes()).collect();
                    let bytes = by_library(&bytes, (from, to), (PixelType::F32, FilterType::CatmullRom))?;
                    let values = bytes.as_chunks::<4>().0.iter().map(|value| f32::from_ne_bytes(*value));
                    out.extend(values.map(|value| value.clamp(0.0, 255.0)));
                }
                Ok(out)
            }
            Self::Tf1 => Ok(two_neighbours(&planes(rgb, f32::from), from, to, 0.0)),
            Self::Torch => Ok(two_neighbours(&planes(rgb, f32::from), from, to, 0.5)),
            Self::TorchAntialias => Ok(backbone::resize(&planes(rgb, f32::from), from, to)),
        }
    }
}

/// Interleaved pixels, `[h, w, 3]`, as planes, `[3, h, w]`.
fn planes(rgb: &[u8], float: impl Fn(u8) -> f32) -> Vec<f32> {
    (0..3).flat_map(|c| rgb.iter().skip(c).step_by(3).map(|value| float(*value)).collect::<Vec<_>>()).collect()
}

/// The bytes of a picture at another size.
fn by_library(
    bytes: &[u8],
    (from, to): ([usize; 2], [usize; 2]),
    (pixels, filter): (PixelType, FilterType),
) -> Result<Vec<u8>> {
    let failed = |error: &dyn std::fmt::Display| MetricsError::Setting(format!("a picture cannot be resized: {error}"));
    let [[height, width], [new_height, new_width]] = [from, to].map(|size| size.map(|side| side as u32));
    let source = ImageRef::new(width, height, bytes, pixels).map_err(|error| failed(&error))?;
    let mut target = Image::new(new_width, new_height, pixels);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(filter)).use_alpha(false);
    Library::new().resize(&source, &mut target, Some(&options)).map_err(|error| failed(&error))?;
    Ok(target.into_vec())
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
            assert_eq!(resizer.resize(&rgb, [5, 7], [5, 7]).unwrap(), planes(&rgb, f32::from), "{}", resizer.name());
            let flat = resizer.resize(&[200; 3 * 35], [5, 7], [11, 3]).unwrap();
            assert!(flat.iter().all(|value| (value - 200.0).abs() < 1e-4), "{}", resizer.name());
            assert!(resizer.resize(&rgb, [5, 6], [3, 3]).is_err() && resizer.resize(&[], [0, 4], [3, 3]).is_err());
        }
    }
}
