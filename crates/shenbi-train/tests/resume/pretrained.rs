//! Runs that begin with what others have trained: text encoders, backbones.

use std::collections::HashMap;
use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
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
use tempfile::tempdir;

use crate::runs::{hash, tiny, train, with};

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
