//! The picture of `--sheet`.

use std::path::Path;

use shenbi_data::{Picture, decode, sheet};
use shenbi_metrics::Memorisation;

use super::sets::Set;
use super::side::Side;
use crate::failure::Failure;
use crate::output;

/// Some of the pictures: beside those of the data that are nearest to them, or, where that was not asked for, any.
pub fn write(
    path: &Path,
    what: &str,
    side: &Side,
    real: &Side,
    data: &dyn Set,
    found: Option<&Memorisation>,
) -> Result<(), Failure> {
    const ROW: usize = 12;
    let pictures = |shown: &[(usize, Picture)]| shown.iter().map(|(_, picture)| picture.clone()).collect();
    let mut rows: Vec<(String, Vec<Picture>)> = Vec::new();
    match found {
        None => {
            rows.push((what.to_string(), pictures(&side.shown)));
            rows.push(("data".to_string(), pictures(&real.shown)));
        }
        Some(found) => {
            for shown in side.shown.chunks(ROW) {
                let places: Vec<u64> = shown.iter().map(|(at, _)| real.places[found.nearest[*at].0]).collect();
                let nearest = data.get(&places).into_iter().map(|found| found.map(|(picture, _)| picture));
                rows.push((what.to_string(), pictures(shown)));
                rows.push(("the nearest of the data".to_string(), nearest.collect::<Result<_, _>>()?));
            }
        }
    }
    decode::write_png(path, &sheet::sheet(&rows, ROW, None))?;
    output::note(&format!("some of the pictures: {}", path.display()));
    Ok(())
}
