//! DCGAN at 64x64, as its paper has it.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use shenbi_models::image::dcgan::{DcganConfig, Discriminator, Generator};
use shenbi_nn::optim::{AdamConfig, Optimizer};
use shenbi_nn::{Init, NormMode, ops};

use crate::{BATCH, Workload};

const RATE: f64 = 2e-4;
const ADAM: AdamConfig =
    AdamConfig { beta1: 0.5, beta2: 0.999, epsilon: 1e-8, max_rms: f64::INFINITY, weight_decay: 0.0 };
/// PyTorch's default.
const MOMENTUM: f64 = 0.1;

/// Both networks and their optimizers.
pub struct Dcgan {
    generator: Generator,
    discriminator: Discriminator,
    adam_generator: Optimizer,
    adam_discriminator: Optimizer,
    real: Tensor<4>,
    noise: Tensor<2>,
}

fn numbers<const D: usize>(shape: [usize; D]) -> Tensor<D> {
    let n: usize = shape.iter().product();
    let values: Vec<f32> = (0..n).map(|i| (i * 7919 % 1013) as f32 / 506.5 - 1.0).collect();
    Tensor::from_data(TensorData::new(values, shape), &Device::flex())
}

impl Dcgan {
    /// Untrained networks.
    pub fn new() -> Result<Self, String> {
        let config = DcganConfig::default();
        let init = |name: &str| Init::new(1, name, &Device::flex());
        Ok(Self {
            generator: Generator::new(&config, &mut init("generator"))?.train(),
            discriminator: Discriminator::new(&config, &mut init("discriminator"))?.train(),
            adam_generator: Optimizer::adam(ADAM),
            adam_discriminator: Optimizer::adam(ADAM),
            real: numbers([BATCH, 3, 64, 64]),
            noise: numbers([BATCH, 100]),
        })
    }
}

impl Workload for Dcgan {
    fn train(&mut self) {
        let mut seen = Vec::new();
        let fake = self.generator.forward(self.noise.clone().autodiff(), None, &mut NormMode::Train(&mut seen));

        let (mut seen_real, mut seen_fake) = (Vec::new(), Vec::new());
        let d = &self.discriminator;
        let on_real = d.forward(self.real.clone().autodiff(), None, &mut NormMode::Train(&mut seen_real)).logit;
        let on_fake =
            d.forward(fake.clone().without_autodiff().autodiff(), None, &mut NormMode::Train(&mut seen_fake)).logit;
        let loss = ops::softplus(-on_real).mean() + ops::softplus(on_fake).mean();
        let mut grads = loss.backward();
        let d = self.adam_discriminator.step(self.discriminator.clone(), &mut grads, |_| RATE);
        self.discriminator = d.with_running(&seen_real, MOMENTUM).with_running(&seen_fake, MOMENTUM);

        let mut ignored = Vec::new();
        let judged = self.discriminator.valid().forward(fake, None, &mut NormMode::Train(&mut ignored)).logit;
        let mut grads = ops::softplus(-judged).mean().backward();
        let g = self.adam_generator.step(self.generator.clone(), &mut grads, |_| RATE);
        self.generator = g.with_running(&seen, MOMENTUM);
    }

    fn paint(&self, pictures: usize) {
        let noise = self.noise.clone().narrow(0, 0, pictures);
        let painted = self.generator.valid().forward(noise, None, &mut NormMode::Eval);
        std::hint::black_box(painted.into_data());
    }
}
