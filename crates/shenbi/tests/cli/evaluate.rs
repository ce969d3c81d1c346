//! `shenbi evaluate`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use burn::tensor::Device;
use shenbi_models::backbone::SqueezeNet;
use shenbi_nn::{Init, file};
use tempfile::TempDir;

use crate::support::{discs, run};

#[test]
fn scores_the_built_in_model() {
    let folder = TempDir::new().unwrap();
    let json = run(folder.path(), "evaluate -n 6 --level one --json --sheet s.png").good().json();
    assert_eq!((json["model"].as_str(), json["rows"].as_array().map(Vec::len)), (Some("builtin"), Some(2)));
    let report = &json["rows"][1]["attributes"];
    assert!((0.0..=1.0).contains(&report["shape"].as_f64().unwrap()), "{report}");
    assert!(report["protocol"].as_str().unwrap().contains("held out/seed=1"), "{report}");
    assert!(folder.path().join("s.png").exists());
    run(folder.path(), "evaluate --level many").bad(2, &["many", "one, two or mixed"]);
    run(folder.path(), "evaluate --data nowhere").bad(1, &["nowhere"]);
    run(folder.path(), "evaluate --features f.safetensors").bad(2, &["--features", "--images"]);
}

/// A feature network with random weights, under torchvision's names.
fn write_features(path: &Path) {
    let network = SqueezeNet::new(&mut Init::new(1, "features", &Device::flex()));
    fs::write(path, file::to_bytes(&network.to_named(), HashMap::new(), true).unwrap()).unwrap();
}

#[test]
fn compares_pictures_of_a_model_and_of_folders() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path();
    discs(&folder.join("data"), 9);
    write_features(&folder.join("f.safetensors"));
    let small = "--size 16 --set batch=8 --set hidden=8 --set noise=8 --threads 1 --kimg 0.08";
    run(folder, &format!("train --recipe wgan-gp {small} --data data --out run")).good();

    let given = "--features f.safetensors --data data";
    let ran = run(folder, &format!("evaluate --model run {given} -n 8 --json --sheet s.png --seed 3")).good();
    assert!(ran.err.contains("warning: Fréchet (SqueezeNet): 8 and 8 pictures for 512 features"), "{}", ran.err);
    let json = ran.json();
    assert_eq!((json["model"].as_str(), json["data"].as_str()), (Some("run"), Some("data")));
    let scores = &json["rows"][0]["pictures"];
    let distance = scores["frechet"]["distance"].as_f64().unwrap();
    assert!(distance > 0.0 && scores["features"] == "SqueezeNet", "{scores}");
    let protocol = scores["frechet"]["protocol"].as_str().unwrap();
    for part in ["frechet-v1/squeezenet1_0:", "-227x227/16x16x4/generated/seed=3/reference=data:all/n=8,8"] {
        assert!(protocol.contains(part), "{protocol}");
    }
    assert!(scores["kid"]["protocol"].as_str().unwrap().ends_with("/subsets=100x4/subset-seed=3"), "{scores}");
    for share in ["precision", "recall", "coverage"] {
        assert!((0.0..=1.0).contains(&scores["prdc"][share].as_f64().unwrap()), "{scores}");
    }
    assert!(folder.join("s.png").exists());

    let same = run(folder, &format!("evaluate --images data {given} --json")).good().json();
    let scores = &same["rows"][0]["pictures"];
    let zero = scores["frechet"]["distance"].as_f64().unwrap();
    assert!(zero < 1e-6 * distance && same["model"].is_null(), "{same}");
    assert_eq!((&scores["prdc"]["precision"], &scores["prdc"]["coverage"]), (&1.0.into(), &1.0.into()));
    let table = run(folder, &format!("evaluate --images data {given}")).good();
    assert!(table.out.contains("Fréchet (SqueezeNet) 0.000") && table.out.contains("recall 1.000"), "{}", table.out);
    assert!(!table.out.contains("FID") && table.err.contains("prdc-v1/"), "{}", table.err);
}

#[test]
fn what_cannot_be_compared_is_refused() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path();
    discs(&folder.join("data"), 9);
    discs(&folder.join("few"), 4);
    fs::create_dir(folder.join("empty")).unwrap();
    write_features(&folder.join("f.safetensors"));
    let bad = |args: &str, code, words: &[&str]| run(folder, &format!("evaluate {args}")).bad(code, words);
    bad("--images data --data data", 2, &["--features FILE", "squeezenet1_0", "docs/squeezenet1_0.py"]);
    bad("--images data --features f.safetensors", 2, &["--data my-pictures"]);
    bad("--images data --data data --features g.safetensors", 1, &["g.safetensors", "squeezenet1_0"]);
    bad("--images data --data data --features f.safetensors -n 5", 2, &["-n", "at least 6"]);
    bad("--images none --data data --features f.safetensors", 1, &["--images none"]);
    bad("--images data --data none --features f.safetensors", 1, &["--data none"]);
    bad("--images empty --data data --features f.safetensors", 1, &["empty", "no pictures"]);
    bad("--images data --data few --features f.safetensors", 1, &["data: 4 readable pictures", "at least 6"]);
    bad("--images data --data data --split test --features f.safetensors", 1, &["split `test`"]);
    bad("--images data --model run --data data", 2, &["--images", "--model"]);
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/judge-scenes-32.safetensors");
    let words = ["no known network", "squeezenet1_0"];
    bad(&format!("--images data --data data --features {other}"), 1, &words);
}
