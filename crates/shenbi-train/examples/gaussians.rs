//! Does a GAN find every mode? 25 Gaussians on a grid or 8 on a ring (VEEGAN, 1705.07761; PacGAN, 1712.04086, section
//! 4.1), learnt by small fully connected networks with the losses and the tangent pass that the recipes use.
//!
//! `cargo run --release --example gaussians -- [grid|ring] [relativistic|vanilla] [steps] [seeds] [plot.png]`
//!
//! Prints, for each seed, the modes that are hit and the share of samples within three standard deviations of one; the
//! plot shows each seed's samples over the modes. `relativistic` is R3GAN's loss with R1 and R2 and a blur that fades;
//! `vanilla` is the GAN of 2014 with the same networks and noise.
//!
//! The noise is a learned mixture of Gaussians (DeLiGAN, 1706.02071): a continuous map of connected noise cannot leave
//! the modes without lines of samples between them.

use std::time::Instant;

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData};
use shenbi_data::{Picture, rng};
use shenbi_nn::optim::{AdamConfig, Optimizer};
use shenbi_nn::tangent::{self, Penalty};
use shenbi_nn::{Init, Linear, ema, ops, weights};
use shenbi_train::losses::Adversarial;
use shenbi_train::schedule::cosine;
use shenbi_train::trainer::noise;

const BATCH: usize = 256;
/// Gaussians that the noise is a mixture of, for either problem: more than there are modes, and not their number.
const COMPONENTS: usize = 256;
const NOISE: usize = 16;
/// The deviation of each at the start; their centres are drawn with a deviation of one.
const SPREAD: f32 = 0.2;
const HIDDEN: usize = 64;
const LAYERS: usize = 3;
const RATE: f64 = 2e-3;
/// How much steeper than He's D's first layer is: its kinks lie all over the plane from the start.
const STEEPNESS: f32 = 4.0;
const SLOPE: f64 = 0.2;
const SAMPLES: usize = 2500;
/// A plot's side in pixels, and the side of the plane that it shows.
const PLOT: (usize, f32) = (200, 4.0);

/// How the two networks are trained.
#[derive(Clone, Copy)]
struct Method {
    loss: Adversarial,
    /// The weight of R1 and of R2 at the start, and at the end (geometric in between).
    gamma: [f64; 2],
    /// Normal noise on real and generated points alike, of this deviation at the start and at [`BLUR_END`] of the run, and
    /// none after it (annealed instance noise, 1610.04490).
    blur: [f64; 2],
}

const BLUR_END: f64 = 0.6;

impl Method {
    fn named(name: &str) -> Option<Self> {
        match name {
            // The blur begins at about half the distance of two modes.
            "relativistic" => Some(Self { loss: Adversarial::Relativistic, gamma: [1e-3, 1e-5], blur: [0.25, 0.01] }),
            "vanilla" => Some(Self { loss: Adversarial::NonSaturating, gamma: [0.0; 2], blur: [0.0; 2] }),
            _ => None,
        }
    }
}

/// Layers with LeakyReLU between them.
#[derive(Module, Debug)]
struct Mlp {
    layers: Vec<Linear>,
}

impl Mlp {
    fn new(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        let sizes: Vec<usize> = std::iter::once(inputs).chain([HIDDEN; LAYERS]).chain([outputs]).collect();
        Self { layers: sizes.windows(2).map(|pair| Linear::new(pair[0], pair[1], 1.0, init)).collect() }
    }

    /// With a steep first layer.
    fn steep(inputs: usize, outputs: usize, init: &mut Init) -> Self {
        let mut mlp = Self::new(inputs, outputs, init);
        mlp.layers[0] = Linear::new(inputs, HIDDEN, STEEPNESS, init);
        mlp.layers[0].bias = Some(init.normal([HIDDEN], STEEPNESS));
        mlp
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

/// Noise of a learned mixture, and the network that maps it to the plane.
#[derive(Module, Debug)]
struct Generator {
    centres: Param<Tensor<2>>,
    spreads: Param<Tensor<2>>,
    mlp: Mlp,
}

impl Generator {
    fn new(init: &mut Init) -> Self {
        Self {
            centres: init.normal([COMPONENTS, NOISE], 1.0),
            spreads: init.constant([COMPONENTS, NOISE], SPREAD),
            mlp: Mlp::new(NOISE, 2, init),
        }
    }

    /// `n` points, `[n, 2]`.
    fn draw(&self, seed: u64, name: &str, step: u64, n: usize, device: &Device) -> Tensor<2> {
        let mut stream = rng::stream(seed, &format!("{name} components"), step);
        let of: Vec<i32> = (0..n).map(|_| rng::below(&mut stream, COMPONENTS as u64) as i32).collect();
        let of = Tensor::<1, Int>::from_data(TensorData::from(&of[..]), device);
        let normal = noise(seed, name, step, n, NOISE, device);
        self.mlp.forward(self.centres.val().select(0, of.clone()) + self.spreads.val().select(0, of) * normal)
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
        let mut stream = rng::stream(seed, "mixture", step);
        let mut values = Vec::with_capacity(2 * BATCH);
        for _ in 0..BATCH {
            let centre = self.centres[rng::below(&mut stream, self.centres.len() as u64) as usize];
            values.extend(centre.map(|x| x + self.deviation * rng::normal(&mut stream)));
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

/// Samples of the averaged generator after so many steps, two numbers each.
fn train(mixture: &Mixture, method: Method, steps: u64, seed: u64) -> Vec<f32> {
    let device = Device::flex();
    let init = |name: &str| Init::new(seed, name, &device);
    let mut generator = Generator::new(&mut init("generator")).train();
    let mut discriminator = Mlp::steep(2, 1, &mut init("discriminator")).train();
    let mut average = generator.valid();
    let config = AdamConfig { beta1: 0.5, beta2: 0.99, ..AdamConfig::default() };
    let (mut adam_g, mut adam_d) = (Optimizer::adam(config), Optimizer::adam(config));
    for step in 0..steps {
        let progress = step as f64 / steps as f64;
        let rate = cosine(step, 100, progress, RATE, 0.01);
        let between =
            |[first, last]: [f64; 2], share: f64| if first > 0.0 { first * (last / first).powf(share) } else { 0.0 };
        let blur = |name: &str| {
            let deviation = if progress < BLUR_END { between(method.blur, progress / BLUR_END) } else { 0.0 };
            noise(seed, name, step, BATCH, 2, &device).mul_scalar(deviation)
        };
        let real = mixture.draw(seed, step, &device) + blur("real");
        let fake = generator.draw(seed, "noise", step, BATCH, &device) + blur("fake").autodiff();
        // Real points and generated ones go through D together.
        let both = Tensor::cat(vec![real, fake.clone().without_autodiff()], 0);
        let logits = discriminator.logit(both.clone().autodiff());
        let real_logit = logits.clone().narrow(0, 0, BATCH);
        let mut d = method.loss.discriminator(real_logit.clone(), logits.narrow(0, BATCH, BATCH));
        let gamma = between(method.gamma, progress);
        if gamma > 0.0 {
            // A mean over both sets: R1 + R2 is twice that.
            d = d + penalty(&discriminator, both, 2.0 * gamma);
        }
        let mut grads = d.backward();
        discriminator = adam_d.step(discriminator, &mut grads, |_| rate);
        let g = method.loss.generator(real_logit.without_autodiff(), discriminator.valid().logit(fake));
        let mut grads = g.backward();
        generator = adam_g.step(generator, &mut grads, |_| rate);
        average = ema::update(average, &generator, ema::decay(1.0, 200.0f64.min(0.05 * (step + 1) as f64)));
    }
    weights::values(average.draw(seed, "samples", 0, SAMPLES, &device)).data
}

/// (γ/2) E‖∇D‖² at `x`, by the tangent pass.
fn penalty(discriminator: &Mlp, x: Tensor<2>, gamma: f64) -> Tensor<1> {
    let input = x.clone().autodiff().require_grad();
    let grads = discriminator.valid().logit(input.clone()).sum().backward();
    let Some(g) = input.grad(&grads) else { return Tensor::zeros([1], &x.device()) };
    let v = tangent::scale_examples(g.clone(), Penalty::R1 { gamma }.direction(tangent::squared_norm(&g)));
    discriminator.forward_tangent(x.autodiff(), v.autodiff()).1.mean()
}

/// Each seed's samples (black) over the modes' three deviations (red), side by side.
fn plot(mixture: &Mixture, seeds: &[Vec<f32>]) -> Picture {
    let (side, plane) = PLOT;
    let width = side * seeds.len();
    let mut pixels = vec![255u8; width * side * 3];
    let to_pixel = |x: f32| ((x / plane + 0.5) * side as f32).floor();
    let mut dot = |seed: usize, [x, y]: [f32; 2], colour: [u8; 3]| {
        let (x, y) = (to_pixel(x), to_pixel(-y));
        if (0.0..side as f32).contains(&x) && (0.0..side as f32).contains(&y) {
            let at = 3 * (y as usize * width + seed * side + x as usize);
            pixels[at..at + 3].copy_from_slice(&colour);
        }
    };
    for (seed, samples) in seeds.iter().enumerate() {
        for centre in &mixture.centres {
            for i in 0..64 {
                let (sin, cos) = (i as f32 * std::f32::consts::TAU / 64.0).sin_cos();
                let ring = [cos, sin].map(|x| 3.0 * mixture.deviation * x);
                dot(seed, [centre[0] + ring[0], centre[1] + ring[1]], [255, 120, 120]);
            }
        }
        samples.chunks_exact(2).for_each(|sample| dot(seed, [sample[0], sample[1]], [0; 3]));
    }
    Picture { width, height: side, channels: 3, pixels }
}

fn main() -> Result<(), String> {
    // Networks this small are faster on one core than handed from core to core.
    rayon::ThreadPoolBuilder::new().num_threads(1).use_current_thread().build_global().map_err(|e| e.to_string())?;
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let argument = |i: usize, default: &str| arguments.get(i).map_or_else(|| default.to_string(), String::clone);
    let number = |i: usize, default: &str| {
        let text = argument(i, default);
        text.parse::<u64>().map_err(|_| format!("'{text}': expected a number"))
    };
    let (name, method) = (argument(0, "grid"), argument(1, "relativistic"));
    let mixture = Mixture::named(&name).ok_or_else(|| format!("'{name}': expected grid or ring"))?;
    let training = Method::named(&method).ok_or_else(|| format!("'{method}': expected relativistic or vanilla"))?;
    let (steps, seeds) = (number(2, "4000")?, number(3, "5")?);
    let mut all = Vec::new();
    for seed in 1..=seeds {
        let start = Instant::now();
        let samples = train(&mixture, training, steps, seed);
        let (modes, good) = mixture.score(&samples);
        println!(
            "{name} {method} seed {seed}: {modes}/{} modes, {:.1}% good, {steps} steps in {:.0} s",
            mixture.centres.len(),
            100.0 * good,
            start.elapsed().as_secs_f64()
        );
        all.push(samples);
    }
    if let Some(path) = arguments.get(4) {
        shenbi_data::decode::write_png(path, &plot(&mixture, &all)).map_err(|error| error.to_string())?;
    }
    Ok(())
}
