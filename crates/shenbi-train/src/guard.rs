//! The collapse guard: looks at what a GAN measures of itself and says in plain words when it goes wrong.
//!
//! Eight signs, each a moving average over about a hundred steps: pictures that look alike (mode collapse), pictures that
//! run wild, pictures that are copies of training pictures, a discriminator that is never wrong (its loss teaches nothing any
//! more), one that is fooled all the time, answers of D that run away, and gradients of G or D that vanish or explode. The
//! limits are chosen by what the figures mean; which runs have tried them is in docs/results.

use crate::losses::Adversarial;
use crate::trainer::Losses;
use crate::vitals;

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
/// With less than this share they are all but one picture: a start that long...
const ONE: f64 = 0.01;
/// ...is none any more.
const EARLY: u64 = 900;
/// Pictures with more than this share of it are noise.
const WILD: f64 = 4.0;
/// A D whose loss is below this is never wrong (losses of the logistic kind and the hinge).
const CERTAIN: f64 = 0.02;
/// A D whose answers on generated pictures are so far above those on real ones is fooled.
const FOOLED: f64 = 0.5;
/// Answers of D beyond this have run away.
const AWAY: f64 = 200.0;
/// Pictures nearer to training pictures than this share of what lies between those are copies.
const COPIED: f64 = 0.3;
/// Gradients shorter than this share of the longest so far have vanished...
const VANISHED: f64 = 1e-4;
/// ...and so many times as long as the shortest so far, they explode.
const EXPLODED: f64 = 1e3;
/// A shorter one counts as this long.
const NO_GRADIENT: f32 = 1e-8;

/// One of the two networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Side {
    /// The generator.
    G,
    /// The discriminator.
    D,
}

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
    /// Pictures are copies of training pictures.
    Copies,
    /// Gradients are nothing beside what they were.
    Vanished(Side),
    /// Gradients are far longer than they were.
    Exploded(Side),
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
            Self::Copies => format!(
                "generated pictures are copies: as near to training pictures as {:.0}% of what lies between those; augment \
                 the data, give more pictures, or stop earlier",
                100.0 * value
            ),
            Self::Vanished(Side::G) => format!(
                "G's gradients have vanished (to {value:.1e} of what they were): it learns nothing any more; {penalties}, or \
                 take another loss (non-saturating or relativistic)"
            ),
            Self::Vanished(Side::D) => format!(
                "D's gradients have vanished (to {value:.1e} of what they were): it learns nothing any more; lower r1 and r2 \
                 if it answers all pictures alike, raise them if it is never wrong"
            ),
            Self::Exploded(side) => {
                format!("{side:?}'s gradients explode ({value:.0} times what they were): {penalties}, or set max_rms=1")
            }
        }
    }
}

/// A moving average.
#[derive(Clone, Copy, Debug, Default)]
struct Average(Option<f64>);

impl Average {
    /// Takes in a figure that comes once in so many steps.
    fn add(&mut self, value: Option<f32>, every: u64) -> Option<f64> {
        if let Some(value) = value.map(f64::from) {
            self.0 = Some(self.0.map_or(value, |old| old + (value - old) * every as f64 / HORIZON));
        }
        self.0
    }
}

/// The length of a network's gradients, and between what it has been, as logarithms: one spike moves their average little.
#[derive(Clone, Copy, Debug, Default)]
struct Gradient {
    length: Average,
    range: Option<[f64; 2]>,
}

impl Gradient {
    /// The length as a share of the longest and as a multiple of the shortest that it has been since the patience ended.
    fn add(&mut self, value: Option<f32>, patient: bool) -> [f64; 2] {
        let value = value.filter(|_| !patient).map(|length| length.max(NO_GRADIENT).ln());
        let Some(length) = self.length.add(value, vitals::EVERY) else { return [1.0; 2] };
        let [low, high] = self.range.map_or([length; 2], |[low, high]| [low.min(length), high.max(length)]);
        self.range = Some([low, high]);
        [(length - high).exp(), (length - low).exp()]
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
    nearest: Average,
    /// G's and D's.
    gradients: [Gradient; 2],
    /// Since when each sign has been there.
    since: [Option<u64>; SIGNS],
    told: [bool; SIGNS],
}

/// As many as [`Guard::look`] looks at.
const SIGNS: usize = 10;

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
            nearest: Average::default(),
            gradients: [Gradient::default(); 2],
            since: [None; SIGNS],
            told: [false; SIGNS],
        }
    }

    /// Looks at a step. Each trouble is told once, with the figure that shows it.
    pub fn look(&mut self, losses: &Losses) -> Option<(Trouble, f64)> {
        self.steps += 1;
        let patient = self.steps <= PATIENCE;
        let d = self.d.add(losses.get("d"), 1);
        let answers = losses.get("real").zip(losses.get("fake"));
        let margin = self.margin.add(answers.map(|(real, fake)| real - fake).or(losses.get("margin")), 1);
        let larger = answers.map(|(real, fake)| real.abs().max(fake.abs()));
        let answers = self.answers.add(larger.or(losses.get("margin").map(f32::abs)), 1);
        let diversity = self.diversity.add(losses.get("diversity"), 1);
        let varied = diversity.unwrap_or(1.0);
        self.most_varied = self.most_varied.max(if self.steps > HORIZON as u64 { varied } else { 0.0 });
        let alike =
            varied < ALIKE && (self.most_varied > VARIED || self.steps > LATE) || varied < ONE && self.steps > EARLY;
        let nearest = self.nearest.add(losses.get("nearest"), vitals::EVERY).unwrap_or(1.0);
        let [g_gradient, d_gradient] = &mut self.gradients;
        let [g_share, g_times] = g_gradient.add(losses.get("gradient_g"), patient);
        let [d_share, d_times] = d_gradient.add(losses.get("gradient_d"), patient);
        let signs: [_; SIGNS] = [
            (Trouble::Alike, alike, varied),
            (Trouble::Wild, varied > WILD, varied),
            (Trouble::Certain, self.bounded && d.is_some_and(|d| d < CERTAIN), d.unwrap_or(0.0)),
            (Trouble::Fooled, margin.is_some_and(|margin| margin < -FOOLED), -margin.unwrap_or(0.0)),
            (Trouble::Away, answers.is_some_and(|size| size > AWAY), answers.unwrap_or(0.0)),
            (Trouble::Copies, nearest < COPIED, nearest),
            (Trouble::Vanished(Side::G), g_share < VANISHED, g_share),
            (Trouble::Vanished(Side::D), d_share < VANISHED, d_share),
            (Trouble::Exploded(Side::G), g_times > EXPLODED, g_times),
            (Trouble::Exploded(Side::D), d_times > EXPLODED, d_times),
        ];
        let mut trouble = None;
        for (i, (kind, seen, value)) in signs.into_iter().enumerate() {
            self.since[i] = if seen && !patient { self.since[i].or(Some(self.steps)) } else { None };
            let lasted = self.since[i].is_some_and(|since| self.steps - since >= LASTS);
            if lasted && trouble.is_none() && !std::mem::replace(&mut self.told[i], true) {
                trouble = Some((kind, value));
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
        assert_eq!(after(2900, |_| [0.8, 2.0, 0.05]), None, "a slow start");
        assert_eq!(after(5000, |step| [if step % 50 == 0 { 0.0 } else { 0.6 }, 3.0, 0.7]), None, "single steps");
    }

    #[test]
    fn each_trouble_is_told() {
        assert_eq!(after(5000, |step| [0.6, 2.0, if step < 1000 { 0.8 } else { 0.02 }]), Some(Trouble::Alike));
        assert_eq!(after(5000, |_| [0.6, 2.0, 0.05]), Some(Trouble::Alike), "never varied at all");
        assert_eq!(after(1500, |_| [0.6, 2.0, 0.005]), Some(Trouble::Alike), "one picture from the start");
        assert_eq!(after(2000, |_| [0.6, 2.0, 9.0]), Some(Trouble::Wild));
        assert_eq!(after(2000, |_| [0.001, 9.0, 0.8]), Some(Trouble::Certain));
        assert_eq!(after(2000, |_| [8.0, -1.0, 0.8]), Some(Trouble::Fooled));
        assert_eq!(after(2000, |step| [0.6, step as f32, 0.8]), Some(Trouble::Away));
    }

    /// The trouble of a run of 3,000 steps that is healthy but for this figure.
    fn shown_by(name: &'static str, figure: impl Fn(u64) -> f32) -> Option<Trouble> {
        let mut guard = Guard::new(Adversarial::NonSaturating);
        (0..3000).find_map(|step| {
            let mut losses = Losses::from_iter([("d", 0.8), ("real", 1.0), ("fake", -1.0), ("diversity", 0.8)]);
            if step % vitals::EVERY == 0 {
                losses.push(name, figure(step));
            }
            guard.look(&losses).map(|(trouble, _)| trouble)
        })
    }

    #[test]
    fn copies_and_gradients_are_told() {
        assert_eq!(shown_by("nearest", |step| 1.0 - step as f32 / 3000.0), Some(Trouble::Copies));
        assert_eq!(shown_by("nearest", |_| 0.6), None);
        assert_eq!(
            shown_by("gradient_g", |step| if step < 1000 { 2.0 } else { 1e-6 }),
            Some(Trouble::Vanished(Side::G))
        );
        assert_eq!(
            shown_by("gradient_d", |step| if step < 1000 { 0.1 } else { 1e3 }),
            Some(Trouble::Exploded(Side::D))
        );
        assert_eq!(
            shown_by("gradient_d", |step| if step < 200 { 1e6 } else { 1.0 }),
            None,
            "the first steps do not count"
        );
        assert_eq!(shown_by("gradient_d", |step| if step == 960 { 1e7 } else { 1.0 }), None, "nor does a single spike");
        assert_eq!(shown_by("gradient_g", |step| 10f32.powi((step / 500) as i32 % 3 - 1)), None);
    }

    #[test]
    fn wasserstein_distances_may_be_anything_and_a_trouble_is_told_once() {
        let mut guard = Guard::new(Adversarial::Wasserstein);
        let losses = Losses::from_iter([("d", -9.0), ("real", 5.0), ("fake", -4.0), ("diversity", 0.01)]);
        let told = (0..9000).filter(|_| guard.look(&losses).is_some()).count();
        assert_eq!(told, 1);
    }
}
