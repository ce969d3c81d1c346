#![cfg(unix)]

use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use shenbi_train::checkpoint::{self, Checkpoint};
use shenbi_train::run_folder::RunFolder;

use crate::support::{Ran, TINY, command, run, start, wait_for};

fn newest(run: &Path) -> Option<Checkpoint> {
    let latest = RunFolder::open(run).unwrap().latest_checkpoint().unwrap();
    assert!(latest.damaged.is_empty(), "{:?}", latest.damaged);
    latest.found.map(|(_, checkpoint)| checkpoint)
}

fn checkpoints(run: &Path) -> Vec<std::ffi::OsString> {
    let entries = std::fs::read_dir(run.join("checkpoints"));
    entries.map(|entries| entries.filter_map(|entry| Some(entry.ok()?.file_name())).collect()).unwrap_or_default()
}

fn signal(child: &Child, name: &str) {
    assert!(Command::new("kill").args([name, &child.id().to_string()]).status().unwrap().success());
}

#[test]
fn kills_at_any_moment_lose_only_steps() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    let settings = format!("{TINY} --kimg 4 --set checkpoint_seconds=0.1 --set sample_seconds=0.2");
    run(folder, &format!("train {settings} --out whole")).good();
    let killed = folder.join("killed");
    let mut child = start(folder, &format!("train {settings} --out killed"), &killed.join("config.toml"));
    let mut steps = 0;
    for kill in 0..20_u64 {
        if kill % 2 == 0 {
            // Lives that are sure to get on; the others are cut off wherever they are.
            let before = checkpoints(&killed);
            wait_for(|| checkpoints(&killed) != before || child.try_wait().unwrap().is_some());
        }
        std::thread::sleep(Duration::from_millis(kill * 237 % 500));
        let finished = child.try_wait().unwrap().is_some();
        child.kill().unwrap();
        child.wait().unwrap();
        if finished {
            break;
        }
        if let Some(Checkpoint { state, .. }) = newest(&killed) {
            assert!(state.contrast_steps + state.gan_steps >= steps, "step {steps} was lost");
            steps = state.contrast_steps + state.gan_steps;
        }
        child = command(folder, "train --resume killed --threads 1").stderr(Stdio::null()).spawn().unwrap();
    }
    let _ = child.kill();
    child.wait().unwrap();
    assert!(steps > 0, "no life was long enough for a checkpoint");
    let json = run(folder, "train --resume killed --threads 1 --json").good().json();
    assert_eq!(json["steps"], 500);
    let (whole, killed) = (newest(&folder.join("whole")).unwrap(), newest(&killed).unwrap());
    assert_eq!(killed.named, whole.named, "to the bit");
    let steps: Vec<u64> = std::fs::read_to_string(folder.join("killed/log.jsonl"))
        .unwrap()
        .lines()
        .map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap())
        .collect();
    assert!(steps.is_sorted_by(|a, b| a < b) && steps.last() == Some(&500), "{steps:?}");
}

#[test]
fn signals_write_a_checkpoint_and_say_how_to_go_on() {
    for name in ["-INT", "-TERM"] {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path();
        let log = folder.join("r/log.jsonl");
        let child = start(folder, &format!("train {TINY} --minutes 5 --out r"), &log);
        wait_for(|| std::fs::metadata(&log).unwrap().len() > 0);
        signal(&child, name);
        let ran = Ran::from(child.wait_with_output().unwrap()).good();
        assert!(ran.err.contains("resume with: shenbi train --resume r\n"), "{}", ran.err);
        assert_eq!(ran.out, "", "nothing was painted");
        let checkpoint = newest(&folder.join("r")).unwrap();
        let steps = checkpoint.state.contrast_steps + checkpoint.state.gan_steps;
        assert!(steps > 0 && checkpoint.state.elapsed_seconds > 0.5);
        checkpoint::model_path(&folder.join("r")).unwrap();
        // More than it has had, much less than it was to have.
        let ran = run(folder, "train --resume r --minutes 0.05 --threads 1 --json").good();
        assert!(ran.json()["seconds"].as_f64().unwrap() >= 3.0 - 1e-6);
        assert!(ran.err.contains("resumed     r/checkpoints/"), "{}", ran.err);
    }
}

#[test]
fn two_runs_into_one_folder_are_refused() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    let child = start(folder, &format!("train {TINY} --minutes 5 --out r"), &folder.join("r/config.toml"));
    run(folder, &format!("train {TINY} --kimg 0.1 --out r")).bad(1, &["another run is writing to r", "--out"]);
    run(folder, "train --resume r").bad(1, &["another run is writing to r"]);
    signal(&child, "-TERM");
    Ran::from(child.wait_with_output().unwrap()).good();
    run(folder, &format!("train {TINY} --kimg 0.1 --out r")).bad(1, &["already holds a run", "--resume r"]);
}
