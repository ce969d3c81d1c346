//! The largest value of each window, and its gradient, against their definition.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use proptest::prelude::*;
use shenbi_kernels::*;

/// The pixels that a window sees, row by row, as places in the picture.
fn window(g: &MaxPool, row: usize, column: usize) -> Vec<usize> {
    let side = |at: usize, n: usize| {
        let begin = (at * g.stride) as isize - g.padding as isize;
        (begin..begin + g.kernel as isize).filter(move |i| (0..n as isize).contains(i)).map(|i| i as usize)
    };
    side(row, g.size[0]).flat_map(|y| side(column, g.size[1]).map(move |x| y * g.size[1] + x)).collect()
}

fn check(g: &MaxPool) {
    let MaxPool { batch, size: [h, w], channels, windows: [rows, columns], .. } = *g;
    // Few different values: many are equal.
    let x: Vec<f32> = values(batch * h * w * channels, 1).into_iter().map(|v| (v * 2.0).round()).collect();
    let dy = values(batch * rows * columns * channels, 2);
    let (mut y, mut dx) = (vec![0.0; dy.len()], vec![0.0; x.len()]);
    for n in 0..batch {
        for (row, column, c) in
            (0..rows).flat_map(|r| (0..columns).flat_map(move |k| (0..channels).map(move |c| (r, k, c))))
        {
            let o = ((n * rows + row) * columns + column) * channels + c;
            let at = |pixel: usize| (n * h * w + pixel) * channels + c;
            let seen = window(g, row, column);
            y[o] = seen.iter().map(|p| x[at(*p)]).fold(f32::NEG_INFINITY, f32::max);
            let first = seen.into_iter().find(|p| x[at(*p)] == y[o]).unwrap();
            dx[at(first)] += dy[o];
        }
    }
    for isa in available_isas() {
        let (mut got_y, mut got_dx) = (Guarded::before_guard(&dy), Guarded::before_guard(&x));
        let (x, dy) = (Guarded::before_guard(&x), Guarded::before_guard(&dy));
        with_isa(isa, || {
            max_pool_forward(g, &x[..], &mut got_y[..]).unwrap();
            max_pool_backward(g, &x[..], &got_y[..], &dy[..], &mut got_dx[..]).unwrap();
        })
        .unwrap();
        assert_eq!(&got_y[..], &y[..], "{g:?} {isa:?}");
        assert!(got_dx.iter().zip(&dx).all(|(a, b)| (a - b).abs() < 1e-5), "{g:?} {isa:?}");
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_windows(batch in 1usize..4, h in 3usize..9, w in 3usize..9, channels in 1usize..40, kernel in 1usize..4,
        stride in 1usize..4, padded: bool) {
        let padding = if padded { kernel / 2 } else { 0 };
        let windows = [h, w].map(|side| (side + 2 * padding - kernel) / stride + 1);
        check(&MaxPool { batch, size: [h, w], channels, kernel, stride, padding, windows });
    }
}

#[test]
fn hanging_windows_see_what_there_is_and_bf16_is_exact() {
    check(&MaxPool { batch: 2, size: [6, 4], channels: 33, kernel: 3, stride: 2, padding: 0, windows: [3, 2] });
    let g = MaxPool { batch: 1, size: [1, 2], channels: 1, kernel: 2, stride: 1, padding: 0, windows: [1, 1] };
    let (mut y, mut dx) = ([bf16::ZERO], [bf16::ONE; 2]);
    let x = [-1.5, -0.25].map(bf16::from_f32);
    max_pool_forward(&g, &x, &mut y).unwrap();
    max_pool_backward(&g, &x, &y, &[bf16::from_f32(3.0)], &mut dx).unwrap();
    assert_eq!((y, dx), ([x[1]], [0.0, 3.0].map(bf16::from_f32)));
    let mut y = [0.0f32];
    max_pool_forward(&g, &[f32::NAN, 1.0], &mut y).unwrap();
    assert!(y[0].is_nan());
}

#[test]
fn errors_name_the_shapes() {
    let g = MaxPool { batch: 1, size: [4, 4], channels: 1, kernel: 2, stride: 2, padding: 0, windows: [3, 2] };
    let text = max_pool_forward(&g, &[0.0f32; 16], &mut [0.0; 6]).unwrap_err().to_string();
    assert!(text.contains("max_pool_forward") && text.contains("see no pixel"), "{text}");
    let g = MaxPool { windows: [2, 2], ..g };
    let text = max_pool_forward(&g, &[0.0f32; 15], &mut [0.0; 4]).unwrap_err().to_string();
    assert!(text.contains("`x` has 15"), "{text}");
    let text = max_pool_backward(&g, &[0.0f32; 16], &[0.0; 4], &[0.0; 3], &mut [0.0; 16]).unwrap_err().to_string();
    assert!(text.contains("`dy` has 3"), "{text}");
    let text = max_pool_forward(&MaxPool { stride: 0, ..g }, &[0.0f32; 16], &mut [0.0; 4]).unwrap_err().to_string();
    assert!(text.contains("stride is 0"), "{text}");
}
