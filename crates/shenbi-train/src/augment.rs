//! Differentiable augmentation that keeps what captions name (DiffAugment, 2006.10738, without its colour part):
//! pictures are shifted and a square is cut out; colours, left and right stay.

use burn::tensor::ops::PadMode;
use burn::tensor::{Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use shenbi_data::rng;

/// Pictures are shifted by up to this share of a side.
const SHIFT: f64 = 0.125;
/// The side of the square that is cut out, as a share of the picture's.
const CUT: f64 = 0.4;
/// Pictures that share a shift: a shift is one slice a group, so groups keep it cheap.
const GROUP: usize = 8;

/// Shifts and cuts a batch. The same function serves real and generated pictures, each with its own draws.
///
/// # Shapes
/// x: `[b, c, h, w]` in [-1, 1], returns the same. What moves in from outside, and what is cut, is `fill`.
pub fn shift_and_cut(x: Tensor<4>, fill: f32, rng: &mut ChaCha8Rng) -> Tensor<4> {
    let [b, c, h, w] = x.dims();
    let [reach_y, reach_x] = [h, w].map(|side| (side as f64 * SHIFT).round() as usize);
    let padded = x.pad((reach_x, reach_x, reach_y, reach_y), PadMode::Constant(fill));
    let groups = (0..b).step_by(GROUP).map(|start| {
        let n = GROUP.min(b - start);
        let top = rng::below(rng, 2 * reach_y as u64 + 1) as usize;
        let left = rng::below(rng, 2 * reach_x as u64 + 1) as usize;
        padded.clone().slice([start..start + n, 0..c, top..top + h, left..left + w])
    });
    let shifted = Tensor::cat(groups.collect(), 0);
    let mut mask = vec![1.0f32; b * h * w];
    let [cut_h, cut_w] = [h, w].map(|side| (side as f64 * CUT).round() as usize);
    for picture in mask.chunks_exact_mut(h * w) {
        let top = rng::below(rng, (h + cut_h) as u64) as usize; // the square's end, may lie outside
        let left = rng::below(rng, (w + cut_w) as u64) as usize;
        for y in top.saturating_sub(cut_h)..top.min(h) {
            picture[y * w + left.saturating_sub(cut_w).min(w)..y * w + left.min(w)].fill(0.0);
        }
    }
    let mask = Tensor::<4>::from_data(TensorData::new(mask, [b, 1, h, w]), &shifted.device());
    shifted * mask.clone() + mask.neg().add_scalar(1.0).mul_scalar(fill)
}
