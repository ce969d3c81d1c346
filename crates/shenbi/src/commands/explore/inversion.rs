//! Finding the noise of a picture, by Adam (1412.6980) on the noise through a generator that stays as it is.
//!
//! What is made small is Σ mean (G(z) - x)² at the picture's size, at half and at quarter of it: the coarser ones pull
//! shapes into place that do not overlap yet. It begins with the best of many random noises. The rate falls to zero along
//! a cosine, and the noise is kept about as long as normal noise is, since longer or shorter ones the generator has never
//! seen: ‖z‖ within √dim ± 2, where 995 of 1000 normal noises are.

use std::f64::consts::PI;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use shenbi_models::image::ImageModel;
use shenbi_models::image::model::one_hot;
use shenbi_nn::kernels::AdamStep;
use shenbi_nn::ops::{self, Filter};
use shenbi_nn::{NormMode, weights};
use shenbi_train::samples::noise;

/// Random noises to begin with.
pub const STARTS: usize = 64;
/// Of these, how many are painted at a time.
const BATCH: usize = 8;
/// Sizes at which pictures are compared, each half of the one before.
const LEVELS: usize = 3;
/// Adam's rate at first.
const RATE: f64 = 0.1;
/// How much longer or shorter than √dim a noise may be.
const SLACK: f64 = 2.0;

/// A noise, and how close its picture comes.
#[derive(Clone, Debug)]
pub struct Found {
    /// Normal noise, or nearly so.
    pub noise: Vec<f32>,
    /// The place of the class.
    pub class: usize,
    /// What was made small.
    pub distance: f64,
    /// Root mean square difference of the pictures, in 255ths of full brightness.
    pub error: f64,
}

/// The noise whose picture comes closest to `target` after so many steps.
///
/// # Shapes
/// target: `[channels, size, size]` as the model makes them, in [-1, 1].
///
/// classes: among these it chooses, by the random noises alone; not empty. seen: is told the best so far after each number
/// of steps, from 0 on.
pub fn invert(
    model: &ImageModel,
    target: &[f32],
    classes: &[usize],
    steps: usize,
    seed: u64,
    mut seen: impl FnMut(usize, &Found),
) -> Found {
    let device = model.generator.devices().into_iter().next().unwrap_or_default().without_autodiff();
    let network = &model.config.network;
    let (dim, size) = (network.noise(), network.size());
    let goal = Tensor::<4>::from_data(TensorData::new(target.to_vec(), [1, network.channels(), size, size]), &device);

    let (mut z, class) = start(model, &goal, classes, seed, &device);
    let row = one_hot(&[class], network.classes(), &device).map(Tensor::autodiff);
    let mut moments = [Tensor::<1>::zeros([dim], &device), Tensor::zeros([dim], &device)];
    let mut unit = 1.0;
    let mut best: Option<Found> = None;
    for step in 0..=steps {
        let leaf = Tensor::<1>::from_data(TensorData::new(z.clone(), [dim]), &device).autodiff().require_grad();
        let input = leaf.clone().reshape([1, dim]);
        let picture = shown(model.generator.forward(input, row.clone(), &mut NormMode::Eval));
        let loss = distances(picture.clone(), &goal);
        let found = Found { noise: z.clone(), class, distance: scalar(&loss), error: error(picture, target) };
        if step == 0 {
            // Divided by the first distance gradients are of one size, however faint the picture.
            unit = found.distance.max(1e-12).recip();
        }
        let best = match &mut best {
            Some(best) if found.distance.total_cmp(&best.distance).is_ge() => best,
            best => best.insert(found),
        };
        seen(step, best);
        if step == steps {
            break;
        }
        let mut grads = loss.mul_scalar(unit).backward();
        let Some(grad) = leaf.grad_remove(&mut grads) else { break };
        let rate = RATE * 0.5 * (1.0 + (PI * step as f64 / steps as f64).cos());
        let (moved, first, second) = {
            let [first, second] = moments;
            ops::adam(leaf.without_autodiff(), grad, Some(first), second, adam(rate, step + 1))
        };
        moments = [first.unwrap_or_else(|| Tensor::zeros([dim], &device)), second];
        z = near_sphere(weights::values(moved).data);
    }
    best.unwrap_or(Found { noise: z, class, distance: f64::NAN, error: f64::NAN })
}

fn adam(rate: f64, step: usize) -> AdamStep {
    AdamStep {
        lr: rate as f32,
        beta1: 0.9,
        beta2: 0.999,
        eps: 1e-8,
        weight_decay: 0.0,
        decoupled: true,
        step: step as u64,
        max_rms: f32::INFINITY,
    }
}

/// The best of random noises, and its class.
fn start(model: &ImageModel, goal: &Tensor<4>, classes: &[usize], seed: u64, device: &Device) -> (Vec<f32>, usize) {
    let (dim, count) = (model.config.network.noise(), model.config.network.classes());
    let class = |i: usize| classes.get(i % classes.len().max(1)).copied().unwrap_or(0);
    let mut closest = (f32::INFINITY, 0);
    for batch in (0..STARTS).collect::<Vec<_>>().chunks(BATCH) {
        let noises: Vec<f32> = batch.iter().flat_map(|&i| draw(seed, i, dim)).collect();
        let noises = Tensor::<2>::from_data(TensorData::new(noises, [batch.len(), dim]), device);
        let chosen: Vec<usize> = batch.iter().map(|&i| class(i)).collect();
        let pictures = model.generator.forward(noises, one_hot(&chosen, count, device), &mut NormMode::Eval);
        for (distance, &i) in weights::values(distances(shown(pictures), goal)).data.into_iter().zip(batch) {
            if distance < closest.0 {
                closest = (distance, i);
            }
        }
    }
    (draw(seed, closest.1, dim), class(closest.1))
}

fn scalar(tensor: &Tensor<1>) -> f64 {
    f64::from(weights::values(tensor.clone()).data.first().copied().unwrap_or(f32::NAN))
}

/// Root mean square difference, in 255ths.
fn error(picture: Tensor<4>, target: &[f32]) -> f64 {
    let pixels = weights::values(picture).data;
    let squares: f64 = pixels.iter().zip(target).map(|(a, b)| f64::from(a - b).powi(2)).sum();
    (squares / pixels.len().max(1) as f64).sqrt() * 127.5
}

fn draw(seed: u64, i: usize, dim: usize) -> Vec<f32> {
    near_sphere(noise(seed, "project", i as u64, dim))
}

/// What a person sees of a picture: cut to [-1, 1]; its gradient is not, so that what lies outside can come back.
fn shown(x: Tensor<4>) -> Tensor<4> {
    let cut = x.clone().without_autodiff().clamp(-1.0, 1.0) - x.clone().without_autodiff();
    x + cut
}

/// Σ over sizes of the mean squared difference, `[b]`.
///
/// # Shapes
/// pictures: `[b, c, h, w]`, goal: `[1, c, h, w]`, sides that can be halved twice.
fn distances(pictures: Tensor<4>, goal: &Tensor<4>) -> Tensor<1> {
    let mut difference = pictures - goal.clone();
    let mut sum = mean_square(difference.clone());
    for _ in 1..LEVELS {
        difference = ops::downsample(difference, Filter::Box); // linear: the difference of the smaller pictures
        sum = sum + mean_square(difference.clone());
    }
    sum
}

fn mean_square(x: Tensor<4>) -> Tensor<1> {
    let [b, c, h, w] = x.dims();
    x.powi_scalar(2).reshape([b, c * h * w]).mean_dim(1).reshape([b])
}

/// The noise at the nearest length that normal noise has.
fn near_sphere(mut noise: Vec<f32>) -> Vec<f32> {
    let length = noise.iter().map(|x| f64::from(*x).powi(2)).sum::<f64>().sqrt();
    let radius = (noise.len() as f64).sqrt();
    let allowed = length.clamp((radius - SLACK).max(0.0), radius + SLACK);
    if length > 0.0 && allowed != length {
        let scale = (allowed / length) as f32;
        noise.iter_mut().for_each(|x| *x *= scale);
    }
    noise
}

#[cfg(test)]
mod tests {
    use shenbi_models::image::dcgan::DcganConfig;
    use shenbi_models::image::model::ImageConfig;
    use shenbi_models::image::r3gan::R3ganConfig;
    use shenbi_models::image::resnet::ResnetConfig;
    use shenbi_models::image::{Generator, NetworkConfig};
    use shenbi_nn::Init;

    use super::*;

    fn untrained(network: NetworkConfig) -> ImageModel {
        let generator = Generator::new(&network, &mut Init::new(3, "test", &Device::flex())).unwrap();
        let classes = (0..network.classes()).map(|i| i.to_string()).collect();
        ImageModel { recipe: "test".to_string(), config: ImageConfig { network, classes }, generator }
    }

    /// Through each backbone, in Eval mode: a picture that the generator made is found again, or nearly.
    #[test]
    fn a_generators_own_picture_comes_closer_than_any_random_start() {
        let dcgan = DcganConfig { size: 8, noise: 8, width: 8, ..DcganConfig::default() };
        let resnet = ResnetConfig { size: 16, channels: 4, noise: 8, width: 4, classes: 3, ..ResnetConfig::default() };
        let r3gan = R3ganConfig { channels: 1, noise: 8, ..R3ganConfig::small(8) };
        let networks = [NetworkConfig::Dcgan(dcgan), NetworkConfig::Resnet(resnet), NetworkConfig::R3gan(r3gan)];
        for network in networks {
            let model = untrained(network);
            let own = weights::values(model.paint(noise(5, "test", 0, 8), &[1])).data;
            let mut course = Vec::new();
            let found = invert(&model, &own, &[1], 120, 1, |step, best| course.push((step, best.distance)));
            assert!(course.windows(2).all(|pair| pair[1].1 <= pair[0].1 && pair[1].0 == pair[0].0 + 1));
            assert_eq!((course.len(), found.class, found.noise.len()), (121, 1, 8));
            let ratio = found.distance / course[0].1;
            println!("distance {} to {}, ratio {ratio}", course[0].1, found.distance);
            assert!(ratio < 0.05, "{:?}: {ratio}", model.config.network);
            let length = found.noise.iter().map(|x| x * x).sum::<f32>().sqrt();
            assert!((length - 8f32.sqrt()).abs() < 2.001, "{length}");
            // The same again, to the bit.
            assert_eq!(invert(&model, &own, &[1], 120, 1, |_, _| ()).noise, found.noise);
        }
    }

    #[test]
    fn without_steps_it_is_the_best_random_noise_of_any_class() {
        let network = ResnetConfig { size: 16, noise: 4, width: 2, classes: 3, ..ResnetConfig::default() };
        let model = untrained(NetworkConfig::Resnet(network));
        let target = weights::values(model.paint(draw(9, 11, 4), &[2])).data;
        let found = invert(&model, &target, &[0, 1, 2], 0, 9, |_, _| ());
        assert_eq!(found.class, 11 % 3);
        assert_eq!(found.noise, draw(9, 11, 4));
        assert!(found.error < 1e-3, "{}", found.error);
    }

    #[test]
    fn noise_stays_as_long_as_normal_noise() {
        let length = |noise: Vec<f32>| near_sphere(noise).iter().map(|x| x * x).sum::<f32>().sqrt();
        assert!((length(vec![9.0; 100]) - 12.0).abs() < 1e-4);
        assert!((length(vec![0.01; 100]) - 8.0).abs() < 1e-4);
        assert_eq!(near_sphere(vec![1.1; 100]), vec![1.1; 100]);
        assert_eq!(near_sphere(vec![0.0; 100]), vec![0.0; 100]);
        assert_eq!(near_sphere(vec![0.3]), vec![0.3]);
        assert!(near_sphere(vec![f32::NAN; 2]).iter().all(|x| x.is_nan()));
    }

    #[test]
    fn pictures_are_compared_at_three_sizes() {
        let device = Device::flex();
        // One pixel of 16 that is off by 1: 1/16 of its square; half the size: a quarter of it in one of four; then 1/16.
        let mut pixels = vec![0.0f32; 16];
        pixels[5] = 1.0;
        let x = Tensor::<4>::from_data(TensorData::new(pixels, [1, 1, 4, 4]), &device);
        let found = weights::values(distances(x, &Tensor::zeros([1, 1, 4, 4], &device))).data[0];
        let expected = 1.0 / 16.0 + 1.0 / 16.0 / 4.0 + 1.0 / 256.0;
        assert!((found - expected).abs() < 1e-6, "{found}");
    }
}
