use std::collections::BTreeSet;
use std::fs;
use std::io::Write;
use std::process::Stdio;

use crate::support::{Ran, command, picture, run, run_with, trained};

const PROMPTS: [&str; 2] = ["a small red star above a large blue house", "绿色圆形在黄色背景上"];

#[test]
fn the_built_in_model_paints_at_once() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    let ran = run_with(folder, "generate", &PROMPTS).good();
    let names = ["a-small-red-star-above-a-large-blue-house-s1.png", "绿色圆形在黄色背景上-s1.png", "sheet-s1.png"];
    assert_eq!(ran.paths(folder), names.map(|name| folder.join("painted").join(name)));
    let [one, two, _] = ran.paths(folder).try_into().unwrap();
    assert_ne!(picture(&one).pixels, picture(&two).pixels);
    assert!(ran.err.is_empty(), "{}", ran.err);
    // The same again: the same pictures, and none overwritten.
    let again = run_with(folder, "generate", &PROMPTS).good();
    let path = &again.paths(folder)[1];
    assert_eq!(path, &folder.join("painted/绿色圆形在黄色背景上-s1_2.png"));
    assert_eq!(fs::read(path).unwrap(), fs::read(&two).unwrap());
    assert_eq!(fs::read_dir(folder.join("painted")).unwrap().count(), 6);
}

#[test]
fn pictures_vary_with_seed_and_number() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    let model = trained().display();
    let mut pixels = BTreeSet::new();
    for seed in [1, 2] {
        let json = run_with(folder, &format!("generate --model {model} -n 18 --seed {seed} --json"), &["a red circle"]);
        let json = json.good().json();
        assert_eq!(json["pictures"].as_array().unwrap().len(), 18);
        for painted in json["pictures"].as_array().unwrap() {
            assert_eq!((painted["prompt"].as_str(), painted["seed"].as_u64()), (Some("a red circle"), Some(seed)));
            pixels.insert(picture(&folder.join(painted["path"].as_str().unwrap())).pixels);
        }
        assert!(picture(&folder.join(json["sheet"].as_str().unwrap())).width > 8 * 128);
    }
    assert_eq!(pixels.len(), 36);
    // A picture does not depend on how many are painted beside it.
    let one = run_with(folder, &format!("generate --model {model} --out one.png"), &["a red circle"]).good();
    assert_eq!(one.paths(folder), [folder.join("one.png")]);
    assert_eq!(picture(&folder.join("one.png")), picture(&folder.join("painted/a-red-circle-s1-01.png")));
}

#[test]
fn prompts_come_from_standard_input() {
    let parent = tempfile::tempdir().unwrap();
    let mut child = command(parent.path(), &format!("generate - --json --model {}", trained().display()))
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn();
    let child = child.as_mut().unwrap();
    child.stdin.take().unwrap().write_all("a red star\r\n\n  蓝色的房子\n".as_bytes()).unwrap();
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.stdout.take().unwrap(), &mut text).unwrap();
    let ran = Ran { code: child.wait().unwrap().code(), out: text, err: String::new() }.good();
    let prompts: Vec<String> =
        ran.json()["pictures"].as_array().unwrap().iter().map(|p| p["prompt"].as_str().unwrap().to_string()).collect();
    assert_eq!(prompts, ["a red star", "蓝色的房子"]);
}

#[test]
fn a_file_may_hold_the_picture_or_the_sheet() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    let ran =
        run_with(folder, &format!("generate -n 3 --out deep/down/three.png --model {}", trained().display()), &PROMPTS)
            .good();
    assert_eq!(ran.paths(folder), [folder.join("deep/down/three.png")]);
    assert_eq!(fs::read_dir(folder.join("deep/down")).unwrap().count(), 1);
    assert!(picture(&folder.join("deep/down/three.png")).width > 128);
}

#[test]
fn odd_prompts_are_painted() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    let generate = format!("generate --model {}", trained().display());
    let long = "红色的圆形 and a red circle ".repeat(400);
    let ran = run_with(folder, &generate, &[&long]).good();
    assert!(ran.err.starts_with("warning: ") && ran.err.contains("its end is ignored"), "{}", ran.err);
    assert_eq!(ran.out.lines().count(), 1);
    for prompt in ["🐉 龘", "../../etc/passwd", "\u{202e}x", "CON", "?"] {
        let ran = run_with(folder, &generate, &[prompt]).good();
        assert!(ran.paths(folder)[0].starts_with(folder.join("painted")) && ran.paths(folder)[0].is_file());
    }
}

#[test]
fn a_reader_that_leaves_is_no_error() {
    let parent = tempfile::tempdir().unwrap();
    let args = format!("generate star -n 64 --model {}", trained().display());
    let mut child = command(parent.path(), &args).stdout(Stdio::piped()).stderr(Stdio::piped()).spawn();
    let mut child = child.as_mut().map(|child| (child.stdout.take(), child)).unwrap();
    drop(child.0.take());
    let mut text = String::new();
    std::io::Read::read_to_string(&mut child.1.stderr.take().unwrap(), &mut text).unwrap();
    assert_eq!((child.1.wait().unwrap().code(), text.as_str()), (Some(0), ""));
}

#[test]
fn help_has_examples_and_version_is_told() {
    let parent = tempfile::tempdir().unwrap();
    for command in ["", "train", "generate", "data", "data inspect", "data scenes"] {
        let ran = run(parent.path(), &format!("{command} --help")).good();
        assert!(ran.out.contains("Examples:\n  shenbi "), "{command}: {}", ran.out);
        assert!(ran.err.is_empty());
    }
    assert_eq!(run(parent.path(), "--version").good().out, format!("shenbi {}\n", env!("CARGO_PKG_VERSION")));
    assert_eq!(run(parent.path(), "").code, Some(2));
}
