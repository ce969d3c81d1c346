//! How near pictures are to real ones, on the features of a network: the scores of `--metrics`.
//!
//! Both sides have one size and number of channels, those of the pictures that are scored: the data is brought to them as
//! it is for training. With `--compat` each picture keeps its own size, as in other tools. Features are made at f32, of
//! pictures of 8 bits.

use std::borrow::Cow;
use std::path::Path;

use burn::tensor::Device;
use shenbi_metrics::prdc::{NEIGHBOURS, with_intervals};
use shenbi_metrics::{Reference, frechet_infinity, inception_score, intra_class, kid, memorisation, mmd};
use shenbi_models::image::ImageModel;
use shenbi_models::text_to_image::painter::Painter;

use super::metrics::{self, Metric};
use super::network::{Network, check_network, open_features};
use super::picture_scores::PictureScores;
use super::reference::{keep, open_reference, protocol};
use super::sets::{self, Generated, Painted, Set, Sourced};
use super::side::{self, Keep, Side};
use super::{Args, Row, Scores, captions, diversity, failed, pairs, sheet, taught};
use crate::data_source::SCENES;
use crate::failure::Failure;
use crate::output;
use crate::progress::Bar;

/// Pictures of each side, unless the person says otherwise.
pub const NUMBER: u64 = 10_000;
/// Pictures of each side whose distances to each other are compared, at most.
const COMPARED: usize = 10_000;
/// Splits of the Inception score.
const SPLITS: usize = 10;

/// The scores of a model of pictures.
pub fn of_model(args: &Args, model: &ImageModel, device: &Device) -> Result<Vec<Row>, Failure> {
    let chosen = metrics::chosen(args)?;
    if chosen.contains(&Metric::Pairs) {
        return Err(Failure::usage("--metrics pairs: a model's pictures have no partners; give two folders"));
    }
    refuse_captions(&chosen)?;
    let made = Generated { model, seed: args.seed };
    let mut scores = PictureScores::default();
    if chosen.iter().any(|metric| metric.needs_network()) {
        scores = compare(args, &chosen, "generated", &made, None, device)?;
    }
    if chosen.contains(&Metric::ClassificationAccuracy) {
        scores.classification_accuracy = Some(taught::taught(args, &made, device)?);
    }
    if chosen.contains(&Metric::Lpips) {
        differences(args, "generated", &made, &mut scores, device)?;
    }
    finish("generated", scores)
}

/// LPIPS of pairs of `set`, and of the data where it is named.
fn differences(
    args: &Args,
    what: &str,
    set: &dyn Set,
    scores: &mut PictureScores,
    device: &Device,
) -> Result<(), Failure> {
    let lpips = diversity::open(args, device)?;
    scores.lpips = Some(diversity::diversity(args, set, &lpips, what)?);
    if args.data != SCENES {
        let data = sets::data(args, set.shape(), &args.split, false)?;
        scores.lpips_data = Some(diversity::diversity(args, data.as_ref(), &lpips, "data")?);
    }
    Ok(())
}

/// Captions belong to models of sentences and to captioned folders.
fn refuse_captions(chosen: &[Metric]) -> Result<(), Failure> {
    chosen.iter().find(|metric| metric.needs_captions()).map_or(Ok(()), |metric| {
        let message =
            format!("--metrics {}: the model paints without captions; give a model of sentences", metric.name());
        Err(Failure::usage(message))
    })
}

/// The scores of what a painter makes of the data's captions, as pictures: whether they show them is asked elsewhere.
pub fn of_painter(args: &Args, painter: &Painter, device: &Device) -> Result<Vec<Row>, Failure> {
    let chosen = metrics::chosen(args)?;
    let unfit = [Metric::Pairs, Metric::ClassificationAccuracy, Metric::IntraClass];
    if let Some(metric) = chosen.iter().find(|metric| unfit.contains(*metric)) {
        let message = format!("--metrics {}: not for a model of sentences", metric.name());
        return Err(Failure::usage(message));
    }
    let by_network = chosen.iter().any(|metric| metric.needs_network());
    if by_network {
        check_network(args)?;
    }
    let (source, name) = sets::captioned(args, painter)?;
    let data = || Sourced { source: source.clone(), name: name.clone() };
    let made = |each| Painted { painter, source: source.clone(), name: name.clone(), seed: args.seed, each };
    let mut scores = PictureScores::default();
    if by_network {
        scores = compare(args, &chosen, "painted", &made(1), Some(Box::new(data())), device)?;
    }
    if chosen.contains(&Metric::Lpips) {
        // Two pictures of each caption.
        let lpips = diversity::open(args, device)?;
        scores.lpips = Some(diversity::diversity(args, &made(2), &lpips, "painted")?);
    }
    if !chosen.iter().any(|metric| metric.needs_captions()) {
        return finish("painted", scores);
    }
    let (judge, mut real) = (captions::open(args, device)?, PictureScores::default());
    captions::score(args, &chosen, &judge, "painted", (&made(1), source.as_ref()), &mut scores)?;
    captions::score(args, &chosen, &judge, "real", (&data(), source.as_ref()), &mut real)?;
    Ok([finish("painted", scores)?, finish("real", real)?].into_iter().flatten().collect())
}

/// The scores of a folder.
pub fn of_folder(args: &Args, images: &Path, device: &Device) -> Result<Vec<Row>, Failure> {
    let chosen = metrics::chosen(args)?;
    let compared = chosen.iter().any(|metric| metric.needs_data()) && args.reference.is_none();
    if args.data == SCENES && compared {
        return Err(Failure::usage("--images: also name the pictures to compare with, as in --data my-pictures"));
    }
    if !images.exists() {
        return Err(Failure::Failed(format!("--images {}: no such folder or archive", images.display())));
    }
    if chosen.contains(&Metric::ClassificationAccuracy) {
        return Err(Failure::usage("--metrics cas: it needs a model that makes pictures by class; give --model"));
    }
    let mut scores = PictureScores::default();
    if chosen.iter().any(|metric| metric.needs_network()) {
        check_network(args)?;
        let set = sets::images(images, args.compat.is_some())?;
        scores = compare(args, &chosen, "images", set.as_ref(), None, device)?;
    }
    if chosen.contains(&Metric::Pairs) {
        scores.pairs = Some(pairs::pairs(images, Path::new(&args.data), args.number.unwrap_or(u64::MAX))?);
    }
    if chosen.contains(&Metric::Lpips) {
        differences(args, "images", sets::images(images, false)?.as_ref(), &mut scores, device)?;
    }
    if chosen.iter().any(|metric| metric.needs_captions()) {
        let (judge, set) = (captions::open(args, device)?, sets::captioned_images(args, images)?);
        captions::score(args, &chosen, &judge, "images", (&set, &set.folder), &mut scores)?;
    }
    finish("images", scores)
}

fn finish(what: &str, scores: PictureScores) -> Result<Vec<Row>, Failure> {
    for warning in scores.warnings() {
        output::note(&format!("warning: {warning}"));
    }
    Ok(vec![Row { what: what.to_string(), scores: Scores::Pictures(Box::new(scores)) }])
}

/// Looks at a side's pictures, as many as were asked for.
pub fn look(args: &Args, set: &dyn Set, network: &Network, keep: Keep, what: &str) -> Result<Side, Failure> {
    // Other tools take the first ones, and all of them unless told otherwise.
    let as_others = args.compat.is_some();
    let number = match args.number {
        Some(number) => number,
        None if as_others => set.count().unwrap_or(NUMBER),
        None => NUMBER,
    };
    let side = side::look(set, network, number, as_others, keep, what)?;
    if side.moments.count() <= NEIGHBOURS[1] {
        let (found, least) = (side.moments.count(), NEIGHBOURS[1] + 1);
        return Err(Failure::Failed(format!("{what}: {found} readable pictures; a score needs at least {least}")));
    }
    Ok(side)
}

/// The scores of `set` on the features of a network. given: what to compare with, if it is open already.
fn compare(
    args: &Args,
    chosen: &[Metric],
    what: &str,
    set: &dyn Set,
    given: Option<Box<dyn Set>>,
    device: &Device,
) -> Result<PictureScores, Failure> {
    let network = open_features(args, device)?;
    let ours = protocol(&network, set);
    let has = |metric| chosen.contains(&metric);
    let Some(classes) = network.classes().or((!has(Metric::InceptionScore)).then_some(0)) else {
        let message =
            format!("--metrics is: {} tells no classes apart; give a classifier as --features", network.name());
        return Err(Failure::usage(message));
    };
    // What can be refused is refused before pictures are made.
    let saved = args.reference.as_ref().map(|path| open_reference(path, &ours, &network)).transpose()?;
    let alone = !chosen.iter().any(|metric| metric.needs_network() && metric.needs_data());
    let data = match &saved {
        None if !alone && given.is_some() => given,
        None if !alone => Some(sets::data(args, set.shape(), &args.split, args.compat.is_some())?),
        _ => None,
    };
    let held_out = match &args.held_out {
        Some(split) if has(Metric::Memorisation) => Some(sets::data(args, set.shape(), split, args.compat.is_some())?),
        Some(_) => return Err(Failure::usage("--held-out: it belongs to --metrics memorisation")),
        None => None,
    };
    let bootstrapped = args.draws().is_some() && has(Metric::Fid);
    let features = chosen.iter().any(|metric| metric.keeps_features());
    let scored = Keep { features: features || bootstrapped, logits: has(Metric::InceptionScore) };
    let side = look(args, set, &network, scored, what)?;
    let compat = args.compat.map_or_else(String::new, |compat| format!("/compat={}", compat.name()));
    let dim = network.dim();

    let mut scores = PictureScores { features: Some(network.name()), ..PictureScores::default() };
    if has(Metric::InceptionScore) {
        let of = format!("{ours}/{}:{}{compat}", set.name(), side.hash);
        let splits = SPLITS.min(side.moments.count());
        let mut found = inception_score(&side.logits, classes, splits, metrics::order(args), &of).map_err(failed)?;
        if let Some(draws) = args.draws() {
            let interval =
                shenbi_metrics::inception_score::interval(&side.logits, classes, found.mean, draws, args.seed);
            found.interval = Some(interval.map_err(failed)?);
        }
        scores.inception_score = Some(found);
    }
    let real = data.as_ref().map(|data| look(args, data.as_ref(), &network, Keep { features, logits: false }, "data"));
    let real = real.transpose()?;
    let reference_name = match (&saved, &data, &real) {
        (Some(saved), ..) => saved.set.clone(),
        (None, Some(data), Some(real)) => format!("{}:{}", data.name(), real.hash),
        _ => String::new(),
    };
    let of = format!("{ours}/{}/reference={reference_name}{compat}", set.name());
    if let (Some(path), Some(data), Some(real)) = (&args.save_reference, &data, &real) {
        keep(path, &protocol(&network, data.as_ref()), data.as_ref(), real)?;
    }
    let gaussian = match (saved, &real) {
        (Some(saved), _) => Some(saved.gaussian),
        (None, Some(real)) => Some(real.moments.gaussian().map_err(failed)?),
        (None, None) => None,
    };
    if let (Some(gaussian), true) = (gaussian, has(Metric::Fid) || has(Metric::FidInfinity)) {
        distances(args, chosen, &mut scores, &Reference::new(gaussian).map_err(failed)?, &side, &of)?;
    }
    let Some(real) = real else { return Ok(scores) };
    if has(Metric::Kid) {
        // torch-fidelity and clean-fid draw for the scored side first, and second.
        let (a, b) = if args.compat.is_some() { (&side, &real) } else { (&real, &side) };
        scores.kid = Some(kid(&a.features, &b.features, dim, metrics::kid_options(args), &of).map_err(failed)?);
    }
    if has(Metric::Mmd) {
        scores.mmd = Some(mmd(&real.features, &side.features, dim, &of).map_err(failed)?);
    }
    if has(Metric::Prdc) {
        let (a, b) = (thinned(&real.features, dim), thinned(&side.features, dim));
        let draws = args.draws().map(|draws| (draws, args.seed));
        scores.prdc = Some(with_intervals(&a, &b, dim, draws, &of).map_err(failed)?);
    }
    if has(Metric::IntraClass) {
        let names = data.as_ref().map(|data| data.classes().to_vec()).unwrap_or_default();
        if names != set.classes() {
            return Err(Failure::usage("--metrics intra: the two sides have different classes"));
        }
        let pair = ((&real.features[..], real.labelled()?), (&side.features[..], side.labelled()?));
        scores.intra_class = Some(intra_class(pair.0, pair.1, dim, &names, &of).map_err(failed)?);
    }
    if has(Metric::Memorisation) {
        let keep = Keep { features: true, logits: false };
        let held_out = held_out.map(|set| look(args, set.as_ref(), &network, keep, "held out")).transpose()?;
        let held_out = held_out.as_ref().map(|side| &side.features[..]);
        let found = memorisation(&real.features, &side.features, held_out, dim, &of).map_err(failed)?;
        scores.memorisation = Some(found);
    }
    if let (Some(path), Some(data)) = (&args.sheet, &data) {
        sheet::write(path, what, &side, &real, data.as_ref(), scores.memorisation.as_ref())?;
    }
    Ok(scores)
}

/// Fréchet distance, and that at infinity.
fn distances(
    args: &Args,
    chosen: &[Metric],
    scores: &mut PictureScores,
    reference: &Reference,
    side: &Side,
    of: &str,
) -> Result<(), Failure> {
    if chosen.contains(&Metric::Fid) {
        let mut found = reference.distance(&side.moments.gaussian().map_err(failed)?, of).map_err(failed)?;
        if let Some(draws) = args.draws() {
            let interval = reference.interval(&side.features, found.distance, draws, args.seed);
            found.interval = Some(interval.map_err(failed)?);
        }
        scores.frechet = Some(found);
    }
    if chosen.contains(&Metric::FidInfinity) {
        let bar = Bar::new("points", 15);
        let found = frechet_infinity(reference, &side.features, args.seed, of, |done| bar.at(done as u64));
        scores.frechet_infinity = Some(found.map_err(failed)?);
    }
    Ok(())
}

/// At most [`COMPARED`] rows, from all over.
fn thinned(features: &[f32], dim: usize) -> Cow<'_, [f32]> {
    let n = features.len() / dim;
    if n <= COMPARED {
        return Cow::Borrowed(features);
    }
    let row = |i: usize| &features[i * n / COMPARED * dim..][..dim];
    Cow::Owned((0..COMPARED).flat_map(row).copied().collect())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn large_sides_are_thinned_evenly() {
        let rows: Vec<f32> = (0..2 * 3 * COMPARED).map(|i| i as f32).collect();
        let thinned = thinned(&rows, 2);
        assert_eq!((thinned.len(), &thinned[..4]), (2 * COMPARED, &[0.0, 1.0, 6.0, 7.0][..]));
        assert_eq!(*super::thinned(&rows[..8], 2), rows[..8]);
    }
}
