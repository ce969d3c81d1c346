//! Does a model repeat its training pictures? Meehan, Chaudhuri & Dasgupta (2004.05675): generated pictures that are
//! systematically nearer to the training pictures than new real ones are have been copied.
//!
//! Each generated picture's distance to the nearest training picture is set against those of real pictures that were not
//! trained on; where there are none, against each training picture's distance to the nearest other one. The share is
//!
//! P( d(generated) < d(real) ) + ½ P( d(generated) = d(real) )
//!
//! over all pairs (Mann & Whitney's U, divided by their number): 0.5 where generated pictures are as new as real ones, 1
//! where each is nearer than any real one, 0 where they are far from anything real. Distances are Euclidean, between
//! features: so that a shifted or mirrored copy is found too, within what the network does not see.

use serde::Serialize;

use crate::neighbours::{Rows, mean};
use crate::{MetricsError, Result};

/// How near generated pictures are to the training pictures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Memorisation {
    /// What was measured by what; figures with different protocols do not compare.
    pub protocol: String,
    /// 0 to 1; above 0.5 they are nearer than real ones.
    pub share_closer: f64,
    /// Median distance of generated pictures to the nearest training picture.
    pub generated: f64,
    /// The same of real pictures.
    pub real: f64,
    /// Pictures: training, generated, real.
    pub n: [usize; 3],
    /// The nearest training picture of each generated one, and its distance.
    #[serde(skip)]
    pub nearest: Vec<(usize, f32)>,
}

/// The comparison. held_out: real pictures that were not trained on; without them the training pictures stand in.
///
/// # Shapes
/// All: `[n, dim]`, row-major.
///
/// # Errors
/// A side is empty, or there is one training picture only and nothing held out.
pub fn memorisation(
    train: &[f32],
    generated: &[f32],
    held_out: Option<&[f32]>,
    dim: usize,
    protocol: &str,
) -> Result<Memorisation> {
    let mean = mean(train, dim)?;
    let (train, generated) = (Rows::new(train, dim, &mean)?, Rows::new(generated, dim, &mean)?);
    let (real, against) = match held_out {
        Some(held_out) => (Rows::new(held_out, dim, &mean)?.nearest(&train, false), "held-out"),
        None if train.n < 2 => {
            return Err(MetricsError::Setting("one training picture: it has no neighbour to compare with".to_string()));
        }
        None => (train.nearest(&train, true), "leave-one-out"),
    };
    let nearest = generated.nearest(&train, false);
    let sorted = |found: &[(usize, f32)]| {
        let mut distances: Vec<f32> = found.iter().map(|(_, distance)| *distance).collect();
        distances.sort_by(f32::total_cmp);
        distances
    };
    let (of_generated, of_real) = (sorted(&nearest), sorted(&real));
    let wins = |distance: &f32| {
        let above = of_real.len() - of_real.partition_point(|real| real <= distance);
        let equal = of_real.partition_point(|real| real <= distance) - of_real.partition_point(|real| real < distance);
        above as f64 + 0.5 * equal as f64
    };
    let share = of_generated.iter().map(wins).sum::<f64>() / (of_generated.len() * of_real.len()) as f64;
    let n = [train.n, generated.n, real.len()];
    Ok(Memorisation {
        protocol: format!("memorisation-v1/{protocol}/n={},{},{}/{against}", n[0], n[1], n[2]),
        share_closer: share,
        generated: f64::from(of_generated[of_generated.len() / 2]),
        real: f64::from(of_real[of_real.len() / 2]),
        n,
        nearest,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn copies_new_pictures_and_far_ones() {
        let train: Vec<f32> = (0..50).map(|i| 10.0 * i as f32).collect();
        let held_out: Vec<f32> = (0..30).map(|i| 10.0 * i as f32 + 3.0).collect();
        let check = |generated: &[f32]| memorisation(&train, generated, Some(&held_out), 1, "test").unwrap();
        let copies = check(&train[5..9]);
        assert_eq!((copies.share_closer, copies.generated), (1.0, 0.0));
        assert_eq!(copies.nearest.iter().map(|n| n.0).collect::<Vec<_>>(), [5, 6, 7, 8]);
        assert!((copies.real - 3.0).abs() < 1e-4);
        assert_eq!(copies.protocol, "memorisation-v1/test/n=50,4,30/held-out");
        assert_eq!(check(&[-500.0, 5000.0]).share_closer, 0.0);
        // Nearer, as far (but for rounding: a whole number of eighths), farther.
        assert!((check(&[2.0, 4.0]).share_closer - 0.5).abs() < 1e-9);
        let alone = memorisation(&train, &[4.0], None, 1, "test").unwrap();
        assert_eq!((alone.share_closer, alone.real), (1.0, 10.0));
        // The same picture over and over: nothing but ties.
        let same = memorisation(&[1.0; 8], &[1.0; 5], None, 1, "test").unwrap();
        assert_eq!(same.share_closer, 0.5);
    }

    #[test]
    fn what_is_refused() {
        assert!(memorisation(&[1.0], &[1.0], None, 1, "t").unwrap_err().to_string().contains("one training picture"));
        assert!(memorisation(&[1.0, 2.0], &[], None, 1, "t").is_err());
        assert!(memorisation(&[1.0, 2.0], &[f32::NAN], None, 1, "t").unwrap_err().to_string().contains("finite"));
        assert!(memorisation(&[1.0, 2.0, 3.0], &[1.0], None, 2, "t").is_err());
    }
}
