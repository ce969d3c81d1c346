//! The negative log likelihood on every instruction set against a naive f64 reference.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use shenbi_kernels::*;

/// A batch's losses, and the gradients of x, weight and bias.
fn found(n: usize, v: usize, h: usize, p: Precision) -> [Vec<f32>; 4] {
    let (x, w, b, targets, weights) = example(n, v, h);
    let mut found = [n, n * h, v * h, v].map(|size| vec![1.0; size]);
    let [losses, dx, dweight, dbias] = &mut found;
    let to = NllGradients { weight: &w, dx, dweight, dbias };
    nll(&Head::new(&w, &b).unwrap(), &x, &targets, &weights, losses, Some(to), p).unwrap();
    found
}

type Example = (Vec<f32>, Vec<f32>, Vec<f32>, Vec<u32>, Vec<f32>);

/// x, weight, bias, targets and weights of rows, some 0.
fn example(n: usize, v: usize, h: usize) -> Example {
    let targets = (0..n as u32).map(|i| i * 31 % v as u32).collect();
    let weights = (0..n).map(|i| if i % 7 == 3 { 0.0 } else { 0.1 * (i % 5) as f32 - 0.15 }).collect();
    (values(n * h, 1), values(v * h, 2), values(v, 3), targets, weights)
}

/// The same in f64 of operands at that precision.
fn expected(n: usize, v: usize, h: usize, p: Precision) -> [Vec<f64>; 4] {
    let (x, w, b, targets, weights) = example(n, v, h);
    let [x, w] = [x, w].map(|values| rounded(&values, p));
    let mut expected = [n, n * h, v * h, v].map(|size| vec![0.0f64; size]);
    let [losses, dx, dweight, dbias] = &mut expected;
    for row in 0..n {
        let logit = |k: usize| (0..h).map(|i| x[row * h + i] * w[k * h + i]).sum::<f64>() + f64::from(b[k]);
        let e: Vec<f64> = (0..v).map(|k| logit(k).exp()).collect();
        let (sum, target, weight) = (e.iter().sum::<f64>(), targets[row] as usize, f64::from(weights[row]));
        losses[row] = if weight == 0.0 { 0.0 } else { sum.ln() - logit(target) };
        for k in 0..v {
            let d = weight * (e[k] / sum - f64::from(u8::from(k == target)));
            dbias[k] += d;
            for i in 0..h {
                dx[row * h + i] += d * w[k * h + i];
                dweight[k * h + i] += d * x[row * h + i];
            }
        }
    }
    expected
}

#[test]
fn losses_and_gradients_are_those_of_softmax() {
    // The gradients of logits, here up to 0.25, are rounded once more in bf16: by at most 1 in 256.
    for (p, tolerances) in [(Precision::F32, [1e-5; 4]), (Precision::Bf16, [1e-5, 2e-3, 4e-3, 1e-5])] {
        for (n, v, h) in [(150, 77, 9), (70, 301, 41), (1, 1, 1), (33, 128, 64)] {
            let expected = expected(n, v, h, p);
            for isa in available_isas() {
                let found = with_isa(isa, || found(n, v, h, p)).unwrap();
                for (((found, expected), tolerance), what) in
                    found.iter().zip(&expected).zip(tolerances).zip(["losses", "dx", "dweight", "dbias"])
                {
                    let errors = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs());
                    let error = errors.fold(0.0, f64::max);
                    assert!(error < tolerance, "{what} of {n} {v} {h} in {p:?} on {isa:?}: {error}");
                }
            }
        }
    }
}

#[test]
fn losses_need_no_gradients() {
    let (n, v, h) = (70, 301, 41);
    let (x, w, b, targets, weights) = example(n, v, h);
    let mut losses = vec![1.0; n];
    nll(&Head::new(&w, &b).unwrap(), &x, &targets, &weights, &mut losses, None, Precision::Bf16).unwrap();
    assert_eq!(losses, found(n, v, h, Precision::Bf16)[0]);
}

#[test]
fn bits_do_not_depend_on_threads() {
    for (p, isa) in [Precision::F32, Precision::Bf16]
        .into_iter()
        .flat_map(|p| available_isas().into_iter().map(move |isa| (p, isa)))
    {
        let run = |threads: usize| {
            let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
            pool.install(|| with_isa(isa, || found(150, 301, 41, p)).unwrap())
        };
        let one = run(1);
        assert!([2, 3, 7].into_iter().all(|threads| run(threads) == one));
    }
}

#[test]
fn logits_may_lie_far_apart() {
    // Groups of tokens all of -infinity, far below the likeliest, and the likeliest's own.
    let bias: Vec<f32> = (0..400)
        .map(|token| match token {
            0..130 => -300.0,
            130..390 => f32::NEG_INFINITY,
            _ => 40.0,
        })
        .collect();
    let head = Head::new(&[0.0; 400], &bias).unwrap();
    for isa in available_isas() {
        let (mut losses, [mut dx, mut dweight, mut dbias]) = ([0.0; 2], [2, 400, 400].map(|n| vec![0.0; n]));
        let to = NllGradients { weight: &[0.0; 400], dx: &mut dx, dweight: &mut dweight, dbias: &mut dbias };
        let p = Precision::F32;
        with_isa(isa, || nll(&head, &[1.0; 2], &[395, 7], &[1.0, 0.5], &mut losses, Some(to), p)).unwrap().unwrap();
        assert!((losses[0] - 10f32.ln()).abs() < 1e-6 && (losses[1] - 340.0 - 10f32.ln()).abs() < 1e-4, "{losses:?}");
        for (token, (dweight, dbias)) in dweight.iter().zip(&dbias).enumerate() {
            let share = if token >= 390 { 0.15 } else { 0.0 };
            let expected = share - [(395, 1.0), (7, 0.5)].iter().find(|at| at.0 == token).map_or(0.0, |at| at.1);
            assert!((dweight - expected).abs() < 1e-6 && (dbias - expected).abs() < 1e-6, "{token}: {dweight} {dbias}");
        }
    }
}

#[test]
fn unknown_tokens_are_refused() {
    let head = Head::new(&[0.0; 6], &[0.0; 3]).unwrap();
    assert!(
        nll(&head, &[0.0; 2], &[3], &[1.0], &mut [0.0], None, Precision::F32)
            .unwrap_err()
            .to_string()
            .contains("token 3")
    );
    assert!(Head::new(&[0.0; 7], &[0.0; 3]).is_err());
}
