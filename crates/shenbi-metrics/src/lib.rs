//! How good are the pictures? Each measure is one file, and each number carries its protocol.
//!
//! | file | measures |
//! |---|---|
//! | [`attributes`] | does a picture show the scene that was asked for: colours, shapes, sizes, who is where |
//! | [`judge`] | the classifier behind it, trained on real scenes |
//! | [`mod@r_precision`] | is a picture's own caption the best among 100 |
//! | [`contrast`] | the picture and text encoder behind it, trained on real pictures and captions |

pub mod attributes;
pub mod contrast;
pub mod error;
pub mod judge;
mod perturb;
pub mod r_precision;
mod support;

pub use attributes::{AttributeReport, score};
pub use contrast::{ContrastEncoder, ContrastOptions};
pub use error::{MetricsError, Result};
pub use judge::{Judge, JudgeOptions};
pub use r_precision::{RPrecision, r_precision};
pub use support::Progress;
