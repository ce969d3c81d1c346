//! The backbones behind one pair of types, for everything that does not care which it is.

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use shenbi_nn::{BatchStats, Init, NormMode};

use super::dcgan::{self, DcganConfig};
use super::projected::{self, ProjectedConfig};
use super::r3gan::{self, R3ganConfig};
use super::resnet::{self, ResnetConfig};
use super::{Answer, Head};
use crate::backbone::stages::Backbone;

/// Shapes of the networks of one backbone.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase", tag = "network")]
pub enum NetworkConfig {
    /// [`dcgan`]
    Dcgan(DcganConfig),
    /// [`resnet`]
    Resnet(ResnetConfig),
    /// [`r3gan`]
    R3gan(R3ganConfig),
}

impl NetworkConfig {
    /// Whether networks of these shapes can be made.
    ///
    /// # Errors
    /// They cannot; the text says what could.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Dcgan(config) => config.stages().map(drop),
            Self::Resnet(config) => config.check(),
            Self::R3gan(config) => config.check(),
        }
    }

    /// Numbers of noise a picture.
    pub fn noise(&self) -> usize {
        match self {
            Self::Dcgan(config) => config.noise,
            Self::Resnet(config) => config.noise,
            Self::R3gan(config) => config.noise,
        }
    }

    /// Height and width of a picture.
    pub fn size(&self) -> usize {
        match self {
            Self::Dcgan(config) => config.size,
            Self::Resnet(config) => config.size,
            Self::R3gan(config) => config.size,
        }
    }

    /// 1 (grey), 3 (RGB) or 4 (RGBA).
    pub fn channels(&self) -> usize {
        match self {
            Self::Dcgan(config) => config.channels,
            Self::Resnet(config) => config.channels,
            Self::R3gan(config) => config.channels,
        }
    }

    /// Number of classes; 0 for none.
    pub fn classes(&self) -> usize {
        match self {
            Self::Dcgan(config) => config.classes,
            Self::Resnet(config) => config.classes,
            Self::R3gan(config) => config.classes,
        }
    }

    /// Whether D also tells the class.
    pub fn auxiliary(&self) -> bool {
        match self {
            Self::Dcgan(config) => config.head == Head::Auxiliary,
            Self::Resnet(config) => config.head == Head::Auxiliary,
            Self::R3gan(_) => false,
        }
    }
}

/// Noise and class to picture.
#[derive(Module, Debug)]
pub enum Generator {
    /// [`dcgan`]
    Dcgan(dcgan::Generator),
    /// [`resnet`]
    Resnet(resnet::Generator),
    /// [`r3gan`]
    R3gan(r3gan::Generator),
}

impl Generator {
    /// # Errors
    /// As [`NetworkConfig::check`].
    pub fn new(config: &NetworkConfig, init: &mut Init) -> Result<Self, String> {
        Ok(match config {
            NetworkConfig::Dcgan(config) => Self::Dcgan(dcgan::Generator::new(config, init)?),
            NetworkConfig::Resnet(config) => Self::Resnet(resnet::Generator::new(config, init)?),
            NetworkConfig::R3gan(config) => Self::R3gan(r3gan::Generator::new(config, init)?),
        })
    }

    /// # Shapes
    /// noise: `[b, noise]`, class: one-hot `[b, classes]`, returns `[b, channels, size, size]`, f32, nominally in [-1, 1].
    pub fn forward(&self, noise: Tensor<2>, class: Option<Tensor<2>>, mode: &mut NormMode) -> Tensor<4> {
        match self {
            Self::Dcgan(network) => network.forward(noise, class, mode),
            Self::Resnet(network) => network.forward(noise, class, mode),
            Self::R3gan(network) => network.forward(noise, class),
        }
    }

    /// The weights that the noise meets first, `[outputs, noise]`: what they do to a direction of the noise is what the
    /// rest of the network gets to see of it.
    pub fn first_layer(&self) -> Tensor<2> {
        match self {
            Self::Dcgan(network) => network.first_layer(),
            Self::Resnet(network) => network.first_layer(),
            Self::R3gan(network) => network.first_layer(),
        }
    }

    /// Moves running statistics towards those of a training batch, where there are any.
    #[must_use]
    pub fn with_running(self, seen: &[BatchStats], momentum: f64) -> Self {
        match self {
            Self::Dcgan(network) => Self::Dcgan(network.with_running(seen, momentum)),
            Self::Resnet(network) => Self::Resnet(network.with_running(seen, momentum)),
            Self::R3gan(network) => Self::R3gan(network),
        }
    }
}

/// Picture and class to realness.
#[derive(Module, Debug)]
pub enum Discriminator {
    /// [`dcgan`]
    Dcgan(dcgan::Discriminator),
    /// [`resnet`]
    Resnet(resnet::Discriminator),
    /// [`r3gan`]
    R3gan(r3gan::Discriminator),
    /// [`projected`]
    Projected(projected::Discriminator),
}

impl Discriminator {
    /// # Errors
    /// As [`NetworkConfig::check`].
    pub fn new(config: &NetworkConfig, init: &mut Init) -> Result<Self, String> {
        Ok(match config {
            NetworkConfig::Dcgan(config) => Self::Dcgan(dcgan::Discriminator::new(config, init)?),
            NetworkConfig::Resnet(config) => Self::Resnet(resnet::Discriminator::new(config, init)?),
            NetworkConfig::R3gan(config) => Self::R3gan(r3gan::Discriminator::new(config, init)?),
        })
    }

    /// A discriminator on a backbone, for any generator.
    ///
    /// # Errors
    /// As [`projected::Discriminator::new`].
    pub fn projected(config: &ProjectedConfig, backbone: Backbone, init: &mut Init) -> Result<Self, String> {
        projected::Discriminator::new(config, backbone, init).map(Self::Projected)
    }

    /// # Shapes
    /// x: `[b, channels, size, size]`, class: one-hot `[b, classes]`.
    pub fn forward(&self, x: Tensor<4>, class: Option<Tensor<2>>, mode: &mut NormMode) -> Answer {
        match self {
            Self::Dcgan(network) => network.forward(x, class, mode),
            Self::Resnet(network) => network.forward(x, class),
            Self::R3gan(network) => network.forward(x, class),
            Self::Projected(network) => network.forward(x, class),
        }
    }

    /// The logit and its derivative along `dx`, `[b]` each: for exact gradient penalties.
    ///
    /// # Panics
    /// It is [`projected`]: whose features do not learn needs no gradient penalty, and settings refuse one.
    pub fn forward_tangent(&self, x: Tensor<4>, dx: Tensor<4>, class: Option<Tensor<2>>) -> (Tensor<1>, Tensor<1>) {
        match self {
            Self::Dcgan(network) => network.forward_tangent(x, dx, class),
            Self::Resnet(network) => network.forward_tangent(x, dx, class),
            Self::R3gan(network) => network.forward_tangent(x, dx, class),
            Self::Projected(_) => panic!("a projected discriminator has no tangent pass"),
        }
    }

    /// One step of power iteration, where there is spectral norm: before each training step.
    #[must_use]
    pub fn refreshed(self) -> Self {
        match self {
            Self::Dcgan(network) => Self::Dcgan(network.refreshed()),
            Self::Resnet(network) => Self::Resnet(network.refreshed()),
            Self::Projected(network) => Self::Projected(network.refreshed()),
            Self::R3gan(network) => Self::R3gan(network),
        }
    }

    /// Moves running statistics towards those of a training batch, where there are any.
    #[must_use]
    pub fn with_running(self, seen: &[BatchStats], momentum: f64) -> Self {
        match self {
            Self::Dcgan(network) => Self::Dcgan(network.with_running(seen, momentum)),
            other => other,
        }
    }
}
