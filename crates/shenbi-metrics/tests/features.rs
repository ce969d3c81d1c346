//! Resizers and feature networks against the programs that published scores come from (fixtures/features.py).

#[path = "../../shenbi-models/tests/common/formula.rs"]
mod formula;

use std::collections::{BTreeMap, HashMap};
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use shenbi_data::{Picture, decode};
use shenbi_metrics::resize::Resizer;
use shenbi_metrics::{
    Draw, FeatureNetwork, KidOptions, Moments, Order, Preprocessing, frechet, inception_score, kid, mmd, prdc,
};
use shenbi_nn::file::{self, Format};
use shenbi_nn::weights::Named;

fn read(path: impl AsRef<Path>) -> (Named, HashMap<String, String>) {
    file::from_bytes(&std::fs::read(path).expect("readable")).expect("safetensors")
}

fn fixture() -> Named {
    read(concat!(env!("CARGO_MANIFEST_DIR"), "/tests/fixtures/features.safetensors")).0
}

/// The weights of a network by formula.
fn made_up(network: &str) -> Named {
    let path = "/../shenbi-models/tests/fixtures/backbones.safetensors";
    let (_, metadata) = read(format!("{}{path}", env!("CARGO_MANIFEST_DIR")));
    let shapes: HashMap<String, BTreeMap<String, Vec<usize>>> =
        serde_json::from_str(&metadata["shapes"]).expect("shapes");
    let variance = if network.contains("vit") { 1.0 } else { 2.0 };
    shapes[network].iter().map(|(name, shape)| (name.clone(), formula::weight(name, shape, variance))).collect()
}

fn network(name: &str) -> FeatureNetwork {
    FeatureNetwork::from_named(made_up(name), Format::PyTorch, &Device::flex()).expect("all tensors")
}

/// As in features.py.
fn picture(name: &str, [h, w]: [usize; 2]) -> Picture {
    let pixels = formula::rgb(name, [h, w]);
    Picture { width: w, height: h, channels: 3, pixels }
}

/// The largest difference over the largest value.
fn error(found: &[f32], expected: &[f32]) -> f32 {
    assert_eq!(found.len(), expected.len());
    let scale = expected.iter().map(|v| v.abs()).fold(0.0, f32::max);
    found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale
}

#[test]
fn resizers_are_within_a_grey_level() {
    let expected = fixture();
    let sizes: Vec<usize> = expected["sizes"].data.iter().map(|side| *side as usize).collect();
    assert_eq!(sizes.len(), 4 * 20);
    for (resizer, tolerance) in [
        (Resizer::PilBilinear, 0.0),
        (Resizer::PilBicubic, 0.0),
        (Resizer::PilBicubicFloat, 1e-3),
        (Resizer::Tf1, 1e-3),
        (Resizer::Torch, 1e-3),
        (Resizer::TorchAntialias, 1e-3),
    ] {
        let mut worst = (0.0, [0; 4]);
        for (number, size) in sizes.as_chunks::<4>().0.iter().enumerate() {
            let [h, w, height, width] = *size;
            let rgb = picture(&format!("resize{number}"), [h, w]).pixels;
            let found = resizer.resize(&rgb, [h, w], [height, width]).expect("resized");
            let lines = found
                .chunks_exact(height * width)
                .flat_map(|plane| plane.chunks_exact(width).step_by((height / 6).max(1)));
            let found: Vec<f32> = lines.flat_map(|row| row.iter().copied().step_by((width / 10).max(1))).collect();
            let expected = &expected[&format!("{}.{number}", resizer.name())].data;
            assert_eq!(found.len(), expected.len());
            let error = found.iter().zip(expected).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max);
            worst = if error >= worst.0 { (error, *size) } else { worst };
        }
        println!("{}: at most {} of 255 grey levels, at {:?}", resizer.name(), worst.0, worst.1);
        assert!(worst.0 <= tolerance, "{}: {worst:?}", resizer.name());
    }
}

#[test]
fn inception_is_that_of_torch_fidelity_pytorch_fid_and_clean_fid() {
    let expected = fixture();
    let mut network = network("inception-2015");
    assert_eq!((network.name(), network.dim(), network.classes()), ("Inception", 2048, Some(1008)));
    let mut ids = Vec::new();
    for (program, preprocessing) in [
        ("torch-fidelity", Preprocessing::TorchFidelity),
        ("pytorch-fid", Preprocessing::PytorchFid),
        ("clean-fid", Preprocessing::CleanFid),
    ] {
        network = network.with_preprocessing(preprocessing).expect("it has all three");
        ids.push(network.id().to_string());
        for (number, size) in [[37, 53], [32, 32], [300, 200]].into_iter().enumerate() {
            let (features, logits) =
                network.embed_with_logits(&[picture(&format!("end{number}"), size)]).expect("features");
            let error_of_features = error(&features, &expected[&format!("{program}.{number}")].data);
            println!("{program} {size:?}: {error_of_features:.1e}");
            assert!(error_of_features < 1e-4, "{program} {size:?}: {error_of_features}");
            if let Some(expected) = expected.get(&format!("{program}.logits.{number}")) {
                assert!(error(&logits.expect("logits"), &expected.data) < 1e-4);
            }
        }
    }
    println!("{ids:?}");
    let ends = ["/tf1-bilinear-299x299", "/torch-bilinear-299x299", "/pil-bicubic-float-299x299"];
    assert!(ids.iter().zip(ends).all(|(id, end)| id.starts_with("inception-2015:") && id.ends_with(end)));
    assert!(network.with_preprocessing(Preprocessing::Caffe).is_err());
}

/// How many pictures go through at once, and on how many threads, changes nothing that counts.
#[test]
fn batches_and_threads_do_not_matter() {
    for name in ["googlenet", "squeezenet1_1", "dinov2-vits14"] {
        let network = network(name);
        let pictures: Vec<Picture> = (0..5).map(|i| picture(&format!("batch{i}"), [24 + i, 40 - i])).collect();
        let whole = network.embed(&pictures).expect("features");
        let single: Vec<f32> =
            pictures.iter().flat_map(|one| network.embed(std::slice::from_ref(one)).expect("features")).collect();
        let [one, three] = [1, 3].map(|threads| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| network.embed(&pictures)).expect("features")
        });
        let (by_batch, by_threads) = (error(&single, &whole), error(&one, &three));
        println!("{name}: batch {by_batch:.1e}, threads {by_threads:.1e}");
        assert!(by_batch <= 1e-6 && by_threads <= 1e-6, "{name}: batch {by_batch}, threads {by_threads}");
        assert!(error(&whole[..network.dim()], &whole[network.dim()..2 * network.dim()]) > 1e-3);
    }
}

/// Nor do the scores of what is seen: of all pictures at once or one by one, on one thread or three, in f32 or by products
/// of halves.
#[test]
fn scores_do_not_depend_on_batches_and_threads() {
    const DIM: usize = 512;
    let sides = ["a", "b"]
        .map(|side| (0..21).map(|i| picture(&format!("{side}{i}"), [24 + i % 5, 40 - i % 7])).collect::<Vec<_>>());
    let scores = |network: &FeatureNetwork, at_once: usize| -> Vec<(&str, f64)> {
        let seen = sides.each_ref().map(|pictures| {
            let (mut moments, mut features, mut logits) = (Moments::new(DIM), Vec::new(), Vec::new());
            for pictures in pictures.chunks(at_once) {
                let (rows, classes) = network.embed_with_logits(pictures).expect("features");
                moments.add(&rows).expect("rows");
                features.extend(rows);
                logits.extend(classes.expect("a classifier"));
            }
            (moments, features, logits)
        });
        let [(a, x, logits), (b, y, _)] = &seen;
        let subsets = KidOptions { subsets: 10, size: 15, seed: 1, draw: Draw::Streams };
        let found = prdc(x, y, DIM, "test").expect("features");
        vec![
            ("Fréchet", frechet(a, b, "test").expect("moments").distance),
            ("KID", kid(x, y, DIM, subsets, "test").expect("features").mean),
            ("IS", inception_score(logits, 1000, 3, Order::Shuffled(1), "test").expect("logits").mean),
            ("MMD", mmd(x, y, DIM, "test").expect("features").distance),
            ("precision", found.precision),
            ("recall", found.recall),
            ("density", found.density),
            ("coverage", found.coverage),
        ]
    };
    // Where tiles do not compute, the second is the first.
    let networks = [network("squeezenet1_1"), network("squeezenet1_1").with_halves()];
    let mut first = Vec::new();
    for network in &networks {
        let ways = [(21, 1), (21, 3), (1, 3), (8, 2)].map(|(at_once, threads)| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().expect("a pool");
            pool.install(|| scores(network, at_once))
        });
        for (i, (name, expected)) in ways[0].iter().enumerate() {
            let worst =
                ways.iter().map(|way| (way[i].1 - expected).abs() / expected.abs().max(1e-3)).fold(0.0, f64::max);
            println!("{}, {name} {expected}: at most {worst:.1e}", network.id());
            assert!(worst <= 1e-6 && expected.is_finite(), "{}, {name}: {worst}", network.id());
        }
        first.push(ways[0].clone());
    }
    for ((name, f32), (_, halves)) in first[0].iter().zip(&first[1]) {
        println!("{name}: halves change it by {:.1e}", (halves - f32).abs() / f32.abs());
        assert!((halves - f32).abs() <= 1e-4 * f32.abs(), "{name}: {f32} and {halves}");
    }
    assert_eq!(networks[1].id().contains("+halves/"), shenbi_nn::kernels::splits(), "{}", networks[1].id());
}

#[test]
fn files_are_recognised_and_others_refused() {
    let folder = tempfile::tempdir().expect("a folder");
    let write = |name: &str, named: &Named| {
        let path = folder.path().join(name);
        std::fs::write(&path, file::to_bytes(named, HashMap::new(), true).expect("bytes")).expect("written");
        path.display().to_string()
    };
    let device = Device::flex();
    let squeezenet = made_up("squeezenet1_1");
    let path = write("some.safetensors", &squeezenet);
    let open = |what: &str| FeatureNetwork::open(what, &device);
    assert_eq!(open(&path).expect("recognised").name(), "SqueezeNet 1.1");
    assert_eq!(open(&format!("squeezenet1_1:{path}")).expect("as told").name(), "SqueezeNet 1.1");
    // As a checkpoint has it.
    let wrapped =
        squeezenet.iter().map(|(name, values)| (format!("state_dict.module.{name}"), values.clone())).collect();
    let wrapped = open(&write("wrapped.safetensors", &wrapped)).expect("unwrapped");
    assert_eq!(wrapped.id(), open(&path).expect("recognised").id());
    let mut short = squeezenet.clone();
    short.remove("features.7.expand3x3.bias");
    let mut bent = squeezenet.clone();
    bent.get_mut("features.7.squeeze.bias").expect("there").data.push(0.0);
    bent.get_mut("features.7.squeeze.bias").expect("there").shape = vec![33];
    let mut odd = squeezenet.clone();
    odd.get_mut("classifier.1.weight").expect("there").data[7] = f32::NAN;
    let odd = write("odd.safetensors", &odd);
    std::fs::write(folder.path().join("text.txt"), "hello, these are no weights").expect("written");
    std::fs::write(folder.path().join("vgg16-397923af.pth"), "PK").expect("written");
    for (what, parts) in [
        (format!("resnet18:{path}"), ["it holds squeezenet1_1", "not resnet18"]),
        (write("short.safetensors", &short), ["squeezenet1_1", "'features.7.expand3x3.bias' is missing"]),
        (write("bent.safetensors", &bent), ["'features.7.squeeze.bias' has shape [33]", "needs [32]"]),
        (folder.path().join("text.txt").display().to_string(), ["text.txt", "not a whole PyTorch file"]),
        (folder.path().join("vgg16-397923af.pth").display().to_string(), ["SHA-256", "not with 397923af"]),
        ("absent.pth".to_string(), ["absent.pth: no such file", "inception-2015"]),
        (folder.path().display().to_string(), ["no such file", "googlenet"]),
    ] {
        let message = open(&what).err().unwrap_or_else(|| panic!("{what} is refused")).to_string();
        println!("{message}");
        assert!(parts.iter().all(|part| message.contains(part)), "{what}: {message}");
    }
    // Not a number shows in what comes out.
    let odd = open(&odd).expect("shapes fit").embed_with_logits(&[picture("x", [9, 9])]).expect_err("not finite");
    assert!(odd.to_string().contains("damaged"), "{odd}");
}

/// The trained SqueezeNet 1.0 of `shared/data/weights`, on its two photographs.
#[test]
fn photographs_are_what_they_are() {
    let folder: PathBuf = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../../shared/data/weights");
    let path = folder.join("squeezenet1_0.safetensors");
    if !path.exists() {
        eprintln!("skipped: {} is absent", path.display());
        return;
    }
    let network = FeatureNetwork::open(&path.display().to_string(), &Device::flex()).expect("torchvision's tensors");
    assert!(network.id().ends_with("/bilinear-antialiased-227x227"), "{}", network.id());
    for (name, class, share) in [("Chicken.jpg", 7, 0.8216), ("car.jpg", 817, 0.8894)] {
        let path = folder.join(name);
        let photo =
            decode::decode(&path, &std::fs::read(&path).expect("readable"), decode::MAX_PIXELS).expect("a photograph");
        let side = photo.width.min(photo.height);
        let (left, top) = ((photo.width - side) / 2, (photo.height - side) / 2);
        let rows = photo.pixels.chunks_exact(3 * photo.width).skip(top).take(side);
        let square: Vec<u8> = rows.flat_map(|row| row[3 * left..3 * (left + side)].to_vec()).collect();
        // By PIL's bicubic, as the numbers were made.
        let planes = Resizer::PilBicubic.resize(&square, [side; 2], [227; 2]).expect("resized");
        let pixels = (0..227 * 227).flat_map(|at| [0, 1, 2].map(|c| planes[c * 227 * 227 + at] as u8)).collect();
        let small = Picture { width: 227, height: 227, channels: 3, pixels };
        let logits = network.embed_with_logits(&[small]).expect("logits").1.expect("a classifier");
        let largest = logits.iter().copied().fold(f32::MIN, f32::max);
        let sum: f32 = logits.iter().map(|logit| (logit - largest).exp()).sum();
        let found = logits.iter().position(|logit| *logit == largest).expect("a class");
        println!("{name}: class {found} {:.4}, by PyTorch {class} {share:.4}", 1.0 / sum);
        // Decoders of JPEG differ by a level here and there.
        assert!(found == class && (1.0 / sum - share).abs() < 0.02, "{name}: class {found} {}", 1.0 / sum);
    }
}
