//! How well pictures show what was asked for: attributes of scenes, R-precision on a folder.

use std::path::Path;
use std::sync::Arc;

use burn::tensor::Device;
use shenbi_data::folder::{Folder, FolderOptions};
use shenbi_data::scenes::{Level, Scene, Scenes, ScenesOptions, Split};
use shenbi_data::{Source, convert, decode, sheet};
use shenbi_metrics::{ContrastEncoder, ContrastOptions, Judge, r_precision, score};
use shenbi_models::text_to_image::painter::Painter;
use shenbi_nn::weights;
use shenbi_train::samples::noise;

use super::{Args, ON_SHEET, Row, SEED, Scores, failed};
use crate::failure::Failure;
use crate::output;
use crate::progress::Bar;

/// The judges of scenes by the side of the pictures they know; cards in `models/`.
static JUDGES: [(usize, &[u8]); 2] = [
    (32, include_bytes!("../../../../../models/judge-scenes-32.safetensors")),
    (64, include_bytes!("../../../../../models/judge-scenes-64.safetensors")),
];

/// Pictures painted at once.
const BATCH: usize = 50;
/// Captions that a picture chooses from.
pub const POOL: usize = 100;
/// Pictures a score, unless the person says otherwise.
pub const NUMBER: u64 = 1000;

/// The scores of a painter.
pub fn rows(args: &Args, painter: &Painter, device: &Device) -> Result<Vec<Row>, Failure> {
    if args.data == "scenes" { scenes(args, painter, device) } else { folder(args, painter, device) }
}

/// Attribute accuracy on combinations that were trained on and on those held out.
fn scenes(args: &Args, painter: &Painter, device: &Device) -> Result<Vec<Row>, Failure> {
    let size = painter.config.network.size();
    let Some((_, bytes)) = JUDGES.iter().find(|(side, _)| size == [*side, *side]) else {
        let message = format!("the model paints {}x{}; scenes are judged at 32x32 and 64x64", size[0], size[1]);
        return Err(Failure::usage(message));
    };
    if painter.config.network.channels() != 3 {
        return Err(Failure::usage("the model does not paint RGB, as scenes are; give its own pictures with --data"));
    }
    let judge = Judge::from_bytes(bytes, device).map_err(failed)?;
    let levels = match args.level {
        Level::Mixed => vec![("one object", Level::One), ("two objects", Level::Two)],
        Level::One => vec![("one object", Level::One)],
        Level::Two => vec![("two objects", Level::Two)],
        Level::Many => return Err(Failure::usage("--level many: counts are not judged; give one, two or mixed")),
    };
    let mut rows = Vec::new();
    let mut cells = Vec::new();
    for (name, level) in levels {
        for (kind, split) in [("trained on", Split::Train), ("held out", Split::HeldOut)] {
            let source = Scenes::new(ScenesOptions { size, level, seed: SEED, split })?;
            let (wanted, captions) = asked_for(&source, args.number.unwrap_or(NUMBER) as usize)?;
            let what = format!("{name}, {kind}");
            let pictures = paint(painter, &captions, args.seed, &what)?;
            cells.push((captions, pictures.clone()));
            let mut report = score(&judge, &pictures, &wanted).map_err(failed)?;
            report.protocol += &format!("/captions=name-the-background/{what}/seed={}", args.seed);
            rows.push(Row { what, scores: Scores::Attributes(report) });
        }
    }
    write_sheet(args, painter, &cells)?;
    Ok(rows)
}

/// The first `n` scenes whose caption names the background: a painter cannot know what a caption leaves out.
fn asked_for(source: &Scenes, n: usize) -> Result<(Vec<Scene>, Vec<String>), Failure> {
    let (mut scenes, mut captions) = (Vec::with_capacity(n), Vec::with_capacity(n));
    let mut i = 0;
    while scenes.len() < n {
        let (scene, caption) = (source.scene(i), by_turns(source.captions(i)?, i));
        let colour = scene.background.colour;
        if caption.contains(colour.english()) || colour.chinese_words().iter().any(|word| caption.contains(word)) {
            scenes.push(scene);
            captions.push(caption);
        }
        i += 1;
    }
    Ok((scenes, captions))
}

/// R-precision of painted and of real pictures.
fn folder(args: &Args, painter: &Painter, device: &Device) -> Result<Vec<Row>, Failure> {
    let open = |split| open(args, painter, split);
    // Data without splits is used whole.
    let asked = open(Some(&args.split)).or_else(|error| if args.split == "train" { open(None) } else { Err(error) })?;
    let encoder = judge(args, painter, device)?;
    let count = asked.count() as u64;
    let n = args.number.unwrap_or(NUMBER).min(count);
    let (mut captions, mut real) = (Vec::new(), Vec::new());
    for i in 0..n {
        // A damaged picture is left out of both sides.
        if let Ok(example) = asked.get(i * count / n) {
            captions.push(by_turns(example.captions, i));
            real.extend(convert::to_floats(&example.picture));
        }
    }
    let painted = paint(painter, &captions, args.seed, &args.split)?;
    let measure = |what: &str, pictures: &[f32]| {
        let found = r_precision(&encoder, pictures, &captions, POOL, args.seed).map_err(failed)?;
        Ok(Row { what: format!("{what}, {}", args.split), scores: Scores::RPrecision(found) })
    };
    let rows: Result<Vec<Row>, Failure> = [measure("painted", &painted), measure("real", &real)].into_iter().collect();
    write_sheet(args, painter, &[(captions, painted)])?;
    rows
}

/// A folder's pictures of the painter's shape.
fn open(args: &Args, painter: &Painter, split: Option<&str>) -> shenbi_data::Result<Folder> {
    let network = &painter.config.network;
    Folder::open(
        Path::new(&args.data),
        &FolderOptions {
            size: network.size(),
            channels: Some(network.channels()),
            caption_columns: args.caption_columns.clone(),
            split: split.map(str::to_string),
            ..FolderOptions::default()
        },
    )
}

/// The encoder that judges pictures of a folder: of its file, or trained, and kept there.
pub fn judge(args: &Args, painter: &Painter, device: &Device) -> Result<ContrastEncoder, Failure> {
    let network = &painter.config.network;
    let open = |split| open(args, painter, split);
    let encoder = if args.encoder.exists() {
        output::note(&format!("using the encoder in {}; name another file for other data", args.encoder.display()));
        let bytes = std::fs::read(&args.encoder)
            .map_err(|error| Failure::Failed(format!("--encoder {}: {error}", args.encoder.display())))?;
        ContrastEncoder::from_bytes(&bytes, device).map_err(failed)?
    } else {
        let train = open(Some("train")).or_else(|_| open(None))?;
        let bar = Bar::new("encoder", args.encoder_steps);
        let options = ContrastOptions { steps: args.encoder_steps, ..ContrastOptions::default() };
        let encoder = ContrastEncoder::train(Arc::new(train), &options, device, |progress| bar.at(progress.step));
        let encoder = encoder.map_err(failed)?;
        decode::write_atomically(&args.encoder, &encoder.to_bytes().map_err(failed)?)?;
        output::note(&format!("the encoder is kept in {}", args.encoder.display()));
        encoder
    };
    if encoder.shape() != [network.channels(), network.size()[0], network.size()[1]] {
        let message = format!(
            "--encoder {}: it knows pictures of {:?} (channels, height, width), the model paints {:?}; \
             name another file to train one",
            args.encoder.display(),
            encoder.shape(),
            [network.channels(), network.size()[0], network.size()[1]]
        );
        return Err(Failure::Failed(message));
    }
    Ok(encoder)
}

/// One of a picture's captions: its languages take turns.
fn by_turns(captions: Vec<String>, i: u64) -> String {
    let n = captions.len().max(1);
    captions.into_iter().nth(i as usize % n).unwrap_or_default()
}

/// The pictures of `captions`, each with its own noise, `[n, c, h, w]` in [-1, 1].
pub fn paint(painter: &Painter, captions: &[String], seed: u64, what: &str) -> Result<Vec<f32>, Failure> {
    let bar = Bar::new(what, captions.len() as u64);
    let mut pictures = Vec::new();
    for (batch, prompts) in captions.chunks(BATCH).enumerate() {
        let position = |i: usize| (batch * BATCH + i) as u64;
        let dim = painter.config.network.noise();
        let noise = (0..prompts.len()).flat_map(|i| noise(seed, "evaluate", position(i), dim)).collect();
        pictures.extend(weights::values(painter.paint(prompts, noise)?).data);
        bar.at(position(prompts.len()));
    }
    Ok(pictures)
}

/// Some of the pictures with their captions, where `--sheet` asks for them.
pub fn write_sheet(args: &Args, painter: &Painter, sets: &[(Vec<String>, Vec<f32>)]) -> Result<(), Failure> {
    let Some(path) = &args.sheet else { return Ok(()) };
    let ([h, w], c) = (painter.config.network.size(), painter.config.network.channels());
    let of_each = ON_SHEET / sets.len().max(1);
    let cells: Vec<_> = sets
        .iter()
        .flat_map(|(captions, pictures)| {
            let pictures = pictures.chunks_exact(c * h * w).map(|floats| convert::from_floats(floats, c, h, w));
            let all_over = (captions.len() / of_each).max(1);
            captions.iter().cloned().zip(pictures).step_by(all_over).take(of_each)
        })
        .collect();
    decode::write_png(path, &sheet::labelled(&cells, 6))?;
    output::note(&format!("some of the pictures: {}", path.display()));
    Ok(())
}
