//! How the program fails: a message for a person, and an exit code for a script.

use std::io::{ErrorKind, IsTerminal};
use std::process::ExitCode;

use shenbi_data::DataError;
use shenbi_models::text_to_image::painter::PainterError;
use shenbi_train::config::ConfigError;
use shenbi_train::error::RunError;
use shenbi_train::session::TrainError;

use crate::output;

/// Why a command did not do what it was asked to.
#[derive(Debug)]
pub enum Failure {
    /// It was asked in a way it cannot be: exit code 2.
    Usage(String),
    /// It went wrong: exit code 1.
    Failed(String),
    /// Whoever read our output has gone, as `head` does: no failure at all.
    ClosedOutput,
}

impl Failure {
    /// Bad usage.
    pub fn usage(message: impl Into<String>) -> Self {
        Self::Usage(message.into())
    }

    /// What went wrong, in words.
    pub fn message(&self) -> String {
        match self {
            Self::ClosedOutput => "nobody reads the output".to_string(),
            Self::Usage(message) | Self::Failed(message) => message.clone(),
        }
    }

    /// Says what went wrong and gives the exit code.
    pub fn report(&self) -> ExitCode {
        let (message, code) = match self {
            Self::ClosedOutput => return ExitCode::SUCCESS,
            Self::Usage(message) => (message, 2),
            Self::Failed(message) => (message, 1),
        };
        let coloured = std::io::stderr().is_terminal() && std::env::var_os("NO_COLOR").is_none();
        let label = if coloured { "\x1b[1;31merror:\x1b[0m" } else { "error:" };
        output::note(&format!("{label} {message}"));
        ExitCode::from(code)
    }
}

impl From<std::io::Error> for Failure {
    /// An error on standard output.
    fn from(error: std::io::Error) -> Self {
        match error.kind() {
            ErrorKind::BrokenPipe => Self::ClosedOutput,
            _ => Self::Failed(format!("standard output cannot be written: {error}")),
        }
    }
}

impl From<ConfigError> for Failure {
    fn from(error: ConfigError) -> Self {
        Self::Usage(error.to_string())
    }
}

impl From<DataError> for Failure {
    fn from(error: DataError) -> Self {
        match error {
            DataError::Setting(message) => Self::Usage(message),
            other => Self::Failed(other.to_string()),
        }
    }
}

impl From<RunError> for Failure {
    fn from(error: RunError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<PainterError> for Failure {
    fn from(error: PainterError) -> Self {
        Self::Failed(error.to_string())
    }
}

impl From<TrainError> for Failure {
    fn from(error: TrainError) -> Self {
        match error {
            TrainError::Setting(message) => Self::Usage(message),
            other => Self::Failed(other.to_string()),
        }
    }
}
