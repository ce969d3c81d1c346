//! What a step measures of itself for the collapse guard, beside its losses: how varied the generated pictures are, how
//! near they come to training pictures, and how long the gradients are.

use burn::module::{Module, ModuleVisitor, Param};
use burn::tensor::{Gradients, Tensor};
use shenbi_nn::weights::values;

use crate::trainer::{Losses, scalar};

/// Steps between two looks at training pictures and gradients.
pub(crate) const EVERY: u64 = 16;
/// Training pictures that are kept to compare with.
const POOL: usize = 512;
/// No more are looked at to find as many different ones.
const OFFERED: usize = 4 * POOL;
/// So many make a comparison.
const ENOUGH: usize = 32;
/// Sides of the small pictures that are compared.
const SIDE: usize = 8;
/// Small pictures that differ less than this (mean square) are the same.
const SAME: f32 = 1e-6;

/// The measures of one run, and the training pictures that generated ones are compared with.
///
/// The first [`POOL`] different ones are kept, reduced to 8x8. Where the data has no more than that a copy is seen for what it
/// is; of larger data only copies of these.
#[derive(Debug, Default)]
pub(crate) struct Vitals {
    pool: Vec<Vec<f32>>,
    /// How far each is from the nearest other one.
    apart: Vec<f32>,
    offered: usize,
}

impl Vitals {
    /// Adds to `losses`: `diversity`, each step; now and then `nearest`, the distance of generated pictures to the nearest
    /// training picture, as a share of that among training pictures: 0 for copies, about 1 for new pictures.
    ///
    /// # Shapes
    /// real, fake: `[b, c, h, w]`.
    pub(crate) fn pictures(&mut self, step: u64, real: &Tensor<4>, fake: &Tensor<4>, losses: &mut Losses) {
        let fake = fake.clone().without_autodiff();
        losses.push("diversity", diversity(real.clone(), fake.clone()));
        if self.pool.len() < POOL && self.offered < OFFERED {
            small(real.clone()).into_iter().for_each(|picture| self.keep(picture));
        }
        if step.is_multiple_of(EVERY) && self.pool.len() >= ENOUGH {
            let mean = |distances: &mut dyn ExactSizeIterator<Item = f32>| {
                let n = distances.len() as f32;
                distances.sum::<f32>() / n
            };
            let fake = small(fake);
            let near = mean(&mut fake.iter().map(|picture| self.nearest(picture)));
            losses.push("nearest", near / mean(&mut self.apart.iter().copied()));
        }
    }

    fn nearest(&self, picture: &[f32]) -> f32 {
        self.pool.iter().map(|other| distance(picture, other)).fold(f32::INFINITY, f32::min)
    }

    fn keep(&mut self, picture: Vec<f32>) {
        self.offered += 1;
        let distances: Vec<f32> = self.pool.iter().map(|other| distance(&picture, other)).collect();
        let nearest = distances.iter().copied().fold(f32::INFINITY, f32::min);
        let same = nearest * nearest < SAME * picture.len() as f32;
        if self.pool.len() >= POOL || same || !picture.iter().all(|x| x.is_finite()) {
            return;
        }
        self.apart.iter_mut().zip(distances).for_each(|(apart, distance)| *apart = apart.min(distance));
        self.pool.push(picture);
        self.apart.push(nearest);
    }
}

/// Adds to `losses`, now and then: the length of the gradient over all parameters of a network.
pub(crate) fn gradient<M: Module>(step: u64, name: &'static str, network: &M, grads: &Gradients, losses: &mut Losses) {
    if step.is_multiple_of(EVERY) {
        let mut squares = Squares { grads, sum: None };
        network.visit(&mut squares);
        losses.push(name, squares.sum.map_or(0.0, |sum| scalar(sum).sqrt()));
    }
}

struct Squares<'a> {
    grads: &'a Gradients,
    sum: Option<Tensor<1>>,
}

impl ModuleVisitor for Squares<'_> {
    fn visit_float<const D: usize>(&mut self, param: &Param<Tensor<D>>) {
        if let Some(grad) = param.val().grad(self.grads) {
            let squares = grad.powi_scalar(2).sum();
            self.sum = Some(match self.sum.take() {
                Some(sum) => sum + squares,
                None => squares,
            });
        }
    }
}

/// How much generated pictures differ among each other, as a share of how much real ones do: the variance over the batch,
/// a mean over pixels. 0 where all are the same.
fn diversity(real: Tensor<4>, fake: Tensor<4>) -> f32 {
    let spread = |x: Tensor<4>| scalar((x.clone() - x.mean_dim(0)).powi_scalar(2).mean());
    spread(fake) / spread(real.without_autodiff()).max(1e-12)
}

/// Each picture reduced to 8x8 (or less) by means over its parts.
fn small(x: Tensor<4>) -> Vec<Vec<f32>> {
    let [_, c, h, w] = x.dims();
    let (rows, columns) = (h.min(SIDE), w.min(SIDE));
    let reduce = |picture: &[f32]| {
        let mut means = Vec::with_capacity(c * rows * columns);
        for plane in picture.chunks_exact(h * w) {
            for i in 0..rows {
                for j in 0..columns {
                    let (y, x) = (i * h / rows..(i + 1) * h / rows, j * w / columns..(j + 1) * w / columns);
                    let n = (y.len() * x.len()) as f32;
                    means.push(y.map(|y| plane[y * w..][x.clone()].iter().sum::<f32>()).sum::<f32>() / n);
                }
            }
        }
        means
    };
    values(x).data.chunks_exact(c * h * w).map(reduce).collect()
}

fn distance(a: &[f32], b: &[f32]) -> f32 {
    a.iter().zip(b).map(|(a, b)| (a - b) * (a - b)).sum::<f32>().sqrt()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use burn::tensor::{Device, TensorData};
    use shenbi_data::rng;
    use shenbi_nn::{Init, Linear};

    use super::*;

    /// `[n, 1, 16, 16]` of their own, shifted by `shift`.
    fn pictures(n: usize, seed: u64, shift: f32) -> Tensor<4> {
        let mut stream = rng::stream(seed, "test", 0);
        // One number for each 2x2, so that little is lost on the way to 8x8.
        let mut data = vec![0.0; n * 256];
        for picture in data.chunks_exact_mut(256) {
            let small: Vec<f32> = (0..64).map(|_| rng::normal(&mut stream) + shift).collect();
            picture.iter_mut().enumerate().for_each(|(i, x)| *x = small[i / 32 * 8 + i % 16 / 2]);
        }
        Tensor::from_data(TensorData::new(data, [n, 1, 16, 16]), &Device::flex())
    }

    fn nearest(vitals: &mut Vitals, real: &Tensor<4>, fake: &Tensor<4>) -> Option<f32> {
        let mut losses = Losses::default();
        vitals.pictures(0, real, fake, &mut losses);
        losses.get("nearest")
    }

    #[test]
    fn copies_are_near_and_new_pictures_are_not() {
        let real = pictures(64, 1, 0.0);
        let mut vitals = Vitals::default();
        assert_eq!(nearest(&mut vitals, &real.clone().narrow(0, 0, 8), &real), None, "too few to compare with");
        assert!(nearest(&mut vitals, &real, &real).unwrap() < 1e-6);
        assert_eq!(vitals.pool.len(), 64, "none twice");
        let near = nearest(&mut vitals, &real, &(real.clone() + pictures(64, 3, 0.0).mul_scalar(0.1))).unwrap();
        assert!(near < 0.2, "{near}");
        let new = nearest(&mut vitals, &real, &pictures(64, 2, 0.0)).unwrap();
        assert!((0.8..1.3).contains(&new), "{new}");
        let far = nearest(&mut vitals, &real, &pictures(64, 2, 5.0)).unwrap();
        assert!(far > 3.0, "{far}");
    }

    #[test]
    fn the_pool_has_its_size() {
        let mut vitals = Vitals::default();
        for seed in 0..8 {
            vitals.pictures(1, &pictures(100, seed, 0.0), &pictures(2, 9, 0.0), &mut Losses::default());
        }
        assert_eq!((vitals.pool.len(), vitals.apart.len()), (POOL, POOL));
    }

    #[test]
    fn a_gradient_is_as_long_as_its_parts_say() {
        let device = Device::flex().autodiff();
        let linear = Linear::new(2, 1, 1.0, &mut Init::new(1, "linear", &device)).train();
        let x = Tensor::<2>::from_data(TensorData::from([[3.0f32, 4.0]]), &device);
        let grads = linear.forward(x).sum().backward();
        let mut losses = Losses::default();
        gradient(1, "gradient", &linear, &grads, &mut losses);
        assert_eq!(losses.get("gradient"), None);
        gradient(EVERY, "gradient", &linear, &grads, &mut losses);
        // The weights' gradient is x, the bias's is 1.
        assert!((losses.get("gradient").unwrap() - 26f32.sqrt()).abs() < 1e-5);
    }
}
