//! Fréchet distance between two sets of features, each taken for a normal distribution (Heusel et al., 1706.08500, eq. 6;
//! Dowson & Landau 1982):
//!
//! d² = |m₁ - m₂|² + tr C₁ + tr C₂ - 2 tr (C₁ C₂)^½
//!
//! On the features of the Inception network of the paper it is called FID; on others it is not.
//!
//! The trace of the square root is the sum of the square roots of the eigenvalues of H C₂ Hᵀ, where Hᵀ H = C₁ (Cholesky
//! with pivots): these are the eigenvalues of C₁ C₂, of a symmetric matrix that has no negative ones. So nothing complex
//! appears, and covariances may be singular: H has as many rows as C₁ has rank. What rounding leaves below zero, or within
//! rounding of it, counts as zero. Means and covariances (divided by n - 1) are gathered in f64 while pictures go by.

use serde::Serialize;

use crate::bootstrap::{Interval, bootstrap};
use crate::linear_algebra::{against, eigenvalues, factor, transposed};
use crate::{MetricsError, Result};

/// Rows that are added at once.
const BLOCK: usize = 256;
/// Features from which on products of matrices are faster than sums in place.
const WIDE: usize = 128;

/// Mean and covariance of rows that need not be kept.
#[derive(Clone, Debug)]
pub struct Moments {
    n: usize,
    mean: Vec<f64>,
    /// Sum of (x - mean)(x - mean)ᵀ, `[dim, dim]`.
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
            self.add_block(block)?;
        }
        Ok(())
    }

    fn add_block(&mut self, block: &[f32]) -> Result<()> {
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
        if dim >= WIDE {
            let columns = transposed(&centred, dim); // [dim, count + 1]
            let products = against(&columns, &columns, count + 1)?;
            self.scatter.iter_mut().zip(products).for_each(|(sum, product)| *sum += product);
        } else {
            for (i, sums) in self.scatter.chunks_exact_mut(dim).enumerate() {
                for row in centred.chunks_exact(dim) {
                    let value = row[i];
                    sums.iter_mut().zip(row).for_each(|(sum, other)| *sum += value * other);
                }
            }
        }
        for (old, new) in self.mean.iter_mut().zip(&mean) {
            *old += (new - *old) * count as f64 / total;
        }
        self.n += count;
        Ok(())
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
        Ok(self.scatter.iter().map(|sum| sum / (self.n - 1) as f64).collect())
    }

    /// What the distance compares.
    ///
    /// # Errors
    /// As [`Self::covariance`].
    pub fn gaussian(&self) -> Result<Gaussian> {
        Ok(Gaussian { n: Some(self.n), mean: self.mean.clone(), covariance: self.covariance()? })
    }
}

/// A normal distribution: what the distance knows of a set.
#[derive(Clone, Debug, PartialEq)]
pub struct Gaussian {
    /// Pictures it was made from; nothing where a file does not say.
    pub n: Option<usize>,
    /// `[dim]`
    pub mean: Vec<f64>,
    /// `[dim, dim]`
    pub covariance: Vec<f64>,
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
    /// Pictures of each side; nothing where a file of statistics does not say.
    pub n: [Option<usize>; 2],
    /// Why the number says little, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// How far it would be from itself on other pictures of the same kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
}

/// The distance. protocol: what the features are, and of which pictures.
///
/// # Errors
/// The sides have different numbers of features, or one has fewer than two rows.
pub fn frechet(a: &Moments, b: &Moments, protocol: &str) -> Result<Frechet> {
    Reference::new(a.gaussian()?)?.distance(&b.gaussian()?, protocol)
}

/// A side that others are compared with: its half of the work is done once.
pub struct Reference {
    gaussian: Gaussian,
    /// [`factor`] of its covariance.
    factor: Vec<f64>,
}

impl Reference {
    /// # Errors
    /// Shapes do not fit each other, or a number is not finite.
    pub fn new(gaussian: Gaussian) -> Result<Self> {
        let (dim, found) = (gaussian.mean.len(), gaussian.covariance.len());
        if dim == 0 || found != dim * dim || gaussian.mean.iter().any(|value| !value.is_finite()) {
            return Err(MetricsError::Setting(format!("{found} numbers are no covariance of {dim} features")));
        }
        let factor = factor(&gaussian.covariance, dim)?;
        Ok(Self { gaussian, factor })
    }

    /// Its statistics.
    pub fn gaussian(&self) -> &Gaussian {
        &self.gaussian
    }

    /// The distance of another side. protocol: what the features are, and of which pictures.
    ///
    /// # Errors
    /// It has another number of features, or numbers that are not finite.
    pub fn distance(&self, other: &Gaussian, protocol: &str) -> Result<Frechet> {
        let a = &self.gaussian;
        let (dim, n) = (a.mean.len(), [a.n, other.n]);
        if other.mean.len() != dim || other.covariance.len() != dim * dim {
            return Err(MetricsError::Setting(format!("{dim} features against {}", other.mean.len())));
        }
        let of_means: f64 = a.mean.iter().zip(&other.mean).map(|(a, b)| (a - b).powi(2)).sum();
        let trace = |matrix: &[f64]| matrix.iter().step_by(dim + 1).sum::<f64>();
        let of_covariances =
            trace(&a.covariance) + trace(&other.covariance) - 2.0 * self.trace_of_root(&other.covariance)?;
        let distance = (of_means + of_covariances).max(0.0);
        if !distance.is_finite() {
            return Err(MetricsError::Setting("statistics that are no finite numbers".to_string()));
        }
        let least = n.iter().flatten().min().copied();
        let [of_a, of_b] = n.map(|n| n.map_or_else(|| "?".to_string(), |n| n.to_string()));
        let warning = least.is_some_and(|least| least <= dim).then(|| {
            format!(
                "{of_a} and {of_b} samples for {dim} features: the distance is far too large; more than {dim} are needed"
            )
        });
        let protocol = format!("frechet-v1/{protocol}/n={of_a},{of_b}");
        Ok(Frechet { protocol, distance, of_means, n, warning, interval: None })
    }

    /// The interval of the distance of rows that are at `estimate`, by `resamples` draws of them.
    ///
    /// # Shapes
    /// rows: `[n, dim]`, row-major.
    ///
    /// # Errors
    /// As [`Self::distance`], or fewer than two draws.
    pub fn interval(&self, rows: &[f32], estimate: f64, resamples: usize, seed: u64) -> Result<Interval> {
        let dim = self.gaussian.mean.len();
        bootstrap(estimate, rows.len() / dim, resamples, seed, |counts| {
            let mut moments = Moments::new(dim);
            let mut block = Vec::with_capacity(BLOCK * dim);
            for (row, count) in rows.chunks_exact(dim).zip(counts) {
                (0..*count).for_each(|_| block.extend_from_slice(row));
                if block.len() >= BLOCK * dim {
                    moments.add(&block)?;
                    block.clear();
                }
            }
            moments.add(&block)?;
            Ok(self.distance(&moments.gaussian()?, "")?.distance)
        })
    }

    /// tr (A B)^½ of two covariances.
    fn trace_of_root(&self, b: &[f64]) -> Result<f64> {
        let (half, dim) = (&self.factor, self.gaussian.mean.len());
        if half.is_empty() {
            return Ok(0.0);
        }
        let inner = against(&against(half, b, dim)?, half, dim)?; // B is its own transpose
        Ok(roots(&eigenvalues(&inner, half.len() / dim)?).iter().sum())
    }
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
    fn wide_rows_take_the_same_sums() {
        let dim = WIDE + 3;
        let rows = draws("wide", 300 * dim);
        let moments = moments(&rows, dim);
        let covariance = moments.covariance().unwrap();
        let column = |i: usize| rows.iter().skip(i).step_by(dim).map(|v| f64::from(*v));
        for (i, j) in [(0, 0), (1, 0), (7, dim - 1), (dim - 1, dim - 1)] {
            let product = column(i).zip(column(j)).map(|(a, b)| (a - moments.mean()[i]) * (b - moments.mean()[j]));
            let direct = product.sum::<f64>() / 299.0;
            assert!((covariance[i * dim + j] - direct).abs() < 1e-12);
        }
    }

    #[test]
    fn the_interval_holds_the_distance() {
        let (a, b) = (draws("a", 500 * 3), draws("b", 400 * 3));
        let moved: Vec<f32> = b.iter().map(|v| v + 0.5).collect();
        let reference = Reference::new(moments(&a, 3).gaussian().unwrap()).unwrap();
        let distance = reference.distance(&moments(&moved, 3).gaussian().unwrap(), "test").unwrap().distance;
        let interval = reference.interval(&moved, distance, 60, 1).unwrap();
        assert!(interval.low < distance && distance < interval.high && interval.error > 0.0, "{interval:?}");
        // d² is about 3 m², m = 0.5 with an error of 1 / √400 each: √3 · 2 · 0.5 / 20.
        assert!((interval.error - 0.0866).abs() < 0.03, "{interval:?}");
    }

    /// 2,048 features: `cargo test --release --workspace --lib -- --ignored --nocapture matrix_root`.
    #[test]
    #[ignore = "a measurement of some seconds"]
    fn matrix_root_of_2048() {
        let dim = 2048;
        for n in [3000, 500] {
            let [a, b] = ["a", "b"].map(|name| {
                let start = std::time::Instant::now();
                let moments = moments(&draws(name, n * dim), dim);
                println!("moments of {n}: {:.1} s", start.elapsed().as_secs_f64());
                moments
            });
            let start = std::time::Instant::now();
            let result = frechet(&a, &b, "test").unwrap();
            println!("n = {n}: {} in {:.1} s", result.distance, start.elapsed().as_secs_f64());
            // Traces of 2,048 each; of two samples of one distribution, which share no picture.
            assert!(result.distance > 0.0 && result.distance < 2.0 * 2048.0 + 100.0, "{result:?}");
        }
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
