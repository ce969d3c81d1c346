//! The folder of a text encoder: its files, and a fingerprint of all that was read.

use std::collections::BTreeSet;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde_json::Value;
use sha2::{Digest, Sha256};
use shenbi_nn::file;
use shenbi_nn::weights::Named;

/// Bytes of a file that is not weights, at most.
const LARGEST: u64 = 1 << 28;
/// Files of weights, the first of which that is there is taken.
const WEIGHTS: [&str; 4] =
    ["model.safetensors", "open_clip_model.safetensors", "pytorch_model.bin", "open_clip_pytorch_model.bin"];
/// Tables of contents of weights in several files.
const INDEXES: [&str; 2] = ["model.safetensors.index.json", "pytorch_model.bin.index.json"];

/// Why an encoder cannot be opened.
#[derive(Debug, thiserror::Error)]
#[error("text encoder {}: {message}", path.display())]
pub struct PretrainedError {
    /// The folder or file.
    pub path: PathBuf,
    /// What is wrong, and what to do.
    pub message: String,
}

/// An encoder's folder.
pub(super) struct Folder {
    /// As given.
    path: PathBuf,
    /// Where sentence-transformers' files are.
    root: PathBuf,
    /// Where the network's files are.
    at: PathBuf,
    /// The weights, where a file was given.
    given: Option<PathBuf>,
    hash: Sha256,
}

impl Folder {
    /// The folder, or the folder of the file, at `path`.
    pub(super) fn open(path: &Path) -> Result<Self, PretrainedError> {
        let given = path.is_file().then(|| path.to_path_buf());
        let root = match (&given, path.parent()) {
            (Some(_), Some(parent)) => parent.to_path_buf(),
            _ => path.to_path_buf(),
        };
        let this = Self { path: path.to_path_buf(), at: root.clone(), root, given, hash: Sha256::new() };
        if this.given.is_none() && !path.is_dir() {
            return Err(this.error("there is no such folder; give one as Hugging Face has them, complete".into()));
        }
        Ok(this)
    }

    /// An error about this folder.
    pub(super) fn error(&self, message: String) -> PretrainedError {
        PretrainedError { path: self.path.clone(), message }
    }

    /// The network's files are in the folder of this name.
    pub(super) fn enter(&mut self, name: &str) -> Result<(), PretrainedError> {
        self.at = self.root.join(self.plain(name)?);
        Ok(())
    }

    /// A name that stays inside of the folder.
    fn plain<'a>(&self, name: &'a str) -> Result<&'a str, PretrainedError> {
        let inside = Path::new(name).components().all(|part| matches!(part, std::path::Component::Normal(_)));
        if inside { Ok(name) } else { Err(self.error(format!("it names a file '{name}' outside of the folder"))) }
    }

    /// A file's bytes, where there is one.
    pub(super) fn read(&mut self, name: &str) -> Result<Option<Vec<u8>>, PretrainedError> {
        self.read_at(&self.at.join(name), name)
    }

    fn read_at(&mut self, path: &Path, name: &str) -> Result<Option<Vec<u8>>, PretrainedError> {
        let failed = |error: std::io::Error| self.error(format!("{name} cannot be read: {error}"));
        let file = match File::open(path) {
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            other => other.map_err(failed)?,
        };
        let mut bytes = Vec::new();
        file.take(LARGEST + 1).read_to_end(&mut bytes).map_err(failed)?;
        if bytes.len() as u64 > LARGEST {
            return Err(self.error(format!("{name} is larger than any such file ({LARGEST} bytes)")));
        }
        self.count(name, &bytes);
        Ok(Some(bytes))
    }

    /// Makes a file part of the fingerprint.
    fn count(&mut self, name: &str, bytes: &[u8]) {
        self.hash.update(name.as_bytes());
        self.hash.update((bytes.len() as u64).to_le_bytes());
        self.hash.update(bytes);
    }

    /// A text that must be there. what: the files of which one is needed.
    pub(super) fn text(&mut self, name: &str, what: &str) -> Result<String, PretrainedError> {
        let bytes = self.read(name)?.ok_or_else(|| self.error(format!("{name} is missing: it needs {what}")))?;
        String::from_utf8(bytes).map_err(|_| self.error(format!("{name} is not UTF-8; copy it again")))
    }

    /// A JSON file, where there is one.
    pub(super) fn json(&mut self, name: &str) -> Result<Option<Value>, PretrainedError> {
        self.json_at(&self.at.join(name), name)
    }

    /// The same beside sentence-transformers' own files.
    pub(super) fn json_of_root(&mut self, name: &str) -> Result<Option<Value>, PretrainedError> {
        self.json_at(&self.root.join(self.plain(name)?), name)
    }

    fn json_at(&mut self, path: &Path, name: &str) -> Result<Option<Value>, PretrainedError> {
        let Some(bytes) = self.read_at(path, name)? else { return Ok(None) };
        serde_json::from_slice(&bytes).map(Some).map_err(|error| self.error(format!("{name}: {error}; copy it again")))
    }

    /// All tensors, under the names of today.
    pub(super) fn weights(&mut self) -> Result<Named, PretrainedError> {
        let mut named = Named::new();
        for path in self.weight_files()? {
            let name = path.file_name().map_or_else(String::new, |name| name.to_string_lossy().into_owned());
            let failed = |error: &dyn std::fmt::Display| self.error(format!("{name}: {error}"));
            let hash = hash_of(&path).map_err(|error| failed(&format!("cannot be read: {error}")))?;
            let (tensors, _) = file::open(&path).map_err(|error| failed(&error))?;
            self.count("weights", &hash);
            named.extend(tensors.into_iter().map(|(name, values)| (renamed(name), values)));
        }
        Ok(named)
    }

    fn weight_files(&mut self) -> Result<Vec<PathBuf>, PretrainedError> {
        if let Some(file) = &self.given {
            return Ok(vec![file.clone()]);
        }
        if let Some(file) = WEIGHTS.iter().map(|name| self.at.join(name)).find(|path| path.is_file()) {
            return Ok(vec![file]);
        }
        for index in INDEXES {
            let Some(table) = self.json(index)? else { continue };
            let map = table.get("weight_map").and_then(Value::as_object);
            let map = map.ok_or_else(|| self.error(format!("{index} has no weight_map; copy it again")))?;
            let names: BTreeSet<&str> = map.values().filter_map(Value::as_str).collect();
            let path = |name: &&str| {
                let path = self.at.join(self.plain(name)?);
                let missing = || self.error(format!("{name} is missing, which {index} names; copy it as well"));
                if path.is_file() { Ok(path) } else { Err(missing()) }
            };
            return names.iter().map(path).collect();
        }
        let known = WEIGHTS.iter().chain(&INDEXES).copied().collect::<Vec<_>>().join(", ");
        Err(self.error(format!("it has no weights: one of {known}")))
    }

    /// Of all that was read, in hexadecimal.
    pub(super) fn fingerprint(self) -> String {
        hex(&self.hash.finalize())
    }
}

/// Norms of files from before PyTorch.
fn renamed(name: String) -> String {
    match name.rsplit_once('.') {
        Some((norm, "gamma")) => format!("{norm}.weight"),
        Some((norm, "beta")) => format!("{norm}.bias"),
        _ => name,
    }
}

fn hash_of(path: &Path) -> std::io::Result<Vec<u8>> {
    let (mut file, mut hash, mut buffer) = (File::open(path)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        let n = file.read(&mut buffer)?;
        if n == 0 {
            return Ok(hash.finalize().to_vec());
        }
        hash.update(&buffer[..n]);
    }
}

/// Bytes in hexadecimal.
pub(super) fn hex(bytes: &[u8]) -> String {
    bytes.iter().map(|byte| format!("{byte:02x}")).collect()
}
