//! `shenbi generate`: prompts, or classes, or noise alone, to pictures.

pub mod subject;
mod text;

use std::collections::HashSet;
use std::fs::OpenOptions;
use std::io::{ErrorKind, Read};
use std::path::{Path, PathBuf};

use serde::Serialize;
use shenbi_data::{Picture, decode, sheet};
use shenbi_models::model::Model;
use shenbi_models::text_to_image::painter::Painter;
use shenbi_train::samples::{noise, paint};
use subject::Subject;

use crate::failure::Failure;
use crate::{device, model, output};

/// Pictures on a sheet, at most.
const ON_SHEET: usize = 100;
/// Characters of a prompt in a file's name.
const IN_NAME: usize = 48;

/// Where pictures go that are not told.
const PAINTED: &str = "painted";

const EXAMPLES: &str = "\
Examples:
  shenbi generate \"a small red star above a large blue house\"
  shenbi generate \"绿色圆形在黄色背景上\" -n 8 --seed 7
  shenbi generate \"a red potion\" --model runs/00001-brush-potions --out potion.png
  cat prompts.txt | shenbi generate - --out pictures --json
  shenbi generate --model runs/00002-r3gan-cifar10 --class cat --class dog -n 16 --out animals.png
  shenbi generate --model runs/00003-mle-lstm-jokes -n 20 --temperature 0.9 --prompt \"one day\"";

/// Paints prompts, or what else a model makes, and prints the paths of the PNG files it writes.
#[derive(clap::Args)]
#[command(after_help = EXAMPLES)]
pub struct Args {
    /// What to paint, in English or Chinese or what the model was trained on; - reads a prompt a line from standard input
    #[arg(value_name = "PROMPT")]
    prompts: Vec<String>,
    /// builtin, a run folder, a checkpoint folder or a model file
    #[arg(long, value_name = "MODEL", default_value = model::BUILTIN_NAME)]
    model: String,
    /// The text encoder that the model was trained with [default: where it was then]
    #[arg(long, value_name = "PATH")]
    text_encoder: Option<PathBuf>,
    /// What to make with a model by class (repeatable) [default: each class]
    #[arg(long = "class", value_name = "CLASS")]
    classes: Vec<String>,
    /// Noise beyond this is drawn again, for more typical pictures and fewer kinds of them, as in 0.7
    #[arg(long, value_name = "SIZE", value_parser = subject::truncation)]
    truncation: Option<f32>,
    /// What a text begins with, as a prompt without this flag (repeatable)
    #[arg(long, value_name = "TEXT")]
    prompt: Vec<String>,
    /// Models of texts: below 1 for likelier texts and less variety, 0 for the likeliest [default: 1]
    #[arg(long, value_name = "T", value_parser = text::temperature)]
    temperature: Option<f32>,
    /// Pictures or texts of each prompt or class
    #[arg(short = 'n', long, value_name = "N", default_value_t = 1, value_parser = clap::value_parser!(u64).range(1..=100_000))]
    number: u64,
    /// Another seed, another picture of the same prompt
    #[arg(long, default_value_t = 1)]
    seed: u64,
    /// A folder for a PNG each (existing files are kept), or a file.png for the one picture or the sheet of all; a file
    /// for texts, which else are printed
    #[arg(long, value_name = "PATH", default_value = PAINTED)]
    out: PathBuf,
    /// Where to paint: cpu, or gpu in a build with the feature of that name
    #[arg(long, default_value = "cpu")]
    device: String,
    /// Print one JSON object instead of paths
    #[arg(long)]
    json: bool,
}

#[derive(Serialize)]
struct Painted {
    path: PathBuf,
    #[serde(flatten)]
    subject: Subject,
    seed: u64,
    /// Which of the pictures of this prompt or class.
    index: u64,
}

#[derive(Serialize)]
struct Report {
    model: String,
    pictures: Vec<Painted>,
    sheet: Option<PathBuf>,
}

/// Runs the command.
pub fn run(args: Args) -> Result<(), Failure> {
    // What cannot be right with any model is refused before one is loaded.
    let prompts = prompts(&[&args.prompts[..], &args.prompt].concat())?;
    let device = device::open("--device", &args.device)?;
    let model = model::load(&args.model, &device, args.text_encoder.as_deref())?;
    if let Model::Text(model) = &model {
        return text::run(&args, model, prompts);
    }
    if args.temperature.is_some() {
        return Err(Failure::usage("--temperature is of models that write texts; for pictures there is --truncation"));
    }
    let subjects = subject::subjects(&model, prompts, &args.classes)?;
    if let Model::Painter(painter) = &model {
        warn_of_long_prompts(painter, &subjects)?;
    }
    let to_file = args.out.extension().is_some_and(|extension| extension.eq_ignore_ascii_case("png"));
    let folder = if to_file { parent(&args.out) } else { &args.out };
    std::fs::create_dir_all(folder).map_err(|error| {
        Failure::Failed(format!("--out {}: {error}; choose a folder that you may write to", args.out.display()))
    })?;

    let total = args.number.saturating_mul(subjects.len() as u64);
    let mut report = Report { model: args.model.clone(), pictures: Vec::new(), sheet: None };
    let mut cells: Vec<(String, Picture)> = Vec::new();
    for subject in &subjects {
        for index in 0..args.number {
            let picture = subject::make(&model, subject, args.seed, index, args.truncation)?;
            if !to_file {
                let stem = stem(&subject.label(), args.seed, (args.number > 1).then_some(index));
                let path = write_new(folder, &stem, &picture)?;
                if !args.json {
                    output::line(&path.display().to_string())?;
                }
                report.pictures.push(Painted { path, subject: subject.clone(), seed: args.seed, index });
            }
            if cells.len() < ON_SHEET {
                cells.push((subject.label(), picture));
            }
        }
    }

    if to_file && total == 1 {
        decode::write_png(&args.out, &cells[0].1)?;
        let subject = subjects[0].clone();
        report.pictures.push(Painted { path: args.out.clone(), subject, seed: args.seed, index: 0 });
    } else if total > 1 {
        let sheet = sheet_of(&cells, args.number, &subjects);
        let path = if to_file {
            decode::write_png(&args.out, &sheet)?;
            args.out.clone()
        } else {
            write_new(folder, &format!("sheet-s{}", args.seed), &sheet)?
        };
        if total > ON_SHEET as u64 {
            output::note(&format!("note: the sheet shows the first {ON_SHEET} of {total} pictures"));
        }
        report.sheet = Some(path);
    }
    if args.json {
        return output::json(&report);
    }
    if to_file {
        output::line(&args.out.display().to_string())?;
    } else if let Some(sheet) = &report.sheet {
        output::line(&sheet.display().to_string())?;
    }
    Ok(())
}

/// The prompts, `-` replaced by the lines of standard input.
fn prompts(given: &[String]) -> Result<Vec<String>, Failure> {
    let mut prompts = Vec::new();
    for prompt in given {
        if prompt == "-" {
            let mut bytes = Vec::new();
            let read = std::io::stdin().lock().read_to_end(&mut bytes);
            read.map_err(|error| Failure::Failed(format!("standard input cannot be read: {error}")))?;
            let text = String::from_utf8(bytes).map_err(|_| {
                Failure::Failed("standard input is not UTF-8; convert the prompts, as with iconv".into())
            })?;
            let lines = text.trim_start_matches('\u{feff}').lines().map(str::trim);
            prompts.extend(lines.filter(|line| !line.is_empty()).map(str::to_string));
        } else if prompt.trim().is_empty() {
            return Err(Failure::usage("an empty prompt; say what to paint between the quotes"));
        } else {
            prompts.push(prompt.clone());
        }
    }
    if prompts.is_empty() && !given.is_empty() {
        return Err(Failure::usage("no prompt on standard input; give one a line"));
    }
    Ok(prompts)
}

fn warn_of_long_prompts(painter: &Painter, subjects: &[Subject]) -> Result<(), Failure> {
    let prompts: Vec<String> = subjects.iter().map(Subject::label).collect();
    let truncated = painter.reader.truncated(&prompts, painter.config.text.max_tokens);
    let (truncated, most) = truncated.map_err(|error| Failure::Failed(error.to_string()))?;
    for (prompt, _) in prompts.iter().zip(&truncated).filter(|(_, truncated)| **truncated) {
        let (length, begin): (usize, String) = (prompt.chars().count(), prompt.chars().take(24).collect());
        output::note(&format!(
            "warning: the prompt '{begin}...' of {length} characters is longer than the model's {most} tokens: its end is ignored"
        ));
    }
    Ok(())
}

/// Pictures with their prompts; of a single prompt, without repeating it.
fn sheet_of(cells: &[(String, Picture)], number: u64, subjects: &[Subject]) -> Picture {
    if let [Subject::Any { .. }] = subjects {
        let pictures: Vec<Picture> = cells.iter().map(|(_, picture)| picture.clone()).collect();
        return sheet::grid(&pictures, (cells.len() as f64).sqrt().ceil() as usize);
    }
    if number == 1 {
        let columns = if cells.len() <= 4 { cells.len() } else { (cells.len() as f64).sqrt().ceil() as usize };
        return sheet::labelled(cells, columns.min(8));
    }
    let rows: Vec<(String, Vec<Picture>)> = cells
        .chunks(usize::try_from(number).unwrap_or(ON_SHEET))
        .zip(subjects)
        .map(|(cells, subject)| (subject.label(), cells.iter().map(|(_, picture)| picture.clone()).collect()))
        .collect();
    sheet::sheet(&rows, number.min(8) as usize, None)
}

/// A file name that tells what the picture shows and how to paint it again.
fn stem(prompt: &str, seed: u64, index: Option<u64>) -> String {
    let mut name = String::new();
    for c in prompt.chars() {
        if c.is_alphanumeric() {
            name.extend(c.to_lowercase());
        } else if !name.is_empty() && !name.ends_with('-') {
            name.push('-');
        }
    }
    let name: String = name.chars().take(IN_NAME).collect();
    let name = match name.trim_end_matches('-') {
        "" => "picture",
        name => name,
    };
    match index {
        Some(index) => format!("{name}-s{seed}-{:02}", index + 1),
        None => format!("{name}-s{seed}"),
    }
}

/// Writes a PNG under `stem`, or the next name that is free.
fn write_new(folder: &Path, stem: &str, picture: &Picture) -> Result<PathBuf, Failure> {
    let mut taken = 1;
    let path = loop {
        let name = if taken == 1 { format!("{stem}.png") } else { format!("{stem}_{taken}.png") };
        let path = folder.join(name);
        // Takes the name for us, even if another program wants it at this moment.
        match OpenOptions::new().write(true).create_new(true).open(&path) {
            Ok(_) => break path,
            Err(error) if error.kind() == ErrorKind::AlreadyExists => taken += 1,
            Err(error) => {
                let message = format!("cannot write {}: {error}; choose another folder with --out", path.display());
                return Err(Failure::Failed(message));
            }
        }
    };
    if let Err(error) = decode::write_png(&path, picture) {
        let _ = std::fs::remove_file(&path); // only a name without a picture
        return Err(error.into());
    }
    Ok(path)
}

/// The folder of a file.
pub fn parent(path: &Path) -> &Path {
    match path.parent() {
        Some(parent) if !parent.as_os_str().is_empty() => parent,
        _ => Path::new("."),
    }
}

/// Paints `prompts` as this command would with its default seed: a labelled picture of each.
pub fn paint_all(painter: &Painter, prompts: &[String]) -> Result<Vec<(String, Picture)>, Failure> {
    let noise = noise(1, "generate", 0, painter.config.network.noise());
    let mut seen = HashSet::new();
    let distinct = prompts.iter().filter(|prompt| seen.insert(prompt.as_str()));
    distinct.map(|prompt| Ok((prompt.clone(), paint(painter, prompt, &noise)?))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_say_what_is_in_the_file() {
        assert_eq!(stem("A red circle, on/blue!", 7, None), "a-red-circle-on-blue-s7");
        assert_eq!(stem("绿色圆形在黄色背景上", 1, Some(2)), "绿色圆形在黄色背景上-s1-03");
        assert_eq!(stem("../..", 1, None), "picture-s1");
        assert!(stem(&"星".repeat(500), 1, None).len() < 200);
    }
}
