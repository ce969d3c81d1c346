//! The networks that look at pictures against torchvision, transformers and torch-fidelity (fixtures/backbones.py).

#[path = "common/formula.rs"]
mod formula;

use std::collections::{BTreeMap, HashMap};

use burn::tensor::{Device, Tensor, TensorData};
use shenbi_models::backbone::{GoogLeNet, InceptionV3, ResNet, SqueezeNet, Tensors, Vgg16, Vit};
use shenbi_nn::file;
use shenbi_nn::pool::mean_of_pixels;
use shenbi_nn::weights::{Named, Values, values};

type Shapes = HashMap<String, BTreeMap<String, Vec<usize>>>;

fn fixture() -> (Named, Shapes) {
    let path = concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/backbones.safetensors");
    let (named, metadata) = file::from_bytes(&std::fs::read(path).expect("readable")).expect("safetensors");
    (named, serde_json::from_str(&metadata["shapes"]).expect("names and shapes"))
}

/// The weights of a network by formula.
fn made_up(shapes: &Shapes, network: &str) -> Named {
    let variance = if network.contains("vit") { 1.0 } else { 2.0 };
    let all = &shapes[network];
    all.iter().map(|(name, shape)| (name.clone(), formula::weight(name, shape, variance))).collect()
}

/// Noise, and blocks of colours, from -1 to 1.
fn pictures(side: usize) -> Tensor<4> {
    let shape = [3, side, side];
    let both = formula::picture("noise", shape).into_iter().chain(formula::smooth("blocks", shape));
    let x: Vec<f32> = both.map(|value| value / 127.5 - 1.0).collect();
    Tensor::from_data(TensorData::new(x, [2, 3, side, side]), &Device::flex())
}

/// The largest difference over the largest value.
fn compare(what: &str, found: Tensor<2>, expected: &Values, tolerance: f32) {
    let found = values(found.narrow(1, 0, expected.shape[1]));
    assert_eq!(found.shape, expected.shape, "{what}");
    let scale = expected.data.iter().map(|v| v.abs()).fold(0.0, f32::max);
    let error = found.data.iter().zip(&expected.data).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
    println!("{what}: relative error {error:.1e} of {scale}");
    assert!(error < tolerance, "{what}: error {error} of the largest value, {scale}");
}

/// A network's features and logits are those of the fixture.
fn check(network: &str, look: impl Fn(&Tensors) -> (Tensor<2>, Option<Tensor<2>>)) {
    let (expected, shapes) = fixture();
    let named = made_up(&shapes, network);
    let (features, logits) = look(&Tensors::new(&named, &Device::flex()));
    compare(&format!("{network}, features"), features, &expected[&format!("{network}.features")], 1e-4);
    if let Some(logits) = logits {
        compare(&format!("{network}, logits"), logits, &expected[&format!("{network}.logits")], 1e-4);
    }
}

#[test]
fn inception() {
    for (name, bias) in [("inception-2015", false), ("inception-v3", true)] {
        check(name, |tensors| {
            let network = InceptionV3::from_tensors(tensors).expect("all tensors");
            let features = network.features(pictures(299));
            (features.clone(), Some(network.logits(features, bias)))
        });
    }
}

#[test]
fn googlenet() {
    check("googlenet", |tensors| {
        let network = GoogLeNet::from_tensors(tensors).expect("all tensors");
        let features = network.features(pictures(224));
        (features.clone(), Some(network.logits(features)))
    });
}

#[test]
fn vgg16() {
    check("vgg16", |tensors| {
        let network = Vgg16::from_tensors(tensors).expect("all tensors");
        let features = network.features(pictures(224));
        (features.clone(), network.logits(features))
    });
}

#[test]
fn resnets() {
    for name in ["resnet18", "resnet50"] {
        check(name, |tensors| {
            let network = ResNet::from_tensors(tensors).expect("all tensors");
            let features = network.features(pictures(224));
            (features.clone(), Some(network.logits(features)))
        });
    }
}

#[test]
fn squeezenets() {
    for (name, side) in [("squeezenet1_0", 227), ("squeezenet1_1", 224)] {
        check(name, |tensors| {
            let (features, logits) =
                SqueezeNet::from_tensors(tensors).expect("all tensors").features_and_logits(pictures(side));
            (features, Some(logits))
        });
    }
}

#[test]
fn clip() {
    check("clip-vitb32", |tensors| (Vit::from_tensors(tensors).expect("all tensors").features(pictures(224)), None));
    // OpenAI's names: query, key and value together, and the projection the other way round.
    let (expected, shapes) = fixture();
    let mut named = Named::new();
    for (name, values) in made_up(&shapes, "clip-vitb32") {
        if name == "visual_projection.weight" {
            let [rows, columns] = values.shape[..] else { panic!("a matrix") };
            let data =
                (0..columns).flat_map(|c| (0..rows).map(move |r| (r, c))).map(|(r, c)| values.data[r * columns + c]);
            named.insert("visual.proj".to_string(), Values { shape: vec![columns, rows], data: data.collect() });
            continue;
        }
        let name = name
            .replace("vision_model.embeddings.class_embedding", "visual.class_embedding")
            .replace("vision_model.embeddings.patch_embedding", "visual.conv1")
            .replace("vision_model.embeddings.position_embedding.weight", "visual.positional_embedding")
            .replace("vision_model.pre_layrnorm", "visual.ln_pre")
            .replace("vision_model.post_layernorm", "visual.ln_post")
            .replace("vision_model.encoder.layers", "visual.transformer.resblocks")
            .replace("self_attn.out_proj", "attn.out_proj")
            .replace("layer_norm", "ln_")
            .replace("fc1", "c_fc")
            .replace("fc2", "c_proj");
        named.insert(name, values);
    }
    let together = together(
        named,
        ["self_attn.q_proj", "self_attn.k_proj", "self_attn.v_proj"],
        ["attn.in_proj_weight", "attn.in_proj_bias"],
    );
    let features = Vit::from_tensors(&Tensors::new(&together, &Device::flex())).expect("all").features(pictures(224));
    compare("clip-vitb32, OpenAI's names", features, &expected["clip-vitb32.features"], 1e-4);
}

/// The three parts of attention laid together.
fn together(mut named: Named, parts: [&str; 3], to: [&str; 2]) -> Named {
    let first: Vec<String> = named.keys().filter(|name| name.contains(parts[0])).cloned().collect();
    for name in first {
        let all = parts.map(|part| named.remove(&name.replace(parts[0], part)).expect("three parts"));
        let mut shape = all[0].shape.clone();
        shape[0] *= 3;
        let data = all.into_iter().flat_map(|part| part.data).collect();
        let [weight, bias] = to;
        let end = if name.ends_with("weight") { weight } else { bias };
        let stem = &name[..name.find(parts[0]).expect("found above")];
        named.insert(format!("{stem}{end}"), Values { shape, data });
    }
    named
}

#[test]
fn dinov2() {
    check("dinov2-vits14", |tensors| (Vit::from_tensors(tensors).expect("all tensors").features(pictures(224)), None));
    // The names of newer transformers, and those of the authors, who interpolate positions another way.
    let (expected, shapes) = fixture();
    let named = made_up(&shapes, "dinov2-vits14");
    let newer: Named = named
        .clone()
        .into_iter()
        .map(|(name, values)| {
            let name = name
                .replace("attention.attention.query", "attention.q_proj")
                .replace("attention.attention.key", "attention.k_proj")
                .replace("attention.attention.value", "attention.v_proj")
                .replace("attention.output.dense", "attention.o_proj");
            (name, values)
        })
        .collect();
    let features = Vit::from_tensors(&Tensors::new(&newer, &Device::flex())).expect("all").features(pictures(224));
    compare("dinov2-vits14, newer names", features, &expected["dinov2-vits14.features"], 1e-4);
    let authors = together(
        named,
        ["attention.attention.query", "attention.attention.key", "attention.attention.value"],
        ["attn.qkv.weight", "attn.qkv.bias"],
    );
    let authors: Named = authors
        .into_iter()
        .map(|(name, values)| {
            let name = name
                .replace("embeddings.cls_token", "cls_token")
                .replace("embeddings.position_embeddings", "pos_embed")
                .replace("embeddings.patch_embeddings.projection", "patch_embed.proj")
                .replace("encoder.layer.", "blocks.")
                .replace("attention.output.dense", "attn.proj")
                .replace("layer_scale1.lambda1", "ls1.gamma")
                .replace("layer_scale2.lambda1", "ls2.gamma")
                .replace("layernorm", "norm");
            (name, values)
        })
        .collect();
    let features = Vit::from_tensors(&Tensors::new(&authors, &Device::flex())).expect("all").features(pictures(224));
    compare("dinov2-vits14, the authors' names", features, &expected["dinov2-vits14.authors"], 1e-4);
}

/// 1.2 GB of weights.
#[test]
#[ignore = "takes several GB of memory"]
fn dinov2_large() {
    check("dinov2-vitl14", |tensors| {
        let network = Vit::from_tensors(tensors).expect("all tensors");
        (network.features(pictures(224).narrow(0, 0, 1)), None)
    });
}

/// What perceptual losses and projected discriminators need.
#[test]
fn gradients_reach_the_picture() {
    let (expected, shapes) = fixture();
    let square = |x: Tensor<4>| x.powi_scalar(2).mean();
    for name in ["vgg16", "resnet18", "squeezenet1_0"] {
        let named = made_up(&shapes, name);
        let tensors = Tensors::new(&named, &Device::flex());
        let pixels =
            formula::smooth("gradient", [3, 64, 64]).into_iter().map(|value| value / 127.5 - 1.0).collect::<Vec<_>>();
        let x =
            Tensor::<4>::from_data(TensorData::new(pixels, [1, 3, 64, 64]), &Device::flex()).autodiff().require_grad();
        let loss = match name {
            "vgg16" => {
                let seen = Vgg16::from_tensors(&tensors).expect("all tensors").stages(x.clone());
                seen.into_iter().map(square).reduce(|a, b| a + b).expect("stages")
            }
            "resnet18" => {
                let seen = ResNet::from_tensors(&tensors).expect("all tensors").stages(x.clone());
                seen.into_iter().map(square).reduce(|a, b| a + b).expect("stages")
            }
            _ => SqueezeNet::from_tensors(&tensors).expect("all tensors").features(x.clone()).powi_scalar(2).mean(),
        };
        let found = values(x.grad(&loss.clone().backward()).expect("a gradient")).data;
        let loss = values(loss).data[0] / expected[&format!("{name}.loss")].data[0] - 1.0;
        let expected = &expected[&format!("{name}.gradient")].data;
        let norm = |values: &mut dyn Iterator<Item = f32>| values.map(|v| f64::from(v).powi(2)).sum::<f64>().sqrt();
        let error = norm(&mut found.iter().zip(expected).map(|(a, b)| a - b)) / norm(&mut expected.iter().copied());
        println!("{name}: loss {loss:.1e}, gradient {error:.1e}");
        assert!(loss.abs() < 1e-4 && error < 1e-3, "{name}: loss {loss}, gradient {error}");
    }
    // The mean over pixels, by itself.
    let x = Tensor::<4>::ones([1, 2, 3, 3], &Device::flex()).autodiff().require_grad();
    let gradient = x.grad(&mean_of_pixels(x.clone()).sum().backward()).expect("a gradient");
    assert!(values(gradient).data.iter().all(|value| (value - 1.0 / 9.0).abs() < 1e-7));
}
