//! How well pictures show their captions, by CLIP: of what a model paints, of the data, and of a captioned folder.

use std::path::Path;

use burn::tensor::Device;
use shenbi_data::Source;
use shenbi_metrics::reference::SetHash;
use shenbi_metrics::{ClipJudge, clip_score, r_precision};

use super::metrics::Metric;
use super::picture_scores::PictureScores;
use super::sentences::{NUMBER, POOL};
use super::sets::{self, Set};
use super::{Args, failed};
use crate::failure::Failure;
use crate::output;
use crate::progress::Bar;

/// Pictures made or read at once.
const BATCH: usize = 64;

/// The network of `--clip`.
pub fn open(args: &Args, device: &Device) -> Result<ClipJudge, Failure> {
    let path = args.clip.as_deref().unwrap_or(Path::new(""));
    ClipJudge::open(path, device).map_err(|error| Failure::Failed(format!("--clip {}: {error}", path.display())))
}

/// The scores of a set's pictures for the captions that `source` has at the same places, put into `scores`.
pub fn score(
    args: &Args,
    chosen: &[Metric],
    judge: &ClipJudge,
    what: &str,
    (set, source): (&dyn Set, &dyn Source),
    scores: &mut PictureScores,
) -> Result<(), Failure> {
    let number = args.number.unwrap_or(NUMBER);
    let count = set.count().unwrap_or(number);
    let number = number.min(count);
    let bar = Bar::new(&format!("{what}, captions"), number);
    let (mut pictures, mut captions) = (Vec::new(), Vec::new());
    let (mut damaged, mut hash) = (0, SetHash::default());
    for start in (0..number).step_by(BATCH) {
        let places: Vec<u64> = (start..number.min(start + BATCH as u64))
            .map(|i| (u128::from(i) * u128::from(count) / u128::from(number)) as u64)
            .collect();
        let mut found = Vec::with_capacity(places.len());
        for (place, picture) in places.iter().zip(set.get(&places)) {
            match picture {
                Ok((picture, _)) => {
                    captions.push(sets::caption(source, *place)?);
                    hash.add(&picture);
                    found.push(picture);
                }
                Err(_) => damaged += 1,
            }
        }
        pictures.extend(judge.embed_pictures(&found).map_err(failed)?);
        bar.at(start + places.len() as u64);
    }
    if damaged > 0 {
        output::note(&format!("warning: {what}: {damaged} pictures cannot be read"));
    }
    let texts = judge.embed_texts(&captions).map_err(failed)?;
    let size = set.shape().map_or_else(|| "own-size".to_string(), |[h, w, c]| format!("{h}x{w}x{c}"));
    let of = format!("{}/{size}/{}:{hash}", judge.id(), set.name());
    if chosen.contains(&Metric::ClipScore) {
        scores.clip_score = Some(clip_score(&pictures, &texts, judge.dim(), &of).map_err(failed)?);
    }
    if chosen.contains(&Metric::ClipRPrecision) {
        let protocol = format!("clip-r-precision-v1/{of}");
        let found = r_precision::from_embeddings(&pictures, &texts, &captions, POOL, args.seed, &protocol);
        scores.clip_r_precision = Some(found.map_err(failed)?);
    }
    Ok(())
}
