//! Kernel Inception distance (Bińkowski et al., 1801.01401): the squared maximum mean discrepancy between two sets of
//! features under the kernel k(x, y) = (x·y / d + 1)³, averaged over random subsets.
//!
//! The estimate of each pair of subsets is unbiased (their eq. 4): for m pictures of each side
//!
//! MMD² = Σ_{i≠j} [k(xᵢ, xⱼ) + k(yᵢ, yⱼ)] / (m (m - 1)) - 2 Σ_{i,j} k(xᵢ, yⱼ) / m²
//!
//! so it may be a little below zero where the sides are alike, and its mean does not depend on the number of pictures,
//! unlike the Fréchet distance. 100 subsets of 1,000 are usual. The deviation is that of the subsets' estimates (over
//! their number, as NumPy's `std`); subsets overlap, so it is no standard error. Computed in f64.

use serde::Serialize;
use shenbi_data::rng;

use crate::linear_algebra::against;
use crate::numpy_random::RandomState;
use crate::{MetricsError, Result};

/// How the subsets are drawn.
#[derive(Clone, Copy, Debug)]
pub struct KidOptions {
    /// Their number.
    pub subsets: usize,
    /// Pictures of each side in one; fewer where a side has no more.
    pub size: usize,
    /// Which pictures.
    pub seed: u64,
    /// Who draws them.
    pub draw: Draw,
}

/// Who draws the subsets.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Draw {
    /// Our own streams, a stream a subset.
    Streams,
    /// NumPy's `RandomState(seed).choice(n, size, replace=False)`, of a then of b, as torch-fidelity does (seed 2020; it
    /// refuses sides smaller than a subset).
    TorchFidelity,
    /// The same, of b then of a, of the size of the smaller side where that is less, as clean-fid does (its seed is any).
    CleanFid,
}

impl Default for KidOptions {
    fn default() -> Self {
        Self { subsets: 100, size: 1000, seed: 1, draw: Draw::Streams }
    }
}

/// How far two sets of pictures are from each other; 0 is best.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Kid {
    /// What was measured by what; figures with different protocols do not compare.
    pub protocol: String,
    /// Mean of the subsets' estimates.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// Number of subsets.
    pub subsets: usize,
    /// Pictures of each side in one.
    pub size: usize,
    /// Pictures of each side.
    pub n: [usize; 2],
}

/// KID of two sets of features. Where a side has no more pictures than a subset wants, subsets are half as large as it,
/// so that they differ.
///
/// # Shapes
/// a: `[n, dim]`, b: `[m, dim]`, row-major.
///
/// # Errors
/// The lengths do not fit `dim`, a side has fewer than two pictures, or no subsets are asked for.
pub fn kid(a: &[f32], b: &[f32], dim: usize, options: KidOptions, protocol: &str) -> Result<Kid> {
    let n = [rows(a, dim)?, rows(b, dim)?];
    let (size, count) = (subset_size(n, options)?, options.subsets);
    let subsets = match options.draw {
        Draw::Streams => (0..count).map(|subset| ours(options.seed, subset, n, size)).collect(),
        Draw::TorchFidelity => numpys(options.seed, count, n, size)?,
        Draw::CleanFid => numpys(options.seed, count, [n[1], n[0]], size)?.into_iter().map(|[b, a]| [a, b]).collect(),
    };
    let (mean, deviation) = over_subsets(a, b, dim, &subsets)?;
    let seed = match options.draw {
        Draw::Streams => format!("{}", options.seed),
        Draw::TorchFidelity | Draw::CleanFid => format!("numpy-{}", options.seed),
    };
    let protocol = format!("kid-v1/cubic/{protocol}/n={},{}/subsets={count}x{size}/subset-seed={seed}", n[0], n[1]);
    Ok(Kid { protocol, mean, deviation, subsets: count, size, n })
}

/// Pictures of each side in a subset.
fn subset_size(n: [usize; 2], options: KidOptions) -> Result<usize> {
    let least = n[0].min(n[1]);
    if least < 2 {
        return Err(MetricsError::Setting(format!("KID needs two pictures of each side: {} and {} found", n[0], n[1])));
    }
    match options.draw {
        Draw::Streams => Ok(if least > options.size { options.size } else { (least / 2).max(2) }),
        Draw::CleanFid => Ok(options.size.min(least)),
        Draw::TorchFidelity if least < options.size => Err(MetricsError::Setting(format!(
            "KID as torch-fidelity makes it needs {} pictures of each side: {} and {} found",
            options.size, n[0], n[1]
        ))),
        Draw::TorchFidelity => Ok(options.size),
    }
}

/// A subset of each side by our own streams: the first places of a shuffled list.
fn ours(seed: u64, subset: usize, n: [usize; 2], size: usize) -> [Vec<usize>; 2] {
    let mut stream = rng::stream(seed, "kid", subset as u64);
    n.map(|n| {
        let mut places: Vec<usize> = (0..n).collect();
        for at in 0..size {
            places.swap(at, at + rng::below(&mut stream, (n - at) as u64) as usize);
        }
        places.truncate(size);
        places
    })
}

/// All subsets by NumPy's generator, of the first side before the second.
fn numpys(seed: u64, count: usize, n: [usize; 2], size: usize) -> Result<Vec<[Vec<usize>; 2]>> {
    let seed =
        u32::try_from(seed).map_err(|_| MetricsError::Setting(format!("NumPy takes seeds below 2^32: {seed}")))?;
    let mut numpy = RandomState::new(seed);
    Ok((0..count).map(|_| n.map(|n| numpy.choice(n, size))).collect())
}

/// Mean and standard deviation of the estimates of given subsets: places in a and in b.
///
/// # Errors
/// As [`kid`], or a place is beyond the last row.
pub fn over_subsets(a: &[f32], b: &[f32], dim: usize, subsets: &[[Vec<usize>; 2]]) -> Result<(f64, f64)> {
    let mut estimates = Vec::with_capacity(subsets.len());
    for [of_a, of_b] in subsets {
        estimates.push(mmd2(&take(a, dim, of_a)?, &take(b, dim, of_b)?, dim)?);
    }
    if estimates.is_empty() {
        return Err(MetricsError::Setting("KID needs at least one subset".to_string()));
    }
    let count = estimates.len() as f64;
    let mean = estimates.iter().sum::<f64>() / count;
    let variance = estimates.iter().map(|estimate| (estimate - mean).powi(2)).sum::<f64>() / count;
    Ok((mean, variance.sqrt()))
}

/// The unbiased estimate from all rows of both sides.
fn mmd2(x: &[f64], y: &[f64], dim: usize) -> Result<f64> {
    let (n, m) = (x.len() / dim, y.len() / dim);
    if n < 2 || m < 2 {
        return Err(MetricsError::Setting("a subset needs two pictures of each side".to_string()));
    }
    let kernel = |product: &f64| (product / dim as f64 + 1.0).powi(3);
    // Mean over different rows of one side.
    let within = |rows: &[f64], n: usize| -> Result<f64> {
        let products = against(rows, rows, dim)?; // [n, n]
        let sum: f64 = products.iter().map(kernel).sum();
        let own: f64 = products.iter().step_by(n + 1).map(kernel).sum();
        Ok((sum - own) / (n * (n - 1)) as f64)
    };
    let across: f64 = against(x, y, dim)?.iter().map(kernel).sum::<f64>() / (n * m) as f64;
    Ok(within(x, n)? + within(y, m)? - 2.0 * across)
}

/// Rows of `places`, in f64.
fn take(features: &[f32], dim: usize, places: &[usize]) -> Result<Vec<f64>> {
    let count = rows(features, dim)?;
    let mut taken = Vec::with_capacity(places.len() * dim);
    for &place in places {
        let row = features.chunks_exact(dim).nth(place);
        let row = row.ok_or_else(|| MetricsError::Setting(format!("no row {place} among {count}")))?;
        taken.extend(row.iter().map(|value| f64::from(*value)));
    }
    Ok(taken)
}

/// How many rows there are.
fn rows(features: &[f32], dim: usize) -> Result<usize> {
    if dim == 0 || !features.len().is_multiple_of(dim) {
        return Err(MetricsError::Setting(format!("{} numbers are not rows of {dim} features", features.len())));
    }
    Ok(features.len() / dim)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn two_against_two_by_hand() {
        // k(0, 1) = 1, k(2, 3) = 7³, across: k(0, .) = 1, k(1, 2) = 3³, k(1, 3) = 4³.
        let options = KidOptions::default();
        let result = kid(&[0.0, 1.0], &[2.0, 3.0], 1, options, "test").unwrap();
        let expected = 1.0 + 343.0 - 2.0 * (1.0 + 1.0 + 27.0 + 64.0) / 4.0;
        assert!((result.mean - expected).abs() < 1e-10 && result.deviation < 1e-10, "{result:?}");
        assert_eq!((result.subsets, result.size), (100, 2));
        assert_eq!(result.protocol, "kid-v1/cubic/test/n=2,2/subsets=100x2/subset-seed=1");
    }

    #[test]
    fn the_mean_is_unbiased_and_the_seed_decides() {
        let draws = |name: &str| -> Vec<f32> {
            let mut stream = rng::stream(9, name, 0);
            (0..400 * 4).map(|_| rng::normal(&mut stream)).collect()
        };
        let (a, b) = (draws("a"), draws("b"));
        let options = KidOptions { subsets: 50, size: 60, ..KidOptions::default() };
        let result = kid(&a, &b, 4, options, "test").unwrap();
        assert!(result.mean.abs() < 3.0 * result.deviation / 5.0, "{result:?}");
        assert_eq!(result, kid(&a, &b, 4, options, "test").unwrap());
        assert_ne!(result.mean, kid(&a, &b, 4, KidOptions { seed: 2, ..options }, "test").unwrap().mean);
        let shifted: Vec<f32> = b.iter().map(|v| v + 0.5).collect();
        let far = kid(&a, &shifted, 4, options, "test").unwrap();
        assert!(far.mean > 2.0 * far.deviation && far.mean > 10.0 * result.mean.abs(), "{far:?}");
    }

    #[test]
    fn what_is_refused() {
        let refused =
            |a: &[f32], b: &[f32], dim| kid(a, b, dim, KidOptions::default(), "test").unwrap_err().to_string();
        assert!(refused(&[1.0], &[1.0, 2.0], 1).contains("two pictures"));
        assert!(refused(&[1.0; 3], &[1.0; 4], 2).contains("rows of 2"));
        assert!(refused(&[], &[], 0).contains("rows of 0"));
        let options = KidOptions { draw: Draw::TorchFidelity, ..KidOptions::default() };
        let error = kid(&[1.0; 40], &[1.0; 40], 2, options, "test").unwrap_err().to_string();
        assert!(error.contains("1000 pictures of each side: 20 and 20"), "{error}");
        let options = KidOptions { seed: 1 << 32, draw: Draw::CleanFid, ..KidOptions::default() };
        assert!(kid(&[1.0; 40], &[1.0; 40], 2, options, "test").unwrap_err().to_string().contains("2^32"));
        let options = KidOptions { subsets: 0, ..KidOptions::default() };
        assert!(kid(&[1.0; 4], &[1.0; 4], 2, options, "test").unwrap_err().to_string().contains("one subset"));
        assert!(over_subsets(&[1.0; 4], &[1.0; 4], 2, &[[vec![0, 2], vec![0, 1]]]).is_err());
    }
}
