//! Small pictures, folders and archives, made on the spot.

use std::fs;
use std::io::{Cursor, Write};
use std::path::{Path, PathBuf};

use image::{DynamicImage, ImageFormat, Rgb, RgbImage};
use shenbi_data::folder::{Folder, FolderOptions};
use shenbi_data::{DataError, Picture};
use tempfile::TempDir;

/// A picture of one colour; the number of samples in `pixel` decides its channels.
pub fn flat(width: usize, height: usize, pixel: &[u8]) -> Picture {
    Picture { width, height, channels: pixel.len(), pixels: pixel.repeat(width * height) }
}

pub fn png(width: usize, height: usize, pixel: &[u8]) -> Vec<u8> {
    shenbi_data::decode::encode_png(&flat(width, height, pixel)).unwrap()
}

/// A photo-like RGB gradient with a red left half, in any format.
pub fn gradient(width: u32, height: u32, format: ImageFormat) -> Vec<u8> {
    let image = RgbImage::from_fn(width, height, |x, y| {
        Rgb([if x < width / 2 { 220 } else { 30 }, (y * 255 / height) as u8, ((x * y) % 97) as u8])
    });
    let mut bytes = Cursor::new(Vec::new());
    DynamicImage::from(image).write_to(&mut bytes, format).unwrap();
    bytes.into_inner()
}

/// Files by name, as a folder or as an archive.
pub struct Files {
    folder: TempDir,
    files: Vec<(String, Vec<u8>)>,
}

impl Files {
    pub fn new(files: &[(&str, &[u8])]) -> Self {
        let files = files.iter().map(|(name, bytes)| (name.to_string(), bytes.to_vec())).collect();
        Self { folder: TempDir::new().unwrap(), files }
    }

    /// `count` pictures `0.png`, ... of distinct grey levels in RGB, with `metadata.jsonl`.
    pub fn numbered(count: usize) -> Self {
        let mut all = Self::new(&[]);
        let mut lines = String::new();
        for i in 0..count {
            all.files.push((format!("{i}.png"), png(4, 4, &[i as u8, 100, 200])));
            lines.push_str(&format!("{{\"file_name\": \"{i}.png\", \"text\": \"number {i}\"}}\n"));
        }
        all.files.push(("metadata.jsonl".to_string(), lines.into_bytes()));
        all
    }

    pub fn with(mut self, name: &str, bytes: &[u8]) -> Self {
        self.files.retain(|(n, _)| n != name);
        self.files.push((name.to_string(), bytes.to_vec()));
        self
    }

    pub fn dir(&self) -> PathBuf {
        let root = self.folder.path().join("data");
        fs::create_dir_all(&root).unwrap();
        for (name, bytes) in &self.files {
            let path = root.join(name);
            fs::create_dir_all(path.parent().unwrap()).unwrap();
            fs::write(path, bytes).unwrap();
        }
        root
    }

    pub fn zip(&self) -> PathBuf {
        let path = self.folder.path().join("data.zip");
        let mut writer = zip::ZipWriter::new(fs::File::create(&path).unwrap());
        for (i, (name, bytes)) in self.files.iter().rev().enumerate() {
            let method = if i % 2 == 0 { zip::CompressionMethod::Stored } else { zip::CompressionMethod::Deflated };
            let options = zip::write::SimpleFileOptions::default().compression_method(method);
            writer.start_file(name.as_str(), options).unwrap();
            writer.write_all(bytes).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    /// Both, to check that they behave alike.
    pub fn both(&self) -> [PathBuf; 2] {
        [self.dir(), self.zip()]
    }
}

pub fn small() -> FolderOptions {
    FolderOptions { size: [4, 4], ..FolderOptions::default() }
}

pub fn open(path: &Path) -> Folder {
    Folder::open(path, &small()).unwrap()
}

/// The message of the error that opening must give.
pub fn refusal(path: &Path, options: &FolderOptions) -> String {
    Folder::open(path, options).err().expect("should be refused").to_string()
}

/// Asserts that a message says each of the things.
pub fn says(error: &(impl ToString + ?Sized), things: &[&str]) {
    let message = error.to_string();
    for thing in things {
        assert!(message.contains(thing), "expected `{thing}` in: {message}");
    }
}

pub fn message<T>(result: Result<T, DataError>) -> String {
    result.err().expect("should fail").to_string()
}
