//! Text runs through real checkpoints on disk: every recipe trains, stopping and resuming changes nothing, and odd texts
//! are told.
#![allow(clippy::unwrap_used)]

use std::path::Path;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use shenbi_models::model::Model;
use shenbi_models::text::tokenizer::TextTokenizer;
use shenbi_train::config::{Recipe, TextRecipe};
use shenbi_train::run_folder::RunFolder;
use shenbi_train::session::{Event, Outcome, TrainError};
use shenbi_train::text::session::{TextPlan, run};
use shenbi_train::text::{START, TextData};
use tempfile::tempdir;

/// 10 steps of 4 texts: of the GANs 4 of likelihood, 2 of the discriminator alone, 4 of the game.
const TINY: &str = "batch=4 kimg=0.04 precision=f32 vocabulary=40 length=8 embedding=6 hidden=8 text_width=8 layers=1 \
    heads=2 head=4 discriminator_embedding=4 rollouts=2 discriminator_steps=2 views=2 held_out=0.2 sample_seconds=1e9 \
    checkpoint_seconds=1e9";
const GAMES: &str = "pretrain=0.4 warmup=2 filters=[[1,3],[2,3],[20,5]]";

fn recipe(name: &str, data: &Path) -> TextRecipe {
    let mut recipe = Recipe::named(name).unwrap();
    recipe.set("data", data.to_str().unwrap().into()).unwrap();
    let games = if name.starts_with("mle") { "" } else { GAMES };
    for setting in TINY.split_whitespace().chain(games.split_whitespace()) {
        recipe.set_text(setting).unwrap();
    }
    let Recipe::Text(recipe) = recipe else { panic!("{name} learns texts") };
    recipe
}

fn lines() -> String {
    let (who, does) = (["a dog", "the cat", "one bird"], ["runs home", "sleeps", "eats the fish", "sings"]);
    (0..24).map(|i| format!("{} {}\n", who[i % 3], does[i % 4])).collect()
}

fn train(recipe: &TextRecipe, path: &Path, stop_at: Option<u64>) -> Result<Outcome, TrainError> {
    train_and_hear(recipe, path, stop_at).map(|(outcome, _)| outcome)
}

/// Also what was warned of.
fn train_and_hear(
    recipe: &TextRecipe,
    path: &Path,
    stop_at: Option<u64>,
) -> Result<(Outcome, Vec<String>), TrainError> {
    let mut warnings = Vec::new();
    let folder = if path.exists() {
        RunFolder::open(path)?
    } else {
        RunFolder::create(path, &Recipe::Text(recipe.clone()).to_toml())?
    };
    let resume = folder.latest_checkpoint()?.found;
    let tokenizer = resume.as_ref().and_then(|(_, checkpoint)| checkpoint.tokenizer_json.clone());
    let data = TextData::open(recipe, tokenizer.as_deref())?;
    let devices = Device::flex().into();
    let stop = AtomicBool::new(false);
    let plan = TextPlan { recipe: recipe.clone(), data, folder, resume, init_from: None, devices };
    let outcome = run(plan, &stop, &mut |event| match event {
        Event::Step { images, .. } if stop_at == Some(images / recipe.run.batch as u64) => {
            stop.store(true, Ordering::Relaxed);
        }
        Event::Warning(text) => warnings.push(text),
        _ => {}
    })?;
    Ok((outcome, warnings))
}

#[test]
fn every_recipe_resumes_to_the_bit() {
    let parent = tempdir().unwrap();
    let data = parent.path().join("lines.txt");
    std::fs::write(&data, lines()).unwrap();
    for name in ["mle-lstm", "mle-transformer", "seqgan", "relgan", "gan-text"] {
        let recipe = recipe(name, &data);
        let state = |path: &Path| {
            let (_, checkpoint) = RunFolder::open(path).unwrap().latest_checkpoint().unwrap().found.unwrap();
            (checkpoint.named, checkpoint.state.contrast_steps, checkpoint.state.gan_steps, checkpoint.tokenizer_json)
        };
        let whole = parent.path().join(format!("{name}-whole"));
        let outcome = train(&recipe, &whole, None).unwrap();
        assert!(!outcome.stopped && outcome.steps == 10, "{name}: {outcome:?}");
        let expected = state(&whole);
        assert_eq!((expected.1, expected.2), if name.starts_with("mle") { (10, 0) } else { (4, 6) }, "{name}");
        let sample = std::fs::read_to_string(outcome.last_sample.unwrap()).unwrap();
        assert_eq!(sample.lines().count(), 40, "{name}: {sample}");
        // The weights; what stands in a file's head comes in any order.
        let start = |path: &Path| {
            let bytes = std::fs::read(path.join(START)).ok()?;
            let head = u64::from_le_bytes(bytes[..8].try_into().unwrap()) as usize;
            Some(bytes[8 + head..].to_vec())
        };
        assert_eq!(start(&whole).is_some(), !name.starts_with("mle"), "{name}");
        for stop in [3, 4, 5, 8] {
            let path = parent.path().join(format!("{name}-{stop}"));
            assert!(train(&recipe, &path, Some(stop)).unwrap().stopped, "{name}");
            assert_eq!(train(&recipe, &path, None).unwrap().steps, 10, "{name}");
            assert_eq!(start(&path), start(&whole), "{name}, stopped at {stop}");
            let found = state(&path);
            for (key, values) in &expected.0 {
                assert_eq!(values, &found.0[key], "{name}, stopped at {stop}: {key}");
            }
            assert_eq!((found.1, found.2, &found.3), (expected.1, expected.2, &expected.3), "{name}");
        }
        // The model file writes what the model writes, up to the rounding of its weights.
        let Model::Text(model) = Model::from_bytes(&outcome.model.to_bytes(false).unwrap(), &Device::flex()).unwrap()
        else {
            panic!("{name} writes texts")
        };
        let Model::Text(original) = outcome.model else { panic!("{name} writes texts") };
        assert_eq!(model.write(5, 1.0, || 0.3).ids, original.write(5, 1.0, || 0.3).ids, "{name}");
        assert!(Model::from_bytes(&[0; 9], &Device::flex()).is_err());
    }
}

#[test]
fn likelihood_learns() {
    let parent = tempdir().unwrap();
    let data = parent.path().join("lines.txt");
    std::fs::write(&data, lines()).unwrap();
    for name in ["mle-lstm", "mle-transformer"] {
        let mut recipe = recipe(name, &data);
        (recipe.run.kimg, recipe.run.batch, recipe.rate) = (4.0, 16, 1e-2);
        let path = parent.path().join(name);
        let outcome = train(&recipe, &path, None).unwrap();
        let log = std::fs::read_to_string(path.join("log.jsonl")).unwrap();
        let last: serde_json::Value = serde_json::from_str(log.lines().last().unwrap()).unwrap();
        // 12 sentences, equally likely: ln 12 over 4.25 tokens (the end is one) is 0.58.
        let held_out = last["held_out"].as_f64().unwrap();
        assert!(held_out < 0.8, "{name}: {last}");
        let Model::Text(model) = outcome.model else { panic!("{name} writes texts") };
        let texts = model.decode(&model.write(5, 0.0, || 0.5));
        assert!(lines().lines().any(|line| line == texts[0]), "{name}: {texts:?}");
        // A prompt is gone on with.
        let prompt = model.tokenizer.encode("the cat").unwrap();
        let mut told = 0;
        let text = model.continue_prompt(&prompt, 0.0, || 0.5, |_| told += 1);
        let text = model.tokenizer.decode(&text);
        assert!(lines().lines().any(|line| line == text) && told > 0, "{name}: {text}");
    }
}

#[test]
fn the_model_before_texts_are_learnt_by_heart_is_kept() {
    let parent = tempdir().unwrap();
    let data = parent.path().join("lines.txt");
    // Nothing to learn but the lines themselves.
    let word = |i: usize| ["sun", "sea", "owl", "ash", "ice", "elm", "fog"][i * i * 31 / 7 % 7];
    let lines: Vec<String> = (0..40).map(|i| (0..6).map(|t| word(6 * i + t)).collect::<Vec<_>>().join(" ")).collect();
    std::fs::write(&data, lines.join("\n")).unwrap();
    let mut recipe = recipe("mle-lstm", &data);
    (recipe.run.kimg, recipe.run.batch, recipe.rate, recipe.hidden) = (4.0, 16, 2e-2, 64);
    recipe.run.sample_seconds = 0.0;
    let path = parent.path().join("run");
    let (_, warnings) = train_and_hear(&recipe, &path, None).unwrap();
    let best: serde_json::Value = serde_json::from_slice(&std::fs::read(path.join("best.json")).unwrap()).unwrap();
    let log = std::fs::read_to_string(path.join("log.jsonl")).unwrap();
    let values =
        log.lines().filter_map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap()["held_out"].as_f64());
    let values: Vec<f64> = values.collect();
    let least = values.iter().copied().fold(f64::INFINITY, f64::min);
    assert!((best["value"].as_f64().unwrap() - least).abs() < 1e-6, "{best}, {values:?}");
    assert!(values.last().unwrap() > &(least + 0.1), "{values:?}");
    let said = warnings.iter().find(|text| text.contains("by heart")).unwrap();
    assert!(said.contains("best.safetensors") && said.contains(&format!("after {} texts", best["images"])), "{said}");
    assert!(Model::from_bytes(&std::fs::read(path.join("best.safetensors")).unwrap(), &Device::flex()).is_ok());
    // A game is after something else; where it begins is said.
    let mut game = self::recipe("seqgan", &data);
    (game.run.batch, game.run.kimg, game.run.sample_seconds) = (16, 4.0, 0.0);
    (game.rate, game.hidden, game.pretrain, game.warmup) = (2e-2, 64, 0.98, 1);
    let (played, warnings) = train_and_hear(&game, &parent.path().join("game"), None).unwrap();
    assert!(!played.run.join("best.safetensors").exists());
    assert!(warnings.iter().any(|text| text.contains("--set pretrain=0.")), "{warnings:?}");
}

#[test]
fn odd_texts_are_told() {
    let parent = tempdir().unwrap();
    let data = parent.path().join("lines.txt");
    let open = |content: &str, settings: &[&str]| {
        std::fs::write(&data, content).unwrap();
        let mut recipe = Recipe::Text(recipe("mle-lstm", &data));
        settings.iter().for_each(|setting| recipe.set_text(setting).unwrap());
        let Recipe::Text(recipe) = recipe else { panic!() };
        TextData::open(&recipe, None).map_err(|error| error.to_string())
    };
    let one = open("only this\n\n", &[]).unwrap();
    assert_eq!((one.train.rows(), one.test.rows(), one.summary.empty), (1, 0, 1));
    assert!(one.summary.warnings.iter().any(|warning| warning.contains("one text only")));
    assert!(one.summary.warnings.iter().any(|warning| warning.contains("vocabulary")), "{:?}", one.summary.warnings);
    // A batch of more texts than there are.
    assert_eq!(one.batch(1, 0, 5).rows(), 5);
    let long = "a b c d e f g h i j\nshort one\n";
    let cut = open(long, &[]).unwrap();
    assert_eq!((cut.summary.cut, cut.summary.skipped, cut.train.length), (1, 0, 8));
    let skipped = open(long, &["long=skip"]).unwrap();
    assert_eq!((skipped.summary.cut, skipped.summary.skipped, skipped.train.rows()), (0, 1, 1));
    let none = open("a b c d e f g h i j\n", &["long=skip"]).unwrap_err();
    assert!(none.contains("all 1 texts are longer than 8 tokens") && none.contains("lines.txt"), "{none}");
    assert!(open("", &[]).unwrap_err().contains("empty file"));
    // Every text comes once in each round.
    let data = open(&lines(), &["held_out=0"]).unwrap();
    let mut seen: Vec<Vec<u32>> =
        (0..6).flat_map(|i| data.batch(1, i * 4, 4).iter().map(<[u32]>::to_vec).collect::<Vec<_>>()).collect();
    seen.iter_mut().for_each(|row| row.resize(data.train.length, 0));
    let mut all: Vec<Vec<u32>> = data.train.iter().map(<[u32]>::to_vec).collect();
    seen.sort();
    all.sort();
    assert_eq!(seen, all);
}

#[test]
fn poems_and_columns() {
    let shared = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data");
    if !shared.is_dir() {
        println!("skipped: {} is not there", shared.display());
        return;
    }
    let mut poems = recipe("mle-lstm", &shared.join("text/chinese_poems.txt"));
    (poems.unit, poems.vocabulary) = (shenbi_models::text::tokenizer::Unit::Characters, 5000);
    poems.length = 30;
    let data = TextData::open(&poems, None).unwrap();
    assert!(matches!(data.tokenizer, TextTokenizer::Characters { spaced: true, .. }));
    assert!(data.train.rows() > 13_000 && data.summary.unknown < 0.02, "{}", data.summary);
    let text = data.tokenizer.decode(data.train.iter().next().unwrap());
    assert!(!text.contains(' ') && text.chars().count() > 8, "{text}");
    let mut jokes = recipe("mle-lstm", &shared.join("reddit/cleanjokes.csv"));
    (jokes.unit, jokes.vocabulary) = (shenbi_models::text::tokenizer::Unit::Bytes, 1000);
    assert!(TextData::open(&jokes, None).unwrap_err().to_string().contains("--column"));
    jokes.columns = vec!["title".into(), "selftext".into()];
    let data = TextData::open(&jokes, None).unwrap();
    assert!(data.train.rows() + data.test.rows() > 500, "{}", data.summary);
    let mut oracle = recipe("mle-lstm", Path::new("x"));
    oracle.run.data = format!("oracle:{}", shared.join("weights/seqgan_oracle_lstm.safetensors").display());
    let data = TextData::open(&oracle, None).unwrap();
    assert_eq!((data.train.rows(), data.train.length, data.ends), (10_000, 20, false));
}
