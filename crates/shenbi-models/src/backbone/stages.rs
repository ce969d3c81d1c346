//! What a backbone sees on its way, from fine to coarse, for networks that are trained on top of it: four pictures, each
//! of half the sides of the one before.
//!
//! | network | pictures taken | of the side, if that is |
//! |---|---|---|
//! | SqueezeNet 1.0 | before each pooling, and the last | 1/2 to 1/16, 16 n + 5 |
//! | SqueezeNet 1.1 | the same | 1/2 to 1/16, 16 n + 1 |
//! | VGG16 | relu2_2, relu3_3, relu4_3, relu5_3 | 1/2 to 1/16, 16 n |
//! | ResNet-18, ResNet-50 | the four stages | 1/4 to 1/32, 32 n |

use burn::tensor::{Device, Tensor, TensorData};
use shenbi_nn::file::Format;
use shenbi_nn::weights::{Named, WeightsError};

use super::squeezenet::{self, SqueezeNet};
use super::{ResNet, Tensors, Vgg16};

/// ImageNet's means and deviations, of RGB from 0 to 1.
const MEANS: [f32; 3] = [0.485, 0.456, 0.406];
const DEVIATIONS: [f32; 3] = [0.229, 0.224, 0.225];
/// Pixels on a side of the coarsest picture, at least.
pub const LEAST: usize = 4;

/// A network that shows its stages.
#[derive(Clone, Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one a process")]
enum Network {
    SqueezeNet(SqueezeNet),
    Vgg16(Vgg16),
    ResNet(ResNet),
}

/// A network and how it wants its pictures.
#[derive(Clone, Debug)]
pub struct Backbone {
    network: Network,
    /// A value from -1 to 1 times this...
    scale: [f32; 3],
    /// ...plus this.
    shift: [f32; 3],
    /// Its name.
    pub name: &'static str,
}

impl Backbone {
    /// The network of torchvision's named tensors on `device`. SqueezeNet 1.0 takes Caffe's input if they come from
    /// safetensors, torchvision's if they come from PyTorch's own files.
    ///
    /// # Errors
    /// It is none that shows its stages, or a tensor is missing or has another shape.
    pub fn from_named(named: &Named, format: Format, device: &Device) -> Result<Self, String> {
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
        } else {
            let first = named.keys().next().map_or("none", String::as_str);
            return Err(format!(
                "its tensors (the first: '{first}') are of no network that can stand in a discriminator: expected \
                 torchvision's squeezenet1_0, squeezenet1_1, vgg16, resnet18 or resnet50"
            ));
        };
        let (scale, shift) = if name == "squeezenet1_0" && format == Format::Safetensors {
            ([127.5; 3], squeezenet::MEANS.map(|mean| 127.5 - mean))
        } else {
            let shift = [0, 1, 2].map(|c| (0.5 - MEANS[c]) / DEVIATIONS[c]);
            (DEVIATIONS.map(|deviation| 0.5 / deviation), shift)
        };
        Ok(Self { network, scale, shift, name })
    }

    /// The side for which all stages halve exactly that is nearest to `side`.
    pub fn side(&self, side: usize) -> usize {
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
        let device = rgb.device().without_autodiff();
        let [scale, shift] = [self.scale, self.shift]
            .map(|v| Tensor::<4>::from_data(TensorData::new(v.to_vec(), [1, 3, 1, 1]), &device));
        let x = rgb * scale + shift;
        match &self.network {
            Network::SqueezeNet(network) => network.stages(x),
            Network::Vgg16(network) => network.stages(x).split_off(1),
            Network::ResNet(network) => network.stages(x),
        }
    }
}
