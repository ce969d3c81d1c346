//! Products and eigenvalues of matrices in f64, row-major.

use burn::tensor::{DType, Device, Tensor, TensorData};
use nalgebra::{DMatrix, SymmetricEigen};

use crate::{MetricsError, Result};

/// Sweeps of the eigenvalue iteration for each row, at most; two or three are usual.
const SWEEPS: usize = 100;

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

/// A symmetric matrix taken apart: Σₖ values[k] vₖ vₖᵀ.
pub struct Symmetric {
    /// In no order.
    pub values: Vec<f64>,
    /// vₖ in row k, `[dim, dim]`; of length one, at right angles to each other.
    pub vectors: Vec<f64>,
}

impl Symmetric {
    /// Of `[dim, dim]`, of which one triangle is read.
    ///
    /// # Errors
    /// A number is not finite, or the iteration does not settle.
    pub fn of(matrix: &[f64], dim: usize) -> Result<Self> {
        if matrix.iter().any(|value| !value.is_finite()) {
            return Err(MetricsError::Setting("a covariance that holds no finite numbers".to_string()));
        }
        let unsettled = || MetricsError::Setting("the eigenvalues of a covariance cannot be found".to_string());
        let parts = SymmetricEigen::try_new(DMatrix::from_row_slice(dim, dim, matrix), f64::EPSILON, SWEEPS * dim)
            .ok_or_else(unsettled)?;
        // nalgebra's columns, in the order they lie, are rows of ours.
        Ok(Self { values: parts.eigenvalues.as_slice().to_vec(), vectors: parts.eigenvectors.as_slice().to_vec() })
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shenbi_data::rng;

    #[test]
    fn products_by_hand() {
        assert_eq!(against(&[1.0, 2.0, 3.0, 4.0], &[5.0, 6.0], 2).unwrap(), [17.0, 39.0]);
    }

    #[test]
    fn a_matrix_is_the_sum_of_its_parts() {
        let dim = 60;
        let mut stream = rng::stream(3, "test", 0);
        let rows: Vec<f64> = (0..20 * dim).map(|_| f64::from(rng::normal(&mut stream))).collect();
        let columns: Vec<f64> = (0..dim).flat_map(|i| rows.iter().skip(i).step_by(dim).copied()).collect();
        let matrix = against(&columns, &columns, 20).unwrap(); // of rank 20
        let Symmetric { values, vectors } = Symmetric::of(&matrix, dim).unwrap();
        assert_eq!(values.iter().filter(|value| value.abs() > 1e-10).count(), 20);
        let scaled: Vec<f64> = vectors
            .chunks_exact(dim)
            .zip(&values)
            .flat_map(|(row, value)| row.iter().map(move |v| v * value))
            .collect();
        let across = |rows: &[f64]| -> Vec<f64> {
            (0..dim).flat_map(|i| rows.iter().skip(i).step_by(dim).copied().collect::<Vec<_>>()).collect()
        };
        let again = against(&across(&scaled), &across(&vectors), dim).unwrap();
        let error = again.iter().zip(&matrix).map(|(a, b)| (a - b).abs()).fold(0.0, f64::max);
        assert!(error < 1e-11, "{error}");
        assert!(Symmetric::of(&[f64::NAN; 4], 2).is_err());
    }
}
