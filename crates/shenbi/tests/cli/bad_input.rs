use std::collections::HashMap;
use std::fs;

use shenbi_nn::file;
use shenbi_nn::weights::Named;
use shenbi_train::checkpoint;

use crate::support::{TINY, discs, run, run_with, trained};

#[test]
fn settings_that_do_not_exist_or_fit() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    fs::write(folder.join("wrong.toml"), "batch = 8\nspeed = 3\n").unwrap();
    fs::write(folder.join("text.toml"), "batch is 8").unwrap();
    for (args, words) in [
        ("--set learnin_rate=1", &["--set learnin_rate=1", "did you mean 'learning_rate'"][..]),
        ("--set batch=many", &["'batch'"]),
        ("--set batch", &["key=value"]),
        ("--set batch=1", &["expected 2 to"]),
        ("--recipe dvgan", &["--recipe", "'dvgan'", "dcgan"]),
        ("--level five", &["level", "'five'", "one, two, many, mixed"]),
        ("--size 33", &["33x33"]),
        ("--size big", &["--size", "48x64"]),
        ("--minutes 0", &["--minutes or --kimg"]),
        ("--minutes -1", &["--minutes"]),
        ("--minutes 1 --kimg 1", &["--minutes", "--kimg"]),
        ("--device cuda", &["--device cuda", "it has: cpu"]),
        ("--device-g npu", &["--device-g npu", "it has: cpu"]),
        ("--config wrong.toml", &["wrong.toml", "unknown setting 'speed'"]),
        ("--config text.toml", &["text.toml"]),
        ("--caption-column text", &["--caption-column", "--data"]),
        ("--speed 3", &["--speed"]),
        ("--threads 0", &["--threads"]),
    ] {
        run(folder, &format!("train {args} --out r")).bad(2, words);
        assert!(!folder.join("r").exists(), "{args}");
    }
    run(folder, "train --config absent.toml").bad(1, &["absent.toml", "check the path"]);
}

#[test]
fn data_that_cannot_be_trained_on() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    fs::create_dir(folder.join("empty")).unwrap();
    fs::create_dir(folder.join("plain")).unwrap();
    discs(&folder.join("discs"), 1);
    fs::copy(folder.join("discs/0.png"), folder.join("plain/0.png")).unwrap();
    discs(&folder.join("torn"), 2);
    for name in ["0.png", "1.png"] {
        let bytes = fs::read(folder.join("torn").join(name)).unwrap();
        fs::write(folder.join("torn").join(name), &bytes[..20]).unwrap();
    }
    discs(&folder.join("latin1"), 2);
    fs::write(folder.join("latin1/metadata.jsonl"), b"{\"file_name\": \"0.png\", \"text\": \"caf\xe9\"}\n").unwrap();
    for (data, words) in [
        ("absent", &["--data absent", "no such folder"][..]),
        ("empty", &["empty", "no pictures", "metadata.jsonl"]),
        ("plain", &["plain", "no captions"]),
        ("torn", &["torn", "can be read"]),
        ("latin1", &["metadata.jsonl", "UTF-8"]),
        ("discs --caption-column story", &["story"]),
        ("discs --split test", &["test"]),
    ] {
        run(folder, &format!("train {TINY} --kimg 0.1 --out r --data {data}")).bad(1, words);
        assert!(!folder.join("r").exists(), "{data}");
    }
    run(folder, &format!("train {TINY} --out r --data discs --template photo")).bad(2, &["{class}"]);
    run(folder, "train --data discs --level two").bad(2, &["--level", "--data"]);
    // One picture is little, and enough.
    run(folder, &format!("train {TINY} --kimg 0.1 --out r --data discs")).good();
}

#[test]
fn places_that_cannot_be_written() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    fs::write(folder.join("file"), "mine").unwrap();
    run(folder, &format!("train {TINY} --kimg 0.1 --out file")).bad(1, &["file", "--out"]);
    run(folder, &format!("train {TINY} --kimg 0.1 --out file/run")).bad(1, &["file/run", "--out", "another folder"]);
    let generate = format!("generate star --model {} --out", trained().display());
    run(folder, &format!("{generate} file")).bad(1, &["--out file"]);
    run(folder, &format!("{generate} file/x.png")).bad(1, &["--out file/x.png"]);
    run(folder, "data scenes --out file").bad(1, &["--out file"]);
    run(folder, "data scenes --out .").bad(1, &["not empty"]);
    if cfg!(target_os = "linux") {
        run(folder, "train --out /proc/run").bad(1, &["/proc/run"]);
        run(folder, &format!("{generate} /proc/painted")).bad(1, &["/proc/painted", "may write to"]);
    }
    assert_eq!(fs::read_to_string(folder.join("file")).unwrap(), "mine");
}

#[test]
fn models_that_are_none() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    let model = checkpoint::model_path(trained()).unwrap();
    let bytes = fs::read(&model).unwrap();
    fs::write(folder.join("torn.safetensors"), &bytes[..bytes.len() - 100]).unwrap();
    fs::write(folder.join("head.safetensors"), &bytes[..100]).unwrap();
    fs::write(folder.join("empty.safetensors"), "").unwrap();
    fs::write(folder.join("text.safetensors"), "this is not a model at all").unwrap();
    let other =
        HashMap::from([("recipe".to_string(), "stylegan".to_string()), ("format".to_string(), "1".to_string())]);
    fs::write(folder.join("other.safetensors"), file::to_bytes(&Named::new(), other, false).unwrap()).unwrap();
    let (named, mut metadata) = file::from_bytes(&bytes).unwrap();
    metadata.insert("format".into(), "99".into());
    fs::write(folder.join("newer.safetensors"), file::to_bytes(&named, metadata, false).unwrap()).unwrap();
    for (name, words) in [
        ("torn.safetensors", &["torn.safetensors", "not a whole"][..]),
        ("head.safetensors", &["head.safetensors"]),
        ("empty.safetensors", &["empty.safetensors"]),
        ("text.safetensors", &["text.safetensors"]),
        ("other.safetensors", &["other.safetensors", "'stylegan'"]),
        ("newer.safetensors", &["format 99", "update"]),
        ("absent", &["absent", "--model"]),
        (".", &["--model"]),
    ] {
        run(folder, &format!("generate star --model {name}")).bad(1, words);
        assert!(!folder.join("painted").exists());
    }
    run(folder, &format!("generate star --model {}", trained().display())).good();
}

#[test]
fn runs_that_cannot_go_on() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    run(folder, "train --resume absent").bad(1, &["absent", "--resume"]);
    run(folder, &format!("train {TINY} --kimg 0.1 --out r")).good();
    let config = folder.join("r/config.toml");
    let text = fs::read_to_string(&config).unwrap();
    for (from, to, words) in [
        ("\"brush\"", "\"dfgan\"", &["config.toml", "dfgan"][..]),
        ("generator_width = 8", "generator_width = 16", &["does not fit", "config.toml"]),
        ("batch = 8", "batch = 8\nspeed = 9", &["config.toml", "speed"]),
    ] {
        fs::write(&config, text.replace(from, to)).unwrap();
        run(folder, "train --resume r --threads 1 --kimg 0.2").bad(1, words);
    }
    fs::write(&config, &text).unwrap();
    let state = folder.join("r/checkpoints/00000013/state.safetensors");
    let bytes = fs::read(&state).unwrap();
    fs::write(&state, &bytes[..bytes.len() / 2]).unwrap();
    let ran = run(folder, "train --resume r --threads 1 --json").good();
    assert!(ran.err.contains("warning: checkpoint") && ran.err.contains("00000013"), "{}", ran.err);
    assert_eq!(ran.json()["steps"], 13, "taken up from the one before");
}

#[test]
fn prompts_that_are_none() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    for prompt in ["", "  ", "\t"] {
        run_with(folder, "generate", &[prompt]).bad(2, &["empty prompt"]);
    }
    run(folder, "generate").bad(2, &["no prompt", "shenbi generate"]);
    run(folder, "generate -").bad(2, &["standard input"]);
    run(folder, "generate star -n 0").bad(2, &["-n"]);
    run(folder, "generate star --device tpu").bad(2, &["it has: cpu"]);
    assert!(!folder.join("painted").exists());
}
