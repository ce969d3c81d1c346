//! Gradients through Transformers that others trained, against transformers (fixtures/guided.py): the last layers of text
//! encoders, CLIP's opinion of pictures, and what a Vision Transformer shows of pictures of other sizes.
#![allow(clippy::unwrap_used)]

#[path = "common/formula.rs"]
mod formula;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Device, Gradients, Tensor, TensorData};
use shenbi_models::backbone::stages::Backbone;
use shenbi_models::backbone::{Tensors, Vit};
use shenbi_models::encoder::clip::distance;
use shenbi_models::encoder::pretrained::Pretrained;
use shenbi_models::encoder::tail::Tail;
use shenbi_nn::Init;
use shenbi_nn::file::{self, Format};
use shenbi_nn::weights::{self, Named, values};

const FAMILIES: [&str; 6] = ["bert", "bert-cased", "roberta", "xlm-roberta", "clip", "open-clip"];

fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

fn fixture() -> (Named, HashMap<String, String>) {
    file::from_bytes(&std::fs::read(fixtures().join("guided.safetensors")).unwrap()).unwrap()
}

/// The weights of a network by formula.
fn made_up(network: &str) -> Named {
    let (_, metadata) = fixture();
    let shapes: BTreeMap<String, BTreeMap<String, Vec<usize>>> = serde_json::from_str(&metadata["shapes"]).unwrap();
    shapes[network].iter().map(|(name, shape)| (name.clone(), formula::weight(name, shape, 1.0))).collect()
}

fn encoder(family: &str) -> (Pretrained, Vec<String>) {
    let folder = fixtures().join("encoders");
    let texts = serde_json::from_slice(&std::fs::read(folder.join("texts.json")).unwrap()).unwrap();
    (Pretrained::open(&folder.join(family), &Device::flex()).unwrap(), texts)
}

/// The largest difference over the largest value.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().map(|v| v.abs()).fold(1e-6, f32::max);
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale
}

/// As numbers() in guided.py.
fn numbers<const D: usize>(name: &str, shape: [usize; D]) -> Tensor<D> {
    let numbers: Vec<f32> = formula::uniform(name, shape.iter().product()).map(|v| (2.0 * v - 1.0) as f32).collect();
    Tensor::from_data(TensorData::new(numbers, shape), &Device::flex())
}

/// Nothing changes by cutting an encoder in two, wherever that is; its upper part comes back from its weights and shapes.
#[test]
fn the_last_layers_go_on_where_the_others_end() {
    for family in FAMILIES {
        let (encoder, texts) = encoder(family);
        let tokens = encoder.vocabulary.encode(&texts[..8]).unwrap();
        let whole = values(encoder.embed(&tokens)).data;
        for layers in 1..=2 {
            let (shapes, tail) = encoder.tail(layers).unwrap();
            shapes.check().unwrap();
            let json = serde_json::to_string(&shapes).unwrap();
            let shapes = serde_json::from_str(&json).unwrap();
            let named = weights::collect(&tail, "tail");
            let held: usize = named.values().map(|values| values.data.len()).sum();
            let tail = weights::apply(Tail::new(&shapes, &mut Init::zeros(&Device::flex())), &named, "tail").unwrap();
            assert_eq!((held, shapes.dim()), (shapes.parameters(), encoder.dim()), "{family}");
            let found = values(tail.forward(encoder.below(&tokens, layers), &tokens)).data;
            assert!(error(&found, &whole) < 1e-6, "{family}, {layers}: {}", error(&found, &whole));
        }
        for layers in [0, 3] {
            let refused = encoder.tail(layers).map(drop).unwrap_err();
            assert!(refused.contains("has 2 layers"), "{refused}");
        }
    }
}

/// Compares all gradients with those of a case.
struct Each<'a> {
    grads: &'a Gradients,
    expected: &'a Named,
    case: &'a str,
    path: Vec<String>,
    worst: f32,
    visited: usize,
}

impl ModuleVisitor for Each<'_> {
    fn enter_module(&mut self, name: &str, _: &str) {
        self.path.push(name.to_string());
    }
    fn exit_module(&mut self, _: &str, _: &str) {
        self.path.pop();
    }
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        let name = format!("{}.{}", self.case, self.path.join("."));
        let grad = values(param.val().grad(self.grads).expect(&name)).data;
        self.worst = self.worst.max(error(&grad, &self.expected[&name].data));
        self.visited += 1;
    }
}

#[test]
fn the_last_layers_learn_as_in_pytorch() {
    let (expected, _) = fixture();
    for (family, parts) in [("bert-cased", 12), ("clip", 15)] {
        let (encoder, texts) = encoder(family);
        let (_, tail) = encoder.tail(1).unwrap();
        let tail = tail.train();
        let losses = [2, 4, 6].into_iter().enumerate().map(|(place, text)| {
            let tokens = encoder.vocabulary.encode(&texts[text..=text]).unwrap();
            let embedding = tail.forward(encoder.below(&tokens, 1), &tokens);
            (embedding * numbers(&format!("tail.{place}"), [1, encoder.dim()])).sum()
        });
        let grads = losses.reduce(|a, b| a + b).unwrap().backward();
        let case = format!("tail.{family}");
        let mut each =
            Each { grads: &grads, expected: &expected, case: &case, path: Vec::new(), worst: 0.0, visited: 0 };
        tail.visit(&mut each);
        println!("{family}: {} gradients within {:.1e}", each.visited, each.worst);
        assert_eq!(each.visited, parts);
        assert!(each.worst < 1e-4, "{family}: {}", each.worst);
    }
}

#[test]
fn clip_says_in_which_direction_a_picture_fits_its_text() {
    let (expected, _) = fixture();
    let named = made_up("clip");
    let tower = Vit::from_tensors(&Tensors::new(&named, &Device::flex())).unwrap();
    let pixels: Vec<f32> =
        formula::uniform("rgba", 2 * 4 * 24 * 24).map(|v| (v * 256.0).floor() as f32 / 127.5 - 1.0).collect();
    let x = Tensor::<4>::from_data(TensorData::new(pixels, [2, 4, 24, 24]), &Device::flex()).autodiff().require_grad();
    let found = distance(&tower, x.clone(), numbers("texts", [2, 10]));
    let value = values(found.clone()).data;
    let gradient = values(x.grad(&found.backward()).unwrap()).data;
    let worst = [error(&value, &expected["clip.distance"].data), error(&gradient, &expected["clip.gradient"].data)];
    println!("distance within {:.1e}, its gradient within {:.1e}", worst[0], worst[1]);
    assert!(worst.iter().all(|error| *error < 1e-4), "{worst:?}");
}

#[test]
fn dinov2_shows_its_patches_at_other_sizes() {
    let (expected, _) = fixture();
    let named = made_up("dinov2");
    let network = Vit::with_patches(&Tensors::new(&named, &Device::flex()), false, 8).unwrap();
    let pixels: Vec<f32> =
        formula::picture("small", [3, 112, 112]).into_iter().map(|value| value / 127.5 - 1.0).collect();
    let x = Tensor::<4>::from_data(TensorData::new(pixels, [1, 3, 112, 112]), &Device::flex());
    let mut worst: f32 = 0.0;
    for (i, grid) in network.grids(x, 4).into_iter().enumerate() {
        assert_eq!(grid.dims(), [1, 64, 8, 8]);
        let found = values(grid.narrow(1, 0, 16)).data;
        worst = worst.max(error(&found, &expected[&format!("dinov2.{i}")].data));
    }
    println!("patches within {worst:.1e}");
    assert!(worst < 1e-4, "{worst}");
    // As a backbone: four sizes, and a gradient for the picture.
    let backbone = Backbone::from_named(&named, Format::Safetensors, 100, &Device::flex()).unwrap();
    assert_eq!((backbone.name, backbone.side(100)), ("dinov2", 98));
    let x = numbers("x", [1, 3, 98, 98]).autodiff().require_grad();
    let seen = backbone.stages(x.clone());
    let sides: Vec<[usize; 4]> = seen.iter().map(Tensor::dims).collect();
    assert_eq!(sides, [32, 16, 8, 4].map(|side| [1, 64, side, side]));
    let loss = seen.into_iter().map(|seen| seen.powi_scalar(2).sum()).reduce(|a, b| a + b).unwrap();
    assert!(values(x.grad(&loss.backward()).unwrap()).data.iter().any(|value| value.abs() > 1e-6));
}
