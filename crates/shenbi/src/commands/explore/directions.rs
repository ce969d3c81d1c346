//! `shenbi explore directions`: SeFa (Shen & Zhou, "Closed-Form Factorization of Latent Semantics in GANs", 2007.06600).
//!
//! The first layer maps the noise z to A z + b. A step α n along a unit vector n changes that by α A n, whatever z was.
//! The directions that change it most, ‖A n‖² under ‖n‖ = 1, are the eigenvectors of AᵀA with the largest eigenvalues
//! (equations 4 to 6); they tend to be what pictures differ in. No pictures and no training are needed to find them.

use std::path::PathBuf;

use rayon::prelude::*;
use serde::Serialize;
use shenbi_data::sheet;
use shenbi_models::model::Model;
use shenbi_nn::weights;
use shenbi_train::samples::make;

use super::{Common, eigen, noise_of, place, subject_of};
use crate::commands::generate::subject::Subject;
use crate::failure::Failure;

/// Pictures of a direction, the one without a step in the middle.
const COLUMNS: usize = 7;

const EXAMPLES: &str = "\
Examples:
  shenbi explore directions --model runs/00002-r3gan-cifar10 --class cat --out directions.png
  shenbi explore directions --model runs/00003-dcgan-faces --seed 17 -k 12 --reach 5 --out directions.png";

/// Finds the directions of the noise that change pictures most, from the weights alone (SeFa, 2007.06600), and shows
/// steps along each: a row for a direction, the picture of the seed in the middle.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// Which class, with a model by class [default: its first]
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// The picture to start from: that of `generate --seed`
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// How many directions
    #[arg(short = 'k', long, value_name = "K", default_value_t = 6, value_parser = clap::value_parser!(u16).range(1..=256))]
    count: u16,
    /// How far to go each way; normal noise of n numbers is about √n long
    #[arg(long, value_name = "LENGTH", default_value_t = 3.0, value_parser = reach)]
    reach: f32,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Report<'a> {
    path: &'a PathBuf,
    model: &'a str,
    #[serde(flatten)]
    subject: Subject,
    seed: u64,
    /// The steps of each row's pictures, along a vector of length one.
    steps: Vec<f32>,
    directions: Vec<Direction>,
}

#[derive(Serialize)]
struct Direction {
    /// How many times longer the first layer makes a step.
    gain: f64,
    /// Of length one.
    vector: Vec<f64>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    args.common.extension(&["png"])?;
    let image = args.common.load_image()?;
    let dim = image.config.network.noise();
    if usize::from(args.count) > dim {
        return Err(Failure::usage(format!(
            "-k {}: the model has {dim} numbers of noise, and as many directions",
            args.count
        )));
    }
    let model = Model::Image(image.clone());
    let subject = subject_of(&model, None, args.class.as_ref())?;
    let first = weights::values(image.generator.first_layer()).data; // [outputs, noise]
    if first.iter().any(|weight| !weight.is_finite()) {
        let message = format!("--model {}: its weights are not finite; its training diverged", args.common.model);
        return Err(Failure::Failed(message));
    }
    let found = eigen::leading(&gram(&first, dim), dim, usize::from(args.count));
    let directions: Vec<Direction> =
        found.into_iter().map(|(value, vector)| Direction { gain: value.max(0.0).sqrt(), vector }).collect();

    let steps = steps(args.reach);
    let start = noise_of(args.seed, dim);
    let rows: Vec<_> = directions
        .iter()
        .enumerate()
        .map(|(i, Direction { gain, vector })| {
            let moved =
                |step: f32| -> Vec<f32> { start.iter().zip(vector).map(|(z, n)| z + step * *n as f32).collect() };
            let pictures = steps.iter().map(|&step| make(&image, place(&subject), &moved(step))).collect();
            (format!("{}: -{reach} to {reach}, gain {gain:.3}", i + 1, reach = args.reach), pictures)
        })
        .collect();
    args.common.write_png(&sheet::sheet(&rows, COLUMNS, None))?;
    let Common { out, model, .. } = &args.common;
    args.common.report(&Report { path: out, model, subject, seed: args.seed, steps, directions })
}

/// AᵀA, `[n, n]`, of `[outputs, n]`.
fn gram(a: &[f32], n: usize) -> Vec<f64> {
    let mut gram = vec![0.0; n * n];
    gram.par_chunks_exact_mut(n).enumerate().for_each(|(i, row)| {
        for outputs in a.chunks_exact(n) {
            let weight = f64::from(outputs[i]);
            row.iter_mut().zip(outputs).for_each(|(sum, other)| *sum += weight * f64::from(*other));
        }
    });
    gram
}

/// Even steps from `-reach` to `reach`, 0 in the middle.
fn steps(reach: f32) -> Vec<f32> {
    let half = (COLUMNS / 2) as f32;
    (0..COLUMNS).map(|i| reach * (i as f32 - half) / half).collect()
}

/// Reads `--reach`.
fn reach(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(reach) if (0.01..=1000.0).contains(&reach) => Ok(reach),
        _ => Err("expected a number from 0.01 to 1000".to_string()),
    }
}

#[cfg(test)]
mod tests {
    use burn::tensor::{Device, Tensor, TensorData};
    use shenbi_models::image::dcgan::DcganConfig;
    use shenbi_models::image::r3gan::R3ganConfig;
    use shenbi_models::image::resnet::ResnetConfig;
    use shenbi_models::image::{Generator, NetworkConfig};
    use shenbi_nn::{Init, NormMode};

    use super::*;

    #[test]
    fn the_product_of_a_matrix_with_itself() {
        assert_eq!(gram(&[1.0, 2.0, 3.0, 4.0, 5.0, 6.0], 2), [35.0, 44.0, 44.0, 56.0]);
        assert_eq!(steps(3.0), [-3.0, -2.0, -1.0, 0.0, 1.0, 2.0, 3.0]);
    }

    /// The first layer's shape, and that no picture depends on a direction that it takes to zero.
    #[test]
    fn a_generator_sees_the_noise_through_its_first_layer_alone() {
        let device = Device::flex();
        let dcgan = DcganConfig { size: 8, channels: 1, noise: 100, width: 2, classes: 3, ..DcganConfig::default() };
        let resnet = ResnetConfig { size: 16, noise: 100, width: 2, classes: 3, ..ResnetConfig::default() };
        let r3gan = R3ganConfig { noise: 100, classes: 3, ..R3ganConfig::small(8) };
        let networks =
            [(NetworkConfig::Dcgan(dcgan), 32), (NetworkConfig::Resnet(resnet), 64), (NetworkConfig::R3gan(r3gan), 96)];
        for (config, outputs) in networks {
            let generator = Generator::new(&config, &mut Init::new(1, "test", &device)).unwrap();
            let layer = weights::values(generator.first_layer());
            assert_eq!(layer.shape, [outputs, 100]);
            let all = eigen::leading(&gram(&layer.data, 100), 100, 100);
            let seen_of = |vector: &[f64]| {
                let noise: Vec<f32> = noise_of(1, 100).iter().zip(vector).map(|(z, n)| z + *n as f32).collect();
                let noise = Tensor::from_data(TensorData::new(noise, [1, 100]), &device);
                let class = shenbi_models::image::model::one_hot(&[1], 3, &device);
                weights::values(generator.forward(noise, class, &mut NormMode::Eval)).data
            };
            let still = seen_of(&[0.0; 100]);
            let scale = still.iter().map(|x| x.abs()).fold(0.0, f32::max);
            let change = |vector: &[f64]| {
                seen_of(vector).iter().zip(&still).map(|(a, b)| (a - b).abs()).fold(0.0, f32::max) / scale
            };
            assert!(change(&all[0].1) > 1e-3, "{config:?}");
            assert!(change(&all[99].1) < 1e-4, "{config:?}: {}", change(&all[99].1));
        }
    }
}
