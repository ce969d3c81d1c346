//! Learning rates and other settings over a run.

/// A linear warm-up of `warmup` steps, then a cosine from `peak` to `peak * last` as `progress` goes from 0 to 1.
pub fn cosine(step: u64, warmup: u64, progress: f64, peak: f64, last: f64) -> f64 {
    let warm = if warmup == 0 { 1.0 } else { ((step + 1) as f64 / warmup as f64).min(1.0) };
    peak * warm * along(progress, 1.0, last)
}

/// From `first` to `last` along half a cosine as `progress` goes from 0 to 1.
pub fn along(progress: f64, first: f64, last: f64) -> f64 {
    let fall = 0.5 * (1.0 + (std::f64::consts::PI * progress.clamp(0.0, 1.0)).cos());
    last + (first - last) * fall
}

#[cfg(test)]
mod tests {
    use super::{along, cosine};

    #[test]
    fn rises_then_falls() {
        assert!((cosine(0, 100, 0.0, 1.0, 0.1) - 0.01).abs() < 1e-12);
        assert!((cosine(99, 100, 0.0, 1.0, 0.1) - 1.0).abs() < 1e-12);
        assert!((cosine(500, 100, 0.5, 1.0, 0.1) - 0.55).abs() < 1e-12);
        assert!((cosine(900, 100, 2.0, 1.0, 0.1) - 0.1).abs() < 1e-12);
    }

    #[test]
    fn goes_from_first_to_last() {
        for (progress, value) in [(0.0, 0.0), (0.5, 0.15), (1.0, 0.3), (2.0, 0.3)] {
            assert!((along(progress, 0.0, 0.3) - value).abs() < 1e-12);
        }
    }
}
