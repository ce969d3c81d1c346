//! The generators that paint sentences behind one type, for everything that does not care which it is.

use burn::module::Module;
use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};
use shenbi_nn::{Init, NormMode};

use super::brush::{self, BrushConfig};
use super::dfgan::{self, DfganConfig};

/// Shapes of the networks of one recipe; in a file, under the recipe's name.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum PainterNetwork {
    /// [`brush`]
    Brush(BrushConfig),
    /// [`dfgan`]
    Dfgan(DfganConfig),
}

impl PainterNetwork {
    /// The recipe's name.
    pub fn recipe(&self) -> &'static str {
        match self {
            Self::Brush(_) => "brush",
            Self::Dfgan(_) => "dfgan",
        }
    }

    /// Whether networks of these shapes can be made.
    ///
    /// # Errors
    /// They cannot; the text says what could.
    pub fn check(&self) -> Result<(), String> {
        match self {
            Self::Brush(config) => config.check().map_err(|error| error.to_string()),
            Self::Dfgan(config) => config.check(),
        }
    }

    /// Weights and buffers of the generator.
    ///
    /// # Errors
    /// As [`Self::check`].
    pub fn parameters(&self) -> Result<usize, String> {
        match self {
            Self::Brush(config) => config.parameters().map_err(|error| error.to_string()),
            Self::Dfgan(config) => config.parameters(),
        }
    }

    /// Height and width of a picture.
    pub fn size(&self) -> [usize; 2] {
        match self {
            Self::Brush(config) => config.size,
            Self::Dfgan(config) => [config.size; 2],
        }
    }

    /// 1 (grey), 3 (RGB) or 4 (RGBA).
    pub fn channels(&self) -> usize {
        match self {
            Self::Brush(config) => config.channels,
            Self::Dfgan(config) => config.channels,
        }
    }

    /// Numbers of noise a picture.
    pub fn noise(&self) -> usize {
        match self {
            Self::Brush(config) => config.noise,
            Self::Dfgan(config) => config.noise,
        }
    }
}

/// Noise and sentence to picture.
#[derive(Module, Debug)]
pub enum PainterGenerator {
    /// [`brush`]
    Brush(brush::Generator),
    /// [`dfgan`]
    Dfgan(dfgan::Generator),
}

impl PainterGenerator {
    /// # Errors
    /// As [`PainterNetwork::check`].
    pub fn new(config: &PainterNetwork, init: &mut Init) -> Result<Self, String> {
        Ok(match config {
            PainterNetwork::Brush(config) => {
                Self::Brush(brush::Generator::new(config, init).map_err(|error| error.to_string())?)
            }
            PainterNetwork::Dfgan(config) => Self::Dfgan(dfgan::Generator::new(config, init)?),
        })
    }

    /// # Shapes
    /// noise: `[b, noise]`, sentence: `[b, sentence]` of any length, returns `[b, channels, h, w]` in [-1, 1].
    pub fn paint(&self, noise: Tensor<2>, sentence: Tensor<2>) -> Tensor<4> {
        match self {
            Self::Brush(network) => network.forward(noise, sentence, &mut NormMode::Eval),
            Self::Dfgan(network) => network.forward(noise, dfgan::condition(sentence)),
        }
    }
}
