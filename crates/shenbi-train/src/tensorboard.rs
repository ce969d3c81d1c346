//! Curves for TensorBoard: the few message types that scalars need, encoded by hand.
//!
//! A file is a chain of TFRecords: length (u64), masked crc32c of the length, payload, masked crc32c of the payload, all
//! little-endian. The payload is a protobuf `Event` (tensorflow/core/util/event.proto):
//! `wall_time = 1` (double), `step = 2` (int64), then one of `file_version = 3` (string),
//! `summary = 5 { value = 1 { tag = 1, simple_value = 2 } }`, `session_log = 7 { status = 1 }`.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::time::{SystemTime, UNIX_EPOCH};

use crate::error::{Result, RunError};

/// `SessionLog.SessionStatus.START`.
const START: u64 = 1;

/// An events file being written.
#[derive(Debug)]
pub struct Events {
    file: File,
    path: PathBuf,
}

impl Events {
    /// A new file `events.out.tfevents.<unixtime>.shenbi` in `folder`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn create(folder: &Path) -> Result<Self> {
        let mut time = now() as u64;
        loop {
            let path = folder.join(format!("events.out.tfevents.{time:010}.shenbi"));
            match File::create_new(&path) {
                Ok(file) => {
                    let mut events = Self { file, path };
                    events.write(None, &field(3, b"brain.Event:2"))?;
                    return Ok(events);
                }
                // Two files within a second: the name is only a name and its order.
                Err(error) if error.kind() == io::ErrorKind::AlreadyExists => time += 1,
                Err(error) => return Err(RunError::io("create", &path, error)),
            }
        }
    }

    /// Where it is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// One point of the curve `tag`.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn scalar(&mut self, tag: &str, step: u64, value: f32) -> Result<()> {
        let mut point = field(1, tag.as_bytes());
        point.push(2 << 3 | 5); // simple_value, four bytes
        point.extend(value.to_le_bytes());
        self.write(Some(step), &field(5, &field(1, &point)))
    }

    /// Says that points at `step` and after it, in earlier files, are of an abandoned past: TensorBoard drops them.
    ///
    /// # Errors
    /// The file cannot be written.
    pub fn restart(&mut self, step: u64) -> Result<()> {
        let mut status = vec![1 << 3];
        varint(START, &mut status);
        self.write(Some(step), &field(7, &status))
    }

    fn write(&mut self, step: Option<u64>, what: &[u8]) -> Result<()> {
        let mut event = vec![1 << 3 | 1]; // wall_time, eight bytes
        event.extend(now().to_le_bytes());
        if let Some(step) = step {
            event.push(2 << 3);
            varint(step, &mut event);
        }
        event.extend(what);
        self.file.write_all(&record(&event)).map_err(|error| RunError::io("write", &self.path, error))
    }
}

/// Seconds since 1970.
fn now() -> f64 {
    SystemTime::now().duration_since(UNIX_EPOCH).unwrap_or_default().as_secs_f64()
}

/// A protobuf field of bytes: tag, length, content.
fn field(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = vec![number << 3 | 2];
    varint(content.len() as u64, &mut bytes);
    bytes.extend(content);
    bytes
}

fn varint(mut value: u64, bytes: &mut Vec<u8>) {
    while value >= 0x80 {
        bytes.push(value as u8 | 0x80);
        value >>= 7;
    }
    bytes.push(value as u8);
}

fn record(payload: &[u8]) -> Vec<u8> {
    let length = (payload.len() as u64).to_le_bytes();
    let mut bytes = Vec::with_capacity(payload.len() + 16);
    bytes.extend(length);
    bytes.extend(masked(&length).to_le_bytes());
    bytes.extend(payload);
    bytes.extend(masked(payload).to_le_bytes());
    bytes
}

/// TensorFlow's mask, so that the checksum of data with checksums inside is not degenerate.
fn masked(bytes: &[u8]) -> u32 {
    crc32c::crc32c(bytes).rotate_right(15).wrapping_add(0xa282_ead8)
}
