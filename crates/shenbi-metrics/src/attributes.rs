//! Attribute accuracy: does a picture show the scene that was asked for?
//!
//! A [`Judge`], a classifier trained on real scenes, says what it sees. Objects are told apart by position, the upper
//! or left one first ([`Attributes::by_position`]): which one a caption names first cannot be seen. With two objects
//! the seen and the wanted ones are paired, in one of two ways, so that as many colours, shapes and sizes as possible
//! agree; so a picture with the right objects in exchanged places loses its relation, not its colours.

use serde::Serialize;
use shenbi_data::scenes::{Attributes, Level, Scene};

use crate::{Judge, MetricsError, Result};

/// Shares of what was asked for and seen, each 0 to 1.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct AttributeReport {
    /// What was measured by what; figures with different protocols do not compare.
    pub protocol: String,
    /// Number of pictures.
    pub n: usize,
    /// Number of objects in their scenes.
    pub objects: usize,
    /// Pictures with the background's colour.
    pub background: f64,
    /// Objects with their colour.
    pub colour: f64,
    /// Objects with their shape.
    pub shape: f64,
    /// Objects with their size.
    pub size: f64,
    /// Pictures with the right number of objects, and two of them above each other or side by side as wanted.
    pub arrangement: f64,
    /// Of the pictures of two objects: those arranged as wanted, with the right one above or left. `None` without any.
    pub relation: Option<f64>,
    /// Pictures with all of it right.
    pub all_right: f64,
}

/// Lets `judge` look at `pictures` (`[n, 3, h, w]` in [-1, 1], row-major) and compares with the scenes asked for.
///
/// # Errors
/// No pictures, pictures of another size than the judge's, or a scene of level `Many`, which it has not learnt.
pub fn score(judge: &Judge, pictures: &[f32], scenes: &[Scene]) -> Result<AttributeReport> {
    if scenes.iter().any(|scene| scene.level == Level::Many) {
        let message = "attributes: the judge knows one object, or two and their relation; not the level many";
        return Err(MetricsError::Setting(message.to_string()));
    }
    let seen = judge.read(pictures, scenes.len())?;
    let wanted: Vec<Attributes> = scenes.iter().map(Scene::attributes).collect();
    report(&seen, &wanted, &format!("attributes-v1/{}", judge.id()?))
}

/// The report on what was seen. Both lists in the same order; what is seen is by position already.
///
/// # Errors
/// The lists are empty or of different lengths.
pub fn report(seen: &[Attributes], wanted: &[Attributes], protocol: &str) -> Result<AttributeReport> {
    if seen.is_empty() || seen.len() != wanted.len() {
        let message = format!("attributes: {} pictures for {} scenes", seen.len(), wanted.len());
        return Err(MetricsError::Setting(message));
    }
    let mut sum = Sum::default();
    for (seen, wanted) in seen.iter().zip(wanted) {
        sum.add(seen, &wanted.clone().by_position());
    }
    let n = seen.len();
    let share = |count: usize, of: usize| count as f64 / of as f64;
    Ok(AttributeReport {
        protocol: format!("{protocol}/n={n}"),
        n,
        objects: sum.objects,
        background: share(sum.background, n),
        colour: share(sum.colour, sum.objects),
        shape: share(sum.shape, sum.objects),
        size: share(sum.size, sum.objects),
        arrangement: share(sum.arrangement, n),
        relation: (sum.pairs > 0).then(|| share(sum.relation, sum.pairs)),
        all_right: share(sum.all_right, n),
    })
}

/// Which of an object's colour, shape and size agree.
type Agreement = [bool; 3];

#[derive(Default)]
struct Sum {
    objects: usize,
    pairs: usize,
    background: usize,
    colour: usize,
    shape: usize,
    size: usize,
    arrangement: usize,
    relation: usize,
    all_right: usize,
}

impl Sum {
    /// One picture; both by position.
    fn add(&mut self, seen: &Attributes, wanted: &Attributes) {
        let agree = |seen_at: usize, wanted_at: usize| -> Agreement {
            match (seen.objects.get(seen_at), wanted.objects.get(wanted_at)) {
                (Some(a), Some(b)) => [a.0 == b.0, a.1 == b.1, a.2 == b.2],
                _ => [false; 3],
            }
        };
        let count = |pairs: &[Agreement]| pairs.iter().flatten().filter(|&&right| right).count();
        let two = wanted.objects.len() == 2;
        let (straight, crossed) = if two {
            (vec![agree(0, 0), agree(1, 1)], vec![agree(1, 0), agree(0, 1)])
        } else {
            (vec![agree(0, 0)], vec![])
        };
        let in_order = count(&straight) > count(&crossed);
        let pairs = if count(&crossed) > count(&straight) { crossed } else { straight };
        let background = seen.background == wanted.background;
        let arrangement = seen.objects.len() == wanted.objects.len() && seen.relation == wanted.relation;
        let relation = arrangement && in_order;
        let right = |at: usize| pairs.iter().filter(|pair| pair[at]).count();
        self.objects += pairs.len();
        self.pairs += usize::from(two);
        self.background += usize::from(background);
        self.colour += right(0);
        self.shape += right(1);
        self.size += right(2);
        self.arrangement += usize::from(arrangement);
        self.relation += usize::from(two && relation);
        let objects = pairs.iter().flatten().all(|&right| right);
        self.all_right += usize::from(background && objects && arrangement && (relation || !two));
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use shenbi_data::rng;
    use shenbi_data::scenes::{Colour, Relation, Shape, Size, Split};

    const STAR: (Colour, Shape, Size) = (Colour::Red, Shape::Star, Size::Small);
    const HOUSE: (Colour, Shape, Size) = (Colour::Blue, Shape::House, Size::Large);

    fn picture(objects: &[(Colour, Shape, Size)], relation: Option<Relation>) -> Attributes {
        Attributes { background: Colour::White, objects: objects.to_vec(), relation, count: objects.len() }
    }

    fn one(seen: &Attributes, wanted: &Attributes) -> AttributeReport {
        report(std::slice::from_ref(seen), std::slice::from_ref(wanted), "test").unwrap()
    }

    #[test]
    fn the_scene_itself_is_all_right_however_it_is_told() {
        let mut rng = rng::stream(1, "test", 0);
        let wanted: Vec<Attributes> =
            (0..200).map(|_| Scene::sample(&mut rng, Level::Mixed, Split::Train).attributes()).collect();
        let seen: Vec<Attributes> = wanted.iter().map(|a| a.clone().by_position()).collect();
        let report = report(&seen, &wanted, "attributes-v1/x").unwrap();
        for share in [report.background, report.colour, report.shape, report.size, report.arrangement] {
            assert_eq!(share, 1.0);
        }
        assert_eq!((report.relation, report.all_right), (Some(1.0), 1.0));
        assert_eq!(report.protocol, "attributes-v1/x/n=200");
    }

    #[test]
    fn exchanged_places_lose_the_relation_only() {
        // Asked for: the house below the star. Seen: the house above it.
        let wanted = picture(&[HOUSE, STAR], Some(Relation::Below));
        let report = one(&picture(&[HOUSE, STAR], Some(Relation::Above)), &wanted);
        assert_eq!([report.colour, report.shape, report.size, report.arrangement], [1.0; 4]);
        assert_eq!((report.relation, report.all_right), (Some(0.0), 0.0));
        let report = one(&picture(&[STAR, HOUSE], Some(Relation::Above)), &wanted);
        assert_eq!((report.relation, report.all_right), (Some(1.0), 1.0));
    }

    #[test]
    fn exchanged_colours_are_two_wrong_colours() {
        let wanted = picture(&[STAR, HOUSE], Some(Relation::LeftOf));
        let seen = [(Colour::Blue, Shape::Star, Size::Small), (Colour::Red, Shape::House, Size::Large)];
        let report = one(&picture(&seen, Some(Relation::LeftOf)), &wanted);
        assert_eq!([report.colour, report.shape, report.size], [0.0, 1.0, 1.0]);
        assert_eq!((report.relation, report.all_right), (Some(1.0), 0.0));
    }

    #[test]
    fn a_missing_object_is_wrong_in_everything() {
        let wanted = picture(&[STAR, HOUSE], Some(Relation::Above));
        let report = one(&picture(&[HOUSE], None), &wanted);
        assert_eq!([report.colour, report.shape, report.size], [0.5; 3]);
        assert_eq!((report.arrangement, report.relation, report.all_right), (0.0, Some(0.0), 0.0));
        let report = one(&picture(&[STAR, HOUSE], Some(Relation::Above)), &picture(&[STAR], None));
        assert_eq!((report.colour, report.arrangement, report.relation, report.all_right), (1.0, 0.0, None, 0.0));
    }

    #[test]
    fn what_fits_neither_way_is_no_relation() {
        let other = (Colour::Green, Shape::Fish, Size::Small);
        let wanted = picture(&[STAR, (Colour::Blue, Shape::House, Size::Small)], Some(Relation::Above));
        let report = one(&picture(&[other, other], Some(Relation::Above)), &wanted);
        assert_eq!((report.arrangement, report.relation), (1.0, Some(0.0)));
    }

    #[test]
    fn refuses_nothing_and_unequal_lists() {
        assert!(report(&[], &[], "").is_err());
        let error = report(&[], &[picture(&[STAR], None)], "").unwrap_err();
        assert_eq!(error.to_string(), "attributes: 0 pictures for 1 scenes");
    }
}
