//! Whatever a person's folder holds: an error that names file and remedy, or a skipped picture; never a panic.

use std::sync::Arc;

use shenbi_data::Source;
use shenbi_data::folder::{Folder, FolderOptions};
use shenbi_data::loader::{Loader, LoaderOptions};

use crate::fixtures::{Files, message, open, png, refusal, says, small};

#[test]
fn nothing_there() {
    let empty = Files::new(&[]);
    for path in empty.both() {
        says(&refusal(&path, &small()), &["data", "no pictures", "metadata.jsonl", "1.txt", "class"]);
    }
    says(&refusal(&empty.dir().join("absent"), &small()), &["absent"]);
    let text = Files::new(&[("notes.txt", b"hello")]);
    says(&refusal(&text.dir().join("notes.txt"), &small()), &["notes.txt", "neither a folder nor a readable .zip"]);
}

#[test]
fn a_zip_that_is_cut_off() {
    let files = Files::numbered(3);
    let path = files.zip();
    let bytes = std::fs::read(&path).unwrap();
    std::fs::write(&path, &bytes[..bytes.len() / 2]).unwrap();
    says(&refusal(&path, &small()), &["data.zip", "neither a folder nor a readable .zip"]);
}

#[test]
fn one_picture_is_enough() {
    let files = Files::numbered(1);
    for path in files.both() {
        let options = LoaderOptions { batch: 3, threads: 2, ..LoaderOptions::default() };
        let mut loader = Loader::new(Arc::new(open(&path)), options).unwrap();
        assert_eq!(loader.next_batch().unwrap().indices, [0, 0, 0]);
    }
}

#[test]
fn lines_that_are_not_json() {
    let line = "{\"file_name\": \"0.png\", \"text\": \"x\"}\n";
    for (text, things) in [
        (format!("{line}{{\"file_name\": \"0.png\", \"te"), ["line 2", "not a JSON object"]),
        (format!("{line}\n[1, 2]\n"), ["line 3", "not a JSON object"]),
        (format!("{line}{{\"name\": \"0.png\", \"text\": \"x\"}}"), ["line 2", "`name`, `text`"]),
        (format!("{line}{{\"file_name\": 5}}"), ["line 2", "expected a string"]),
    ] {
        let files = Files::numbered(2).with("metadata.jsonl", text.as_bytes());
        for path in files.both() {
            says(&refusal(&path, &small()), &["metadata.jsonl"]);
            says(&refusal(&path, &small()), &things);
        }
    }
}

#[test]
fn tables_that_are_not_csv() {
    let csv = |text: &[u8]| Files::new(&[("0.png", &png(4, 4, &[1])), ("metadata.csv", text)]);
    says(&refusal(&csv(b"name,text\n0.png,x\n").dir(), &small()), &["metadata.csv, line 1", "file_name", "`name`"]);
    says(&refusal(&csv(b"file_name,text\n0.png,a, b\n").dir(), &small()), &["line 2", "3 fields", "quotes"]);
    says(&refusal(&csv(b"file_name,n\n0.png,5\n").dir(), &small()), &["no column holds captions", "`n`"]);
    says(&refusal(&csv(b"file_name,text\n").dir(), &small()), &["no usable picture"]);
    says(&refusal(&csv(b"").dir(), &small()), &["metadata.csv", "file_name"]);
}

#[test]
fn captions_that_are_not_utf8() {
    let jsonl = b"{\"file_name\": \"0.png\", \"text\": \"ok\"}\n{\"file_name\": \"1.png\", \"text\": \"\xff\xfe\"}\n";
    says(
        &refusal(&Files::numbered(2).with("metadata.jsonl", jsonl).dir(), &small()),
        &["metadata.jsonl, line 2", "UTF-8"],
    );
    let text = Files::new(&[("a.png", &png(4, 4, &[1])), ("a.txt", b"fine\nfine\nna\xefve\n")]);
    for path in text.both() {
        says(&refusal(&path, &small()), &["a.txt, line 3", "UTF-8"]);
    }
    let csv = Files::new(&[("a.png", &png(4, 4, &[1])), ("metadata.csv", b"file_name,text\na.png,\xe9t\xe9\n")]);
    says(&refusal(&csv.dir(), &small()), &["metadata.csv, line 2", "UTF-8"]);
}

#[test]
fn metadata_that_names_nothing_usable() {
    let files = Files::new(&[("metadata.jsonl", br#"{"file_name": "gone.png", "text": "x"}"#)]);
    says(&refusal(&files.dir(), &small()), &["no usable picture", "1 were skipped", "gone.png", "no such file"]);
    let outside = Files::new(&[
        ("a.png", &png(4, 4, &[1])),
        (
            "metadata.jsonl",
            b"{\"file_name\": \"../../etc/x.png\", \"text\": \"x\"}\n{\"file_name\": \"a.png\", \"text\": \"x\"}",
        ),
    ]);
    assert_eq!(open(&outside.dir()).skipped().len(), 1);
}

#[test]
fn settings_that_do_not_fit() {
    let path = Files::numbered(1);
    let path = path.dir();
    says(&refusal(&path, &FolderOptions { channels: Some(2), ..small() }), &["channels"]);
    says(&refusal(&path, &FolderOptions { template: "x".to_string(), ..small() }), &["template", "{class}"]);
    says(&refusal(&path, &FolderOptions { size: [0, 4], ..small() }), &["size 0x4"]);
    let loader = |batch| Loader::new(Arc::new(open(&path)), LoaderOptions { batch, ..LoaderOptions::default() });
    says(&message(loader(0)), &["batch = 0"]);
}

#[test]
fn damaged_pictures_are_replaced_by_the_next() {
    let good = png(64, 64, &[1, 2, 3]);
    let jpeg = crate::fixtures::gradient(64, 64, image::ImageFormat::Jpeg);
    let files = Files::numbered(6)
        .with("1.png", &good[..good.len() / 2])
        .with("2.png", &jpeg[..jpeg.len() - 300])
        .with("5.png", b"");
    for path in files.both() {
        let folder = open(&path);
        says(&message(folder.get(1)), &["1.png", "damaged"]);
        let options = LoaderOptions { batch: 6, threads: 3, ..LoaderOptions::default() };
        let mut loader = Loader::new(Arc::new(folder), options).unwrap();
        for _ in 0..3 {
            let mut indices = loader.next_batch().unwrap().indices;
            indices.sort_unstable();
            assert_eq!(indices, [0, 0, 3, 3, 3, 4], "1 and 2 become 3, 5 becomes 0");
        }
        let skipped = loader.skipped();
        assert_eq!((skipped.count, skipped.first.len()), (3, 3));
        says(&skipped.first[1], &["2.png", "cut off"]);
    }
}

#[test]
fn nothing_readable() {
    let files = Files::numbered(2).with("0.png", b"x").with("1.png", b"");
    says(&refusal(&files.dir(), &small()), &["none of its 2 pictures can be read", "0.png"]);
    // Headers are fine, pixels are not: found by the loader.
    let cut = png(64, 64, &[1, 2, 3]);
    let files = Files::numbered(2).with("0.png", &cut[..60]).with("1.png", &cut[..60]);
    let mut loader = Loader::new(Arc::new(open(&files.dir())), LoaderOptions::default()).unwrap();
    says(&message(loader.next_batch()), &["none of the 2 pictures", "0.png"]);
}

#[test]
fn bombs_in_archives_and_folders_are_skipped() {
    // 300 MiB of zeros deflate to 300 KiB; nothing of it may stay in memory or be taken for a picture.
    let zeros = vec![0_u8; 300 << 20];
    let files = Files::numbered(2).with("0.png", &zeros);
    let folder = open(&files.zip());
    says(&message(folder.get(0)), &["0.png", "256 MiB"]);
    assert!(folder.get(1).is_ok());
    let options = FolderOptions { max_pixels: 15, ..small() };
    says(&message(Folder::open(Files::numbered(2).dir(), &options)), &["4x4", "limit"]);
}
