//! What can go wrong in measuring.

use shenbi_data::DataError;
use shenbi_models::encoder::tokenizer::TokenizerError;
use shenbi_nn::file::FileError;
use shenbi_nn::weights::WeightsError;

/// Result of this crate.
pub type Result<T> = std::result::Result<T, MetricsError>;

/// Why there is no number.
#[derive(Debug, thiserror::Error)]
pub enum MetricsError {
    /// The bytes are no safetensors file, or a truncated one.
    #[error("not a whole safetensors file ({0}); copy or train it again")]
    File(#[from] FileError),
    /// Metadata is missing or of another kind.
    #[error("{0}")]
    Metadata(String),
    /// A tensor does not fit.
    #[error("{0}; the file belongs to another version of the program")]
    Weights(#[from] WeightsError),
    /// A setting or an input that does not fit.
    #[error("{0}")]
    Setting(String),
    /// The data cannot be read.
    #[error(transparent)]
    Data(#[from] DataError),
    /// A caption cannot be encoded.
    #[error(transparent)]
    Tokenizer(#[from] TokenizerError),
}
