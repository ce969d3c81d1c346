//! A file that grows, line by line: what was appended is read, and nothing twice.

use std::fs::File;
use std::io::{ErrorKind, Read, Result, Seek, SeekFrom};
use std::path::{Path, PathBuf};

/// Bytes of a line, at most: a longer one is passed over.
const LONGEST: usize = 1 << 20;
/// Bytes before the place reached that must still be there, or the file is another.
const KNOWN: usize = 512;
/// Bytes read at once.
const CHUNK: usize = 1 << 16;

/// What reading gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Piece<'a> {
    /// The file was shortened or rewritten: what follows is its whole content, from the start.
    Anew,
    /// A whole line, without its end.
    Line(&'a [u8]),
    /// A line too long to be one of ours.
    TooLong,
}

/// How far a file has been read.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    offset: u64,
    /// The last bytes before `offset`.
    known: Vec<u8>,
    /// The start of a line whose end has not been written yet.
    partial: Vec<u8>,
    too_long: bool,
}

impl Tail {
    /// The file at `path`, which need not exist yet. Nothing is read.
    pub fn new(path: &Path) -> Self {
        Self { path: path.to_path_buf(), offset: 0, known: Vec::new(), partial: Vec::new(), too_long: false }
    }

    /// Where the file is.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Gives `take` what is new, up to about `budget` bytes of it. Returns whether there may be more.
    ///
    /// # Errors
    /// The file is there and cannot be read.
    pub fn read(&mut self, budget: usize, mut take: impl FnMut(Piece<'_>)) -> Result<bool> {
        let mut file = match File::open(&self.path) {
            Ok(file) => file,
            Err(error) if error.kind() == ErrorKind::NotFound => {
                self.restart(&mut take);
                return Ok(false);
            }
            Err(error) => return Err(error),
        };
        if !self.is_known(&mut file)? {
            self.restart(&mut take);
        }
        file.seek(SeekFrom::Start(self.offset))?;
        let mut chunk = vec![0; CHUNK];
        let mut taken = 0;
        while taken < budget {
            let n = match file.read(&mut chunk) {
                Ok(0) => return Ok(false),
                Ok(n) => n,
                Err(error) if error.kind() == ErrorKind::Interrupted => continue,
                Err(error) => return Err(error),
            };
            taken += n;
            self.take(&chunk[..n], &mut take);
        }
        Ok(true)
    }

    fn restart(&mut self, take: &mut impl FnMut(Piece<'_>)) {
        if self.offset > 0 {
            *self = Self::new(&self.path);
            take(Piece::Anew);
        }
    }

    /// Whether `file` still holds what was read of it.
    fn is_known(&self, file: &mut File) -> Result<bool> {
        if file.metadata()?.len() < self.offset {
            return Ok(false);
        }
        let mut now = vec![0; self.known.len()];
        file.seek(SeekFrom::Start(self.offset - self.known.len() as u64))?;
        match file.read_exact(&mut now) {
            Ok(()) => Ok(now == self.known),
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => Ok(false),
            Err(error) => Err(error),
        }
    }

    fn take(&mut self, bytes: &[u8], take: &mut impl FnMut(Piece<'_>)) {
        self.offset += bytes.len() as u64;
        self.known.extend_from_slice(&bytes[bytes.len().saturating_sub(KNOWN)..]);
        self.known.drain(..self.known.len().saturating_sub(KNOWN));
        for part in bytes.split_inclusive(|&byte| byte == b'\n') {
            let (text, ended) = part.strip_suffix(b"\n").map_or((part, false), |text| (text, true));
            if self.too_long || self.partial.len() + text.len() > LONGEST {
                self.too_long = !ended;
                self.partial = Vec::new();
                if ended {
                    take(Piece::TooLong);
                }
            } else if !ended {
                self.partial.extend_from_slice(text);
            } else if self.partial.is_empty() {
                take(Piece::Line(text));
            } else {
                self.partial.extend_from_slice(text);
                take(Piece::Line(&std::mem::take(&mut self.partial)));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use std::fs::{self, OpenOptions};
    use std::io::Write;

    use super::*;

    /// What a reading gives, lines as text; `!` for a file begun anew, `?` for a line too long.
    fn read(tail: &mut Tail) -> Vec<String> {
        let mut pieces = Vec::new();
        let more = tail.read(usize::MAX, |piece| {
            pieces.push(match piece {
                Piece::Anew => "!".to_string(),
                Piece::Line(line) => String::from_utf8_lossy(line).into_owned(),
                Piece::TooLong => "?".to_string(),
            });
        });
        assert!(!more.unwrap());
        pieces
    }

    fn append(path: &Path, text: &str) {
        OpenOptions::new().append(true).create(true).open(path).unwrap().write_all(text.as_bytes()).unwrap();
    }

    #[test]
    fn only_what_was_appended_and_whole() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut tail = Tail::new(&path);
        assert!(read(&mut tail).is_empty(), "a file that is not there yet");
        append(&path, "one\ntw");
        assert_eq!(read(&mut tail), ["one"]);
        assert!(read(&mut tail).is_empty());
        append(&path, "o");
        assert!(read(&mut tail).is_empty(), "half a line waits");
        append(&path, "\n\nfour\n");
        assert_eq!(read(&mut tail), ["two", "", "four"]);
        assert!(read(&mut tail).is_empty());
    }

    #[test]
    fn a_file_that_is_another_is_read_anew() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut tail = Tail::new(&path);
        append(&path, "one\ntwo\nthr");
        assert_eq!(read(&mut tail), ["one", "two"]);
        fs::write(&path, "one\n").unwrap(); // shorter
        assert_eq!(read(&mut tail), ["!", "one"]);
        fs::write(&path, "uno\ndue\ntre\n").unwrap(); // longer
        assert_eq!(read(&mut tail), ["!", "uno", "due", "tre"]);
        fs::remove_file(&path).unwrap();
        assert_eq!(read(&mut tail), ["!"]);
        assert!(read(&mut tail).is_empty());
        append(&path, "ein\n");
        assert_eq!(read(&mut tail), ["ein"]);
        // Renamed into its place and then appended to, as by a run that is resumed from an earlier step.
        fs::write(folder.path().join("new"), "one\ntwo, otherwise\n").unwrap();
        fs::rename(folder.path().join("new"), &path).unwrap();
        assert_eq!(read(&mut tail), ["!", "one", "two, otherwise"]);
    }

    #[test]
    fn memory_is_bounded() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        let mut tail = Tail::new(&path);
        append(&path, &"x".repeat(3 * LONGEST));
        assert!(read(&mut tail).is_empty());
        assert!(tail.partial.capacity() <= 2 * LONGEST && tail.known.len() == KNOWN);
        append(&path, "x\nshort\n");
        assert_eq!(read(&mut tail), ["?", "short"]);
    }

    #[test]
    fn a_budget_is_kept() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("log");
        append(&path, &"0123456789\n".repeat(20_000));
        let (mut tail, mut lines, mut readings) = (Tail::new(&path), 0, 1);
        while tail.read(CHUNK, |piece| lines += usize::from(piece == Piece::Line(b"0123456789"))).unwrap() {
            readings += 1;
        }
        assert_eq!((lines, readings), (20_000, 4));
    }

    #[test]
    fn what_cannot_be_read_is_an_error() {
        let folder = tempfile::tempdir().unwrap();
        assert!(Tail::new(folder.path()).read(1, |_| ()).is_err(), "a folder");
    }
}
