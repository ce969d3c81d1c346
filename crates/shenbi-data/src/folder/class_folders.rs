//! `cat/1.png`, `train/dog/2.png`: the folder a picture lies in is its class.

use std::collections::BTreeSet;

use super::store::{Store, base_of, folder_of, is_picture, natural_order};
use super::{Candidate, Skipped};

/// Names of splits, not of classes.
const SPLITS: [&str; 7] = ["train", "training", "test", "val", "valid", "validation", "dev"];

/// The class of the picture called `name`.
fn class_of(name: &str) -> Option<&str> {
    let class = base_of(folder_of(name));
    (!class.is_empty() && !SPLITS.contains(&class)).then_some(class)
}

/// The class names, in natural order.
pub(super) fn classes(store: &Store) -> Vec<String> {
    let pictures = store.names().iter().filter(|name| is_picture(name));
    let distinct: BTreeSet<&str> = pictures.filter_map(|name| class_of(name)).collect();
    let mut classes: Vec<String> = distinct.into_iter().map(str::to_string).collect();
    classes.sort_by(|a, b| natural_order(a, b));
    classes
}

pub(super) fn candidates(
    store: &Store,
    classes: &[String],
    template: &str,
    skipped: &mut Vec<Skipped>,
) -> Vec<Candidate> {
    let mut found = Vec::new();
    for (file, name) in store.names().iter().enumerate().filter(|(_, name)| is_picture(name)) {
        let class = class_of(name).and_then(|class| classes.binary_search_by(|c| natural_order(c, class)).ok());
        let Some(class) = class else {
            skipped.push(Skipped::new(name, "not inside a class folder"));
            continue;
        };
        let captions = vec![template.replace("{class}", &classes[class])];
        found.push(Candidate { file, captions, class: Some(class), split: None });
    }
    found
}
