//! Scenes in English.

use rand_chacha::ChaCha8Rng;

use super::scene::{Level, Object, Scene, chance, pick};
use super::words::Size;

/// One caption in random wording.
pub(super) fn caption(scene: &Scene, rng: &mut ChaCha8Rng) -> String {
    let ground = scene.background.colour.english();
    match (scene.level, scene.relation, &scene.objects[..]) {
        (Level::Two, Some(relation), [first, second]) => {
            let (first, relation, second) = match chance(rng, 0.5) {
                true => (first, relation, second),
                false => (second, relation.inverse(), first),
            };
            let words = relation.english_words();
            let relation = if chance(rng, 0.75) { words[0] } else { pick(rng, words) };
            let (a, b) = (noun(first, rng), noun(second, rng));
            let (one_a, one_b) = (with_article(&a), with_article(&b));
            if chance(rng, 0.25) {
                return match pick(rng, &[0, 0, 0, 1, 2, 3]) {
                    0 => format!("{one_a} {relation} {one_b}"),
                    1 => format!("{a} {relation} {b}"),
                    2 => format!("there is {one_a} {relation} {one_b}"),
                    _ => format!("a picture of {one_a} {relation} {one_b}"),
                };
            }
            let on = with_article(ground);
            match pick(rng, &[0, 0, 0, 1, 2, 3, 4, 5, 6]) {
                0 => format!("{one_a} {relation} {one_b} on {on} background"),
                1 => format!("{a} {relation} {b}, {ground} background"),
                2 => format!("there is {one_a} {relation} {one_b} on {ground}"),
                3 => format!("{one_a} is {relation} {one_b}, on {on} background"),
                4 => format!("a picture of {one_a} {relation} {one_b} on {on} background"),
                5 => format!("on {on} background, {one_a} {relation} {one_b}"),
                _ => format!("{one_a} {relation} {one_b}, {ground} background"),
            }
        }
        (Level::Many, _, [object, ..]) => {
            let mut what = noun_with(object, size_word(object.size, rng), scene.objects.len() > 1, rng);
            let count = match scene.objects.len() {
                1 if chance(rng, 0.5) => "one",
                1 => {
                    if starts_with_vowel(&what) {
                        "an"
                    } else {
                        "a"
                    }
                }
                2 => "two",
                _ => "three",
            };
            what = format!("{count} {what}");
            about(&what, &what, ground, if scene.objects.len() > 1 { "are" } else { "is" }, rng)
        }
        (_, _, [object, ..]) => {
            // A single object is always large: saying so is allowed, and rare.
            let size = if chance(rng, 0.1) { size_word(object.size, rng) } else { "" };
            let what = noun_with(object, size, false, rng);
            about(&with_article(&what), &what, ground, "is", rng)
        }
        (_, _, []) => format!("{} background", with_article(ground)),
    }
}

/// A caption about one thing (or several alike): `full` with its article or number, `bare` without.
fn about(full: &str, bare: &str, ground: &str, verb: &str, rng: &mut ChaCha8Rng) -> String {
    let on = with_article(ground);
    if chance(rng, 0.15) {
        return match pick(rng, &[0, 0, 1, 2, 3]) {
            0 => full.to_owned(),
            1 => bare.to_owned(),
            2 => format!("there {verb} {full}"),
            _ => format!("a picture of {full}"),
        };
    }
    match pick(rng, &[0, 0, 0, 1, 2, 3, 4, 5, 6, 7, 8]) {
        0 => format!("{full} on {on} background"),
        1 => format!("{bare}, {ground} background"),
        2 => format!("there {verb} {full} on {ground}"),
        3 => format!("a picture of {full} on {on} background"),
        4 => format!("picture of {full} on {ground}"),
        5 => format!("{full} with {on} background"),
        6 => format!("{on} background with {full}"),
        7 => format!("{bare} on {ground}"),
        _ => format!("a drawing of {full} on {on} background"),
    }
}

/// "small red star"
fn noun(object: &Object, rng: &mut ChaCha8Rng) -> String {
    let size = size_word(object.size, rng);
    noun_with(object, size, false, rng)
}

fn noun_with(object: &Object, size: &str, plural: bool, rng: &mut ChaCha8Rng) -> String {
    let words = object.shape.english_words();
    let [one, several] = if chance(rng, 0.7) { words[0] } else { pick(rng, words) };
    let space = if size.is_empty() { "" } else { " " };
    format!("{size}{space}{} {}", object.colour.english(), if plural { several } else { one })
}

/// The usual word, or now and then another.
fn size_word(size: Size, rng: &mut ChaCha8Rng) -> &'static str {
    let words = size.english_words();
    if chance(rng, 0.7) { words[0] } else { pick(rng, words) }
}

fn starts_with_vowel(text: &str) -> bool {
    text.starts_with(['a', 'e', 'i', 'o', 'u'])
}

/// "a red star", "an orange star"
fn with_article(text: &str) -> String {
    let article = if starts_with_vowel(text) { "an" } else { "a" };
    format!("{article} {text}")
}
