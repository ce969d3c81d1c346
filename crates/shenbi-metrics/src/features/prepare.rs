//! From a picture to what a network takes: size, then numbers.

use shenbi_data::{Picture, decode};
use shenbi_models::backbone::vit::{CLIP_DEVIATIONS, CLIP_MEANS};
use shenbi_models::backbone::{googlenet, inception, squeezenet};

use super::Kind;
use crate::resize::Resizer;
use crate::{MetricsError, Result};

/// ImageNet's means and deviations, of RGB from 0 to 1.
const IMAGENET: [[f32; 3]; 2] = [[0.485, 0.456, 0.406], [0.229, 0.224, 0.225]];
const CLIP: [[f32; 3]; 2] = [CLIP_MEANS, CLIP_DEVIATIONS];
/// Pictures whose longer side is more times the shorter one are refused.
const NARROWEST: usize = 32;

/// Whose way of preparing pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Preprocessing {
    /// That of the network's home: torchvision's (shorter side to 256, middle of 224, by PIL) or transformers'. For
    /// Inception of 2015 that is [`Self::TorchFidelity`].
    Own,
    /// torch-fidelity: TensorFlow 1's resizer. Inception of 2015, VGG16, DINOv2 and CLIP.
    TorchFidelity,
    /// pytorch-fid: PyTorch's resizer. Inception of 2015.
    PytorchFid,
    /// clean-fid: PIL's bicubic in floats. Inception of 2015.
    CleanFid,
    /// Caffe: RGB from 0 to 255 less the channels' means, stretched to 227x227 with antialiasing. SqueezeNet 1.0.
    Caffe,
}

/// The steps.
#[derive(Clone, Debug)]
pub struct Recipe {
    resizer: Resizer,
    /// The shorter side before the middle is cut out; otherwise the picture is stretched.
    short: Option<usize>,
    /// Whether half a pixel beside the middle is rounded to even (torchvision) or down (transformers).
    to_even: bool,
    /// Height and width that the network takes.
    side: usize,
    /// Value times this...
    scale: [f32; 3],
    /// ...plus this.
    shift: [f32; 3],
}

impl Recipe {
    /// What `preprocessing` means for a network.
    ///
    /// # Errors
    /// Nothing.
    pub fn new(kind: Kind, preprocessing: Preprocessing) -> Result<Self> {
        use Preprocessing::{Caffe, CleanFid, Own, PytorchFid, TorchFidelity};
        let clip = kind == Kind::ClipB32;
        // (v - 128) / 128; from -1 to 1; less means over deviations.
        let [around128, symmetric, normalized] = [
            ([1.0 / 128.0; 3], [-1.0; 3]),
            ([2.0 / 255.0; 3], [-1.0; 3]),
            normalize(if clip { CLIP } else { IMAGENET }),
        ];
        let to_even = !matches!(kind, Kind::Dinov2S | Kind::Dinov2B | Kind::Dinov2L | Kind::ClipB32);
        let stretch = |resizer, side, (scale, shift)| Self { resizer, short: None, to_even, side, scale, shift };
        let middle = |resizer, short, side, how| Self { short: Some(short), ..stretch(resizer, side, how) };
        let recipe = match (kind, preprocessing) {
            (Kind::Inception2015, Own | TorchFidelity) => stretch(Resizer::Tf1, inception::SIDE, around128),
            (Kind::Inception2015, PytorchFid) => stretch(Resizer::Torch, inception::SIDE, symmetric),
            (Kind::Inception2015, CleanFid) => stretch(Resizer::PilBicubicFloat, inception::SIDE, around128),
            (Kind::InceptionV3, Own) => middle(Resizer::PilBilinear, 342, inception::SIDE, symmetric),
            (Kind::GoogLeNet, Own) => middle(Resizer::PilBilinear, 256, googlenet::SIDE, symmetric),
            (Kind::SqueezeNet10, Caffe) => {
                stretch(Resizer::TorchAntialias, squeezenet::SIDE, ([1.0; 3], squeezenet::MEANS.map(|mean| -mean)))
            }
            (Kind::Vgg16 | Kind::ResNet18 | Kind::ResNet50 | Kind::SqueezeNet10 | Kind::SqueezeNet11, Own) => {
                middle(Resizer::PilBilinear, 256, 224, normalized)
            }
            (Kind::Dinov2S | Kind::Dinov2B | Kind::Dinov2L, Own) => middle(Resizer::PilBicubic, 256, 224, normalized),
            (Kind::ClipB32, Own) => middle(Resizer::PilBicubic, 224, 224, normalized),
            (Kind::Vgg16 | Kind::Dinov2S | Kind::Dinov2B | Kind::Dinov2L | Kind::ClipB32, TorchFidelity) => {
                stretch(Resizer::Tf1, 224, normalized)
            }
            (kind, other) => {
                let message = format!("{} has no preprocessing {other:?}: leave it out", kind.name());
                return Err(MetricsError::Setting(message));
            }
        };
        Ok(recipe)
    }

    /// Its place in a protocol.
    pub fn id(&self) -> String {
        let Self { resizer, short, side, .. } = self;
        let cut = short.map(|short| format!("-short{short}-middle")).unwrap_or_default();
        format!("{}{cut}-{side}x{side}", resizer.name())
    }

    /// Height and width.
    pub fn side(&self) -> usize {
        self.side
    }

    /// A picture of any size as the network takes it: grey becomes RGB, transparency is laid onto white.
    ///
    /// # Shapes
    /// returns `[3, side, side]`.
    ///
    /// # Errors
    /// It is empty, or far longer than wide.
    pub fn prepare(&self, picture: &Picture) -> Result<Vec<f32>> {
        let Picture { width, height, channels, .. } = *picture;
        if width * height == 0 || picture.pixels.len() != width * height * channels {
            let message = format!("a picture of {height}x{width} with {} samples", picture.pixels.len());
            return Err(MetricsError::Setting(message));
        }
        let converted = (channels != 3).then(|| decode::with_channels(picture.clone(), 3)).transpose()?;
        let rgb = &converted.as_ref().unwrap_or(picture).pixels;
        let side = self.side;
        let mut planes = match self.short {
            None => self.resizer.resize(rgb, [height, width], [side; 2])?,
            Some(short) => {
                let (shorter, longer) = (height.min(width), height.max(width));
                if longer / shorter > NARROWEST {
                    let message = format!("a picture of {height}x{width} is too narrow for this network: crop it");
                    return Err(MetricsError::Setting(message));
                }
                // Rounded down, as torchvision and transformers do.
                let size = [height, width].map(|side| if side == shorter { short } else { short * side / shorter });
                let large = self.resizer.resize(rgb, [height, width], size)?;
                middle(&large, size, side, self.to_even)
            }
        };
        for ((plane, scale), shift) in planes.chunks_exact_mut(side * side).zip(self.scale).zip(self.shift) {
            plane.iter_mut().for_each(|value| *value = *value * scale + shift);
        }
        Ok(planes)
    }
}

/// (v / 255 - mean) / deviation as a factor and a summand.
fn normalize([means, deviations]: [[f32; 3]; 2]) -> ([f32; 3], [f32; 3]) {
    let part = |c: usize| (1.0 / (255.0 * deviations[c]), -means[c] / deviations[c]);
    ([0, 1, 2].map(|c| part(c).0), [0, 1, 2].map(|c| part(c).1))
}

/// The middle of planes, `[3, size[0], size[1]]`, of `side` by `side`.
fn middle(planes: &[f32], [height, width]: [usize; 2], side: usize, to_even: bool) -> Vec<f32> {
    let before = |length: usize| {
        let spare = length.saturating_sub(side);
        spare / 2 + usize::from(to_even && spare % 4 == 3)
    };
    let (top, left) = (before(height), before(width));
    let rows = |plane: &[f32]| {
        let rows = plane.chunks_exact(width).skip(top).take(side);
        rows.flat_map(|row| row[left..left + side].to_vec()).collect::<Vec<_>>()
    };
    planes.chunks_exact(height * width).flat_map(rows).collect()
}

#[cfg(test)]
#[path = "../../../shenbi-models/tests/common/formula.rs"]
mod formula;

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn pictures_are_prepared_as_at_the_networks_homes() {
        let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/features.safetensors");
        let expected = shenbi_nn::file::from_bytes(&std::fs::read(path).unwrap()).unwrap().0;
        for (number, size) in [[37, 53], [300, 200], [231, 500], [32, 32], [256, 259]].into_iter().enumerate() {
            let pixels = formula::rgb(&format!("prepare{number}"), size);
            let picture = Picture { width: size[1], height: size[0], channels: 3, pixels };
            for kind in Kind::ALL {
                let Some(expected) = expected.get(&format!("{}.prepared.{number}", kind.slug())) else { continue };
                let recipe = Recipe::new(kind, Preprocessing::Own).unwrap();
                let side = recipe.side();
                let found = recipe.prepare(&picture).unwrap();
                let lines =
                    found.chunks_exact(side * side).flat_map(|plane| plane.chunks_exact(side).step_by(side / 6));
                let found: Vec<f32> = lines.flat_map(|row| row.iter().copied().step_by(side / 10)).collect();
                assert_eq!(found.len(), expected.data.len());
                let error = found.iter().zip(&expected.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
                println!("{} {size:?}: {error:.1e}", recipe.id());
                assert!(error < 1e-5, "{} {size:?}: {error}", recipe.id());
            }
        }
    }

    #[test]
    fn what_cannot_be_prepared_is_refused() {
        let recipe = Recipe::new(Kind::GoogLeNet, Preprocessing::Own).unwrap();
        let picture = |h, w| Picture { width: w, height: h, channels: 1, pixels: vec![9; h * w] };
        assert!(recipe.prepare(&picture(1, 33)).unwrap_err().to_string().contains("1x33 is too narrow"));
        assert!(recipe.prepare(&picture(0, 3)).is_err());
        assert_eq!(recipe.prepare(&picture(1, 32)).unwrap().len(), 3 * 224 * 224);
        let error = Recipe::new(Kind::GoogLeNet, Preprocessing::PytorchFid).unwrap_err().to_string();
        assert!(error.contains("GoogLeNet has no preprocessing PytorchFid"), "{error}");
    }
}
