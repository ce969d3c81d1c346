//! Ways from noise to noise.
//!
//! Normal noise of n numbers lies close to the sphere of radius √n, and what lies well inside of it a generator has
//! hardly ever seen. So the way between two noises is a great circle's arc (slerp; White, "Sampling Generative Networks",
//! 1609.04468, section 2.1), with the length going evenly from the one's to the other's.

/// Below this angle, or as close to half a turn, an arc is a straight line or could be any: lerp.
const SMALL: f64 = 1e-6;

/// The noise at `t` in [0, 1] on the way from `a` to `b`: exactly `a` at 0 and `b` at 1. straight: along the line
/// between them, not the arc.
pub fn between(a: &[f32], b: &[f32], t: f64, straight: bool) -> Vec<f32> {
    if t <= 0.0 {
        return a.to_vec();
    }
    if t >= 1.0 {
        return b.to_vec();
    }
    let mix = |x: f64, y: f64| -> Vec<f32> {
        a.iter().zip(b).map(|(a, b)| (x * f64::from(*a) + y * f64::from(*b)) as f32).collect()
    };
    let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
    let (la, lb) = (dot(a, a).sqrt(), dot(b, b).sqrt());
    let angle = (dot(a, b) / (la * lb)).clamp(-1.0, 1.0).acos(); // NaN where one is zero
    let bends = angle > SMALL && angle < std::f64::consts::PI - SMALL;
    if straight || !bends {
        return mix(1.0 - t, t);
    }
    let length = la + (lb - la) * t;
    let share = |t: f64| (t * angle).sin() / angle.sin() * length;
    mix(share(1.0 - t) / la, share(t) / lb)
}

/// The legs between consecutive `points` (closed: and back to the first), each `steps` equal parts long: all their ends,
/// in order, `legs * steps + 1` noises.
pub fn path(points: &[Vec<f32>], steps: usize, closed: bool, straight: bool) -> Vec<Vec<f32>> {
    let Some(first) = points.first() else { return Vec::new() };
    let ends: Vec<&Vec<f32>> = points.iter().chain(closed.then_some(first)).collect();
    let mut path = vec![first.clone()];
    for leg in ends.windows(2) {
        path.extend((1..=steps).map(|i| between(leg[0], leg[1], i as f64 / steps as f64, straight)));
    }
    path
}

#[cfg(test)]
mod tests {
    use super::*;

    fn length(v: &[f32]) -> f64 {
        v.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt()
    }

    #[test]
    fn an_arc_keeps_its_length_and_hits_its_ends() {
        let (a, b) = (super::super::noise_of(1, 64), super::super::noise_of(2, 64));
        assert_eq!(between(&a, &b, 0.0, false), a);
        assert_eq!(between(&a, &b, 1.0, false), b);
        let scale = length(&a) / length(&b);
        let b: Vec<f32> = b.iter().map(|x| x * scale as f32).collect();
        for i in 1..8 {
            let t = f64::from(i) / 8.0;
            assert!((length(&between(&a, &b, t, false)) / length(&a) - 1.0).abs() < 1e-6, "{t}");
            assert!(length(&between(&a, &b, t, true)) < length(&a) * 0.99, "a chord is shorter: {t}");
        }
        // A right angle, lengths 1 and 3: half way, half the angle and length 2.
        let half = between(&[1.0, 0.0], &[0.0, 3.0], 0.5, false);
        assert!(half.iter().all(|x| (x - 2f32.sqrt()).abs() < 1e-6), "{half:?}");
        assert_eq!(between(&[1.0, 0.0], &[0.0, 3.0], 0.5, true), [0.5, 1.5]);
        // Even steps turn by even angles.
        let third = between(&[1.0, 0.0], &[0.0, 1.0], 1.0 / 3.0, false);
        assert!((third[1] - 0.5).abs() < 1e-6, "{third:?}");
    }

    #[test]
    fn where_there_is_no_arc_there_is_a_line() {
        for (a, b) in [([2.0, 0.0], [4.0, 0.0]), ([1.0, 0.0], [-1.0, 0.0]), ([0.0, 0.0], [1.0, 1.0])] {
            let half = between(&a, &b, 0.5, false);
            assert_eq!(half, between(&a, &b, 0.5, true));
            assert!(half.iter().all(|x| x.is_finite()));
        }
    }

    #[test]
    fn a_path_passes_through_every_point() {
        let points = [vec![1.0, 0.0], vec![0.0, 1.0], vec![-1.0, 0.0]];
        let open = path(&points, 4, false, false);
        assert_eq!(open.len(), 9);
        assert_eq!([&open[0], &open[4], &open[8]], [&points[0], &points[1], &points[2]]);
        let closed = path(&points, 4, true, true);
        assert_eq!((closed.len(), &closed[12]), (13, &points[0]));
        assert!(path(&[], 4, true, true).is_empty());
    }
}
