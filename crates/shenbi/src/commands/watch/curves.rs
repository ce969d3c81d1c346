//! The figures of a log as curves: one for each field that is a number, in bounded memory.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

/// Points that a curve keeps, at most. Beyond, neighbours become their mean.
const POINTS: usize = 4096;
/// Curves, at most; a log with more names than this is no log of ours.
const CURVES: usize = 64;
/// Fields that say when and how fast, and are no curves.
const NOT_CURVES: [&str; 5] = ["step", "images", "seconds", "images_per_second", "loader_share"];
/// Values are drawn within this, so that sums of them are numbers.
const HUGE: f64 = 1e100;

/// One figure over the run.
#[derive(Debug, Default)]
pub struct Curve {
    points: Vec<(f64, f64)>,
    /// Values that a point is the mean of.
    each: u32,
    /// Values of the point in the making, and their sums.
    count: u32,
    sums: (f64, f64),
    /// The last value as the log has it, and where.
    pub latest: (f64, f64),
    /// The smallest value and the largest.
    pub range: (f64, f64),
}

impl Curve {
    fn add(&mut self, x: f64, y: f64) {
        if self.points.is_empty() && self.count == 0 {
            (self.range, self.each) = ((y, y), 1);
        }
        self.latest = (x, y);
        self.range = (self.range.0.min(y), self.range.1.max(y));
        self.sums.0 += x.clamp(-HUGE, HUGE);
        self.sums.1 += y.clamp(-HUGE, HUGE);
        self.count += 1;
        if self.count < self.each {
            return;
        }
        if self.points.len() == POINTS {
            let mean = |pair: &[(f64, f64)]| (pair[0].0.midpoint(pair[1].0), pair[0].1.midpoint(pair[1].1));
            self.points = self.points.chunks_exact(2).map(mean).collect();
            self.each *= 2;
            return; // the point in the making is half of one now
        }
        self.points.push(self.unfinished());
        (self.count, self.sums) = (0, (0.0, 0.0));
    }

    fn unfinished(&self) -> (f64, f64) {
        let n = f64::from(self.count.max(1));
        (self.sums.0 / n, self.sums.1 / n)
    }

    /// Its points, the one in the making included.
    pub fn points(&self) -> Vec<(f64, f64)> {
        let last = (self.count > 0).then(|| self.unfinished());
        self.points.iter().copied().chain(last).collect()
    }
}

/// Each point's mean with its neighbours, a fortieth of all on either side: what remains is the trend.
pub fn smooth(points: &[(f64, f64)]) -> Vec<(f64, f64)> {
    let reach = points.len().div_ceil(40);
    let mean = |i: usize| {
        let near = &points[i.saturating_sub(reach)..(i + reach + 1).min(points.len())];
        (points[i].0, near.iter().map(|point| point.1).sum::<f64>() / near.len() as f64)
    };
    (0..points.len()).map(mean).collect()
}

/// From where to where `values` lie, but for the most extreme of every `of` at either end, and never nothing.
pub fn span(mut values: Vec<f64>, of: usize) -> (f64, f64) {
    if values.is_empty() {
        return (0.0, 1.0);
    }
    values.sort_by(f64::total_cmp);
    let out = values.len() / of;
    let (low, high) = (values[out], values[values.len() - 1 - out]);
    let margin = if high > low { (high - low) * 0.05 } else { low.abs().max(1.0) * 0.1 };
    let lowest = if low >= 0.0 { 0.0 } else { f64::NEG_INFINITY };
    ((low - margin).max(lowest), high + margin)
}

/// All curves of a log by name.
#[derive(Debug, Default)]
pub struct Curves {
    by_name: BTreeMap<String, Curve>,
}

/// Curves that belong in one chart.
#[derive(Debug, PartialEq, Eq)]
pub struct Group<'a> {
    /// Tells it from the others, also when curves join it.
    pub key: &'a str,
    /// Names of its curves.
    pub names: Vec<&'a str>,
}

impl Curves {
    /// Takes in the numbers of a line of the log, at `x`.
    pub fn add(&mut self, x: f64, line: &Map<String, Value>) {
        for (name, value) in line {
            let Some(value) = value.as_f64().filter(|value| value.is_finite()) else { continue };
            if NOT_CURVES.contains(&name.as_str()) {
                continue;
            }
            if !self.by_name.contains_key(name) && self.by_name.len() < CURVES {
                self.by_name.insert(name.clone(), Curve::default());
            }
            if let Some(curve) = self.by_name.get_mut(name) {
                curve.add(x, value);
            }
        }
    }

    /// The curve called `name`.
    pub fn get(&self, name: &str) -> Option<&Curve> {
        self.by_name.get(name)
    }

    /// All of them, the losses of the two networks first.
    pub fn iter(&self) -> impl Iterator<Item = (&str, &Curve)> {
        let of_losses = |losses| self.by_name.iter().filter(move |(name, _)| (group(name) == LOSSES) == losses);
        of_losses(true).chain(of_losses(false)).map(|(name, curve)| (name.as_str(), curve))
    }

    /// The charts: the losses of the two networks in the first, then curves whose names begin alike, as `r1` and `r2`.
    pub fn groups(&self) -> Vec<Group<'_>> {
        let mut groups: Vec<Group<'_>> = Vec::new();
        for (name, _) in self.iter() {
            let key = group(name);
            match groups.iter_mut().find(|group| group.key == key) {
                Some(group) => group.names.push(name),
                None => groups.push(Group { key, names: vec![name] }),
            }
        }
        groups
    }
}

/// The group of D's and G's losses.
const LOSSES: &str = "losses";

/// The key of the group that `name` belongs to.
fn group(name: &str) -> &str {
    if matches!(name, "d" | "g" | "d_loss" | "g_loss" | "loss_d" | "loss_g") {
        return LOSSES;
    }
    let stem = name.split_once('_').map_or(name, |(stem, _)| stem).trim_end_matches(|c: char| c.is_ascii_digit());
    if stem.is_empty() { name } else { stem }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn curves(lines: &[Value]) -> Curves {
        let mut curves = Curves::default();
        for (x, line) in lines.iter().enumerate() {
            curves.add(x as f64, line.as_object().unwrap());
        }
        curves
    }

    #[test]
    fn any_number_is_a_curve() {
        let curves = curves(&[
            json!({"step": 1, "images": 8, "seconds": 0.5, "images_per_second": 16.0, "loader_share": 0.0,
                "phase": "gan", "d": 0.5, "r1": null, "note": [1]}),
            json!({"d": 1.5, "r1": 2, "margin": -3}),
        ]);
        let all: Vec<_> = curves.iter().map(|(name, curve)| (name, curve.latest, curve.range)).collect();
        assert_eq!(
            all,
            [("d", (1.0, 1.5), (0.5, 1.5)), ("margin", (1.0, -3.0), (-3.0, -3.0)), ("r1", (1.0, 2.0), (2.0, 2.0))]
        );
    }

    #[test]
    fn curves_that_belong_together() {
        let line = json!({"accuracy": 1, "contrast": 1, "contrast_fake": 1, "d": 1, "d_real": 1, "g": 1, "margin": 1,
            "r1": 1, "r2": 1, "7": 1, "_x": 1});
        let curves = curves(&[line]);
        let groups: Vec<_> = curves.groups().into_iter().map(|group| group.names.join(" ")).collect();
        assert_eq!(groups, ["d g", "7", "_x", "accuracy", "contrast contrast_fake", "d_real", "margin", "r1 r2"]);
        assert!(Curves::default().groups().is_empty());
    }

    #[test]
    fn memory_is_bounded_and_the_shape_stays() {
        let mut curve = Curve::default();
        let n = 50 * POINTS + 17;
        for i in 0..n {
            curve.add(i as f64, 3.0 * i as f64);
        }
        let points = curve.points();
        assert!((POINTS / 2..=POINTS + 1).contains(&points.len()), "{}", points.len());
        assert!(points.iter().all(|(x, y)| (y - 3.0 * x).abs() < 1e-6));
        assert!(points.windows(2).all(|pair| pair[0].0 < pair[1].0));
        assert_eq!(curve.latest.0, (n - 1) as f64);
        assert_eq!(curve.range, (0.0, 3.0 * (n - 1) as f64));
        let total = f64::from(curve.each) * curve.points.len() as f64 + f64::from(curve.count);
        assert_eq!(total, n as f64, "no value is lost");
        let mut curves = Curves::default();
        for i in 0..1000 {
            curves.add(0.0, json!({format!("name{i}_"): 1}).as_object().unwrap());
        }
        assert_eq!(curves.iter().count(), CURVES);
    }

    #[test]
    fn smoothing_keeps_the_trend() {
        let noisy: Vec<_> =
            (0..400).map(|i| (f64::from(i), f64::from(i) + if i % 2 == 0 { 5.0 } else { -5.0 })).collect();
        let smooth = smooth(&noisy);
        assert!(smooth[20..380].iter().all(|(x, y)| (y - x).abs() < 0.5));
        assert_eq!(super::smooth(&[(1.0, 2.0)]), [(1.0, 2.0)]);
        assert!(super::smooth(&[]).is_empty());
    }

    #[test]
    fn spans_leave_out_what_is_extreme() {
        let mut values: Vec<f64> = (0..=1000).map(f64::from).collect();
        values.extend([1e9, -1e9]);
        let (low, high) = span(values, 100);
        assert!(low > -100.0 && high < 1100.0, "{low} {high}");
        assert_eq!(span(vec![], 100), (0.0, 1.0));
        let (low, high) = span(vec![2.0; 5], 100);
        assert!(low < 2.0 && high > 2.0);
        assert_eq!(span(vec![0.0, 1.0], 100), (0.0, 1.05), "no room below nothing where nothing is negative");
        let mut curve = Curve::default();
        for y in [f64::MAX, f64::MIN, 0.0] {
            curve.add(0.0, y);
        }
        let (low, high) = span(curve.points().iter().map(|point| point.1).collect(), 100);
        assert!((high - low).is_finite() && high > low);
    }
}
