//! Contact sheets of the built-in scenes, and how fast they are drawn.
//!
//! `cargo run --release -p shenbi-data --example scenes_sheet -- OUT_DIR [PIXELS] [ENLARGE]` writes one PNG a level,
//! 8 x 6 scenes each, and prints their captions. `-- --bench` measures pictures per second on one core.

use std::error::Error;
use std::path::Path;
use std::time::Instant;

use shenbi_data::scenes::{Colour, Level, Scene, Scenes, ScenesOptions, Shape, Split, showcase};
use shenbi_data::{Picture, Source, rng};

const LEVELS: [(Level, &str); 4] =
    [(Level::One, "one"), (Level::Two, "two"), (Level::Many, "many"), (Level::Mixed, "mixed")];

fn main() -> Result<(), Box<dyn Error>> {
    let args: Vec<String> = std::env::args().skip(1).collect();
    if args.first().is_some_and(|a| a == "--bench") {
        return bench();
    }
    let out = args.first().map_or("scenes", String::as_str);
    let side: usize = args.get(1).map_or(Ok(64), |a| a.parse())?;
    let enlarge: usize = args.get(2).map_or(Ok(2), |a| a.parse())?;
    std::fs::create_dir_all(out)?;
    for (level, name) in LEVELS {
        let options = ScenesOptions { size: [side, side], level, seed: 1, split: Split::Train };
        let scenes = Scenes::new(options)?;
        let mut pictures = Vec::new();
        for index in 0..48 {
            let example = scenes.get(index)?;
            println!("{name} {index:2}: {}", example.captions.join(" | "));
            pictures.push(example.picture);
        }
        sheet(&pictures, 8, enlarge, &Path::new(out).join(format!("{name}-{side}.png")))?;
        let shown: Vec<Picture> = showcase(level)
            .iter()
            .map(|(prompt, scene)| {
                println!("{name} showcase: {prompt}");
                scene.draw([side, side], &mut rng::stream(1, "showcase", 0))
            })
            .collect();
        sheet(&shown, 6, enlarge, &Path::new(out).join(format!("{name}-{side}-showcase.png")))?;
    }
    // Every shape in every colour.
    let grounds = [Colour::White, Colour::Blue, Colour::Yellow, Colour::Green, Colour::Pink];
    let mut pictures = Vec::new();
    for (row, colour) in Colour::ALL.into_iter().enumerate() {
        for (column, shape) in Shape::ALL.into_iter().enumerate() {
            let ground = grounds.iter().cycle().skip(row + column).find(|&&g| g != colour).copied();
            let scene = Scene::one(colour, shape, ground.unwrap_or(Colour::White));
            pictures.push(scene.draw([side, side], &mut rng::stream(1, "all", pictures.len() as u64)));
        }
    }
    sheet(&pictures, 12, enlarge, &Path::new(out).join(format!("all-{side}.png")))
}

/// Writes the pictures in rows of `columns`, every pixel `enlarge` times each way, with gaps between them.
fn sheet(pictures: &[Picture], columns: usize, enlarge: usize, path: &Path) -> Result<(), Box<dyn Error>> {
    let Some(first) = pictures.first() else { return Ok(()) };
    let gap = 4;
    let (cell_w, cell_h) = (first.width * enlarge + gap, first.height * enlarge + gap);
    let rows = pictures.len().div_ceil(columns);
    let size = ((columns * cell_w + gap) as u32, (rows * cell_h + gap) as u32);
    let mut out = image::RgbImage::from_pixel(size.0, size.1, image::Rgb([255, 255, 255]));
    for (i, picture) in pictures.iter().enumerate() {
        let (left, top) = (gap + (i % columns) * cell_w, gap + (i / columns) * cell_h);
        for y in 0..picture.height * enlarge {
            for x in 0..picture.width * enlarge {
                let at = ((y / enlarge) * picture.width + x / enlarge) * 3;
                let pixel = [picture.pixels[at], picture.pixels[at + 1], picture.pixels[at + 2]];
                out.put_pixel((left + x) as u32, (top + y) as u32, image::Rgb(pixel));
            }
        }
    }
    out.save(path)?;
    Ok(())
}

/// Pictures (with captions) per second on one core.
fn bench() -> Result<(), Box<dyn Error>> {
    for side in [32, 64, 128, 256] {
        for (level, name) in LEVELS {
            let scenes = Scenes::new(ScenesOptions { size: [side, side], level, ..ScenesOptions::default() })?;
            scenes.get(0)?;
            let start = Instant::now();
            let mut count = 0;
            while start.elapsed().as_secs_f64() < 0.5 {
                for _ in 0..32 {
                    std::hint::black_box(scenes.get(count)?);
                    count += 1;
                }
            }
            println!("{side:3} px, {name:5}: {:8.0} pictures/s", count as f64 / start.elapsed().as_secs_f64());
        }
    }
    Ok(())
}
