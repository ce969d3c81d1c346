//! Does a GAN find every mode? 25 Gaussians on a grid or 8 on a ring (VEEGAN, 1705.07761; PacGAN, 1712.04086, section
//! 4.1), learnt by small fully connected networks with the losses and the tangent pass that the recipes use.
//!
//! `cargo run --release --example gaussians -- [grid|ring] [loss] [gamma] [seconds] [seeds]`
//!
//! Prints, for each seed, the modes that are hit and the share of samples within three standard deviations of one.

use std::time::Instant;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use shenbi_nn::optim::{AdamConfig, Optimizer};
use shenbi_nn::tangent::{self, Penalty};
use shenbi_nn::{Init, Linear, ema, ops, weights};
use shenbi_train::losses::Adversarial;
use shenbi_train::schedule::cosine;
use shenbi_train::trainer::noise;

const BATCH: usize = 256;
/// As many as the plane has: with eight, modes in the middle are lost as the blur goes.
const NOISE: usize = 2;
const HIDDEN: usize = 64;
const LAYERS: usize = 3;
const RATE: f64 = 2e-3;
/// How much steeper than He's the first layers are (G's, D's): their kinks lie all over the plane from the start.
const STEEPNESS: [f32; 2] = [16.0, 4.0];
/// The blur: normal noise on real and generated points alike, of this deviation at the start and at [`BLUR_END`] of the
/// run, and none after it (annealed instance noise, 1610.04490). It begins at about half the distance of two modes.
const BLUR: [f64; 2] = [0.25, 0.01];
const BLUR_END: f64 = 0.6;
/// The penalty at the end, as a share of that at the start.
const LAST_PENALTY: f64 = 0.01;
const SLOPE: f64 = 0.2;
const SAMPLES: usize = 2500;

/// Layers with LeakyReLU between them.
#[derive(Module, Debug)]
struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    fn new(inputs: usize, outputs: usize, steepness: f32, init: &mut Init) -> Self {
        let sizes: Vec<usize> = std::iter::once(inputs).chain([HIDDEN; LAYERS]).chain([outputs]).collect();
        let mut layers: Vec<_> = sizes.windows(2).map(|pair| Linear::new(pair[0], pair[1], 1.0, init)).collect();
        layers[0] = Linear::new(inputs, HIDDEN, steepness, init);
        layers[0].bias = Some(init.normal([HIDDEN], steepness));
        Self { layers }
    }

    fn forward(&self, x: Tensor<2>) -> Tensor<2> {
        self.layers.iter().enumerate().fold(x, |x, (i, layer)| {
            let y = layer.forward(x);
            if i == LAYERS { y } else { ops::leaky_relu(y, SLOPE) }
        })
    }

    fn forward_tangent(&self, x: Tensor<2>, dx: Tensor<2>) -> (Tensor<2>, Tensor<2>) {
        self.layers.iter().enumerate().fold((x, dx), |(x, dx), (i, layer)| {
            let (y, dy) = layer.forward_tangent(x, dx);
            if i == LAYERS {
                return (y, dy);
            }
            let y = ops::leaky_relu(y, SLOPE);
            (y.clone(), ops::leaky_relu_tangent(y, dy, SLOPE))
        })
    }

    fn logit(&self, x: Tensor<2>) -> Tensor<1> {
        let [b, _] = x.dims();
        self.forward(x).reshape([b])
    }
}

/// A mixture of Gaussians in the plane, scaled to a variance of about one.
struct Mixture {
    centres: Vec<[f32; 2]>,
    deviation: f32,
}

impl Mixture {
    fn named(name: &str) -> Option<Self> {
        match name {
            "grid" => {
                let centres = (0..25).map(|i| [(i % 5) as f32 - 2.0, (i / 5) as f32 - 2.0].map(|x| x / 1.414));
                Some(Self { centres: centres.collect(), deviation: 0.025 / 1.414 })
            }
            "ring" => {
                let centres = (0..8).map(|i| (i as f32 * std::f32::consts::TAU / 8.0).sin_cos());
                Some(Self { centres: centres.map(|(y, x)| [1.414 * x, 1.414 * y]).collect(), deviation: 0.01414 })
            }
            _ => None,
        }
    }

    fn draw(&self, seed: u64, step: u64, device: &Device) -> Tensor<2> {
        let mut stream = shenbi_data::rng::stream(seed, "mixture", step);
        let mut values = Vec::with_capacity(2 * BATCH);
        for _ in 0..BATCH {
            let centre = self.centres[shenbi_data::rng::below(&mut stream, self.centres.len() as u64) as usize];
            values.extend(centre.map(|x| x + self.deviation * shenbi_data::rng::normal(&mut stream)));
        }
        Tensor::from_data(TensorData::new(values, [BATCH, 2]), device)
    }

    /// The number of modes that samples come within three deviations of, and the share of samples that do.
    fn score(&self, samples: &[f32]) -> (usize, f64) {
        let mut hits = vec![0usize; self.centres.len()];
        for sample in samples.chunks_exact(2) {
            let close = |c: &[f32; 2]| (sample[0] - c[0]).hypot(sample[1] - c[1]) <= 3.0 * self.deviation;
            if let Some(mode) = self.centres.iter().position(close) {
                hits[mode] += 1;
            }
        }
        let found = hits.iter().sum::<usize>() as f64;
        (hits.iter().filter(|hits| **hits > 0).count(), found / (samples.len() / 2) as f64)
    }
}

/// Modes found and the share of good samples, after so many seconds.
fn train(mixture: &Mixture, loss: Adversarial, gamma: f64, seconds: f64, seed: u64) -> (usize, f64, u64) {
    let device = Device::flex();
    let init = |name: &str| Init::new(seed, name, &device);
    let [steep_g, steep_d] = STEEPNESS;
    let mut generator = Mlp::new(NOISE, 2, steep_g, &mut init("generator")).train();
    let mut discriminator = Mlp::new(2, 1, steep_d, &mut init("discriminator")).train();
    let mut average = generator.valid();
    let config = AdamConfig { beta1: 0.5, beta2: 0.99, ..AdamConfig::default() };
    let (mut adam_g, mut adam_d) = (Optimizer::adam(config), Optimizer::adam(config));
    let (start, mut step) = (Instant::now(), 0u64);
    loop {
        let progress = start.elapsed().as_secs_f64() / seconds;
        if progress >= 1.0 {
            break;
        }
        let rate = cosine(step, 100, progress, RATE, 0.01);
        let blur = |name: &str| {
            let [first, last] = BLUR;
            let share = progress / BLUR_END;
            let deviation = if share < 1.0 { first * (last / first).powf(share) } else { 0.0 };
            noise(seed, name, step, BATCH, 2, &device).mul_scalar(deviation)
        };
        let real = mixture.draw(seed, step, &device) + blur("real");
        let fake = generator.forward(noise(seed, "noise", step, BATCH, NOISE, &device)) + blur("fake").autodiff();
        // Real points and generated ones go through D together.
        let both = Tensor::cat(vec![real, fake.clone().without_autodiff()], 0);
        let logits = discriminator.logit(both.clone().autodiff());
        let real_logit = logits.clone().narrow(0, 0, BATCH);
        let mut d = loss.discriminator(real_logit.clone(), logits.narrow(0, BATCH, BATCH));
        if gamma > 0.0 {
            // A mean over both sets: R1 + R2 is twice that.
            d = d + penalty(&discriminator, both, 2.0 * gamma * LAST_PENALTY.powf(progress));
        }
        let mut grads = d.backward();
        discriminator = adam_d.step(discriminator, &mut grads, |_| rate);
        let g = loss.generator(real_logit.without_autodiff(), discriminator.valid().logit(fake));
        let mut grads = g.backward();
        generator = adam_g.step(generator, &mut grads, |_| rate);
        step += 1;
        average = ema::update(average, &generator, ema::decay(1.0, 200.0f64.min(0.05 * step as f64)));
    }
    let samples = average.forward(noise(seed, "samples", 0, SAMPLES, NOISE, &device));
    let (modes, good) = mixture.score(&weights::values(samples).data);
    (modes, good, step)
}

/// (γ/2) E‖∇D‖² at `x`, by the tangent pass.
fn penalty(discriminator: &Mlp, x: Tensor<2>, gamma: f64) -> Tensor<1> {
    let input = x.clone().autodiff().require_grad();
    let grads = discriminator.valid().logit(input.clone()).sum().backward();
    let Some(g) = input.grad(&grads) else { return Tensor::zeros([1], &x.device()) };
    let v = tangent::scale_examples(g.clone(), Penalty::R1 { gamma }.direction(tangent::squared_norm(&g)));
    discriminator.forward_tangent(x.autodiff(), v.autodiff()).1.mean()
}

fn main() -> Result<(), String> {
    // Networks this small are faster on one core than handed from core to core.
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global().map_err(|e| e.to_string())?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize, default: &str| arguments.get(i).map_or_else(|| default.to_string(), String::clone);
    let number = |i: usize, default: &str| {
        let text = argument(i, default);
        text.parse::<f64>().map_err(|_| format!("'{text}': expected a number"))
    };
    let name = argument(0, "grid");
    let mixture = Mixture::named(&name).ok_or_else(|| format!("'{name}': expected grid or ring"))?;
    let loss = argument(1, "relativistic");
    let loss: Adversarial =
        serde_json::from_value(loss.as_str().into()).map_err(|error| format!("loss '{loss}': {error}"))?;
    let (gamma, seconds, seeds) = (number(2, "0.001")?, number(3, "120")?, number(4, "5")? as u64);
    for seed in 1..=seeds {
        let (modes, good, steps) = train(&mixture, loss, gamma, seconds, seed);
        let all = mixture.centres.len();
        println!(
            "{name} {loss:?} gamma {gamma} seed {seed}: {modes}/{all} modes, {:.1}% good, {steps} steps",
            100.0 * good
        );
    }
    Ok(())
}
