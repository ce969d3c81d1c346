//! Precision and recall (Kynkäänniemi et al., 1904.06991), density and coverage (Naeem et al., 2002.09797): is what was
//! generated real, and is all that is real generated?
//!
//! Around each picture's features lies a ball that reaches to its k-th nearest neighbour of its own side.
//!
//! - precision: share of generated pictures inside of some real picture's ball, k = 3
//! - recall: share of real pictures inside of some generated picture's ball, k = 3
//! - density: real pictures' balls that a generated picture lies in, mean, divided by k, k = 5; it may exceed 1
//! - coverage: share of real pictures in whose ball some generated picture lies, k = 5
//!
//! A ball holds its surface. Exact, by comparing all pairs: distances in f32 after the real mean is taken away from
//! every row, which leaves little to cancel.

use burn::tensor::{Device, Tensor, TensorData};
use serde::Serialize;
use shenbi_nn::weights;

use crate::{MetricsError, Result};

/// Neighbours of precision and recall, and of density and coverage.
pub const NEIGHBOURS: [usize; 2] = [3, 5];
/// Rows whose distances to all others are held at once.
const BLOCK: usize = 512;

/// How real generated pictures are, and how much of the real ones they cover.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Prdc {
    /// What was measured by what; figures with different protocols do not compare.
    pub protocol: String,
    /// 0 to 1.
    pub precision: f64,
    /// 0 to 1.
    pub recall: f64,
    /// From 0; 1 where both sides come from one distribution.
    pub density: f64,
    /// 0 to 1.
    pub coverage: f64,
    /// Pictures: real, generated.
    pub n: [usize; 2],
}

/// The four numbers.
///
/// # Shapes
/// real: `[n, dim]`, generated: `[m, dim]`, row-major.
///
/// # Errors
/// The lengths do not fit `dim`, a side has fewer than six pictures, or a number is not finite.
pub fn prdc(real: &[f32], generated: &[f32], dim: usize, protocol: &str) -> Result<Prdc> {
    let mean = mean(real, dim)?;
    let (real, generated) = (Rows::new(real, dim, &mean)?, Rows::new(generated, dim, &mean)?);
    let [real_reach, generated_reach] = [real.reaches(), generated.reaches()];
    let (mut precise, mut recalled, mut within, mut covered) = (vec![false; generated.n], 0, 0_u64, 0);
    real.blocks(&generated, |i, distances| {
        let [near, far] = real_reach[i];
        let (mut recall, mut count) = (false, 0);
        for ((distance, precise), [of_generated, _]) in distances.iter().zip(&mut precise).zip(&generated_reach) {
            *precise |= *distance <= near;
            recall |= distance <= of_generated;
            count += u64::from(*distance <= far);
        }
        recalled += usize::from(recall);
        within += count;
        covered += usize::from(count > 0);
    });
    let share = |count: usize, n: usize| count as f64 / n as f64;
    let (n, m, [pr, dc]) = (real.n, generated.n, NEIGHBOURS);
    Ok(Prdc {
        protocol: format!("prdc-v1/{protocol}/n={n},{m}/k={pr},{dc}"),
        precision: share(precise.iter().filter(|precise| **precise).count(), m),
        recall: share(recalled, n),
        density: within as f64 / (dc * m) as f64,
        coverage: share(covered, n),
        n: [n, m],
    })
}

/// `[dim]`
fn mean(rows: &[f32], dim: usize) -> Result<Vec<f64>> {
    if dim == 0 || !rows.len().is_multiple_of(dim) {
        return Err(MetricsError::Setting(format!("{} numbers are not rows of {dim} features", rows.len())));
    }
    let mut mean = vec![0.0; dim];
    for row in rows.chunks_exact(dim) {
        mean.iter_mut().zip(row).for_each(|(sum, value)| *sum += f64::from(*value));
    }
    let n = (rows.len() / dim).max(1) as f64;
    Ok(mean.into_iter().map(|sum| sum / n).collect())
}

/// One side's features.
struct Rows {
    n: usize,
    /// `[n, dim]`
    values: Tensor<2>,
    /// Squared lengths, `[n]`.
    squares: Vec<f32>,
}

impl Rows {
    fn new(rows: &[f32], dim: usize, mean: &[f64]) -> Result<Self> {
        let n = rows.len() / dim;
        let [_, most] = NEIGHBOURS;
        if !rows.len().is_multiple_of(dim) || n <= most {
            let message = format!("precision and recall need more than {most} pictures of each side: {n} found");
            return Err(MetricsError::Setting(message));
        }
        let centred = |row: &[f32]| -> Vec<f32> {
            row.iter().zip(mean).map(|(value, mean)| (f64::from(*value) - mean) as f32).collect()
        };
        let values: Vec<f32> = rows.chunks_exact(dim).flat_map(centred).collect();
        let square = |row: &[f32]| row.iter().map(|v| f64::from(*v).powi(2)).sum::<f64>() as f32;
        let squares: Vec<f32> = values.chunks_exact(dim).map(square).collect();
        if squares.iter().any(|square| !square.is_finite()) {
            return Err(MetricsError::Setting("features that are no finite numbers".to_string()));
        }
        let values = Tensor::from_data(TensorData::new(values, [n, dim]), &Device::flex());
        Ok(Self { n, values, squares })
    }

    /// Calls `with` for each row and its squared distances to all of `others`.
    fn blocks(&self, others: &Self, mut with: impl FnMut(usize, &[f32])) {
        for start in (0..self.n).step_by(BLOCK) {
            let count = BLOCK.min(self.n - start);
            let block = self.values.clone().narrow(0, start, count);
            let mut products = weights::values(block.matmul(others.values.clone().transpose())).data; // [count, others]
            for (i, distances) in products.chunks_exact_mut(others.n).enumerate() {
                let square = self.squares[start + i];
                for (product, other) in distances.iter_mut().zip(&others.squares) {
                    *product = (square + other - 2.0 * *product).max(0.0);
                }
                with(start + i, distances);
            }
        }
    }

    /// Squared distances of each row to its neighbours of [`NEIGHBOURS`], itself not counted.
    fn reaches(&self) -> Vec<[f32; 2]> {
        let mut reaches = Vec::with_capacity(self.n);
        self.blocks(self, |i, distances| {
            let mut nearest = [f32::INFINITY; NEIGHBOURS[1]];
            for (_, &distance) in distances.iter().enumerate().filter(|(j, _)| *j != i) {
                if distance < nearest[NEIGHBOURS[1] - 1] {
                    let at = nearest.partition_point(|near| *near <= distance);
                    nearest[at..].rotate_right(1);
                    nearest[at] = distance;
                }
            }
            reaches.push(NEIGHBOURS.map(|k| nearest[k - 1]));
        });
        reaches
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_by_hand() {
        // Real 0..=5, so reaches to the third neighbour 3 2 2 2 2 3 and to the fifth 5 4 3 3 4 5.
        let real = [0.0, 1.0, 2.0, 3.0, 4.0, 5.0];
        // Reaches to the third neighbour 0.5 0.5 0.5 0.5 92 191.5.
        let generated = [8.0, 8.0, 8.5, 8.5, 100.0, 200.0];
        let result = prdc(&real, &generated, 1, "test").unwrap();
        // 8 is in the ball of 5 (reach 3); 8.5, 100 and 200 are in none.
        assert_eq!(result.precision, 2.0 / 6.0);
        // The balls of 100 and 200 reach down to 8 and to 8.5.
        assert_eq!(result.recall, 0.0);
        // Of reach 5, 4, 3, 3, 4, 5: 8 lies in the balls of 4 and 5, 8.5 in that of 5.
        assert_eq!(result.density, (2.0 + 2.0 + 1.0 + 1.0) / (5.0 * 6.0));
        assert_eq!(result.coverage, 2.0 / 6.0);
        assert_eq!(result.protocol, "prdc-v1/test/n=6,6/k=3,5");
        // The other way round everything but precision changes sides.
        assert_eq!(prdc(&generated, &real, 1, "test").unwrap().recall, result.precision);
    }

    #[test]
    fn equal_sides_and_far_ones() {
        let real: Vec<f32> = (0..40).map(|i| (i * i % 17) as f32).collect(); // 20 points of a plane
        let same = prdc(&real, &real, 2, "test").unwrap();
        assert_eq!([same.precision, same.recall, same.coverage], [1.0; 3]);
        assert!(same.density > 1.0, "{same:?}"); // each in its own ball and in those of its neighbours
        let far: Vec<f32> = real.iter().map(|v| v + 1000.0).collect();
        let none = prdc(&real, &far, 2, "test").unwrap();
        assert_eq!([none.precision, none.recall, none.density, none.coverage], [0.0; 4]);
    }

    #[test]
    fn what_is_refused() {
        let refused = |a: &[f32], b: &[f32], dim| prdc(a, b, dim, "test").unwrap_err().to_string();
        assert!(refused(&[0.0; 5], &[0.0; 6], 1).contains("more than 5 pictures of each side: 5"));
        assert!(refused(&[0.0; 12], &[0.0; 6], 2).contains("3 found"));
        assert!(refused(&[f32::NAN; 6], &[0.0; 6], 1).contains("finite"));
        assert!(refused(&[0.0; 7], &[0.0; 6], 2).contains("rows of 2"));
    }
}
