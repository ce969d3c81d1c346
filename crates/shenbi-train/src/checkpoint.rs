//! Checkpoints: folders `checkpoints/NNNNNNNN/` that are there whole or not at all.
//!
//! Each holds `state.safetensors` (networks, averages, optimizers), `model.safetensors` (what generates, alone), for text
//! `tokenizer.json`, and `state.json`: counters, and length and crc32c of the other files. One is written under a temporary name,
//! synced, renamed; so a crash, a full disk or a power cut at any moment leaves the earlier ones as they were.

use std::collections::{BTreeMap, HashMap};
use std::io;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};
use shenbi_nn::file;
use shenbi_nn::weights::Named;

use crate::atomic::{sync_folder, write_synced};
use crate::error::{Result, RunError};

/// Version of the layout of checkpoints.
pub const FORMAT: u32 = 1;
/// The newest ones are kept, so many; the rest is deleted.
const KEEP: usize = 2;

const STATE: &str = "state.json";
const TENSORS: &str = "state.safetensors";
const TOKENIZER: &str = "tokenizer.json";
const MODEL: &str = "model.safetensors";
/// Unfinished or discarded.
const TEMPORARY: &str = ".tmp-";
/// Moved aside while one of the same step takes its place.
const REPLACED: &str = ".old-";

/// Where a run stands, but for its tensors.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct TrainState {
    /// Version of the layout: [`FORMAT`].
    pub format: u32,
    /// The recipe that trains it.
    pub recipe: String,
    /// Steps done of contrastive training.
    pub contrast_steps: u64,
    /// Steps done of the GAN.
    pub gan_steps: u64,
    /// Examples taken from the loader: where the data order continues.
    pub examples_consumed: u64,
    /// Seconds of training so far, pauses not counted.
    pub elapsed_seconds: f64,
    /// The fingerprint of the pretrained text encoder, where there is one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text_encoder: Option<String>,
}

/// All that there is to a run at one step.
#[derive(Clone, Debug, PartialEq)]
pub struct Checkpoint {
    /// Networks, averages and optimizers.
    pub named: Named,
    /// Counters.
    pub state: TrainState,
    /// The tokenizer's own format, where sentences are learnt.
    pub tokenizer_json: Option<String>,
    /// The model file.
    pub model: Vec<u8>,
}

/// What [`latest`] found.
#[derive(Debug, Default)]
pub struct Latest {
    /// The newest whole checkpoint and its folder; nothing if the run has not come to its first.
    pub found: Option<(PathBuf, Checkpoint)>,
    /// Newer ones that are damaged, and why: worth a warning.
    pub damaged: Vec<(PathBuf, String)>,
}

/// The content of `state.json`.
#[derive(Debug, Serialize, Deserialize)]
struct Manifest {
    #[serde(flatten)]
    state: TrainState,
    /// The number in the folder's name.
    step: u64,
    files: BTreeMap<String, Sum>,
}

#[derive(Debug, PartialEq, Eq, Serialize, Deserialize)]
struct Sum {
    bytes: u64,
    crc32c: u32,
}

impl Sum {
    fn of(bytes: &[u8]) -> Self {
        Self { bytes: bytes.len() as u64, crc32c: crc32c::crc32c(bytes) }
    }
}

/// Writes the checkpoint of `step` into the folder `checkpoints`, then deletes all but the newest two. Checkpoints of
/// later steps are of an abandoned future (the run was resumed from before them) and go as well.
///
/// # Errors
/// The disk refuses: the earlier checkpoints are intact.
pub fn save(checkpoints: &Path, step: u64, checkpoint: &Checkpoint) -> Result<PathBuf> {
    let name = format!("{step:08}");
    let path = checkpoints.join(&name);
    let metadata = HashMap::from([
        ("format".to_string(), FORMAT.to_string()),
        ("recipe".to_string(), checkpoint.state.recipe.clone()),
        ("step".to_string(), step.to_string()),
    ]);
    let tensors = file::to_bytes(&checkpoint.named, metadata, false)
        .map_err(|error| RunError::encode(&path.join(TENSORS), &error))?;
    let mut contents = vec![(TENSORS, tensors.as_slice()), (MODEL, &checkpoint.model)];
    contents.extend(checkpoint.tokenizer_json.as_ref().map(|json| (TOKENIZER, json.as_bytes())));
    let files = contents.iter().map(|(name, bytes)| (name.to_string(), Sum::of(bytes))).collect();
    let manifest = Manifest { state: checkpoint.state.clone(), step, files };
    let manifest = serde_json::to_vec_pretty(&manifest).map_err(|error| RunError::encode(&path.join(STATE), &error))?;

    let temporary = checkpoints.join(format!("{TEMPORARY}{name}"));
    let write = || -> io::Result<()> {
        remove(&temporary)?;
        std::fs::create_dir(&temporary)?;
        for (name, bytes) in &contents {
            write_synced(&temporary.join(name), bytes)?;
        }
        write_synced(&temporary.join(STATE), &manifest)?;
        sync_folder(&temporary)?;
        let replaced = checkpoints.join(format!("{REPLACED}{name}"));
        if path.exists() {
            remove(&replaced)?;
            std::fs::rename(&path, &replaced)?; // `clean` moves it back if we die before the next line
        }
        std::fs::rename(&temporary, &path)?;
        sync_folder(checkpoints)?;
        remove(&replaced)
    };
    write().map_err(|source| {
        // What is half written only takes space.
        let _ = remove(&temporary);
        RunError::checkpoint(&path, source)
    })?;

    let steps = list(checkpoints)?;
    let older = steps.iter().rev().filter(|(other, _)| *other <= step).skip(KEEP);
    for (_, old) in steps.iter().filter(|(other, _)| *other > step).chain(older) {
        discard(old).map_err(|source| RunError::io("delete", old, source))?;
    }
    Ok(path)
}

/// The newest whole checkpoint in the folder `checkpoints`.
///
/// # Errors
/// It is of another recipe or a newer program, it may not be read, or there are some and none is whole.
pub fn latest(checkpoints: &Path, recipe: &str) -> Result<Latest> {
    let mut latest = Latest::default();
    for (_, path) in list(checkpoints)?.into_iter().rev() {
        match read(&path) {
            Ok(checkpoint) if checkpoint.state.recipe != recipe => {
                return Err(RunError::Recipe { path, found: checkpoint.state.recipe, expected: recipe.to_string() });
            }
            Ok(checkpoint) => {
                latest.found = Some((path, checkpoint));
                return Ok(latest);
            }
            Err(RunError::Damaged { path, reason }) => latest.damaged.push((path, reason)),
            Err(error) => return Err(error),
        }
    }
    if latest.damaged.is_empty() { Ok(latest) } else { Err(all_damaged(checkpoints, &latest.damaged)) }
}

/// The checkpoint in the folder `path`.
///
/// # Errors
/// It is damaged ([`RunError::Damaged`]), of a newer program, or may not be read.
pub fn read(path: &Path) -> Result<Checkpoint> {
    let manifest = read_manifest(path)?;
    let tensors = read_file(path, TENSORS, &manifest)?;
    let damaged = |name: &str, error: &dyn std::fmt::Display| RunError::damaged(path, format!("{name}: {error}"));
    let (named, _) = file::from_bytes(&tensors).map_err(|error| damaged(TENSORS, &error))?;
    let tokenizer_json = match manifest.files.contains_key(TOKENIZER) {
        false => None,
        true => {
            let bytes = read_file(path, TOKENIZER, &manifest)?;
            Some(String::from_utf8(bytes).map_err(|error| damaged(TOKENIZER, &error))?)
        }
    };
    let model = read_file(path, MODEL, &manifest)?;
    Ok(Checkpoint { named, state: manifest.state, tokenizer_json, model })
}

/// Removes what an interrupted [`save`] left behind.
///
/// # Errors
/// The disk refuses.
pub fn clean(checkpoints: &Path) -> Result<()> {
    for entry in names(checkpoints)? {
        let path = checkpoints.join(&entry);
        let tidy = if let Some(name) = entry.strip_prefix(REPLACED) {
            let place = checkpoints.join(name);
            if place.exists() { remove(&path) } else { std::fs::rename(&path, &place) }
        } else if entry.starts_with(TEMPORARY) {
            remove(&path)
        } else {
            Ok(())
        };
        tidy.map_err(|source| RunError::io("tidy up", &path, source))?;
    }
    Ok(())
}

/// The model file that `path` means: itself, the model of a checkpoint folder, or that of a run folder's newest whole
/// checkpoint.
///
/// # Errors
/// There is none there; the message says what was found and expected.
pub fn model_path(path: &Path) -> Result<PathBuf> {
    let none = |message: &str| Err(RunError::NoModel { path: path.to_path_buf(), message: message.to_string() });
    let metadata = match std::fs::metadata(path) {
        Ok(metadata) => metadata,
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return none("no such file or folder; --model wants a model file, a run folder or a checkpoint folder");
        }
        Err(error) => return Err(RunError::io("read", path, error)),
    };
    if metadata.is_file() {
        return Ok(path.to_path_buf());
    }
    if path.join(STATE).is_file() {
        return checked_model(path);
    }
    if path.join(MODEL).is_file() {
        return Ok(path.join(MODEL));
    }
    let inside = path.join("checkpoints");
    let checkpoints = if inside.is_dir() { inside.as_path() } else { path };
    let mut damaged = Vec::new();
    for (_, checkpoint) in list(checkpoints)?.into_iter().rev() {
        match checked_model(&checkpoint) {
            Err(RunError::Damaged { path, reason }) => damaged.push((path, reason)),
            other => return other,
        }
    }
    if !damaged.is_empty() {
        return Err(all_damaged(checkpoints, &damaged));
    }
    if inside.is_dir() {
        return none("the run has no checkpoint yet; let it train until its first one, or stop it with Ctrl-C");
    }
    none("neither a run folder nor a checkpoint folder; --model wants one of these, or a model file")
}

fn checked_model(checkpoint: &Path) -> Result<PathBuf> {
    read_file(checkpoint, MODEL, &read_manifest(checkpoint)?)?;
    Ok(checkpoint.join(MODEL))
}

fn all_damaged(checkpoints: &Path, damaged: &[(PathBuf, String)]) -> RunError {
    let name = |path: &Path| path.file_name().unwrap_or_default().to_string_lossy().into_owned();
    let reasons: Vec<String> = damaged.iter().map(|(path, reason)| format!("{}: {reason}", name(path))).collect();
    RunError::AllDamaged { path: checkpoints.to_path_buf(), reasons: reasons.join(", ") }
}

fn read_manifest(path: &Path) -> Result<Manifest> {
    let bytes = read_bytes(path, STATE)?;
    let damaged = |error: serde_json::Error| RunError::damaged(path, format!("{STATE}: {error}"));
    let value: serde_json::Value = serde_json::from_slice(&bytes).map_err(damaged)?;
    // The version first: a newer layout need not have the fields of this one.
    if let Some(found) = value.get("format").and_then(serde_json::Value::as_u64)
        && found > u64::from(FORMAT)
    {
        return Err(RunError::Newer { path: path.to_path_buf(), found, known: FORMAT });
    }
    let manifest: Manifest = serde_json::from_value(value).map_err(damaged)?;
    if let Some(step) = step_of(path)
        && step != manifest.step
    {
        return Err(RunError::damaged(path, format!("{STATE} is of step {}", manifest.step)));
    }
    Ok(manifest)
}

/// A file of a checkpoint, checked against its manifest.
fn read_file(path: &Path, name: &str, manifest: &Manifest) -> Result<Vec<u8>> {
    let bytes = read_bytes(path, name)?;
    let (found, expected) = (Sum::of(&bytes), manifest.files.get(name));
    match expected {
        None => Err(RunError::damaged(path, format!("{STATE} does not list {name}"))),
        Some(expected) if found.bytes != expected.bytes => {
            Err(RunError::damaged(path, format!("{name} has {} bytes of {}", found.bytes, expected.bytes)))
        }
        Some(expected) if found != *expected => Err(RunError::damaged(path, format!("{name} fails its checksum"))),
        Some(_) => Ok(bytes),
    }
}

fn read_bytes(path: &Path, name: &str) -> Result<Vec<u8>> {
    let file = path.join(name);
    std::fs::read(&file).map_err(|error| match error.kind() {
        io::ErrorKind::PermissionDenied => RunError::io("read", &file, error),
        io::ErrorKind::NotFound => RunError::damaged(path, format!("{name} is missing")),
        _ => RunError::damaged(path, format!("{name}: {error}")),
    })
}

/// Checkpoints by step, the oldest first.
fn list(checkpoints: &Path) -> Result<Vec<(u64, PathBuf)>> {
    let mut steps: Vec<(u64, PathBuf)> = names(checkpoints)?
        .iter()
        .map(|name| checkpoints.join(name))
        .filter_map(|path| Some((step_of(&path)?, path)))
        .filter(|(_, path)| path.is_dir())
        .collect();
    steps.sort();
    Ok(steps)
}

/// The number that a checkpoint's folder is named by.
fn step_of(path: &Path) -> Option<u64> {
    let name = path.file_name()?.to_str()?;
    if name.len() >= 8 && name.bytes().all(|b| b.is_ascii_digit()) { name.parse().ok() } else { None }
}

fn names(folder: &Path) -> Result<Vec<String>> {
    let refused = |error| RunError::io("read", folder, error);
    let mut names = Vec::new();
    for entry in std::fs::read_dir(folder).map_err(refused)? {
        names.push(entry.map_err(refused)?.file_name().to_string_lossy().into_owned());
    }
    Ok(names)
}

/// Deletes a checkpoint so that a crash halfway leaves no half of it under its name.
fn discard(path: &Path) -> io::Result<()> {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    let aside = path.with_file_name(format!("{TEMPORARY}{name}"));
    remove(&aside)?;
    std::fs::rename(path, &aside)?;
    remove(&aside)
}

/// Deletes a folder, or a file in its place, if it is there.
fn remove(path: &Path) -> io::Result<()> {
    let result = match std::fs::symlink_metadata(path) {
        Ok(metadata) if metadata.is_dir() => std::fs::remove_dir_all(path),
        Ok(_) => std::fs::remove_file(path),
        Err(error) => Err(error),
    };
    match result {
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(()),
        other => other,
    }
}
