//! Milliseconds (best and median) and GFLOP/s of the convolutions: `cargo run --release --example bench [filter]`.
use shenbi_kernels::*;
use std::time::Instant;

fn time(mut f: impl FnMut()) -> (f64, f64) {
    for _ in 0..3 {
        f();
    }
    let begin = Instant::now();
    let mut times = Vec::new();
    while times.len() < 10 || (begin.elapsed().as_secs_f64() < 0.4 && times.len() < 200) {
        let start = Instant::now();
        f();
        times.push(start.elapsed().as_secs_f64() * 1e3);
    }
    times.sort_by(f64::total_cmp);
    (times[0], times[times.len() / 2])
}

/// Batch normalisation + LeakyReLU on [32, 64, 64, 64], and Adam on 4 million parameters.
fn elementwise() -> Result<(), KernelError> {
    let activation = Activation::LeakyRelu(0.2);
    let g = Norm { batch: 32, channels: 64, plane: 4096, over: Over::Batch, per_sample: false, eps: 1e-5, activation };
    let x: Vec<bf16> =
        (0..32 * 64 * 4096).map(|i| (i * 7919 % 1013) as f32 / 506.0 - 1.0).map(bf16::from_f32).collect();
    let (gamma, beta, mut y, mut dx) = (vec![1.0; 64], vec![0.1; 64], x.clone(), x.clone());
    let stats = norm_forward(&g, &x, Some(&gamma), Some(&beta), &mut y)?;
    let forward = time(|| {
        norm_forward(&g, &x, Some(&gamma), Some(&beta), &mut y).expect("shapes fit");
    });
    let backward = time(|| {
        let out = NormGradients { dx: &mut dx, dgamma: None, dbeta: None };
        norm_backward(&g, &x, &stats, Some(&gamma), Some(&beta), &x, out).expect("shapes fit");
    });
    let n = 4 << 20;
    let s = AdamStep {
        lr: 1e-9,
        beta1: 0.5,
        beta2: 0.99,
        eps: 1e-8,
        weight_decay: 0.0,
        decoupled: true,
        step: 9,
        max_rms: 1.0,
    };
    let gradient = vec![0.5; n];
    let (mut param, mut m, mut v) = (gradient.clone(), vec![0.0; n], vec![1.0; n]);
    let adam = time(|| adam_step(&s, &gradient, &gradient, Some(&mut m), &mut v, &mut param).expect("shapes fit"));
    println!(
        "batch norm + leaky 32x64x64x64: forward {:.2} ms, backward {:.2} ms; Adam 4M: {:.2} ms",
        forward.0, backward.0, adam.0
    );
    let g = square(256, 512, 8, 4, 2);
    let w = vec![0.01; 256 * 512 * 4 * 4];
    let pack = |f: fn(&Conv2d, &[f32], Precision) -> Result<PackedWeights, KernelError>| {
        time(|| drop(f(&g, &w, Precision::Bf16).expect("shapes fit")))
    };
    println!(
        "packing 2M bf16 weights: forward {:.2} ms, backward {:.2} ms",
        pack(PackedWeights::forward).0,
        pack(PackedWeights::backward).0
    );
    Ok(())
}

fn square(in_channels: usize, out_channels: usize, size: usize, k: usize, stride: usize) -> Conv2d {
    Conv2d {
        batch: 32,
        in_channels,
        out_channels,
        in_h: size,
        in_w: size,
        kernel: [k, k],
        stride: [stride, stride],
        padding: [usize::from(k > 1); 2],
        groups: 1,
    }
}

/// Forward with bias and LeakyReLU, and both gradients behind it, tensors in memory as `E`.
fn layer<E: Element>(g: &Conv2d, p: Precision, element: fn(f32) -> E) -> Result<[(f64, f64); 3], KernelError> {
    let [oh, ow] = g.out_size()?;
    let fill = |n: usize| (0..n).map(|i| element((i * 7919 % 1013) as f32 / 506.0 - 1.0)).collect::<Vec<E>>();
    let x = fill(g.batch * g.in_channels * g.in_h * g.in_w);
    let dy = fill(g.batch * g.out_channels * oh * ow);
    let w = vec![0.01; g.in_channels / g.groups * g.out_channels * g.kernel[0] * g.kernel[1]];
    let (bias, act) = (vec![0.0; g.out_channels], Activation::LeakyRelu(0.2));
    let (mut dx, mut dw, mut y) = (x.clone(), w.clone(), dy.clone());
    let forward = time(|| conv2d_forward(g, &x, &w, Some(&bias), act, &mut y, p).expect("shapes fit"));
    let gated = Input { values: &dy[..], gate: Some((&y[..], 0.2)) };
    let data = time(|| conv2d_backward_data(g, gated, &w, None, Activation::None, &mut dx, p).expect("shapes fit"));
    let weights = time(|| conv2d_backward_weights(g, &x, gated, &mut dw, p).expect("shapes fit"));
    Ok([forward, data, weights])
}

/// R3GAN's blocks, whole.
fn bottlenecks() -> Result<(), KernelError> {
    for (side, channels) in [(64, 32), (32, 96), (16, 160)] {
        let (inner, groups) = (2 * channels, channels / 16);
        let g = Bottleneck { batch: 32, height: side, width: side, channels, inner, groups };
        let convolutions = g.convolutions(g.batch);
        let mut dw =
            convolutions.map(|g| vec![0.01; g.out_channels * g.in_channels / g.groups * g.kernel[0] * g.kernel[1]]);
        let (w, bias, mut db) = (dw.clone(), vec![0.1; inner], [vec![0.0; inner], vec![0.0; inner]]);
        let pack = |f: fn(&Conv2d, &[f32], Precision) -> Result<PackedWeights, KernelError>| {
            convolutions.iter().zip(&w).map(|(g, w)| f(g, w, Precision::Bf16)).collect::<Result<Vec<_>, _>>()
        };
        let (forward, backward) = (pack(PackedWeights::forward)?, pack(PackedWeights::backward)?);
        let weights =
            BottleneckWeights { forward: std::array::from_fn(|i| &forward[i]), biases: [&bias; 2], slope: 0.2 };
        let x: Vec<bf16> =
            (0..32 * side * side * channels).map(|i| bf16::from_f32((i * 7919 % 1013) as f32 / 506.0 - 1.0)).collect();
        let (mut y, mut dx) = (x.clone(), x.clone());
        let forward = time(|| bottleneck_forward(&g, &x, weights, &mut y).expect("shapes fit"));
        let both = time(|| {
            let parameters = BottleneckParameters {
                weights: dw.each_mut().map(|w| &mut w[..]),
                biases: db.each_mut().map(|b| &mut b[..]),
            };
            let out = BottleneckGradients { dx: &mut dx, parameters: Some(parameters) };
            bottleneck_backward(&g, &x, None, &x, weights, std::array::from_fn(|i| &backward[i]), out)
                .expect("shapes fit");
        });
        println!("bottleneck {channels}, {side}x{side}, bf16: forward {:.2} ms, backward {:.2} ms", forward.0, both.0);
    }
    Ok(())
}

fn main() -> Result<(), KernelError> {
    let filter = std::env::args().nth(1).unwrap_or_default();
    println!("{}, {} threads", describe(), rayon::current_num_threads());
    println!("best ms (median) GFLOP/s at best        forward                  data                weights");
    let dense = [
        (3, 64, 64, 4, 2),
        (64, 128, 32, 4, 2),
        (128, 256, 16, 4, 2),
        (256, 512, 8, 4, 2),
        (16, 32, 64, 4, 2),
        (3, 16, 64, 3, 1),
        (128, 128, 32, 3, 1),
        (256, 256, 16, 3, 1),
        (64, 64, 64, 3, 1),
        (256, 256, 16, 1, 1),
    ];
    let dense = dense.map(|(ci, co, size, k, s)| square(ci, co, size, k, s));
    let depthwise = Conv2d { groups: 128, ..square(128, 128, 32, 3, 1) };
    for g in dense.into_iter().chain([depthwise]) {
        let Conv2d { in_channels: ci, out_channels: co, in_h: size, kernel: [k, _], stride: [s, _], groups, .. } = g;
        let [oh, ow] = g.out_size()?;
        let gflop = 2.0 * (32 * oh * ow * ci / groups * co * k * k) as f64 / 1e9;
        for p in [Precision::F32, Precision::Bf16] {
            let groups = if groups > 1 { format!(" g{groups}") } else { String::new() };
            let name = format!("{ci}->{co} {size}x{size} k{k} s{s}{groups} {p:?}");
            if !name.contains(&filter) {
                continue;
            }
            let times = match p {
                Precision::F32 => layer::<f32>(&g, p, f32::from_f32),
                Precision::Bf16 => layer::<bf16>(&g, p, bf16::from_f32),
            }?;
            print!("{name:28}");
            for (best, median) in times {
                print!(" {best:7.3} ({median:7.3}) {:5.0}", gflop / best * 1e3);
            }
            println!();
        }
    }
    bottlenecks()?;
    elementwise()
}
