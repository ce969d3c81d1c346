//! Our side of the comparison that `compare.py` drives: a worker that trains or paints when told to, and reports seconds.
//!
//! `shenbi-bench WORKLOAD f32|bf16 THREADS` prints one JSON line that says what it is, then for each line `train N` or
//! `paint B N` on its standard input does N steps, or paints B pictures (writes B texts) N times, and prints
//! `{"seconds": .., "peak_mb": ..}`. `shenbi-bench peak` prints what the machine can do at most.
#![allow(clippy::print_stdout)]

mod dcgan;
mod peak;
mod recipe;
mod texts;

use std::io::BufRead;
use std::time::Instant;

use shenbi_nn::kernels::{Precision, set_precision};

#[global_allocator]
static ALLOCATOR: mimalloc::MiMalloc = mimalloc::MiMalloc;

/// Pictures of a training step.
const BATCH: usize = 32;

/// Networks that train and paint.
trait Workload {
    /// One whole step: both networks, optimizers included.
    fn train(&mut self);
    /// Paints so many pictures, or writes so many texts.
    fn paint(&self, pictures: usize);
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|arg| arg == "peak") {
        println!("{}", peak::report()?);
        return Ok(());
    }
    let [workload, precision, threads] = &args[..] else {
        return Err(
            "usage: shenbi-bench dcgan-64|brush-64|dfgan-64|r3gan-64|mle-lstm|seqgan|mle-transformer f32|bf16 THREADS, or \
             shenbi-bench peak"
                .into()
        );
    };
    rayon::ThreadPoolBuilder::new().num_threads(threads.parse()?).stack_size(8 << 20).build_global()?;
    // On one of the pool's threads, as the program runs its commands.
    Ok(rayon::scope(|_| serve(workload, precision).map_err(|error| error.to_string()))?)
}

fn serve(workload: &str, precision: &str) -> Result<(), Box<dyn std::error::Error>> {
    let chosen = if precision == "bf16" { Precision::Bf16 } else { Precision::F32 };
    set_precision(chosen);
    let mut model: Box<dyn Workload> = match workload {
        "dcgan-64" => Box::new(dcgan::Dcgan::new()?),
        "brush-64" => Box::new(recipe::Trained::new("brush", precision, &["model=small"])?),
        "dfgan-64" => Box::new(recipe::Trained::new("dfgan", precision, &[])?),
        "r3gan-64" => Box::new(recipe::Trained::new("r3gan", precision, &[])?),
        "mle-lstm" | "seqgan" | "mle-transformer" => Box::new(texts::Texts::new(workload, precision)?),
        other => {
            let known = "dcgan-64, brush-64, dfgan-64, r3gan-64, mle-lstm, seqgan or mle-transformer";
            return Err(format!("unknown workload {other}: {known}").into());
        }
    };
    println!("{{\"name\": \"shenbi {precision}\", \"about\": \"{}\"}}", shenbi_kernels::describe());
    for line in std::io::stdin().lock().lines() {
        let line = line?;
        let words: Vec<&str> = line.split_whitespace().collect();
        let start = Instant::now();
        match words[..] {
            ["train", n] => (0..n.parse()?).for_each(|_| model.train()),
            ["paint", pictures, n] => {
                let pictures = pictures.parse()?;
                (0..n.parse()?).for_each(|_| model.paint(pictures));
            }
            _ => return Err(format!("'{line}': expected train N or paint B N").into()),
        }
        println!("{{\"seconds\": {}, \"peak_mb\": {}}}", start.elapsed().as_secs_f64(), peak::memory_mb());
    }
    Ok(())
}
