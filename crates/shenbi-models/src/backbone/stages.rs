//! What a backbone sees on its way, from fine to coarse, for networks that are trained on top of it: four pictures, each
//! of half the sides of the one before.
//!
//! | network | pictures taken | of the side, if that is |
//! |---|---|---|
//! | SqueezeNet 1.0 | before each pooling, and the last | 1/2 to 1/16, 16 n + 5 |
//! | SqueezeNet 1.1 | the same | 1/2 to 1/16, 16 n + 1 |
//! | VGG16 | relu2_2, relu3_3, relu4_3, relu5_3 | 1/2 to 1/16, 16 n |
//! | ResNet-18, ResNet-50 | the four stages | 1/4 to 1/32, 32 n |
//! | DINOv2, CLIP's picture tower | tokens after each quarter of the layers, as pictures | brought to 32, 16, 8 and 4 |
//!
//! A Vision Transformer has tokens of one size throughout; its grids are interpolated to the four sizes. CLIP's are the
//! features of GALIP's discriminator (2301.12959), under the heads of Projected GAN.

use burn::tensor::{Device, Tensor};
use shenbi_nn::file::Format;
use shenbi_nn::weights::{Named, WeightsError};

use super::squeezenet::{self, SqueezeNet};
use super::view::{Colours, resized};
use super::{ResNet, Tensors, Vgg16, Vit, vit};

/// ImageNet's means and deviations, of RGB from 0 to 1.
const MEANS: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATIONS: [f32; 3] = [0.229, 0.224, 0.225];
/// Pixels on a side of the coarsest picture, at least.
pub const LEAST: usize = 4;
/// Pictures that a backbone shows.
const STAGES: usize = 4;
/// Patches on a side of what a Vision Transformer is shown, at most.
const MOST_PATCHES: usize = 37;

/// A network that shows its stages.
#[derive(Clone, Debug)]
enum Network {
    SqueezeNet(SqueezeNet),
    Vgg16(Vgg16),
    ResNet(ResNet),
    Vit(Vit),
}

/// A network and how it wants its pictures.
#[derive(Clone, Debug)]
pub struct Backbone {
    network: Network,
    colours: Colours,
    /// Its name.
    pub name: &'static str,
}

impl Backbone {
    /// The network of torchvision's named tensors on `device`, or of DINOv2's or CLIP's. side: of the pictures it will be
    /// shown, about, which a Vision Transformer's positions depend on. SqueezeNet 1.0 takes Caffe's input if its tensors
    /// come from safetensors, torchvision's if they come from PyTorch's own files; CLIP is taken for OpenAI's.
    ///
    /// # Errors
    /// It is none that shows its stages, or a tensor is missing or has another shape.
    pub fn from_named(named: &Named, format: Format, side: usize, device: &Device) -> Result<Self, String> {
        let tensors = Tensors::new(named, device);
        let wrong = |name: &str, error: WeightsError| format!("not {name} as it should be: {error}");
        let (name, network) = if tensors.has("features.3.squeeze.weight") || tensors.has("features.4.squeeze.weight") {
            let network = SqueezeNet::from_tensors(&tensors).map_err(|error| wrong("SqueezeNet", error))?;
            let newer = network.version == squeezenet::VERSION_1_1;
            (if newer { "squeezenet1_1" } else { "squeezenet1_0" }, Network::SqueezeNet(network))
        } else if tensors.has("features.28.weight") && !tensors.has("features.30.weight") {
            ("vgg16", Network::Vgg16(Vgg16::from_tensors(&tensors).map_err(|error| wrong("VGG16", error))?))
        } else if tensors.has("layer1.0.conv1.weight") {
            ("resnet", Network::ResNet(ResNet::from_tensors(&tensors).map_err(|error| wrong("ResNet", error))?))
        } else if let Some((clip, _, patch)) = Vit::size_of(&tensors) {
            let patches = ((side + patch / 2) / patch.max(1)).clamp(LEAST, MOST_PATCHES);
            let network =
                Vit::with_patches(&tensors, true, patches).map_err(|error| wrong("a Vision Transformer", error))?;
            if network.layers.len() < STAGES {
                return Err(format!(
                    "a Vision Transformer of {} layers: at least {STAGES} are needed",
                    network.layers.len()
                ));
            }
            (if clip { "clip" } else { "dinov2" }, Network::Vit(network))
        } else {
            let first = named.keys().next().map_or("none", String::as_str);
            return Err(format!(
                "its tensors (the first: '{first}') are of no network that can stand in a discriminator: expected \
                 torchvision's squeezenet1_0, squeezenet1_1, vgg16, resnet18 or resnet50, DINOv2's or CLIP's"
            ));
        };
        let colours = match (name, format) {
            ("squeezenet1_0", Format::Safetensors) => {
                Colours { scale: [127.5; 3], shift: squeezenet::MEANS.map(|mean| 127.5 - mean) }
            }
            ("clip", _) => Colours::normal(vit::CLIP_MEANS, vit::CLIP_DEVIATIONS),
            _ => Colours::normal(MEANS, DEVIATIONS),
        };
        Ok(Self { network, colours, name })
    }

    /// The side for which all stages halve exactly that is nearest to `side`.
    pub fn side(&self, side: usize) -> usize {
        if let Network::Vit(network) = &self.network {
            return network.side();
        }
        let (step, more) = match self.name {
            "squeezenet1_0" => (16, 5),
            "squeezenet1_1" => (16, 1),
            "vgg16" => (16, 0),
            _ => (32, 0),
        };
        let n = (side.saturating_sub(more) + step / 2) / step;
        n.max(LEAST) * step + more
    }

    /// What it sees, from fine to coarse.
    ///
    /// # Shapes
    /// rgb: `[b, 3, side, side]` in [-1, 1], side being one that [`Self::side`] gives; returns `[b, c, 8 n, 8 n]`,
    /// `[b, c', 4 n, 4 n]`, `[b, c'', 2 n, 2 n]` and `[b, c''', n, n]`.
    pub fn stages(&self, rgb: Tensor<4>) -> Vec<Tensor<4>> {
        let x = self.colours.apply(rgb);
        match &self.network {
            Network::SqueezeNet(network) => network.stages(x),
            Network::Vgg16(network) => network.stages(x).split_off(1),
            Network::ResNet(network) => network.stages(x),
            Network::Vit(network) => {
                let grids = network.grids(x, STAGES).into_iter().enumerate();
                grids.map(|(level, grid)| resized(grid, LEAST << (STAGES - 1 - level))).collect()
            }
        }
    }
}
