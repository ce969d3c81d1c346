//! A look at a data set before training: what is in it, what is wrong with it, and what to expect of it.

mod captions;
mod report;

use std::collections::{BTreeMap, HashMap};
use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc;

pub use captions::CaptionReport;
pub use report::{Duplicates, Range, Report, Sizes};

use crate::Result;
use crate::decode::Header;
use crate::folder::{Folder, FolderOptions, Skipped};

/// Decodes every picture of the folder or archive at `path` and reports. `progress` is called with (done, total).
///
/// Pictures without captions are looked at too. `options.size` is the size that training would use.
///
/// # Errors
/// As [`Folder::open`]. A damaged picture is part of the report, not an error.
pub fn inspect(
    path: impl AsRef<Path>,
    options: &FolderOptions,
    progress: Option<&dyn Fn(usize, usize)>,
) -> Result<Report> {
    let folder = Folder::open(path.as_ref(), &FolderOptions { captions_required: false, ..options.clone() })?;
    let looks = look_at_all(&folder, progress);

    let mut skipped = folder.skipped().to_vec();
    let mut formats = BTreeMap::new();
    let mut channels = BTreeMap::new();
    let mut transparent = 0;
    let mut sizes = Vec::new();
    let mut by_hash: HashMap<u64, Vec<usize>> = HashMap::new();
    let mut good = Vec::new();
    for (index, look) in looks.into_iter().enumerate() {
        match look {
            Ok(look) => {
                *formats.entry(look.header.format.to_string()).or_insert(0) += 1;
                *channels.entry(look.header.channels).or_insert(0) += 1;
                transparent += usize::from(look.transparent);
                sizes.push(look.size);
                by_hash.entry(look.hash).or_default().push(index);
                good.push(index);
            }
            Err(reason) => skipped.push(Skipped::new(folder.name(index), reason)),
        }
    }
    let mut groups: Vec<Vec<usize>> = by_hash.into_values().filter(|group| group.len() > 1).collect();
    groups.sort();
    let duplicate_pictures = Duplicates {
        extra: groups.iter().map(|group| group.len() - 1).sum(),
        groups: groups.iter().take(20).map(|g| g.iter().map(|&i| folder.name(i).to_string()).collect()).collect(),
    };
    let mut class_counts = vec![0; folder.classes().len()];
    for class in good.iter().filter_map(|&index| folder.class(index)) {
        class_counts[class] += 1;
    }
    let mut report = Report {
        path: path.as_ref().to_path_buf(),
        layout: folder.layout(),
        pictures: good.len(),
        formats,
        sizes: Sizes::of(&sizes),
        channels,
        transparent,
        captions: captions::look(good.iter().map(|&index| folder.captions(index))),
        duplicate_pictures,
        classes: folder.classes().iter().cloned().zip(class_counts).collect(),
        skipped,
        recommendations: Vec::new(),
    };
    report.recommend(options.size, &sizes);
    Ok(report)
}

/// What is kept of a picture.
struct Look {
    header: Header,
    size: (usize, usize), // width, height as shown
    transparent: bool,
    hash: u64,
}

fn look_at_all(folder: &Folder, progress: Option<&dyn Fn(usize, usize)>) -> Vec<std::result::Result<Look, String>> {
    let count = folder.count();
    let mut looks: Vec<_> = (0..count).map(|_| Err("was not looked at".to_string())).collect();
    let next = AtomicUsize::new(0);
    let stop = AtomicBool::new(false);
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(count);
    std::thread::scope(|scope| {
        let (sender, receiver) = mpsc::channel();
        for _ in 0..threads {
            let sender = sender.clone();
            let (next, stop) = (&next, &stop);
            scope.spawn(move || {
                while !stop.load(Ordering::Relaxed) {
                    let index = next.fetch_add(1, Ordering::Relaxed);
                    if index >= count || sender.send((index, look_at(folder, index))).is_err() {
                        return;
                    }
                }
            });
        }
        drop(sender);
        let guard = StopOnUnwind(&stop);
        for (done, (index, look)) in receiver.into_iter().enumerate() {
            looks[index] = look;
            if let Some(progress) = progress {
                progress(done + 1, count);
            }
        }
        drop(guard);
    });
    looks
}

/// If the caller's progress callback panics, the threads must not go on through a million pictures.
struct StopOnUnwind<'a>(&'a AtomicBool);

impl Drop for StopOnUnwind<'_> {
    fn drop(&mut self) {
        self.0.store(true, Ordering::Relaxed);
    }
}

fn look_at(folder: &Folder, index: usize) -> std::result::Result<Look, String> {
    let header = folder.header(index).map_err(|e| reason(&e))?;
    let picture = folder.original(index).map_err(|e| reason(&e))?;
    let mut hasher = DefaultHasher::new();
    (picture.width, picture.height, picture.channels, &picture.pixels).hash(&mut hasher);
    Ok(Look {
        header,
        size: (picture.width, picture.height),
        transparent: picture.channels == 4 && picture.pixels.chunks_exact(4).any(|pixel| pixel[3] < 255),
        hash: hasher.finish(),
    })
}

/// The message without the path: the report names the picture already.
fn reason(error: &crate::DataError) -> String {
    match error {
        crate::DataError::File { message, .. } | crate::DataError::Line { message, .. } => message.clone(),
        crate::DataError::Io { source, .. } => source.to_string(),
        other => other.to_string(),
    }
}
