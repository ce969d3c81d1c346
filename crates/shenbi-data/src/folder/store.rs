//! The files of a directory or of a .zip archive, by name, read one at a time.

use std::collections::{HashMap, HashSet, VecDeque};
use std::fs::File;
use std::io::{Read, Seek, SeekFrom};
use std::path::{Path, PathBuf};
use std::sync::{Arc, Mutex, PoisonError};

use zip::ZipArchive;

use super::Skipped;
use crate::{DataError, Result};

/// No single file may be (or decompress to) more than this: a guard against archive bombs.
const MAX_FILE_BYTES: u64 = 256 << 20;

/// Names use `/` on every system and are in natural order (`2.png` before `10.png`). Hidden files and `__MACOSX` are
/// left out.
pub(super) struct Store {
    root: PathBuf,
    names: Vec<String>,
    by_name: HashMap<String, usize>,
    kind: Kind,
    /// What could not even be listed.
    pub skipped: Vec<Skipped>,
}

enum Kind {
    Directory,
    /// The archive, and the number in it of every name.
    Zip(ZipArchive<SharedFile>, Vec<usize>),
}

impl Store {
    pub fn open(path: &Path) -> Result<Self> {
        let info = std::fs::metadata(path).map_err(|e| DataError::io(path, e))?;
        if info.is_dir() { Self::open_directory(path) } else { Self::open_zip(path) }
    }

    fn open_directory(root: &Path) -> Result<Self> {
        let mut skipped = Vec::new();
        let mut files = Vec::new();
        // Real folders first, then folders behind links, each real folder once: a loop of links ends.
        let mut folders = VecDeque::from([(root.to_path_buf(), String::new())]);
        let mut links = VecDeque::new();
        let mut seen = HashSet::new();
        while let Some((path, prefix)) = folders.pop_front().or_else(|| links.pop_front()) {
            let real = path.canonicalize().map_err(|e| DataError::io(&path, e))?;
            if !seen.insert(real) {
                continue;
            }
            let mut children = std::fs::read_dir(&path)
                .and_then(Iterator::collect::<std::io::Result<Vec<_>>>)
                .map_err(|e| DataError::io(&path, e))?;
            children.sort_by_key(std::fs::DirEntry::file_name);
            for child in children {
                let child_path = child.path();
                let name = child.file_name();
                let Some(name) = name.to_str() else {
                    skipped.push(Skipped::new(format!("{prefix}{}", name.to_string_lossy()), "its name is not UTF-8"));
                    continue;
                };
                if is_hidden(name) {
                    continue;
                }
                let name = format!("{prefix}{name}");
                match std::fs::metadata(&child_path) {
                    Ok(info) if info.is_dir() && child_path.is_symlink() => {
                        links.push_back((child_path, format!("{name}/")));
                    }
                    Ok(info) if info.is_dir() => folders.push_back((child_path, format!("{name}/"))),
                    Ok(info) if info.is_file() => files.push((name, 0)),
                    Ok(_) => {} // a pipe or device: reading it could wait for ever
                    Err(e) => skipped.push(Skipped::new(name, format!("cannot be opened: {e}"))),
                }
            }
        }
        Ok(Self::new(root, files, skipped, |_| Kind::Directory))
    }

    fn open_zip(root: &Path) -> Result<Self> {
        let file = File::open(root).map_err(|e| DataError::io(root, e))?;
        let archive = ZipArchive::new(SharedFile { file: Arc::new(Mutex::new(file)), at: 0 }).map_err(|e| {
            DataError::file(root, format!("neither a folder nor a readable .zip archive ({e}); expected one of them"))
        })?;
        let mut files = Vec::new();
        let mut skipped = Vec::new();
        for (number, name) in archive.file_names().enumerate() {
            match name {
                Ok(name) => {
                    let name = normalise(&name);
                    if !name.ends_with('/') && !name.is_empty() && !name.split('/').any(is_hidden) {
                        files.push((name, number));
                    }
                }
                Err(e) => skipped.push(Skipped::new(format!("entry {number}"), format!("unreadable name: {e}"))),
            }
        }
        Ok(Self::new(root, files, skipped, |numbers| Kind::Zip(archive, numbers)))
    }

    fn new(
        root: &Path,
        mut files: Vec<(String, usize)>,
        skipped: Vec<Skipped>,
        kind: impl FnOnce(Vec<usize>) -> Kind,
    ) -> Self {
        files.sort_by(|a, b| natural_order(&a.0, &b.0));
        files.dedup_by(|later, first| later.0 == first.0);
        let (names, numbers): (Vec<String>, Vec<usize>) = files.into_iter().unzip();
        let by_name = names.iter().enumerate().map(|(i, name)| (name.clone(), i)).collect();
        Self { root: root.to_path_buf(), names, by_name, kind: kind(numbers), skipped }
    }

    pub fn root(&self) -> &Path {
        &self.root
    }

    pub fn names(&self) -> &[String] {
        &self.names
    }

    pub fn name(&self, file: usize) -> &str {
        &self.names[file]
    }

    /// Where file number `file` is, for messages.
    pub fn path(&self, file: usize) -> PathBuf {
        self.root.join(&self.names[file])
    }

    pub fn find(&self, name: &str) -> Option<usize> {
        self.by_name.get(name).copied()
    }

    /// The file called `name` in the folder of the file number `beside`; `name` may have `./`, `../` and `\`.
    pub fn find_beside(&self, beside: usize, name: &str) -> Option<usize> {
        let name = name.replace('\\', "/");
        let mut parts: Vec<&str> = folder_of(self.name(beside)).split('/').filter(|p| !p.is_empty()).collect();
        for part in name.split('/') {
            match part {
                "" | "." => {}
                ".." => drop(parts.pop()),
                part => parts.push(part),
            }
        }
        self.find(&parts.join("/"))
    }

    /// The files called `name` in any folder, the outermost first.
    pub fn all_called(&self, name: &str) -> Vec<usize> {
        let mut found: Vec<usize> = (0..self.names.len()).filter(|&f| base_of(&self.names[f]) == name).collect();
        found.sort_by_key(|&f| self.names[f].matches('/').count());
        found
    }

    /// The file's content.
    pub fn read(&self, file: usize) -> Result<Vec<u8>> {
        let path = self.path(file);
        let too_large = || {
            let limit = MAX_FILE_BYTES >> 20;
            DataError::file(&path, format!("larger than {limit} MiB, the limit for one file"))
        };
        let mut bytes = Vec::new();
        match &self.kind {
            Kind::Directory => {
                let opened = File::open(&path).map_err(|e| DataError::io(&path, e))?;
                opened.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| DataError::io(&path, e))?;
            }
            Kind::Zip(archive, numbers) => {
                let mut archive = archive.clone(); // shares the directory and the file handle
                let entry = archive
                    .by_index(numbers[file])
                    .map_err(|e| DataError::file(&path, format!("cannot be read from the archive: {e}")))?;
                if entry.size() > MAX_FILE_BYTES {
                    return Err(too_large());
                }
                // The size in the header may lie; what counts is what comes out.
                entry.take(MAX_FILE_BYTES + 1).read_to_end(&mut bytes).map_err(|e| DataError::io(&path, e))?;
            }
        }
        if bytes.len() as u64 > MAX_FILE_BYTES { Err(too_large()) } else { Ok(bytes) }
    }

    /// The file's content as text, without a byte order mark.
    pub fn read_text(&self, file: usize) -> Result<String> {
        crate::text::utf8(&self.path(file), self.read(file)?)
    }
}

/// A file that many threads read at their own places: a seek and a read under one lock.
#[derive(Clone)]
struct SharedFile {
    file: Arc<Mutex<File>>,
    at: u64,
}

impl Read for SharedFile {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        file.seek(SeekFrom::Start(self.at))?;
        let count = file.read(buffer)?;
        self.at += count as u64;
        Ok(count)
    }
}

impl Seek for SharedFile {
    fn seek(&mut self, to: SeekFrom) -> std::io::Result<u64> {
        let mut file = self.file.lock().unwrap_or_else(PoisonError::into_inner);
        self.at = match to {
            SeekFrom::Current(by) => {
                file.seek(SeekFrom::Start(self.at)).and_then(|_| file.seek(SeekFrom::Current(by)))?
            }
            other => file.seek(other)?,
        };
        Ok(self.at)
    }
}

fn is_hidden(part: &str) -> bool {
    part.starts_with('.') || part == "__MACOSX"
}

/// An archive's entry name with `/` between parts and no leading `/` or `./`.
fn normalise(name: &str) -> String {
    let name = name.replace('\\', "/");
    name.trim_start_matches("./").trim_start_matches('/').to_string()
}

/// Up to the last `/`, without it; empty at the top.
pub(super) fn folder_of(name: &str) -> &str {
    name.rsplit_once('/').map_or("", |(folder, _)| folder)
}

/// After the last `/`.
pub(super) fn base_of(name: &str) -> &str {
    name.rsplit_once('/').map_or(name, |(_, base)| base)
}

/// Whether the name ends as a picture's does.
pub(super) fn is_picture(name: &str) -> bool {
    let known = ["png", "jpg", "jpeg", "jfif", "webp", "bmp", "gif"];
    base_of(name).rsplit_once('.').is_some_and(|(_, end)| known.iter().any(|k| end.eq_ignore_ascii_case(k)))
}

/// Compares names part by part, runs of digits by their value; a total order.
pub(super) fn natural_order(a: &str, b: &str) -> std::cmp::Ordering {
    let (mut x, mut y) = (a.as_bytes(), b.as_bytes());
    while let (Some(&p), Some(&q)) = (x.first(), y.first()) {
        let order = if p.is_ascii_digit() && q.is_ascii_digit() {
            let (m, rest_x) = digits(x);
            let (n, rest_y) = digits(y);
            (x, y) = (rest_x, rest_y);
            m.len().cmp(&n.len()).then_with(|| m.cmp(n))
        } else {
            (x, y) = (&x[1..], &y[1..]);
            let rank = |b: u8| (b != b'/', b); // a folder's content stays together
            rank(p).cmp(&rank(q))
        };
        if order.is_ne() {
            return order;
        }
    }
    x.len().cmp(&y.len()).then_with(|| a.cmp(b))
}

/// The leading digits without leading zeros, and the rest.
fn digits(text: &[u8]) -> (&[u8], &[u8]) {
    let end = text.iter().position(|b| !b.is_ascii_digit()).unwrap_or(text.len());
    let zeros = text[..end].iter().position(|&b| b != b'0').unwrap_or(end);
    (&text[zeros..end], &text[end..])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn natural_order_counts() {
        let mut names = vec!["b/1", "a10", "a2", "a/2", "a-b/1", "a/10", "a02", "a"];
        names.sort_by(|a, b| natural_order(a, b));
        assert_eq!(names, ["a", "a/2", "a/10", "a-b/1", "a02", "a2", "a10", "b/1"]);
    }

    #[test]
    fn pictures_are_known_by_their_ending() {
        assert!(is_picture("a/b.PNG") && is_picture("x.y.jpeg"));
        assert!(!is_picture("png") && !is_picture("a.png/readme") && !is_picture("a.txt"));
    }
}
