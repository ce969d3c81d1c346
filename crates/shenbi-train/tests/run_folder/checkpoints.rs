//! Saving, damaging, filling the disk, killing.

use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;

use shenbi_train::checkpoint::{self, FORMAT, model_path};
use shenbi_train::error::RunError;
use shenbi_train::run_folder::RunFolder;
use tempfile::tempdir;

use crate::{CONFIG, checkpoint, flip, found, names, truncate};

#[test]
fn a_checkpoint_comes_back_as_it_was_and_the_newest_two_are_kept() {
    let parent = tempdir().unwrap();
    let path = parent.path().join("run");
    let mut run = RunFolder::create(&path, CONFIG).unwrap();
    let latest = run.latest_checkpoint().unwrap();
    assert!(latest.found.is_none() && latest.damaged.is_empty());
    for step in [100, 200, 300] {
        let saved = run.save_checkpoint(step, &checkpoint(step, 1000)).unwrap();
        assert_eq!(found(&run), (saved, checkpoint(step, 1000)));
    }
    assert_eq!(names(&path.join("checkpoints")), ["00000200", "00000300"]);
    assert_eq!(
        names(&path.join("checkpoints/00000300")),
        ["model.safetensors", "state.json", "state.safetensors", "tokenizer.json"]
    );
    run.save_checkpoint(300, &checkpoint(300, 7)).unwrap();
    assert_eq!(found(&run).1, checkpoint(300, 7), "the same step again takes the old one's place");
    run.save_checkpoint(250, &checkpoint(250, 7)).unwrap();
    assert_eq!(names(&path.join("checkpoints")), ["00000200", "00000250"], "300 is of an abandoned future");
    let bits = &found(&run).1.named["adam_generator.moment"].data;
    assert_eq!(
        bits.iter().map(|v| v.to_bits()).collect::<Vec<_>>(),
        [f32::MIN_POSITIVE.to_bits(), (-0.0_f32).to_bits()]
    );
}

/// Harms the checkpoint in a folder.
type Damage = fn(&Path);

#[test]
fn a_damaged_checkpoint_falls_back_to_the_one_before() {
    let damages: [(&str, Damage); 6] = [
        ("state.safetensors has", |path| truncate(&path.join("state.safetensors"))),
        ("state.safetensors fails its checksum", |path| flip(&path.join("state.safetensors"))),
        ("model.safetensors fails its checksum", |path| flip(&path.join("model.safetensors"))),
        ("tokenizer.json is missing", |path| fs::remove_file(path.join("tokenizer.json")).unwrap()),
        ("state.json: ", |path| truncate(&path.join("state.json"))),
        ("state.json is of step 2", |path| {
            fs::copy(path.join("../00000002/state.json"), path.join("state.json")).unwrap();
        }),
    ];
    for (reason, damage) in damages {
        let parent = tempdir().unwrap();
        let path = parent.path().join("run");
        let mut run = RunFolder::create(&path, CONFIG).unwrap();
        run.save_checkpoint(2, &checkpoint(2, 50)).unwrap();
        let newest = run.save_checkpoint(4, &checkpoint(4, 50)).unwrap();
        damage(&newest);
        let latest = run.latest_checkpoint().unwrap();
        assert_eq!(latest.found.unwrap().1, checkpoint(2, 50), "{reason}");
        let [(damaged, why)] = latest.damaged.as_slice() else { panic!("{reason}") };
        assert!(*damaged == newest && why.contains(reason), "{why}");

        truncate(&path.join("checkpoints/00000002/state.json"));
        let error = run.latest_checkpoint().unwrap_err().to_string();
        assert!(error.contains("00000002: state.json") && error.contains("00000004: "), "{error}");
    }
}

#[test]
fn another_recipe_and_a_newer_format_are_told_apart_from_damage() {
    let parent = tempdir().unwrap();
    let path = parent.path().join("run");
    let mut run = RunFolder::create(&path, CONFIG).unwrap();
    let mut other = checkpoint(1, 3);
    other.state.recipe = "dfgan".into();
    run.save_checkpoint(1, &other).unwrap();
    let error = run.latest_checkpoint().unwrap_err().to_string();
    assert!(error.contains("recipe 'dfgan'") && error.contains("'brush'"), "{error}");
    fs::write(path.join("checkpoints/00000001/state.json"), "{\"format\": 2}").unwrap();
    let error = run.latest_checkpoint().unwrap_err().to_string();
    assert!(error.contains("format 2") && error.contains("update the program"), "{error}");
}

#[test]
fn what_a_kill_left_behind_is_tidied() {
    let parent = tempdir().unwrap();
    let path = parent.path().join("run");
    let mut run = RunFolder::create(&path, CONFIG).unwrap();
    run.save_checkpoint(5, &checkpoint(5, 10)).unwrap();
    drop(run);
    let checkpoints = path.join("checkpoints");
    // Killed while writing 9, and while 5 was being replaced.
    fs::create_dir(checkpoints.join(".tmp-00000009")).unwrap();
    fs::write(checkpoints.join(".tmp-00000009/state.safetensors"), "part").unwrap();
    fs::rename(checkpoints.join("00000005"), checkpoints.join(".old-00000005")).unwrap();
    let run = RunFolder::open(&path).unwrap();
    assert_eq!(names(&checkpoints), ["00000005"]);
    assert_eq!(found(&run).1, checkpoint(5, 10));
}

#[test]
fn a_model_is_found_by_file_run_and_checkpoint() {
    let parent = tempdir().unwrap();
    let path = parent.path().join("run");
    let mut run = RunFolder::create(&path, CONFIG).unwrap();
    let error = model_path(&path).unwrap_err().to_string();
    assert!(error.contains("no checkpoint yet"), "{error}");
    let first = run.save_checkpoint(1, &checkpoint(1, 10)).unwrap();
    let second = run.save_checkpoint(2, &checkpoint(2, 10)).unwrap();
    let model = second.join("model.safetensors");
    for named in [&path, &path.join("checkpoints"), &second, &model] {
        assert_eq!(model_path(named).unwrap(), model);
    }
    truncate(&model);
    assert_eq!(model_path(&path).unwrap(), first.join("model.safetensors"));
    assert!(matches!(model_path(&second), Err(RunError::Damaged { .. })));
    for (wrong, why) in [(parent.path(), "neither a run folder"), (&parent.path().join("absent"), "no such file")] {
        let error = model_path(wrong).unwrap_err().to_string();
        assert!(error.contains(why) && error.contains("--model"), "{error}");
    }
}

/// Saves a small checkpoint, then one that does not fit, into `path`: the small one survives.
fn fill(path: &Path) {
    let mut run = RunFolder::create(path, CONFIG).unwrap();
    run.save_checkpoint(1, &checkpoint(1, 10)).unwrap();
    for step in [1, 2] {
        let error = run.save_checkpoint(step, &checkpoint(step, 1_000_000)).unwrap_err().to_string();
        assert!(error.contains(&format!("checkpoints/0000000{step}")) && error.contains("free some space"), "{error}");
        assert_eq!(names(&path.join("checkpoints")), ["00000001"], "the part that was written is removed");
        assert_eq!(found(&run).1, checkpoint(1, 10));
    }
    run.save_checkpoint(2, &checkpoint(2, 20)).unwrap();
}

const LIMITED: &str = "SHENBI_TEST_LIMITED_FOLDER";

/// The system's limit on a file's size (EFBIG) stands for the full disk: it needs no rights.
#[cfg(unix)]
#[test]
fn a_full_disk_leaves_the_old_checkpoint() {
    if let Some(path) = std::env::var_os(LIMITED) {
        return fill(Path::new(&path));
    }
    let parent = tempdir().unwrap();
    let output = Command::new("sh")
        .args([
            "-c",
            "trap '' XFSZ; ulimit -f 200; exec \"$0\" --exact checkpoints::a_full_disk_leaves_the_old_checkpoint",
        ])
        .arg(std::env::current_exe().unwrap())
        .env(LIMITED, parent.path().join("run"))
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
    assert_eq!(names(&parent.path().join("run/checkpoints")), ["00000001", "00000002"], "the child ran");
}

/// A disk that is really full (ENOSPC), where the user may mount one.
#[cfg(target_os = "linux")]
#[test]
fn a_full_tmpfs_leaves_the_old_checkpoint() {
    struct Mounted(PathBuf);
    impl Drop for Mounted {
        fn drop(&mut self) {
            let _ = Command::new("umount").arg(&self.0).status();
        }
    }
    let parent = tempdir().unwrap();
    let mount = Command::new("mount").args(["-t", "tmpfs", "-o", "size=256k", "tmpfs"]).arg(parent.path()).output();
    match mount {
        Ok(output) if output.status.success() => {
            let mounted = Mounted(parent.path().to_path_buf());
            fill(&mounted.0.join("run"));
        }
        Ok(output) => println!("skipped: no right to mount: {}", String::from_utf8_lossy(&output.stderr).trim()),
        Err(error) => println!("skipped: no mount command: {error}"),
    }
}

/// SIGKILL at any moment of a save leaves a whole checkpoint.
#[cfg(unix)]
#[test]
fn kills_while_saving_lose_no_checkpoint() {
    const KILLED: &str = "SHENBI_TEST_KILLED_FOLDER";
    if let Some(path) = std::env::var_os(KILLED) {
        let mut run = RunFolder::open(Path::new(&path)).unwrap();
        let mut step = found(&run).1.state.examples_consumed / 64;
        loop {
            step += 1;
            run.save_checkpoint(step, &checkpoint(step, 20_000)).unwrap();
        }
    }
    let parent = tempdir().unwrap();
    let path = parent.path().join("run");
    let mut run = RunFolder::create(&path, CONFIG).unwrap();
    run.save_checkpoint(1, &checkpoint(1, 20_000)).unwrap();
    drop(run);
    let mut last = 1;
    for kill in 0..20 {
        let mut child = Command::new(std::env::current_exe().unwrap())
            .args(["--exact", "checkpoints::kills_while_saving_lose_no_checkpoint"])
            .env(KILLED, &path)
            .stdout(std::process::Stdio::null())
            .spawn()
            .unwrap();
        std::thread::sleep(std::time::Duration::from_millis(60 + 7 * kill));
        child.kill().unwrap();
        child.wait().unwrap();
        let run = RunFolder::open(&path).unwrap();
        let latest = run.latest_checkpoint().unwrap();
        assert!(latest.damaged.is_empty(), "{:?}", latest.damaged);
        let (_, checkpoint_found) = latest.found.unwrap();
        let step = checkpoint_found.state.examples_consumed / 64;
        assert!(step >= last, "step {step} after {last}");
        assert_eq!(checkpoint_found, checkpoint(step, 20_000));
        last = step;
    }
    assert!(last > 20, "only {last} saves in 20 lives");
    assert_eq!(checkpoint::read(&path.join(format!("checkpoints/{last:08}"))).unwrap().state.format, FORMAT);
}
