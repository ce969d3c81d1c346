//! Looking around in a tiny image GAN by class, one without classes, and a model that paints sentences.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use shenbi_data::{convert, sheet};
use tempfile::TempDir;

use crate::support::{discs, picture, run, run_with, trained};

const SMALL: &str = "--size 16 --set batch=8 --set hidden=8 --set noise=8 --threads 1 --kimg 0.04";

/// Runs by class (`class`) and without (`plain`), trained once for all tests: they may read them, not change them.
fn runs() -> &'static [PathBuf; 2] {
    static RUNS: OnceLock<(TempDir, [PathBuf; 2])> = OnceLock::new();
    let (_, runs) = RUNS.get_or_init(|| {
        let parent = tempfile::tempdir().unwrap();
        let folder = parent.path();
        discs(&folder.join("plain-data"), 9);
        fs::remove_file(folder.join("plain-data/metadata.jsonl")).unwrap();
        for i in 0..9 {
            let class = folder.join("class-data").join(["red disc", "绿盘", "blue"][i % 3]);
            fs::create_dir_all(&class).unwrap();
            let name = format!("{i}.png");
            fs::copy(folder.join("plain-data").join(&name), class.join(&name)).unwrap();
        }
        run(folder, &format!("train --recipe acgan {SMALL} --data class-data --out class")).good();
        run(folder, &format!("train --recipe dcgan {SMALL} --data plain-data --out plain")).good();
        let runs = ["class", "plain"].map(|name| folder.join(name));
        (parent, runs)
    });
    runs
}

fn class() -> String {
    runs()[0].display().to_string()
}

fn plain() -> String {
    runs()[1].display().to_string()
}

/// What `generate` makes.
fn generated(folder: &Path, args: &str) -> shenbi_data::Picture {
    run(folder, &format!("generate {args} --out one.png")).good();
    picture(&folder.join("one.png"))
}

#[test]
fn a_walk_begins_and_ends_at_its_seeds() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    let walk = format!("explore walk --model {} --seeds 3,1,8 --steps 4", plain());
    let ran = run(folder, &format!("{walk} --out deep/walk.gif")).good();
    assert_eq!(ran.paths(folder), [folder.join("deep/walk.gif")]);
    assert!(ran.err.is_empty(), "{}", ran.err);
    let bytes = fs::read(folder.join("deep/walk.gif")).unwrap();
    assert!(bytes.starts_with(b"GIF89a") && bytes.windows(8).any(|window| window == b"NETSCAPE"));
    let first = picture(&folder.join("deep/walk.gif"));
    assert_eq!((first.width, first.height), (128, 128));
    // GIF has 256 colours: nearly the picture of the first seed.
    let seed = generated(folder, &format!("--model {} --seed 3", plain()));
    let expected = sheet::alone(&seed).pixels;
    let found = shenbi_data::decode::with_channels(first, 3).unwrap().pixels;
    let off: u64 = found.iter().zip(&expected).map(|(a, b)| u64::from(a.abs_diff(*b))).sum();
    assert!(off < 4 * expected.len() as u64, "{off} over {}", expected.len());

    // A strip: a line a leg, with the pictures of its seeds at its ends.
    let json = run(folder, &format!("{walk} --closed --out walk.png --json")).good().json();
    assert_eq!((&json["pictures"], &json["interpolation"]), (&15.into(), &"slerp".into()));
    assert_eq!(json["seeds"], serde_json::json!([3, 1, 8]));
    let strip = picture(&folder.join("walk.png"));
    let [left, top] = [12, 12]; // around a sheet
    for (i, seed) in [(0, 3), (4, 1)] {
        let cell = sheet::alone(&generated(folder, &format!("--model {} --seed {seed}", plain())));
        let at = |x: usize, y: usize| ((top + y) * strip.width + left + i * 130 + x) * 3;
        for (y, row) in cell.pixels.chunks_exact(128 * 3).enumerate() {
            assert_eq!(row, &strip.pixels[at(0, y)..at(128, y)], "seed {seed}, row {y}");
        }
    }
    let frames =
        |args: &str| run(folder, &format!("{walk} {args} --out n.gif --json")).good().json()["pictures"].clone();
    assert_eq!([frames(""), frames("--closed"), frames("--lerp")], [9, 12, 9]);
    // Straight lines go elsewhere; what was there is replaced, and that is said.
    let ran = run(folder, &format!("{walk} --closed --lerp --out walk.png")).good();
    assert!(ran.err.contains("note: replaced walk.png"), "{}", ran.err);
    assert_ne!(picture(&folder.join("walk.png")), strip);
}

#[test]
fn seeds_are_those_of_generate() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    let ran =
        run_with(folder, &format!("explore seeds --model {} --from 7 -n 5 --out s.png --class", class()), &["绿盘"]);
    assert_eq!(ran.good().paths(folder), [folder.join("s.png")]);
    let cells: Vec<_> = (7..12)
        .map(|seed| (seed.to_string(), generated(folder, &format!("--model {} --class 绿盘 --seed {seed}", class()))))
        .collect();
    assert!(cells[0].1 != cells[1].1);
    assert_eq!(picture(&folder.join("s.png")), sheet::labelled(&cells, 3));

    // Without --class the first, and it says so; of sentences, the prompt.
    let ran = run(folder, &format!("explore seeds --model {} -n 2 --out s.png --json", class())).good();
    assert!(ran.err.contains("--class") && ran.json()["class"] == "blue", "{}", ran.err);
    let args = format!("explore seeds --model {} -n 4 --out s.png", trained().display());
    run_with(folder, &args, &["a red disc"]).good();
    let args = format!("explore walk --model {} --seeds 1,2 --steps 2 --out w.gif --json", trained().display());
    let json = run_with(folder, &args, &["a red disc"]).good().json();
    assert_eq!((&json["prompt"], &json["pictures"]), (&"a red disc".into(), &3.into()));
}

#[test]
fn directions_come_in_order_with_the_seed_in_the_middle() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    for (model, class) in [(class(), "--class blue"), (plain(), "")] {
        let directions = format!("explore directions --model {model} {class} --seed 4 -k 3 --reach 2 --json");
        let json = run(folder, &format!("{directions} --out d.png")).good().json();
        let found = json["directions"].as_array().unwrap();
        let gains: Vec<f64> = found.iter().map(|found| found["gain"].as_f64().unwrap()).collect();
        assert!(gains.len() == 3 && gains.windows(2).all(|pair| pair[0] >= pair[1]) && gains[2] > 0.0, "{gains:?}");
        let vector = |i: usize| found[i]["vector"].as_array().unwrap().iter().map(|x| x.as_f64().unwrap());
        for (i, j, expected) in [(0, 0, 1.0), (1, 1, 1.0), (0, 1, 0.0), (1, 2, 0.0)] {
            let dot: f64 = vector(i).zip(vector(j)).map(|(a, b)| a * b).sum();
            assert!((dot - expected).abs() < 1e-9, "{i}, {j}: {dot}");
        }
        let sheet = picture(&folder.join("d.png"));
        assert_eq!(sheet.width, 7 * 130 - 2 + 24);
        let middle = shenbi_data::sheet::alone(&generated(folder, &format!("--model {model} {class} --seed 4")));
        let start = (12 * sheet.width + 12 + 3 * 130) * 3;
        assert_eq!(sheet.pixels[start..start + 128 * 3], middle.pixels[..128 * 3]);
    }
    run(folder, &format!("explore directions --model {} -k 9 --out d.png", plain())).bad(2, &["-k 9", "8 numbers"]);
}

#[test]
fn a_picture_of_the_model_is_found_again() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    let own = generated(folder, &format!("--model {} --class blue --seed 12", class()));
    let project = format!("explore project one.png --model {} --out p.png", class());
    let json = run(folder, &format!("{project} --class blue --steps 60 --json")).good().json();
    let (start, error) = (json["start_error"].as_f64().unwrap(), json["error"].as_f64().unwrap());
    assert!(error < start, "{error}, {start}");
    assert_eq!((json["noise"].as_array().unwrap().len(), &json["class"]), (8, &"blue".into()));
    // The target, the start and five looks on the way.
    let found = picture(&folder.join("p.png"));
    assert_eq!((own.channels, found.width), (4, 7 * (192 + 12) + 12));
    assert!(convert::to_floats(&own).iter().all(|x| x.is_finite()));

    // A larger picture of another shape and without alpha; of any class.
    let other = shenbi_data::Picture { width: 40, height: 30, channels: 3, pixels: vec![90; 3600] };
    shenbi_data::decode::write_png(folder.join("one.png"), &other).unwrap();
    let ran = run(folder, &format!("{project} --steps 1")).good();
    assert!(
        ran.out.starts_with("error ") && ran.out.contains("of 255, from") && ran.out.contains("class '"),
        "{}",
        ran.out
    );
    assert!(ran.out.trim_end().ends_with("p.png") && ran.err.contains("best of 64"), "{} {}", ran.out, ran.err);
    assert_eq!(picture(&folder.join("p.png")).width, 3 * (192 + 12) + 12);
}

#[test]
fn what_cannot_be_explored_says_why() {
    let parent = tempfile::tempdir().unwrap();
    let folder = parent.path();
    fs::write(folder.join("words.png"), "no picture").unwrap();
    generated(folder, &format!("--model {}", plain()));
    let (class, plain) = (class(), plain());
    for (args, words) in [
        (format!("walk --model {plain} --out w.mp4"), &["--out w.mp4", ".gif or .png"][..]),
        (format!("walk --model {plain} --out walk"), &["--out walk", ".gif or .png"]),
        (format!("seeds --model {plain} --out s.gif"), &["--out s.gif", ".png"]),
        (format!("walk --model {plain} --seeds 1,two --out w.gif"), &["--seeds", "two", "1,2,3"]),
        (format!("walk --model {plain} --seeds 1 --out w.gif"), &["--seeds", "at least two"]),
        (format!("walk --model {plain} --steps 0 --out w.gif"), &["--steps", "1..=1000"]),
        (format!("walk --model {plain} --seeds 1,2,3,4 --steps 1000 --out w.gif"), &["--steps 1000", "3000 pictures"]),
        (format!("walk --model {class} --class bleu --out w.gif"), &["--class bleu", "did you mean 'blue'"]),
        (format!("walk --model {plain} --class blue --out w.gif"), &["without classes"]),
        (format!("walk --model {plain} disc --out w.gif"), &["'disc'", "understands no sentences"]),
        ("walk --out w.gif".to_string(), &["no prompt"]),
        (format!("seeds --model {plain} -n 0 --out s.png"), &["--number", "1..=1024"]),
        (format!("seeds --model {plain} --from 18446744073709551615 --out s.png"), &["--from", "64 seeds"]),
        (format!("directions --model {plain} -k 0 --out d.png"), &["--count", "1..=256"]),
        (format!("directions --model {plain} --reach far --out d.png"), &["--reach", "0.01"]),
        (format!("directions --model {class} --class bleu --out d.png"), &["--class bleu", "'blue'"]),
        (format!("project one.png --model {plain} --steps 0 --out p.png"), &["--steps"]),
        (format!("project one.png --model {class} --class bleu --out p.png"), &["--class bleu", "'blue'"]),
        (format!("project --model {plain} --out p.png"), &["PICTURE"]),
        (format!("project one.png --model {plain}"), &["--out"]),
    ] {
        run(folder, &format!("explore {args}")).bad(2, words);
    }
    for (args, words) in [
        ("directions --out d.png".to_string(), &["--model builtin", "paints sentences", "r3gan"][..]),
        ("project one.png --out p.png".to_string(), &["--model builtin", "paints sentences"]),
        (format!("project words.png --model {plain} --out p.png"), &["words.png", "not a PNG"]),
        (format!("project absent.png --model {plain} --out p.png"), &["absent.png", "check the path"]),
        ("seeds --model absent --out s.png".to_string(), &["absent"]),
        (format!("seeds --model {plain} --out words.png/s.png"), &["--out words.png/s.png", "choose a folder"]),
    ] {
        run(folder, &format!("explore {args}")).bad(1, words);
    }
    assert_eq!(fs::read_dir(folder).unwrap().count(), 2, "nothing was written");
    for command in ["", " walk", " seeds", " directions", " project"] {
        let ran = run(folder, &format!("explore{command} --help")).good();
        assert!(ran.out.contains("Examples:\n  shenbi explore"), "{command}: {}", ran.out);
    }
}
