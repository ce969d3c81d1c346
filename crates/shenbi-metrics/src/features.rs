//! What a pretrained network sees in pictures: the numbers that Fréchet distance, KID, precision and recall compare.
//!
//! The only network so far is torchvision's SqueezeNet 1.0. Scores on its features are named after it: FID is the
//! Fréchet distance on the features of one certain Inception network, and nothing else is called so.

use burn::tensor::{Device, Tensor, TensorData};
use shenbi_data::{Picture, decode};
use shenbi_models::backbone::{self, SqueezeNet, squeezenet};
use shenbi_nn::{file, weights};

use crate::{MetricsError, Result, support};

/// Pictures that pass through the network at once.
const BATCH: usize = 16;

/// A network that turns pictures into features.
pub struct FeatureNetwork {
    network: SqueezeNet,
    device: Device,
    id: String,
}

impl FeatureNetwork {
    /// The network in the bytes of a safetensors file: torchvision's `squeezenet1_0`.
    ///
    /// # Errors
    /// The bytes are no such file; the message names the first tensor that is missing or misshapen.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Self> {
        let device = device.clone().without_autodiff();
        let (named, _) = file::from_bytes(bytes)?;
        let network = SqueezeNet::from_named(&named, &device)
            .map_err(|error| MetricsError::Metadata(format!("not torchvision's squeezenet1_0: {error}")))?;
        let fingerprint = support::fingerprint(&network.to_named())?;
        let side = squeezenet::SIDE;
        let id = format!("squeezenet1_0:{fingerprint}/{}-{side}x{side}", backbone::RESIZER);
        Ok(Self { network, device, id })
    }

    /// What scores on these features are named after.
    pub fn name(&self) -> &'static str {
        "SqueezeNet"
    }

    /// Its place in a protocol: the network, a hash of its weights, and how pictures are resized.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Numbers in a picture's features.
    pub fn dim(&self) -> usize {
        squeezenet::FEATURES
    }

    /// Classes, where the network is a classifier.
    pub fn classes(&self) -> Option<usize> {
        Some(squeezenet::CLASSES)
    }

    /// The features of pictures of any size: grey becomes RGB, transparency is laid onto white. At the precision in force
    /// ([`shenbi_nn::kernels::precision`]): scores are made at f32.
    ///
    /// # Shapes
    /// returns `[pictures, dim]`, row-major.
    ///
    /// # Errors
    /// A picture is empty, or the features are no finite numbers.
    pub fn embed(&self, pictures: &[Picture]) -> Result<Vec<f32>> {
        Ok(self.embed_with_logits(pictures)?.0)
    }

    /// The features, and class logits where the network is a classifier.
    ///
    /// # Shapes
    /// returns `[pictures, dim]` and `[pictures, classes]`, row-major.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub fn embed_with_logits(&self, pictures: &[Picture]) -> Result<(Vec<f32>, Option<Vec<f32>>)> {
        let side = squeezenet::SIDE;
        let mut rows = Vec::with_capacity(pictures.len() * self.dim());
        let mut logits = Vec::new();
        for pictures in pictures.chunks(BATCH) {
            let mut pixels = Vec::with_capacity(pictures.len() * 3 * side * side);
            for picture in pictures {
                pixels.extend(squeezenet::prepare(&planes(picture)?, [picture.height, picture.width]));
            }
            let data = TensorData::new(pixels, [pictures.len(), 3, side, side]);
            let x = Tensor::from_data(data, &self.device);
            rows.extend(weights::values(self.network.features(x.clone())).data);
            logits.extend(weights::values(self.network.logits(x)).data);
        }
        if rows.iter().any(|value| !value.is_finite()) {
            let message = format!("{}'s features are no finite numbers: its weights are damaged", self.name());
            return Err(MetricsError::Metadata(message));
        }
        Ok((rows, Some(logits)))
    }
}

/// A picture as RGB planes, `[3, h, w]`, from 0 to 255.
fn planes(picture: &Picture) -> Result<Vec<f32>> {
    let Picture { width, height, channels, .. } = *picture;
    if width * height == 0 || picture.pixels.len() != width * height * channels {
        let message = format!("a picture of {height}x{width} with {} samples", picture.pixels.len());
        return Err(MetricsError::Setting(message));
    }
    let rgb = decode::with_channels(picture.clone(), 3)?.pixels;
    Ok((0..3).flat_map(|c| rgb.iter().skip(c).step_by(3).map(|v| f32::from(*v))).collect())
}
