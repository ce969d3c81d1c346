use std::fs;

use crate::support::{TINY, discs, picture, run};

#[test]
fn scenes_are_written_and_inspected_and_trained_on() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    let ran = run(folder, "data scenes --out s -n 24 --level two --size 16x32").good();
    assert_eq!(ran.paths(folder), [folder.join("s")]);
    let one = picture(&folder.join("s/000023.png"));
    assert_eq!((one.height, one.width, one.channels), (16, 32, 3));
    let metadata = fs::read_to_string(folder.join("s/metadata.jsonl")).unwrap();
    assert_eq!(metadata.lines().count(), 24);
    let line: serde_json::Value = serde_json::from_str(metadata.lines().next().unwrap()).unwrap();
    assert!(line["text"].as_str().unwrap().is_ascii() && !line["text_zh"].as_str().unwrap().is_ascii());
    assert_eq!(run(folder, "data scenes --out t -n 2 --held-out --json").good().json()["pictures"], 2);

    fs::write(folder.join("s/000003.png"), "").unwrap();
    let columns = "--caption-column text --caption-column text_zh";
    let ran = run(folder, &format!("data inspect s {columns}")).good();
    assert!(ran.out.contains("23 PNG") && ran.out.contains("000003.png"), "{}", ran.out);
    let json = run(folder, &format!("data inspect s {columns} --json")).good().json();
    assert_eq!((json["pictures"].as_u64(), json["captions"]["count"].as_u64()), (Some(23), Some(46)));
    assert_eq!(json["skipped"][0]["name"], "000003.png");

    let size = TINY.replace("--size 16", "--size 16x32");
    let json = run(folder, &format!("train {size} --kimg 0.1 --data s {columns} --json")).good().json();
    let prompts: Vec<&str> = json["prompts"].as_array().unwrap().iter().map(|p| p.as_str().unwrap()).collect();
    assert_eq!(prompts.iter().filter(|prompt| !prompt.is_ascii()).count(), 3, "{prompts:?}");
    assert_eq!(prompts.len(), 6);
}

#[test]
fn what_cannot_be_inspected() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    discs(&folder.join("discs"), 3);
    fs::create_dir(folder.join("empty")).unwrap();
    run(folder, "data inspect absent").bad(1, &["absent", "check the path"]);
    run(folder, "data inspect empty").bad(1, &["empty", "no pictures"]);
    run(folder, "data inspect discs --caption-column story").bad(1, &["story"]);
    run(folder, "data inspect discs --size 0").bad(2, &["--size"]);
    run(folder, "data inspect").bad(2, &["PATH"]);
    run(folder, "data scenes").bad(2, &["--out"]);
    run(folder, "data scenes --out s --size 8").bad(2, &["16 to 1024"]);
    run(folder, "data scenes --out s --level five").bad(2, &["--level", "one, two, many, mixed"]);
}
