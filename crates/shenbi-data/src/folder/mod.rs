//! Captioned pictures in a folder or a .zip archive, in the layouts people have them in.
//!
//! | layout | looks like |
//! |---|---|
//! | `metadata.jsonl` | a line a picture: `{"file_name": "1.png", "text": "a red potion"}` |
//! | `metadata.csv` | the same as a table with a header line |
//! | text files | `1.png` and `1.txt` side by side, one caption a line |
//! | `dataset.json` | StyleGAN's: `{"labels": [["1.png", 3], ...]}` |
//! | class folders | `potion/1.png`, `sword/2.png`; also `train/potion/1.png` |
//! | plain | pictures only; for training without captions |
//!
//! The first that fits, in this order, is taken. Metadata files may lie in subfolders (`train/metadata.jsonl`); their
//! names are relative to their own folder.

mod class_folders;
pub(crate) mod csv_file;
pub(crate) mod jsonl;
mod labels_json;
mod store;
pub(crate) mod table;
mod text_files;

use std::collections::BTreeSet;
use std::path::Path;

use store::{Store, is_picture};

use crate::decode::{self, Fit};
use crate::{DataError, Example, Picture, Result, Source};

/// How to read a folder.
#[derive(Clone, Debug)]
pub struct FolderOptions {
    /// Height and width of the pictures handed out.
    pub size: [usize; 2],
    /// 1 (grey), 3 (RGB) or 4 (RGBA). `None`: found out from a sample of 64 pictures spread over the set: RGBA if any
    /// has a transparent pixel, else RGB, or grey if all are stored grey.
    pub channels: Option<usize>,
    /// Metadata columns that hold captions. Empty: `text`, else `caption`, else the only column that holds text.
    pub caption_columns: Vec<String>,
    /// Captions of class folders and `dataset.json`; `{class}` is replaced by the class name.
    pub template: String,
    /// Only the pictures whose metadata says so in its column `split`, or, without that column, which lie in a folder
    /// of that name. `None`: all pictures, of every split.
    pub split: Option<String>,
    /// Crop or pad to the size.
    pub fit: Fit,
    /// A picture of more pixels is refused undecoded.
    pub max_pixels: u64,
    /// Whether a picture without a caption is skipped. If not, its captions are one empty text.
    pub captions_required: bool,
}

impl Default for FolderOptions {
    fn default() -> Self {
        Self {
            size: [64, 64],
            channels: None,
            caption_columns: Vec::new(),
            template: "a photo of a {class}".to_string(),
            split: None,
            fit: Fit::Cover,
            max_pixels: decode::MAX_PIXELS,
            captions_required: true,
        }
    }
}

/// Where the captions came from.
#[derive(Clone, Copy, Debug, PartialEq, Eq, serde::Serialize)]
#[serde(rename_all = "snake_case")]
pub enum Layout {
    /// `metadata.jsonl`
    MetadataJsonl,
    /// `metadata.csv`
    MetadataCsv,
    /// A `.txt` beside each picture.
    TextFiles,
    /// StyleGAN's `dataset.json`.
    DatasetJson,
    /// A folder a class.
    ClassFolders,
    /// Pictures without captions.
    Plain,
}

impl std::fmt::Display for Layout {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.write_str(match self {
            Self::MetadataJsonl => "metadata.jsonl",
            Self::MetadataCsv => "metadata.csv",
            Self::TextFiles => "a text file beside each picture",
            Self::DatasetJson => "dataset.json (StyleGAN)",
            Self::ClassFolders => "class folders",
            Self::Plain => "pictures without captions",
        })
    }
}

/// A picture that is not used, and why.
#[derive(Clone, Debug, PartialEq, Eq, serde::Serialize)]
pub struct Skipped {
    /// Its name inside the folder.
    pub name: String,
    /// The reason, for people.
    pub reason: String,
}

impl Skipped {
    pub(crate) fn new(name: impl Into<String>, reason: impl Into<String>) -> Self {
        Self { name: name.into(), reason: reason.into() }
    }
}

/// A picture file that a layout found.
struct Candidate {
    file: usize,
    captions: Vec<String>,
    class: Option<usize>,
    /// What the metadata says; otherwise the folders decide.
    split: Option<String>,
}

/// An opened folder or archive. Opening lists files and reads captions; pictures are decoded when asked for, so a
/// damaged one shows as an error of [`Source::get`].
pub struct Folder {
    store: Store,
    entries: Vec<(usize, Option<usize>)>, // file in the store, class
    captions: Vec<Vec<String>>,
    classes: Vec<String>,
    layout: Layout,
    skipped: Vec<Skipped>,
    channels: usize,
    options: FolderOptions,
}

impl Folder {
    /// Opens a directory or a .zip archive.
    ///
    /// # Errors
    /// No layout fits, a metadata file is malformed (with its line), or no picture is readable.
    pub fn open(path: impl AsRef<Path>, options: &FolderOptions) -> Result<Self> {
        let path = path.as_ref();
        check(options)?;
        let mut store = Store::open(path)?;
        let mut skipped = std::mem::take(&mut store.skipped);
        let (layout, mut found, classes) = find(&store, options, &mut skipped)?;
        if let Some(split) = &options.split {
            found = take_split(&store, found, split)?;
        }
        if found.is_empty() {
            return Err(nothing_usable(path, layout, &skipped));
        }
        let mut entries = Vec::with_capacity(found.len());
        let mut captions = Vec::with_capacity(found.len());
        for mut candidate in found {
            if candidate.captions.is_empty() {
                candidate.captions.push(String::new());
            }
            entries.push((candidate.file, candidate.class));
            captions.push(candidate.captions);
        }
        let options = options.clone();
        let mut folder = Self { store, entries, captions, classes, layout, skipped, channels: 0, options };
        folder.channels = folder.detect_channels()?;
        Ok(folder)
    }

    /// Number of pictures.
    #[must_use]
    pub fn count(&self) -> usize {
        self.entries.len()
    }

    /// The captions of picture `index`; empty beyond the last.
    #[must_use]
    pub fn captions(&self, index: usize) -> &[String] {
        self.captions.get(index).map_or(&[], Vec::as_slice)
    }

    /// The captions of every picture, in order.
    #[must_use]
    pub fn all_captions(&self) -> &[Vec<String>] {
        &self.captions
    }

    /// The name of picture `index` inside the folder, with `/` on every system; empty beyond the last.
    #[must_use]
    pub fn name(&self, index: usize) -> &str {
        self.entries.get(index).map_or("", |&(file, _)| self.store.name(file))
    }

    /// The class of picture `index`, a place in [`Self::classes`], where the layout has classes.
    #[must_use]
    pub fn class(&self, index: usize) -> Option<usize> {
        self.entries.get(index).and_then(|&(_, class)| class)
    }

    /// The class names (of all splits); empty where the layout has none.
    #[must_use]
    pub fn classes(&self) -> &[String] {
        &self.classes
    }

    /// Where the captions came from.
    #[must_use]
    pub fn layout(&self) -> Layout {
        self.layout
    }

    /// What was left out when opening: no caption, no such file, ... (Damaged pictures show only when decoded.)
    #[must_use]
    pub fn skipped(&self) -> &[Skipped] {
        &self.skipped
    }

    /// The file content of picture `index`.
    ///
    /// # Errors
    /// It cannot be read, or there is no such picture.
    pub fn bytes(&self, index: usize) -> Result<Vec<u8>> {
        self.store.read(self.file(index)?)
    }

    /// Picture `index` at its own size, with its own channels.
    ///
    /// # Errors
    /// It cannot be read or decoded, or there is no such picture.
    pub fn original(&self, index: usize) -> Result<Picture> {
        let path = self.store.path(self.file(index)?);
        decode::decode(path, &self.bytes(index)?, self.options.max_pixels)
    }

    /// The header of picture `index`.
    ///
    /// # Errors
    /// As [`Self::original`].
    pub fn header(&self, index: usize) -> Result<decode::Header> {
        let path = self.store.path(self.file(index)?);
        decode::probe(path, &self.bytes(index)?, self.options.max_pixels)
    }

    fn file(&self, index: usize) -> Result<usize> {
        self.entries.get(index).map(|&(file, _)| file).ok_or_else(|| {
            let count = self.entries.len();
            DataError::file(self.store.root(), format!("no picture number {index}: there are {count}"))
        })
    }

    /// Checks that pictures are readable, and finds out their channels.
    fn detect_channels(&self) -> Result<usize> {
        let count = self.entries.len();
        let sample = count.min(64);
        let mut channels = 0;
        for at in (0..sample).map(|i| i * count / sample) {
            if channels > 0 && (channels == 4 || self.options.channels.is_some()) {
                break;
            }
            let Ok(header) = self.header(at) else { continue };
            let opaque = |p: Picture| p.pixels.chunks_exact(4).all(|pixel| pixel[3] == 255);
            channels = channels.max(match header.channels {
                4 if self.original(at).map_or(true, opaque) => 3,
                other => other,
            });
        }
        if channels == 0 {
            // The whole sample is damaged; one good picture is enough to go on.
            let readable = (0..count).find_map(|at| self.header(at).ok());
            channels = match readable {
                Some(header) => header.channels,
                None => {
                    let first = self.header(0).err().map_or_else(String::new, |e| format!("; the first: {e}"));
                    let message = format!("none of its {count} pictures can be read{first}");
                    return Err(DataError::file(self.store.root(), message));
                }
            };
        }
        Ok(self.options.channels.unwrap_or(channels))
    }
}

impl Source for Folder {
    fn len(&self) -> Option<u64> {
        Some(self.entries.len() as u64)
    }

    fn get(&self, index: u64) -> Result<Example> {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        let picture = decode::with_channels(self.original(index)?, self.channels)?;
        let picture = decode::fit(&picture, self.options.size, self.options.fit)?;
        Ok(Example { picture, captions: self.captions(index).to_vec() })
    }

    fn captions(&self, index: u64) -> Result<Vec<String>> {
        let index = usize::try_from(index).unwrap_or(usize::MAX);
        self.file(index)?;
        Ok(self.captions(index).to_vec())
    }

    fn class(&self, index: u64) -> Option<usize> {
        usize::try_from(index).ok().and_then(|index| self.class(index))
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn channels(&self) -> usize {
        self.channels
    }

    fn size(&self) -> [usize; 2] {
        self.options.size
    }
}

fn check(options: &FolderOptions) -> Result<()> {
    if !matches!(options.channels, None | Some(1 | 3 | 4)) {
        return Err(DataError::Setting(format!("channels = {:?}: expected 1, 3 or 4", options.channels)));
    }
    if !options.template.contains("{class}") {
        let template = &options.template;
        return Err(DataError::Setting(format!("template = \"{template}\": expected {{class}} somewhere in it")));
    }
    if options.size.iter().any(|side| !(1..=1 << 15).contains(side)) {
        let [height, width] = options.size;
        return Err(DataError::Setting(format!("size {height}x{width}: each side must be in 1..=32768")));
    }
    Ok(())
}

/// The first layout that fits, its pictures, and its classes.
fn find(
    store: &Store,
    options: &FolderOptions,
    skipped: &mut Vec<Skipped>,
) -> Result<(Layout, Vec<Candidate>, Vec<String>)> {
    type Reader = fn(&Store, usize) -> Result<table::Table>;
    let tables: [(&str, Layout, Reader); 2] =
        [("metadata.jsonl", Layout::MetadataJsonl, jsonl::read), ("metadata.csv", Layout::MetadataCsv, csv_file::read)];
    for (name, layout, read) in tables {
        let files = store.all_called(name);
        if !files.is_empty() {
            let tables = files.into_iter().map(|file| read(store, file)).collect::<Result<Vec<_>>>()?;
            return Ok((layout, table::candidates(store, &tables, options, skipped)?, Vec::new()));
        }
    }
    let template = &options.template;
    if let Some(&file) = store.all_called("dataset.json").first() {
        let (found, classes) = labels_json::candidates(store, file, template, skipped)?;
        if !classes.is_empty() || !options.captions_required {
            return Ok((Layout::DatasetJson, found, classes));
        }
    }
    let pictures = || (0..store.names().len()).filter(|&file| is_picture(store.name(file)));
    if pictures().any(|picture| text_files::beside(store, picture).is_some()) {
        let found = text_files::candidates(store, options.captions_required, skipped)?;
        return Ok((Layout::TextFiles, found, Vec::new()));
    }
    let classes = class_folders::classes(store);
    if classes.len() > 1 {
        let found = class_folders::candidates(store, &classes, template, skipped);
        return Ok((Layout::ClassFolders, found, classes));
    }
    let count = pictures().count();
    if count == 0 {
        let files = store.names().len();
        return Err(DataError::file(store.root(), format!("no pictures among its {files} files. {ACCEPTED}")));
    }
    if options.captions_required {
        let message = format!("{count} pictures, but no captions. {ACCEPTED}");
        return Err(DataError::file(store.root(), message));
    }
    Ok((Layout::Plain, labels_json::plain(store), Vec::new()))
}

const ACCEPTED: &str = "Accepted: PNG, JPEG, WebP, BMP or GIF pictures with captions in metadata.jsonl \
    ({\"file_name\": \"1.png\", \"text\": \"a red potion\"} a line) or metadata.csv, or in a text file beside each \
    picture (1.png and 1.txt), or a folder for each of two or more classes (potion/1.png, sword/2.png), or StyleGAN's \
    dataset.json; in a folder or a .zip";

fn take_split(store: &Store, found: Vec<Candidate>, wanted: &str) -> Result<Vec<Candidate>> {
    let mut present = BTreeSet::new();
    let mut taken = Vec::new();
    for candidate in found {
        let folders = store::folder_of(store.name(candidate.file));
        let matches = match &candidate.split {
            Some(split) => {
                present.insert(split.clone());
                split == wanted
            }
            None => {
                present.extend(folders.split('/').filter(|f| !f.is_empty()).map(str::to_string));
                folders.split('/').any(|folder| folder == wanted)
            }
        };
        if matches {
            taken.push(candidate);
        }
    }
    if taken.is_empty() {
        let present = table::list(&present.into_iter().collect::<Vec<_>>());
        return Err(DataError::file(store.root(), format!("no picture of split `{wanted}`; there are {present}")));
    }
    Ok(taken)
}

fn nothing_usable(path: &Path, layout: Layout, skipped: &[Skipped]) -> DataError {
    let first = skipped.first().map_or_else(String::new, |s| format!("; the first, {}: {}", s.name, s.reason));
    let message = format!("no usable picture: of {layout}, {} were skipped{first}. {ACCEPTED}", skipped.len());
    DataError::file(path, message)
}
