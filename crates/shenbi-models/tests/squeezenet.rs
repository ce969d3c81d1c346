//! SqueezeNet and the resizer against PyTorch (fixtures/squeezenet.py).

#[path = "common/formula.rs"]
mod formula;

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use shenbi_models::backbone::{SqueezeNet, resize, squeezenet};
use shenbi_nn::weights::{Named, Values, values};

use formula::picture;
use shenbi_nn::file;
use shenbi_nn::pool::{Pool, avg_pool2d, max_pool2d};

fn read(path: &Path) -> Named {
    file::from_bytes(&std::fs::read(path).expect("readable")).expect("safetensors").0
}

fn fixture() -> Named {
    read(Path::new(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/squeezenet.safetensors")))
}

/// The network with the made-up weights.
fn made_up() -> Named {
    let device = Device::flex();
    let mut named = SqueezeNet::new(&mut shenbi_nn::Init::zeros(&device)).to_named();
    for (name, values) in &mut named {
        *values = formula::weight(name, &values.shape, 2.0);
    }
    named
}

fn compare(what: &str, found: &[f32], expected: &[f32]) {
    assert_eq!(found.len(), expected.len(), "{what}");
    let scale = expected.iter().map(|v| v.abs()).fold(0.0, f32::max);
    let error = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
    println!("{what}: relative error {error:.1e} of {scale}");
    assert!(error < 1e-5, "{what}: error {error} of the largest value, {scale}");
}

fn tensor(pixels: Vec<f32>, shape: [usize; 4]) -> Tensor<4> {
    Tensor::from_data(TensorData::new(pixels, shape), &Device::flex())
}

#[test]
fn agrees_with_pytorch_where_windows_hang_over() {
    let expected = fixture();
    let network = SqueezeNet::from_named(&made_up(), &Device::flex()).expect("all tensors");
    let mut pixels = picture("small", [2 * 3, 62, 63]);
    for (plane, mean) in pixels.chunks_exact_mut(62 * 63).zip([123.0, 117.0, 104.0].into_iter().cycle()) {
        plane.iter_mut().for_each(|value| *value -= mean);
    }
    let x = tensor(pixels, [2, 3, 62, 63]);
    compare("features", &values(network.features(x.clone())).data, &expected["small.features"].data);
    let logits = values(network.logits(x).narrow(1, 0, 50)).data;
    compare("logits", &logits, &expected["small.logits"].data);
}

#[test]
fn resizing_agrees_with_pytorch() {
    let expected = fixture();
    for (name, size) in [("grown", [5, 7]), ("shrunk", [331, 290]), ("mixed", [40, 400])] {
        let resized = resize(&picture(name, [3, size[0], size[1]]), size, [squeezenet::SIDE; 2]);
        let rows = resized.chunks_exact(227).enumerate().filter(|(y, _)| y % 227 % 45 == 0);
        let found: Vec<f32> = rows.flat_map(|(_, row)| row.iter().copied().step_by(15)).collect();
        compare(name, &found, &expected[&format!("resize.{name}")].data);
    }
}

#[test]
fn agrees_with_pytorch_on_trained_weights() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/weights/squeezenet1_0.safetensors");
    if !path.exists() {
        eprintln!("skipped: {} is absent", path.display());
        return;
    }
    let network = SqueezeNet::from_named(&read(&path), &Device::flex()).expect("torchvision's tensors");
    let pixels = picture("tile", [2 * 3, 24, 24]);
    let prepared = pixels.chunks_exact(3 * 24 * 24).flat_map(|rgb| squeezenet::prepare(rgb, [24, 24])).collect();
    let x = tensor(prepared, [2, 3, squeezenet::SIDE, squeezenet::SIDE]);
    compare("features", &values(network.features(x)).data, &fixture()["real.features"].data);
}

#[test]
fn pooling_agrees_with_burns() {
    for (kernel, stride, h, w) in [(3, 2, 7, 8), (3, 2, 13, 6), (2, 2, 5, 2), (2, 3, 7, 8), (3, 1, 4, 9)] {
        let x = tensor(picture("pool", [2 * 5, h, w]), [2, 5, h, w]);
        for padding in 0..=kernel / 2 {
            let inside = Pool::new(kernel, stride).padded(padding);
            for pool in [inside, inside.hanging_over()] {
                let burns = values(max_pool2d(x.clone().autodiff(), pool));
                assert_eq!(values(max_pool2d(x.clone(), pool)), burns, "{pool:?} {h}x{w}");
            }
            for zeros in [false, true] {
                let burns = values(avg_pool2d(x.clone().autodiff(), inside, zeros));
                let ours = values(avg_pool2d(x.clone(), inside, zeros));
                assert_eq!(ours.shape, burns.shape, "{inside:?} {h}x{w}");
                compare("mean", &ours.data, &burns.data);
            }
        }
    }
    let mut wrong = vec![1.0; 9];
    wrong[1] = f32::NAN;
    assert!(values(max_pool2d(tensor(wrong, [1, 1, 3, 3]), Pool::new(3, 2))).data[0].is_nan());
}

#[test]
fn wrong_tensors_are_named() {
    let device = Device::flex();
    let mut named = made_up();
    named.remove("features.7.expand3x3.bias");
    let error = SqueezeNet::from_named(&named, &device).expect_err("one is missing").to_string();
    assert_eq!(error, "tensor 'features.7.expand3x3.bias' is missing");
    named.insert("features.7.expand3x3.bias".to_string(), Values { shape: vec![4], data: vec![0.0; 4] });
    let error = SqueezeNet::from_named(&named, &device).expect_err("one is short").to_string();
    assert!(error.contains("'features.7.expand3x3.bias' has shape [4], the network needs [128]"), "{error}");
}
