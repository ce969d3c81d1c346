//! Differentiable layers for GANs on Burn.
//!
//! Layers are plain Burn modules whose parameters carry PyTorch's names and layouts. Discriminator layers also have
//! `forward_tangent(x, dx) -> (y, dy)`, which pushes a tangent through the layer: with it, gradient penalties are exact
//! under first-order autodiff (see [`tangent`]).

pub mod conv;
pub mod ema;
pub mod file;
pub mod init;
pub mod kernels;
pub mod linear;
pub mod lstm;
pub mod norm;
pub mod ops;
pub mod optim;
pub mod pool;
pub mod pth;
pub mod spectral;
pub mod tangent;
pub mod transformer;
pub mod weights;

pub use conv::{Conv2d, ConvTranspose2d};
pub use init::Init;
pub use linear::{Embedding, Linear};
pub use lstm::Lstm;
pub use norm::{BatchNorm, BatchStats, ConditionalBatchNorm, LayerNorm, NormMode};
