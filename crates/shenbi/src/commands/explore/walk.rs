//! `shenbi explore walk`: from seed to seed.

use std::path::PathBuf;

use serde::Serialize;
use shenbi_data::{gif, sheet};

use super::{Common, latent, noise_of, subject_of};
use crate::commands::generate::subject::{self, Subject};
use crate::failure::Failure;

/// Pictures of a walk, at most.
const MOST: usize = 2000;
/// Time of a picture.
const MILLISECONDS: u32 = 60;

const EXAMPLES: &str = "\
Examples:
  shenbi explore walk --model runs/00002-r3gan-cifar10 --class cat --seeds 3,17,4 --closed --out walk.gif
  shenbi explore walk --model runs/00003-dcgan-faces --seeds 1,2 --steps 8 --out walk.png
  shenbi explore walk \"a red circle on a blue background\" --seeds 1,2,3,4 --out circles.gif";

/// Goes from the noise of one seed to that of the next, on the arc that keeps the noise as long as normal noise is.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to paint, with a model that paints sentences
    #[arg(value_name = "PROMPT")]
    prompt: Option<String>,
    /// Which class, with a model by class [default: its first]
    #[arg(long, value_name = "CLASS")]
    class: Option<String>,
    /// The seeds to pass, in order: those of `generate --seed`
    #[arg(long, value_name = "SEEDS", value_delimiter = ',', value_parser = seed, default_values_t = [1, 2, 3])]
    seeds: Vec<u64>,
    /// Steps from each seed to the next
    #[arg(long, value_name = "N", default_value_t = 16, value_parser = clap::value_parser!(u16).range(1..=1000))]
    steps: u16,
    /// Straight lines instead of arcs
    #[arg(long)]
    lerp: bool,
    /// Go back to the first seed in the end, for a GIF without a jump
    #[arg(long)]
    closed: bool,
    #[command(flatten)]
    common: Common,
}

#[derive(Serialize)]
struct Report<'a> {
    path: &'a PathBuf,
    model: &'a str,
    #[serde(flatten)]
    subject: Subject,
    seeds: &'a [u64],
    steps: u16,
    closed: bool,
    /// How the noises between two seeds were found.
    interpolation: &'static str,
    /// In the GIF, or in all lines of the strip.
    pictures: usize,
}

/// Runs the command.
pub fn run(args: &Args) -> Result<(), Failure> {
    let (seeds, steps) = (&args.seeds[..], usize::from(args.steps));
    if seeds.len() < 2 {
        return Err(Failure::usage("--seeds: a walk needs at least two, as in --seeds 1,2"));
    }
    let legs = if args.closed { seeds.len() } else { seeds.len() - 1 };
    if legs.saturating_mul(steps) >= MOST {
        let message = format!("--steps {steps}: {} pictures, more than {MOST}; take fewer steps", legs * steps);
        return Err(Failure::usage(message));
    }
    let extension = args.common.extension(&["gif", "png"])?;
    let model = args.common.load()?;
    let subject = subject_of(&model, args.prompt.as_ref(), args.class.as_ref())?;

    let dim = subject::dim(&model);
    let points: Vec<Vec<f32>> = seeds.iter().map(|&seed| noise_of(seed, dim)).collect();
    let noises = latent::path(&points, steps, args.closed, args.lerp);
    let pictures = noises.iter().map(|noise| subject::make_of(&model, &subject, noise));
    let mut pictures = pictures.collect::<Result<Vec<_>, _>>()?;
    let count = if extension == "gif" {
        if args.closed {
            pictures.pop(); // the first again, which the GIF shows next anyhow
        }
        args.common.write(|path| gif::write_gif(path, pictures.iter().map(sheet::alone), MILLISECONDS))?;
        pictures.len()
    } else {
        let legs: Vec<_> = (0..legs)
            .map(|leg| {
                let label = format!("{} - {}", seeds[leg], seeds[(leg + 1) % seeds.len()]);
                (label, pictures[leg * steps..=(leg + 1) * steps].to_vec())
            })
            .collect();
        args.common.write_png(&sheet::sheet(&legs, steps + 1, None))?;
        legs.iter().map(|(_, pictures)| pictures.len()).sum()
    };
    args.common.report(&Report {
        path: &args.common.out,
        model: &args.common.model,
        subject,
        seeds,
        steps: args.steps,
        closed: args.closed,
        interpolation: if args.lerp { "lerp" } else { "slerp" },
        pictures: count,
    })
}

/// Reads a seed of `--seeds`.
fn seed(text: &str) -> Result<u64, String> {
    text.trim().parse().map_err(|_| "expected whole numbers with commas between them, as in 1,2,3".to_string())
}

#[cfg(test)]
mod tests {
    use super::seed;

    #[test]
    fn seeds() {
        assert_eq!((seed("7"), seed(" 18446744073709551615")), (Ok(7), Ok(u64::MAX)));
        for wrong in ["", "x", "-1", "1.5", "18446744073709551616"] {
            assert!(seed(wrong).unwrap_err().contains("1,2,3"), "{wrong}");
        }
    }
}
