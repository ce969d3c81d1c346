//! What can go wrong with a run folder, and what to do about it.

use std::io;
use std::path::{Path, PathBuf};

/// Result of the run folder's functions.
pub type Result<T> = std::result::Result<T, RunError>;

/// An error that names the path and the remedy.
#[derive(Debug, thiserror::Error)]
pub enum RunError {
    /// The operating system refused.
    #[error("cannot {action} {}: {source}; {remedy}", path.display())]
    Io {
        /// What was tried, as a verb.
        action: &'static str,
        /// The file or folder.
        path: PathBuf,
        /// What a person can do about it.
        remedy: &'static str,
        /// Its reason.
        source: io::Error,
    },
    /// A checkpoint could not be written. The earlier ones are untouched.
    #[error("cannot write checkpoint {}: {source}; {remedy} (the earlier checkpoints are intact)", path.display())]
    Checkpoint {
        /// Where it was to be.
        path: PathBuf,
        /// What a person can do about it.
        remedy: &'static str,
        /// Its reason.
        source: io::Error,
    },
    /// A file is where a run folder should be.
    #[error("{} is a file, expected a folder; give another --out", .0.display())]
    NotAFolder(PathBuf),
    /// A new run would overwrite an old one.
    #[error("{} already holds a run; continue it with --resume {}, or give another --out", .0.display(), .0.display())]
    AlreadyARun(PathBuf),
    /// Another process holds the folder's lock.
    #[error("another run is writing to {}; wait for it, stop it, or give another --out", .0.display())]
    InUse(PathBuf),
    /// A folder without a run in it.
    #[error("{} holds no run (no config.toml in it); give a folder that `train` made", .0.display())]
    NotARun(PathBuf),
    /// The settings in or for a run folder are damaged.
    #[error("{}: {message}; correct the file, or start a new run", path.display())]
    Config {
        /// The config file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
    /// A checkpoint of another recipe.
    #[error("checkpoint {} is of recipe '{found}', the run is '{expected}'; resume it with its own recipe", path.display())]
    Recipe {
        /// The checkpoint.
        path: PathBuf,
        /// Its recipe.
        found: String,
        /// The run's recipe.
        expected: String,
    },
    /// A checkpoint written by a later program.
    #[error("checkpoint {} has format {found}, this program reads up to {known}; update the program", path.display())]
    Newer {
        /// The checkpoint.
        path: PathBuf,
        /// Its format.
        found: u64,
        /// The newest format known here.
        known: u32,
    },
    /// A checkpoint is truncated or corrupt.
    #[error("checkpoint {} is damaged ({reason}); use an earlier one, or train again", path.display())]
    Damaged {
        /// The checkpoint.
        path: PathBuf,
        /// What is wrong with it.
        reason: String,
    },
    /// There are checkpoints, and none is whole.
    #[error("no checkpoint in {} is whole ({reasons}); restore one from a backup, or start a new run with another --out",
        path.display())]
    AllDamaged {
        /// The folder of checkpoints.
        path: PathBuf,
        /// Each one's name and what is wrong with it.
        reasons: String,
    },
    /// The values cannot be written as a file.
    #[error("cannot encode {}: {message}; this is a defect of the program, please report it", path.display())]
    Encode {
        /// The file to be.
        path: PathBuf,
        /// The library's reason.
        message: String,
    },
    /// Nothing that can be painted with.
    #[error("{}: {message}", path.display())]
    NoModel {
        /// What was given as --model.
        path: PathBuf,
        /// What was found and expected, and the remedy.
        message: String,
    },
}

impl RunError {
    /// An I/O error at `path`, with the remedy that its kind suggests. action: a verb, as "create".
    pub fn io(action: &'static str, path: &Path, source: io::Error) -> Self {
        Self::Io { action, path: path.to_path_buf(), remedy: remedy(&source), source }
    }

    pub(crate) fn checkpoint(path: &Path, source: io::Error) -> Self {
        Self::Checkpoint { path: path.to_path_buf(), remedy: remedy(&source), source }
    }

    pub(crate) fn damaged(path: &Path, reason: impl Into<String>) -> Self {
        Self::Damaged { path: path.to_path_buf(), reason: reason.into() }
    }

    pub(crate) fn encode(path: &Path, error: &impl std::fmt::Display) -> Self {
        Self::Encode { path: path.to_path_buf(), message: error.to_string() }
    }
}

fn remedy(error: &io::Error) -> &'static str {
    use io::ErrorKind as Kind;
    match error.kind() {
        Kind::StorageFull | Kind::QuotaExceeded | Kind::FileTooLarge => {
            "free some space there, then continue with --resume"
        }
        Kind::PermissionDenied | Kind::ReadOnlyFilesystem => "choose a folder that you may write to",
        Kind::NotFound => "check the path",
        Kind::NotADirectory => "a part of the path is a file: choose another folder",
        _ => "check the path and the disk",
    }
}
