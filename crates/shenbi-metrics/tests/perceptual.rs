//! LPIPS against its authors' program and CLIP scores against transformers (fixtures/perceptual.py).
//!
//! With SHENBI_LPIPS=FOLDER (`weights/v0.1` of the package lpips): LPIPS with its own linear layers as well.
#![allow(clippy::unwrap_used)]

#[path = "../../shenbi-models/tests/common/formula.rs"]
mod formula;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use shenbi_data::Picture;
use shenbi_metrics::{ClipJudge, Lpips, clip_score};
use shenbi_nn::file::{self, Format};
use shenbi_nn::weights::Named;

fn read(path: impl AsRef<Path>) -> (Named, HashMap<String, String>) {
    file::from_bytes(&std::fs::read(path).unwrap()).unwrap()
}

fn fixture() -> (Named, HashMap<String, String>) {
    read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/perceptual.safetensors"))
}

fn encoders() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../shenbi-models/tests/fixtures/encoders/clip")
}

/// A network's weights by formula: those of the network, and its linear layers.
fn made_up(metadata: &HashMap<String, String>, network: &str) -> (Named, Named) {
    let shapes: HashMap<String, BTreeMap<String, Vec<usize>>> = serde_json::from_str(&metadata["shapes"]).unwrap();
    let weight = |(name, shape): (&String, &Vec<usize>)| (name.clone(), formula::weight(name, shape, 2.0));
    let (mut linear, network): (Named, Named) =
        shapes[network].iter().map(weight).partition(|(name, _)| name.starts_with("lin"));
    linear.values_mut().for_each(|values| values.data.iter_mut().for_each(|value| *value = value.abs()));
    (network, linear)
}

fn picture(name: &str, [h, w]: [usize; 2]) -> Picture {
    Picture { width: w, height: h, channels: 3, pixels: formula::rgb(name, [h, w]) }
}

fn close(what: &str, found: &[f64], expected: &[f32]) {
    assert_eq!(found.len(), expected.len());
    let error = found.iter().zip(expected).map(|(a, b)| (a - f64::from(*b)).abs() / f64::from(b.abs()).max(1e-3));
    let error = error.fold(0.0, f64::max);
    println!("{what}: relative error {error:.1e}");
    assert!(error < 1e-4, "{what}: {found:?} against {expected:?}");
}

fn named(network: &str, (mut features, _): (Named, Named)) -> Lpips {
    if network == "squeezenet1_1" {
        // The classifier, which LPIPS does not look at.
        features.insert("classifier.1.weight".into(), formula::weight("c", &[1000, 512, 1, 1], 2.0));
        features.insert("classifier.1.bias".into(), formula::weight("b", &[1000], 2.0));
    }
    Lpips::from_named(features, Format::PyTorch, &Device::flex()).unwrap()
}

#[test]
fn lpips_agrees_with_its_authors_program() {
    let (expected, metadata) = fixture();
    let own = std::env::var_os("SHENBI_LPIPS").map(PathBuf::from);
    if own.is_none() {
        println!("SHENBI_LPIPS is not set: the package's own linear layers are left out");
    }
    for (network, file) in [("alexnet", "alex.pth"), ("vgg16", "vgg.pth"), ("squeezenet1_1", "squeeze.pth")] {
        let (features, linear) = made_up(&metadata, network);
        let open = || named(network, (features.clone(), Named::new()));
        let distances = |lpips: &Lpips| -> Vec<f64> {
            let of = |a, b, size| lpips.distances(&[[picture(a, size), picture(b, size)]]).unwrap()[0];
            vec![of("a", "b", [64, 64]), of("c", "d", [33, 72]), of("e", "f", [32, 32])]
        };
        let plain = open();
        close(&plain.name(), &distances(&plain), &expected[&format!("lpips.{network}.unweighted")].data);
        assert!(
            plain.name().starts_with("perceptual distance") && plain.id().ends_with("/unweighted"),
            "{}",
            plain.id()
        );
        let weighted = open().weighted(&linear).unwrap();
        close(&weighted.name(), &distances(&weighted), &expected[&format!("lpips.{network}.formula")].data);
        assert!(weighted.id().starts_with(&format!("lpips-v0.1/{network}:")), "{}", weighted.id());
        assert!(weighted.id().contains("/linear:") && weighted.name().starts_with("LPIPS ("), "{}", weighted.id());
        if let Some(folder) = &own {
            let path = folder.join(file);
            let lpips = open().weighted(&file::open(&path).unwrap().0).unwrap();
            close(&format!("{} with {}", lpips.name(), path.display()), &distances(&lpips), {
                &expected[&format!("lpips.{network}.own")].data
            });
        }
        // Pairs do not know of each other.
        let pairs = [["a", "b"], ["e", "f"], ["a", "a"]].map(|pair| pair.map(|name| picture(name, [64, 64])));
        let together = weighted.distances(&pairs).unwrap();
        let alone = weighted.distances(&pairs[..1]).unwrap();
        assert!((together[0] - alone[0]).abs() < 1e-6 && together[2] == 0.0, "{together:?} {alone:?}");
    }
}

#[test]
fn what_lpips_refuses() {
    let (_, metadata) = fixture();
    let (features, linear) = made_up(&metadata, "alexnet");
    let open = || named("alexnet", (features.clone(), Named::new()));
    let refused = |linear: &Named| open().weighted(linear).unwrap_err().to_string();
    assert!(refused(&made_up(&metadata, "vgg16").1).contains("alex.pth"));
    assert!(refused(&Named::new()).contains("lin0.model.1.weight"));
    let mut negative = linear.clone();
    negative.get_mut("lin2.model.1.weight").unwrap().data[3] = -0.5;
    assert!(refused(&negative).contains("-0.5"));
    let mut more = linear;
    more.insert("lin5.model.1.weight".into(), formula::weight("w", &[1, 9, 1, 1], 2.0));
    assert!(refused(&more).contains("more than 5"));
    let other = Named::from([("conv1.weight".to_string(), formula::weight("w", &[9, 3, 3, 3], 2.0))]);
    let error = Lpips::from_named(other, Format::PyTorch, &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("vgg16") && error.contains("squeezenet1_1"), "{error}");
    let mut cut = features.clone();
    cut.remove("features.8.bias");
    let error = Lpips::from_named(cut, Format::PyTorch, &Device::flex()).unwrap_err().to_string();
    assert!(error.contains("AlexNet") && error.contains("features.8.bias"), "{error}");
    let small = open().distances(&[["a", "b"].map(|name| picture(name, [31, 64]))]).unwrap_err().to_string();
    assert!(small.contains("31x64") && small.contains("32x32"), "{small}");
    let mixed = [[picture("a", [32, 32]), picture("b", [32, 33])]];
    assert!(open().distances(&mixed).unwrap_err().to_string().contains("32x32 and of 32x33"));
    assert!(open().diversity(&[0.5], "x").unwrap_err().to_string().contains("1 pairs"));
    let found = open().diversity(&[0.5, 0.7], "x").unwrap();
    assert!((found.mean - 0.6).abs() < 1e-12 && (found.error - 0.1).abs() < 1e-12, "{found:?}");
    assert!(found.protocol.ends_with("/unweighted/x/pairs=2"), "{}", found.protocol);
}

/// CLIP's folder: the encoders' tiny text tower, and a picture tower by formula.
fn clip(metadata: &HashMap<String, String>) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for name in ["vocab.json", "merges.txt"] {
        std::fs::copy(encoders().join(name), folder.path().join(name)).unwrap();
    }
    let shapes: HashMap<String, BTreeMap<String, Vec<usize>>> = serde_json::from_str(&metadata["shapes"]).unwrap();
    let (mut named, _) = read(encoders().join("model.safetensors"));
    let weight = |name: &String, shape: &[usize]| {
        let mut values = formula::weight(&format!("second.{name}"), shape, 1.0);
        values.shape = shape.to_vec();
        (name.clone(), values)
    };
    named.extend(shapes["clip"].iter().map(|(name, shape)| weight(name, shape)));
    std::fs::write(folder.path().join("model.safetensors"), file::to_bytes(&named, HashMap::new(), false).unwrap())
        .unwrap();
    let text: serde_json::Value =
        serde_json::from_slice(&std::fs::read(encoders().join("config.json")).unwrap()).unwrap();
    let vision: serde_json::Value = serde_json::from_str(&metadata["vision"]).unwrap();
    let config = serde_json::json!({ "model_type": "clip", "text_config": text, "vision_config": vision });
    std::fs::write(folder.path().join("config.json"), config.to_string()).unwrap();
    folder
}

#[test]
fn clip_scores_agree_with_transformers() {
    let (expected, metadata) = fixture();
    let folder = clip(&metadata);
    let judge = ClipJudge::open(folder.path(), &Device::flex()).unwrap();
    let captions: Vec<String> = serde_json::from_str(&metadata["captions"]).unwrap();
    let sizes = [[64, 64], [231, 300], [224, 224], [37, 53]];
    let pictures: Vec<Picture> =
        sizes.into_iter().enumerate().map(|(i, size)| picture(&format!("clip{i}"), size)).collect();
    let (images, texts) = (judge.embed_pictures(&pictures).unwrap(), judge.embed_texts(&captions).unwrap());
    let worst = |found: &[f32], expected: &[f32]| {
        assert_eq!(found.len(), expected.len());
        found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max)
    };
    let errors = [worst(&images, &expected["clip.images"].data), worst(&texts, &expected["clip.texts"].data)];
    println!("embeddings of length one: within {errors:?}");
    assert!(errors.iter().all(|error| *error < 1e-4), "{errors:?}");
    let found = clip_score(&images, &texts, judge.dim(), judge.id()).unwrap();
    close("CLIP score", &[found.score], &expected["clip.score"].data);
    assert!(found.protocol.starts_with("clip-score-v1/clip-patch32:") && found.protocol.ends_with("/n=4"), "{found:?}");
}

#[test]
fn what_clip_refuses() {
    let (_, metadata) = fixture();
    let refused = |change: &dyn Fn(&mut serde_json::Value)| {
        let folder = clip(&metadata);
        let path = folder.path().join("config.json");
        let mut config: serde_json::Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
        change(&mut config);
        std::fs::write(&path, config.to_string()).unwrap();
        ClipJudge::open(folder.path(), &Device::flex()).unwrap_err().to_string()
    };
    let error = refused(&|config| config["vision_config"]["num_attention_heads"] = 2.into());
    assert!(error.contains("2 heads") && error.contains("clip-vit-base-patch32"), "{error}");
    assert!(refused(&|config| config["vision_config"]["image_size"] = 336.into()).contains("336x336"));
    let alone = ClipJudge::open(&encoders(), &Device::flex()).unwrap_err().to_string();
    assert!(alone.contains("no picture tower"), "{alone}");
    assert!(ClipJudge::open(Path::new("nowhere"), &Device::flex()).unwrap_err().to_string().contains("nowhere"));
}
