//! Trains the encoder behind R-precision on a captioned folder, and measures real pictures with it.
//!
//! `cargo run --release -p shenbi-metrics --example train_contrast -- FOLDER SIZE STEPS OUT.safetensors [COLUMN]...`
//!
//! Trains on the rows whose `split` is `train`; measures those and `test`, each caption column by itself.
//! STEPS 0 measures the existing OUT.

use std::error::Error;
use std::sync::Arc;
use std::time::Instant;

use burn::tensor::Device;
use shenbi_data::Source;
use shenbi_data::convert::to_floats;
use shenbi_data::folder::{Folder, FolderOptions};
use shenbi_metrics::{ContrastEncoder, ContrastOptions, r_precision};

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let [folder, side, steps, out, columns @ ..] = &args[..] else {
        return Err("train_contrast FOLDER SIZE STEPS OUT.safetensors [COLUMN]...".into());
    };
    let (side, steps): (usize, u64) = (side.parse()?, steps.parse()?);
    let open = |split: &str| {
        let options = FolderOptions {
            size: [side, side],
            caption_columns: columns.to_vec(),
            split: Some(split.to_string()),
            ..FolderOptions::default()
        };
        Folder::open(folder, &options)
    };
    let device = Device::flex();
    let encoder = if steps == 0 {
        ContrastEncoder::from_bytes(&std::fs::read(out)?, &device)?
    } else {
        let start = Instant::now();
        let options = ContrastOptions { steps, ..ContrastOptions::default() };
        let mut mean = 0.0;
        let encoder = ContrastEncoder::train(Arc::new(open("train")?), &options, &device, |progress| {
            mean += (progress.loss - mean) * 0.02;
            if progress.step % 100 == 0 {
                let rate = (progress.step * options.batch as u64) as f64 / start.elapsed().as_secs_f64();
                eprintln!("{:6} of {} steps, loss {mean:.3}, {rate:.0} pictures/s", progress.step, progress.steps);
            }
        })?;
        let bytes = encoder.to_bytes()?;
        std::fs::write(out, &bytes)?;
        println!("{out}: {} bytes, {:.0} s", bytes.len(), start.elapsed().as_secs_f64());
        encoder
    };
    for split in ["train", "test"] {
        let folder = open(split)?;
        let mut pixels = Vec::new();
        let mut captions: Vec<Vec<String>> = Vec::new();
        for index in 0..folder.count() as u64 {
            let example = folder.get(index)?;
            pixels.extend(to_floats(&example.picture));
            captions.push(example.captions);
        }
        for language in 0..captions.iter().map(Vec::len).min().unwrap_or(0) {
            let texts: Vec<&str> = captions.iter().map(|texts| texts[language].as_str()).collect();
            println!("{split}, caption {language}: {:?}", r_precision(&encoder, &pixels, &texts, 100, 1)?);
        }
    }
    Ok(())
}
