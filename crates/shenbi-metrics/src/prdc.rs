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
//! A ball holds its surface. Exact, by comparing all pairs (see `neighbours` for how).

use serde::Serialize;

use crate::bootstrap::{Interval, of_mean};
use crate::neighbours::{Rows, mean};
use crate::{MetricsError, Result};

/// Neighbours of precision and recall, and of density and coverage.
pub const NEIGHBOURS: [usize; 2] = [3, 5];

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
    /// Of precision, recall, density and coverage, each while the balls stay as they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intervals: Option<[Interval; 4]>,
}

/// The four numbers.
///
/// # Shapes
/// real: `[n, dim]`, generated: `[m, dim]`, row-major.
///
/// # Errors
/// The lengths do not fit `dim`, a side has fewer than six pictures, or a number is not finite.
pub fn prdc(real: &[f32], generated: &[f32], dim: usize, protocol: &str) -> Result<Prdc> {
    with_intervals(real, generated, dim, None, protocol)
}

/// The same with intervals. bootstrap: draws and their seed.
///
/// # Errors
/// As [`prdc`], or fewer than two draws.
pub fn with_intervals(
    real: &[f32],
    generated: &[f32],
    dim: usize,
    bootstrap: Option<(usize, u64)>,
    protocol: &str,
) -> Result<Prdc> {
    let mean = mean(real, dim)?;
    let (real, generated) = (Rows::new(real, dim, &mean)?, Rows::new(generated, dim, &mean)?);
    let [pr, dc] = NEIGHBOURS;
    if let Some(few) = [real.n, generated.n].into_iter().find(|n| *n <= dc) {
        let message = format!("precision and recall need more than {dc} pictures of each side: {few} found");
        return Err(MetricsError::Setting(message));
    }
    let [real_reach, generated_reach] = [real.reaches(NEIGHBOURS), generated.reaches(NEIGHBOURS)];
    // One number a picture; each score is the mean of its own.
    let (mut precise, mut within) = (vec![0.0; generated.n], vec![0.0; generated.n]);
    let (mut recalled, mut covered) = (Vec::with_capacity(real.n), Vec::with_capacity(real.n));
    real.blocks(&generated, |i, distances| {
        let [near, far] = real_reach[i];
        let (mut recall, mut cover) = (false, false);
        for (j, distance) in distances.iter().enumerate() {
            if *distance <= near {
                precise[j] = 1.0;
            }
            recall |= *distance <= generated_reach[j][0];
            if *distance <= far {
                within[j] += 1.0;
                cover = true;
            }
        }
        recalled.push(f64::from(u8::from(recall)));
        covered.push(f64::from(u8::from(cover)));
    });
    let share = |of: &[f64]| of.iter().sum::<f64>() / of.len() as f64;
    let density = share(&within) / dc as f64;
    within.iter_mut().for_each(|count| *count /= dc as f64);
    let of_each = [&precise, &recalled, &within, &covered];
    let intervals = bootstrap.map(|(draws, seed)| of_each.iter().map(|of| of_mean(of, draws, seed)).collect());
    let intervals = intervals.transpose()?.and_then(|found: Vec<Interval>| found.try_into().ok());
    let (n, m) = (real.n, generated.n);
    Ok(Prdc {
        protocol: format!("prdc-v1/{protocol}/n={n},{m}/k={pr},{dc}"),
        precision: share(&precise),
        recall: share(&recalled),
        density,
        coverage: share(&covered),
        n: [n, m],
        intervals,
    })
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
