use std::fs;

use shenbi_train::config::Recipe;

use crate::support::{TINY, discs, picture, run, run_with, trained};

#[test]
fn scenes_to_a_run_folder_to_a_picture() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    let ran = run(folder, &format!("train {TINY} --kimg 0.2 --set sample_seconds=0.05")).good();
    let run_folder = folder.join("runs/00001-brush-scenes");
    assert_eq!(ran.paths(folder), [run_folder.join("painted.png")]);
    let painted = picture(&run_folder.join("painted.png"));
    assert!(painted.width > 3 * 128 && painted.height > 2 * 128, "six labelled pictures");
    assert!(ran.err.contains("built-in scenes (RGB), level one"), "{}", ran.err);
    assert!(ran.err.contains("next:\n  shenbi generate") && ran.err.contains("img/s"), "{}", ran.err);
    for file in ["config.toml", "log.jsonl", "checkpoints/00000025/model.safetensors", "samples/00000200.png"] {
        assert!(run_folder.join(file).is_file(), "{file}");
    }
    let log = fs::read_to_string(run_folder.join("log.jsonl")).unwrap();
    let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
    assert_eq!((last["step"].as_u64(), last["phase"].as_str()), (Some(25), Some("gan")));
    assert!(last["d"].is_f64() && last["g"].is_f64() && last["seconds"].is_f64(), "{last}");

    // The command that the program proposes; its picture is the one in the painted sheet's corner.
    let prompt = "a green star on a purple background";
    let ran = run_with(folder, "generate --model runs/00001-brush-scenes --out pictures", &[prompt]).good();
    let [path] = ran.paths(folder).try_into().unwrap();
    assert_eq!(path, folder.join("pictures/a-green-star-on-a-purple-background-s1.png"));
    let one = picture(&path);
    assert_eq!((one.width, one.height, one.channels), (16, 16, 3));

    let again = run(folder, &format!("train {TINY} --kimg 0.1 --json")).good();
    let json = again.json();
    assert_eq!(json["run"], "runs/00002-brush-scenes");
    assert_eq!((json["images"].as_u64(), json["stopped"].as_bool()), (Some(104), Some(false)));
    assert_eq!(json["prompts"].as_array().unwrap().len(), 6);
}

#[test]
fn transparent_pictures_train_and_come_out_transparent() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    discs(&folder.join("my discs"), 30);
    fs::write(folder.join("my discs/7.png"), "no picture").unwrap();
    let args = format!("train {TINY} --kimg 0.4 --caption-column text --caption-column text_zh --data");
    let ran = run_with(folder, &args, &["my discs"]).good();
    assert!(ran.err.contains("30 pictures (RGBA) with 60 captions, from metadata.jsonl"), "{}", ran.err);
    assert!(ran.err.contains("warning: 1 picture skipped, unreadable") && ran.err.contains("7.png"), "{}", ran.err);
    let run_folder = folder.join("runs/00001-brush-my-discs");
    assert_eq!(ran.paths(folder), [run_folder.join("painted.png")]);
    let config = fs::read_to_string(run_folder.join("config.toml")).unwrap();
    let Recipe::Brush(recipe) = Recipe::from_toml(&config).unwrap() else { panic!("{config}") };
    assert!(recipe.sentences.augment && recipe.run.channels == 4, "{config}");
    let data = folder.join("my discs").canonicalize().unwrap();
    assert_eq!(recipe.run.data, data.to_str().unwrap(), "found from anywhere");

    let ran = run_with(folder, "generate 红色的圆盘 --model runs/00001-brush-my-discs", &["a blue disc"]).good();
    let [red, _, sheet] = ran.paths(folder).try_into().unwrap();
    assert_eq!(red, folder.join("painted/红色的圆盘-s1.png"));
    let red = picture(&red);
    assert_eq!(red.channels, 4);
    assert!(red.pixels.chunks(4).any(|pixel| pixel[3] < 255));
    assert_eq!(picture(&sheet).channels, 3);

    let kept = run_with(folder, &format!("train {TINY} --dry-run --set augment=false --json --data"), &["my discs"]);
    assert_eq!(kept.good().json()["settings"]["augment"], false, "what a user says counts");
}

#[test]
fn a_dry_run_tells_and_leaves_nothing() {
    let parent = tempfile::tempdir().unwrap();
    let ran = run(parent.path(), &format!("train {TINY} --level two --seed 9 --dry-run")).good();
    for words in ["level = \"two\"", "seed = 9", "# generator ", "# discriminator ", "# sentences "] {
        assert!(ran.out.contains(words), "{}", ran.out);
    }
    // What it prints is a config file.
    fs::write(parent.path().join("again.toml"), &ran.out).unwrap();
    let again = run(parent.path(), "train --config again.toml --threads 1 --dry-run --json").good().json();
    assert_eq!((again["settings"]["level"].as_str(), again["settings"]["seed"].as_u64()), (Some("two"), Some(9)));
    assert!(again["parameters"]["generator"].as_u64().unwrap() > 1000);
    assert!(again["data"]["pictures"].is_null());
    assert!(!parent.path().join("runs").exists());
}

#[test]
fn a_finished_run_can_be_lengthened_and_nothing_else() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    run(folder, &format!("train {TINY} --kimg 0.1 --out r")).good();
    let ran = run(folder, "train --resume r --threads 1").good();
    assert!(ran.err.contains("nothing was trained"), "{}", ran.err);
    let json = run(folder, "train --resume r --kimg 0.2 --threads 1 --json").good().json();
    assert_eq!((json["images"].as_u64(), json["steps"].as_u64()), (Some(200), Some(25)));
    assert!(fs::read_to_string(folder.join("r/config.toml")).unwrap().contains("kimg = 0.2"));
    let before = fs::read(folder.join("r/config.toml")).unwrap();
    run(folder, "train --resume r --minutes 0").bad(2, &["--minutes or --kimg"]);
    run(folder, "train --resume r --kimg -1").bad(2, &["--kimg"]);
    assert_eq!(fs::read(folder.join("r/config.toml")).unwrap(), before);
    for flag in ["--level two", "--set batch=4", "--seed 2", "--out s", "--size 32"] {
        let name = flag.split(' ').next().unwrap();
        run(folder, &format!("train --resume r {flag}")).bad(2, &[name, "--resume", "config.toml"]);
    }
}

#[test]
fn the_same_seed_is_the_same_run() {
    let parent = tempfile::tempdir().unwrap();
    run(parent.path(), &format!("train {TINY} --kimg 0.2 --out again")).good();
    let weights =
        |run: &std::path::Path| shenbi_train::checkpoint::read(&run.join("checkpoints/00000025")).unwrap().named;
    assert_eq!(weights(&parent.path().join("again")), weights(trained()));
}

#[test]
fn a_pretrained_text_encoder_reads_captions_and_prompts() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    let fixtures = std::path::Path::new(env!("CARGO_MANIFEST_DIR")).join("../shenbi-models/tests/fixtures/encoders");
    let copy = |family: &str, name: &str| {
        fs::create_dir_all(folder.join(name)).unwrap();
        for entry in fs::read_dir(fixtures.join(family)).unwrap() {
            let entry = entry.unwrap();
            fs::copy(entry.path(), folder.join(name).join(entry.file_name())).unwrap();
        }
    };
    copy("bert", "words");
    copy("roberta", "others");
    let ran = run(folder, &format!("train {TINY} --kimg 0.2 --text-encoder words")).good();
    assert!(ran.err.contains("captions    read by "), "{}", ran.err);
    let paint = |args: &str| {
        run_with(folder, &format!("generate --model runs/00001-brush-scenes {args} --out"), &["a.png", "a red star"])
    };
    paint("").good();
    let first = fs::read(folder.join("a.png")).unwrap();
    // The encoder went elsewhere.
    fs::rename(folder.join("words"), folder.join("elsewhere")).unwrap();
    paint("").bad(1, &["--text-encoder", "words"]);
    paint("--text-encoder elsewhere").good();
    assert_eq!(fs::read(folder.join("a.png")).unwrap(), first);
    paint("--text-encoder others").bad(1, &["not the text encoder", "fingerprint"]);
    run_with(folder, "generate --text-encoder others", &["a red star"]).bad(2, &["of its own"]);
    run(folder, &format!("train {TINY} --kimg 0.2 --text-encoder nowhere")).bad(2, &["--text-encoder nowhere"]);

    // Its last layer may learn too, and is in the model then.
    let tuned = |args: &str| run(folder, &format!("train {TINY} --kimg 0.1 --text-encoder others {args}"));
    tuned("--tune-text layers=1 --out tuned").good();
    run_with(folder, "generate --model tuned --out t.png", &["a red star"]).good();
    run(folder, "train --resume tuned --kimg 0.12").good();
    tuned("--tune-text layers=7").bad(2, &["has 2 layers"]);
    tuned("--tune-text two").bad(2, &["layers=2"]);
    run(folder, &format!("train {TINY} --kimg 0.1 --tune-text layers=1")).bad(2, &["--text-encoder"]);
    run(folder, &format!("train {TINY} --kimg 0.1 --set tune_layers=1")).bad(2, &["tune_layers", "--text-encoder"]);
    // By name only where the program can fetch.
    let by_name = |name: &str| run(folder, &format!("train {TINY} --kimg 0.1 --text-encoder {name}"));
    by_name("hf:nobody").bad(2, &["hf:org/name"]);
    if cfg!(not(feature = "hub")) {
        by_name("hf:google-bert/bert-base-chinese")
            .bad(2, &["feature hub", "huggingface.co/google-bert/bert-base-chinese"]);
    }
    run(folder, &format!("train {TINY} --kimg 0.1 --clip others")).bad(2, &["clip", "others"]);
}
