//! Pictures of a training run as pretrained networks want them, in operations that gradients pass through: a generator
//! learns from what such a network sees.

use burn::tensor::{Tensor, TensorData};
use shenbi_nn::ops;

use super::interpolation;

/// How a network wants colours: a value from -1 to 1 times a scale plus a shift, of red, green and blue.
#[derive(Clone, Copy, Debug)]
pub struct Colours {
    /// Times this...
    pub scale: [f32; 3],
    /// ...plus this.
    pub shift: [f32; 3],
}

impl Colours {
    /// For a network that wants RGB from 0 to 1 less means over deviations.
    pub fn normal(means: [f32; 3], deviations: [f32; 3]) -> Self {
        let shift = [0, 1, 2].map(|c| (0.5 - means[c]) / deviations[c]);
        Self { scale: deviations.map(|deviation| 0.5 / deviation), shift }
    }

    /// # Shapes
    /// x: `[b, 3, h, w]`, returns the same.
    pub fn apply(&self, x: Tensor<4>) -> Tensor<4> {
        let device = x.device().without_autodiff();
        let row = |v: [f32; 3]| Tensor::<4>::from_data(TensorData::new(v.to_vec(), [1, 3, 1, 1]), &device);
        x * row(self.scale) + row(self.shift)
    }
}

/// Grey as RGB; of RGBA every other picture of a batch on black and on white, so that alpha tells.
///
/// # Shapes
/// x: `[b, 1 to 4, h, w]` in [-1, 1], returns `[b, 3, h, w]`.
pub fn rgb(x: Tensor<4>) -> Tensor<4> {
    let [b, c, _, _] = x.dims();
    match c {
        1 => x.repeat_dim(1, 3),
        4 => {
            let behind: Vec<f32> = (0..b).map(|i| if i % 2 == 0 { -1.0 } else { 1.0 }).collect();
            let device = x.device().without_autodiff();
            let behind = Tensor::<4>::from_data(TensorData::new(behind, [b, 1, 1, 1]), &device);
            let alpha = x.clone().narrow(1, 3, 1).add_scalar(1.0).mul_scalar(0.5); // [b, 1, h, w]
            (x.narrow(1, 0, 3) - behind.clone()) * alpha + behind
        }
        _ => x,
    }
}

/// `[b, c, h, w]` to `[b, c, side, side]`: bilinear, antialiased where a side shrinks.
pub fn resized(x: Tensor<4>, side: usize) -> Tensor<4> {
    let [_, _, h, w] = x.dims();
    if [h, w] == [side; 2] {
        return x;
    }
    let device = x.device().without_autodiff();
    let matrix = |from| Tensor::<2>::from_data(TensorData::new(interpolation(from, side), [side, from]), &device);
    let wide = ops::linear(x, matrix(w), None); // [b, c, h, side]
    ops::linear(wide.swap_dims(2, 3), matrix(h), None).swap_dims(2, 3)
}
