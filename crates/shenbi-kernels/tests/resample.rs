//! Halving and doubling against their definition, and as each other's adjoint.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use proptest::prelude::*;
use shenbi_kernels::*;

/// `[small][large]` in one dimension.
fn matrix(filter: Filter, large: usize) -> Vec<Vec<f64>> {
    let (taps, before): (&[f64], isize) = match filter {
        Filter::Box => (&[0.5, 0.5], 0),
        Filter::Binomial => (&[0.125, 0.375, 0.375, 0.125], 1),
    };
    let mut rows = vec![vec![0.0; large]; large / 2];
    for (o, row) in rows.iter_mut().enumerate() {
        for (i, tap) in taps.iter().enumerate() {
            let at = (2 * o + i) as isize - before;
            if (0..large as isize).contains(&at) {
                row[at as usize] = *tap;
            }
        }
    }
    rows
}

fn check(g: &Resample) {
    let Resample { batch, height, width, channels, .. } = *g;
    let (rows, columns) = (matrix(g.filter, height), matrix(g.filter, width));
    let (large, small) =
        (values(batch * height * width * channels, 1), values(batch * height * width * channels / 4, 2));
    let (mut down, mut up) = (vec![Sum::default(); small.len()], vec![Sum::default(); large.len()]);
    for (n, y, x, c) in (0..batch).flat_map(|n| {
        (0..height / 2).flat_map(move |y| (0..width / 2).flat_map(move |x| (0..channels).map(move |c| (n, y, x, c))))
    }) {
        let s = ((n * height / 2 + y) * (width / 2) + x) * channels + c;
        for (i, j) in (0..height).flat_map(|i| (0..width).map(move |j| (i, j))) {
            let (l, weight) = (((n * height + i) * width + j) * channels + c, rows[y][i] * columns[x][j]);
            if weight != 0.0 {
                down[s].add(weight * f64::from(large[l]) * f64::from(g.gain));
                up[l].add(weight * f64::from(small[s]) * f64::from(g.gain));
            }
        }
    }
    for isa in available_isas() {
        let (mut got_down, mut got_up) = (Guarded::before_guard(&small), Guarded::before_guard(&large));
        let (large, small) = (Guarded::before_guard(&large), Guarded::before_guard(&small));
        with_isa(isa, || {
            downsample(g, &large[..], &mut got_down[..]).unwrap();
            upsample(g, &small[..], &mut got_up[..]).unwrap();
        })
        .unwrap();
        assert_close(&format!("down {g:?} {isa:?}"), &got_down, &down);
        assert_close(&format!("up {g:?} {isa:?}"), &got_up, &up);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn any_size(batch in 1usize..4, h in 1usize..7, w in 1usize..9, channels in 1usize..40, box_filter: bool) {
        let filter = if box_filter { Filter::Box } else { Filter::Binomial };
        check(&Resample { batch, height: 2 * h, width: 2 * w, channels, filter, gain: 1.0 });
    }
}

#[test]
fn constants_stay_constant_and_storage_does_not_matter() {
    let g = Resample { batch: 1, height: 8, width: 8, channels: 3, filter: Filter::Box, gain: 4.0 };
    let mut large = vec![bf16::NAN; 192];
    upsample(&g, &[bf16::from_f32(0.75); 48], &mut large).unwrap();
    assert!(large.iter().all(|v| v.to_f32() == 0.75));
    let mut small = vec![bf16::NAN; 48];
    downsample(&Resample { gain: 1.0, ..g }, &large, &mut small).unwrap();
    assert!(small.iter().all(|v| v.to_f32() == 0.75));
}

#[test]
fn errors_name_the_shapes() {
    let g = Resample { batch: 1, height: 5, width: 4, channels: 1, filter: Filter::Box, gain: 1.0 };
    let text = downsample(&g, &[0.0f32; 20], &mut [0.0; 4]).unwrap_err().to_string();
    assert!(text.contains("downsample: pictures of 5x4") && text.contains("even"), "{text}");
    let text = upsample(&Resample { height: 4, ..g }, &[0.0f32; 3], &mut [0.0; 16]).unwrap_err().to_string();
    assert!(text.contains("`small` has 3") && text.contains("[1, 2, 2, 1]"), "{text}");
    let text = upsample(&Resample { channels: 0, ..g }, &[0.0f32; 0], &mut []).unwrap_err().to_string();
    assert!(text.contains("channels is 0"), "{text}");
}
