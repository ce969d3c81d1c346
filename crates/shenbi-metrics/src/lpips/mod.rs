//! Learned perceptual image patch similarity (Zhang et al., 1801.03924, eq. 1): how different two pictures look.
//!
//! d(x, x₀) = Σ_l 1/(H_l W_l) Σ_{h,w} Σ_c w_lc ( ŷ_lchw - ŷ₀_lchw )²
//!
//! over layers l of a network; ŷ is a layer's output with each pixel's channels brought to length one, and w are weights
//! learnt from people's judgement, none of them negative. With all w at 1 it is the paper's unlearnt baseline, which is
//! not called LPIPS here. The mean over pairs of generated pictures says how diverse a model is.
//!
//! [`lpips`] is the formula for layers that a caller gives, [`Lpips`] the networks that the authors' program has.

mod network;

pub use network::{Diversity, Lpips};

use crate::{MetricsError, Result};

/// Keeps pixels without any activation from dividing by zero, as in the authors' program.
const EPSILON: f64 = 1e-10;

/// What a layer makes of one picture.
#[derive(Clone, Copy, Debug)]
pub struct Layer<'a> {
    /// Channels.
    pub channels: usize,
    /// `[channels, height * width]`
    pub values: &'a [f32],
}

/// The distance of two pictures. weights: `[channels]` for each layer.
///
/// # Errors
/// The layers or the weights do not fit each other, or a number is not finite.
pub fn lpips(a: &[Layer<'_>], b: &[Layer<'_>], weights: &[&[f32]]) -> Result<f64> {
    if a.len() != b.len() || a.len() != weights.len() {
        let message = format!("LPIPS: {} and {} layers with {} sets of weights", a.len(), b.len(), weights.len());
        return Err(MetricsError::Setting(message));
    }
    let mut distance = 0.0;
    for (l, ((a, b), weights)) in a.iter().zip(b).zip(weights).enumerate() {
        let pixels = a.values.len() / a.channels.max(1);
        let fits = a.channels == weights.len() && a.channels == b.channels && a.values.len() == b.values.len();
        if !fits || pixels == 0 || pixels * a.channels != a.values.len() {
            let (of_a, of_b) = (a.values.len(), b.values.len());
            let message = format!(
                "LPIPS: layer {l}: {of_a} and {of_b} numbers of {} channels, {} weights",
                a.channels,
                weights.len()
            );
            return Err(MetricsError::Setting(message));
        }
        let (of_a, of_b) = (lengths(a.values, pixels), lengths(b.values, pixels));
        let mut sum = 0.0;
        for (c, weight) in weights.iter().enumerate() {
            let at = c * pixels;
            let difference = |i: usize| f64::from(a.values[at + i]) / of_a[i] - f64::from(b.values[at + i]) / of_b[i];
            sum += f64::from(*weight) * (0..pixels).map(|i| difference(i).powi(2)).sum::<f64>();
        }
        distance += sum / pixels as f64;
    }
    if !distance.is_finite() {
        return Err(MetricsError::Setting("LPIPS: a layer's numbers are not finite".to_string()));
    }
    Ok(distance)
}

/// Of each pixel over its channels.
fn lengths(values: &[f32], pixels: usize) -> Vec<f64> {
    let mut sums = vec![0.0; pixels];
    for plane in values.chunks_exact(pixels) {
        sums.iter_mut().zip(plane).for_each(|(sum, value)| *sum += f64::from(*value).powi(2));
    }
    sums.into_iter().map(|sum| sum.sqrt() + EPSILON).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn by_hand() {
        // Two pixels of two channels: (3, 4) and (1, 0) against (4, 3) and (7, 0).
        let a = Layer { channels: 2, values: &[3.0, 1.0, 4.0, 0.0] };
        let b = Layer { channels: 2, values: &[4.0, 7.0, 3.0, 0.0] };
        let distance = lpips(&[a], &[b], &[&[1.0, 2.0]]).unwrap();
        assert!((distance - (0.04 + 2.0 * 0.04) / 2.0).abs() < 1e-9, "{distance}");
        assert_eq!(lpips(&[a], &[a], &[&[1.0, 2.0]]).unwrap(), 0.0);
        let dark = Layer { channels: 2, values: &[0.0; 4] };
        assert!(lpips(&[a], &[dark], &[&[1.0, 1.0]]).unwrap().is_finite());
    }

    #[test]
    fn what_is_refused() {
        let a = Layer { channels: 2, values: &[3.0, 1.0, 4.0, 0.0] };
        let odd = Layer { channels: 2, values: &[3.0, 1.0, 4.0] };
        let nan = Layer { channels: 2, values: &[f32::NAN; 4] };
        assert!(lpips(&[a], &[], &[]).is_err());
        assert!(lpips(&[a], &[a], &[&[1.0]]).unwrap_err().to_string().contains("layer 0"));
        assert!(lpips(&[odd], &[odd], &[&[1.0, 1.0]]).is_err());
        assert!(lpips(&[nan], &[a], &[&[1.0, 1.0]]).unwrap_err().to_string().contains("finite"));
    }
}
