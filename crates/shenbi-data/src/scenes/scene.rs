//! What is where in a picture.

use rand_chacha::ChaCha8Rng;

use super::split::{Split, combination};
use super::words::{Colour, Relation, Shape, Size};
use super::{art, chinese, draw, english};
use crate::Picture;
use crate::rng::{below, uniform};

/// How much is in a picture.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Level {
    /// One large object near the centre.
    One,
    /// Two objects and where they are to each other.
    Two,
    /// One to three of the same object, anywhere.
    Many,
    /// [`One`](Level::One) and [`Two`](Level::Two), half and half.
    Mixed,
}

/// One thing in the picture. Lengths are in shares of the picture, so that a scene fits every size.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Object {
    /// What it is.
    pub shape: Shape,
    /// Its colour.
    pub colour: Colour,
    /// How large it is called.
    pub size: Size,
    /// Centre from the left, in widths of the picture.
    pub x: f32,
    /// Centre from the top, in heights of the picture.
    pub y: f32,
    /// About half its extent, in the picture's shorter side.
    pub radius: f32,
    /// Tangent of half the angle it is turned by, clockwise; a few degrees. (So drawing needs no sine, whose last
    /// digit differs between machines.)
    pub turn: f32,
    /// Left and right exchanged (seen in a crescent and a fish).
    pub mirrored: bool,
}

/// What the objects stand on.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Background {
    /// Its colour.
    pub colour: Colour,
    /// 0 for a plain one; else how far it runs from light at the top to dark at the bottom, up to 1.
    pub gradient: f32,
}

/// A picture's description. [`draw`](Self::draw) and [`captions`](Self::captions) render it.
#[derive(Clone, Debug, PartialEq)]
pub struct Scene {
    /// How much is in it; never [`Level::Mixed`].
    pub level: Level,
    /// One; two (level `Two`); or one to three of one kind (level `Many`).
    pub objects: Vec<Object>,
    /// What they stand on.
    pub background: Background,
    /// Level `Two`: where the first object is, seen from the second.
    pub relation: Option<Relation>,
}

/// The labels of a scene, for evaluation.
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
pub struct Attributes {
    /// The background's colour.
    pub background: Colour,
    /// The kinds of object: one, or two for level `Two` (first the relation's subject).
    pub objects: Vec<(Colour, Shape, Size)>,
    /// Where the first is, seen from the second.
    pub relation: Option<Relation>,
    /// How many objects there are, 1 to 3.
    pub count: usize,
}

impl Attributes {
    /// The same facts in the order the picture shows: the upper or left object first, so that the relation is
    /// [`Above`](Relation::Above) or [`LeftOf`](Relation::LeftOf).
    ///
    /// "A above B" and "B below A" are one picture; a classifier of pictures can only learn this order.
    #[must_use]
    pub fn by_position(mut self) -> Self {
        if let Some(relation @ (Relation::Below | Relation::RightOf)) = self.relation {
            self.objects.reverse();
            self.relation = Some(relation.inverse());
        }
        self
    }
}

/// A number in `low..high`.
pub(super) fn between(rng: &mut ChaCha8Rng, low: f32, high: f32) -> f32 {
    low + (high - low) * uniform(rng)
}

/// One of `items`, each equally likely.
pub(super) fn pick<T: Copy>(rng: &mut ChaCha8Rng, items: &[T]) -> T {
    items[below(rng, items.len() as u64) as usize]
}

/// True with probability `share`.
pub(super) fn chance(rng: &mut ChaCha8Rng, share: f32) -> bool {
    uniform(rng) < share
}

/// Space kept free at the picture's edges, and least space between two objects.
const MARGIN: f32 = 0.012;
const GAP: f32 = 0.035;

impl Object {
    /// An upright one in the centre.
    fn new(colour: Colour, shape: Shape, size: Size, radius: f32) -> Self {
        Self { shape, colour, size, x: 0.5, y: 0.5, radius, turn: 0.0, mirrored: false }
    }

    /// Turned a little, perhaps mirrored. What stands on the ground tilts least.
    fn varied(mut self, rng: &mut ChaCha8Rng) -> Self {
        let most = match self.shape {
            Shape::House | Shape::Tree => 0.035,     // 4 degrees
            Shape::Triangle => 0.05,                 // 6 degrees
            Shape::Square | Shape::Cross => 0.07,    // 8 degrees
            Shape::Crescent | Shape::Flower => 0.17, // 20 degrees
            _ => 0.09,                               // 10 degrees
        };
        self.turn = between(rng, -most, most);
        self.mirrored = chance(rng, 0.5);
        self
    }

    /// Half its extent to either side, outline included: `[x, y]` in the picture's shorter side.
    #[must_use]
    pub fn extent(&self) -> [f32; 2] {
        art::extent(self.shape, self.turn, self.mirrored).map(|e| e * self.radius)
    }

    /// Its kind, for [`Attributes`].
    fn kind(&self) -> (Colour, Shape, Size) {
        (self.colour, self.shape, self.size)
    }
}

/// A background whose colour is none of `taken`.
fn sample_background(rng: &mut ChaCha8Rng, taken: &[Colour]) -> Background {
    let colour = loop {
        let colour = pick(rng, &Colour::ALL);
        if !taken.contains(&colour) {
            break colour;
        }
    };
    let gradient = if chance(rng, 0.5) { between(rng, 0.4, 1.0) } else { 0.0 };
    Background { colour, gradient }
}

impl Scene {
    /// A random scene of `level` and `split`.
    #[must_use]
    pub fn sample(rng: &mut ChaCha8Rng, level: Level, split: Split) -> Self {
        match level {
            Level::One => Self::sample_one(rng, split),
            Level::Two => Self::sample_two(rng, split),
            Level::Many => Self::sample_many(rng, split),
            Level::Mixed if chance(rng, 0.5) => Self::sample_one(rng, split),
            Level::Mixed => Self::sample_two(rng, split),
        }
    }

    fn sample_one(rng: &mut ChaCha8Rng, split: Split) -> Self {
        let (colour, shape) = combination(rng, split);
        let background = sample_background(rng, &[colour]);
        // 6 to 11.5 of 32 pixels, the centre within 3: small objects anywhere stay blobs for millions of pictures
        // (recipe notes), and one as large as this is learned in minutes.
        let radius = between(rng, 6.0 / 32.0, 11.5 / 32.0);
        let mut object = Object::new(colour, shape, Size::Large, radius).varied(rng);
        object.x += between(rng, -3.0 / 32.0, 3.0 / 32.0);
        object.y += between(rng, -3.0 / 32.0, 3.0 / 32.0);
        object.keep_inside();
        Self { level: Level::One, objects: vec![object], background, relation: None }
    }

    fn sample_two(rng: &mut ChaCha8Rng, split: Split) -> Self {
        let first = combination(rng, split);
        let second = loop {
            let other = combination(rng, split);
            if other != first {
                break other;
            }
        };
        let background = sample_background(rng, &[first.0, second.0]);
        let relation = pick(rng, &Relation::ALL);
        let [first, second] = [first, second].map(|(colour, shape)| {
            let size = pick(rng, &Size::ALL);
            let radius = match size {
                Size::Small => between(rng, 0.11, 0.135),
                Size::Large => between(rng, 0.185, 0.21),
            };
            Object::new(colour, shape, size, radius).varied(rng)
        });
        let mut scene = Self { level: Level::Two, objects: vec![first, second], background, relation: Some(relation) };
        scene.place_two(relation, [0; 6].map(|_| uniform(rng)));
        scene
    }

    /// Puts two objects where `relation` says; `u` are six numbers in `[0, 1)`, all 0.5 for the middle.
    fn place_two(&mut self, relation: Relation, u: [f32; 6]) {
        let [first, second] = &mut self.objects[..] else { return };
        let (near, far) = match relation {
            Relation::Above | Relation::LeftOf => (first, second),
            Relation::Below | Relation::RightOf => (second, first),
        };
        let (main, cross) = if relation.is_vertical() { (1, 0) } else { (0, 1) };
        let [a, b] = [near.extent(), far.extent()];
        // Along the relation: what is left over is shared between the two margins and the gap.
        let left_over = 1.0 - 2.0 * (MARGIN + a[main] + b[main]) - GAP;
        let shares = [0.3 + u[0], 0.3 + u[1], 0.3 + u[2]];
        let unit = left_over.max(0.0) / shares.iter().sum::<f32>();
        let low = MARGIN + unit * shares[0] + a[main];
        let high = 1.0 - MARGIN - unit * shares[2] - b[main];
        // Across it: near the middle and near each other, so that "above" is not also "left of".
        let apart = 0.25 * (high - low);
        let middle = 0.5 + (u[3] - 0.5) * 0.24;
        let fit = |at: f32, e: f32| at.clamp(MARGIN + e, 1.0 - MARGIN - e);
        let cross_a = fit(middle + (u[4] - 0.5) * apart, a[cross]);
        let cross_b = fit(middle + (u[5] - 0.5) * apart, b[cross]);
        ([near.x, near.y], [far.x, far.y]) =
            if main == 1 { ([cross_a, low], [cross_b, high]) } else { ([low, cross_a], [high, cross_b]) };
    }

    fn sample_many(rng: &mut ChaCha8Rng, split: Split) -> Self {
        let (colour, shape) = combination(rng, split);
        let background = sample_background(rng, &[colour]);
        let count = 1 + below(rng, 3) as usize;
        let size = pick(rng, &Size::ALL);
        let (low, high) = match (size, count) {
            (Size::Small, _) => (0.1, 0.13),
            (Size::Large, 3) => (0.165, 0.185),
            (Size::Large, _) => (0.175, 0.215),
        };
        let mut scene = Self { level: Level::Many, objects: Vec::new(), background, relation: None };
        // Anywhere, thrown again where they touch; after enough throws at fixed places that always fit.
        for _ in 0..60 {
            scene.objects.clear();
            for _ in 0..count {
                let mut object = Object::new(colour, shape, size, between(rng, low, high)).varied(rng);
                let [ex, ey] = object.extent();
                object.x = between(rng, MARGIN + ex, 1.0 - MARGIN - ex);
                object.y = between(rng, MARGIN + ey, 1.0 - MARGIN - ey);
                scene.objects.push(object);
            }
            if !scene.touching() {
                return scene;
            }
        }
        for (object, [x, y]) in scene.objects.iter_mut().zip([[0.25, 0.26], [0.75, 0.26], [0.5, 0.74]]) {
            (object.x, object.y) = (x, y);
        }
        scene
    }

    /// Whether the boxes around two of the objects come closer than [`GAP`] (in a square picture; in any other they
    /// are further apart).
    pub(super) fn touching(&self) -> bool {
        let close = |a: &Object, b: &Object| {
            let ([ax, ay], [bx, by]) = (a.extent(), b.extent());
            (a.x - b.x).abs() < ax + bx + GAP - 1e-4 && (a.y - b.y).abs() < ay + by + GAP - 1e-4
        };
        self.objects.iter().enumerate().any(|(i, a)| self.objects[i + 1..].iter().any(|b| close(a, b)))
    }

    /// One large object in the centre of a softly graded background.
    #[must_use]
    pub fn one(colour: Colour, shape: Shape, background: Colour) -> Self {
        Self {
            level: Level::One,
            objects: vec![Object::new(colour, shape, Size::Large, 0.3)],
            background: Background { colour: background, gradient: 0.6 },
            relation: None,
        }
    }

    /// Two objects, the first `relation` the second.
    #[must_use]
    pub fn two(
        first: (Size, Colour, Shape),
        relation: Relation,
        second: (Size, Colour, Shape),
        background: Colour,
    ) -> Self {
        let objects = [first, second].map(|(size, colour, shape)| {
            let radius = if size == Size::Small { 0.125 } else { 0.2 };
            Object::new(colour, shape, size, radius)
        });
        let background = Background { colour: background, gradient: 0.6 };
        let mut scene = Self { level: Level::Two, objects: objects.to_vec(), background, relation: Some(relation) };
        scene.place_two(relation, [0.5; 6]);
        scene
    }

    /// The labels of this scene.
    #[must_use]
    pub fn attributes(&self) -> Attributes {
        let kinds = if self.level == Level::Two { 2 } else { 1 };
        Attributes {
            background: self.background.colour,
            objects: self.objects.iter().take(kinds).map(Object::kind).collect(),
            relation: self.relation,
            count: self.objects.len(),
        }
    }

    /// Paints it, `size` = `[height, width]`, in RGB. `rng` varies the colours slightly.
    #[must_use]
    pub fn draw(&self, size: [usize; 2], rng: &mut ChaCha8Rng) -> Picture {
        draw::scene(self, size, rng)
    }

    /// The scene in which two objects have changed places: another one to caption, not to draw. Nothing where there are
    /// not two, or where they are alike.
    pub(super) fn turned(mut self) -> Option<Self> {
        let relation = self.relation?;
        let [first, second] = &self.objects[..] else { return None };
        if first.kind() == second.kind() {
            return None;
        }
        self.relation = Some(relation.inverse());
        Some(self)
    }

    /// `[English, Chinese]`, in random wording.
    #[must_use]
    pub fn captions(&self, rng: &mut ChaCha8Rng) -> Vec<String> {
        vec![english::caption(self, rng), chinese::caption(self, rng)]
    }
}

impl Object {
    /// Moves it until no part is outside.
    fn keep_inside(&mut self) {
        let [ex, ey] = self.extent();
        self.x = self.x.clamp(MARGIN + ex, 1.0 - MARGIN - ex);
        self.y = self.y.clamp(MARGIN + ey, 1.0 - MARGIN - ey);
    }
}
