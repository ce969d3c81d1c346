//! Whole sessions through real checkpoints on disk: stopping and resuming changes nothing, and a lost run says so.
#![allow(clippy::unwrap_used)]

use std::collections::HashMap;
use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use burn::tensor::Device;
use shenbi_data::Source;
use shenbi_data::scenes::{Level, Scenes, ScenesOptions, Split};
use shenbi_models::backbone::SqueezeNet;
use shenbi_models::encoder::pretrained::Pretrained;
use shenbi_models::model::Model;
use shenbi_models::text_to_image::painter::Painter;
use shenbi_nn::Init;
use shenbi_nn::file::to_bytes;
use shenbi_nn::weights::{self, values};
use shenbi_train::backbone;
use shenbi_train::config::Recipe;
use shenbi_train::image::ImageTrainer;
use shenbi_train::run_folder::RunFolder;
use shenbi_train::session::{self, Event, Outcome, Plan, TrainError};
use tempfile::tempdir;

/// 20 steps: 6 of contrast, 14 of the GAN.
fn tiny() -> Recipe {
    let mut recipe = Recipe::default();
    let settings = "height=16 width=16 batch=8 kimg=0.16 pretrain=0.3 generator_width=8 discriminator_width=8 features=16 \
        noise=4 sentence=16 text_width=16 text_layers=1 vocabulary=300 max_tokens=16 warmup=4 penalty_every=4 augment=true \
        sample_seconds=1e9 checkpoint_seconds=1e9";
    for setting in settings.split_whitespace() {
        recipe.set_text(setting).unwrap();
    }
    recipe
}

fn plan(recipe: &Recipe, path: &Path) -> Plan {
    let run = recipe.run();
    let size = [run.height, run.width];
    let options = ScenesOptions { size, level: Level::One, seed: run.seed, split: Split::Train };
    let source: Arc<dyn Source> = Arc::new(Scenes::new(options).unwrap());
    let folder = if path.exists() {
        RunFolder::open(path).unwrap()
    } else {
        RunFolder::create(path, &recipe.to_toml()).unwrap()
    };
    let resume = folder.latest_checkpoint().unwrap().found;
    let prompts = vec!["a red circle on a blue background".to_string(), "红色的圆形".to_string()];
    Plan {
        recipe: recipe.clone(),
        source,
        prompts,
        folder,
        resume,
        init_from: None,
        devices: Device::flex().into(),
        loader_threads: 1,
        scoring: None,
    }
}

/// The same with other settings.
fn with(mut recipe: Recipe, settings: &str) -> Recipe {
    for setting in settings.split_whitespace() {
        match setting.strip_prefix("recipe=") {
            Some(name) => recipe.run_mut().recipe = name.to_string(),
            None => recipe.set_text(setting).unwrap(),
        }
    }
    recipe
}

/// Runs until the step `stop_at`, or to the end.
fn train(recipe: &Recipe, path: &Path, stop_at: Option<u64>) -> Result<Outcome, TrainError> {
    let stop = AtomicBool::new(false);
    session::run(plan(recipe, path), &stop, &mut |event| {
        if let Event::Step { images, .. } = event
            && stop_at == Some(images / recipe.run().batch as u64)
        {
            stop.store(true, Ordering::Relaxed);
        }
    })
}

/// Of every weight and moment in the newest checkpoint, and of the counters.
fn hash(path: &Path) -> (u64, u64, u64) {
    let (_, checkpoint) = RunFolder::open(path).unwrap().latest_checkpoint().unwrap().found.unwrap();
    let mut hasher = DefaultHasher::new();
    for (name, values) in &checkpoint.named {
        name.hash(&mut hasher);
        values.shape.hash(&mut hasher);
        values.data.iter().for_each(|value| value.to_bits().hash(&mut hasher));
    }
    checkpoint.tokenizer_json.hash(&mut hasher);
    (hasher.finish(), checkpoint.state.contrast_steps, checkpoint.state.gan_steps)
}

fn steps_logged(path: &Path) -> Vec<u64> {
    let log = std::fs::read_to_string(path.join("log.jsonl")).unwrap();
    let step = |line: &str| serde_json::from_str::<serde_json::Value>(line).unwrap()["step"].as_u64().unwrap();
    log.lines().map(step).collect()
}

#[test]
fn stopped_and_resumed_equals_uninterrupted_to_the_bit() {
    let parent = tempdir().unwrap();
    let recipe = tiny();
    let whole = parent.path().join("whole");
    let outcome = train(&recipe, &whole, None).unwrap();
    assert!(!outcome.stopped && outcome.steps == 20 && outcome.images == 160);
    assert!(outcome.last_sample.unwrap().exists());
    let expected = hash(&whole);
    assert_eq!((expected.1, expected.2), (6, 14));
    // In the contrastive phase, at its end, between two penalties, at one.
    for stops in [&[3_u64][..], &[6], &[2, 9], &[14]] {
        let path = parent.path().join(format!("{stops:?}"));
        for &at in stops {
            let outcome = train(&recipe, &path, Some(at)).unwrap();
            assert!(outcome.stopped && outcome.steps == at, "{at}: {outcome:?}");
        }
        let outcome = train(&recipe, &path, None).unwrap();
        assert!(!outcome.stopped && outcome.steps == 20);
        assert_eq!(hash(&path), expected, "stopped at {stops:?}");
        let steps = steps_logged(&path);
        assert!(steps.is_sorted() && steps.last() == Some(&20), "{steps:?}");
    }
    // A finished run that is resumed is finished.
    let outcome = train(&recipe, &whole, None).unwrap();
    assert!(!outcome.stopped && outcome.steps == 20);
    assert_eq!(hash(&whole), expected);
    // Another seed is another run.
    let other = parent.path().join("other");
    train(&with(recipe, "seed=2"), &other, None).unwrap();
    assert_ne!(hash(&other).0, expected.0);
}

/// Every backbone, and every training aid that remembers something.
#[test]
fn image_gans_resume_to_the_bit() {
    let settings = "height=16 width=16 batch=8 kimg=0.064 noise=8 sample_seconds=1e9 checkpoint_seconds=1e9";
    for (name, more) in [
        (
            "dfgan",
            "hidden=8 sentence=16 text_width=16 text_layers=1 vocabulary=300 max_tokens=16 pretrain=0.4 augment=true",
        ),
        ("dcgan", "hidden=8 ada_target=0.6 ada_kimg=0.05 augment=[\"color\",\"translation\",\"cutout\"]"),
        ("wgan", "hidden=8 lecam=0.1 discriminator_steps=2"),
        ("dragan", "hidden=8 feature_matching=1 mmd=1"),
        ("sngan", "hidden=8 discriminator_steps=2"),
        ("r3gan", "widths=[16,16,8] blocks=[1,1,1] cardinalities=[2,2,2]"),
    ] {
        let recipe = with(with(Recipe::named(name).unwrap(), settings), more);
        let parent = tempdir().unwrap();
        let (whole, parts) = (parent.path().join("whole"), parent.path().join("parts"));
        let outcome = train(&recipe, &whole, None).unwrap();
        assert!(outcome.steps == 8 && outcome.last_sample.is_some_and(|path| path.exists()), "{name}");
        assert_eq!(train(&recipe, &parts, Some(5)).unwrap().steps, 5);
        train(&recipe, &parts, None).unwrap();
        assert_eq!(hash(&parts), hash(&whole), "{name}");
    }
}

/// Another run's table of tokens is taken over only where it is of the same words.
#[test]
fn a_start_from_another_vocabulary_leaves_its_words_behind() {
    let parent = tempdir().unwrap();
    let recipe = tiny();
    train(&recipe, &parent.path().join("first"), Some(2)).unwrap();
    let copied = |name: &str, change: &dyn Fn(&mut Option<String>)| {
        let first = RunFolder::open(&parent.path().join("first")).unwrap();
        let (from, mut checkpoint) = first.latest_checkpoint().unwrap().found.unwrap();
        change(&mut checkpoint.tokenizer_json);
        let tokens = checkpoint.named["text.tokens.weight"].clone();
        let mut plan = plan(&recipe, &parent.path().join(name));
        plan.init_from = Some((from, checkpoint));
        let mut of_text = None;
        session::run(plan, &AtomicBool::new(true), &mut |event| {
            if let Event::Started { network: "text", fitted, .. } = event {
                of_text = Some(fitted);
            }
        })
        .unwrap();
        let begun = RunFolder::open(&parent.path().join(name)).unwrap().latest_checkpoint().unwrap().found.unwrap().1;
        let fitted = of_text.unwrap();
        (fitted.all - fitted.copied, begun.named["text.tokens.weight"] == tokens)
    };
    assert_eq!(copied("same", &|_| {}), (0, true));
    assert_eq!(copied("other", &|json| *json = json.take().map(|json| json + " ")), (1, false));
}

/// The captions' embeddings are computed once, and found again.
#[test]
fn runs_with_a_pretrained_text_encoder_resume_to_the_bit() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shenbi-models/tests/fixtures/encoders");
    let dfgan = "height=16 width=16 batch=8 kimg=0.064 noise=8 hidden=8 sentence=16 pretrain=0.4 sample_seconds=1e9";
    let of = |encoder: &str, recipe: Recipe| {
        let mut recipe = recipe;
        let path = fixtures.join(encoder).to_str().unwrap().to_string();
        recipe.set("text_encoder", path.into()).unwrap();
        recipe
    };
    for recipe in [of("bert", with(tiny(), "kimg=0.08")), of("clip", with(Recipe::named("dfgan").unwrap(), dfgan))] {
        let parent = tempdir().unwrap();
        let (whole, parts) = (parent.path().join("whole"), parent.path().join("parts"));
        train(&recipe, &whole, None).unwrap();
        let kept = || std::fs::read_dir(parts.join("embeddings")).unwrap().next().unwrap().unwrap().path();
        train(&recipe, &parts, Some(2)).unwrap(); // in the contrastive phase
        let written = std::fs::metadata(kept()).unwrap().modified().unwrap();
        train(&recipe, &parts, Some(5)).unwrap();
        assert_eq!(std::fs::metadata(kept()).unwrap().modified().unwrap(), written, "read, not written again");
        // Damaged, they are computed again.
        std::fs::write(kept(), b"damaged").unwrap();
        train(&recipe, &parts, None).unwrap();
        assert_eq!(hash(&parts), hash(&whole));
        // The projection alone was trained.
        let found = RunFolder::open(&whole).unwrap().latest_checkpoint().unwrap().found.unwrap().1;
        let text: Vec<&str> = found.named.keys().map(String::as_str).filter(|name| name.starts_with("text.")).collect();
        assert_eq!(text, ["text.projection.bias", "text.projection.weight"]);
        assert!(found.state.text_encoder.is_some() && found.tokenizer_json.is_none());
        // Another encoder's embeddings mean something else.
        let error = train(&of("bert-cased", recipe.clone()), &whole, None).unwrap_err().to_string();
        assert!(error.contains("another text encoder"), "{error}");
        let error = train(&with(recipe.clone(), "text_encoder=/no/such"), &whole, None).unwrap_err().to_string();
        assert!(error.contains("/no/such: there is no such folder"), "{error}");
    }
}

/// Its last layers learn, at a pace of their own, and are part of the model; captions are not kept then.
#[test]
fn runs_that_tune_a_text_encoder_resume_to_the_bit() {
    let fixtures = Path::new(env!("CARGO_MANIFEST_DIR")).join("../shenbi-models/tests/fixtures/encoders");
    let dfgan = "height=16 width=16 batch=8 kimg=0.064 noise=8 hidden=8 sentence=16 pretrain=0.4 sample_seconds=1e9";
    for (encoder, recipe) in
        [("bert", with(tiny(), "kimg=0.08")), ("clip", with(Recipe::named("dfgan").unwrap(), dfgan))]
    {
        let path = fixtures.join(encoder);
        let with_encoder = format!("tune_layers=1 tune_rate=0.5 text_encoder={}", path.display());
        let recipe = with(recipe, &with_encoder);
        let parent = tempdir().unwrap();
        let (whole, parts) = (parent.path().join("whole"), parent.path().join("parts"));
        let outcome = train(&recipe, &whole, None).unwrap();
        train(&recipe, &parts, Some(2)).unwrap();
        train(&recipe, &parts, Some(5)).unwrap();
        train(&recipe, &parts, None).unwrap();
        assert_eq!(hash(&parts), hash(&whole));
        assert!(!whole.join("embeddings").exists());

        let pretrained = Pretrained::open(&path, &Device::flex()).unwrap();
        let found = RunFolder::open(&whole).unwrap().latest_checkpoint().unwrap().found.unwrap().1;
        let (_, tail) = pretrained.tail(1).unwrap();
        let moved = weights::collect(&tail, "text.tail").into_iter().all(|(name, old)| found.named[&name] != old);
        assert!(moved, "{encoder}: every weight of the layer has learnt");
        // What is saved in full paints as what was trained does.
        let bytes = outcome.model.to_bytes(false).unwrap();
        let Model::Painter(trained) = outcome.model else { panic!("of sentences") };
        let Model::Painter(mut read) = Model::from_bytes(&bytes, &Device::flex()).unwrap() else {
            panic!("of sentences")
        };
        read.attach(Arc::new(pretrained)).unwrap();
        let paint = |painter: &Painter| {
            let noise = vec![0.3; painter.config.network.noise()];
            values(painter.paint(&["a red circle"], noise).unwrap()).data
        };
        assert_eq!(paint(&trained), paint(&read), "{encoder}");
        // More layers than there are, and none to tune.
        let other = parent.path().join("other");
        let error = train(&with(recipe.clone(), "tune_layers=3"), &other, None).unwrap_err().to_string();
        assert!(error.contains("has 2 layers"), "{error}");
    }
}

/// The discriminator's backbone is a file of its own, which must be there and be the same.
#[test]
fn a_projected_gan_resumes_to_the_bit_with_its_backbone_only() {
    let parent = tempdir().unwrap();
    let file = parent.path().join("eyes.safetensors");
    let write = |seed| {
        let named = SqueezeNet::new(&mut Init::new(seed, "eyes", &Device::flex())).to_named();
        std::fs::write(&file, to_bytes(&named, HashMap::new(), true).unwrap()).unwrap();
        backbone::hash(file.to_str().unwrap()).unwrap()
    };
    let sha256 = write(1);
    let on_backbone = format!("backbone_side=64 backbone_width=4 backbone={} backbone_sha256={sha256}", file.display());
    let settings = "height=16 width=16 batch=8 kimg=0.032 noise=8 hidden=8 sample_seconds=1e9 checkpoint_seconds=1e9";
    let recipe = with(with(Recipe::named("projected").unwrap(), settings), &on_backbone);
    assert_eq!(Recipe::from_toml(&recipe.to_toml()).unwrap(), recipe);
    let (whole, parts) = (parent.path().join("whole"), parent.path().join("parts"));
    assert_eq!(train(&recipe, &whole, None).unwrap().steps, 4);
    assert_eq!(train(&recipe, &parts, Some(2)).unwrap().steps, 2);
    let stored = RunFolder::open(&parts).unwrap().latest_checkpoint().unwrap().found.unwrap().1.named;
    assert!(stored.keys().any(|name| name.starts_with("discriminator.heads.3")));
    assert!(stored.values().map(|values| values.data.len()).sum::<usize>() < 400_000, "without the backbone");
    let before = hash(&parts);

    let refused = |words: &[&str]| {
        let error = train(&recipe, &parts, None).unwrap_err().to_string();
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
        assert_eq!(hash(&parts), before);
    };
    let other = write(2);
    refused(&["eyes.safetensors", &other, &sha256, "config.toml"]);
    std::fs::remove_file(&file).unwrap();
    refused(&["eyes.safetensors", "squeezenet1_0"]);
    assert_eq!(write(1), sha256);
    train(&recipe, &parts, None).unwrap();
    assert_eq!(hash(&parts), hash(&whole));

    // Sentences too: 2 steps of contrast, 4 of the GAN.
    let recipe = with(tiny(), &format!("kimg=0.048 {on_backbone}"));
    let (whole, parts) = (parent.path().join("whole brush"), parent.path().join("parts of a brush"));
    assert_eq!(train(&recipe, &whole, None).unwrap().steps, 6);
    assert_eq!(train(&recipe, &parts, Some(1)).unwrap().steps, 1);
    assert_eq!(train(&recipe, &parts, Some(4)).unwrap().steps, 4);
    train(&recipe, &parts, None).unwrap();
    assert_eq!(hash(&parts), hash(&whole));
}

#[test]
fn what_a_backbone_does_not_go_with_is_named() {
    let device = Device::flex();
    let check = |recipe: &str, settings: &str| {
        let Recipe::Image(recipe) = with(Recipe::named(recipe).unwrap(), settings) else { panic!("of pictures") };
        ImageTrainer::new(&recipe, 3, &["a".into(), "b".into()], &device.clone().into()).map(drop).unwrap_err()
    };
    for (recipe, settings, words) in [
        ("projected", "hidden=8", &["--backbone", "squeezenet1_0"][..]),
        ("r3gan", "backbone=x.pth", &["r1 = 0.5", "r1=0"]),
        ("wgan-gp", "backbone=x.pth", &["wgan_gp = 10", "wgan_gp=0"]),
        ("acgan", "backbone=x.pth by_class=true", &["head", "projection"]),
        ("dcgan", "backbone=x.pth", &["backbone x.pth", "squeezenet1_0"]),
    ] {
        let error = check(recipe, settings);
        assert!(words.iter().all(|word| error.contains(word)), "{error}");
    }
    let parent = tempdir().unwrap();
    let file = parent.path().join("x.safetensors");
    let mut named = SqueezeNet::new(&mut Init::zeros(&device)).to_named();
    named.get_mut("features.3.squeeze.bias").unwrap().data[0] = f32::NAN;
    let bytes = to_bytes(&named, HashMap::new(), true).unwrap();
    for (bytes, word) in
        [(&bytes[..], "features.3.squeeze.bias"), (&bytes[..1000], "x.safetensors"), (b"", "x.safetensors")]
    {
        std::fs::write(&file, bytes).unwrap();
        let error = check("dcgan", &format!("backbone={}", file.display()));
        assert!(error.contains(word), "{error}");
    }
}

#[test]
fn a_longer_budget_continues_the_gan() {
    let parent = tempdir().unwrap();
    let path = parent.path().join("run");
    let recipe = tiny();
    train(&recipe, &path, None).unwrap();
    let outcome = train(&with(recipe, "kimg=0.24"), &path, None).unwrap();
    assert_eq!(outcome.steps, 30);
    assert_eq!((hash(&path).1, hash(&path).2), (6, 24), "not back to the contrastive phase");
}

#[test]
fn a_damaged_newest_checkpoint_costs_only_its_steps() {
    let parent = tempdir().unwrap();
    let recipe = tiny();
    let whole = parent.path().join("whole");
    train(&recipe, &whole, None).unwrap();
    let path = parent.path().join("run");
    train(&recipe, &path, Some(10)).unwrap(); // leaves those of the phase's end, 6, and of 10
    let newest = path.join("checkpoints/00000010/state.safetensors");
    let bytes = std::fs::read(&newest).unwrap();
    std::fs::write(&newest, &bytes[..bytes.len() / 2]).unwrap();
    let latest = RunFolder::open(&path).unwrap().latest_checkpoint().unwrap();
    assert_eq!(latest.found.unwrap().1.state.contrast_steps, 6);
    assert_eq!(latest.damaged.len(), 1);
    train(&recipe, &path, None).unwrap();
    assert_eq!(hash(&path), hash(&whole));
}

#[test]
fn other_settings_than_the_checkpoints_are_refused() {
    let parent = tempdir().unwrap();
    let path = parent.path().join("run");
    let recipe = tiny();
    train(&recipe, &path, Some(8)).unwrap();
    for (other, why) in [
        (with(recipe.clone(), "generator_width=16"), "tensor '"),
        (with(recipe.clone(), "text_layers=2"), "is missing"),
        (with(recipe.clone(), "batch=4"), "batch = 8, the settings say 4"),
        (with(recipe.clone(), "recipe=dfgan"), "recipe 'brush', the run is 'dfgan'"),
    ] {
        let before = hash(&path);
        let error = train(&other, &path, None).unwrap_err();
        assert!(matches!(error, TrainError::Mismatch { .. }), "{error}");
        let text = error.to_string();
        assert!(text.contains(why) && text.contains("config.toml"), "{text}");
        assert_eq!(hash(&path), before);
    }
    let text = std::fs::read_to_string(path.join("config.toml")).unwrap();
    std::fs::write(path.join("config.toml"), text.replace("\"brush\"", "\"dfgan\"")).unwrap();
    let error = RunFolder::open(&path).unwrap().latest_checkpoint().unwrap_err().to_string();
    assert!(error.contains("recipe 'brush'"), "{error}");
}

#[test]
fn a_lost_run_names_the_last_good_checkpoint() {
    let parent = tempdir().unwrap();
    let path = parent.path().join("run");
    let recipe = tiny();
    train(&recipe, &path, Some(8)).unwrap();
    let good = path.join("checkpoints/00000008");
    let before = hash(&path);
    // A weight that the next step meets, and one that only painting would.
    for (tensor, step, why) in
        [("discriminator.real.weight", 9, "loss 'd'"), ("average.start.weight", 20, "'average.start")]
    {
        let mut plan = plan(&recipe, &path);
        plan.resume.as_mut().unwrap().1.named.get_mut(tensor).unwrap().data[0] = f32::NAN;
        let error = session::run(plan, &AtomicBool::new(false), &mut |_| {}).unwrap_err();
        let TrainError::Diverged { step: at, reason, good: named } = &error else { panic!("{error}") };
        assert!(*at == step && reason.contains(why), "{error}");
        assert!(named.ends_with(&good.display().to_string()), "{error}");
        assert_eq!(hash(&path), before, "the checkpoint is as it was");
    }
}

#[test]
fn a_run_survives_samples_that_cannot_be_written() {
    let parent = tempdir().unwrap();
    let path = parent.path().join("run");
    let recipe = with(tiny(), "kimg=0.064 minutes=0.0 sample_seconds=0.0");
    let mut warnings = Vec::new();
    let mut on_event = |event: Event<'_>| match event {
        Event::Step { .. } if path.join("samples").is_dir() => {
            std::fs::remove_dir_all(path.join("samples")).unwrap();
            std::fs::write(path.join("samples"), "in the way").unwrap();
        }
        Event::Warning(warning) => warnings.push(warning),
        _ => {}
    };
    let outcome = session::run(plan(&recipe, &path), &AtomicBool::new(false), &mut on_event).unwrap();
    assert!(outcome.steps == 8 && outcome.last_sample.is_none(), "{}", outcome.steps);
    assert!(warnings.iter().any(|warning| warning.contains("no sample at")), "{warnings:?}");
}

#[test]
fn minutes_are_kept() {
    let parent = tempdir().unwrap();
    let path = parent.path().join("run");
    let recipe = with(tiny(), "kimg=0.0 minutes=0.03 sample_seconds=0.3 checkpoint_seconds=0.5");
    let outcome = train(&recipe, &path, None).unwrap();
    assert!((1.8..3.5).contains(&outcome.seconds), "{}", outcome.seconds);
    assert!(std::fs::read_dir(path.join("samples")).unwrap().count() >= 2);
    let none = with(tiny(), "kimg=0.0 minutes=0.0");
    let error = train(&none, &parent.path().join("none"), None).unwrap_err().to_string();
    assert!(error.contains("minutes and kimg"), "{error}");
}
