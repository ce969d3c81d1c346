//! Trains a judge of scenes, or checks one.
//!
//! `cargo run --release -p shenbi-metrics --example train_judge -- SIZE IMAGES OUT.safetensors [SEED]`
//! `cargo run --release -p shenbi-metrics --example train_judge -- --check FILE.safetensors`

use std::error::Error;
use std::time::Instant;

use burn::tensor::Device;
use shenbi_data::scenes::Level;
use shenbi_metrics::{Judge, JudgeOptions};

const USAGE: &str = "train_judge SIZE IMAGES OUT.safetensors [SEED] | train_judge --check FILE.safetensors";

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    let args: Vec<&str> = args.iter().map(String::as_str).collect();
    let device = Device::flex();
    let judge = match args[..] {
        ["--check", file] => Judge::from_bytes(&std::fs::read(file)?, &device)?,
        [size, images, out] => train(size.parse()?, images.parse()?, out, 1, &device)?,
        [size, images, out, seed] => train(size.parse()?, images.parse()?, out, seed.parse()?, &device)?,
        _ => return Err(USAGE.into()),
    };
    for level in [Level::One, Level::Two] {
        let report = judge.validate(level, 5000)?;
        println!("{level:?}: {report:#?}");
    }
    Ok(())
}

fn train(side: usize, images: u64, out: &str, seed: u64, device: &Device) -> Result<Judge, Box<dyn Error>> {
    let start = Instant::now();
    let mut mean = 0.0;
    let options = JudgeOptions { size: [side, side], images, seed };
    let judge = Judge::train(&options, device, |progress| {
        mean += (progress.loss - mean) * 0.02;
        if progress.step % 100 == 0 {
            let seconds = start.elapsed().as_secs_f64();
            let rate = progress.step as f64 * 64.0 / seconds;
            eprintln!("{:6} of {} steps, loss {mean:.3}, {rate:.0} pictures/s", progress.step, progress.steps);
        }
    })?;
    let bytes = judge.to_bytes()?;
    std::fs::write(out, &bytes)?;
    println!("{out}: {} bytes, {:.0} s", bytes.len(), start.elapsed().as_secs_f64());
    Ok(judge)
}
