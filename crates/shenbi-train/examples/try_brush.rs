//! Trains `brush` for ablations, without a run folder: `try_brush OUT.png key=value...`
use burn::tensor::Device;
use shenbi_data::{
    Source,
    loader::{Loader, LoaderOptions},
    scenes::*,
};
use shenbi_models::encoder::tokenizer::Tokenizer;
use shenbi_nn::weights::values;
use shenbi_train::{config::BrushRecipe, text_to_image::*};
use std::sync::Arc;
use std::time::Instant;

fn main() {
    let mut args = std::env::args().skip(1);
    let out = args.next().unwrap();
    let mut recipe = BrushRecipe::default();
    for a in args {
        if a == "bf16" {
            shenbi_nn::kernels::set_precision(shenbi_nn::kernels::Precision::Bf16);
            continue;
        }
        recipe.set_text(&a).unwrap();
    }
    let level = match recipe.level.as_str() {
        "one" => Level::One,
        "two" => Level::Two,
        "many" => Level::Many,
        _ => Level::Mixed,
    };
    let size = [recipe.height, recipe.width];
    let scenes: Arc<dyn Source> =
        Arc::new(Scenes::new(ScenesOptions { size, level, seed: recipe.seed, split: Split::Train }).unwrap());
    let captions: Vec<String> = (0..4000).flat_map(|i| scenes.captions(i).unwrap()).collect();
    let tok = Tokenizer::train(captions.into_iter(), recipe.vocabulary, recipe.max_tokens).unwrap();
    println!("vocabulary {}", tok.vocabulary());
    let device = Device::flex();
    let mut t = Trainer::new(&recipe, 3, tok, &device).unwrap();
    let mut loader = Loader::new(
        scenes.clone(),
        LoaderOptions { batch: recipe.batch, seed: recipe.seed, flip: false, threads: 1, start: 0, cache_bytes: 0 },
    )
    .unwrap();
    let start = Instant::now();
    let budget = recipe.minutes * 60.0;
    let mut last = Instant::now();
    let mut n = 0;
    loop {
        let e = if recipe.kimg > 0.0 {
            t.images() as f64 / 1e3 / recipe.kimg
        } else {
            start.elapsed().as_secs_f64() / budget
        };
        if e >= 1.0 {
            break;
        }
        let (phase, p) = if e < recipe.pretrain {
            (Phase::Contrast, e / recipe.pretrain)
        } else {
            (Phase::Gan, (e - recipe.pretrain) / (1.0 - recipe.pretrain))
        };
        let b = loader.next_batch().unwrap();
        let l = t.step(&b, phase, p).unwrap();
        n += 1;
        if last.elapsed().as_secs_f64() > 10.0 {
            println!(
                "{:5.0}s {:?} steps {} {:.1} img/s {}",
                start.elapsed().as_secs_f64(),
                phase,
                t.contrast_steps + t.gan_steps,
                n as f64 * recipe.batch as f64 / last.elapsed().as_secs_f64(),
                serde_json::to_string(&l).unwrap()
            );
            last = Instant::now();
            n = 0;
        }
    }
    println!("kimg {:.1} gan {:.1}", t.images() as f64 / 1e3, (t.gan_steps * recipe.batch as u64) as f64 / 1e3);
    let p = t.painter();
    std::fs::write(format!("{out}.safetensors"), p.to_bytes(true).unwrap()).unwrap();
    let prompts: Vec<String> =
        (0..8).map(|i| scenes.captions(1000000 + i).unwrap()[(i % 2) as usize].clone()).collect();
    let many: Vec<String> = prompts.iter().flat_map(|p| std::iter::repeat_n(p.clone(), 6)).collect();
    println!("{prompts:#?}");
    let z = values(noise(7, "sample", 0, many.len(), recipe.noise, &device)).data;
    let x = values(p.paint(&many, z).unwrap()).data;
    let (h, w) = (recipe.height, recipe.width);
    let pics: Vec<_> = x.chunks(3 * h * w).map(|c| shenbi_data::convert::from_floats(c, 3, h, w)).collect();
    // simple grid: rows = prompts
    let (cols, rows) = (6, prompts.len());
    let k = 128 / h.min(128);
    let mut g = vec![255u8; (rows * h * k) * (cols * w * k) * 3];
    for (i, pic) in pics.iter().enumerate() {
        let (r, c) = (i / cols, i % cols);
        for y in 0..h * k {
            for xx in 0..w * k {
                for ch in 0..3 {
                    g[((r * h * k + y) * cols * w * k + c * w * k + xx) * 3 + ch] =
                        pic.pixels[((y / k) * w + xx / k) * 3 + ch];
                }
            }
        }
    }
    shenbi_data::decode::write_png(
        std::path::Path::new(&out),
        &shenbi_data::Picture { width: cols * w * k, height: rows * h * k, channels: 3, pixels: g },
    )
    .unwrap();
}
