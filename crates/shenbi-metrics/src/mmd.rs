//! Maximum mean discrepancy with a Gaussian kernel; on the embeddings of CLIP it is CMMD (Jayasumana et al., 2401.09603).
//!
//! For rows of length one and k(x, y) = exp(-|x - y|² / 2σ²), σ = 10:
//!
//! MMD² = 1000 · [ mean k(x, x') + mean k(y, y') - 2 mean k(x, y) ]
//!
//! with a picture's kernel with itself among the means, as in the authors' program: so it is never negative, and a little
//! too large for few pictures. It assumes no normal distribution. The paper's network is CLIP ViT-L/14 at 336; on other
//! networks the scale differs and the name says which. Computed in f64, without holding all pairs.

use serde::Serialize;

use crate::linear_algebra::against;
use crate::{MetricsError, Result};

/// σ of the kernel.
const SIGMA: f64 = 10.0;
/// What the authors multiply with, for readable numbers.
const SCALE: f64 = 1000.0;
/// Rows compared with others at once.
const BLOCK: usize = 512;

/// How far two sets of pictures are from each other; 0 is best.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Mmd {
    /// What was measured by what; figures with different protocols do not compare.
    pub protocol: String,
    /// The squared discrepancy times 1,000.
    pub distance: f64,
    /// Pictures of each side.
    pub n: [usize; 2],
}

/// The discrepancy; rows are brought to length one first.
///
/// # Shapes
/// a: `[n, dim]`, b: `[m, dim]`, row-major.
///
/// # Errors
/// The lengths do not fit `dim`, a side is empty, or a number is not finite.
pub fn mmd(a: &[f32], b: &[f32], dim: usize, protocol: &str) -> Result<Mmd> {
    let (a, b) = (unit(a, dim)?, unit(b, dim)?);
    let n = [a.len() / dim, b.len() / dim];
    let distance = SCALE * (mean_kernel(&a, &a, dim)? + mean_kernel(&b, &b, dim)? - 2.0 * mean_kernel(&a, &b, dim)?);
    let protocol = format!("mmd-v1/gaussian-{SIGMA}/{protocol}/n={},{}", n[0], n[1]);
    Ok(Mmd { protocol, distance: distance.max(0.0), n })
}

/// Rows of length one, in f64; a row of zeros stays as it is.
fn unit(rows: &[f32], dim: usize) -> Result<Vec<f64>> {
    if dim == 0 || rows.is_empty() || !rows.len().is_multiple_of(dim) {
        return Err(MetricsError::Setting(format!("{} numbers are not rows of {dim} features", rows.len())));
    }
    if rows.iter().any(|value| !value.is_finite()) {
        return Err(MetricsError::Setting("features that are no finite numbers".to_string()));
    }
    let scaled = |row: &[f32]| -> Vec<f64> {
        let length = row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>().sqrt();
        row.iter().map(|v| if length > 0.0 { f64::from(*v) / length } else { 0.0 }).collect()
    };
    Ok(rows.chunks_exact(dim).flat_map(scaled).collect())
}

/// Mean of k over all pairs.
fn mean_kernel(x: &[f64], y: &[f64], dim: usize) -> Result<f64> {
    let square = |row: &[f64]| row.iter().map(|v| v * v).sum::<f64>();
    let squares: Vec<f64> = y.chunks_exact(dim).map(square).collect();
    let mut sum = 0.0;
    for block in x.chunks(BLOCK * dim) {
        let products = against(block, y, dim)?; // [block, m]
        for (row, products) in block.chunks_exact(dim).zip(products.chunks_exact(squares.len())) {
            let own = square(row);
            let kernel = |(product, other): (&f64, &f64)| {
                (-(own + other - 2.0 * product).max(0.0) / (2.0 * SIGMA * SIGMA)).exp()
            };
            sum += products.iter().zip(&squares).map(kernel).sum::<f64>();
        }
    }
    Ok(sum / (x.len() / dim * squares.len()) as f64)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opposite_and_equal_directions() {
        // One direction against the opposite one: distance 2, whatever the lengths.
        let result = mmd(&[3.0, 0.0], &[-0.5, 0.0, -7.0, 0.0], 2, "test").unwrap();
        assert!((result.distance - 2000.0 * (1.0 - (-4.0_f64 / 200.0).exp())).abs() < 1e-9, "{result:?}");
        assert_eq!(result.protocol, "mmd-v1/gaussian-10/test/n=1,2");
        for rows in [[1.0, 2.0, 3.0, 4.0], [0.0; 4], [5.0; 4]] {
            assert!(mmd(&rows, &rows, 2, "test").unwrap().distance < 1e-9);
        }
    }

    #[test]
    fn what_is_refused() {
        assert!(mmd(&[], &[1.0], 1, "test").is_err());
        assert!(mmd(&[1.0; 3], &[1.0; 2], 2, "test").is_err());
        assert!(mmd(&[f32::INFINITY], &[1.0], 1, "test").unwrap_err().to_string().contains("finite"));
    }
}
