//! Prompts worth a look: what the end of a training run paints.

use super::scene::{Level, Scene};
use super::words::{Colour, Relation, Shape, Size};

/// Six held-out prompts for `level`, three English and three Chinese, each with the scene it describes.
///
/// Every object is one of [`HELD_OUT`](super::HELD_OUT). `Many` gets the prompts of `One`; `Mixed` some of each.
#[must_use]
pub fn showcase(level: Level) -> Vec<(String, Scene)> {
    let prompts = match level {
        Level::One | Level::Many => one().to_vec(),
        Level::Two => two().to_vec(),
        Level::Mixed => {
            let ([a, b, _, c, d, _], [e, _, _, f, _, _]) = (one(), two());
            vec![a, b, e, c, d, f]
        }
    };
    prompts.into_iter().map(|(prompt, scene)| (prompt.to_owned(), scene)).collect()
}

type Prompt = (&'static str, Scene);

fn one() -> [Prompt; 6] {
    use Colour::{Black, Blue, Green, Orange, Pink, Purple, Red, White, Yellow};
    [
        ("a green star on a purple background", Scene::one(Green, Shape::Star, Purple)),
        ("a pink house on a green background", Scene::one(Pink, Shape::House, Green)),
        ("an orange square on a blue background", Scene::one(Orange, Shape::Square, Blue)),
        ("白色背景上有一棵红色的树", Scene::one(Red, Shape::Tree, White)),
        ("紫色圆形在黄色背景上", Scene::one(Purple, Shape::Circle, Yellow)),
        ("一条黄色的鱼，背景是黑色", Scene::one(Yellow, Shape::Fish, Black)),
    ]
}

fn two() -> [Prompt; 6] {
    use Colour::{Black, Blue, Brown, Green, Orange, Pink, Purple, Red, White, Yellow};
    use Relation::{Above, Below, LeftOf, RightOf};
    use Size::{Large, Small};
    [
        (
            "a small green star above a large pink house on a white background",
            Scene::two((Small, Green, Shape::Star), Above, (Large, Pink, Shape::House), White),
        ),
        (
            "a large red tree to the left of a small black flower on a yellow background",
            Scene::two((Large, Red, Shape::Tree), LeftOf, (Small, Black, Shape::Flower), Yellow),
        ),
        (
            "a large purple circle below a small yellow triangle on a green background",
            Scene::two((Large, Purple, Shape::Circle), Below, (Small, Yellow, Shape::Triangle), Green),
        ),
        (
            "一条大的黄色鱼在一颗小的蓝色爱心上方，背景是粉色",
            Scene::two((Large, Yellow, Shape::Fish), Above, (Small, Blue, Shape::Heart), Pink),
        ),
        (
            "橙色背景上，一个红色的大圆环在一个白色的小十字右边",
            Scene::two((Large, Red, Shape::Ring), RightOf, (Small, White, Shape::Cross), Orange),
        ),
        (
            "棕色的大爱心左边有一个橙色的小正方形，背景是蓝色",
            Scene::two((Small, Orange, Shape::Square), LeftOf, (Large, Brown, Shape::Heart), Blue),
        ),
    ]
}
