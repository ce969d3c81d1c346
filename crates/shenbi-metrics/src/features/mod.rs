//! What a pretrained network sees in pictures: the numbers that Fréchet distance, KID, precision, recall and their like
//! compare, and the classes that the Inception Score counts.
//!
//! | name | network | features | classes | prepared as |
//! |---|---|---|---|---|
//! | `inception-2015` | InceptionV3 of 2015, the one of FID | 2,048 | 1,008 | torch-fidelity, pytorch-fid or clean-fid |
//! | `inception-v3` | torchvision's | 2,048 | 1,000 | torchvision |
//! | `googlenet` | torchvision's | 1,024 | 1,000 | torchvision |
//! | `vgg16` | torchvision's | 4,096 | 1,000 | torchvision or torch-fidelity |
//! | `resnet18`, `resnet50` | torchvision's | 512, 2,048 | 1,000 | torchvision |
//! | `squeezenet1_0`, `squeezenet1_1` | torchvision's | 512 | 1,000 | torchvision; 1.0 also Caffe |
//! | `dinov2-vits14`, `-vitb14`, `-vitl14` | DINOv2 | 384, 768, 1,024 | | transformers or torch-fidelity |
//! | `clip-vitb32` | CLIP's picture tower | 512 | | transformers or torch-fidelity |
//!
//! Weights are a person's own files, safetensors or PyTorch's, recognised by the names and shapes of their tensors. Scores
//! on a network's features are named after it: FID is the Fréchet distance on those of `inception-2015`, and nothing else
//! is called so.

mod kind;
mod network;
mod prepare;

use std::path::{Path, PathBuf};

use burn::tensor::{Device, Tensor, TensorData};
use rayon::prelude::*;
use shenbi_data::Picture;
use shenbi_models::backbone::Tensors;
use shenbi_nn::file::{self, Format};
use shenbi_nn::kernels::{in_split_f32, splits};
use shenbi_nn::weights::{self, Named};

pub use kind::{Kind, folders};
use network::Network;
pub use prepare::Preprocessing;
pub(crate) use prepare::Recipe;

use crate::{MetricsError, Result, support};

/// Pictures that pass through the network at once: each takes some 50 MB on its way through Inception...
const BATCH: usize = 8;
/// ...but tiles want as many as they have rows.
const BATCH_OF_HALVES: usize = 16;
/// What names begin with in checkpoints that hold a network under a key, or trained on several devices.
const WRAPPERS: [&str; 5] = ["state_dict.", "model.", "module.", "dinov2.", "clip."];

/// A network that turns pictures into features.
pub struct FeatureNetwork {
    network: Network,
    kind: Kind,
    recipe: Recipe,
    device: Device,
    /// The network and a hash of its weights.
    weights: String,
    id: String,
    /// Whether convolutions are three products of bf16.
    halves: bool,
}

impl FeatureNetwork {
    /// The network that `what` means: the path of a file with its weights; `NETWORK:PATH`, for a file that must hold a
    /// certain network; or the name of a network, whose weights are looked for in the folder `SHENBI_WEIGHTS` and where
    /// PyTorch keeps what it loads (`~/.cache/torch/hub/checkpoints`).
    ///
    /// A file with the name of a published one is checked by the hash in its name.
    ///
    /// # Errors
    /// There is no such file or it cannot be read, is damaged, holds another network, or would run code.
    pub fn open(what: &str, device: &Device) -> Result<Self> {
        let (path, expected) = locate(what)?;
        let (named, format) = read(&path)?;
        let at = |error: String| MetricsError::Setting(format!("{}: {error}", path.display()));
        let network = Self::from_named(named, format, device).map_err(|error| at(error.to_string()))?;
        match expected {
            Some(expected) if expected != network.kind => {
                Err(at(format!("it holds {}, not {}", network.kind.slug(), expected.slug())))
            }
            _ => Ok(network),
        }
    }

    /// The network in the bytes of a safetensors file.
    ///
    /// # Errors
    /// The bytes are no such file, or of no known network; the message names the first tensor that is missing or misshapen.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Self> {
        Self::from_named(file::from_bytes(bytes)?.0, Format::Safetensors, device)
    }

    /// The network of named tensors. SqueezeNet 1.0 takes Caffe's input if they come from safetensors, torchvision's if they
    /// come from PyTorch's own files.
    ///
    /// # Errors
    /// As [`Self::from_bytes`].
    pub fn from_named(named: Named, format: Format, device: &Device) -> Result<Self> {
        let device = device.clone().without_autodiff();
        let mut named = unwrap(named);
        let kind = Kind::of(&named)?;
        let tensors = Tensors::new(&named, &device);
        let network = kind
            .build(&tensors)
            .map_err(|error| MetricsError::Metadata(format!("not {} as it should be: {error}", kind.slug())))?;
        let used = tensors.used();
        named.retain(|name, _| used.contains(name));
        let weights = format!("{}:{}", kind.slug(), support::fingerprint(&named)?);
        let caffe = kind == Kind::SqueezeNet10 && format == Format::Safetensors;
        let recipe = Recipe::new(kind, if caffe { Preprocessing::Caffe } else { Preprocessing::Own })?;
        let id = format!("{weights}/{}", recipe.id());
        Ok(Self { network, kind, recipe, device, weights, id, halves: false })
    }

    /// The same network with pictures prepared another way.
    ///
    /// # Errors
    /// No one prepares pictures so for this network.
    pub fn with_preprocessing(self, preprocessing: Preprocessing) -> Result<Self> {
        let recipe = Recipe::new(self.kind, preprocessing)?;
        let id = format!("{}/{}", self.weights, recipe.id());
        Ok(Self { recipe, id, ..self })
    }

    /// The same network with f32 products made of three of bf16 ([`shenbi_nn::kernels::in_split_f32`]) where that is
    /// faster: features differ by some 1e-6 of the largest, scores by some 1e-5, and the protocol has `+halves`.
    #[must_use]
    pub fn with_halves(self) -> Self {
        if self.halves || !splits() {
            return self;
        }
        let weights = format!("{}+halves", self.weights);
        let id = format!("{weights}/{}", self.recipe.id());
        Self { weights, id, halves: true, ..self }
    }

    /// Whether pictures are prepared so for this network anywhere.
    pub fn can_prepare(&self, preprocessing: Preprocessing) -> bool {
        Recipe::new(self.kind, preprocessing).is_ok()
    }

    /// Which network it is.
    pub fn kind(&self) -> Kind {
        self.kind
    }

    /// What scores on these features are named after.
    pub fn name(&self) -> &'static str {
        self.kind.name()
    }

    /// Its place in a protocol: the network, a hash of its weights, and how pictures are prepared.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// Numbers in a picture's features.
    pub fn dim(&self) -> usize {
        self.network.dim()
    }

    /// Classes, where the network is a classifier.
    pub fn classes(&self) -> Option<usize> {
        self.network.classes()
    }

    /// The features of pictures of any size: grey becomes RGB, transparency is laid onto white. At the precision in force
    /// ([`shenbi_nn::kernels::precision`]): scores are made at f32.
    ///
    /// # Shapes
    /// returns `[pictures, dim]`, row-major.
    ///
    /// # Errors
    /// A picture is empty or too narrow, or the features are no finite numbers.
    pub fn embed(&self, pictures: &[Picture]) -> Result<Vec<f32>> {
        self.look(pictures, false).map(|(features, _)| features)
    }

    /// The features, and class logits where the network is a classifier: of `inception-2015` without the bias, as the
    /// Inception Score has them.
    ///
    /// # Shapes
    /// returns `[pictures, dim]` and `[pictures, classes]`, row-major.
    ///
    /// # Errors
    /// As [`Self::embed`].
    pub fn embed_with_logits(&self, pictures: &[Picture]) -> Result<(Vec<f32>, Option<Vec<f32>>)> {
        let (features, logits) = self.look(pictures, true)?;
        Ok((features, self.classes().is_some().then_some(logits)))
    }

    fn look(&self, pictures: &[Picture], want_logits: bool) -> Result<(Vec<f32>, Vec<f32>)> {
        let side = self.recipe.side();
        let (mut features, mut logits) = (Vec::with_capacity(pictures.len() * self.dim()), Vec::new());
        let batch = if self.halves { BATCH_OF_HALVES } else { BATCH };
        for pictures in pictures.chunks(batch) {
            let prepared = pictures.par_iter().map(|picture| self.recipe.prepare(picture));
            let pixels: Vec<Vec<f32>> = prepared.collect::<Result<_>>()?;
            let data = TensorData::new(pixels.concat(), [pictures.len(), 3, side, side]);
            let look = || self.network.look(Tensor::from_data(data, &self.device), want_logits);
            let (seen, classes) = if self.halves { in_split_f32(look) } else { look() };
            features.extend(weights::values(seen).data);
            logits.extend(classes.map_or_else(Vec::new, |classes| weights::values(classes).data));
        }
        if features.iter().chain(&logits).any(|value| !value.is_finite()) {
            let message = format!("{}'s features are no finite numbers: its weights are damaged", self.name());
            return Err(MetricsError::Metadata(message));
        }
        Ok((features, logits))
    }
}

/// The file that `what` means, as [`FeatureNetwork::open`] has it, and the network that it must hold.
///
/// # Errors
/// A network was named, and there is no file of it.
pub(crate) fn locate(what: &str) -> Result<(PathBuf, Option<Kind>)> {
    let whole = Path::new(what);
    if !whole.exists()
        && let Some(kind) = Kind::from_slug(what)
    {
        let folders = folders();
        let Some(path) = kind.find(&folders) else {
            let folders: Vec<String> = folders.iter().map(|folder| folder.display().to_string()).collect();
            let folders = if folders.is_empty() { "no folder is set".to_string() } else { folders.join(", ") };
            return Err(MetricsError::Setting(format!(
                "no weights of {what} in {folders}: put a file there (SHENBI_WEIGHTS names a folder), or give its path"
            )));
        };
        return Ok((path, Some(kind)));
    }
    match what.split_once(':').and_then(|(slug, path)| Some((Kind::from_slug(slug)?, Path::new(path)))) {
        Some((kind, path)) if !whole.exists() => Ok((path.to_path_buf(), Some(kind))),
        _ => Ok((whole.to_path_buf(), None)),
    }
}

/// The tensors in a file of weights, without what wraps their names.
///
/// # Errors
/// It cannot be read, is damaged, is not the one that its name says, or would run code.
pub(crate) fn read(path: &Path) -> Result<(Named, Format)> {
    let at = |error: String| MetricsError::Setting(format!("{}: {error}", path.display()));
    if !path.is_file() {
        let names = Kind::slugs();
        return Err(at(format!("no such file; expected one with a network's weights, or a network's name: {names}")));
    }
    kind::check_hash(path)?;
    let (named, format) = file::open(path).map_err(|error| at(error.to_string()))?;
    Ok((unwrap(named), format))
}

/// Names without what wraps all of them.
fn unwrap(mut named: Named) -> Named {
    while let Some(wrapper) =
        WRAPPERS.iter().find(|wrapper| !named.is_empty() && named.keys().all(|name| name.starts_with(**wrapper)))
    {
        named = named.into_iter().map(|(name, values)| (name[wrapper.len()..].to_string(), values)).collect();
    }
    named
}
