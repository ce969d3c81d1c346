//! What every trainer is to a session: something that takes a batch, makes a step and says what it measured.

use burn::tensor::{Device, Tensor, TensorData};
use serde::ser::{Serialize, SerializeMap, Serializer};
use shenbi_data::loader::Batch;
use shenbi_data::rng;
use shenbi_models::model::Model;
use shenbi_nn::kernels::{Precision, auto_precision, set_precision};
use shenbi_nn::weights::{self, Fitted, Named, Values, WeightsError};

use crate::config::RunSettings;

/// Which part of the run a step belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// What comes before the game: sentences against pictures, or the likelihood of texts.
    Contrast,
    /// The GAN.
    Gan,
}

impl Phase {
    /// Its name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Contrast => "contrast",
            Self::Gan => "gan",
        }
    }
}

/// Steps done of each phase.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Steps {
    /// Of [`Phase::Contrast`].
    pub contrast: u64,
    /// Of [`Phase::Gan`].
    pub gan: u64,
}

impl Steps {
    /// Of both.
    pub fn all(self) -> u64 {
        self.contrast + self.gan
    }
}

/// What one step measured: figures by name, NaN-free in a healthy run. A figure that only some steps compute is absent
/// from the others. `d` and `g` are the adversarial losses.
#[derive(Clone, Debug, Default, PartialEq)]
pub struct Losses(Vec<(&'static str, f32)>);

impl Losses {
    /// Adds a figure.
    pub fn push(&mut self, name: &'static str, value: f32) {
        self.0.push((name, value));
    }

    /// The figure of that name.
    pub fn get(&self, name: &str) -> Option<f32> {
        self.0.iter().find(|(known, _)| *known == name).map(|(_, value)| *value)
    }

    /// All of them, in the order they were pushed.
    pub fn iter(&self) -> impl Iterator<Item = (&'static str, f32)> + '_ {
        self.0.iter().copied()
    }
}

impl FromIterator<(&'static str, f32)> for Losses {
    fn from_iter<I: IntoIterator<Item = (&'static str, f32)>>(figures: I) -> Self {
        Self(figures.into_iter().collect())
    }
}

impl Serialize for Losses {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        let mut map = serializer.serialize_map(Some(self.0.len()))?;
        for (name, value) in &self.0 {
            map.serialize_entry(name, value)?;
        }
        map.end()
    }
}

/// Where the networks live.
#[derive(Clone, Debug)]
pub struct Devices {
    /// The generator, its average and its optimizer.
    pub generator: Device,
    /// The discriminator and, in text to image, the sentence encoder.
    pub discriminator: Device,
}

impl From<Device> for Devices {
    /// Everything on one device.
    fn from(device: Device) -> Self {
        Self { generator: device.clone(), discriminator: device }
    }
}

impl Devices {
    /// The same devices without autodiff.
    pub(crate) fn plain(&self) -> Self {
        Self {
            generator: self.generator.clone().without_autodiff(),
            discriminator: self.discriminator.clone().without_autodiff(),
        }
    }
}

/// A recipe at work, on batches of some kind.
pub trait Trainer<B = Batch> {
    /// Steps so far.
    fn steps(&self) -> Steps;

    /// One step on `batch`. progress: share of the phase that is over, 0 to 1.
    ///
    /// # Errors
    /// A caption cannot be encoded.
    fn step(&mut self, batch: &B, phase: Phase, progress: f64) -> Result<Losses, String>;

    /// The trained model as it stands: what averages over the last steps.
    fn model(&self) -> Model;

    /// All state as named tensors; with the recipe, the model and the data it is the whole run.
    fn state(&self) -> Named;

    /// Continues from [`Trainer::state`] after so many steps.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    fn restore(&mut self, named: &Named, steps: Steps) -> Result<(), WeightsError>;

    /// Starts from the networks of another run's [`Trainer::state`], as far as names and shapes agree: the networks by
    /// name, and what was copied of each.
    fn start_from(&mut self, named: &Named) -> Vec<(&'static str, Fitted)>;
}

/// Sets the precision of this process to what the settings say.
pub(crate) fn choose_precision(run: &RunSettings) {
    set_precision(match run.precision.as_str() {
        "f32" => Precision::F32,
        "bf16" => Precision::Bf16,
        _ => auto_precision(),
    });
}

/// Normal noise of a named stream, `[n, dim]`, drawn on the CPU.
pub fn noise(seed: u64, name: &str, position: u64, n: usize, dim: usize, device: &Device) -> Tensor<2> {
    let mut stream = rng::stream(seed, name, position);
    let values: Vec<f32> = (0..n * dim).map(|_| rng::normal(&mut stream)).collect();
    Tensor::from_data(TensorData::new(values, [n, dim]), device)
}

/// The one value of a tensor.
pub(crate) fn scalar(tensor: Tensor<1>) -> f32 {
    let Values { data, .. } = weights::values(tensor);
    data.first().copied().unwrap_or(f32::NAN)
}

/// A batch's pictures, `[b, c, h, w]`.
pub(crate) fn pictures(batch: &Batch, device: &Device) -> Tensor<4> {
    Tensor::from_data(TensorData::new(batch.pixels.clone(), batch.shape), device)
}
