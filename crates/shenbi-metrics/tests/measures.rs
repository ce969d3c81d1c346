//! Scores against the packages that others use (fixtures/measures.py), on the same features.

use std::path::Path;

use shenbi_data::Picture;
use shenbi_metrics::lpips::Layer;
use shenbi_metrics::numpy_random::RandomState;
use shenbi_metrics::{
    Draw, Gaussian, KidOptions, Moments, Order, PairSum, Reference, Saved, frechet, inception_score, kid, lpips, mmd,
    npy, prdc,
};
use shenbi_nn::file;
use shenbi_nn::weights::Named;

fn path(name: &str) -> std::path::PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures").join(name)
}

fn fixture(name: &str) -> Named {
    file::from_bytes(&std::fs::read(path(name)).expect("readable")).expect("safetensors").0
}

/// Scores, in more digits than f32 has.
fn scores(named: &Named, name: &str) -> Vec<f64> {
    let rest = named.get(&format!("{name}.rest"));
    let value = |(i, value): (usize, &f32)| f64::from(*value) + rest.map_or(0.0, |rest| f64::from(rest.data[i]));
    named[name].data.iter().enumerate().map(value).collect()
}

fn close(what: &str, found: f64, expected: f64, tolerance: f64) {
    println!("{what}: {found}, error {:.1e}", (found - expected).abs());
    assert!((found - expected).abs() < tolerance, "{what}: {found} against {expected}");
}

/// Both sides, `[300, 16]` and `[280, 16]`.
fn features() -> [Vec<f32>; 2] {
    let mut named = fixture("scores.safetensors");
    ["many.a", "many.b"].map(|side| named.remove(side).expect("features").data)
}

fn moments(rows: &[f32], dim: usize) -> Moments {
    let mut moments = Moments::new(dim);
    moments.add(rows).expect("rows");
    moments
}

#[test]
fn numpys_old_random_numbers() {
    let named = fixture("measures.safetensors");
    let expected = |name: &str| -> Vec<usize> { named[name].data.iter().map(|v| *v as usize).collect() };
    let mut state = RandomState::new(2020);
    assert_eq!(state.permutation(1000), expected("numpy.permutation"));
    assert_eq!(state.choice(70_000, 500), expected("numpy.choice"));
    assert_eq!(state.permutation(3), expected("numpy.next"));
    assert_eq!(RandomState::new(0).permutation(10), expected("numpy.seed0"));
    assert_eq!(RandomState::new(u32::MAX).permutation(10), expected("numpy.largest_seed"));
    assert_eq!((state.permutation(0).len(), state.permutation(1)), (0, vec![0]));
}

#[test]
fn inception_score_agrees_with_torch_fidelity() {
    let named = fixture("measures.safetensors");
    let found = inception_score(&named["isc.logits"].data, 30, 10, Order::Numpy(2020), "test").expect("logits");
    let expected = scores(&named, "isc");
    close("mean", found.mean, expected[0], 1e-6);
    close("deviation", found.deviation, expected[1], 1e-6);
    assert!(found.protocol.ends_with("/n=503/splits=10/shuffle=numpy-2020"), "{}", found.protocol);
}

#[test]
fn frechet_distance_agrees_with_torch_fidelity_and_pytorch_fid() {
    let ([a, b], named) = (features(), fixture("measures.safetensors"));
    let found = frechet(&moments(&a, 16), &moments(&b, 16), "test").expect("two sides");
    for (what, expected) in ["torch-fidelity", "pytorch-fid"].into_iter().zip(scores(&named, "fid")) {
        close(what, found.distance, expected, 1e-6);
    }
}

#[test]
fn kid_agrees_with_torch_fidelity_and_clean_fid() {
    let ([a, b], named) = (features(), fixture("measures.safetensors"));
    let options = KidOptions { subsets: 20, size: 100, seed: 2020, draw: Draw::TorchFidelity };
    let found = kid(&a, &b, 16, options, "test").expect("two sides");
    let expected = scores(&named, "torch_fidelity.kid");
    close("torch-fidelity's mean", found.mean, expected[0], 1e-6);
    close("torch-fidelity's deviation", found.deviation, expected[1], 1e-6);
    let options = KidOptions { seed: 5, draw: Draw::CleanFid, ..options };
    let found = kid(&a, &b, 16, options, "test").expect("two sides");
    close("clean-fid", found.mean, scores(&named, "clean_fid.kid")[0], 1e-6);
}

#[test]
fn precision_and_recall_agree_with_torch_fidelity_and_prdc() {
    let ([a, b], named) = (features(), fixture("measures.safetensors"));
    let found = prdc(&a, &b, 16, "test").expect("two sides");
    let fidelity = scores(&named, "torch_fidelity.prc");
    close("precision", found.precision, fidelity[0], 1e-6);
    close("recall", found.recall, fidelity[1], 1e-6);
    // Its one k is 3 for the first two of ours, 5 for the others.
    let [of_3, of_5] = ["prdc.3", "prdc.5"].map(|name| scores(&named, name));
    close("precision", found.precision, of_3[0], 1e-6);
    close("recall", found.recall, of_3[1], 1e-6);
    close("density", found.density, of_5[2], 1e-6);
    close("coverage", found.coverage, of_5[3], 1e-6);
}

#[test]
fn cmmd_and_lpips_agree_with_their_formulas() {
    let ([a, b], named) = (features(), fixture("measures.safetensors"));
    close("CMMD", mmd(&a, &b, 16, "test").expect("two sides").distance, scores(&named, "cmmd")[0], 1e-9);
    let layers = |side: &str| -> Vec<Layer<'_>> {
        let of = |i: usize| &named[&format!("lpips.{side}{i}")];
        (0..2).map(|i| Layer { channels: of(i).shape[0], values: &of(i).data }).collect()
    };
    let weights: Vec<&[f32]> = (0..2).map(|i| &named[&format!("lpips.w{i}")].data[..]).collect();
    let found = lpips(&layers("a"), &layers("b"), &weights).expect("layers");
    close("LPIPS", found, scores(&named, "lpips")[0], 1e-8);
}

#[test]
fn pairs_agree_with_scikit_image() {
    let named = fixture("measures.safetensors");
    let picture = |name: &str, channels: usize| {
        let pixels = named[name].data.iter().step_by(3 / channels).map(|v| *v as u8).collect();
        Picture { width: 40, height: 36, channels, pixels }
    };
    let expected = scores(&named, "pair");
    for (channels, ssim) in [(3, expected[1]), (1, expected[2])] {
        let mut sum = PairSum::default();
        sum.add(&picture("pair.a", channels), &picture("pair.b", channels)).expect("one size");
        let found = sum.finish("test").expect("a pair");
        close("SSIM", found.ssim, ssim, 1e-9);
        if channels == 3 {
            close("PSNR", found.psnr.expect("they differ"), expected[0], 1e-9);
        }
    }
}

#[test]
fn statistics_of_pytorch_fid_are_read() {
    let ([a, b], named) = (features(), fixture("measures.safetensors"));
    let bytes = std::fs::read(path("reference.npz")).expect("readable");
    let saved = Saved::from_bytes(&bytes).expect("mu and sigma");
    assert!(saved.protocol.is_none() && saved.set.starts_with("npz:") && saved.gaussian.n.is_none());
    let own = moments(&a, 16).gaussian().expect("many rows");
    let error = own.covariance.iter().zip(&saved.gaussian.covariance).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
    assert!(error < 1e-12, "{error}");
    let reference = Reference::new(saved.gaussian).expect("a covariance");
    let found = reference.distance(&moments(&b, 16).gaussian().expect("many rows"), "test").expect("16 features");
    close("distance", found.distance, scores(&named, "fid")[1], 1e-6);
    assert!(found.protocol.ends_with("/n=?,280"), "{}", found.protocol);
    for at in [0, 2, 40, bytes.len() / 2, bytes.len() - 1] {
        assert!(Saved::from_bytes(&bytes[..at]).is_err(), "{at}");
    }
    for at in 0..bytes.len() {
        let mut changed = bytes.clone();
        changed[at] ^= 0x55;
        let _ = Saved::from_bytes(&changed); // an error or other numbers, never a panic
    }
}

/// Finite and not negative, or refused: on sets that break formulas.
#[test]
fn odd_sets_give_numbers_or_errors() {
    let dim = 24;
    let noise = |seed: usize, n: usize| -> Vec<f32> {
        (0..n * dim).map(|i| ((i + 1) * (seed + 7919) % 1009) as f32 / 500.0 - 1.0).collect()
    };
    let one = noise(3, 1);
    let mut constant = noise(5, 30);
    constant.chunks_exact_mut(dim).for_each(|row| row[..20].fill(2.5));
    let sets: Vec<(&str, Vec<f32>)> = vec![
        ("one picture", one.clone()),
        ("two pictures", noise(1, 2)),
        ("one picture ten times", one.repeat(10)),
        ("fewer than features", noise(2, 12)),
        ("constant features", constant),
        ("all zero", vec![0.0; 10 * dim]),
        ("huge", noise(4, 30).iter().map(|v| v * 1e18).collect()),
        ("tiny", noise(4, 30).iter().map(|v| v * 1e-20).collect()),
        ("many", noise(6, 200)),
    ];
    let check = |what: &str, found: Result<f64, String>, least: f64| match found {
        Ok(value) => assert!(value.is_finite() && value >= least, "{what}: {value}"),
        Err(message) => assert!(!message.is_empty() && !message.contains("NaN"), "{what}: {message}"),
    };
    for (name_a, a) in &sets {
        for (name_b, b) in &sets {
            let what = format!("{name_a} against {name_b}");
            let text = |error: shenbi_metrics::MetricsError| error.to_string();
            let distance = frechet(&moments(a, dim), &moments(b, dim), "test");
            if name_a == name_b && *name_a != "one picture" {
                let scale = a.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>();
                let own = distance.as_ref().expect("two rows").distance;
                assert!(own <= 1e-5 * scale, "{what}: {own} of {scale}");
            }
            check(&what, distance.map(|found| found.distance).map_err(text), 0.0);
            let options = KidOptions { subsets: 3, ..KidOptions::default() };
            check(&what, kid(a, b, dim, options, "test").map(|found| found.mean).map_err(text), f64::MIN);
            check(&what, mmd(a, b, dim, "test").map(|found| found.distance).map_err(text), 0.0);
            check(&what, prdc(a, b, dim, "test").map(|found| found.density + found.coverage).map_err(text), 0.0);
        }
        let score = inception_score(a, dim, 1, Order::Given, "test").map(|found| found.mean).map_err(|e| e.to_string());
        check(name_a, score, 1.0);
    }
    let broken = Gaussian { n: None, mean: vec![f64::NAN], covariance: vec![1.0] };
    assert!(Reference::new(broken).is_err());
}

/// What fuzzing of NumPy's files began with and kept (fuzz/): read or refused, and so is any damage to it.
#[test]
fn odd_files_of_numpy_are_read_or_refused() {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../fuzz/corpus/npz");
    let mut files: Vec<_> = std::fs::read_dir(&folder).expect("a folder").flatten().map(|entry| entry.path()).collect();
    files.sort();
    let mut read = Vec::new();
    for path in &files {
        let bytes = std::fs::read(path).expect("readable");
        let name = path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
        if Saved::from_bytes(&bytes).is_ok() {
            read.push(name.to_string());
        }
        let _ = npy::from_npy(&bytes);
        // Every cut, and some changed bytes.
        for at in 0..bytes.len().min(2000) {
            let _ = npy::from_npz(&bytes[..at], "sigma");
            let mut changed = bytes.clone();
            changed[at] ^= 1 << (at % 8);
            let _ = Saved::from_bytes(&changed);
            let _ = npy::from_npy(&changed);
        }
    }
    assert!(
        files.len() >= 7 && ["compressed", "plain"].iter().all(|name| read.iter().any(|read| read == name)),
        "{read:?}"
    );
    for refused in ["columns", "mismatch", "object", "array"] {
        assert!(!read.iter().any(|read| read == refused), "{refused}");
    }
}
