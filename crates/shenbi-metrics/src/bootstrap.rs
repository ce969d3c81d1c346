//! How far a score would be from itself on other pictures of the same kind: the bootstrap (Efron 1979).
//!
//! The pictures are drawn again and again with replacement, as many as there are, and the score is made of each draw.
//! Scores that depend on the number of different pictures (the Fréchet distance, the Inception score) are shifted by
//! drawing some twice; so the interval is the middle 95% of the draws, moved so that their mean lies on the score. It holds
//! what chance does, not the bias of few pictures ([`frechet_infinity`](mod@crate::frechet_infinity) is for that). Only the pictures that are
//! scored are drawn again: the reference is taken as given.

use serde::Serialize;
use shenbi_data::rng;

use crate::{MetricsError, Result};

/// Where 95% of the scores of such sets lie.
#[derive(Clone, Copy, Debug, PartialEq, Serialize)]
pub struct Interval {
    /// 2.5% are below.
    pub low: f64,
    /// 2.5% are above.
    pub high: f64,
    /// Standard error of the score.
    pub error: f64,
    /// Draws.
    pub resamples: usize,
}

/// The interval around `estimate` of a score of `n` pictures. score: of a draw, given how often it holds each picture.
///
/// # Errors
/// No pictures or fewer than two draws, or the score's own error.
pub fn bootstrap(
    estimate: f64,
    n: usize,
    resamples: usize,
    seed: u64,
    mut score: impl FnMut(&[u32]) -> Result<f64>,
) -> Result<Interval> {
    if n == 0 || resamples < 2 {
        return Err(MetricsError::Setting(format!("{resamples} draws of {n} pictures make no interval")));
    }
    let mut scores = Vec::with_capacity(resamples);
    let mut counts = vec![0_u32; n];
    for draw in 0..resamples {
        counts.fill(0);
        let mut stream = rng::stream(seed, "bootstrap", draw as u64);
        for _ in 0..n {
            counts[rng::below(&mut stream, n as u64) as usize] += 1;
        }
        scores.push(score(&counts)?);
    }
    let mean = scores.iter().sum::<f64>() / resamples as f64;
    let variance = scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / (resamples - 1) as f64;
    scores.sort_by(f64::total_cmp);
    let at = |share: f64| {
        // Between two of the sorted scores.
        let place = share * (resamples - 1) as f64;
        let below = place.floor() as usize;
        let above = (below + 1).min(resamples - 1);
        scores[below] + (scores[above] - scores[below]) * (place - below as f64)
    };
    let moved = |score: f64| estimate + score - mean;
    Ok(Interval { low: moved(at(0.025)), high: moved(at(0.975)), error: variance.sqrt(), resamples })
}

/// The interval of a mean of one number a picture.
///
/// # Errors
/// As [`bootstrap`].
pub fn of_mean(values: &[f64], resamples: usize, seed: u64) -> Result<Interval> {
    let n = values.len().max(1) as f64;
    let weighted = |counts: &[u32]| values.iter().zip(counts).map(|(v, c)| v * f64::from(*c)).sum::<f64>() / n;
    bootstrap(weighted(&vec![1; values.len()]), values.len(), resamples, seed, |counts| Ok(weighted(counts)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_means_error_is_known() {
        let mut stream = rng::stream(4, "test", 0);
        let values: Vec<f64> = (0..400).map(|_| 3.0 + f64::from(rng::normal(&mut stream))).collect();
        let mean = values.iter().sum::<f64>() / 400.0;
        let interval = of_mean(&values, 1000, 1).unwrap();
        assert!((interval.error - 0.05).abs() < 0.006, "{interval:?}"); // 1 / √400
        assert!((interval.low - (mean - 0.098)).abs() < 0.02 && (interval.high - (mean + 0.098)).abs() < 0.02);
        assert_eq!(interval, of_mean(&values, 1000, 1).unwrap());
        let constant = of_mean(&[2.0; 9], 10, 1).unwrap();
        assert_eq!((constant.low, constant.high, constant.error), (2.0, 2.0, 0.0));
        assert!(of_mean(&[], 10, 1).is_err() && of_mean(&[1.0], 1, 1).is_err());
    }
}
