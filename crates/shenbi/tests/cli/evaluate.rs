//! `shenbi evaluate`.

use std::collections::HashMap;
use std::fs;
use std::path::Path;

use burn::tensor::Device;
use shenbi_data::{Picture, decode};
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
    run(folder.path(), "evaluate --features f.safetensors").bad(1, &["--features f.safetensors"]);
    run(folder.path(), "evaluate --metrics fid").bad(2, &["--metrics", "--features"]);
    // As pictures, against the scenes whose captions were painted.
    write_features(&folder.path().join("f.safetensors"));
    let json = run(folder.path(), "evaluate --features f.safetensors -n 6 --metrics fid,prdc --json").good().json();
    let protocol = json["rows"][0]["pictures"]["frechet"]["protocol"].as_str().unwrap();
    assert!(protocol.contains("/64x64x3/painted-of-captions/seed=1/reference=scenes-mixed:"), "{protocol}");
    run(folder.path(), "evaluate --features f.safetensors --metrics cas").bad(2, &["cas", "sentences"]);
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
    assert!(ran.err.contains("warning: Fréchet (SqueezeNet): 8 and 8 samples for 512 features"), "{}", ran.err);
    let json = ran.json();
    assert_eq!((json["model"].as_str(), json["data"].as_str()), (Some("run"), Some("data")));
    let scores = &json["rows"][0]["pictures"];
    let distance = scores["frechet"]["distance"].as_f64().unwrap();
    assert!(distance > 0.0 && scores["features"] == "SqueezeNet", "{scores}");
    let protocol = scores["frechet"]["protocol"].as_str().unwrap();
    for part in ["frechet-v1/squeezenet1_0:", "-227x227/16x16x4/generated/seed=3/reference=data:all:", "/n=8,8"] {
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
fn every_score_has_its_line_and_its_protocol() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path();
    discs(&folder.join("data"), 12);
    discs(&folder.join("made"), 9);
    write_features(&folder.join("f.safetensors"));
    let given = "--images made --data data --features f.safetensors --metrics fid,is,mmd,memorisation,prdc";
    let ran = run(folder, &format!("evaluate {given} --bootstrap 4 --sheet s.png")).good();
    for line in ["Fréchet (SqueezeNet) ", "SqueezeNet score ", "MMD (SqueezeNet) ", "nearer to the data", "recall "] {
        assert!(ran.out.contains(line), "{line}: {}", ran.out);
    }
    let of_is = ran.out.lines().find(|line| line.contains("SqueezeNet score")).unwrap();
    assert!(of_is.contains('[') && !ran.out.contains("FID") && !ran.out.contains("KID"), "{}", ran.out);
    for protocol in ["frechet-v1/", "inception-score-v1/", "mmd-v1/", "memorisation-v1/", "prdc-v1/"] {
        assert!(ran.err.contains(protocol), "{protocol}: {}", ran.err);
    }
    assert!(ran.err.contains("warning: SqueezeNet score") && folder.join("s.png").exists(), "{}", ran.err);
    // Every one of 9 pictures is one of the data: all are nearer than any is to another, but for equal discs.
    let json = run(folder, &format!("evaluate {given} --json")).good().json();
    let scores = &json["rows"][0]["pictures"];
    assert!(scores["memorisation"]["share_closer"].as_f64().unwrap() >= 0.5, "{scores}");
    assert!(scores["kid"].is_null() && scores["frechet"]["interval"].is_null(), "{scores}");
    // The Inception score looks at no data.
    let alone = run(folder, "evaluate --images made --features f.safetensors --metrics is --json").good().json();
    let mean = |json: &serde_json::Value| json["rows"][0]["pictures"]["inception_score"]["mean"].as_f64().unwrap();
    assert_eq!(mean(&alone), mean(&json));
    let pairs = run(folder, "evaluate --images made --data data --metrics pairs").good();
    assert!(pairs.out.contains("PSNR none (all equal)  SSIM 1.0000  (9 of 9 equal)"), "{}", pairs.out);

    let bad = |args: &str, code, words: &[&str]| run(folder, &format!("evaluate {args}")).bad(code, words);
    bad("--images made --data data --features f.safetensors --metrics fd", 2, &["fd", "fid", "memorisation"]);
    bad("--images made --data data --features f.safetensors --metrics intra", 2, &["classes"]);
    bad("--images made --data data --features f.safetensors --metrics cas", 2, &["--model"]);
    bad("--images made --data data --features f.safetensors --held-out test", 2, &["memorisation"]);
    fs::create_dir(folder.join("other")).unwrap();
    fs::copy(folder.join("data/1.png"), folder.join("other/alone.png")).unwrap();
    bad("--images other --data data --metrics pairs", 1, &["'alone'"]);
}

#[test]
fn references_are_kept_and_those_made_otherwise_refused() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path();
    discs(&folder.join("data"), 12);
    discs(&folder.join("made"), 9);
    write_features(&folder.join("f.safetensors"));
    let network = SqueezeNet::new(&mut Init::new(2, "features", &Device::flex()));
    let bytes = file::to_bytes(&network.to_named(), HashMap::new(), true).unwrap();
    fs::write(folder.join("g.safetensors"), bytes).unwrap();

    let kept = run(folder, "evaluate --data data --features f.safetensors --save-reference r.safetensors").good();
    assert!(kept.out.is_empty() && kept.err.contains("statistics of 12 pictures: r.safetensors"), "{}", kept.err);
    let given = "evaluate --images made --features f.safetensors --json";
    let direct = run(folder, &format!("{given} --data data --metrics fid")).good().json();
    let from_file = run(folder, &format!("{given} --reference r.safetensors")).good().json();
    let of = |json: &serde_json::Value| json["rows"][0]["pictures"]["frechet"].clone();
    assert_eq!(of(&direct), of(&from_file)); // the protocol too: the set's hash is in the file
    assert!(of(&direct)["protocol"].as_str().unwrap().contains("/reference=data:all:"), "{direct}");

    let bad = |args: &str, code, words: &[&str]| run(folder, &format!("evaluate {args}")).bad(code, words);
    let words = ["made otherwise", "network squeezenet1_0:", " against squeezenet1_0:"];
    bad("--images made --reference r.safetensors --features g.safetensors", 1, &words);
    bad("--images made --reference r.safetensors --features f.safetensors --compat pytorch-fid", 1, &["picture size"]);
    bad("--images made --reference r.safetensors --features f.safetensors --metrics kid", 2, &["kid", "--data"]);
    bad("--images made --reference f.safetensors --features f.safetensors", 1, &["--save-reference"]);
    bad("--images made --reference none --features f.safetensors", 1, &["--reference none"]);
    bad("--images made --reference r.safetensors --data data --features f.safetensors", 2, &["--data", "--reference"]);
    let whole = fs::read(folder.join("r.safetensors")).unwrap();
    fs::write(folder.join("cut"), &whole[..whole.len() / 2]).unwrap();
    bad("--images made --reference cut --features f.safetensors", 1, &["cut"]);
    let npz = concat!(env!("CARGO_MANIFEST_DIR"), "/../shenbi-metrics/tests/fixtures/reference.npz");
    bad(&format!("--images made --reference {npz} --features f.safetensors"), 1, &["16 features, SqueezeNet has 512"]);
}

#[test]
fn other_tools_choices_are_repeated() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path();
    discs(&folder.join("data"), 12);
    discs(&folder.join("made"), 9);
    write_features(&folder.join("f.safetensors"));
    let given = "evaluate --images made --data data --features f.safetensors";
    let json = run(folder, &format!("{given} --compat clean-fid --json")).good().json();
    let scores = &json["rows"][0]["pictures"];
    let protocol = scores["kid"]["protocol"].as_str().unwrap();
    assert!(protocol.contains("/own-size/") && protocol.contains("/compat=clean-fid/n=9,12/"), "{protocol}");
    assert!(protocol.ends_with("/subsets=100x9/subset-seed=numpy-1") && scores["prdc"].is_null(), "{protocol}");
    let bad = |args: &str, words: &[&str]| run(folder, &format!("{given} {args}")).bad(2, words);
    bad("--compat pytorch-fid --metrics kid", &["--compat pytorch-fid", "it has fid"]);
    run(folder, &format!("{given} --compat torch-fidelity --metrics kid")).bad(1, &["1000 pictures of each side"]);
    let ran = run(folder, &format!("{given} --compat torch-fidelity --metrics is,prdc --json")).good().json();
    let protocol = ran["rows"][0]["pictures"]["inception_score"]["protocol"].as_str().unwrap();
    assert!(protocol.ends_with("/compat=torch-fidelity/n=9/splits=9/shuffle=numpy-2020"), "{protocol}");
}

/// Discs in a folder for each colour.
fn coloured(folder: &Path, n: usize) {
    discs(folder, n);
    fs::remove_file(folder.join("metadata.jsonl")).unwrap();
    for (i, colour) in ["red", "green", "blue"].into_iter().enumerate() {
        fs::create_dir(folder.join(colour)).unwrap();
        for name in (i..n).step_by(3).map(|i| format!("{i}.png")) {
            fs::rename(folder.join(&name), folder.join(colour).join(&name)).unwrap();
        }
    }
}

#[test]
fn a_classifier_of_ones_own_makes_scores() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path();
    coloured(&folder.join("data"), 40);
    let args = "data classifier --data data --size 16 --steps 30 --out c.safetensors --json";
    let json = run(folder, args).good().json();
    assert_eq!((&json["classes"], &json["trained_on"], &json["tested_on"]), (&3.into(), &36.into(), &4.into()));
    assert_eq!(json["accuracy"], 1.0, "{json}"); // three colours are soon told apart

    let given = "evaluate --images data --data data --features c.safetensors";
    let ran = run(folder, &format!("{given} --metrics fid,is,intra --json")).good().json();
    let scores = &ran["rows"][0]["pictures"];
    assert_eq!(scores["features"], "own classifier");
    assert!(scores["inception_score"]["protocol"].as_str().unwrap().contains("classifier:"), "{scores}");
    assert_eq!(scores["intra_class"]["classes"].as_array().unwrap().len(), 3, "{scores}");
    let table = run(folder, &format!("{given} --metrics fid")).good();
    assert!(table.out.contains("Fréchet (own classifier) 0.000"), "{}", table.out);

    let small = "--size 16 --set batch=8 --set hidden=8 --set noise=8 --threads 1 --kimg 0.08";
    run(folder, &format!("train --recipe wgan-gp {small} --data data --out run")).good();
    let given = "evaluate --model run --data data --features c.safetensors -n 30";
    let ran = run(folder, &format!("{given} --metrics intra,cas --json")).good().json();
    let accuracy = ran["rows"][0]["pictures"]["classification_accuracy"]["accuracy"].as_f64().unwrap();
    assert!((0.0..=1.0).contains(&accuracy), "{ran}");

    discs(&folder.join("plain"), 9);
    let bad = |args: &str, code, words: &[&str]| run(folder, args).bad(code, words);
    bad("data classifier --data plain --out d.safetensors", 2, &["0 classes", "folder for each"]);
    bad("data classifier --data none --out d.safetensors", 1, &["--data none"]);
    bad("data classifier --data data --size 17 --out d.safetensors", 1, &["17x17"]);
    let whole = fs::read(folder.join("c.safetensors")).unwrap();
    fs::write(folder.join("cut.safetensors"), &whole[..whole.len() - 100]).unwrap();
    bad("evaluate --images data --data data --features cut.safetensors", 1, &["cut.safetensors"]);
}

#[test]
fn a_run_is_scored_while_it_trains() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path();
    discs(&folder.join("data"), 12);
    write_features(&folder.join("f.safetensors"));
    let small = "--size 16 --set batch=8 --set hidden=8 --set noise=8 --threads 1 --data data --recipe wgan-gp";
    let scored = "--eval-every 0.04 --eval-number 12 --features f.safetensors";
    let ran = run(folder, &format!("train {small} {scored} --kimg 0.08 --out run")).good();
    assert_eq!(ran.err.matches("score       frechet_squeezenet ").count(), 2, "{}", ran.err);
    assert!(ran.err.contains("the best so far: run/best.safetensors"), "{}", ran.err);
    let best =
        || -> serde_json::Value { serde_json::from_slice(&fs::read(folder.join("run/best.json")).unwrap()).unwrap() };
    let log = fs::read_to_string(folder.join("run/log.jsonl")).unwrap();
    let lines = log.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    let scores: Vec<f64> = lines.filter_map(|line| line["frechet_squeezenet"].as_f64()).collect();
    assert_eq!((scores.len(), best()["value"].as_f64()), (2, Some(scores[0].min(scores[1]))));
    run(folder, "generate --model run/best.safetensors -n 2 --out painted").good();
    // The same run without scores has the same weights.
    run(folder, &format!("train {small} --kimg 0.08 --out plain")).good();
    let weights = |run: &str| {
        let bytes = fs::read(folder.join(run).join("checkpoints/00000010/state.safetensors")).unwrap();
        file::from_bytes(&bytes).unwrap().0
    };
    assert!(weights("run") == weights("plain"));
    run(folder, &format!("train --resume run --kimg 0.12 {scored}")).good();
    assert!(best()["value"].as_f64().unwrap() <= scores[0].min(scores[1]));

    let bad = |args: &str, code, words: &[&str]| run(folder, args).bad(code, words);
    bad("train --eval-every 1", 2, &["--features"]);
    bad("train --eval-every 1 --features f.safetensors --kimg 0.1", 2, &["--eval-every", "sentences"]);
    bad(&format!("train {small} --eval-every 0 --features f.safetensors"), 2, &["--eval-every"]);
    bad(&format!("train {small} --eval-every 1 --features none --out other"), 1, &["--features none"]);
    assert!(!folder.join("other").exists());
}

#[test]
fn how_pictures_differ_and_what_captions_say() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path();
    run(folder, "data scenes --out scenes -n 12 --level one --size 32").good();
    discs(&folder.join("small"), 8);
    write_features(&folder.join("f.safetensors"));
    let given = "evaluate --images scenes --features f.safetensors --metrics lpips";
    let json = run(folder, &format!("{given} -n 8 --data scenes --json")).good().json();
    let found = &json["rows"][0]["pictures"]["lpips"];
    assert_eq!((found["name"].as_str(), &found["pairs"]), (Some("perceptual distance (SqueezeNet)"), &4.into()));
    assert!(found["mean"].as_f64().unwrap() > 0.0 && found["error"].as_f64().unwrap() > 0.0, "{found}");
    let protocol = found["protocol"].as_str().unwrap();
    for part in ["perceptual-v1/squeezenet1_0:", "/caffe/unweighted/32x32x3/images=scenes:all:", "/random-pairs/"] {
        assert!(protocol.contains(part), "{protocol}");
    }
    let table = run(folder, &format!("{given} --data scenes")).good();
    assert!(
        table.out.contains("perceptual distance (SqueezeNet) of pairs ") && !table.out.contains("LPIPS"),
        "{}",
        table.out
    );
    // Two pictures of each caption.
    let json = run(folder, "evaluate --features f.safetensors --metrics lpips -n 6 --json").good().json();
    let found = &json["rows"][0]["pictures"]["lpips"];
    let protocol = found["protocol"].as_str().unwrap();
    assert!(protocol.contains("/painted-of-captions/2-a-caption/seed=1:"), "{protocol}");
    assert!(protocol.ends_with("/pairs-within-classes/pair-seed=1/pairs=3"), "{protocol}");

    // Statistics by products of halves are others than those in f32.
    let of = "evaluate --images small --data small --features f.safetensors --metrics fid --json";
    let protocol = |args: &str| {
        let json = run(folder, &format!("{of} {args}")).good().json();
        json["rows"][0]["pictures"]["frechet"]["protocol"].as_str().unwrap().to_string()
    };
    let (plain, fast) = (protocol(""), protocol("--fast"));
    assert!(!plain.contains("+halves"), "{plain}");
    assert_eq!(fast.contains("+halves/"), shenbi_nn::kernels::splits(), "{fast}");

    let bad = |args: &str, code, words: &[&str]| run(folder, &format!("evaluate {args}")).bad(code, words);
    bad("--images scenes --metrics lpips", 2, &["--features", "vgg16", "alexnet"]);
    bad("--images small --features f.safetensors --metrics lpips", 1, &["16x16", "32x32"]);
    bad(
        "--images scenes --features f.safetensors --metrics lpips --lpips f.safetensors",
        1,
        &["SqueezeNet 1.0", "squeezenet1_1"],
    );
    bad(
        "--images scenes --data scenes --features f.safetensors --lpips f.safetensors",
        2,
        &["--lpips", "--metrics lpips"],
    );
    bad("--images scenes --metrics clip-score", 2, &["clip-score", "--clip"]);
    bad("--images scenes --clip nowhere", 1, &["--clip nowhere", "Hugging Face"]);
    let encoder = concat!(env!("CARGO_MANIFEST_DIR"), "/../shenbi-models/tests/fixtures/encoders/clip");
    bad(&format!("--images scenes --clip {encoder}"), 1, &["no picture tower", "whole CLIP"]);
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
    // Other sizes than the first picture's are said, and brought to it.
    fs::create_dir(folder.join("mixed")).unwrap();
    for i in 0..7 {
        fs::copy(folder.join(format!("data/{i}.png")), folder.join(format!("mixed/{i}.png"))).unwrap();
    }
    let large = Picture { width: 32, height: 32, channels: 3, pixels: vec![90; 32 * 32 * 3] };
    decode::write_png(folder.join("mixed/large.png"), &large).unwrap();
    let mixed = run(folder, "evaluate --images mixed --data data --features f.safetensors --metrics fid").good();
    assert!(mixed.err.contains("several sizes (16x16, 32x32, ...)"), "{}", mixed.err);
    bad("--images data --data data --split test --features f.safetensors", 1, &["split `test`"]);
    bad("--images data --model run --data data", 2, &["--images", "--model"]);
    let other = concat!(env!("CARGO_MANIFEST_DIR"), "/../../models/judge-scenes-32.safetensors");
    let words = ["no known network", "squeezenet1_0"];
    bad(&format!("--images data --data data --features {other}"), 1, &words);
}

#[test]
fn prompts_in_other_words_are_to_find_the_captions_they_stand_for() {
    let parent = TempDir::new().unwrap();
    let folder = parent.path();
    run(folder, "data scenes --out drawn -n 8 --level one --size 64").good();
    fs::write(folder.join("p.csv"), "caption,prompt\na red circle,a scarlet disc\na blue star,an azure pentagram\n")
        .unwrap();
    let given = "evaluate --data drawn --encoder e.safetensors --encoder-steps 2";
    let json = run(folder, &format!("{given} --prompts p.csv -n 7 --sheet s.png --json")).good().json();
    let rows = json["rows"].as_array().unwrap();
    let names: Vec<_> = rows.iter().map(|row| row["what"].as_str().unwrap()).collect();
    assert_eq!(names, ["painted from prompts", "painted from captions"]);
    for (row, what) in rows.iter().zip(["prompts", "captions"]) {
        let score = &row["r_precision"];
        assert_eq!((&score["n"], &score["pool"]), (&6.into(), &2.into()), "each pair three times: {score}");
        assert!(score["protocol"].as_str().unwrap().ends_with(&format!("/{what}-of=p.csv")), "{score}");
    }
    assert!(folder.join("s.png").exists());
    let bad = |text: &str, words: &[&str]| {
        fs::write(folder.join("p.csv"), text).unwrap();
        run(folder, &format!("{given} --prompts p.csv")).bad(1, words);
    };
    bad("caption,words\na,b\n", &["p.csv", "prompt", "words"]);
    bad("caption,prompt\na red circle,\nb,c\n", &["p.csv", "1 rows have no prompt"]);
    bad("", &["p.csv"]);
    run(folder, &format!("{given} --prompts nowhere.csv")).bad(1, &["nowhere.csv"]);
}
