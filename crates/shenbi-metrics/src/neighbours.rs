//! Distances between all pairs of pictures' features, and the nearest ones: in f32, after one side's mean is taken away
//! from every row, which leaves little to cancel.

use burn::tensor::{Device, Tensor, TensorData};
use shenbi_nn::weights;

use crate::{MetricsError, Result};

/// Rows whose distances to all others are held at once.
const BLOCK: usize = 512;

/// Mean of the rows, `[dim]`.
pub(crate) fn mean(rows: &[f32], dim: usize) -> Result<Vec<f64>> {
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
pub(crate) struct Rows {
    pub n: usize,
    /// `[n, dim]`
    values: Tensor<2>,
    /// Squared lengths, `[n]`.
    squares: Vec<f32>,
}

impl Rows {
    /// Of at least one row, less `mean`.
    pub fn new(rows: &[f32], dim: usize, mean: &[f64]) -> Result<Self> {
        if dim == 0 || rows.is_empty() || !rows.len().is_multiple_of(dim) {
            return Err(MetricsError::Setting(format!("{} numbers are not rows of {dim} features", rows.len())));
        }
        let n = rows.len() / dim;
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
    pub fn blocks(&self, others: &Self, mut with: impl FnMut(usize, &[f32])) {
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

    /// Squared distances of each row to its neighbours of these numbers (the last is the largest), itself not counted.
    pub fn reaches<const K: usize>(&self, neighbours: [usize; K]) -> Vec<[f32; K]> {
        let most = neighbours.into_iter().max().unwrap_or(1);
        let mut reaches = Vec::with_capacity(self.n);
        self.blocks(self, |i, distances| {
            let mut nearest = vec![f32::INFINITY; most];
            for (_, &distance) in distances.iter().enumerate().filter(|(j, _)| *j != i) {
                if distance < nearest[most - 1] {
                    let at = nearest.partition_point(|near| *near <= distance);
                    nearest[at..].rotate_right(1);
                    nearest[at] = distance;
                }
            }
            reaches.push(neighbours.map(|k| nearest[k - 1]));
        });
        reaches
    }

    /// Which of `others` is nearest to each row, and how far it is. own: `others` are these rows, and none its own
    /// neighbour; there must then be two.
    pub fn nearest(&self, others: &Self, own: bool) -> Vec<(usize, f32)> {
        let mut found = Vec::with_capacity(self.n);
        self.blocks(others, |i, distances| {
            let candidates = distances.iter().copied().enumerate().filter(|(j, _)| !own || *j != i);
            let best = candidates.fold((0, f32::INFINITY), |best, now| if now.1 < best.1 { now } else { best });
            found.push((best.0, best.1.sqrt()));
        });
        found
    }
}
