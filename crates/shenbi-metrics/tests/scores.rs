//! Scores of features against NumPy (fixtures/scores.py), and features of photographs against PyTorch.

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData, activation};
use fast_image_resize::images::{Image, ImageRef};
use fast_image_resize::{FilterType, PixelType, ResizeAlg, ResizeOptions, Resizer};
use shenbi_data::{Picture, decode};
use shenbi_metrics::kid::over_subsets;
use shenbi_metrics::{FeatureNetwork, Moments, frechet, prdc};
use shenbi_models::backbone::{SqueezeNet, squeezenet};
use shenbi_nn::file;
use shenbi_nn::weights::{Named, values};

fn read(path: impl AsRef<Path>) -> Named {
    file::from_bytes(&std::fs::read(path).expect("readable")).expect("safetensors").0
}

fn fixture() -> Named {
    read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/scores.safetensors"))
}

fn close(what: &str, found: f64, expected: f32, tolerance: f64) {
    let error = (found - f64::from(expected)).abs() / f64::from(expected).abs();
    println!("{what}: {found}, relative error {error:.1e}");
    assert!(error < tolerance, "{what}: {found} against {expected}");
}

#[test]
fn frechet_distance_agrees_with_numpy() {
    let named = fixture();
    for (name, dim) in [("many", 16), ("few", 64)] {
        let moments = |side: &str| {
            let mut moments = Moments::new(dim);
            for piece in named[&format!("{name}.{side}")].data.chunks(dim * 23) {
                moments.add(piece).expect("rows");
            }
            moments
        };
        let found = frechet(&moments("a"), &moments("b"), "test").expect("two sides");
        let expected = &named[&format!("{name}.frechet")].data;
        close(name, found.distance, expected[0], 1e-6);
        close("means", found.of_means, expected[1], 1e-6);
        assert_eq!(found.warning.is_some(), name == "few");
    }
}

#[test]
fn kid_agrees_with_numpy() {
    let named = fixture();
    let places = |part: &[f32]| -> Vec<usize> { part.iter().map(|v| *v as usize).collect() };
    let subsets: Vec<[Vec<usize>; 2]> =
        named["subsets"].data.chunks_exact(200).map(|pair| [places(&pair[..100]), places(&pair[100..])]).collect();
    let (mean, deviation) = over_subsets(&named["many.a"].data, &named["many.b"].data, 16, &subsets).expect("rows");
    close("mean", mean, named["kid"].data[0], 1e-6);
    close("deviation", deviation, named["kid"].data[1], 1e-6);
}

#[test]
fn precision_and_recall_agree_with_numpy() {
    let named = fixture();
    for (name, dim) in [("many", 16), ("few", 64)] {
        let side = |side: &str| &named[&format!("{name}.{side}")].data;
        let found = prdc(side("a"), side("b"), dim, "test").expect("two sides");
        let found = [found.precision, found.recall, found.density, found.coverage].map(|v| v as f32);
        assert_eq!(found[..], named[&format!("{name}.prdc")].data, "{name}");
    }
}

/// `shared/data/weights` beside the project.
fn weights() -> Option<PathBuf> {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/weights");
    if path.join("squeezenet1_0.safetensors").exists() {
        return Some(path);
    }
    eprintln!("skipped: {} is absent", path.display());
    None
}

/// A photograph, cut to a square and resized as PIL's `BICUBIC` does.
fn photograph(path: &Path) -> Picture {
    let bytes = std::fs::read(path).expect("readable");
    let picture = decode::decode(path, &bytes, decode::MAX_PIXELS).expect("a photograph");
    assert_eq!(picture.channels, 3);
    let side = picture.width.min(picture.height);
    let (left, top) = ((picture.width - side) / 2, (picture.height - side) / 2);
    let rows = picture.pixels.chunks_exact(3 * picture.width).skip(top).take(side);
    let square: Vec<u8> = rows.flat_map(|row| row[3 * left..3 * (left + side)].to_vec()).collect();
    let source = ImageRef::new(side as u32, side as u32, &square, PixelType::U8x3).expect("pixels");
    let mut target = Image::new(227, 227, PixelType::U8x3);
    let options = ResizeOptions::new().resize_alg(ResizeAlg::Convolution(FilterType::CatmullRom));
    Resizer::new().resize(&source, &mut target, Some(&options)).expect("resized");
    Picture { width: 227, height: 227, channels: 3, pixels: target.into_vec() }
}

/// The likeliest class, and its probability.
fn top1(network: &SqueezeNet, picture: &Picture) -> (usize, f32) {
    let planes: Vec<f32> =
        (0..3).flat_map(|c| picture.pixels.iter().skip(c).step_by(3).map(|v| f32::from(*v))).collect();
    let pixels = squeezenet::prepare(&planes, [picture.height, picture.width]);
    let x = Tensor::<4>::from_data(TensorData::new(pixels, [1, 3, 227, 227]), &Device::flex());
    let shares = values(activation::softmax(network.logits(x), 1)).data;
    shares.into_iter().enumerate().fold((0, 0.0), |best, now| if now.1 > best.1 { now } else { best })
}

#[test]
fn photographs_have_pytorchs_features() {
    let Some(folder) = weights() else { return };
    let bytes = std::fs::read(folder.join("squeezenet1_0.safetensors")).expect("readable");
    let network = FeatureNetwork::from_bytes(&bytes, &Device::flex()).expect("torchvision's tensors");
    assert!(network.id().starts_with("squeezenet1_0:") && network.id().ends_with("/bilinear-antialiased-227x227"));
    let classifier =
        SqueezeNet::from_named(&file::from_bytes(&bytes).expect("safetensors").0, &Device::flex()).expect("tensors");
    let named = read(concat!(env!("CARGO_MANIFEST_DIR"), "/../shenbi-models/tests/fixtures/squeezenet.safetensors"));
    for name in ["Chicken", "car"] {
        let picture = photograph(&folder.join(format!("{name}.jpg")));
        let found = network.embed(std::slice::from_ref(&picture)).expect("features");
        let expected = &named[&format!("{name}.features")].data;
        let scale = expected.iter().copied().fold(0.0, f32::max);
        let error = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale;
        println!("{name}: relative error {error:.1e} of {scale}");
        // Decoders of JPEG differ by a level here and there.
        assert!(error < 0.02, "{name}: error {error} of {scale}");
        let (class, share) = top1(&classifier, &picture);
        let [expected_class, expected_share] = named[&format!("{name}.top1")].data[..] else { panic!("two numbers") };
        println!("{name}: class {class} {share:.4}, by PyTorch {expected_share:.4}");
        assert!(class == expected_class as usize && (share - expected_share).abs() < 0.02);
        // An opaque copy is the same picture.
        let pixels = picture.pixels.chunks_exact(3).flat_map(|p| [p[0], p[1], p[2], 255]).collect();
        let opaque = Picture { channels: 4, pixels, ..picture };
        assert_eq!(network.embed(&[opaque]).expect("features"), found);
    }
}

#[test]
fn other_files_are_refused() {
    let error = |bytes: &[u8]| FeatureNetwork::from_bytes(bytes, &Device::flex()).err().map(|e| e.to_string());
    assert!(error(b"no").is_some_and(|error| error.contains("safetensors")));
    let bytes = std::fs::read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/scores.safetensors")).expect("file");
    let message = error(&bytes).expect("no network");
    assert!(["no known network", "squeezenet1_0"].iter().all(|part| message.contains(part)), "{message}");
}
