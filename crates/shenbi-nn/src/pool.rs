//! Pooling, as PyTorch has it. On the CPU in one pass over pictures as they lie (channels-last), for means only where no
//! gradient is wanted: Burn's own takes ten times as long, and turns them over first.

use burn::backend::Dispatch;
use burn::tensor::ops::{AvgPoolOptions, MaxPoolOptions};
use burn::tensor::{Tensor, TensorData, module};
use rayon::prelude::*;

use crate::kernels::{Kernels, MaxPool};
use crate::ops::{autodiff, on_cpu, to_f32};
use crate::weights::values;

/// Square windows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Pool {
    /// Their side.
    pub kernel: usize,
    /// Pixels between two of them.
    pub stride: usize,
    /// Pixels that they may begin before the picture, at most half the kernel.
    pub padding: usize,
    /// Whether the last ones may hang over the edge.
    pub ceil: bool,
}

impl Pool {
    /// Windows that lie inside.
    pub const fn new(kernel: usize, stride: usize) -> Self {
        Self { kernel, stride, padding: 0, ceil: false }
    }

    /// The same, with the last ones hanging over the edge.
    pub const fn hanging_over(self) -> Self {
        Self { ceil: true, ..self }
    }

    /// The same, beginning before the picture.
    pub const fn padded(self, padding: usize) -> Self {
        Self { padding, ..self }
    }

    /// Windows along a side; each sees a pixel.
    fn count(&self, side: usize) -> usize {
        let room = (side + 2 * self.padding).saturating_sub(self.kernel);
        let steps = if self.ceil { room.div_ceil(self.stride) } else { room / self.stride };
        (steps + 1).min((side + self.padding).div_ceil(self.stride))
    }

    /// The pixels of a side that a window sees.
    fn window(&self, at: usize, side: usize) -> std::ops::Range<usize> {
        let begin = at * self.stride;
        begin.saturating_sub(self.padding)..(begin + self.kernel).saturating_sub(self.padding).min(side)
    }
}

/// The largest value of each window: PyTorch's `max_pool2d`. Of x's type on the CPU, in f32 elsewhere.
///
/// # Shapes
/// x: `[b, c, h, w]`, returns `[b, c, h', w']` with h' = ⌊(h + 2 padding - kernel) / stride⌋ + 1, or ⌈..⌉ where windows
/// hang over.
pub fn max_pool2d(x: Tensor<4>, pool: Pool) -> Tensor<4> {
    let Pool { kernel, stride, padding, .. } = pool;
    if on_cpu(x.device()) {
        let [batch, channels, h, w] = x.dims();
        let windows = [h, w].map(|side| pool.count(side));
        let how = MaxPool { batch, size: [h, w], channels, kernel, stride, padding, windows };
        return Tensor::from_dispatch(Dispatch::shenbi_max_pool(x.into_dispatch(), how));
    }
    let options =
        MaxPoolOptions::new([kernel; 2]).with_stride([stride; 2]).with_padding([padding; 2]).with_ceil_mode(pool.ceil);
    module::max_pool2d(to_f32(x), options)
}

/// The largest value over all pixels, in x's type on the CPU.
///
/// # Shapes
/// x: `[b, c, h, w]`, returns `[b, c]`.
pub fn max_of_pixels(x: Tensor<4>) -> Tensor<2> {
    let [b, c, h, w] = x.dims();
    if on_cpu(x.device()) {
        return max_pool2d(x, Pool::new(h.max(w), 1)).reshape([b, c]);
    }
    x.reshape([b, c, h * w]).max_dim(2).reshape([b, c])
}

/// The mean of each window, in f32: PyTorch's `avg_pool2d`, without windows that hang over. `zeros`: whether pixels
/// outside of the picture count as zeros (`count_include_pad`), or not at all.
///
/// # Shapes
/// As [`max_pool2d`].
pub fn avg_pool2d(x: Tensor<4>, pool: Pool, zeros: bool) -> Tensor<4> {
    let x = to_f32(x);
    let [_, _, h, w] = x.dims();
    if on_cpu(x.device()) && !autodiff(&x.device()) {
        let sums = sums(x, pool);
        let [rows, columns] = [h, w].map(|side| pool.count(side));
        let weight = |row, column| {
            let seen = pool.window(row, h).len() * pool.window(column, w).len();
            1.0 / if zeros { pool.kernel * pool.kernel } else { seen } as f32
        };
        let weights = (0..rows).flat_map(|row| (0..columns).map(move |column| weight(row, column))).collect();
        let weights = TensorData::new::<f32, _>(weights, [1, rows, columns, 1]);
        let weights = Tensor::<4>::from_data(weights, &sums.device());
        return (sums.permute([0, 2, 3, 1]) * weights).permute([0, 3, 1, 2]);
    }
    let options = AvgPoolOptions::new([pool.kernel; 2])
        .with_stride([pool.stride; 2])
        .with_padding([pool.padding; 2])
        .with_count_include_pad(zeros);
    module::avg_pool2d(x, options)
}

/// The mean over all pixels, in f32.
///
/// # Shapes
/// x: `[b, c, h, w]`, returns `[b, c]`.
pub fn mean_of_pixels(x: Tensor<4>) -> Tensor<2> {
    let [b, c, h, w] = x.dims();
    to_f32(x).permute([0, 2, 3, 1]).reshape([b, h * w, c]).mean_dim(1).reshape([b, c])
}

/// The sum of the pixels of each window.
fn sums(x: Tensor<4>, pool: Pool) -> Tensor<4> {
    let ([b, c, h, w], device) = (x.dims(), x.device());
    let [rows, columns] = [h, w].map(|side| pool.count(side));
    let x = values(x.permute([0, 2, 3, 1])).data; // [b, h, w, c]
    let mut y = vec![0.0; b * rows * columns * c];
    if !y.is_empty() {
        y.par_chunks_exact_mut(columns * c).enumerate().for_each(|(row, y)| {
            let (picture, row) = (row / rows, row % rows);
            for line in pool.window(row, h) {
                let x = &x[(picture * h + line) * w * c..][..w * c];
                for (column, y) in y.chunks_exact_mut(c).enumerate() {
                    let seen = pool.window(column, w);
                    for x in x[seen.start * c..seen.end * c].chunks_exact(c) {
                        y.iter_mut().zip(x).for_each(|(y, x)| *y += x);
                    }
                }
            }
        });
    }
    Tensor::<4>::from_data(TensorData::new(y, [b, rows, columns, c]), &device).permute([0, 3, 1, 2])
}
