//! Files that are either there whole or not there at all.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use crate::error::{Result, RunError};

/// Writes `bytes` to `path` under a temporary name beside it, syncs, and renames: whoever reads `path`, even after a
/// power cut, finds the old content or the new, never a part.
///
/// # Errors
/// The disk refuses; the old content is intact.
pub fn write_atomic(path: &Path, bytes: &[u8]) -> Result<()> {
    let temporary = temporary_name(path);
    let write = || {
        write_synced(&temporary, bytes)?;
        std::fs::rename(&temporary, path)?;
        sync_folder(parent(path))
    };
    write().map_err(|source| {
        // The space of the part that was written is worth more than the part.
        let _ = std::fs::remove_file(&temporary);
        RunError::io("write", path, source)
    })
}

/// Writes a file and waits until the disk has it.
pub(crate) fn write_synced(path: &Path, bytes: &[u8]) -> io::Result<()> {
    let mut file = File::create(path)?;
    file.write_all(bytes)?;
    file.sync_all()
}

/// Waits until the disk has a folder's names. Windows syncs them itself and opens no folders.
pub(crate) fn sync_folder(path: &Path) -> io::Result<()> {
    if cfg!(unix) { File::open(path)?.sync_all() } else { Ok(()) }
}

fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

fn temporary_name(path: &Path) -> PathBuf {
    let name = path.file_name().unwrap_or_default().to_string_lossy();
    parent(path).join(format!(".{name}.tmp"))
}
