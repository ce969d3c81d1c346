//! How many of Stacked-MNIST's 1,000 modes does a generator make (VEEGAN, 1705.07761, section 4.1; PacGAN, 1712.04086)?
//!
//! `cargo run --release --example stacked_modes -- MNIST_FOLDER MODEL.safetensors [SAMPLES]`
//!
//! Trains a small classifier on nine tenths of the digits, says how many of the rest it gets right, has it read the three
//! channels of 26,000 generated pictures, and prints the modes that occur and the divergence KL(generated || data), and how
//! much of it each channel's digits alone make: the rest are digits that keep company with each other.

use std::path::Path;

use burn::module::Module;
use burn::tensor::ops::PadMode;
use burn::tensor::{Device, Tensor, TensorData, activation};
use shenbi_data::mnist::Mnist;
use shenbi_data::{Source, convert, rng};
use shenbi_models::image::model::one_hot;
use shenbi_models::model::Model;
use shenbi_nn::optim::{AdamConfig, Optimizer};
use shenbi_nn::{Conv2d, Init, Linear, ops, weights};

const SIZE: usize = 32;
const BATCH: usize = 64;
const EPOCHS: usize = 12;
const RATE: f64 = 2e-3;
/// Digits are moved by up to so many pixels.
const SHIFT: usize = 2;

/// A picture of one channel to digits.
#[derive(Module, Debug)]
struct Classifier {
    convs: Vec<Conv2d>,
    hidden: Linear,
    digits: Linear,
}

impl Classifier {
    fn new(init: &mut Init) -> Self {
        let conv = |inputs, outputs, init: &mut Init| Conv2d::new(inputs, outputs, 4, 2, 1, 1.0, init);
        Self {
            convs: vec![conv(1, 32, init), conv(32, 64, init), conv(64, 128, init)],
            hidden: Linear::new(128 * 16, 128, 1.0, init),
            digits: Linear::new(128, 10, 1.0, init),
        }
    }

    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.convs.iter().fold(x, |x, conv| conv.forward_leaky(x, 0.1));
        self.digits.forward(ops::leaky_relu(self.hidden.forward(x.flatten(1, 3)), 0.1))
    }

    fn read(&self, pixels: Vec<f32>) -> Vec<usize> {
        let n = pixels.len() / (SIZE * SIZE);
        let x = Tensor::from_data(TensorData::new(pixels, [n, 1, SIZE, SIZE]), &Device::flex());
        let logits = weights::values(self.forward(x)).data;
        let best = |row: &[f32]| (0..10).max_by(|&a, &b| row[a].total_cmp(&row[b])).unwrap_or(0);
        logits.chunks_exact(10).map(best).collect()
    }
}

/// Pictures as floats, and their digits.
type Digits = (Vec<Vec<f32>>, Vec<usize>);

fn digits(folder: &Path) -> Result<Digits, Box<dyn std::error::Error>> {
    let mnist = Mnist::open(folder, [SIZE, SIZE], None)?;
    let (mut pictures, mut labels) = (Vec::new(), Vec::new());
    for index in 0..mnist.count() as u64 {
        pictures.push(convert::to_floats(&mnist.get(index)?.picture));
        labels.push(mnist.class(index).unwrap_or(0));
    }
    Ok((pictures, labels))
}

fn train(pictures: &[Vec<f32>], labels: &[usize]) -> Classifier {
    let device = Device::flex();
    let mut classifier = Classifier::new(&mut Init::new(1, "classifier", &device)).train();
    let mut adam = Optimizer::adam(AdamConfig { beta1: 0.9, beta2: 0.999, ..AdamConfig::default() });
    let steps = EPOCHS * pictures.len() / BATCH;
    for step in 0..steps {
        let mut draws = rng::stream(1, "digits", step as u64);
        let chosen: Vec<usize> = (0..BATCH).map(|_| rng::below(&mut draws, pictures.len() as u64) as usize).collect();
        let pixels = chosen.iter().flat_map(|i| pictures[*i].clone()).collect();
        let x = Tensor::<4>::from_data(TensorData::new(pixels, [BATCH, 1, SIZE, SIZE]), &device);
        let x = x.pad((SHIFT, SHIFT, SHIFT, SHIFT), PadMode::Constant(-1.0));
        let mut offset = || rng::below(&mut draws, 2 * SHIFT as u64 + 1) as usize;
        let (top, left) = (offset(), offset());
        let x = x.slice([0..BATCH, 0..1, top..top + SIZE, left..left + SIZE]).autodiff();
        let classes: Vec<usize> = chosen.iter().map(|i| labels[*i]).collect();
        let Some(target) = one_hot(&classes, 10, &device) else { break };
        let loss = (activation::log_softmax(classifier.forward(x), 1) * target).sum().div_scalar(-(BATCH as f64));
        let rate = RATE * 0.5 * (1.0 + (std::f64::consts::PI * step as f64 / steps as f64).cos());
        classifier = adam.step(classifier, &mut loss.backward(), |_| rate);
    }
    classifier.valid()
}

/// Modes that occur, and KL(generated || data) in nats. counts: of the 1,000 numbers; shares: of the digits in the data.
fn score(counts: &[usize], shares: &[f64]) -> (usize, f64) {
    let total: usize = counts.iter().sum();
    let divergence = counts.iter().enumerate().filter(|(_, count)| **count > 0).map(|(mode, count)| {
        let generated = *count as f64 / total as f64;
        let data = shares[mode / 100] * shares[mode / 10 % 10] * shares[mode % 10];
        generated * (generated / data).ln()
    });
    (counts.iter().filter(|count| **count > 0).count(), divergence.sum())
}

/// KL(generated || data) of the digits of one channel, which `counts` tells apart every `place` modes.
fn of_channel(counts: &[usize], shares: &[f64], place: usize) -> f64 {
    let mut digits = [0; 10];
    counts.iter().enumerate().for_each(|(mode, count)| digits[mode / place % 10] += count);
    let total: usize = digits.iter().sum();
    let of_digit = |(count, share): (usize, &f64)| {
        let generated = count as f64 / total as f64;
        if count > 0 { generated * (generated / share).ln() } else { 0.0 }
    };
    digits.into_iter().zip(shares).map(of_digit).sum()
}

fn main() -> Result<(), Box<dyn std::error::Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [folder, model, rest @ ..] = &arguments[..] else {
        return Err("expected: MNIST_FOLDER MODEL.safetensors [SAMPLES]".into());
    };
    let samples: usize = rest.first().map_or(Ok(26_000), |text| text.parse())?;
    let Model::Image(model) = Model::from_bytes(&std::fs::read(model)?, &Device::flex())? else {
        return Err("the model makes pictures of sentences, not digits".into());
    };
    let network = &model.config.network;
    if (network.size(), network.channels()) != (SIZE, 3) {
        return Err(format!("the model makes {0}x{0} pictures, expected {SIZE}x{SIZE} RGB", network.size()).into());
    }
    let (pictures, labels) = digits(Path::new(folder))?;
    let known = pictures.len() * 9 / 10;
    let classifier = train(&pictures[..known], &labels[..known]);
    let right = pictures[known..].chunks(500).flat_map(|chunk| classifier.read(chunk.concat()));
    let right = right.zip(&labels[known..]).filter(|(read, label)| read == *label).count();
    let rest = pictures.len() - known;
    println!("classifier: {:.2}% of {rest} digits it did not train on", 100.0 * right as f64 / rest as f64);

    let shares: Vec<f64> =
        (0..10).map(|d| labels.iter().filter(|l| **l == d).count() as f64 / labels.len() as f64).collect();
    let mut counts = vec![0; 1000];
    for first in (0..samples).step_by(200) {
        let n = 200.min(samples - first);
        let mut stream = rng::stream(1, "modes", first as u64);
        let noise = (0..n * network.noise()).map(|_| rng::normal(&mut stream)).collect();
        let read = classifier.read(weights::values(model.paint(noise, &vec![0; n])).data); // three digits a picture
        for digits in read.chunks_exact(3) {
            counts[digits[0] * 100 + digits[1] * 10 + digits[2]] += 1;
        }
    }
    let (modes, divergence) = score(&counts, &shares);
    let [red, green, blue] = [100, 10, 1].map(|place| of_channel(&counts, &shares, place));
    println!(
        "{samples} pictures: {modes} of 1000 modes, KL {divergence:.3} (by channel {red:.3}, {green:.3}, {blue:.3})"
    );
    Ok(())
}
