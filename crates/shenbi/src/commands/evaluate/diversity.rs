//! How different a set's pictures are from each other: the mean LPIPS of random pairs, of one class where there are classes,
//! and of one caption where pictures were painted for captions.

use std::collections::BTreeMap;

use burn::tensor::Device;
use shenbi_data::rng;
use shenbi_metrics::reference::SetHash;
use shenbi_metrics::{Diversity, Lpips};

use super::pictures::NUMBER;
use super::sets::Set;
use super::{Args, failed};
use crate::failure::Failure;
use crate::output;
use crate::progress::Bar;

/// Pairs made or read at once.
const BATCH: usize = 32;

/// The distance of `--features` and `--lpips`.
pub fn open(args: &Args, device: &Device) -> Result<Lpips, Failure> {
    let Some(features) = &args.features else {
        return Err(Failure::usage(
            "--metrics lpips: give --features, the network to look through: torchvision's vgg16, squeezenet1_1 or alexnet",
        ));
    };
    Lpips::open(features, args.lpips.as_deref(), device)
        .map_err(|error| Failure::Failed(format!("--metrics lpips: {error}")))
}

/// The mean distance of pairs of `set`, of `-n` pictures in all.
pub fn diversity(args: &Args, set: &dyn Set, lpips: &Lpips, what: &str) -> Result<Diversity, Failure> {
    let number = args.number.unwrap_or(NUMBER);
    let count = set.count().unwrap_or(number);
    let (twos, of) = (number.min(count) / 2, count / 2);
    // Neighbours are taken from all over, so that pictures of one caption stay together; then they are mixed.
    let mut classes: BTreeMap<Option<usize>, Vec<u64>> = BTreeMap::new();
    for i in 0..twos {
        let first = 2 * (u128::from(i) * u128::from(of) / u128::from(twos)) as u64;
        for place in [first, first + 1] {
            classes.entry(set.class(place)).or_default().push(place);
        }
    }
    let mut stream = rng::stream(args.seed, "evaluate/lpips", 0);
    let mut places = Vec::new();
    for of_class in classes.values_mut() {
        rng::shuffle(&mut stream, of_class);
        places.extend(of_class.as_chunks::<2>().0);
    }
    let bar = Bar::new(&format!("{what}, pairs"), places.len() as u64);
    let (mut distances, mut damaged, mut hash) = (Vec::with_capacity(places.len()), 0, SetHash::default());
    for places in places.chunks(BATCH) {
        let mut pictures = set.get(places.as_flattened()).into_iter();
        let mut pairs = Vec::with_capacity(places.len());
        while let (Some(a), Some(b)) = (pictures.next(), pictures.next()) {
            match (a, b) {
                (Ok((a, _)), Ok((b, _))) => pairs.push([a, b]),
                _ => damaged += 1,
            }
        }
        pairs.as_flattened().iter().for_each(|picture| hash.add(picture));
        distances.extend(lpips.distances(&pairs).map_err(failed)?);
        bar.at((distances.len() + damaged) as u64);
    }
    if damaged > 0 {
        output::note(&format!("warning: {what}: {damaged} pairs hold a picture that cannot be read"));
    }
    let pairs = if classes.keys().any(Option::is_some) { "pairs-within-classes" } else { "random-pairs" };
    let [h, w, c] = set.shape().unwrap_or_default();
    lpips
        .diversity(&distances, &format!("{h}x{w}x{c}/{}:{hash}/{pairs}/pair-seed={}", set.name(), args.seed))
        .map_err(failed)
}
