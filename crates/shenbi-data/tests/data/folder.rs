use shenbi_data::Source;
use shenbi_data::folder::{Folder, FolderOptions, Layout};

use crate::fixtures::{Files, flat, open, png, refusal, says, small};

#[test]
fn metadata_jsonl() {
    let files = Files::new(&[
        ("images/b.png", &png(4, 4, &[1, 2, 3])),
        ("images/a.png", &png(8, 8, &[9, 9, 9])),
        ("images/unlisted.png", &png(8, 8, &[9, 9, 9])),
        ("images/empty.png", &png(8, 8, &[9, 9, 9])),
        (
            "metadata.jsonl",
            "\u{feff}{\"file_name\": \"images/b.png\", \"text\": \"红色\", \"n\": 1, \"split\": \"train\"}\r\n\r\n\
             {\"file_name\": \"images\\\\a.png\", \"text\": [\"one\", \" two \", \"\"], \"split\": \"test\"}\r\n\
             {\"file_name\": \"images/gone.png\", \"text\": \"three\", \"split\": \"test\"}\r\n\
             {\"file_name\": \"images/empty.png\", \"text\": \"  \", \"split\": \"test\"}\r\n"
                .as_bytes(),
        ),
    ]);
    for path in files.both() {
        let folder = open(&path);
        assert_eq!((folder.layout(), folder.count(), Source::channels(&folder)), (Layout::MetadataJsonl, 2, 3));
        assert_eq!((folder.name(0), folder.captions(0)), ("images/b.png", ["红色".to_string()].as_slice()));
        assert_eq!(folder.captions(1), ["one", "two"]);
        assert_eq!(folder.all_captions().len(), 2);
        assert_eq!(folder.get(0).unwrap().picture, flat(4, 4, &[1, 2, 3]));
        assert_eq!(folder.get(1).unwrap().captions, ["one", "two"]);
        assert_eq!(Source::captions(&folder, 1).unwrap(), ["one", "two"]);
        assert!(folder.get(2).is_err() && Source::captions(&folder, 2).is_err() && folder.captions(2).is_empty());
        let skipped: Vec<&str> = folder.skipped().iter().map(|s| s.name.as_str()).collect();
        assert_eq!(skipped, ["images/gone.png", "images/empty.png", "images/unlisted.png"]);
        says(&folder.skipped()[0].reason, &["no such file"]);
        says(&folder.skipped()[1].reason, &["no caption"]);

        let test = FolderOptions { split: Some("test".to_string()), ..small() };
        let folder = Folder::open(&path, &test).unwrap();
        assert_eq!((folder.count(), folder.name(0)), (1, "images/a.png"));
        let none = FolderOptions { split: Some("val".to_string()), ..small() };
        says(&refusal(&path, &none), &["`val`", "`test`, `train`"]);
    }
}

#[test]
fn metadata_columns() {
    let with = |columns: &[&str]| FolderOptions {
        caption_columns: columns.iter().map(|c| c.to_string()).collect(),
        ..small()
    };
    let captions = |text: &str, columns: &[&str]| {
        let files = Files::new(&[("a.png", &png(4, 4, &[1])), ("metadata.jsonl", text.as_bytes())]);
        Folder::open(files.dir(), &with(columns)).unwrap().captions(0).to_vec()
    };
    assert_eq!(captions(r#"{"file_name": "a.png", "caption": "c", "x": "d", "n": 3}"#, &[]), ["c"]);
    assert_eq!(captions(r#"{"file_name": "a.png", "prompt": "p", "n": 3}"#, &[]), ["p"]);
    assert_eq!(captions(r#"{"file_name": "a.png", "x": "1", "y": "2", "text": "3"}"#, &["y", "x"]), ["2", "1"]);
    let two = r#"{"file_name": "a.png", "en": "one", "zh": "一", "id": "17", "n": 5}"#;
    let files = Files::new(&[("a.png", &png(4, 4, &[1])), ("metadata.jsonl", two.as_bytes())]);
    let path = files.dir();
    says(&refusal(&path, &small()), &["metadata.jsonl", "`en`, `zh`", "caption_columns"]);
    says(&refusal(&path, &with(&["text"])), &["no column `text`", "`en`", "`zh`", "`n`"]);
    says(&refusal(&path, &with(&["n"])), &["`n` holds no text"]);
}

#[test]
fn two_rows_for_one_picture_add_captions() {
    let files =
        Files::new(&[("a.png", &png(4, 4, &[1])), ("metadata.csv", b"file_name,text\na.png,first\n./a.png,second\n")]);
    assert_eq!(open(&files.dir()).captions(0), ["first", "second"]);
}

#[test]
fn metadata_csv() {
    let files = Files::new(&[
        ("a.png", &png(4, 4, &[1, 2, 3, 0])),
        ("b.png", &png(4, 4, &[1, 2, 3, 255])),
        ("metadata.csv", "\u{feff}file_name,score,title\r\na.png,5,\"red, and blue\"\r\nb.png,6,绿\r\n".as_bytes()),
    ]);
    for path in files.both() {
        let folder = open(&path);
        assert_eq!((folder.layout(), folder.count()), (Layout::MetadataCsv, 2));
        assert_eq!(folder.all_captions(), [["red, and blue".to_string()], ["绿".to_string()]]);
        assert_eq!(Source::channels(&folder), 4, "one picture is transparent");
        let rgb = Folder::open(&path, &FolderOptions { channels: Some(3), ..small() }).unwrap();
        assert_eq!(rgb.get(0).unwrap().picture, flat(4, 4, &[255, 255, 255]));
    }
}

#[test]
fn metadata_in_subfolders() {
    let files = Files::new(&[
        ("train/1.png", &png(4, 4, &[1])),
        ("train/metadata.jsonl", br#"{"file_name": "1.png", "text": "one"}"#),
        ("test/1.png", &png(4, 4, &[2])),
        ("test/metadata.jsonl", br#"{"file_name": "1.png", "text": "two"}"#),
    ]);
    for path in files.both() {
        assert_eq!(open(&path).count(), 2);
        let folder = Folder::open(&path, &FolderOptions { split: Some("test".to_string()), ..small() }).unwrap();
        assert_eq!((folder.count(), folder.captions(0)), (1, ["two".to_string()].as_slice()));
    }
}

#[test]
fn text_files() {
    let files = Files::new(&[
        ("10.png", &png(4, 4, &[1])),
        ("2.jpg", &png(4, 4, &[1])),
        ("2.txt", "a sword\r\n\r\n一把剑\r\n".as_bytes()),
        ("10.txt", b"a shield"),
        ("lone.png", &png(4, 4, &[1])),
        ("blank.png", &png(4, 4, &[1])),
        ("blank.txt", b"\n \n"),
        (".hidden.png", b"x"),
        ("__MACOSX/2.jpg", b"x"),
    ]);
    for path in files.both() {
        let folder = open(&path);
        assert_eq!((folder.layout(), folder.count(), Source::channels(&folder)), (Layout::TextFiles, 2, 1));
        assert_eq!((folder.name(0), folder.name(1)), ("2.jpg", "10.png"));
        assert_eq!(folder.captions(0), ["a sword", "一把剑"]);
        let skipped: Vec<&str> = folder.skipped().iter().map(|s| s.name.as_str()).collect();
        assert_eq!(skipped, ["blank.png", "lone.png"]);
    }
}

#[test]
fn class_folders() {
    let files = Files::new(&[
        ("train/dog/2.png", &png(4, 4, &[1])),
        ("train/dog/1.png", &png(4, 4, &[1])),
        ("train/cat/1.png", &png(4, 4, &[1])),
        ("test/cat/9.png", &png(4, 4, &[1])),
        ("test/bird/9.png", &png(4, 4, &[1])),
        ("stray.png", &png(4, 4, &[1])),
        ("readme.txt", b"hello"),
    ]);
    for path in files.both() {
        let folder = open(&path);
        assert_eq!((folder.layout(), folder.count()), (Layout::ClassFolders, 5));
        assert_eq!(folder.classes(), ["bird", "cat", "dog"]);
        assert_eq!(folder.skipped()[0].name, "stray.png");
        let options =
            FolderOptions { split: Some("train".to_string()), template: "one {class}.".to_string(), ..small() };
        let folder = Folder::open(&path, &options).unwrap();
        assert_eq!(folder.classes().len(), 3, "classes are numbered alike in every split");
        let seen: Vec<_> = (0..3).map(|i| (folder.name(i), folder.class(i), folder.captions(i)[0].as_str())).collect();
        assert_eq!(
            seen,
            [
                ("train/cat/1.png", Some(1), "one cat."),
                ("train/dog/1.png", Some(2), "one dog."),
                ("train/dog/2.png", Some(2), "one dog.")
            ]
        );
    }
}

#[test]
fn stylegan_dataset_json() {
    let pictures = Files::new(&[("00/1.png", &png(4, 4, &[1])), ("00/2.png", &png(4, 4, &[1]))]);
    let files = pictures.with("dataset.json", br#"{"labels": [["00/2.png", 10], ["00/1.png", 2], ["x.png", 2]]}"#);
    for path in files.both() {
        let folder = open(&path);
        assert_eq!((folder.layout(), folder.count()), (Layout::DatasetJson, 2));
        assert_eq!(folder.classes(), ["2", "10"]);
        assert_eq!((folder.name(0), folder.class(0)), ("00/2.png", Some(1)));
        assert_eq!(folder.captions(1), ["a photo of a 2"]);
        assert_eq!(folder.skipped()[0].name, "x.png");
    }
    let files = files.with("dataset.json", br#"{"labels": null}"#);
    for path in files.both() {
        says(&refusal(&path, &small()), &["2 pictures, but no captions"]);
        let folder = Folder::open(&path, &FolderOptions { captions_required: false, ..small() }).unwrap();
        assert_eq!((folder.layout(), folder.count()), (Layout::DatasetJson, 2));
    }
    let files = files.with("dataset.json", br#"{"labels": [["00/1.png", 0.5]]}"#);
    says(&refusal(&files.dir(), &small()), &["dataset.json", "label 0", "whole number"]);
}

#[test]
fn plain_pictures_need_permission() {
    let files = Files::new(&[("1.png", &png(4, 4, &[1])), ("2.png", &png(4, 4, &[1]))]);
    for path in files.both() {
        says(&refusal(&path, &small()), &["2 pictures, but no captions", "metadata.jsonl", "1.txt"]);
        let folder = Folder::open(&path, &FolderOptions { captions_required: false, ..small() }).unwrap();
        assert_eq!((folder.layout(), folder.count()), (Layout::Plain, 2));
        assert_eq!(folder.get(0).unwrap().captions, [""]);
    }
}

#[test]
fn opaque_alpha_is_rgb_and_one_colour_picture_makes_all_rgb() {
    let files = Files::new(&[("a/1.png", &png(4, 4, &[1])), ("b/1.png", &png(4, 4, &[1, 2, 3, 255]))]);
    let folder = open(&files.dir());
    assert_eq!(Source::channels(&folder), 3);
    assert_eq!(folder.get(0).unwrap().picture, flat(4, 4, &[1, 1, 1]));
    assert_eq!(folder.get(1).unwrap().picture, flat(4, 4, &[1, 2, 3]));
}

#[cfg(unix)]
#[test]
fn loops_of_links_end() {
    use std::os::unix::fs::symlink;
    let files = Files::new(&[("a/1.png", &png(4, 4, &[1])), ("b/1.png", &png(4, 4, &[1]))]);
    let path = files.dir();
    symlink(&path, path.join("a/up")).unwrap();
    symlink(path.join("b"), path.join("a/side")).unwrap();
    symlink(path.join("a"), path.join("b/side")).unwrap();
    symlink(path.join("nowhere"), path.join("b/broken.png")).unwrap();
    let folder = open(&path);
    assert_eq!(folder.count(), 2);
    assert_eq!(folder.skipped()[0].name, "b/broken.png");
}
