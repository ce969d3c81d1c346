//! Whole sessions through real checkpoints on disk: stopping and resuming changes nothing, and a lost run says so.
#![allow(clippy::unwrap_used)]

mod pretrained;
mod runs;

use std::sync::atomic::AtomicBool;

use shenbi_train::config::Recipe;
use shenbi_train::run_folder::RunFolder;
use shenbi_train::session::{self, Event, TrainError};
use tempfile::tempdir;

use runs::{hash, plan, steps_logged, tiny, train, with};

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
