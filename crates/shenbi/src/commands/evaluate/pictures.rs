//! How near pictures are to real ones: Fréchet distance, KID, precision, recall, density and coverage on the features of
//! a pretrained network.
//!
//! Both sides have one size and number of channels, those of the pictures that are scored: the data is brought to them as
//! it is for training. Features are made at f32, of pictures of 8 bits.

use std::borrow::Cow;
use std::path::Path;

use burn::tensor::Device;
use serde::Serialize;
use shenbi_data::folder::{Folder, FolderOptions};
use shenbi_data::mnist::Mnist;
use shenbi_data::scenes::{Scenes, ScenesOptions, Split};
use shenbi_data::{DataError, Picture, Source, convert, decode, sheet};
use shenbi_metrics::prdc::NEIGHBOURS;
use shenbi_metrics::{FeatureNetwork, Frechet, Kid, KidOptions, Moments, Prdc, frechet, kid, prdc};
use shenbi_models::image::ImageModel;
use shenbi_nn::kernels::{Precision, precision, set_precision};
use shenbi_nn::weights;
use shenbi_train::samples::noise;

use super::{Args, ON_SHEET, Row, SEED, Scores, failed};
use crate::data_source::SCENES;
use crate::failure::Failure;
use crate::output;
use crate::progress::Bar;

/// Pictures made or read at once.
const BATCH: usize = 64;
/// Pictures of each side, unless the person says otherwise.
const NUMBER: u64 = 10_000;
/// Pictures of each side whose distances to each other are compared, at most.
const COMPARED: usize = 10_000;

/// What the features of two sets say.
#[derive(Serialize)]
pub struct PictureScores {
    /// What the scores are named after.
    features: &'static str,
    frechet: Frechet,
    kid: Kid,
    prdc: Prdc,
}

impl PictureScores {
    /// For the table.
    pub fn lines(&self) -> Vec<String> {
        let Self { features, frechet, kid, prdc } = self;
        let Prdc { precision, recall, density, coverage, .. } = prdc;
        vec![
            format!("Fréchet ({features}) {:.3}", frechet.distance),
            format!("KID ({features}) {} ± {}", short(kid.mean), short(kid.deviation)),
            format!("precision {precision:.3}  recall {recall:.3}  density {density:.3}  coverage {coverage:.3}"),
        ]
    }

    /// What measured each.
    pub fn protocols(&self) -> Vec<&str> {
        vec![&self.frechet.protocol, &self.kid.protocol, &self.prdc.protocol]
    }
}

/// Five digits: how large the kernel's values are depends on the network.
fn short(value: f64) -> String {
    let size = value.abs();
    if !(1e-3..1e5).contains(&size) {
        return format!("{value:.4e}");
    }
    format!("{value:.*}", (4 - size.log10().floor() as i32).max(0) as usize)
}

/// The scores of a model of pictures.
pub fn of_model(args: &Args, model: &ImageModel, device: &Device) -> Result<Vec<Row>, Failure> {
    let network = open_features(args, device)?;
    let (size, channels) = ([model.config.network.size(); 2], model.config.network.channels());
    let (data, reference) = open_data(args, size, channels)?;
    let number = args.number.unwrap_or(NUMBER) as usize;
    let classes = model.config.classes.len();
    let mut generated = Side::new(&network, number);
    let bar = Bar::new("generated", number as u64);
    for start in (0..number).step_by(BATCH) {
        let places = start..number.min(start + BATCH);
        // Classes take turns.
        let of_classes: Vec<usize> = places.clone().map(|i| i % classes.max(1)).collect();
        let dim = model.config.network.noise();
        let noise = places.clone().flat_map(|i| noise(args.seed, "evaluate", i as u64, dim)).collect();
        let floats = weights::values(model.paint(noise, &of_classes)).data; // [b, c, h, w]
        let floats = floats.chunks_exact(channels * size[0] * size[1]);
        generated.add(floats.map(|floats| convert::from_floats(floats, channels, size[0], size[1])).collect())?;
        bar.at(places.end as u64);
    }
    let made = match classes {
        0 => format!("generated/seed={}", args.seed),
        classes => format!("generated/{classes}-classes-equally/seed={}", args.seed),
    };
    compare(args, &network, "generated", &made, generated, (data.as_ref(), &reference))
}

/// The scores of a folder.
pub fn of_folder(args: &Args, images: &Path, device: &Device) -> Result<Vec<Row>, Failure> {
    if args.data == SCENES {
        return Err(Failure::usage("--images: also name the pictures to compare with, as in --data my-pictures"));
    }
    let network = open_features(args, device)?;
    if !images.exists() {
        return Err(Failure::Failed(format!("--images {}: no such folder or archive", images.display())));
    }
    let options = FolderOptions { captions_required: false, ..FolderOptions::default() };
    // The first picture's size is that of all.
    let folder = Folder::open(images, &options)?;
    let first = (0..folder.count()).find_map(|i| folder.original(i).ok());
    let size = first.map_or(options.size, |picture| [picture.height, picture.width]);
    let folder = Folder::open(images, &FolderOptions { size, ..options })?;
    let (data, reference) = open_data(args, size, Source::channels(&folder))?;
    let scored = read(args, &network, &folder, "images")?;
    compare(args, &network, "images", &format!("images={}", images.display()), scored, (data.as_ref(), &reference))
}

/// The scores of one side against pictures of `data`, which is called `reference`.
fn compare(
    args: &Args,
    network: &FeatureNetwork,
    what: &str,
    made: &str,
    scored: Side<'_>,
    (data, reference): (&dyn Source, &str),
) -> Result<Vec<Row>, Failure> {
    let real = read(args, network, data, "data")?;
    let [height, width] = data.size();
    let of = format!("{}/{height}x{width}x{}/{made}/reference={reference}", network.id(), data.channels());
    let dim = network.dim();
    let frechet = frechet(&real.moments, &scored.moments, &of).map_err(failed)?;
    if let Some(warning) = &frechet.warning {
        output::note(&format!("warning: Fréchet ({}): {warning}", network.name()));
    }
    let options = KidOptions { seed: args.seed, ..KidOptions::default() };
    let kid = kid(&real.features, &scored.features, dim, options, &of).map_err(failed)?;
    let prdc = prdc(&thinned(&real.features, dim), &thinned(&scored.features, dim), dim, &of).map_err(failed)?;
    if let Some(path) = &args.sheet {
        let rows = [(what.to_string(), scored.shown), ("data".to_string(), real.shown)];
        decode::write_png(path, &sheet::sheet(&rows, 12, None))?;
        output::note(&format!("some of the pictures: {}", path.display()));
    }
    let scores = PictureScores { features: network.name(), frechet, kid, prdc };
    Ok(vec![Row { what: what.to_string(), scores: Scores::Pictures(scores) }])
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

/// One side of the comparison.
struct Side<'a> {
    network: &'a FeatureNetwork,
    features: Vec<f32>,
    moments: Moments,
    /// Some of them, from all over.
    shown: Vec<Picture>,
    every: usize,
}

impl<'a> Side<'a> {
    /// Without pictures yet; there will be about `number`.
    fn new(network: &'a FeatureNetwork, number: usize) -> Self {
        let moments = Moments::new(network.dim());
        Self { network, features: Vec::new(), moments, shown: Vec::new(), every: (number / ON_SHEET).max(1) }
    }

    fn add(&mut self, pictures: Vec<Picture>) -> Result<(), Failure> {
        let rows = in_f32(|| self.network.embed(&pictures)).map_err(failed)?;
        self.moments.add(&rows).map_err(failed)?;
        self.features.extend(rows);
        let before = self.moments.count() - pictures.len();
        for (i, picture) in pictures.into_iter().enumerate() {
            if (before + i).is_multiple_of(self.every) && self.shown.len() < ON_SHEET {
                self.shown.push(picture);
            }
        }
        Ok(())
    }
}

/// Runs `work` with networks at f32, whatever precision is in force.
fn in_f32<T>(work: impl FnOnce() -> T) -> T {
    let before = precision();
    set_precision(Precision::F32);
    let result = work();
    set_precision(before);
    result
}

/// Pictures from all over a source; damaged ones are left out.
fn read<'a>(
    args: &Args,
    network: &'a FeatureNetwork,
    source: &dyn Source,
    what: &'static str,
) -> Result<Side<'a>, Failure> {
    let asked = args.number.unwrap_or(NUMBER);
    let count = source.len().unwrap_or(asked);
    let number = asked.min(count);
    let mut side = Side::new(network, number as usize);
    let (mut pictures, mut damaged): (Vec<Picture>, Option<(u64, DataError)>) = (Vec::new(), None);
    let bar = Bar::new(what, number);
    for i in 0..number {
        match source.get((u128::from(i) * u128::from(count) / u128::from(number)) as u64) {
            Ok(example) => pictures.push(example.picture),
            Err(error) => damaged = Some((damaged.map_or(0, |(n, _)| n) + 1, error)),
        }
        if pictures.len() == BATCH || i + 1 == number {
            side.add(std::mem::take(&mut pictures))?;
            bar.at(i + 1);
        }
    }
    if let Some((n, last)) = damaged {
        output::note(&format!("warning: {what}: {n} pictures cannot be read; the last: {last}"));
    }
    if side.moments.count() <= NEIGHBOURS[1] {
        let (found, least) = (side.moments.count(), NEIGHBOURS[1] + 1);
        return Err(Failure::Failed(format!("{what}: {found} readable pictures; a score needs at least {least}")));
    }
    Ok(side)
}

/// The network of `--features`.
fn open_features(args: &Args, device: &Device) -> Result<FeatureNetwork, Failure> {
    let remedy = "any safetensors file of torchvision's squeezenet1_0 will do whose input is RGB from 0 to 255 less \
                  (123, 117, 104); docs/squeezenet1_0.py writes one from torchvision's own weights";
    let Some(path) = &args.features else {
        return Err(Failure::usage(format!(
            "--features FILE is missing: pictures are compared by what a network sees in them that was trained on \
             photographs; {remedy}"
        )));
    };
    if args.number.is_some_and(|number| number as usize <= NEIGHBOURS[1]) {
        return Err(Failure::usage(format!("-n: a score needs at least {} pictures", NEIGHBOURS[1] + 1)));
    }
    let at = |message: String| Failure::Failed(format!("--features {}: {message}; {remedy}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| at(error.to_string()))?;
    FeatureNetwork::from_bytes(&bytes, device).map_err(|error| at(error.to_string()))
}

/// The data at a size, with so many channels, and what to call it.
fn open_data(args: &Args, size: [usize; 2], channels: usize) -> Result<(Box<dyn Source>, String), Failure> {
    if args.data == SCENES {
        let scenes = Scenes::new(ScenesOptions { size, level: args.level, seed: SEED, split: Split::Train })?;
        return Ok((Box::new(scenes), format!("scenes-{:?}", args.level).to_lowercase()));
    }
    let path = Path::new(&args.data);
    if !path.exists() {
        return Err(Failure::Failed(format!("--data {}: no such folder or archive", args.data)));
    }
    if Mnist::is_in(path) {
        // A model of RGB has learnt from three digits at a time.
        let stacked = (channels == 3).then_some(SEED);
        let name = if stacked.is_some() { "mnist-stacked" } else { "mnist" };
        return Ok((Box::new(Mnist::open(path, size, stacked)?), format!("{name}:{}", args.data)));
    }
    let open = |split: Option<&str>| {
        let channels = Some(channels);
        let split = split.map(str::to_string);
        Folder::open(
            path,
            &FolderOptions { size, channels, split, captions_required: false, ..FolderOptions::default() },
        )
    };
    // Data without splits is used whole.
    let (folder, split) = match open(Some(&args.split)) {
        Ok(folder) => (folder, args.split.as_str()),
        Err(_) if args.split == "train" => (open(None)?, "all"),
        Err(error) => return Err(error.into()),
    };
    Ok((Box::new(folder), format!("{}:{split}", args.data)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_size_are_short() {
        let all = [0.0, 0.012_345_67, 1.0, -7623.78283, 99_999.0, 1.5e-5, 123_456.0].map(short);
        assert_eq!(all, ["0.0000e0", "0.012346", "1.0000", "-7623.8", "99999", "1.5000e-5", "1.2346e5"]);
    }

    #[test]
    fn large_sides_are_thinned_evenly() {
        let rows: Vec<f32> = (0..2 * 3 * COMPARED).map(|i| i as f32).collect();
        let thinned = thinned(&rows, 2);
        assert_eq!((thinned.len(), &thinned[..4]), (2 * COMPARED, &[0.0, 1.0, 6.0, 7.0][..]));
        assert_eq!(*super::thinned(&rows[..8], 2), rows[..8]);
    }
}
