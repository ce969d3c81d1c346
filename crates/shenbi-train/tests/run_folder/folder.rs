//! Making, opening, locking and logging.

use std::fs;
use std::path::Path;

use serde_json::json;
use shenbi_train::atomic::write_atomic;
use shenbi_train::error::RunError;
use shenbi_train::run_folder::RunFolder;
use tempfile::tempdir;

use crate::{CONFIG, names};

#[test]
fn a_new_run_has_its_parts_and_a_number() {
    let parent = tempdir().unwrap();
    let runs = parent.path().join("runs");
    let path = RunFolder::next(&runs, "brush");
    assert_eq!(path, runs.join("00001-brush"));
    let run = RunFolder::create(&path, CONFIG).unwrap();
    assert_eq!(run.path(), path);
    assert_eq!(run.recipe(), "brush");
    assert_eq!(run.config_toml().unwrap(), CONFIG);
    assert_eq!(run.sample_path(12345), path.join("samples/00012345.png"));
    assert_eq!(names(&path), [".lock", "checkpoints", "config.toml", "log.jsonl", "samples"]);
    fs::create_dir(runs.join("00041-cat")).unwrap();
    fs::create_dir(runs.join("notes-99")).unwrap();
    assert_eq!(RunFolder::next(&runs, "brush"), runs.join("00042-brush"));
}

#[test]
fn a_folder_with_a_run_is_refused_and_a_second_writer_too() {
    let parent = tempdir().unwrap();
    let path = parent.path().join("run");
    let run = RunFolder::create(&path, CONFIG).unwrap();
    for refused in [RunFolder::create(&path, CONFIG), RunFolder::open(&path)] {
        let error = refused.unwrap_err();
        assert!(matches!(error, RunError::InUse(_)), "{error}");
        assert!(error.to_string().contains("another run is writing to"), "{error}");
    }
    drop(run);
    let error = RunFolder::create(&path, CONFIG).unwrap_err().to_string();
    assert!(error.contains("already holds a run") && error.contains("--resume"), "{error}");
    assert_eq!(RunFolder::open(&path).unwrap().recipe(), "brush");
}

#[test]
fn a_create_that_was_cut_short_can_be_repeated() {
    let parent = tempdir().unwrap();
    let path = parent.path().join("run");
    drop(RunFolder::create(&path, CONFIG).unwrap());
    fs::remove_file(path.join("config.toml")).unwrap();
    drop(RunFolder::create(&path, CONFIG).unwrap());
    fs::remove_file(path.join("config.toml")).unwrap();
    fs::create_dir(path.join("checkpoints/00000001")).unwrap();
    assert!(matches!(RunFolder::create(&path, CONFIG), Err(RunError::AlreadyARun(_))));
    fs::remove_dir(path.join("checkpoints/00000001")).unwrap();
    fs::write(path.join("samples/00000001.png"), "somebody's").unwrap();
    assert!(matches!(RunFolder::create(&path, CONFIG), Err(RunError::AlreadyARun(_))));
}

#[test]
fn impossible_places_are_refused_with_the_path_and_a_remedy() {
    let parent = tempdir().unwrap();
    let file = parent.path().join("picture.png");
    fs::write(&file, "x").unwrap();
    let error = RunFolder::create(&file, CONFIG).unwrap_err().to_string();
    assert!(error.contains("picture.png is a file") && error.contains("--out"), "{error}");
    let error = RunFolder::create(&file.join("run"), CONFIG).unwrap_err().to_string();
    assert!(error.contains("picture.png/run") && error.contains("choose another folder"), "{error}");
    assert!(matches!(RunFolder::open(parent.path()), Err(RunError::NotARun(_))));
    assert!(matches!(RunFolder::open(&parent.path().join("absent")), Err(RunError::NotARun(_))));
    let error = RunFolder::create(&parent.path().join("run"), "seed = 1").unwrap_err().to_string();
    assert!(error.contains("config.toml") && error.contains("recipe"), "{error}");
    assert!(!parent.path().join("run").exists());
    if cfg!(target_os = "linux") {
        let error = RunFolder::create(Path::new("/proc/shenbi"), CONFIG).unwrap_err().to_string();
        assert!(error.contains("cannot create /proc/shenbi"), "{error}");
    }
}

#[cfg(unix)]
#[test]
fn a_folder_without_write_permission_is_refused() {
    use std::os::unix::fs::PermissionsExt;
    let parent = tempdir().unwrap();
    fs::set_permissions(parent.path(), fs::Permissions::from_mode(0o555)).unwrap();
    if fs::write(parent.path().join("probe"), "").is_ok() {
        println!("skipped: this user (root) may write everywhere");
        return;
    }
    let error = RunFolder::create(&parent.path().join("run"), CONFIG).unwrap_err().to_string();
    assert!(error.contains("choose a folder that you may write to"), "{error}");
}

#[test]
fn the_log_continues_from_the_step_of_the_checkpoint() {
    let parent = tempdir().unwrap();
    let path = parent.path().join("run");
    let mut run = RunFolder::create(&path, CONFIG).unwrap();
    run.log(&json!({"event": "start"})).unwrap();
    for step in 1..=5 {
        run.log(&json!({"step": step, "d": 0.5, "caption": "红色\n圆"})).unwrap();
    }
    drop(run);
    let log = path.join("log.jsonl");
    let mut torn = fs::read(&log).unwrap();
    torn.extend(b"{\"step\": 3, \"d\": 0.");
    fs::write(&log, torn).unwrap();

    let mut run = RunFolder::open(&path).unwrap();
    assert_eq!(fs::read_to_string(&log).unwrap().lines().count(), 6, "the torn line is gone");
    run.truncate_log(3).unwrap();
    run.log(&json!({"step": 4})).unwrap();
    let steps: Vec<Option<u64>> = fs::read_to_string(&log)
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64())
        .collect();
    assert_eq!(steps, [None, Some(1), Some(2), Some(3), Some(4)]);
}

#[test]
fn a_failed_write_keeps_the_old_content() {
    let parent = tempdir().unwrap();
    let path = parent.path().join("file");
    write_atomic(&path, b"old").unwrap();
    write_atomic(&path, b"new").unwrap();
    assert_eq!(fs::read(&path).unwrap(), b"new");
    fs::create_dir(parent.path().join(".file.tmp")).unwrap(); // in the way
    let error = write_atomic(&path, b"newest").unwrap_err().to_string();
    assert!(error.contains("cannot write") && error.contains("file"), "{error}");
    assert_eq!(fs::read(&path).unwrap(), b"new");
}
