//! Scenes show what they say, and say what they show.

use std::collections::BTreeSet;

use super::art;
use super::palette::{self, Rgb};
use super::*;
use crate::Picture;

const LEVELS: [Level; 4] = [Level::One, Level::Two, Level::Many, Level::Mixed];

fn scenes(size: [usize; 2], level: Level, split: Split) -> Scenes {
    Scenes::new(ScenesOptions { size, level, seed: 5, split }).unwrap()
}

fn at(picture: &Picture, x: f32, y: f32) -> Rgb {
    let (x, y) = ((x as usize).min(picture.width - 1), (y as usize).min(picture.height - 1));
    let start = (y * picture.width + x) * 3;
    [0, 1, 2].map(|i| f32::from(picture.pixels[start + i]))
}

/// The colour whose palette entry is nearest.
fn nearest(pixel: Rgb, palette: fn(Colour) -> Rgb) -> Colour {
    let distance = |c: Colour| palette(c).iter().zip(pixel).map(|(a, b)| (a - b) * (a - b)).sum::<f32>();
    Colour::ALL.into_iter().min_by(|&a, &b| distance(a).total_cmp(&distance(b))).unwrap()
}

#[test]
fn equal_indices_give_equal_examples() {
    for level in LEVELS {
        let [a, b] = [(); 2].map(|()| scenes([32, 32], level, Split::Train));
        let mut pictures = BTreeSet::new();
        for index in [0, 1, 2, 1_000_000, u64::MAX] {
            let (x, y) = (a.get(index).unwrap(), b.get(index).unwrap());
            assert_eq!((&x.picture, &x.captions), (&y.picture, &y.captions));
            assert_eq!(a.scene(index), b.scene(index));
            pictures.insert(x.picture.pixels);
        }
        assert_eq!(pictures.len(), 5, "different indices look different");
    }
    let seeds = [1, 2].map(|seed| Scenes::new(ScenesOptions { seed, ..ScenesOptions::default() }).unwrap());
    assert_ne!(seeds[0].get(0).unwrap().picture, seeds[1].get(0).unwrap().picture);
    assert_eq!((seeds[0].len(), seeds[0].channels(), seeds[0].size()), (None, 3, [32, 32]));
}

#[test]
fn contraries_say_the_opposite_in_the_same_words() {
    let two = scenes([32, 32], Level::Two, Split::Train);
    let sorted = |text: &str| {
        let mut letters: Vec<char> = text.chars().collect();
        letters.sort_unstable();
        letters
    };
    let mut reordered = 0;
    for index in 0..200 {
        let (captions, contraries) = (two.captions(index).unwrap(), two.contraries(index).unwrap());
        let [first, second] = &two.scene(index).objects[..] else { panic!("two objects") };
        if (first.colour, first.shape, first.size) == (second.colour, second.shape, second.size) {
            assert!(contraries.is_empty(), "turned round it is the same");
            continue;
        }
        assert_eq!(captions.len(), contraries.len());
        for (caption, contrary) in captions.iter().zip(&contraries) {
            assert_ne!(caption, contrary);
            reordered += usize::from(sorted(caption).len().abs_diff(sorted(contrary).len()) < 8);
        }
    }
    assert!(reordered > 350, "the rest of the wording is the same: {reordered} of 400");
    assert!(scenes([32, 32], Level::One, Split::Train).contraries(3).unwrap().is_empty());
}

#[test]
fn held_out_combinations_are_spread_evenly() {
    let all: BTreeSet<_> = HELD_OUT.iter().collect();
    assert_eq!(all.len(), 18);
    for shape in Shape::ALL {
        assert!((1..=2).contains(&HELD_OUT.iter().filter(|c| c.1 == shape).count()), "{shape:?}");
    }
    for colour in Colour::ALL {
        assert!((1..=2).contains(&HELD_OUT.iter().filter(|c| c.0 == colour).count()), "{colour:?}");
    }
}

#[test]
fn training_never_sees_what_is_held_out() {
    for level in LEVELS {
        for (split, held_out, combinations) in [(Split::Train, false, 102), (Split::HeldOut, true, 18)] {
            let scenes = scenes([32, 32], level, split);
            let mut seen = BTreeSet::new();
            for index in 0..20_000 {
                let scene = scenes.scene(index);
                for object in &scene.objects {
                    assert_eq!(is_held_out(object.colour, object.shape), held_out, "{object:?}");
                    assert_ne!(object.colour, scene.background.colour);
                    seen.insert((object.colour, object.shape));
                }
            }
            assert_eq!(seen.len(), combinations, "{level:?}, {split:?}: every combination appears");
        }
    }
}

#[test]
fn levels_hold_what_they_promise() {
    let mut counts = [0; 4];
    let mut relations = BTreeSet::new();
    for level in LEVELS {
        let scenes = scenes([32, 32], level, Split::Train);
        for index in 0..2_000 {
            let scene = scenes.scene(index);
            let labels = scene.attributes();
            assert_eq!(labels.count, scene.objects.len());
            match scene.level {
                Level::One => {
                    let o = &scene.objects[0];
                    assert_eq!((labels.count, labels.objects.len(), o.size), (1, 1, Size::Large));
                    assert!((6.0..11.5).contains(&(o.radius * 32.0)));
                    assert!((o.x - 0.5).abs() <= 3.0 / 32.0 && (o.y - 0.5).abs() <= 3.0 / 32.0);
                }
                Level::Two => {
                    assert_eq!((labels.count, labels.objects.len()), (2, 2));
                    assert_ne!(labels.objects[0], labels.objects[1]);
                    relations.insert(labels.relation.unwrap());
                }
                Level::Many => {
                    assert_eq!(labels.objects.len(), 1);
                    counts[labels.count] += 1;
                }
                Level::Mixed => panic!("a scene is of one level"),
            }
        }
    }
    assert_eq!(relations.len(), 4);
    assert!(counts[1..].iter().all(|&c| c > 500), "{counts:?}");
    let mixed = scenes([32, 32], Level::Mixed, Split::Train);
    let twos = (0..2_000).filter(|&i| mixed.scene(i).level == Level::Two).count();
    assert!((880..1120).contains(&twos), "{twos}");
}

#[test]
fn objects_are_inside_apart_and_where_the_caption_says() {
    for level in LEVELS {
        let scenes = scenes([32, 32], level, Split::Train);
        for index in 0..20_000 {
            let scene = scenes.scene(index);
            for o in &scene.objects {
                let [ex, ey] = o.extent();
                assert!(o.x - ex > 0.0 && o.x + ex < 1.0 && o.y - ey > 0.0 && o.y + ey < 1.0, "{o:?}");
            }
            assert!(!scene.touching(), "{level:?} {index}: {scene:?}");
            let Some(relation) = scene.relation else { continue };
            let (a, b) = (&scene.objects[0], &scene.objects[1]);
            let (dx, dy) = (b.x - a.x, b.y - a.y);
            let (along, across) = match relation {
                Relation::Above => (dy, dx),
                Relation::Below => (-dy, dx),
                Relation::LeftOf => (dx, dy),
                Relation::RightOf => (-dx, dy),
            };
            assert!(along > 0.2 && across.abs() < 0.3 * along, "{scene:?}");
        }
    }
}

/// What changes when the objects are taken away lies in their boxes, and each box is nearly filled: the extents the
/// placement relies on are those of the pixels.
#[test]
fn pixels_stay_in_the_boxes() {
    for size in [[32, 32], [64, 64], [48, 96], [96, 48], [128, 128]] {
        let [height, width] = size;
        let short = height.min(width) as f32;
        for level in [Level::One, Level::Two, Level::Many] {
            let scenes = scenes(size, level, Split::Train);
            for index in 0..200 {
                let scene = scenes.scene(index);
                let empty = Scene { objects: Vec::new(), ..scene.clone() };
                let draw = |scene: &Scene| scene.draw(size, &mut stream(1, "test", 0));
                let (with, without) = (draw(&scene), draw(&empty));
                assert_eq!((with.height, with.width, with.channels), (height, width, 3));
                assert_eq!(with.pixels.len(), height * width * 3);
                let mut boxes = vec![[f32::MAX, f32::MAX, 0.0, 0.0]; scene.objects.len()];
                for (i, _) in
                    with.pixels.chunks(3).zip(without.pixels.chunks(3)).enumerate().filter(|(_, (a, b))| a != b)
                {
                    let (x, y) = ((i % width) as f32, (i / width) as f32);
                    let owner = scene.objects.iter().position(|o| {
                        let [ex, ey] = o.extent().map(|e| e * short + 1.0);
                        let (dx, dy) = (x + 0.5 - o.x * width as f32, y + 0.5 - o.y * height as f32);
                        dx.abs() <= ex && dy.abs() <= ey
                    });
                    let b = &mut boxes[owner.unwrap_or_else(|| panic!("({x}, {y}) is in no box of {scene:?}"))];
                    *b = [b[0].min(x), b[1].min(y), b[2].max(x + 1.0), b[3].max(y + 1.0)];
                }
                for (o, b) in scene.objects.iter().zip(boxes) {
                    let [ex, ey] = o.extent().map(|e| 2.0 * e * short);
                    assert!(b[2] - b[0] > 0.72 * ex - 1.0 && b[3] - b[1] > 0.72 * ey - 1.0, "{o:?}: {b:?}");
                }
            }
        }
    }
}

#[test]
fn colours_are_the_named_ones() {
    let solid = [Shape::Circle, Shape::Square, Shape::Triangle, Shape::Star, Shape::Heart, Shape::Cross];
    for size in [[32, 32], [64, 64], [48, 96]] {
        let [h, w] = size.map(|s| s as f32);
        for level in LEVELS {
            for split in [Split::Train, Split::HeldOut] {
                let scenes = scenes(size, level, split);
                for index in 0..300 {
                    let scene = scenes.scene(index);
                    let picture = scenes.get(index).unwrap().picture;
                    for o in scene.objects.iter().filter(|o| solid.contains(&o.shape)) {
                        let pixel = at(&picture, o.x * w, o.y * h);
                        assert_eq!(nearest(pixel, palette::object), o.colour, "{pixel:?}: {o:?}");
                    }
                    // Corners and the middles of the sides, where no object is.
                    for (x, y) in [(0.0, 0.0), (1.0, 0.0), (0.0, 1.0), (1.0, 1.0), (0.0, 0.5), (1.0, 0.5)] {
                        let free = scene.objects.iter().all(|o| {
                            let [ex, ey] = o.extent();
                            (o.x - x).abs() > ex + 0.1 || (o.y - y).abs() > ey + 0.1
                        });
                        let pixel = at(&picture, x * w, y * h);
                        if free {
                            let found = nearest(pixel, palette::background);
                            assert_eq!(found, scene.background.colour, "{pixel:?}: {:?}", scene.background);
                        }
                    }
                }
            }
        }
    }
}

/// A learner must see the object: every shape in every colour on every other background.
#[test]
fn objects_stand_out() {
    for colour in Colour::ALL {
        for ground in Colour::ALL.into_iter().filter(|&g| g != colour) {
            let (a, b) = (palette::object(colour), palette::background(ground));
            let distance = a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt();
            assert!(distance > 45.0, "{colour:?} on {ground:?}: {distance}");
        }
    }
    for shape in Shape::ALL {
        let [x, y] = art::extent(shape, 0.0, false);
        assert!((0.8..1.1).contains(&x) && (0.8..1.1).contains(&y), "{shape:?}: {x}, {y}");
    }
}

#[test]
fn captions_name_every_object_in_both_languages() {
    let mut mentions_background = [0; 2];
    for level in LEVELS {
        for split in [Split::Train, Split::HeldOut] {
            let scenes = scenes([32, 32], level, split);
            for index in 0..5_000 {
                let scene = scenes.scene(index);
                let captions = scene.captions(&mut stream(9, "test", index));
                let [english, chinese] = &captions[..] else { panic!("two captions: {captions:?}") };
                for (colour, shape, size) in scene.attributes().objects {
                    let noun = |words: &[&str; 2]| {
                        words.iter().any(|w| english.contains(&format!("{} {w}", colour.english())))
                    };
                    assert!(shape.english_words().iter().any(noun), "{english}: {shape:?}");
                    assert!(shape.chinese_words().iter().any(|w| chinese.contains(w[1])), "{chinese}: {shape:?}");
                    assert!(colour.chinese_words().iter().any(|w| chinese.contains(w)), "{chinese}: {colour:?}");
                    if scene.level != Level::One {
                        assert!(size.english_words().iter().any(|w| english.contains(w)), "{english}: {size:?}");
                        assert!(chinese.contains(size.chinese()), "{chinese}: {size:?}");
                    }
                }
                // No colour but the objects' and the background's.
                let named: BTreeSet<_> =
                    scene.objects.iter().map(|o| o.colour).chain([scene.background.colour]).collect();
                for colour in Colour::ALL.iter().filter(|c| !named.contains(c)) {
                    assert!(!english.contains(colour.english()), "{english}: {colour:?}");
                    assert!(!colour.chinese_words().iter().any(|w| chinese.contains(w)), "{chinese}: {colour:?}");
                }
                mentions_background[0] += usize::from(english.contains(scene.background.colour.english()));
                mentions_background[1] += usize::from(chinese.contains("背景"));
                if scene.level == Level::Many {
                    assert!(chinese.contains(["一", "两", "三"][scene.objects.len() - 1]) || scene.objects.len() == 1);
                    let counts = [&["a ", "an ", "one "][..], &["two "], &["three "]][scene.objects.len() - 1];
                    assert!(counts.iter().any(|c| english.contains(c)), "{english}");
                }
            }
        }
    }
    assert!(mentions_background.iter().all(|m| (30_000..35_500).contains(m)), "{mentions_background:?} of 40,000");
}

/// Whether some wording of `scene` is `caption`.
fn says(scene: &Scene, caption: &str) -> bool {
    (0..20_000).any(|i| scene.captions(&mut stream(2, "test", i)).iter().any(|c| c == caption))
}

#[test]
fn wordings_a_person_would_type_are_among_the_captions() {
    let (star, house) = ((Size::Small, Colour::Red, Shape::Star), (Size::Large, Colour::Blue, Shape::House));
    let scene = Scene::two(star, Relation::Above, house, Colour::White);
    assert!(says(&scene, "a small red star above a large blue house"));
    assert!(says(&scene, "a large blue house below a small red star"));
    assert!(says(&scene, "大的蓝色房子上方有一颗小的红色星星"));
    assert!(!says(&scene, "a large blue house above a small red star"));
    let scene = Scene::one(Colour::Green, Shape::Circle, Colour::Yellow);
    assert!(says(&scene, "绿色圆形在黄色背景上"));
    assert!(says(&scene, "a green circle on a yellow background"));
    assert!(says(&Scene::one(Colour::Orange, Shape::Star, Colour::Blue), "an orange star on a blue background"));
}

#[test]
fn showcases_are_held_out_and_say_what_they_show() {
    for level in LEVELS {
        let prompts = showcase(level);
        assert_eq!(prompts.len(), 6);
        assert_eq!(prompts.iter().filter(|(prompt, _)| prompt.is_ascii()).count(), 3, "three English, three Chinese");
        for (prompt, scene) in prompts {
            assert!(scene.objects.iter().all(|o| is_held_out(o.colour, o.shape)), "{prompt}");
            assert!(says(&scene, &prompt), "{prompt}");
        }
    }
}

#[test]
fn labels_by_position_do_not_depend_on_the_wording() {
    let (star, house) = ((Size::Small, Colour::Red, Shape::Star), (Size::Large, Colour::Blue, Shape::House));
    for relation in Relation::ALL {
        let a = Scene::two(star, relation, house, Colour::White).attributes();
        let b = Scene::two(house, relation.inverse(), star, Colour::White).attributes();
        assert_ne!(a, b);
        assert_eq!(a.by_position(), b.by_position());
        assert_eq!(relation.inverse().inverse(), relation);
    }
}

#[test]
fn sizes_no_picture_has_are_refused() {
    for size in [[8, 32], [32, 0], [4096, 32]] {
        let error = Scenes::new(ScenesOptions { size, ..ScenesOptions::default() }).unwrap_err();
        assert!(error.to_string().contains("expected 16 to 1024"), "{error}");
    }
}
