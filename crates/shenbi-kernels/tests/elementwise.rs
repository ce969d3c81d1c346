//! Activations, normalisation and optimizer steps against f64 references.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use proptest::prelude::*;
use shenbi_kernels::*;

fn slope(a: Activation) -> f64 {
    match a {
        Activation::None => 1.0,
        Activation::Relu => 0.0,
        Activation::LeakyRelu(s) => s.into(),
    }
}

const ACTIVATIONS: [Activation; 3] = [Activation::None, Activation::Relu, Activation::LeakyRelu(0.2)];

#[test]
fn activations_and_their_gradients() {
    for n in [1, 17, 1000, 100_003] {
        let (x, dy) = (Guarded::before_guard(&values(n, 1)), Guarded::before_guard(&values(n, 2)));
        for act in ACTIVATIONS {
            for isa in available_isas() {
                let (mut y, mut dx) = (Guarded::before_guard(&x), Guarded::before_guard(&x));
                with_isa(isa, || {
                    activation_forward(act, &x[..], &mut y[..]).unwrap();
                    activation_backward(act, &y[..], &dy[..], &mut dx[..]).unwrap();
                })
                .unwrap();
                for i in 0..n {
                    let factor = if x[i] > 0.0 { 1.0 } else { slope(act) as f32 };
                    assert_eq!(y[i], x[i] * factor);
                    assert_eq!(dx[i], dy[i] * factor);
                }
            }
        }
    }
    let mut y = [0.0; 4];
    activation_forward(Activation::Relu, &[f32::NAN, f32::INFINITY, f32::NEG_INFINITY, -1.0], &mut y).unwrap();
    assert!(y[0].is_nan() && y[1..] == [f32::INFINITY, 0.0, 0.0]);
    let text = activation_forward(Activation::Relu, &[1.0; 3], &mut y).unwrap_err().to_string();
    assert!(text.contains("`y` has 4") && text.contains("[3]"), "{text}");
}

/// f64 forward and backward, straight from the definitions.
struct Reference {
    y: Vec<f64>,
    /// Before the activation.
    z: Vec<f64>,
    dx: Vec<f64>,
    dgamma: Vec<f64>,
    dbeta: Vec<f64>,
}

fn reference(g: &Norm, x: &[f32], gamma: &[f32], beta: &[f32], dy: &[f32]) -> Reference {
    let mut r = Reference {
        y: vec![0.0; x.len()],
        z: vec![0.0; x.len()],
        dx: vec![0.0; x.len()],
        dgamma: vec![0.0; gamma.len()],
        dbeta: vec![0.0; gamma.len()],
    };
    // The values of each set: picture, channel, place.
    let set = |n: usize, c: usize| match g.over {
        Over::Batch | Over::Nothing => c,
        Over::Groups(groups) => n * groups + c * groups / g.channels,
    };
    let mut sets = std::collections::BTreeMap::<_, Vec<_>>::new();
    for n in 0..g.batch {
        for (p, c) in (0..g.plane).flat_map(|p| (0..g.channels).map(move |c| (p, c))) {
            sets.entry(set(n, c)).or_default().push((n, c, (n * g.plane + p) * g.channels + c));
        }
    }
    for indices in sets.values() {
        let count = indices.len() as f64;
        let mean = indices.iter().map(|&(_, _, i)| f64::from(x[i])).sum::<f64>() / count;
        let var = indices.iter().map(|&(_, _, i)| (f64::from(x[i]) - mean).powi(2)).sum::<f64>() / count;
        let plain = g.over == Over::Nothing;
        let (mean, rstd) = if plain { (0.0, 1.0) } else { (mean, 1.0 / (var + f64::from(g.eps)).sqrt()) };
        let at = |n: usize, c: usize| if g.per_sample { n * g.channels + c } else { c };
        let (mut s, mut q) = (0.0, 0.0);
        let mut parts = vec![];
        for &(n, c, i) in indices {
            let hat = (f64::from(x[i]) - mean) * rstd;
            let z = hat * f64::from(gamma[at(n, c)]) + f64::from(beta[at(n, c)]);
            let factor = if z > 0.0 { 1.0 } else { slope(g.activation) };
            (r.y[i], r.z[i]) = (z * factor, z);
            let dz = f64::from(dy[i]) * factor;
            r.dgamma[at(n, c)] += dz * hat;
            r.dbeta[at(n, c)] += dz;
            let scaled = dz * f64::from(gamma[at(n, c)]);
            s += scaled;
            q += scaled * hat;
            parts.push((i, scaled, hat));
        }
        for (i, scaled, hat) in parts {
            r.dx[i] = if plain { scaled } else { rstd * (scaled - s / count - hat * q / count) };
        }
    }
    r
}

fn check_norm(g: &Norm, offset: f32) {
    let n = g.batch * g.channels * g.plane;
    let affine = if g.per_sample { g.batch * g.channels } else { g.channels };
    let x: Vec<f32> = values(n, 1).iter().map(|v| v * 2.0 + offset).collect();
    let (gamma, beta, dy) = (values(affine, 2), values(affine, 3), values(n, 4));
    let want = reference(g, &x, &gamma, &beta, &dy);
    for isa in available_isas() {
        let (x, dy) = (Guarded::before_guard(&x), Guarded::before_guard(&dy));
        let (mut y, mut dx) = (Guarded::before_guard(&x), Guarded::before_guard(&x));
        let (mut dgamma, mut dbeta) = (vec![f32::NAN; affine], vec![f32::NAN; affine]);
        with_isa(isa, || {
            let stats = norm_forward(g, &x[..], Some(&gamma), Some(&beta), &mut y[..]).unwrap();
            let mut again = vec![0.0; n];
            norm_apply(g, &x[..], &stats, Some(&gamma), Some(&beta), &mut again).unwrap();
            assert_eq!(&y[..], &again[..]);
            let out = NormGradients { dx: &mut dx[..], dgamma: Some(&mut dgamma), dbeta: Some(&mut dbeta) };
            norm_backward(g, &x[..], &stats, Some(&gamma), Some(&beta), &dy[..], out).unwrap();
        })
        .unwrap();
        let close = |what: &str, got: &[f32], want: &[f64], tolerance: f64| {
            let scale = want.iter().fold(1.0f64, |m, v| m.max(v.abs()));
            for (i, (g, w)) in got.iter().zip(want).enumerate() {
                assert!((f64::from(*g) - w).abs() < tolerance * scale, "{what}[{i}] {g} {w}");
            }
        };
        close("y", &y, &want.y, 1e-5);
        // A value on the activation's kink may fall on either side in f32: then its gradient differs by design.
        if !want.z.iter().any(|v| v.abs() < 1e-5) || g.activation == Activation::None {
            close("dx", &dx, &want.dx, 2e-5);
            close("dgamma", &dgamma, &want.dgamma, 2e-5);
            close("dbeta", &dbeta, &want.dbeta, 2e-5);
        }
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 80, ..ProptestConfig::default() })]

    #[test]
    fn norms(
        batch in 1usize..6,
        width in 1usize..20,
        groups in 0usize..6,
        plane in 2usize..70,
        per_sample: bool,
        a in 0usize..3,
    ) {
        let over = [Over::Batch, Over::Nothing].get(groups).copied().unwrap_or(Over::Groups(groups - 1));
        let (channels, activation) = (width * groups.saturating_sub(1).max(1), ACTIVATIONS[a]);
        let g = Norm { batch, channels, plane, over, per_sample, eps: 1e-5, activation };
        check_norm(&g, 0.5);
    }
}

#[test]
fn norms_of_large_planes_far_from_zero() {
    let batch = Norm {
        batch: 3,
        channels: 4,
        plane: 5000,
        over: Over::Batch,
        per_sample: true,
        eps: 1e-5,
        activation: Activation::None,
    };
    [Over::Batch, Over::Groups(2), Over::Groups(4), Over::Nothing]
        .into_iter()
        .for_each(|over| check_norm(&Norm { over, ..batch }, 30.0));
    let g = batch;
    let text = norm_forward(&g, &[0.0f32; 60_000], Some(&[1.0; 4]), None, &mut [0.0; 60_000]).unwrap_err();
    assert!(text.to_string().contains("`gamma` has 4 elements") && text.to_string().contains("[3, 4]"), "{text}");
    let uneven = Norm { over: Over::Groups(3), per_sample: false, ..g };
    let text = norm_forward(&uneven, &[0.0f32; 60_000], None, None, &mut [0.0; 60_000]).unwrap_err().to_string();
    assert!(text.contains("4 channels do not divide into 3 groups"), "{text}");
}

#[test]
fn elementwise_bits_do_not_depend_on_threads_or_isa() {
    let g = Norm {
        batch: 4,
        channels: 7,
        plane: 1030,
        over: Over::Batch,
        per_sample: false,
        eps: 1e-5,
        activation: Activation::LeakyRelu(0.2),
    };
    let n = 4 * 7 * 1030;
    let x = values(n, 1);
    let run = |threads: usize, isa: Isa| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        let mut y = vec![0.0; n];
        pool.install(|| with_isa(isa, || norm_forward(&g, &x, None, None, &mut y)).unwrap().unwrap());
        y.into_iter().map(f32::to_bits).collect::<Vec<_>>()
    };
    let one = run(1, Isa::Portable);
    for isa in available_isas() {
        assert!([1, 2, 3, 5].into_iter().all(|t| run(t, isa) == one));
    }
}

#[test]
fn adam_follows_its_definition() {
    let n = 70_001;
    for (decoupled, max_rms) in [(false, f32::INFINITY), (true, f32::INFINITY), (true, 0.5)] {
        for isa in available_isas() {
            let (mut p, mut m, mut v) = (values(n, 1), vec![0.0; n], vec![0.0; n]);
            let mut want: Vec<[f64; 3]> = p.iter().map(|&p| [p.into(), 0.0, 0.0]).collect();
            for step in 1..=5 {
                let grad = values(n, 10 + step);
                let s = AdamStep {
                    lr: 1e-3,
                    beta1: 0.5,
                    beta2: 0.99,
                    eps: 1e-8,
                    weight_decay: 0.1,
                    decoupled,
                    step,
                    max_rms,
                };
                let old = p.clone();
                with_isa(isa, || adam_step(&s, &old, &grad, Some(&mut m), &mut v, &mut p)).unwrap().unwrap();
                let [lr, b1, b2, eps, wd] = [s.lr, s.beta1, s.beta2, s.eps, s.weight_decay].map(f64::from);
                let (c1, c2) = (1.0 - b1.powi(step as i32), 1.0 - b2.powi(step as i32));
                let direction = |[_, m, v]: &[f64; 3]| m / c1 / ((v / c2).sqrt() + eps);
                for ([p, m, v], &g) in want.iter_mut().zip(&grad) {
                    let g = f64::from(g) + if decoupled { 0.0 } else { wd * *p };
                    *m = b1 * *m + (1.0 - b1) * g;
                    *v = b2 * *v + (1.0 - b2) * g * g;
                }
                let rms = (want.iter().map(|w| direction(w).powi(2)).sum::<f64>() / n as f64).sqrt();
                let bound = (rms / f64::from(max_rms)).max(1.0);
                for want in &mut want {
                    let step = direction(want);
                    want[0] = want[0] * if decoupled { 1.0 - lr * wd } else { 1.0 } - lr / bound * step;
                }
            }
            let error = p.iter().zip(&want).map(|(p, w)| (f64::from(*p) - w[0]).abs()).fold(0.0, f64::max);
            assert!(error < 2e-6, "{isa:?} {error}");
        }
    }
    // Without a first moment the gradient itself is the direction.
    let s = AdamStep {
        lr: 0.1,
        beta1: 0.0,
        beta2: 0.9,
        eps: 0.0,
        weight_decay: 0.0,
        decoupled: true,
        step: 1,
        max_rms: 9.0,
    };
    let (mut p, mut v) = ([0.0, 0.0], [0.0, 0.0]);
    adam_step(&s, &[1.0, 1.0], &[2.0, -0.5], None, &mut v, &mut p).unwrap();
    assert!((p[0] - 0.9).abs() < 1e-6 && (p[1] - 1.1).abs() < 1e-6 && (v[0] - 0.4).abs() < 1e-6, "{p:?} {v:?}");
    let s = AdamStep { beta1: 0.9, ..s };
    let text = adam_step(&s, &[1.0, 1.0], &[2.0, -0.5], None, &mut v, &mut p).unwrap_err().to_string();
    assert!(text.contains("`m` has 0 elements"), "{text}");
    let s = AdamStep {
        lr: 0.1,
        beta1: 0.9,
        beta2: 0.9,
        eps: 0.0,
        weight_decay: 0.0,
        decoupled: true,
        step: 0,
        max_rms: f32::INFINITY,
    };
    let text = adam_step(&s, &[0.0], &[0.0], Some(&mut [0.0]), &mut [0.0], &mut [0.0]).unwrap_err().to_string();
    assert!(text.contains("step is 0"), "{text}");
}

#[test]
fn ema_moves_by_its_rate() {
    let (mut average, value) = (values(40_000, 1), values(40_000, 2));
    let before = average.clone();
    ema_update(&mut average, &value, 0.75).unwrap();
    for ((a, b), v) in average.iter().zip(&before).zip(&value) {
        assert!((a - (0.75 * b + 0.25 * v)).abs() < 1e-6);
    }
    assert!(ema_update(&mut average, &value[1..], 0.5).is_err());
}
