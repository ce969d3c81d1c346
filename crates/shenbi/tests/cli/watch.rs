//! `shenbi watch` where there is no terminal.

use std::fs;
use std::path::Path;

use crate::support::{run, trained};

/// A run folder with these settings and this log.
fn folder(parent: &Path, config: &str, log: &str) {
    let run = parent.join("run");
    fs::create_dir_all(run.join("samples")).unwrap();
    fs::write(run.join("config.toml"), config).unwrap();
    fs::write(run.join("log.jsonl"), log).unwrap();
}

#[test]
fn a_finished_run_in_one_frame() {
    let before = fs::read_dir(trained()).unwrap().count();
    let args = format!("watch {}", trained().display());
    // With --once, and without it, since the output is no terminal.
    for args in [format!("{args} --once"), args] {
        let ran = run(trained(), &args).good();
        for word in ["finished", "brush", "16x16 RGB", "0.2 of 0.2 kimg", "img/s", "sample  ", "latest", "highest"] {
            assert!(ran.out.contains(word), "expected '{word}' in:\n{}", ran.out);
        }
        assert!(
            ran.out
                .lines()
                .any(|line| line.starts_with("d ") && line.contains(['▁', '▂', '▃', '▄', '▅', '▆', '▇', '█'])),
            "{}",
            ran.out
        );
        assert!(ran.out.lines().all(|line| line.chars().count() <= 80 || line.contains("tiny")), "{}", ran.out);
        assert!(!ran.out.contains('\u{1b}') && ran.err.is_empty(), "{}{}", ran.out, ran.err);
    }
    assert_eq!(fs::read_dir(trained()).unwrap().count(), before, "nothing is written");
}

#[test]
fn figures_for_scripts() {
    let json = run(trained(), "watch . --json").good().json();
    assert_eq!((json["state"].as_str(), json["recipe"].as_str()), (Some("finished"), Some("brush")));
    assert_eq!((json["images"].as_u64(), json["progress"].as_f64()), (Some(200), Some(1.0)));
    assert_eq!((json["phase"].as_str(), json["size"][0].as_u64()), (Some("gan"), Some(16)));
    assert!(json["sample"].as_str().unwrap().ends_with("00000200.png"), "{json}");
    let d = &json["series"]["d"];
    assert!(d["latest"].is_number() && d["at"] == 200.0 && d["lowest"].as_f64() <= d["highest"].as_f64(), "{json}");
}

#[test]
fn a_log_with_damaged_lines() {
    let parent = tempfile::tempdir().unwrap();
    let log = r#"{"images": 100, "phase": "gan", "d": 0.5, "q": -2}
not JSON

[1]
{"images": 200, "d": 0.25}
{"images": 300, "d": 9"#;
    folder(parent.path(), "kimg = 1.0", log);
    let json = run(parent.path(), "watch run --json").good().json();
    assert_eq!(
        (json["images"].as_u64(), json["bad_lines"].as_u64()),
        (Some(200), Some(2)),
        "the last line is not whole"
    );
    assert_eq!(json["series"]["d"], serde_json::json!({"latest": 0.25, "at": 200.0, "lowest": 0.25, "highest": 0.5}));
    assert_eq!(json["series"]["q"]["latest"], -2.0);
    let frame = run(parent.path(), "watch run --once").good().out;
    assert!(frame.contains("2 lines of log.jsonl are damaged") && frame.contains("0.2 of 1 kimg"), "{frame}");
}

#[test]
fn a_run_that_has_not_logged_yet() {
    let parent = tempfile::tempdir().unwrap();
    folder(parent.path(), "recipe = \"brush\"", "");
    assert!(run(parent.path(), "watch run").good().out.contains("waiting: nothing is in log.jsonl yet"));
    fs::remove_file(parent.path().join("run/log.jsonl")).unwrap();
    let json = run(parent.path(), "watch run --json").good().json();
    assert_eq!((json["state"].as_str(), json["series"].as_object().unwrap().len()), (Some("waiting"), 0));
}

#[test]
fn folders_that_hold_no_run() {
    let parent = tempfile::tempdir().unwrap();
    let path = parent.path();
    fs::create_dir(path.join("empty")).unwrap();
    fs::write(path.join("file"), "").unwrap();
    folder(path, "recipe is brush", "");
    for (name, words) in [
        ("absent", &["absent", "expected the folder of a run"][..]),
        ("empty", &["empty holds no run", "config.toml", "`train`"]),
        ("file", &["file is a file", "expected the folder of a run"]),
        ("run", &["config.toml", "restore the file"]),
    ] {
        for args in ["", "--once", "--json"] {
            run(path, &format!("watch {name} {args}")).bad(1, words);
        }
    }
    run(path, "watch").bad(2, &["RUN"]);
}
