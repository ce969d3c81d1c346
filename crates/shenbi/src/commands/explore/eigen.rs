//! The leading eigenvectors of a symmetric matrix, in f64.
//!
//! Power iteration on a block of vectors (subspace iteration with Rayleigh-Ritz; Golub & Van Loan, Matrix Computations,
//! section 8.2.4): the block, made orthonormal, is multiplied with the matrix, and turned within itself so that it holds
//! the best eigenvectors that it spans. It is wider than what is asked for, so that what is asked for converges soon even
//! where eigenvalues lie close together, as those of random weights do.

use rayon::prelude::*;
use shenbi_data::rng;

/// Vectors of a block, at least.
const BLOCK: usize = 48;
/// Multiplications, at most.
const ROUNDS: usize = 1000;
/// An eigenvector is one when ‖M v - λ v‖ is within this share of the largest eigenvalue.
const TOLERANCE: f64 = 1e-10;
/// Of Jacobi's method, which needs fewer than ten.
const SWEEPS: usize = 40;

/// The `k` largest eigenvalues of `matrix` (`[n, n]`, symmetric, no eigenvalue below zero), the largest first, with unit
/// eigenvectors whose entry of largest magnitude is positive.
pub fn leading(matrix: &[f64], n: usize, k: usize) -> Vec<(f64, Vec<f64>)> {
    let k = k.min(n);
    let width = n.min(BLOCK.max(2 * k));
    let mut draws = rng::stream(0, "eigenvectors", 0);
    let mut fresh = || (0..n).map(|_| f64::from(rng::normal(&mut draws))).collect::<Vec<f64>>();
    let mut block: Vec<Vec<f64>> = (0..width).map(|_| fresh()).collect();
    let mut values = vec![0.0; width];
    for _ in 0..ROUNDS {
        orthonormalise(&mut block, &mut fresh);
        let images: Vec<Vec<f64>> = block.par_iter().map(|v| apply(matrix, v)).collect();
        let inner: Vec<f64> = block.iter().flat_map(|v| images.iter().map(|w| dot(v, w))).collect();
        let (found, turn) = jacobi(inner, width);
        values = found;
        let turned = |from: &[Vec<f64>]| -> Vec<Vec<f64>> { turn.iter().map(|weights| sum(from, weights)).collect() };
        let images = turned(&images);
        block = turned(&block);
        let bound = TOLERANCE * values.first().map_or(0.0, |value| value.abs());
        let off =
            |i: usize| images[i].iter().zip(&block[i]).map(|(w, v)| (w - values[i] * v).powi(2)).sum::<f64>().sqrt();
        if (0..k).all(|i| off(i) <= bound) {
            break;
        }
        block = images;
    }
    orthonormalise(&mut block, &mut fresh); // images of the last round, where it did not converge
    values.into_iter().zip(block).take(k).map(|(value, vector)| (value, upright(vector))).collect()
}

fn dot(a: &[f64], b: &[f64]) -> f64 {
    a.iter().zip(b).map(|(a, b)| a * b).sum()
}

/// M v.
fn apply(matrix: &[f64], v: &[f64]) -> Vec<f64> {
    matrix.chunks_exact(v.len()).map(|row| dot(row, v)).collect()
}

/// The sum of vectors by these weights.
fn sum(vectors: &[Vec<f64>], weights: &[f64]) -> Vec<f64> {
    let mut sum = vec![0.0; vectors.first().map_or(0, Vec::len)];
    for (vector, weight) in vectors.iter().zip(weights) {
        sum.iter_mut().zip(vector).for_each(|(sum, x)| *sum += weight * x);
    }
    sum
}

/// Gram and Schmidt's method, twice over. What lies within the others' span (of a matrix of low rank) is drawn anew.
fn orthonormalise(block: &mut [Vec<f64>], fresh: &mut impl FnMut() -> Vec<f64>) {
    for i in 0..block.len() {
        let (done, rest) = block.split_at_mut(i);
        let vector = &mut rest[0];
        for _attempt in 0..4 {
            scale_to_one(vector);
            for _ in 0..2 {
                for other in done.iter() {
                    let share = dot(vector, other);
                    vector.iter_mut().zip(other).for_each(|(x, y)| *x -= share * y);
                }
            }
            if scale_to_one(vector) > 1e-9 {
                break;
            }
            *vector = fresh();
        }
    }
}

/// Scales to length one, and says what the length was.
fn scale_to_one(vector: &mut [f64]) -> f64 {
    let length = dot(vector, vector).sqrt();
    if length > 0.0 {
        vector.iter_mut().for_each(|x| *x /= length);
    }
    length
}

/// The same direction with its largest entry positive.
fn upright(vector: Vec<f64>) -> Vec<f64> {
    let largest = vector.iter().copied().max_by(|a, b| a.abs().total_cmp(&b.abs())).unwrap_or(1.0);
    if largest < 0.0 { vector.into_iter().map(|x| -x).collect() } else { vector }
}

/// All eigenvalues of a small symmetric matrix, the largest first, and their unit eigenvectors: Jacobi's method, plane
/// rotations that each make one pair of entries zero, until all are.
fn jacobi(mut a: Vec<f64>, n: usize) -> (Vec<f64>, Vec<Vec<f64>>) {
    let mut vectors: Vec<Vec<f64>> = (0..n).map(|i| (0..n).map(|j| f64::from(u8::from(i == j))).collect()).collect();
    let total = dot(&a, &a);
    for _ in 0..SWEEPS {
        let off: f64 = (0..n).map(|i| (i + 1..n).map(|j| a[i * n + j].powi(2)).sum::<f64>()).sum();
        if off <= 1e-32 * total {
            break;
        }
        for p in 0..n {
            for q in p + 1..n {
                let entry = a[p * n + q];
                if entry == 0.0 {
                    continue;
                }
                // tan of the angle: the smaller root of t² + 2 θ t = 1.
                let theta = (a[q * n + q] - a[p * n + p]) / (2.0 * entry);
                let tan = theta.signum() / (theta.abs() + theta.hypot(1.0));
                let cos = 1.0 / tan.hypot(1.0);
                let turn = |x: f64, y: f64| (cos * (x - tan * y), cos * (tan * x + y));
                for i in 0..n {
                    (a[i * n + p], a[i * n + q]) = turn(a[i * n + p], a[i * n + q]);
                }
                for i in 0..n {
                    (a[p * n + i], a[q * n + i]) = turn(a[p * n + i], a[q * n + i]);
                    (vectors[p][i], vectors[q][i]) = turn(vectors[p][i], vectors[q][i]);
                }
            }
        }
    }
    let mut pairs: Vec<(f64, Vec<f64>)> = (0..n).map(|i| a[i * n + i]).zip(vectors).collect();
    pairs.sort_by(|(a, _), (b, _)| b.total_cmp(a));
    pairs.into_iter().unzip()
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Q diag(values) Qᵀ for random orthonormal Q, whose rows are returned too.
    fn known(values: &[f64], seed: u64) -> (Vec<f64>, Vec<Vec<f64>>) {
        let n = values.len();
        let mut draws = rng::stream(seed, "test", 0);
        let mut fresh = || (0..n).map(|_| f64::from(rng::normal(&mut draws))).collect::<Vec<f64>>();
        let mut q: Vec<Vec<f64>> = (0..n).map(|_| fresh()).collect();
        orthonormalise(&mut q, &mut fresh);
        let mut matrix = vec![0.0; n * n];
        for (value, v) in values.iter().zip(&q) {
            for (row, x) in matrix.chunks_exact_mut(n).zip(v) {
                row.iter_mut().zip(v).for_each(|(entry, y)| *entry += value * x * y);
            }
        }
        (matrix, q)
    }

    #[test]
    fn a_matrix_by_hand() {
        // [[2, 1], [1, 2]]: 3 along (1, 1), 1 along (1, -1).
        let found = leading(&[2.0, 1.0, 1.0, 2.0], 2, 5);
        let half = 0.5f64.sqrt();
        assert_eq!(found.len(), 2);
        for ((value, vector), (expected, direction)) in found.iter().zip([(3.0, [half, half]), (1.0, [half, -half])]) {
            assert!((value - expected).abs() < 1e-12, "{found:?}");
            // Of entries of one size either may be the largest.
            assert!((dot(vector, &direction).abs() - 1.0).abs() < 1e-12, "{found:?}");
        }
    }

    #[test]
    fn eigenvectors_of_a_known_matrix() {
        // Close together, in a matrix much wider than the block.
        let values: Vec<f64> = (0..150).map(|i| 2.0 - 0.01 * f64::from(i)).collect();
        let (matrix, q) = known(&values, 1);
        let found = leading(&matrix, 150, 6);
        let mut error = 0.0f64;
        for ((value, vector), (expected, direction)) in found.iter().zip(values.iter().zip(&q)) {
            error = error.max((value - expected).abs()).max((dot(vector, direction).abs() - 1.0).abs());
            assert!(upright(vector.clone()) == *vector && (dot(vector, vector) - 1.0).abs() < 1e-12);
        }
        assert!(found.len() == 6 && error < 1e-9, "{error}");
    }

    #[test]
    fn equal_values_and_low_rank_still_give_a_basis() {
        for values in [[vec![5.0, 5.0, 5.0], vec![1.0; 57]].concat(), [vec![3.0, 2.0], vec![0.0; 78]].concat()] {
            let n = values.len();
            let (matrix, _) = known(&values, 2);
            let found = leading(&matrix, n, 5);
            for (i, (value, vector)) in found.iter().enumerate() {
                assert!((value - values[i]).abs() < 1e-9, "{i}: {value}");
                let image = apply(&matrix, vector);
                assert!(image.iter().zip(vector).all(|(w, v)| (w - values[i] * v).abs() < 1e-8), "{i}");
                for (j, (_, other)) in found.iter().enumerate() {
                    assert!((dot(vector, other) - f64::from(u8::from(i == j))).abs() < 1e-9, "{i}, {j}");
                }
            }
        }
    }

    #[test]
    fn nothing_breaks_on_zeros_or_one_number() {
        assert_eq!(leading(&[4.0], 1, 3), [(4.0, vec![1.0])]);
        let zeros = leading(&[0.0; 9], 3, 2);
        assert!(zeros.iter().all(|(value, v)| *value == 0.0 && (dot(v, v) - 1.0).abs() < 1e-12));
        assert!(leading(&[], 0, 2).is_empty());
    }
}
