//! The network that a discriminator looks through, in every recipe that takes one.

use serde::{Deserialize, Serialize};
use shenbi_models::image::projected::ProjectedConfig;

use super::{ConfigError, check_ranges};

/// Settings of a discriminator on a network that others trained (Projected GAN, 2111.01007).
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct BackboneSettings {
    /// The file of that network (torchvision's SqueezeNet, VGG16 or ResNet, DINOv2 or CLIP): D looks through it and learns
    /// small heads only, whatever the recipe's own D; empty for none.
    #[serde(rename = "backbone")]
    pub file: String,
    /// SHA-256 of that file, written when the run begins and checked when it goes on.
    #[serde(rename = "backbone_sha256")]
    pub sha256: String,
    /// Height and width, about, of the pictures that it sees.
    #[serde(rename = "backbone_side")]
    pub side: usize,
    /// Channels of its finest mixed features; the three coarser ones have 2, 4 and 8 times as many.
    #[serde(rename = "backbone_width")]
    pub width: usize,
}

impl Default for BackboneSettings {
    fn default() -> Self {
        Self { file: String::new(), sha256: String::new(), side: 96, width: 32 }
    }
}

impl BackboneSettings {
    /// Whether there is to be one.
    pub fn is_set(&self) -> bool {
        !self.file.is_empty()
    }

    /// Shapes of the discriminator on it.
    pub fn projected(&self, classes: usize) -> ProjectedConfig {
        ProjectedConfig { classes, width: self.width, side: self.side }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        check_ranges(&[
            ("backbone_side", self.side as f64, 32.0, 512.0),
            ("backbone_width", self.width as f64, 1.0, 256.0),
        ])
    }
}
