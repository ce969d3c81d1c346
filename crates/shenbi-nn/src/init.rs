//! Weight initialisation from a named ChaCha stream, drawn on the CPU, so that a seed means the same weights everywhere.

use burn::module::{Param, ParamId};
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use shenbi_rng as rng;

/// Draws initial weights, in the order in which layers ask for them.
pub struct Init {
    rng: Option<ChaCha8Rng>,
    device: Device,
}

impl Init {
    /// The stream `name` of `seed`; weights are placed on `device` (autodiff is added by [`burn::module::Module::train`]).
    pub fn new(seed: u64, name: &str, device: &Device) -> Self {
        Self { rng: Some(rng::stream(seed, name, 0)), device: device.clone().without_autodiff() }
    }

    /// Zeros instead of draws, for a network whose weights are about to be loaded.
    pub fn zeros(device: &Device) -> Self {
        Self { rng: None, device: device.clone().without_autodiff() }
    }

    /// Independent draws from N(0, std²).
    pub fn normal<const D: usize>(&mut self, shape: [usize; D], std: f32) -> Param<Tensor<D>> {
        let Some(rng) = &mut self.rng else { return self.constant(shape, 0.0) };
        let n = shape.iter().product();
        let values: Vec<f32> = (0..n).map(|_| rng::normal(rng) * std).collect();
        self.param(TensorData::new(values, shape))
    }

    /// He initialisation for a layer with `fan_in` inputs followed by a LeakyReLU (1502.01852, eq. 15): std √(2 / fan_in)
    /// times `gain`.
    pub fn he<const D: usize>(&mut self, shape: [usize; D], fan_in: usize, gain: f32) -> Param<Tensor<D>> {
        self.normal(shape, gain * (2.0 / fan_in.max(1) as f32).sqrt())
    }

    /// Every weight equal to `value`.
    pub fn constant<const D: usize>(&mut self, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        let n = shape.iter().product();
        self.param(TensorData::new(vec![value; n], shape))
    }

    /// A buffer: saved and averaged with the weights, never trained.
    pub fn buffer<const D: usize>(&mut self, shape: [usize; D], value: f32) -> Param<Tensor<D>> {
        self.constant(shape, value).set_require_grad(false)
    }

    fn param<const D: usize>(&self, data: TensorData) -> Param<Tensor<D>> {
        let mut param = Param::from_tensor(Tensor::from_data(data, &self.device));
        param.id = ParamId::new();
        param
    }
}
