//! Real data: emoji with two languages, and CIFAR-10. Skipped, with a message, where the data is absent.

use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Instant;

use shenbi_data::Source;
use shenbi_data::folder::{Folder, FolderOptions, Layout};
use shenbi_data::inspect::inspect;
use shenbi_data::loader::{Loader, LoaderOptions};

/// `shared/data` beside the project.
fn shared(name: &str) -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data").join(name);
    if path.exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is absent", path.display());
    None
}

fn twemoji(split: Option<&str>) -> FolderOptions {
    FolderOptions {
        caption_columns: vec!["text".to_string(), "text_zh".to_string()],
        split: split.map(str::to_string),
        ..FolderOptions::default()
    }
}

#[test]
fn emoji_in_two_languages() {
    let Some(path) = shared("twemoji") else { return };
    let folder = Folder::open(&path, &twemoji(None)).unwrap();
    assert_eq!((folder.layout(), folder.count(), folder.skipped().len()), (Layout::MetadataJsonl, 3690, 0));
    assert_eq!(Source::channels(&folder), 4);
    assert_eq!(folder.captions(0), ["mahjong red dragon", "红中"]);
    let counts = ["train", "test"].map(|split| Folder::open(&path, &twemoji(Some(split))).unwrap().count());
    assert_eq!(counts, [3515, 175]);
}

#[test]
fn emoji_report() {
    let Some(path) = shared("twemoji") else { return };
    let report = inspect(path, &twemoji(None), None).unwrap();
    eprintln!("{report}");
    assert_eq!((report.pictures, report.captions.count), (3690, 7380));
    assert_eq!(report.sizes.most_common, [(72, 72, 3690)]);
    assert!(report.captions.scripts["han"] > 3000);
}

#[test]
fn emoji_throughput() {
    let Some(path) = shared("twemoji") else { return };
    let begin = Instant::now();
    let folder = Folder::open(path, &twemoji(Some("train"))).unwrap();
    eprintln!("opened in {:?}", begin.elapsed());
    let options = LoaderOptions { batch: 37, threads: 2, ..LoaderOptions::default() };
    let mut loader = Loader::new(Arc::new(folder), options).unwrap();
    for epoch in ["decoding", "from memory", "from memory"] {
        let begin = Instant::now();
        for _ in 0..95 {
            loader.next_batch().unwrap(); // 37 * 95 = 3515
        }
        eprintln!("{epoch}: {:.0} pictures a second", 3515.0 / begin.elapsed().as_secs_f64());
    }
    assert_eq!(loader.skipped().count, 0);
}

#[test]
fn cifar_in_its_archive() {
    let Some(path) = shared("cifar10/cifar10-jpeg.zip") else { return };
    let options = FolderOptions { size: [32, 32], split: Some("test".to_string()), ..FolderOptions::default() };
    let begin = Instant::now();
    let folder = Folder::open(path, &options).unwrap();
    eprintln!("60,000 entries opened in {:?}", begin.elapsed());
    assert_eq!((folder.layout(), folder.count(), folder.classes().len()), (Layout::ClassFolders, 10_000, 10));
    assert_eq!(Source::channels(&folder), 3);
    assert_eq!(folder.captions(0), ["a photo of a airplane"]);
    let options = LoaderOptions { batch: 100, threads: 2, ..LoaderOptions::default() };
    let mut loader = Loader::new(Arc::new(folder), options).unwrap();
    for epoch in ["decoding", "from memory"] {
        let begin = Instant::now();
        for _ in 0..100 {
            loader.next_batch().unwrap();
        }
        eprintln!("{epoch}: {:.0} pictures a second", 10_000.0 / begin.elapsed().as_secs_f64());
    }
    assert_eq!(loader.skipped().count, 0);
}

/// The prompts of docs/results/synonyms.csv say in words that no training caption has what a training caption says.
#[test]
fn synonyms_are_of_training_captions_and_new_to_them() {
    let Some(path) = shared("twemoji") else { return };
    let options = FolderOptions { caption_columns: vec!["text".to_string()], ..twemoji(Some("train")) };
    let folder = Folder::open(&path, &options).unwrap();
    let captions: Vec<String> = (0..folder.count()).flat_map(|i| folder.captions(i).to_vec()).collect();
    let words = |text: &str| -> Vec<String> {
        text.to_lowercase().split(|c: char| !c.is_alphanumeric()).map(String::from).collect()
    };
    let known: std::collections::HashSet<String> = captions.iter().flat_map(|caption| words(caption)).collect();
    let list = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/results/synonyms.csv");
    let column = |name: &str| shenbi_data::text::read(&list, &[name.to_string()]).unwrap().texts;
    let (wanted, prompts) = (column("caption"), column("prompt"));
    assert_eq!((wanted.len(), prompts.len()), (50, 50));
    for (caption, prompt) in wanted.iter().zip(prompts) {
        assert!(captions.contains(caption), "{caption}");
        assert!(words(&prompt).iter().any(|word| !word.is_empty() && !known.contains(word)), "{prompt}");
    }
}
