//! Products, factors and eigenvalues of matrices in f64, row-major.

use burn::tensor::{DType, Device, Tensor, TensorData};
use nalgebra::DMatrix;

use crate::{MetricsError, Result};

/// Columns of the factor that are made before the rest of the matrix is brought up to date.
const PANEL: usize = 64;

/// X Yᵀ: all inner products of two sets of rows.
///
/// # Shapes
/// x: `[n, dim]`, y: `[m, dim]`, returns `[n, m]`.
pub fn against(x: &[f64], y: &[f64], dim: usize) -> Result<Vec<f64>> {
    let tensor = |rows: &[f64]| {
        let data = TensorData::new(rows.to_vec(), [rows.len() / dim, dim]);
        Tensor::<2>::from_data(data, (&Device::flex(), DType::F64))
    };
    let products = tensor(x).matmul(tensor(y).transpose());
    products.into_data().try_into_vec::<f64>().map_err(|error| MetricsError::Setting(format!("{error:?}")))
}

/// Rows to columns: `[n, dim]` to `[dim, n]`.
pub fn transposed(rows: &[f64], dim: usize) -> Vec<f64> {
    (0..dim).flat_map(|i| rows.iter().skip(i).step_by(dim).copied()).collect()
}

/// H with Hᵀ H = A, for an A that is symmetric and has no negative eigenvalues: Cholesky's factor with pivots, which stops
/// where what is left is rounding. So H has as many rows as A has rank.
///
/// # Shapes
/// matrix: `[dim, dim]`, returns `[rank, dim]`.
///
/// # Errors
/// A number is not finite.
pub fn factor(matrix: &[f64], dim: usize) -> Result<Vec<f64>> {
    if matrix.iter().any(|value| !value.is_finite()) {
        return Err(MetricsError::Setting("a covariance that holds no finite numbers".to_string()));
    }
    let mut rest = matrix.to_vec();
    let mut diagonal: Vec<f64> = rest.iter().step_by(dim + 1).copied().collect();
    let rounding = diagonal.iter().copied().fold(0.0, f64::max) * dim as f64 * f64::EPSILON;
    let mut used = vec![false; dim];
    let mut rows: Vec<f64> = Vec::new();
    loop {
        let panel = rows.len(); // where it begins
        for _ in 0..PANEL {
            let open = (0..dim).filter(|i| !used[*i]);
            let Some(pivot) = open.reduce(|best, i| if diagonal[i] > diagonal[best] { i } else { best }) else { break };
            if diagonal[pivot] <= rounding {
                break;
            }
            let mut row = rest[pivot * dim..][..dim].to_vec();
            for earlier in rows[panel..].chunks_exact(dim) {
                let share = earlier[pivot];
                row.iter_mut().zip(earlier).for_each(|(value, earlier)| *value -= share * earlier);
            }
            let root = diagonal[pivot].sqrt();
            used[pivot] = true;
            for (i, value) in row.iter_mut().enumerate() {
                *value = if i == pivot {
                    root
                } else if used[i] {
                    0.0
                } else {
                    *value / root
                };
                diagonal[i] -= *value * *value;
            }
            rows.extend(row);
        }
        let made = (rows.len() - panel) / dim;
        if made < PANEL {
            return Ok(rows);
        }
        let columns = transposed(&rows[panel..], dim); // [dim, made]
        let products = against(&columns, &columns, made)?;
        rest.iter_mut().zip(products).for_each(|(value, product)| *value -= product);
    }
}

/// The eigenvalues of a symmetric matrix, in no order.
///
/// # Errors
/// A number is not finite.
pub fn eigenvalues(matrix: &[f64], dim: usize) -> Result<Vec<f64>> {
    if matrix.iter().any(|value| !value.is_finite()) {
        return Err(MetricsError::Setting("a product of covariances that holds no finite numbers".to_string()));
    }
    if dim == 0 {
        return Ok(Vec::new());
    }
    Ok(DMatrix::from_row_slice(dim, dim, matrix).symmetric_eigenvalues().as_slice().to_vec())
}

#[cfg(test)]
mod tests {
    use super::*;
    use shenbi_data::rng;

    #[test]
    fn products_by_hand() {
        assert_eq!(against(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0], 2).unwrap(), [17.0, 39.0]);
    }

    /// A sum of `rank` outer products.
    fn matrix(dim: usize, rank: usize) -> Vec<f64> {
        let mut stream = rng::stream(3, "test", 0);
        let columns: Vec<f64> = (0..dim * rank).map(|_| f64::from(rng::normal(&mut stream))).collect();
        against(&columns, &columns, rank).unwrap()
    }

    #[test]
    fn a_matrix_is_the_square_of_its_factor() {
        // Of full rank and not, in less than a panel, in one exactly, and in several.
        for (dim, rank) in [(60, 20), (60, 60), (200, 64), (200, 150), (200, 300), (1, 1)] {
            let matrix = matrix(dim, rank);
            let rows = factor(&matrix, dim).unwrap();
            assert_eq!(rows.len() / dim, rank.min(dim), "{dim} {rank}");
            let columns = transposed(&rows, dim);
            let again = against(&columns, &columns, rows.len() / dim).unwrap();
            let largest = matrix.iter().copied().fold(0.0, f64::max);
            let error = again.iter().zip(&matrix).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
            assert!(error < 1e-12 * largest, "{dim} {rank}: {error}");
        }
        assert!(factor(&[0.0; 9], 3).unwrap().is_empty());
        assert!(factor(&[f64::NAN; 4], 2).is_err());
    }

    #[test]
    fn eigenvalues_by_hand() {
        let mut found = eigenvalues(&[2.0, 1.0, 1.0, 2.0], 2).unwrap();
        found.sort_by(f64::total_cmp);
        assert!((found[0] - 1.0).abs() < 1e-14 && (found[1] - 3.0).abs() < 1e-14, "{found:?}");
        assert!(eigenvalues(&[], 0).unwrap().is_empty());
        assert!(eigenvalues(&[f64::INFINITY; 4], 2).is_err());
    }
}
