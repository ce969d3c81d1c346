//! Inception score (Salimans et al., 1606.03498, section 4): are pictures each of a clear class, and of all classes?
//!
//! IS = exp( E_x KL( p(y|x) ‖ p(y) ) ), p(y) the mean of p(y|x)
//!
//! over the classes of a classifier; 1 at worst, the number of classes at best. The pictures are cut into splits, the
//! score is the mean over them and the deviation that of the splits (over their number, as NumPy's `std`). On the 1,008
//! outputs (without their biases) of the Inception network of 2015 it is called Inception score; the same formula on
//! GoogLeNet is called GoogLeNet score here, and so on.
//!
//! It looks at no real pictures, and rises with the number of pictures: 50,000 in ten splits are usual. Computed in f64.

use serde::Serialize;
use shenbi_data::rng;

use crate::bootstrap::{Interval, bootstrap};
use crate::numpy_random::RandomState;
use crate::{MetricsError, Result};

/// Pictures in a split below which the score says little.
const FEW: usize = 1000;

/// In which order pictures are cut into splits.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Order {
    /// As they come.
    Given,
    /// Shuffled by our own stream of this seed.
    Shuffled(u64),
    /// By NumPy's `RandomState(seed).permutation`, as torch-fidelity does with seed 2020.
    Numpy(u32),
}

/// How clear and how many the classes of pictures are.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct InceptionScore {
    /// What was measured by what; figures with different protocols do not compare.
    pub protocol: String,
    /// Mean over the splits.
    pub mean: f64,
    /// Their standard deviation.
    pub deviation: f64,
    /// Number of splits.
    pub splits: usize,
    /// Pictures.
    pub n: usize,
    /// Why the number says little, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
    /// How far it would be from itself on other pictures of the same kind.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub interval: Option<Interval>,
}

/// The score of class logits.
///
/// # Shapes
/// logits: `[n, classes]`, row-major.
///
/// # Errors
/// The length does not fit `classes`, there are fewer pictures than splits, or a logit is not finite.
pub fn inception_score(
    logits: &[f32],
    classes: usize,
    splits: usize,
    order: Order,
    protocol: &str,
) -> Result<InceptionScore> {
    let rows = Rows::new(logits, classes)?;
    let n = rows.n;
    if splits == 0 || n < splits {
        return Err(MetricsError::Setting(format!(
            "{n} pictures in {splits} splits: each needs one; give more pictures"
        )));
    }
    let (places, shuffle) = match order {
        Order::Given => ((0..n).collect(), "none".to_string()),
        Order::Shuffled(seed) => {
            let mut places: Vec<usize> = (0..n).collect();
            rng::shuffle(&mut rng::stream(seed, "inception-score", 0), &mut places);
            (places, format!("seed={seed}"))
        }
        Order::Numpy(seed) => (RandomState::new(seed).permutation(n), format!("numpy-{seed}")),
    };
    let of_split =
        |i: usize| rows.score(places[i * n / splits..(i + 1) * n / splits].iter().map(|place| (*place, 1.0)));
    let scores: Vec<f64> = (0..splits).map(of_split).collect();
    let mean = scores.iter().sum::<f64>() / splits as f64;
    let deviation = (scores.iter().map(|score| (score - mean).powi(2)).sum::<f64>() / splits as f64).sqrt();
    let warning = (n / splits < FEW.max(classes)).then(|| {
        format!("{} pictures a split for {classes} classes: the score is too low; 5,000 are usual", n / splits)
    });
    let protocol = format!("inception-score-v1/{protocol}/n={n}/splits={splits}/shuffle={shuffle}");
    Ok(InceptionScore { protocol, mean, deviation, splits, n, warning, interval: None })
}

/// How far the score of all pictures in one split would be from itself, by `resamples` draws with replacement, moved to
/// `mean`.
///
/// # Errors
/// As [`inception_score`].
pub fn interval(logits: &[f32], classes: usize, mean: f64, resamples: usize, seed: u64) -> Result<Interval> {
    let rows = Rows::new(logits, classes)?;
    bootstrap(mean, rows.n, resamples, seed, |counts| {
        let drawn = counts.iter().enumerate().filter(|(_, count)| **count > 0);
        Ok(rows.score(drawn.map(|(i, count)| (i, f64::from(*count)))))
    })
}

/// Class probabilities, and of each row Σ p ln p.
struct Rows {
    n: usize,
    classes: usize,
    shares: Vec<f32>,
    neg_entropies: Vec<f64>,
}

impl Rows {
    fn new(logits: &[f32], classes: usize) -> Result<Self> {
        if classes == 0 || !logits.len().is_multiple_of(classes) {
            return Err(MetricsError::Setting(format!("{} numbers are not rows of {classes} classes", logits.len())));
        }
        if logits.iter().any(|value| !value.is_finite()) {
            return Err(MetricsError::Setting("class logits that are no finite numbers".to_string()));
        }
        let n = logits.len() / classes;
        let (mut shares, mut neg_entropies) = (Vec::with_capacity(logits.len()), Vec::with_capacity(n));
        for row in logits.chunks_exact(classes) {
            let largest = row.iter().copied().fold(f32::NEG_INFINITY, f32::max);
            let shifted = || row.iter().map(|v| f64::from(*v) - f64::from(largest));
            let log_sum = shifted().map(f64::exp).sum::<f64>().ln();
            neg_entropies.push(shifted().map(|v| (v - log_sum).exp() * (v - log_sum)).sum());
            shares.extend(shifted().map(|v| (v - log_sum).exp() as f32));
        }
        Ok(Self { n, classes, shares, neg_entropies })
    }

    /// exp of the mean of Σ p ln p - Σ p ln q, where q is the mean of p, over rows that count so often.
    fn score(&self, places: impl Iterator<Item = (usize, f64)>) -> f64 {
        let (mut mean, mut own, mut count) = (vec![0.0; self.classes], 0.0, 0.0);
        for (place, times) in places {
            let row = &self.shares[place * self.classes..][..self.classes];
            mean.iter_mut().zip(row).for_each(|(sum, share)| *sum += times * f64::from(*share));
            own += times * self.neg_entropies[place];
            count += times;
        }
        let of_mean: f64 = mean.iter().map(|sum| sum / count).filter(|q| *q > 0.0).map(|q| q * q.ln()).sum();
        // A mutual information is never negative but for rounding.
        (own / count - of_mean).max(0.0).exp()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn clear_classes_blurred_ones_and_one_alone() {
        // Ten clear classes equally often; one class only; nothing known.
        let clear: Vec<f32> =
            (0..1000).flat_map(|i| (0..10).map(move |c| if c == i % 10 { 50.0 } else { 0.0 })).collect();
        let score = |logits: &[f32]| inception_score(logits, 10, 10, Order::Shuffled(1), "test").unwrap();
        let result = inception_score(&clear, 10, 10, Order::Given, "test").unwrap();
        assert!((result.mean - 10.0).abs() < 1e-6 && result.deviation < 1e-6, "{result:?}");
        assert_eq!(result.protocol, "inception-score-v1/test/n=1000/splits=10/shuffle=none");
        assert!(result.warning.is_some());
        assert!((score(&clear).mean - 10.0).abs() < 1.5); // a shuffled split has not all classes equally often
        for blurred in [vec![0.0; 10_000], clear[..10].repeat(1000)] {
            assert!((score(&blurred).mean - 1.0).abs() < 1e-6);
        }
        // Two clear pictures of each other class: e^(ln 2).
        let two = inception_score(&[99.0, 0.0, 0.0, 99.0], 2, 1, Order::Given, "test").unwrap();
        assert!((two.mean - 2.0).abs() < 1e-6, "{two:?}");
        let interval = interval(&clear, 10, result.mean, 50, 1).unwrap();
        assert!(interval.low < 10.0 && interval.low > 9.5 && interval.high < 10.5, "{interval:?}");
    }

    #[test]
    fn what_is_refused() {
        let refused = |logits: &[f32], classes, splits| {
            inception_score(logits, classes, splits, Order::Given, "test").unwrap_err().to_string()
        };
        assert!(refused(&[0.0; 7], 2, 1).contains("rows of 2"));
        assert!(refused(&[0.0; 8], 2, 10).contains("4 pictures in 10 splits"));
        assert!(refused(&[], 2, 1).contains("0 pictures"));
        assert!(refused(&[f32::NAN; 8], 2, 1).contains("finite"));
    }
}
