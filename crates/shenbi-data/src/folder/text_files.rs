//! `1.png` with `1.txt` beside it: one caption a line.

use super::store::{Store, is_picture};
use super::{Candidate, Skipped};
use crate::Result;

/// The text file beside the picture number `picture`.
pub(super) fn beside(store: &Store, picture: usize) -> Option<usize> {
    let (stem, _) = store.name(picture).rsplit_once('.')?;
    store.find(&format!("{stem}.txt"))
}

pub(super) fn candidates(store: &Store, required: bool, skipped: &mut Vec<Skipped>) -> Result<Vec<Candidate>> {
    let mut found = Vec::new();
    for picture in (0..store.names().len()).filter(|&f| is_picture(store.name(f))) {
        let captions: Vec<String> = match beside(store, picture) {
            Some(file) => {
                store.read_text(file)?.lines().map(|l| l.trim().to_string()).filter(|l| !l.is_empty()).collect()
            }
            None => Vec::new(),
        };
        if captions.is_empty() && required {
            let reason = match beside(store, picture) {
                Some(file) => format!("{} has no caption in it", store.name(file)),
                None => "no caption file (same name, ending .txt) beside it".to_string(),
            };
            skipped.push(Skipped::new(store.name(picture), reason));
            continue;
        }
        found.push(Candidate { file: picture, captions, class: None, split: None });
    }
    Ok(found)
}
