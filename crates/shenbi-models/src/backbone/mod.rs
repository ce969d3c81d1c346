//! Networks that others trained on photographs: what they see in pictures is compared, instead of pixels.
//!
//! A backbone is built from a file's named tensors and never trained here. Its weights, the size it wants and the way
//! pictures are brought to that size all change a score, so all of them belong in the score's protocol.

pub mod alexnet;
pub mod branches;
pub mod googlenet;
pub mod inception;
pub mod load;
pub mod residual;
pub mod squeezenet;
pub mod stages;
pub mod transformer;
pub mod vgg;
pub mod view;
pub mod vit;

pub use alexnet::AlexNet;
pub use googlenet::GoogLeNet;
pub use inception::InceptionV3;
pub use load::Tensors;
pub use residual::ResNet;
pub use squeezenet::SqueezeNet;
pub use vgg::Vgg16;
pub use vit::Vit;

/// What the protocol calls [`resize`].
pub const RESIZER: &str = "bilinear-antialiased";

/// Planes at another size, stretched to it: bilinear with half-pixel centres. Where a side shrinks, the triangle widens
/// to cover all of the source (antialiasing, 2104.11222); where it grows, this is plain bilinear interpolation. In
/// floats, without rounding: PyTorch's `interpolate(mode="bilinear", align_corners=False, antialias=True)`.
///
/// # Shapes
/// planes: `[n, from[0], from[1]]`, returns `[n, to[0], to[1]]`; sizes are height and width.
pub fn resize(planes: &[f32], from: [usize; 2], to: [usize; 2]) -> Vec<f32> {
    let [height, width] = from;
    if height == 0 || width == 0 {
        return Vec::new();
    }
    let single = |taps: Vec<Taps>| -> Vec<(usize, Vec<f32>)> {
        taps.into_iter().map(|Taps { start, weights }| (start, weights.iter().map(|w| *w as f32).collect())).collect()
    };
    let rows = single(taps(height, to[0], Filter::Triangle));
    let columns = single(taps(width, to[1], Filter::Triangle));
    let mut out = Vec::with_capacity(planes.len() / (height * width) * to[0] * to[1]);
    for plane in planes.chunks_exact(height * width) {
        let mut wide = Vec::with_capacity(height * to[1]); // [height, to[1]]
        for row in plane.chunks_exact(width) {
            wide.extend(columns.iter().map(|(start, weights)| {
                weights.iter().zip(&row[*start..]).map(|(weight, value)| weight * value).sum::<f32>()
            }));
        }
        for (start, weights) in &rows {
            let begin = out.len();
            out.resize(begin + to[1], 0.0);
            for (weight, row) in weights.iter().zip(wide.chunks_exact(to[1]).skip(*start)) {
                out[begin..].iter_mut().zip(row).for_each(|(sum, value)| *sum += weight * value);
            }
        }
    }
    out
}

/// [`resize`] along one side as a matrix, `[to, from]`, row-major.
pub fn interpolation(from: usize, to: usize) -> Vec<f32> {
    let mut matrix = vec![0.0; to * from];
    for (row, Taps { start, weights }) in matrix.chunks_exact_mut(from.max(1)).zip(taps(from, to, Filter::Triangle)) {
        row[start..].iter_mut().zip(weights).for_each(|(entry, weight)| *entry = weight as f32);
    }
    matrix
}

/// How much a pixel counts, by its distance.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Filter {
    /// 1 - |x| up to 1: bilinear interpolation.
    Triangle,
    /// Cubic convolution (Keys, 1981) with a = -0.5, up to 2: bicubic interpolation.
    Cubic,
}

impl Filter {
    fn support(self) -> f64 {
        match self {
            Self::Triangle => 1.0,
            Self::Cubic => 2.0,
        }
    }

    fn at(self, x: f64) -> f64 {
        const A: f64 = -0.5;
        let x = x.abs();
        match self {
            Self::Triangle => (1.0 - x).max(0.0),
            Self::Cubic if x < 1.0 => ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0,
            Self::Cubic if x < 2.0 => (((x - 5.0) * x + 8.0) * x - 4.0) * A,
            Self::Cubic => 0.0,
        }
    }
}

/// What one output is made of.
pub struct Taps {
    /// The first input.
    pub start: usize,
    /// Of that and the next ones; they sum to 1.
    pub weights: Vec<f64>,
}

/// The taps of each of `to` outputs over `from` inputs: where a side shrinks, the filter widens to cover all of the source,
/// as PIL and PyTorch's antialiasing have it.
pub fn taps(from: usize, to: usize, filter: Filter) -> Vec<Taps> {
    let scale = from as f64 / to as f64;
    let wide = scale.max(1.0);
    let reach = filter.support() * wide;
    let of_output = |i: usize| {
        let centre = (i as f64 + 0.5) * scale;
        let start = (centre - reach + 0.5).max(0.0) as usize;
        let end = ((centre + reach + 0.5) as usize).min(from);
        let weights: Vec<f64> = (start..end).map(|at| filter.at((at as f64 - centre + 0.5) * (1.0 / wide))).collect();
        let sum: f64 = weights.iter().sum();
        Taps { start, weights: weights.into_iter().map(|weight| weight / sum).collect() }
    };
    (0..to).map(of_output).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn doubling_by_hand() {
        // A quarter of the way to the neighbour; at the edge there is none.
        assert_eq!(resize(&[0.0, 4.0], [1, 2], [1, 4]), [0.0, 1.0, 3.0, 4.0]);
        assert_eq!(resize(&[0.0, 4.0], [2, 1], [4, 1]), [0.0, 1.0, 3.0, 4.0]);
    }

    #[test]
    fn halving_sees_every_pixel() {
        // Weights 1 3 3 1 over 8; three of them at the edges, over 7.
        let small = resize(&[7.0, 0.0, 0.0, 0.0, 8.0, 0.0], [1, 6], [1, 3]);
        let expected = [3.0, 1.0, 24.0 / 7.0];
        assert!(small.iter().zip(expected).all(|(a, b)| (a - b).abs() < 1e-6), "{small:?}");
    }

    #[test]
    fn the_same_size_changes_nothing() {
        let planes: Vec<f32> = (0..24).map(|v| v as f32 * 0.7).collect();
        assert_eq!(resize(&planes, [3, 4], [3, 4]), planes);
        assert!(resize(&[], [0, 4], [3, 4]).is_empty());
    }
}
