//! Convolutions on every instruction set against a naive f64 reference, and their properties.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use proptest::prelude::*;
use shenbi_kernels::*;

fn conv(batch: usize, channels: [usize; 2], size: [usize; 2], k: usize, stride: usize, padding: usize) -> Conv2d {
    Conv2d {
        batch,
        in_channels: channels[0],
        out_channels: channels[1],
        in_h: size[0],
        in_w: size[1],
        kernel: [k, k],
        stride: [stride, stride],
        padding: [padding, padding],
        groups: 1,
    }
}

/// Forward (with bias), data, weights and bias gradient, and the transposed forms, against the reference.
fn check_all(g: &Conv2d, isa: Isa, p: Precision) {
    let what = format!("{g:?} {isa:?} {p:?}");
    let n = sizes(g);
    let (x, w, dy) = (values(n.x, 1), values(n.w, 2), values(n.y, 3));
    let (rx, rw, rdy) = (rounded(&x, p), rounded(&w, p), rounded(&dy, p));
    let (out_bias, in_bias) = (values(g.out_channels, 4), values(g.in_channels, 5));
    let mut want = [vec![Sum::default(); n.y], vec![Sum::default(); n.x], vec![Sum::default(); n.w]];
    for_products(g, |xi, wi, yi| {
        want[0][yi].add(rx[xi] * rw[wi]);
        want[1][xi].add(rdy[yi] * rw[wi]);
        want[2][wi].add(rdy[yi] * rx[xi]);
    });
    let mut with_bias = [want[0].clone(), want[1].clone()];
    with_bias[0].iter_mut().enumerate().for_each(|(i, s)| s.add(out_bias[i % g.out_channels].into()));
    with_bias[1].iter_mut().enumerate().for_each(|(i, s)| s.add(in_bias[i % g.in_channels].into()));
    with_isa(isa, || {
        let mut y = vec![f32::NAN; n.y];
        conv2d_forward(g, &x, &w, None, Activation::None, &mut y, p).unwrap();
        assert_close(&format!("forward {what}"), &y, &want[0]);
        conv2d_forward(g, &x, &w, Some(&out_bias), Activation::None, &mut y, p).unwrap();
        assert_close(&format!("forward+bias {what}"), &y, &with_bias[0]);
        let mut activated = vec![f32::NAN; n.y];
        let act = Activation::LeakyRelu(0.2);
        conv2d_forward(g, &x, &w, Some(&out_bias), act, &mut activated, p).unwrap();
        activation_forward(act, &y.clone(), &mut y).unwrap();
        assert!(activated == y, "forward+bias+act {what}");
        let mut dx = vec![f32::NAN; n.x];
        conv2d_backward_data(g, &dy, &w, None, Activation::None, &mut dx, p).unwrap();
        assert_close(&format!("data {what}"), &dx, &want[1]);
        conv2d_backward_data(g, &dy, &w, Some(&in_bias), Activation::None, &mut dx, p).unwrap();
        assert_close(&format!("data+bias {what}"), &dx, &with_bias[1]);
        let mut activated = vec![f32::NAN; n.x];
        conv2d_backward_data(g, &dy, &w, Some(&in_bias), Activation::Relu, &mut activated, p).unwrap();
        assert!(activated.iter().zip(&dx).all(|(a, x)| *a == x.max(0.0)), "data+bias+act {what}");
        let mut dw = vec![f32::NAN; n.w];
        conv2d_backward_weights(g, &x, &dy, &mut dw, p).unwrap();
        assert_close(&format!("weights {what}"), &dw, &want[2]);
        check_storage(g, [&x, &w, &dy], p, &what);
    })
    .unwrap();
}

/// bf16 in memory and gates say what f32 in memory says of the same numbers.
fn check_storage(g: &Conv2d, [x, w, dy]: [&[f32]; 3], p: Precision, what: &str) {
    let n = sizes(g);
    let narrow = |v: &[f32]| v.iter().map(|&v| bf16::from_f32(v)).collect::<Vec<_>>();
    let wide = |v: &[bf16]| v.iter().map(|v| v.to_f32()).collect::<Vec<_>>();
    let (x, dy) = (narrow(x), narrow(dy));
    let (x32, dy32) = (wide(&x), wide(&dy));
    let (mut y, mut y32) = (vec![bf16::NAN; n.y], vec![f32::NAN; n.y]);
    conv2d_forward(g, &x, w, None, Activation::None, &mut y, p).unwrap();
    conv2d_forward(g, &x32, w, None, Activation::None, &mut y32, p).unwrap();
    assert!(y == narrow(&y32), "bf16 forward {what}");
    let gated: Vec<f32> = dy32
        .iter()
        .zip(&y)
        .map(|(d, y)| if y.to_f32() > 0.0 { *d } else { bf16::from_f32(d * 0.25).to_f32() })
        .collect();
    let gate = Input { values: &dy[..], gate: Some((&y[..], 0.25)) };
    let (mut dx, mut dx32) = (vec![bf16::NAN; n.x], vec![f32::NAN; n.x]);
    conv2d_backward_data(g, gate, w, None, Activation::None, &mut dx, p).unwrap();
    conv2d_backward_data(g, &gated, w, None, Activation::None, &mut dx32, p).unwrap();
    assert!(dx == narrow(&dx32), "gated data {what}");
    let (mut dw, mut dw32) = (vec![f32::NAN; n.w], vec![f32::NAN; n.w]);
    conv2d_backward_weights(g, &x, gate, &mut dw, p).unwrap();
    conv2d_backward_weights(g, &x32, &gated, &mut dw32, p).unwrap();
    assert!(dw == dw32, "gated weights {what}");
    let (mut db, mut db32) = (vec![f32::NAN; g.out_channels], vec![f32::NAN; g.out_channels]);
    channel_sum(gate, &mut db).unwrap();
    channel_sum(&gated, &mut db32).unwrap();
    assert!(db == db32, "gated sum {what}");
}

#[test]
fn layers_of_real_networks() {
    let shapes = [
        conv(3, [3, 48], [32, 32], 4, 2, 1),
        conv(5, [48, 96], [16, 16], 4, 2, 1),
        conv(7, [96, 64], [8, 8], 4, 2, 1),
        conv(2, [33, 40], [16, 16], 3, 1, 1),
        conv(2, [64, 1], [4, 4], 4, 1, 0),
        conv(2, [64, 3], [17, 33], 3, 1, 1),
        conv(2, [65, 64], [8, 8], 1, 1, 0),
        conv(1, [16, 16], [70, 70], 3, 1, 1),
    ];
    for g in shapes {
        for isa in available_isas() {
            PRECISIONS.iter().for_each(|&p| check_all(&g, isa, p));
        }
    }
}

#[test]
fn uneven_kernels_strides_and_groups() {
    let base = conv(2, [6, 9], [11, 14], 3, 1, 1);
    let shapes = [
        Conv2d { kernel: [1, 5], stride: [2, 3], padding: [0, 2], ..base },
        Conv2d { kernel: [4, 2], stride: [3, 1], padding: [3, 0], groups: 3, ..base },
        Conv2d { in_channels: 8, out_channels: 8, groups: 8, ..base },
        Conv2d { kernel: [2, 2], stride: [3, 3], padding: [5, 5], ..base },
        Conv2d { kernel: [11, 14], padding: [0, 0], ..base },
        Conv2d { kernel: [1, 1], stride: [2, 2], padding: [0, 0], ..base },
    ];
    for g in shapes {
        for isa in available_isas() {
            PRECISIONS.iter().for_each(|&p| check_all(&g, isa, p));
        }
    }
}

#[test]
fn depthwise() {
    let base = |channels| Conv2d { groups: channels, ..conv(3, [channels; 2], [13, 10], 3, 1, 1) };
    let shapes = [
        base(33),
        Conv2d { stride: [2, 2], ..base(64) },
        Conv2d { kernel: [5, 2], stride: [1, 3], padding: [7, 0], ..base(5) },
        Conv2d { batch: 20, kernel: [13, 10], padding: [0, 0], ..base(4) },
        Conv2d { batch: 1, in_h: 70, in_w: 70, kernel: [4, 4], stride: [2, 2], ..base(48) },
    ];
    for g in shapes {
        for isa in available_isas() {
            PRECISIONS.iter().for_each(|&p| check_all(&g, isa, p));
        }
    }
}

/// As many pictures as AMX wants for weight gradients in pairs: whole sixteens of pairs and a few missing, rows of 16.
#[test]
fn weight_gradients_of_large_batches() {
    let shapes = [
        conv(32, [40, 33], [8, 8], 4, 2, 1),
        conv(60, [3, 20], [5, 6], 3, 1, 1),
        conv(7, [3, 48], [32, 32], 4, 2, 1),
        Conv2d { groups: 2, ..conv(5, [64, 34], [4, 16], 3, 1, 1) },
        conv(33, [64, 32], [4, 4], 4, 1, 0),
    ];
    for g in shapes {
        for isa in available_isas() {
            PRECISIONS.iter().for_each(|&p| check_all(&g, isa, p));
        }
    }
}

fn geometry() -> impl Strategy<Value = Conv2d> {
    let channels = prop::sample::select(vec![1usize, 2, 3, 5, 16, 33]);
    let size = prop::sample::select(vec![1usize, 4, 7, 8, 16, 17]);
    (
        (1usize..=5, channels.clone(), channels, size.clone(), size),
        (1usize..=7, 1usize..=7, 1usize..=3, 1usize..=3, 0usize..=3, 0usize..=3, 1usize..=3),
    )
        .prop_filter_map("does not fit", |((batch, ci, co, h, w), (kh, kw, sh, sw, ph, pw, groups))| {
            let g = Conv2d {
                batch,
                in_channels: ci * groups,
                out_channels: co * groups,
                in_h: h,
                in_w: w,
                kernel: [kh, kw],
                stride: [sh, sw],
                padding: [ph, pw],
                groups,
            };
            let work = batch * ci * co * groups * h * w * kh * kw;
            (g.out_size().is_ok() && work < 3_000_000).then_some(g)
        })
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 150, ..ProptestConfig::default() })]

    #[test]
    fn any_geometry_on_any_isa(g in geometry()) {
        for isa in available_isas() {
            PRECISIONS.iter().for_each(|&p| check_all(&g, isa, p));
        }
    }

    #[test]
    fn adjoint_identities(g in geometry()) {
        // <conv(x), y> = <x, conv_t(y)> = <w, dw(x, y)>
        let n = sizes(&g);
        let (x, w, y) = (values(n.x, 7), values(n.w, 8), values(n.y, 9));
        let (mut cx, mut ty, mut dw) = (vec![0.0; n.y], vec![0.0; n.x], vec![0.0; n.w]);
        conv2d_forward(&g, &x, &w, None, Activation::None, &mut cx, Precision::F32).unwrap();
        conv2d_backward_data(&g, &y, &w, None, Activation::None, &mut ty, Precision::F32).unwrap();
        conv2d_backward_weights(&g, &x, &y, &mut dw, Precision::F32).unwrap();
        let dot = |a: &[f32], b: &[f32]| -> f64 { a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum() };
        let (a, b, c) = (dot(&cx, &y), dot(&x, &ty), dot(&w, &dw));
        let scale = dot(&cx, &cx).sqrt() * dot(&y, &y).sqrt() + 1.0;
        prop_assert!((a - b).abs() < 1e-5 * scale && (a - c).abs() < 1e-5 * scale, "{a} {b} {c}");
    }

    #[test]
    fn buffers_at_guard_pages(g in geometry(), at_end: bool) {
        let make = |v: &[f32]| if at_end { Guarded::before_guard(v) } else { Guarded::after_guard(v) };
        let n = sizes(&g);
        let (x, w, y) = (make(&values(n.x, 1)), make(&values(n.w, 2)), make(&values(n.y, 3)));
        let bias = make(&values(g.out_channels, 4));
        let (mut ox, mut ow, mut oy) = (make(&x), make(&w), make(&y));
        let mut ob = make(&bias);
        for isa in available_isas() {
            for p in PRECISIONS {
                with_isa(isa, || {
                    conv2d_forward(&g, &x[..], &w, Some(&bias), Activation::None, &mut oy[..], p).unwrap();
                    conv2d_backward_data(&g, &y[..], &w, None, Activation::None, &mut ox[..], p).unwrap();
                    conv2d_backward_weights(&g, &x[..], &y[..], &mut ow, p).unwrap();
                    channel_sum(&y[..], &mut ob).unwrap();
                }).unwrap();
            }
        }
    }
}

#[test]
fn bits_do_not_depend_on_threads() {
    let shapes = [
        conv(5, [3, 48], [32, 32], 4, 2, 1),
        conv(4, [33, 70], [12, 20], 3, 1, 1),
        conv(1, [64, 96], [8, 8], 4, 2, 1),
        Conv2d { groups: 24, ..conv(9, [24, 24], [40, 40], 3, 1, 1) },
    ];
    for g in shapes {
        let n = sizes(&g);
        let (x, w, dy) = (values(n.x, 1), values(n.w, 2), values(n.y, 3));
        for isa in available_isas() {
            for p in PRECISIONS {
                let run = |threads: usize| {
                    let pool = rayon_pool(threads);
                    pool.install(|| {
                        with_isa(isa, || {
                            let (mut y, mut dx, mut dw) = (vec![0.0; n.y], vec![0.0; n.x], vec![0.0; n.w]);
                            conv2d_forward(&g, &x, &w, None, Activation::None, &mut y, p).unwrap();
                            conv2d_backward_data(&g, &dy, &w, None, Activation::None, &mut dx, p).unwrap();
                            conv2d_backward_weights(&g, &x, &dy, &mut dw, p).unwrap();
                            let bits = |v: Vec<f32>| v.into_iter().map(f32::to_bits).collect::<Vec<_>>();
                            [bits(y), bits(dx), bits(dw)]
                        })
                        .unwrap()
                    })
                };
                let one = run(1);
                for threads in [2, 3, 5] {
                    assert!(run(threads) == one, "{g:?} {isa:?} {p:?} {threads} threads");
                }
            }
        }
    }
}

fn rayon_pool(threads: usize) -> rayon::ThreadPool {
    rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap()
}

#[test]
fn nan_and_infinity_reach_exactly_what_they_touch() {
    let g = conv(2, [5, 7], [9, 9], 3, 2, 1);
    let n = sizes(&g);
    let (mut x, w) = (values(n.x, 1), values(n.w, 2));
    x[40] = f32::NAN;
    x[700] = f32::INFINITY;
    let (mut nan, mut inf) = (vec![false; n.y], vec![false; n.y]);
    for_products(&g, |xi, _, yi| {
        nan[yi] |= xi == 40;
        inf[yi] |= xi == 700;
    });
    for isa in available_isas() {
        for p in PRECISIONS {
            let mut y = vec![0.0; n.y];
            with_isa(isa, || conv2d_forward(&g, &x, &w, None, Activation::None, &mut y, p)).unwrap().unwrap();
            for i in 0..n.y {
                assert_eq!(y[i].is_nan(), nan[i], "{isa:?} {p:?} {i}");
                assert_eq!(y[i].is_infinite(), inf[i] && !nan[i], "{isa:?} {p:?} {i}");
            }
            let mut dw = vec![0.0; n.w];
            with_isa(isa, || conv2d_backward_weights(&g, &x, &values(n.y, 3), &mut dw, p)).unwrap().unwrap();
            let mut touched = vec![false; n.w];
            for_products(&g, |xi, wi, _| touched[wi] |= xi == 40 || xi == 700);
            for i in 0..n.w {
                assert_eq!(!dw[i].is_finite(), touched[i], "{isa:?} {p:?} {i}");
            }
        }
    }
}

/// Tiles that read in place also see what lies beside a kernel row: a NaN may reach neighbours, but none that it touches
/// is lost, and nothing farther away is.
#[test]
fn nan_in_tiles_that_read_in_place() {
    let g = conv(2, [5, 7], [9, 32], 3, 2, 1);
    let n = sizes(&g);
    let (mut x, w) = (values(n.x, 1), values(n.w, 2));
    x[40] = f32::NAN; // in the first row
    let mut touched = vec![false; n.y];
    for_products(&g, |xi, _, yi| touched[yi] |= xi == 40);
    for isa in available_isas() {
        for p in PRECISIONS {
            let mut y = vec![0.0; n.y];
            with_isa(isa, || conv2d_forward(&g, &x, &w, None, Activation::None, &mut y, p)).unwrap().unwrap();
            assert!(touched.iter().zip(&y).all(|(t, y)| !t || y.is_nan()), "{isa:?} {p:?}");
            assert!(y[16 * 7..].iter().all(|y| y.is_finite()), "{isa:?} {p:?}");
        }
    }
}

#[test]
fn bias_gradient() {
    for channels in [1, 5, 33, 64] {
        let dy = values(3 * 20 * 31 * channels, 1);
        let mut db = vec![0.0; channels];
        channel_sum(&dy, &mut db).unwrap();
        let mut want = vec![Sum::default(); channels];
        dy.iter().enumerate().for_each(|(i, &v)| want[i % channels].add(v.into()));
        assert_close("bias", &db, &want);
    }
    assert!(channel_sum(&vec![0.0f32; 7], &mut [0.0; 2]).unwrap_err().to_string().contains("channel_sum: `x`"));
}

#[test]
fn errors_name_the_shapes() {
    let g = conv(2, [4, 6], [8, 8], 3, 1, 1);
    let n = sizes(&g);
    let (x, w, mut y) = (vec![0.0; n.x], vec![0.0; n.w], vec![0.0; n.y]);
    let forward = |g: &Conv2d, x: &[f32], w: &[f32], y: &mut [f32]| {
        conv2d_forward(g, x, w, None, Activation::None, y, Precision::F32).unwrap_err().to_string()
    };
    let text = forward(&g, &x[1..], &w, &mut y);
    assert!(text.contains("conv2d_forward: `x`") && text.contains("[2, 8, 8, 4]") && text.contains("511"), "{text}");
    let text = forward(&Conv2d { batch: 0, ..g }, &[], &w, &mut []);
    assert!(text.contains("batch is 0"), "{text}");
    let text = forward(&Conv2d { kernel: [11, 3], ..g }, &x, &w, &mut y);
    assert!(text.contains("kernel [11, 3]") && text.contains("8x8"), "{text}");
    let text = forward(&Conv2d { groups: 4, ..g }, &x, &w, &mut y);
    assert!(text.contains("4 input and 6 output channels") && text.contains("4 groups"), "{text}");
    for huge in [
        Conv2d { batch: usize::MAX / 8, ..g },
        Conv2d { padding: [usize::MAX / 2, 0], ..g },
        Conv2d { in_channels: usize::MAX / 2, ..g },
        Conv2d { in_h: usize::MAX, ..g },
        Conv2d { out_channels: 1 << 62, ..g },
    ] {
        let text = forward(&huge, &x, &w, &mut y);
        assert!(text.contains("too large"), "{text}");
    }
    assert!(forward(&Conv2d { stride: [0, 1], ..g }, &x, &w, &mut y).contains("stride is 0"));
    let bias =
        conv2d_forward(&g, &x, &w, Some(&[0.0; 5]), Activation::None, &mut y, Precision::F32).unwrap_err().to_string();
    assert!(bias.contains("`bias` has 5") && bias.contains("[6]"), "{bias}");
}

/// By three products of bf16: far nearer to f32 than bf16 is, on every instruction set.
#[test]
fn products_of_halves() {
    for (batch, channels, size, kernel, stride, padding) in [
        (2, [3, 40], [11, 9], [3, 3], 2, 0),
        (1, [32, 33], [16, 16], [3, 3], 1, 1),
        (3, [65, 70], [5, 7], [1, 7], 1, 0),
        (17, [48, 64], [4, 4], [1, 1], 1, 0),
        (2, [6, 8], [6, 5], [7, 1], 1, 3),
    ] {
        let padding = [if kernel[0] == 1 { 0 } else { padding }, if kernel[1] == 1 { 0 } else { padding }];
        let g = Conv2d { kernel, padding, ..conv(batch, channels, size, 1, stride, 0) };
        let n = sizes(&g);
        // Of either sign and of sizes from 2^-8 to 2^8.
        let sized = |n, seed| -> Vec<f32> {
            values(n, seed).iter().zip(values(n, seed + 1)).map(|(v, e)| v * (8.0 * e).exp2()).collect()
        };
        let (x, w, bias) = (sized(n.x, 1), values(n.w, 3), values(g.out_channels, 5));
        let mut want = vec![Sum::default(); n.y];
        for_products(&g, |xi, wi, yi| want[yi].add(f64::from(x[xi]) * f64::from(w[wi])));
        want.iter_mut().enumerate().for_each(|(i, s)| s.add(bias[i % g.out_channels].into()));
        for isa in available_isas() {
            with_isa(isa, || {
                let packed = PackedWeights::split(&g, &w).unwrap();
                assert!(packed.is_split() && packed.fits(&g, false, Precision::Bf16));
                let mut y = vec![f32::NAN; n.y];
                conv2d_forward_packed(&g, &x, &packed, Some(&bias), Activation::None, &mut y).unwrap();
                let worst = y.iter().zip(&want).map(|(y, s)| (f64::from(*y) - s.value).abs() / s.magnitude);
                let worst = worst.fold(0.0, f64::max);
                println!("{g:?} {isa:?}: {:.1} of 2^-16 of the sum of |x w|", worst * 65536.0);
                assert_close(&format!("{g:?} {isa:?}"), &y, &want);
                // Pictures alone are as they are among others.
                let one = Conv2d { batch: 1, ..g };
                let mut alone = vec![f32::NAN; n.y / batch];
                let first = &x[..n.x / batch];
                conv2d_forward_packed(&one, first, &packed, Some(&bias), Activation::None, &mut alone).unwrap();
                assert!(alone.iter().zip(&y).all(|(a, b)| (a - b).abs() <= 1e-6 * b.abs().max(1e-3)), "{g:?} {isa:?}");
            })
            .unwrap();
        }
    }
}
