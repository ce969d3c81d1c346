//! Pictures from noise, of a class or of none.

pub mod dcgan;
pub mod model;
pub mod network;
pub mod projected;
pub mod r3gan;
pub mod resnet;

pub use model::ImageModel;
pub use network::{Discriminator, Generator, NetworkConfig};

use burn::tensor::Tensor;
use serde::{Deserialize, Serialize};

/// How a discriminator learns of classes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Head {
    /// It does not.
    None,
    /// The logit has a term ⟨embedding of the class, features⟩ (1802.05637).
    Projection,
    /// It also tells the class (AC-GAN, 1610.09585).
    Auxiliary,
}

/// What a discriminator says of pictures, in f32.
pub struct Answer {
    /// Realness, `[b]`; `[b · n]` of a discriminator that judges a picture n times ([`projected`]).
    pub logit: Tensor<1>,
    /// What the last layer saw, `[b, n]`.
    pub features: Tensor<2>,
    /// Class logits, `[b, classes]`, of an auxiliary head.
    pub classes: Option<Tensor<2>>,
}
