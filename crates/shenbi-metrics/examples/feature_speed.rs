//! Pictures a second through a feature network: `feature_speed WEIGHTS PICTURES [SIDE]`; threads by RAYON_NUM_THREADS.

use std::time::Instant;

use burn::tensor::Device;
use shenbi_data::Picture;
use shenbi_metrics::FeatureNetwork;

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let mut arguments = std::env::args().skip(1);
    let weights = arguments.next().ok_or("usage: feature_speed WEIGHTS PICTURES [SIDE]")?;
    let count: usize = arguments.next().ok_or("how many pictures?")?.parse()?;
    let side: usize = arguments.next().map_or(Ok(32), |side| side.parse())?;
    let start = Instant::now();
    let network = FeatureNetwork::open(&weights, &Device::flex())?;
    println!("{} read in {:.1} s", network.id(), start.elapsed().as_secs_f64());
    let pixels = |i: usize| (0..3 * side * side).map(|at| ((at * 31 + i * 7) % 256) as u8).collect();
    let pictures: Vec<Picture> =
        (0..count).map(|i| Picture { width: side, height: side, channels: 3, pixels: pixels(i) }).collect();
    network.embed(&pictures[..count.min(16)])?;
    let start = Instant::now();
    let features = network.embed(&pictures)?;
    let seconds = start.elapsed().as_secs_f64();
    println!("{count} pictures in {seconds:.2} s: {:.2} a second ({} numbers)", count as f64 / seconds, features.len());
    Ok(())
}
