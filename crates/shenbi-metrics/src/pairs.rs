//! How near one picture is to another of the same thing: peak signal-to-noise ratio and structural similarity.
//!
//! - PSNR = 10 log₁₀ (255² / mean squared error), in dB; equal pictures have none.
//! - SSIM (Wang et al. 2004, eq. 13), for each window of 11x11 pixels weighted by a Gaussian of σ = 1.5:
//!   (2 μ₁μ₂ + c₁)(2 σ₁₂ + c₂) / ((μ₁² + μ₂² + c₁)(σ₁² + σ₂² + c₂)), c₁ = (0.01 · 255)², c₂ = (0.03 · 255)²; the mean over
//!   all windows that lie inside the picture, and over the channels. Variances divide by the sum of the weights.
//!
//! That is scikit-image's `structural_similarity(gaussian_weights=True, sigma=1.5, use_sample_covariance=False)`. Wang's
//! own program first halves pictures whose shorter side is above 256; this one does not.

use serde::Serialize;
use shenbi_data::{Picture, decode};

use crate::{MetricsError, Result};

const SIGMA: f64 = 1.5;
const WINDOW: usize = 11;

/// How near the pictures of two lists are, place by place.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Pairs {
    /// What was measured by what; figures with different protocols do not compare.
    pub protocol: String,
    /// Mean over the pairs that are not equal, in dB; nothing where all are.
    pub psnr: Option<f64>,
    /// Mean over all pairs, -1 to 1.
    pub ssim: f64,
    /// Pairs.
    pub n: usize,
    /// Of them equal to the last pixel.
    pub equal: usize,
}

/// Adds pairs one by one.
#[derive(Clone, Debug, Default)]
pub struct PairSum {
    psnr: f64,
    ssim: f64,
    n: usize,
    equal: usize,
}

impl PairSum {
    /// One pair. RGBA is laid onto white; grey stays grey where both are.
    ///
    /// # Errors
    /// They differ in size, or a side is shorter than 11 pixels.
    pub fn add(&mut self, a: &Picture, b: &Picture) -> Result<()> {
        if (a.height, a.width) != (b.height, b.width) {
            let message = format!("{}x{} against {}x{}: pairs have one size", a.height, a.width, b.height, b.width);
            return Err(MetricsError::Setting(message));
        }
        let channels = if a.channels.max(b.channels) == 1 { 1 } else { 3 };
        let [a, b] = [a, b].map(|picture| decode::with_channels(picture.clone(), channels));
        let (a, b) = (a?, b?);
        self.ssim += ssim(&a, &b)?;
        match psnr(&a.pixels, &b.pixels) {
            Some(psnr) => self.psnr += psnr,
            None => self.equal += 1,
        }
        self.n += 1;
        Ok(())
    }

    /// The means.
    ///
    /// # Errors
    /// There was no pair.
    pub fn finish(&self, protocol: &str) -> Result<Pairs> {
        let Self { n, equal, .. } = *self;
        if n == 0 {
            return Err(MetricsError::Setting("no pairs of pictures".to_string()));
        }
        let psnr = (n > equal).then(|| self.psnr / (n - equal) as f64);
        let protocol = format!("pairs-v1/{protocol}/psnr-255/ssim-gaussian-11-1.5/n={n}");
        Ok(Pairs { protocol, psnr, ssim: self.ssim / n as f64, n, equal })
    }
}

/// In dB; nothing where the samples are equal.
fn psnr(a: &[u8], b: &[u8]) -> Option<f64> {
    let sum: u64 = a.iter().zip(b).map(|(a, b)| u64::from(a.abs_diff(*b)).pow(2)).sum();
    (sum > 0).then(|| 10.0 * (255.0_f64.powi(2) * a.len() as f64 / sum as f64).log10())
}

/// Of pictures of one size and number of channels.
fn ssim(a: &Picture, b: &Picture) -> Result<f64> {
    let Picture { width, height, channels, .. } = *a;
    if width.min(height) < WINDOW {
        let message =
            format!("{height}x{width}: SSIM looks through windows of {WINDOW}x{WINDOW}; give larger pictures");
        return Err(MetricsError::Setting(message));
    }
    let of_channel = |c: usize| {
        let plane = |picture: &Picture| -> Vec<f64> {
            picture.pixels.iter().skip(c).step_by(channels).map(|v| f64::from(*v)).collect()
        };
        let (x, y) = (plane(a), plane(b));
        let product = |a: &[f64], b: &[f64]| -> Vec<f64> { a.iter().zip(b).map(|(a, b)| a * b).collect() };
        let [xx, yy, xy] = [product(&x, &x), product(&y, &y), product(&x, &y)];
        let [x, y, xx, yy, xy] = [x, y, xx, yy, xy].map(|plane| windows(&plane, width));
        let (c1, c2) = ((0.01_f64 * 255.0).powi(2), (0.03_f64 * 255.0).powi(2));
        let at = |i: usize| {
            let (mx, my) = (x[i], y[i]);
            let (vx, vy, vxy) = (xx[i] - mx * mx, yy[i] - my * my, xy[i] - mx * my);
            (2.0 * mx * my + c1) * (2.0 * vxy + c2) / ((mx * mx + my * my + c1) * (vx + vy + c2))
        };
        (0..x.len()).map(at).sum::<f64>() / x.len() as f64
    };
    Ok((0..channels).map(of_channel).sum::<f64>() / channels as f64)
}

/// The weighted mean of each window inside a plane: rows, then columns.
fn windows(plane: &[f64], width: usize) -> Vec<f64> {
    let weight = |i: usize| (-0.5 * ((i as f64 - (WINDOW / 2) as f64) / SIGMA).powi(2)).exp();
    let sum: f64 = (0..WINDOW).map(weight).sum();
    let weights: Vec<f64> = (0..WINDOW).map(|i| weight(i) / sum).collect();
    let inside = width - WINDOW + 1;
    let along = |row: &[f64]| -> Vec<f64> {
        row.windows(WINDOW).map(|window| window.iter().zip(&weights).map(|(v, w)| v * w).sum()).collect()
    };
    let rows: Vec<f64> = plane.chunks_exact(width).flat_map(along).collect(); // [height, inside]
    let down = rows.windows((WINDOW - 1) * inside + 1);
    down.map(|column| column.iter().step_by(inside).zip(&weights).map(|(v, w)| v * w).sum()).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn flat(value: u8) -> Picture {
        Picture { width: 12, height: 13, channels: 1, pixels: vec![value; 12 * 13] }
    }

    #[test]
    fn flat_pictures_in_closed_form() {
        let mut sum = PairSum::default();
        sum.add(&flat(100), &flat(100)).unwrap();
        let result = sum.finish("test").unwrap();
        assert_eq!((result.psnr, result.equal, result.n), (None, 1, 1));
        assert!((result.ssim - 1.0).abs() < 1e-12);
        sum.add(&flat(100), &flat(110)).unwrap();
        let result = sum.finish("test").unwrap();
        assert!((result.psnr.unwrap() - 20.0 * 25.5_f64.log10()).abs() < 1e-12);
        let c1 = 2.55 * 2.55;
        let expected = (2.0 * 11_000.0 + c1) / (10_000.0 + 12_100.0 + c1);
        assert!((2.0 * result.ssim - 1.0 - expected).abs() < 1e-9, "{result:?}");
    }

    #[test]
    fn what_is_refused() {
        let small = Picture { width: 10, height: 30, channels: 1, pixels: vec![0; 300] };
        let mut sum = PairSum::default();
        assert!(sum.add(&small, &small).unwrap_err().to_string().contains("11x11"));
        assert!(sum.add(&small, &flat(0)).unwrap_err().to_string().contains("30x10 against 13x12"));
        assert!(sum.finish("test").unwrap_err().to_string().contains("no pairs"));
    }
}
