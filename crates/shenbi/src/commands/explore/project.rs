//! `shenbi explore project`: the noise of a picture.

use std::path::PathBuf;

use serde::Serialize;
use shenbi_data::decode::{self, Fit};
use shenbi_data::{Picture, convert, sheet};
use shenbi_models::model::Model;
use shenbi_train::samples::make;

use super::inversion::{Found, STARTS, invert};
use super::{Common, place, subject_of};
use crate::failure::Failure;
use crate::output;

/// Pictures between the start and the result.
const BETWEEN: usize = 4;

const EXAMPLES: &str = "\
Examples:
  shenbi explore project cat.jpg --model runs/00002-r3gan-cifar10 --class cat --out projected.png
  shenbi explore project me.png --model runs/00003-dcgan-faces --steps 1000 --seed 2 --out projected.png
  shenbi explore project me.png --model runs/00003-dcgan-faces --out projected.png --json > noise.json";

/// Finds the noise whose picture comes closest to a given one, and shows both, with the way there between them.
///
/// The error is the root mean square difference over all pixels and channels (RGBA: colours times alpha, and alpha), in
/// 255ths of full brightness, at the model's size.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// PNG, JPEG, WebP, BMP or GIF; cropped to a square and resized to the model's size
    #[arg(value_name = "PICTURE")]
    picture: PathBuf,
    /// Which class, with a model by class [default: that of the random noise that comes closest]
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// Steps of the search
    #[arg(long, value_name = "N", default_value_t = 300, value_parser = clap::value_parser!(u32).range(1..=1_000_000))]
    steps: u32,
    /// Other seeds, other random noises to start from
    #[arg(long, default_value_t = 1)]
    seed: u64,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Report<'a> {
    path: &'a PathBuf,
    model: &'a str,
    picture: &'a PathBuf,
    class: Option<String>,
    seed: u64,
    steps: u32,
    /// Of the result: root mean square difference in 255ths.
    error: f64,
    /// Of the best of the random noises.
    start_error: f64,
    noise: Vec<f32>,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    args.common.extension(&["png"])?;
    let bytes = std::fs::read(&args.picture)
        .map_err(|error| Failure::Failed(format!("{}: {error}; check the path", args.picture.display())))?;
    let picture = decode::decode(&args.picture, &bytes, decode::MAX_PIXELS)?;
    let image = args.common.load_image()?;
    let (network, names) = (&image.config.network, &image.config.classes);
    let classes: Vec<usize> = match &args.class {
        None => (0..names.len().max(1)).collect(),
        Some(_) => vec![place(&subject_of(&Model::Image(image.clone()), None, args.class.as_ref())?)],
    };
    let picture = decode::with_channels(picture, network.channels())?;
    let target = decode::fit(&picture, [network.size(); 2], Fit::Cover)?;

    let steps = args.steps as usize;
    let painted = |found: &Found| make(&image, found.class, &found.noise);
    let mut cells: Vec<(String, Picture)> = vec![("target".to_string(), target.clone())];
    let mut start_error = f64::NAN;
    let mut seen = |step: usize, best: &Found| {
        let label = match step {
            0 => {
                start_error = best.error;
                format!("best of {STARTS}: {:.1}", best.error)
            }
            _ => format!("step {step}: {:.1}", best.error),
        };
        if step == 0 || is_stop(step, steps) {
            output::note(&format!("{label} of 255"));
            cells.push((label, painted(best)));
        }
    };
    let found = invert(&image, &convert::to_floats(&target), &classes, steps, args.seed, &mut seen);
    let columns = cells.len();
    args.common.write_png(&sheet::labelled(&cells, columns))?;

    let class = names.get(found.class).cloned();
    if !args.common.json {
        let of = class.as_ref().map_or(String::new(), |class| format!(", class '{class}'"));
        output::line(&format!("error {:.2} of 255, from {start_error:.2}{of}", found.error))?;
    }
    args.common.report(&Report {
        path: &args.common.out,
        model: &args.common.model,
        picture: &args.picture,
        class,
        seed: args.seed,
        steps: args.steps,
        error: found.error,
        start_error,
        noise: found.noise,
    })
}

/// Whether the sheet shows this step: some on the way, and the last.
fn is_stop(step: usize, steps: usize) -> bool {
    (1..=BETWEEN + 1).any(|i| step == (i * steps).div_ceil(BETWEEN + 1))
}

#[cfg(test)]
mod tests {
    use super::is_stop;

    #[test]
    fn the_sheet_shows_a_few_steps_and_the_last() {
        let stops = |steps| (1..=steps).filter(|&step| is_stop(step, steps)).collect::<Vec<_>>();
        assert_eq!(stops(300), [60, 120, 180, 240, 300]);
        assert_eq!(stops(1), [1]);
        assert_eq!(stops(3), [1, 2, 3]);
    }
}
