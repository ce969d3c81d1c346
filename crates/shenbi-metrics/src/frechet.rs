//! Fréchet distance between two sets of features, each taken for a normal distribution (Heusel et al., 1706.08500, eq. 6;
//! Dowson & Landau 1982):
//!
//! d² = |m₁ - m₂|² + tr C₁ + tr C₂ - 2 tr (C₁ C₂)^½
//!
//! On the features of the Inception network of the paper it is called FID; on others it is not.
//!
//! The trace of the square root is the sum of the square roots of the eigenvalues of C₁^½ C₂ C₁^½, which is symmetric and
//! has no negative ones: nothing complex appears, and covariances may be singular. What rounding leaves below zero, or
//! within rounding of it, counts as zero. Means and covariances (divided by n - 1) are gathered in f64 while pictures go by.

use serde::Serialize;

use crate::linear_algebra::{Symmetric, against};
use crate::{MetricsError, Result};

/// Rows that are added at once.
const BLOCK: usize = 64;

/// Mean and covariance of rows that need not be kept.
#[derive(Clone, Debug)]
pub struct Moments {
    n: usize,
    mean: Vec<f64>,
    /// Sum of (x - mean)(x - mean)ᵀ, `[dim, dim]`; below the diagonal it is zero.
    scatter: Vec<f64>,
}

impl Moments {
    /// Of nothing yet.
    pub fn new(dim: usize) -> Self {
        Self { n: 0, mean: vec![0.0; dim], scatter: vec![0.0; dim * dim] }
    }

    /// Adds rows: a block's own moments join those before it (Chan, Golub & LeVeque 1983), so that nothing large cancels.
    ///
    /// # Shapes
    /// rows: `[n, dim]`, row-major.
    ///
    /// # Errors
    /// The length is no multiple of `dim`, or a number is not finite.
    pub fn add(&mut self, rows: &[f32]) -> Result<()> {
        let dim = self.mean.len();
        if dim == 0 || !rows.len().is_multiple_of(dim) {
            return Err(MetricsError::Setting(format!("{} numbers are not rows of {dim} features", rows.len())));
        }
        if rows.iter().any(|value| !value.is_finite()) {
            return Err(MetricsError::Setting("features that are no finite numbers".to_string()));
        }
        for block in rows.chunks(BLOCK * dim) {
            self.add_block(block);
        }
        Ok(())
    }

    fn add_block(&mut self, block: &[f32]) {
        let dim = self.mean.len();
        let count = block.len() / dim;
        let mut mean = vec![0.0; dim];
        for row in block.chunks_exact(dim) {
            mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
        }
        mean.iter_mut().for_each(|sum| *sum /= count as f64);
        let (before, total) = (self.n as f64, (self.n + count) as f64);
        // One more row holds the step between the means, so weighted that its square is what the union adds.
        let weight = (before * count as f64 / total).sqrt();
        let mut centred: Vec<f64> =
            block.chunks_exact(dim).flat_map(|row| row.iter().zip(&mean).map(|(v, m)| f64::from(*v) - m)).collect();
        centred.extend(mean.iter().zip(&self.mean).map(|(new, old)| (new - old) * weight));
        for (i, sums) in self.scatter.chunks_exact_mut(dim).enumerate() {
            for row in centred.chunks_exact(dim) {
                let value = row[i];
                sums[i..].iter_mut().zip(&row[i..]).for_each(|(sum, other)| *sum += value * other);
            }
        }
        for (old, new) in self.mean.iter_mut().zip(&mean) {
            *old += (new - *old) * count as f64 / total;
        }
        self.n += count;
    }

    /// Rows so far.
    pub fn count(&self) -> usize {
        self.n
    }

    /// `[dim]`
    pub fn mean(&self) -> &[f64] {
        &self.mean
    }

    /// `[dim, dim]`, divided by n - 1.
    ///
    /// # Errors
    /// There are fewer than two rows.
    pub fn covariance(&self) -> Result<Vec<f64>> {
        if self.n < 2 {
            return Err(MetricsError::Setting(format!("a covariance needs two pictures: {} found", self.n)));
        }
        let dim = self.mean.len();
        let entry = |i: usize, j: usize| self.scatter[i.min(j) * dim + i.max(j)] / (self.n - 1) as f64;
        Ok((0..dim).flat_map(|i| (0..dim).map(move |j| entry(i, j))).collect())
    }
}

/// How far two sets of pictures are from each other; 0 is best.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Frechet {
    /// What was measured by what; figures with different protocols do not compare.
    pub protocol: String,
    /// d², the number that papers give.
    pub distance: f64,
    /// Its part |m₁ - m₂|².
    pub of_means: f64,
    /// Pictures of each side.
    pub n: [usize; 2],
    /// Why the number says little, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// The distance. protocol: what the features are, and of which pictures.
///
/// # Errors
/// The sides have different numbers of features, or one has fewer than two rows.
pub fn frechet(a: &Moments, b: &Moments, protocol: &str) -> Result<Frechet> {
    let (dim, n) = (a.mean.len(), [a.n, b.n]);
    if b.mean.len() != dim {
        return Err(MetricsError::Setting(format!("{dim} features against {}", b.mean.len())));
    }
    let of_means: f64 = a.mean.iter().zip(&b.mean).map(|(a, b)| (a - b).powi(2)).sum();
    let (a, b) = (a.covariance()?, b.covariance()?);
    let trace = |matrix: &[f64]| matrix.iter().step_by(dim + 1).sum::<f64>();
    let of_covariances = trace(&a) + trace(&b) - 2.0 * trace_of_root(&a, &b, dim)?;
    let warning = (n[0].min(n[1]) <= dim).then(|| {
        let [a, b] = n;
        format!("{a} and {b} pictures for {dim} features: the distance is far too large; more than {dim} are needed")
    });
    Ok(Frechet {
        protocol: format!("frechet-v1/{protocol}/n={},{}", n[0], n[1]),
        distance: (of_means + of_covariances).max(0.0),
        of_means,
        n,
        warning,
    })
}

/// tr (A B)^½ of two covariances, `[dim, dim]` each.
fn trace_of_root(a: &[f64], b: &[f64], dim: usize) -> Result<f64> {
    let Symmetric { values, vectors } = Symmetric::of(a, dim)?;
    // A^½ B A^½ has the eigenvalues of (√λ Vᵀ) B (√λ Vᵀ)ᵀ for A = V λ Vᵀ.
    let roots_of_a = roots(&values);
    let half: Vec<f64> =
        vectors.chunks_exact(dim).zip(&roots_of_a).flat_map(|(row, root)| row.iter().map(move |v| v * root)).collect();
    let inner = against(&against(&half, b, dim)?, &half, dim)?; // B is its own transpose
    Ok(roots(&Symmetric::of(&inner, dim)?.values).iter().sum())
}

/// Square roots of eigenvalues that cannot be negative.
fn roots(values: &[f64]) -> Vec<f64> {
    let largest = values.iter().copied().fold(0.0, f64::max);
    let rounding = largest * values.len() as f64 * f64::EPSILON;
    values.iter().map(|value| if *value > rounding { value.sqrt() } else { 0.0 }).collect()
}

#[cfg(test)]
mod tests {
    use super::*;
    use shenbi_data::rng;

    fn draws(name: &str, n: usize) -> Vec<f32> {
        let mut stream = rng::stream(9, name, 0);
        (0..n).map(|_| rng::normal(&mut stream)).collect()
    }

    fn moments(rows: &[f32], dim: usize) -> Moments {
        let mut moments = Moments::new(dim);
        moments.add(rows).unwrap();
        moments
    }

    #[test]
    fn moments_do_not_depend_on_the_pieces() {
        let rows: Vec<f32> = draws("a", 200 * 5).iter().map(|v| 1000.0 + v).collect();
        let whole = moments(&rows, 5);
        let mut pieces = Moments::new(5);
        for piece in rows.chunks(7 * 5) {
            pieces.add(piece).unwrap();
        }
        assert_eq!(pieces.count(), 200);
        // Two passes over all rows.
        let mean: Vec<f64> =
            (0..5).map(|i| rows.iter().skip(i).step_by(5).map(|v| f64::from(*v)).sum::<f64>() / 200.0).collect();
        let (a, b) = (whole.covariance().unwrap(), pieces.covariance().unwrap());
        for (at, (a, b)) in a.iter().zip(&b).enumerate() {
            let (i, j) = (at / 5, at % 5);
            let product = |row: &[f32]| (f64::from(row[i]) - mean[i]) * (f64::from(row[j]) - mean[j]);
            let direct = rows.chunks_exact(5).map(product).sum::<f64>() / 199.0;
            assert!((a - direct).abs() < 1e-12 && (b - direct).abs() < 1e-12, "{a} {b} {direct}");
        }
        assert!(whole.mean().iter().zip(&mean).all(|(a, b)| (a - b).abs() < 1e-10));
    }

    #[test]
    fn one_dimension_in_closed_form() {
        // d² = (m₁ - m₂)² + (s₁ - s₂)²: means 1 and 5, standard deviations √2 and 3√2.
        let result = frechet(&moments(&[0.0, 2.0], 1), &moments(&[2.0, 8.0], 1), "test").unwrap();
        assert!((result.distance - (16.0 + 8.0)).abs() < 1e-12 && result.of_means == 16.0, "{result:?}");
        assert_eq!(result.protocol, "frechet-v1/test/n=2,2");
        assert!(result.warning.is_none());
    }

    #[test]
    fn equal_and_singular_sets() {
        let rows = draws("a", 20 * 30); // 20 rows of 30 numbers: singular
        let a = moments(&rows, 30);
        let result = frechet(&a, &a, "test").unwrap();
        assert!(result.distance < 1e-6, "{result:?}");
        assert!(result.warning.unwrap().contains("more than 30"));
        // One point only, and another.
        let (zeros, ones) = (moments(&[0.0; 60], 30), moments(&[1.0; 60], 30));
        assert_eq!(frechet(&zeros, &zeros, "test").unwrap().distance, 0.0);
        assert_eq!(frechet(&zeros, &ones, "test").unwrap().distance, 30.0);
        let far = frechet(&zeros, &a, "test").unwrap().distance;
        assert!(far.is_finite() && far > 0.0);
    }

    #[test]
    fn what_is_refused() {
        let mut moments = Moments::new(3);
        assert!(moments.add(&[1.0; 4]).unwrap_err().to_string().contains("rows of 3"));
        assert!(moments.add(&[1.0, f32::NAN, 0.0]).unwrap_err().to_string().contains("finite"));
        assert!(frechet(&moments, &moments, "test").unwrap_err().to_string().contains("two pictures"));
        assert!(frechet(&moments, &Moments::new(4), "test").is_err());
    }
}
