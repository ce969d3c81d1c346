//! Scenes in Chinese.

use rand_chacha::ChaCha8Rng;

use super::scene::{Level, Object, Scene, chance, pick};
use super::words::{Colour, Size};

/// One caption in random wording.
pub(super) fn caption(scene: &Scene, rng: &mut ChaCha8Rng) -> String {
    let ground = colour_word(scene.background.colour, rng);
    match (scene.level, scene.relation, &scene.objects[..]) {
        (Level::Two, Some(relation), [first, second]) => {
            let (first, relation, second) = match chance(rng, 0.5) {
                true => (first, relation, second),
                false => (second, relation.inverse(), first),
            };
            let words = relation.chinese_words();
            let side = if chance(rng, 0.75) { words[0] } else { pick(rng, words) };
            let (a, b) = (Noun::new(first, true, rng), Noun::new(second, true, rng));
            let [one_a, one_b] = [a.counted("一"), b.counted("一")];
            let (a, b) = (a.phrase, b.phrase);
            let fact = match pick(rng, &[0, 0, 1, 1, 2, 3, 4, 5]) {
                0 => format!("{one_a}在{one_b}{side}"),
                1 => format!("{b}{side}有{one_a}"),
                2 => format!("{a}在{b}的{side}"),
                3 => format!("{one_a}位于{one_b}的{side}"),
                4 => format!("{one_b}，{side}有{one_a}"),
                _ => format!("{b}{side}的{a}"),
            };
            if chance(rng, 0.25) {
                return fact;
            }
            match pick(rng, &[0, 0, 1, 1, 2, 3]) {
                0 => format!("{ground}背景上，{fact}"),
                1 => format!("{fact}，背景是{ground}"),
                2 => format!("{fact}，{ground}背景"),
                _ => format!("{ground}背景，{fact}"),
            }
        }
        (level, _, [object, ..]) => {
            let sized = level == Level::Many || chance(rng, 0.1);
            let noun = Noun::new(object, sized, rng);
            let number = ["一", "两", "三"][scene.objects.len().clamp(1, 3) - 1];
            let counted = noun.counted(number);
            // More than one must be counted; a single one may stand alone.
            let bare = if scene.objects.len() > 1 { &counted } else { &noun.phrase };
            about(&counted, bare, ground, rng)
        }
        (_, _, []) => format!("{ground}背景"),
    }
}

/// A caption about one thing (or several alike): `counted` with number and measure word, `bare` without.
fn about(counted: &str, bare: &str, ground: &str, rng: &mut ChaCha8Rng) -> String {
    if chance(rng, 0.15) {
        return match pick(rng, &[0, 1, 2, 3]) {
            0 => bare.to_owned(),
            1 => counted.to_owned(),
            2 => format!("图中有{counted}"),
            _ => format!("画面上有{counted}"),
        };
    }
    match pick(rng, &[0, 0, 1, 2, 3, 3, 4, 5, 6, 7, 8]) {
        0 => format!("{ground}背景上的{bare}"),
        1 => format!("{bare}在{ground}背景上"),
        2 => format!("{counted}，背景是{ground}"),
        3 => format!("{ground}背景上有{counted}"),
        4 => format!("{ground}背景，{bare}"),
        5 => format!("{bare}，{ground}背景"),
        6 => format!("画面上有{counted}，背景是{ground}"),
        7 => format!("{ground}背景中的{counted}"),
        _ => format!("图中是{counted}，背景为{ground}"),
    }
}

/// A noun phrase and the measure word that belongs to its noun.
struct Noun {
    measure: &'static str,
    phrase: String,
}

impl Noun {
    fn new(object: &Object, sized: bool, rng: &mut ChaCha8Rng) -> Self {
        let words = object.shape.chinese_words();
        let [measure, shape] = if chance(rng, 0.7) { words[0] } else { pick(rng, words) };
        let colour = colour_word(object.colour, rng);
        let size = match object.size {
            Size::Small => "小",
            Size::Large => "大",
        };
        let phrase = match (sized, below_three(rng)) {
            (false, 0) => format!("{colour}{shape}"),
            (false, 1) => format!("{colour}的{shape}"),
            (false, _) if chance(rng, 0.5) => format!("{colour}{shape}"),
            (false, _) => format!("{colour}的{shape}"),
            (true, 0) => format!("{size}的{colour}{shape}"),
            (true, 1) => format!("{colour}的{size}{shape}"),
            (true, _) => format!("{colour}{size}{shape}"),
        };
        Self { measure, phrase }
    }

    fn counted(&self, number: &str) -> String {
        format!("{number}{}{}", self.measure, self.phrase)
    }
}

fn below_three(rng: &mut ChaCha8Rng) -> u8 {
    pick(rng, &[0, 1, 2])
}

/// The usual word, or now and then another.
fn colour_word(colour: Colour, rng: &mut ChaCha8Rng) -> &'static str {
    let words = colour.chinese_words();
    if chance(rng, 0.85) { words[0] } else { pick(rng, words) }
}
