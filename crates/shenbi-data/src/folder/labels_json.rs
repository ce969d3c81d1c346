//! StyleGAN's `dataset.json`: `{"labels": [["00000/img00000000.png", 3], ...]}`, or `{"labels": null}`.
//!
//! Class names are the numbers, and captions are made from them with the template.

use std::collections::BTreeMap;

use serde_json::Value;

use super::store::{Store, is_picture};
use super::{Candidate, Skipped};
use crate::{DataError, Result};

/// The pictures, and the class names; no classes where the labels are null.
pub(super) fn candidates(
    store: &Store,
    file: usize,
    template: &str,
    skipped: &mut Vec<Skipped>,
) -> Result<(Vec<Candidate>, Vec<String>)> {
    let wrong = |message: String| DataError::file(store.path(file), message);
    let content: Value = serde_json::from_str(&store.read_text(file)?).map_err(|e| wrong(format!("not JSON: {e}")))?;
    let labels = match content.get("labels") {
        Some(Value::Array(labels)) => labels,
        Some(Value::Null) => return Ok((plain(store), Vec::new())),
        _ => return Err(wrong("expected `{\"labels\": [[\"path\", 3], ...]}` or null labels".to_string())),
    };
    let mut pairs: Vec<(&str, u64)> = Vec::with_capacity(labels.len());
    for (number, label) in labels.iter().enumerate() {
        match label.as_array().map(Vec::as_slice) {
            Some([Value::String(path), class]) if class.is_u64() => pairs.push((path, class.as_u64().unwrap_or(0))),
            _ => {
                let found: String = label.to_string().chars().take(80).collect();
                return Err(wrong(format!("label {number} is {found}, expected [\"path\", whole number]")));
            }
        }
    }
    let mut numbers: BTreeMap<u64, usize> = pairs.iter().map(|&(_, class)| (class, 0)).collect();
    for (rank, place) in numbers.values_mut().enumerate() {
        *place = rank;
    }
    let mut labelled = vec![false; store.names().len()];
    let mut found = Vec::new();
    for (path, class) in pairs {
        match store.find_beside(file, path) {
            Some(picture) if !labelled[picture] => {
                labelled[picture] = true;
                let captions = vec![template.replace("{class}", &class.to_string())];
                found.push(Candidate { file: picture, captions, class: Some(numbers[&class]), split: None });
            }
            Some(_) => skipped.push(Skipped::new(path, "labelled twice in dataset.json")),
            None => skipped.push(Skipped::new(path, "labelled in dataset.json, but there is no such file")),
        }
    }
    Ok((found, numbers.keys().map(u64::to_string).collect()))
}

/// Every picture, without captions.
pub(super) fn plain(store: &Store) -> Vec<Candidate> {
    (0..store.names().len())
        .filter(|&file| is_picture(store.name(file)))
        .map(|file| Candidate { file, captions: Vec::new(), class: None, split: None })
        .collect()
}
