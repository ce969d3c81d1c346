//! A trained image GAN, ready to make pictures: its generator and the names of its classes, in one safetensors file that
//! Python reads without our code.

use std::collections::HashMap;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use serde::{Deserialize, Serialize};
use shenbi_nn::weights::{self, Named};
use shenbi_nn::{Init, NormMode};

use super::{Generator, NetworkConfig};

/// What a model file says of itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct ImageConfig {
    /// The networks.
    pub network: NetworkConfig,
    /// The names of the classes; empty where it makes pictures without.
    pub classes: Vec<String>,
}

/// Makes pictures from noise.
#[derive(Clone, Debug)]
pub struct ImageModel {
    /// The recipe that trained it.
    pub recipe: String,
    /// Shapes and classes.
    pub config: ImageConfig,
    /// Noise to pictures.
    pub generator: Generator,
}

impl ImageModel {
    /// Its tensors, and the metadata that make them a model again.
    pub(crate) fn parts(&self) -> Result<(Named, HashMap<String, String>), String> {
        let config = serde_json::to_string(&self.config).map_err(|error| error.to_string())?;
        let metadata = HashMap::from([("recipe".to_string(), self.recipe.clone()), ("config".to_string(), config)]);
        Ok((weights::collect(&self.generator, "generator"), metadata))
    }

    /// The model of named tensors (`generator.*`).
    ///
    /// # Errors
    /// The config makes no network, or the tensors do not fit it.
    pub(crate) fn from_parts(recipe: &str, config: &str, named: &Named, device: &Device) -> Result<Self, String> {
        let config: ImageConfig =
            serde_json::from_str(config).map_err(|error| format!("the file's config is damaged: {error}"))?;
        config.network.check().map_err(|error| format!("the file's config is damaged: {error}"))?;
        let classes = config.network.classes();
        if config.classes.len() != classes {
            return Err(format!(
                "the file names {} classes and has weights of {classes}: damaged",
                config.classes.len()
            ));
        }
        let mut init = Init::zeros(device);
        let generator = Generator::new(&config.network, &mut init)?;
        let generator = weights::apply(generator, named, "generator").map_err(|error| error.to_string())?;
        Ok(Self { recipe: recipe.to_string(), config, generator })
    }

    /// Pictures, `[n, channels, size, size]` in [-1, 1].
    ///
    /// noise: rows of `config.network.noise()` normal numbers; classes: places in `config.classes`, one a row, where it
    /// has any (others are taken modulo their number).
    pub fn paint(&self, noise: Vec<f32>, classes: &[usize]) -> Tensor<4> {
        let device = self.generator.devices().into_iter().next().unwrap_or_default();
        let dim = self.config.network.noise();
        let rows = noise.len() / dim;
        let noise = Tensor::from_data(TensorData::new(noise, [rows, dim]), &device);
        let class = one_hot(classes, self.config.network.classes(), &device);
        self.generator.forward(noise, class, &mut NormMode::Eval).clamp(-1.0, 1.0)
    }
}

/// Rows that are 1 at their class and 0 elsewhere, `[b, count]`; nothing where there are no classes.
pub fn one_hot(classes: &[usize], count: usize, device: &Device) -> Option<Tensor<2>> {
    if count == 0 {
        return None;
    }
    let mut rows = vec![0.0f32; classes.len() * count];
    for (row, class) in rows.chunks_exact_mut(count).zip(classes) {
        row[class % count] = 1.0;
    }
    Some(Tensor::from_data(TensorData::new(rows, [classes.len(), count]), device))
}
