//! The collapse guard: looks at what a GAN measures of itself and says in plain words when it goes wrong.
//!
//! Five signs, each a moving average over about a hundred steps: pictures that look alike (mode collapse), pictures that
//! run wild, a discriminator that is never wrong (its loss teaches nothing any more), one that is fooled all the time, and
//! answers of D that run away. The limits are chosen by what the figures mean; few runs have tried them so far
//! (docs/results).

use crate::losses::Adversarial;
use crate::trainer::Losses;

/// Steps before anything is said: an untrained generator's pictures all look alike.
const PATIENCE: u64 = 300;
/// Steps an average looks back on.
const HORIZON: f64 = 100.0;
/// A sign must last for so many steps.
const LASTS: u64 = 100;
/// Pictures with less than this share of the real ones' variety are alike...
const ALIKE: f64 = 0.1;
/// ...if they had so much before...
const VARIED: f64 = 0.3;
/// ...or have had so many steps to get there.
const LATE: u64 = 3000;
/// Pictures with more than this share of it are noise.
const WILD: f64 = 4.0;
/// A D whose loss is below this is never wrong (losses of the logistic kind and the hinge).
const CERTAIN: f64 = 0.02;
/// A D whose answers on generated pictures are so far above those on real ones is fooled.
const FOOLED: f64 = 0.5;
/// Answers of D beyond this have run away.
const AWAY: f64 = 200.0;

/// What went wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Trouble {
    /// Pictures look alike.
    Alike,
    /// Pictures are noise.
    Wild,
    /// D is never wrong.
    Certain,
    /// D takes generated pictures for real ones.
    Fooled,
    /// D's answers grow without end.
    Away,
}

impl Trouble {
    /// What a person reads: what was seen, and the likely remedy.
    pub fn message(self, value: f64) -> String {
        let penalties = "raise r1 and r2 (or wgan_gp), or lower the rates";
        match self {
            Self::Alike => format!(
                "generated pictures look alike ({:.0}% of the variety of real ones): mode collapse; {penalties}, and check \
                 that D is no smaller than G",
                100.0 * value
            ),
            Self::Wild => {
                format!(
                    "generated pictures vary {value:.1} times as much as real ones: training runs wild; {penalties}"
                )
            }
            Self::Certain => format!(
                "D tells real from generated pictures every time (its loss is {value:.4}): G learns nothing from it; \
                 {penalties}, or augment the data"
            ),
            Self::Fooled => format!(
                "D finds generated pictures more real than real ones (by {value:.1}): it is too small or too slow; give it \
                 more channels, a higher discriminator_rate or more discriminator_steps"
            ),
            Self::Away => format!("D's answers have run away to {value:.0}: {penalties}"),
        }
    }
}

/// A moving average.
#[derive(Clone, Copy, Debug, Default)]
struct Average(Option<f64>);

impl Average {
    fn add(&mut self, value: Option<f32>) -> Option<f64> {
        if let Some(value) = value.map(f64::from) {
            self.0 = Some(self.0.map_or(value, |old| old + (value - old) / HORIZON));
        }
        self.0
    }
}

/// Watches one run.
#[derive(Debug)]
pub struct Guard {
    /// Whether the loss is one that goes to zero where D is certain.
    bounded: bool,
    steps: u64,
    d: Average,
    answers: Average,
    margin: Average,
    diversity: Average,
    most_varied: f64,
    /// Since when each sign has been there.
    since: [Option<u64>; 5],
    told: [bool; 5],
}

impl Guard {
    /// For a run with this loss, whose first step is the next one.
    pub fn new(loss: Adversarial) -> Self {
        Self {
            bounded: loss != Adversarial::Wasserstein,
            steps: 0,
            d: Average::default(),
            answers: Average::default(),
            margin: Average::default(),
            diversity: Average::default(),
            most_varied: 0.0,
            since: [None; 5],
            told: [false; 5],
        }
    }

    /// Looks at a step. Each trouble is told once, with the figure that shows it.
    pub fn look(&mut self, losses: &Losses) -> Option<(Trouble, f64)> {
        self.steps += 1;
        let d = self.d.add(losses.get("d"));
        let answers = losses.get("real").zip(losses.get("fake"));
        let margin = self.margin.add(answers.map(|(real, fake)| real - fake).or(losses.get("margin")));
        let larger = answers.map(|(real, fake)| real.abs().max(fake.abs()));
        let answers = self.answers.add(larger.or(losses.get("margin").map(f32::abs)));
        let diversity = self.diversity.add(losses.get("diversity"));
        let varied = diversity.unwrap_or(1.0);
        self.most_varied = self.most_varied.max(if self.steps > HORIZON as u64 { varied } else { 0.0 });
        let alike = varied < ALIKE && (self.most_varied > VARIED || self.steps > LATE);
        let signs = [
            (Trouble::Alike, alike, varied),
            (Trouble::Wild, varied > WILD, varied),
            (Trouble::Certain, self.bounded && d.is_some_and(|d| d < CERTAIN), d.unwrap_or(0.0)),
            (Trouble::Fooled, margin.is_some_and(|margin| margin < -FOOLED), -margin.unwrap_or(0.0)),
            (Trouble::Away, answers.is_some_and(|size| size > AWAY), answers.unwrap_or(0.0)),
        ];
        let mut trouble = None;
        for (i, (kind, seen, value)) in signs.into_iter().enumerate() {
            let seen = seen && self.steps > PATIENCE;
            self.since[i] = if seen { self.since[i].or(Some(self.steps)) } else { None };
            let lasted = self.since[i].is_some_and(|since| self.steps - since >= LASTS);
            if lasted && !std::mem::replace(&mut self.told[i], true) {
                trouble = trouble.or(Some((kind, value)));
            }
        }
        trouble
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The trouble that such steps show, if any.
    fn after(steps: u64, figures: impl Fn(u64) -> [f32; 3]) -> Option<Trouble> {
        let mut guard = Guard::new(Adversarial::NonSaturating);
        (0..steps).find_map(|step| {
            let [d, real, diversity] = figures(step);
            let losses = Losses::from_iter([("d", d), ("real", real), ("fake", -real), ("diversity", diversity)]);
            guard.look(&losses).map(|(trouble, _)| trouble)
        })
    }

    #[test]
    fn healthy_runs_are_left_alone() {
        assert_eq!(after(5000, |step| [0.8, 2.0, (step as f32 / 1000.0).min(0.9)]), None);
        assert_eq!(after(5000, |step| [if step % 50 == 0 { 0.0 } else { 0.6 }, 3.0, 0.7]), None, "single steps");
    }

    #[test]
    fn each_trouble_is_told() {
        assert_eq!(after(5000, |step| [0.6, 2.0, if step < 1000 { 0.8 } else { 0.02 }]), Some(Trouble::Alike));
        assert_eq!(after(5000, |_| [0.6, 2.0, 0.01]), Some(Trouble::Alike), "never varied at all");
        assert_eq!(after(2000, |_| [0.6, 2.0, 9.0]), Some(Trouble::Wild));
        assert_eq!(after(2000, |_| [0.001, 9.0, 0.8]), Some(Trouble::Certain));
        assert_eq!(after(2000, |_| [8.0, -1.0, 0.8]), Some(Trouble::Fooled));
        assert_eq!(after(2000, |step| [0.6, step as f32, 0.8]), Some(Trouble::Away));
    }

    #[test]
    fn wasserstein_distances_may_be_anything_and_a_trouble_is_told_once() {
        let mut guard = Guard::new(Adversarial::Wasserstein);
        let losses = Losses::from_iter([("d", -9.0), ("real", 5.0), ("fake", -4.0), ("diversity", 0.01)]);
        let told = (0..9000).filter(|_| guard.look(&losses).is_some()).count();
        assert_eq!(told, 1);
    }
}
