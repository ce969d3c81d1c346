//! How good are the pictures? Each measure is one file, and each number carries its protocol.
//!
//! | file | measures |
//! |---|---|
//! | [`attributes`] | does a picture show the scene that was asked for: colours, shapes, sizes, who is where |
//! | [`judge`] | the classifier behind it, trained on real scenes |
//! | [`mod@frechet`] | Fréchet distance of features: how far generated pictures are from real ones |
//! | [`mod@kid`] | the same by a kernel, without the bias of few pictures |
//! | [`mod@prdc`] | precision, recall, density, coverage: is all of it real, is all that is real there |
//! | [`features`] | the pretrained network behind these three |
//! | [`mod@r_precision`] | is a picture's own caption the best among 100 |
//! | [`text`] | texts: likelihoods, BLEU and self-BLEU, distinct-n, copied n-grams, the reverse score |
//! | [`contrast`] | the picture and text encoder behind it, trained on real pictures and captions |

pub mod attributes;
pub mod contrast;
pub mod error;
pub mod features;
pub mod frechet;
pub mod judge;
pub mod kid;
mod linear_algebra;
mod perturb;
pub mod prdc;
pub mod r_precision;
mod support;
pub mod text;

pub use attributes::{AttributeReport, score};
pub use contrast::{ContrastEncoder, ContrastOptions};
pub use error::{MetricsError, Result};
pub use features::FeatureNetwork;
pub use frechet::{Frechet, Moments, frechet};
pub use judge::{Judge, JudgeOptions};
pub use kid::{Kid, KidOptions, kid};
pub use prdc::{Prdc, prdc};
pub use r_precision::{RPrecision, r_precision};
pub use support::Progress;
