//! One side of a comparison: what a network sees in its pictures, batch by batch. Features stay only where a score needs
//! each of them.

use shenbi_data::{DataError, Picture};
use shenbi_metrics::Moments;
use shenbi_metrics::reference::SetHash;
use shenbi_nn::kernels::in_f32;

use super::network::Network;
use super::sets::Set;
use super::{ON_SHEET, failed};
use crate::failure::Failure;
use crate::output;
use crate::progress::Bar;

/// Pictures made or read at once.
pub const BATCH: usize = 64;

/// Which of what a network sees is kept.
#[derive(Clone, Copy, Debug, Default)]
pub struct Keep {
    /// Each picture's features.
    pub features: bool,
    /// Each picture's class logits.
    pub logits: bool,
}

/// A side that has been looked at.
pub struct Side {
    pub moments: Moments,
    /// `[n, dim]`, if kept.
    pub features: Vec<f32>,
    /// `[n, classes]`, if kept.
    pub logits: Vec<f32>,
    /// Of each picture, where the set has classes.
    pub classes: Vec<usize>,
    /// Where each picture lies in its set.
    pub places: Vec<u64>,
    /// Of all pictures.
    pub hash: SetHash,
    /// Some of the pictures, from all over, and which they are.
    pub shown: Vec<(usize, Picture)>,
}

/// Looks at up to `number` pictures of `set`: from all over it, or its first ones. Damaged ones are left out.
pub fn look(
    set: &dyn Set,
    network: &Network,
    number: u64,
    first: bool,
    keep: Keep,
    what: &str,
) -> Result<Side, Failure> {
    let count = set.count().unwrap_or(number);
    let number = number.min(count);
    let mut side = Side {
        moments: Moments::new(network.dim()),
        features: Vec::new(),
        logits: Vec::new(),
        classes: Vec::new(),
        places: Vec::new(),
        hash: SetHash::default(),
        shown: Vec::new(),
    };
    let every = (number as usize / ON_SHEET).max(1);
    let mut damaged: Option<(u64, DataError)> = None;
    let bar = Bar::new(what, number);
    let place = |i: u64| if first { i } else { (u128::from(i) * u128::from(count) / u128::from(number)) as u64 };
    for start in (0..number).step_by(BATCH) {
        let places: Vec<u64> = (start..number.min(start + BATCH as u64)).map(place).collect();
        let mut pictures = Vec::with_capacity(places.len());
        for (place, found) in places.iter().zip(set.get(&places)) {
            match found {
                Ok((picture, class)) => {
                    side.hash.add(&picture);
                    side.places.push(*place);
                    side.classes.extend(class);
                    pictures.push(picture);
                }
                Err(error) => damaged = Some((damaged.map_or(0, |(n, _)| n) + 1, error)),
            }
        }
        side.add(network, pictures, keep, every)?;
        bar.at(start + places.len() as u64);
    }
    if let Some((n, last)) = damaged {
        output::note(&format!("warning: {what}: {n} pictures cannot be read; the last: {last}"));
    }
    Ok(side)
}

impl Side {
    fn add(&mut self, network: &Network, pictures: Vec<Picture>, keep: Keep, every: usize) -> Result<(), Failure> {
        let (rows, logits) = in_f32(|| network.look(&pictures, keep.logits)).map_err(failed)?;
        let before = self.moments.count();
        self.moments.add(&rows).map_err(failed)?;
        if keep.features {
            self.features.extend(rows);
        }
        if keep.logits {
            self.logits.extend(logits);
        }
        for (at, picture) in (before..).zip(pictures) {
            if at.is_multiple_of(every) && self.shown.len() < ON_SHEET {
                self.shown.push((at, picture));
            }
        }
        Ok(())
    }

    /// The class of each picture; an error where some have none.
    pub fn labelled(&self) -> Result<&[usize], Failure> {
        if self.classes.len() == self.moments.count() && !self.classes.is_empty() {
            return Ok(&self.classes);
        }
        Err(Failure::usage(
            "--metrics intra: the pictures of both sides need classes (folders a class, or a model of classes)",
        ))
    }
}
