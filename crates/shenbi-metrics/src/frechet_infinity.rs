//! The Fréchet distance that infinitely many generated pictures would have (Chong & Forsyth, 1911.07023).
//!
//! With N pictures the distance is too large by about c / N, with a c that differs from model to model. So it is measured
//! for 15 numbers of pictures, evenly spaced from a tenth of them to all, each time of a new random choice, and a straight
//! line in 1 / N is fitted: where it meets 1 / N = 0 is the distance at infinity. The reference is taken as given, so its
//! own bias stays. The line holds once there are clearly more pictures than features; the paper has 5,000 to 50,000.

use serde::Serialize;
use shenbi_data::rng;

use crate::frechet::{Moments, Reference};
use crate::{MetricsError, Result};

/// Numbers of pictures that are tried.
const POINTS: usize = 15;

/// The distance at infinity.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct FrechetInfinity {
    /// What was measured by what; figures with different protocols do not compare.
    pub protocol: String,
    /// Where the line meets 1 / N = 0.
    pub distance: f64,
    /// How the distance falls with 1 / N.
    pub slope: f64,
    /// Share of the points' variance that the line explains, 0 to 1.
    pub fit: f64,
    /// Number of pictures and distance of each point.
    pub points: Vec<(usize, f64)>,
    /// Why the number says little, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// The distance of `rows` from `reference` at infinity. seed: which pictures each point has; progress: points done so far.
///
/// # Shapes
/// rows: `[n, dim]`, row-major.
///
/// # Errors
/// Fewer than 150 pictures, or numbers that are not finite.
pub fn frechet_infinity(
    reference: &Reference,
    rows: &[f32],
    seed: u64,
    protocol: &str,
    mut progress: impl FnMut(usize),
) -> Result<FrechetInfinity> {
    let dim = reference.gaussian().mean.len();
    let n = rows.len() / dim;
    if n < 10 * POINTS {
        return Err(MetricsError::Setting(format!(
            "{n} pictures: the distance at infinity needs {} or more",
            10 * POINTS
        )));
    }
    let mut order: Vec<usize> = (0..n).collect();
    let (first, mut points) = (n / 10, Vec::with_capacity(POINTS));
    for point in 0..POINTS {
        rng::shuffle(&mut rng::stream(seed, "frechet-infinity", point as u64), &mut order);
        let count = first + (n - first) * point / (POINTS - 1);
        let mut moments = Moments::new(dim);
        for places in order[..count].chunks(256) {
            let block: Vec<f32> = places.iter().flat_map(|place| &rows[place * dim..][..dim]).copied().collect();
            moments.add(&block)?;
        }
        points.push((count, reference.distance(&moments.gaussian()?, "")?.distance));
        progress(point + 1);
    }
    let (distance, slope, fit) = line(&points);
    let warning = (first <= dim).then(|| {
        format!(
            "{first} pictures at the first point for {dim} features: the line need not hold; {} are needed",
            10 * dim
        )
    });
    let protocol = format!("frechet-infinity-v1/{protocol}/n={first}..{n}/points={POINTS}/seed={seed}");
    Ok(FrechetInfinity { protocol, distance, slope, fit, points, warning })
}

/// Least squares of distance = a + b / N: a, b and the share of the variance it explains.
fn line(points: &[(usize, f64)]) -> (f64, f64, f64) {
    let n = points.len() as f64;
    let inverse = |(count, _): &(usize, f64)| 1.0 / *count as f64;
    let (x, y) = (points.iter().map(inverse).sum::<f64>() / n, points.iter().map(|point| point.1).sum::<f64>() / n);
    let products = |f: &dyn Fn(&(usize, f64)) -> f64| points.iter().map(f).sum::<f64>();
    let xx = products(&|point| (inverse(point) - x).powi(2));
    let xy = products(&|point| (inverse(point) - x) * (point.1 - y));
    let yy = products(&|point| (point.1 - y).powi(2));
    let slope = xy / xx;
    (y - slope * x, slope, if yy > 0.0 { xy * xy / (xx * yy) } else { 1.0 })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_is_found() {
        let points: Vec<(usize, f64)> = (1..9).map(|i| (100 * i, 3.0 + 50.0 / (100 * i) as f64)).collect();
        let (distance, slope, fit) = line(&points);
        assert!((distance - 3.0).abs() < 1e-9 && (slope - 50.0).abs() < 1e-6 && (fit - 1.0).abs() < 1e-9);
        assert_eq!(line(&[(1, 2.0), (2, 2.0)]), (2.0, 0.0, 1.0));
    }

    #[test]
    fn the_bias_of_few_pictures_goes() {
        let dim = 40;
        let draws = |name: &str, n: usize| -> Vec<f32> {
            let mut stream = rng::stream(9, name, 0);
            (0..n * dim).map(|_| rng::normal(&mut stream)).collect()
        };
        let moments = |rows: &[f32]| {
            let mut moments = Moments::new(dim);
            moments.add(rows).unwrap();
            moments
        };
        let reference = Reference::new(moments(&draws("a", 100_000)).gaussian().unwrap()).unwrap();
        let rows = draws("b", 4000);
        let at_n = reference.distance(&moments(&rows).gaussian().unwrap(), "").unwrap().distance;
        let found = frechet_infinity(&reference, &rows, 1, "test", |_| ()).unwrap();
        assert!(found.points.len() == 15 && found.points[0].0 == 400 && found.points[14].0 == 4000);
        assert!((found.points[14].1 - at_n).abs() < 1e-9 && found.slope > 0.0 && found.fit > 0.9, "{found:?}");
        // Both sides are of one distribution: the distance is 0.
        assert!(found.distance.abs() < 0.25 * at_n, "{} {}", found.distance, at_n);
        assert!(found.warning.is_none());
        assert!(frechet_infinity(&reference, &rows[..100 * dim], 1, "t", |_| ()).is_err());
    }
}
