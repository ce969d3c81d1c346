//! How good are the pictures? Each measure is one file, and each number carries its protocol.
//!
//! | file | measures |
//! |---|---|
//! | [`attributes`] | does a picture show the scene that was asked for: colours, shapes, sizes, who is where |
//! | [`judge`] | the classifier behind it, trained on real scenes |

pub mod attributes;
pub mod error;
pub mod judge;
mod perturb;
mod support;

pub use attributes::{AttributeReport, score};
pub use error::{MetricsError, Result};
pub use judge::{Judge, JudgeOptions};
pub use support::Progress;
