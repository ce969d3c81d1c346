//! What the program says of the machine, and what it makes of wishes about it.

use std::process::Output;

use crate::support::{TINY, command, run};

fn output(args: &str, isa: &str) -> Output {
    let parent = tempfile::tempdir().unwrap();
    command(parent.path(), args).env("SHENBI_ISA", isa).output().unwrap()
}

#[test]
fn the_version_says_more_when_asked() {
    let parent = tempfile::tempdir().unwrap();
    let short = run(parent.path(), "--version").good();
    assert_eq!(short.out.trim(), concat!("shenbi ", env!("CARGO_PKG_VERSION")));
    let long = String::from_utf8(output("--version --verbose --threads 1", "portable").stdout).unwrap();
    assert!(long.starts_with(&short.out), "{long}");
    assert!(
        long.contains("features:") && long.contains("kernels: portable (slow") && long.contains("1 threads"),
        "{long}"
    );
    run(parent.path(), "--verbose").bad(2, &["--version"]);
}

#[test]
fn an_unknown_instruction_set_is_refused() {
    let refused = output("generate circle", "sse9");
    let text = String::from_utf8(refused.stderr).unwrap();
    assert_eq!(refused.status.code(), Some(2), "{text}");
    assert!(text.contains("SHENBI_ISA") && text.contains("sse9") && text.contains("portable"), "{text}");
}

#[test]
fn training_says_its_path_and_takes_a_precision() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    let args = format!("train {TINY} --kimg 0.1 --precision bf16 --out r");
    let ran = command(folder, &args).env("SHENBI_ISA", "portable").output().unwrap();
    let text = String::from_utf8(ran.stderr).unwrap();
    assert!(ran.status.success() && text.contains("kernels: portable (slow"), "{text}");
    let config = std::fs::read_to_string(folder.join("r/config.toml")).unwrap();
    assert!(config.contains("precision = \"bf16\""), "{config}");
    run(folder, "train --precision f16 --dry-run").bad(2, &["--precision", "bf16"]);
}
