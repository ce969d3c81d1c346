//! The readers of files, from the crates' own sources, without Burn behind them: an instrumented build takes a minute.

#[path = "../../crates/shenbi-nn/src/file.rs"]
pub mod file;
#[path = "../../crates/shenbi-metrics/src/npy.rs"]
pub mod npy;
#[path = "../../crates/shenbi-nn/src/pth.rs"]
pub mod pth;

/// What `shenbi_nn::weights` has of it.
pub mod weights {
    /// A tensor's shape and values.
    #[derive(Clone, Debug, PartialEq)]
    pub struct Values {
        pub shape: Vec<usize>,
        pub data: Vec<f32>,
    }

    /// Tensors by name.
    pub type Named = std::collections::BTreeMap<String, Values>;
}

/// What `shenbi_metrics` has of it.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    #[error("{0}")]
    Metadata(String),
}

/// Of the readers in `shenbi_metrics`.
pub type Result<T> = std::result::Result<T, MetricsError>;
