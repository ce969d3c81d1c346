//! Differentiable augmentation (DiffAugment, 2006.10738): D sees real and generated pictures changed in the same random
//! ways, so that a few thousand pictures do not become known by heart. Each picture is changed with probability p, which
//! ADA (2006.06676) steers.

use burn::tensor::ops::PadMode;
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use rand_chacha::rand_core::Rng;
use serde::{Deserialize, Serialize};
use shenbi_data::rng;
use shenbi_nn::kernels::Precision;

/// Pictures are shifted by up to this share of a side.
const SHIFT: f64 = 0.125;
/// The side of the square that is cut out, as a share of the picture's.
const CUT: f64 = 0.5;
/// The same where captions should still be true.
const SMALL_CUT: f64 = 0.4;
/// Pictures that share a shift: a shift is one slice a group, so groups keep it cheap.
const GROUP: usize = 8;

/// From one grey level of 8 bits to the next, in [-1, 1].
const LEVEL: f32 = 2.0 / 255.0;

/// A kind of change (DiffAugment, section 3.2).
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Policy {
    /// Brightness, saturation and contrast.
    Color,
    /// A shift by up to an eighth of a side.
    Translation,
    /// A square of half the side is cut out.
    Cutout,
}

/// Changes each picture of a batch by each policy with probability `p`. The same function serves real and generated
/// pictures, each with its own draws.
///
/// # Shapes
/// x: `[b, c, h, w]` in [-1, 1], returns the same. What moves in from outside, and what is cut, is `fill`.
pub fn augment(x: Tensor<4>, policies: &[Policy], p: f64, fill: f32, rng: &mut ChaCha8Rng) -> Tensor<4> {
    policies.iter().fold(x, |x, policy| {
        let changed = match policy {
            Policy::Color => color(x.clone(), rng),
            Policy::Translation => translate(x.clone(), fill, rng),
            Policy::Cutout => cutout(x.clone(), CUT, fill, rng),
        };
        if p >= 1.0 {
            return changed;
        }
        let chosen = |rng: &mut ChaCha8Rng| if rng::uniform_f64(rng) < p { 1.0 } else { 0.0 };
        let mask = rows(x.dims()[0], &x.device(), || chosen(rng));
        x.clone() + (changed - x) * mask
    })
}

/// Shifts and cuts a batch, so that colours, left and right, which captions name, stay.
///
/// # Shapes
/// As [`augment`].
pub fn shift_and_cut(x: Tensor<4>, fill: f32, rng: &mut ChaCha8Rng) -> Tensor<4> {
    let x = translate(x, fill, rng);
    cutout(x, SMALL_CUT, fill, rng)
}

/// Adds to each number up to half a grey level, up or down, where networks compute in bf16: what was lost when a picture
/// was rounded to 8 bits. Real and generated pictures alike, each with its own draws.
///
/// Areas of exactly one colour are rounded to one and the same wrong number in each layer of a bf16 network, and these
/// errors add up where others cancel. Without dither D tells real pictures by their sum, which is no property of the
/// picture and has no gradient that G could follow.
///
/// # Shapes
/// x: `[b, c, h, w]` in [-1, 1], returns the same.
pub fn dither(x: Tensor<4>, precision: Precision, rng: &mut ChaCha8Rng) -> Tensor<4> {
    if precision == Precision::F32 {
        return x;
    }
    let shape = x.dims();
    let mut bytes = vec![0; shape.iter().product()];
    rng.fill_bytes(&mut bytes);
    let noise: Vec<f32> = bytes.iter().map(|&byte| (f32::from(byte) / 255.0 - 0.5) * LEVEL).collect();
    let device = x.device().without_autodiff();
    x + Tensor::from_data(TensorData::new(noise, shape), &device)
}

/// What lies outside a picture of so many channels: nothing (transparent black) for RGBA, grey otherwise.
pub fn fill(channels: usize) -> f32 {
    if channels == 4 { -1.0 } else { 0.0 }
}

/// One number a picture, `[b, 1, 1, 1]`.
fn rows(b: usize, device: &Device, mut draw: impl FnMut() -> f32) -> Tensor<4> {
    let numbers: Vec<f32> = (0..b).map(|_| draw()).collect();
    Tensor::from_data(TensorData::new(numbers, [b, 1, 1, 1]), &device.clone().without_autodiff())
}

/// Brightness ±0.5, saturation 0 to 2, contrast 0.5 to 1.5; alpha stays.
fn color(x: Tensor<4>, rng: &mut ChaCha8Rng) -> Tensor<4> {
    let [b, c, _, _] = x.dims();
    let device = x.device();
    let mut draw = |low: f32, high: f32| rows(b, &device, || low + (high - low) * rng::uniform(rng));
    let colours = c.min(3);
    let y = x.clone().narrow(1, 0, colours) + draw(-0.5, 0.5);
    let grey = y.clone().mean_dim(1); // [b, 1, h, w]
    let y = (y - grey.clone()) * draw(0.0, 2.0) + grey;
    let mean = y.clone().mean_dims(&[1, 2, 3]); // [b, 1, 1, 1]
    let y = (y - mean.clone()) * draw(0.5, 1.5) + mean;
    if c == colours { y } else { Tensor::cat(vec![y, x.narrow(1, colours, c - colours)], 1) }
}

fn translate(x: Tensor<4>, fill: f32, rng: &mut ChaCha8Rng) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let [reach_y, reach_x] = [h, w].map(|side| (side as f64 * SHIFT).round() as usize);
    let padded = x.pad((reach_x, reach_x, reach_y, reach_y), PadMode::Constant(fill));
    let groups = (0..b).step_by(GROUP).map(|start| {
        let n = GROUP.min(b - start);
        let top = rng::below(rng, 2 * reach_y as u64 + 1) as usize;
        let left = rng::below(rng, 2 * reach_x as u64 + 1) as usize;
        padded.clone().slice([start..start + n, 0..c, top..top + h, left..left + w])
    });
    Tensor::cat(groups.collect(), 0)
}

fn cutout(x: Tensor<4>, share: f64, fill: f32, rng: &mut ChaCha8Rng) -> Tensor<4> {
    let [b, _, h, w] = x.dims();
    let mut mask = vec![1.0f32; b * h * w];
    let [cut_h, cut_w] = [h, w].map(|side| (side as f64 * share).round() as usize);
    for picture in mask.chunks_exact_mut(h * w) {
        let top = rng::below(rng, (h + cut_h) as u64) as usize; // the square's end, may lie outside
        let left = rng::below(rng, (w + cut_w) as u64) as usize;
        for y in top.saturating_sub(cut_h)..top.min(h) {
            picture[y * w + left.saturating_sub(cut_w).min(w)..y * w + left.min(w)].fill(0.0);
        }
    }
    let mask = Tensor::<4>::from_data(TensorData::new(mask, [b, 1, h, w]), &x.device());
    x * mask.clone() + mask.neg().add_scalar(1.0).mul_scalar(fill)
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use shenbi_nn::weights::values;

    use super::*;

    const ALL: [Policy; 3] = [Policy::Color, Policy::Translation, Policy::Cutout];

    /// `[16, channels, 8, 8]`, each picture of its own values.
    fn pictures(channels: usize) -> Tensor<4> {
        let n = 16 * channels * 64;
        let numbers: Vec<f32> = (0..n).map(|i| (i * 7919 % 1013) as f32 / 506.5 - 1.0).collect();
        Tensor::from_data(TensorData::new(numbers, [16, channels, 8, 8]), &Device::flex())
    }

    /// The share of pictures that are not what they were.
    fn changed(x: &Tensor<4>, y: Tensor<4>) -> f64 {
        let each = x.dims()[1] * 64;
        let (x, y) = (values(x.clone()).data, values(y).data);
        x.chunks(each).zip(y.chunks(each)).filter(|(x, y)| x != y).count() as f64 / 16.0
    }

    #[test]
    fn pictures_change_as_often_as_asked() {
        let x = pictures(3);
        let mut draws = rng::stream(1, "test", 0);
        assert_eq!(changed(&x, augment(x.clone(), &ALL, 0.0, 0.0, &mut draws)), 0.0);
        assert_eq!(changed(&x, augment(x.clone(), &ALL, 1.0, 0.0, &mut draws)), 1.0);
        let some: f64 = (0..20).map(|_| changed(&x, augment(x.clone(), &[Policy::Color], 0.3, 0.0, &mut draws))).sum();
        assert!((some / 20.0 - 0.3).abs() < 0.1, "{some}");
    }

    #[test]
    fn dither_is_of_half_a_level_and_of_bf16_only() {
        let x = pictures(3);
        let mut draws = rng::stream(3, "test", 0);
        assert_eq!(changed(&x, dither(x.clone(), Precision::F32, &mut draws)), 0.0);
        let noise = values(dither(x.clone(), Precision::Bf16, &mut draws) - x).data;
        assert!(noise.iter().all(|value| value.abs() <= 0.5001 * LEVEL));
        let n = noise.len() as f32;
        let mean = noise.iter().sum::<f32>() / n;
        let deviation = (noise.iter().map(|value| value * value).sum::<f32>() / n).sqrt();
        assert!(mean.abs() < 0.03 * LEVEL, "{mean}");
        assert!((deviation / LEVEL * 12f32.sqrt() - 1.0).abs() < 0.05, "{deviation}");
    }

    #[test]
    fn each_policy_does_what_it_says() {
        let x = pictures(4);
        let mut draws = rng::stream(2, "test", 0);
        let y = values(augment(x.clone(), &[Policy::Color], 1.0, -1.0, &mut draws)).data;
        let before = values(x.clone()).data;
        let alpha = |data: &[f32]| data.chunks(256).flat_map(|picture| picture[192..].to_vec()).collect::<Vec<f32>>();
        assert_eq!(alpha(&before), alpha(&y), "alpha is no colour");
        // A shift only moves values; what comes in is the filling.
        let y = values(augment(x.clone(), &[Policy::Translation], 1.0, 9.0, &mut draws)).data;
        for (before, after) in before.chunks(64).zip(y.chunks(64)) {
            assert!(after.iter().all(|value| *value == 9.0 || before.contains(value)));
        }
        // A hole of at most 4x4 pixels.
        let y = values(augment(x, &[Policy::Cutout], 1.0, 9.0, &mut draws)).data;
        for (before, after) in before.chunks(64).zip(y.chunks(64)) {
            let holes = before.iter().zip(after).filter(|(before, after)| before != after).count();
            assert!(holes <= 16 && before.iter().zip(after).all(|(b, a)| b == a || *a == 9.0));
        }
    }
}
