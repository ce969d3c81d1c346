use std::cell::Cell;

use shenbi_data::folder::{FolderOptions, Layout};
use shenbi_data::inspect::inspect;

use crate::fixtures::{Files, gradient, png, says, small};

#[test]
fn a_report_of_everything() {
    let files = Files::new(&[
        ("cat/1.png", &png(8, 8, &[1, 2, 3, 4])),
        ("cat/2.png", &png(8, 8, &[1, 2, 3, 4])),
        ("cat/3.png", &png(2, 3, &[7])),
        ("dog/1.jpg", &gradient(64, 16, image::ImageFormat::Jpeg)),
        ("dog/2.png", b"nonsense"),
    ]);
    for path in files.both() {
        let calls = Cell::new(0);
        let report = inspect(
            &path,
            &small(),
            Some(&|done, total| {
                assert_eq!(total, 5);
                calls.set(calls.get() + usize::from(done == calls.get() + 1));
            }),
        )
        .unwrap();
        assert_eq!(calls.get(), 5);
        assert_eq!((report.layout, report.pictures, report.transparent), (Layout::ClassFolders, 4, 2));
        assert_eq!(report.formats.iter().map(|(k, &v)| (k.as_str(), v)).collect::<Vec<_>>(), [("JPEG", 1), ("PNG", 3)]);
        assert_eq!((report.sizes.width.min, report.sizes.width.median, report.sizes.width.max), (2, 8, 64));
        assert_eq!(report.sizes.most_common[0], (8, 8, 2));
        assert_eq!(report.channels.into_iter().collect::<Vec<_>>(), [(1, 1), (3, 1), (4, 2)]);
        assert_eq!(report.classes, [("cat".to_string(), 3), ("dog".to_string(), 1)]);
        assert_eq!((report.captions.count, report.captions.vocabulary, report.captions.duplicates.extra), (4, 5, 2));
        assert_eq!(report.captions.frequent[0], ("a".to_string(), 8));
        assert_eq!(report.duplicate_pictures.groups, [["cat/1.png", "cat/2.png"]]);
        assert_eq!(report.skipped.len(), 1);
        assert_eq!(report.skipped[0].name, "dog/2.png");
        says(
            &report.recommendations.join("\n"),
            &[
                "Only 4 pictures: expect memorisation",
                "1 picture is smaller than the training size 4x4",
                "Class dog has only one picture",
                "1 picture is a copy of others",
                "2 of 4 pictures have transparency",
                "1 picture is far from the training shape",
            ],
        );
    }
}

#[test]
fn the_text_for_people_and_the_json_for_programs() {
    let files = Files::numbered(3).with(
        "metadata.jsonl",
        "{\"file_name\": \"0.png\", \"text\": \"red potion\"}\n{\"file_name\": \"1.png\", \"text\": \"红色药水\"}\n\
         {\"file_name\": \"2.png\", \"text\": \"\"}"
            .as_bytes(),
    );
    let report = inspect(files.dir(), &FolderOptions::default(), None).unwrap();
    let text = report.to_string();
    says(
        &text,
        &[
            "layout        metadata.jsonl",
            "pictures      3 (3 PNG)",
            "width         4",
            "channels      3 RGB; 0 with transparency",
            "captions      2, a picture has 0 to 1 (median 1)",
            "length        4 to 10 (median 10) characters, 2 to 4 (median 4) words",
            "scripts       1 han, 1 latin",
            "* 3 pictures are smaller than the training size 64x64",
            "* 1 picture has no caption",
        ],
    );
    let json = serde_json::to_value(&report).unwrap();
    assert_eq!(json["layout"], "metadata_jsonl");
    assert_eq!(json["captions"]["scripts"]["han"], 1);
}
