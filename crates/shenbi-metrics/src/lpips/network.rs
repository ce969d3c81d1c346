//! The networks through which LPIPS looks: AlexNet, VGG16 and SqueezeNet 1.1, as the authors' program has them (version
//! 0.1), each with its own linear layers; and SqueezeNet 1.0 for the unweighted distance.
//!
//! Pictures keep their size; they pass as RGB from -1 to 1, less a shift, over a scale, which the program's `ScalingLayer`
//! has: ImageNet's means and deviations, rounded.

use std::path::Path;

use burn::tensor::{Device, Tensor, TensorData};
use serde::Serialize;
use shenbi_data::{Picture, decode};
use shenbi_models::backbone::{AlexNet, SqueezeNet, Tensors, Vgg16, squeezenet};
use shenbi_nn::file::Format;
use shenbi_nn::kernels::in_f32;
use shenbi_nn::weights::{self, Named};

use super::{Layer, lpips};
use crate::features::{self, Kind};
use crate::{MetricsError, Result, support};

/// Of RGB from -1 to 1.
const SHIFT: [f32; 3] = [-0.030, -0.088, -0.188];
const SCALE: [f32; 3] = [0.458, 0.448, 0.450];
/// Height and width, at least: smaller pictures vanish on the way.
const SMALLEST: usize = 32;
/// Pixels that pass through a network at once; one pair does in any case.
const PIXELS: usize = 1 << 16;

#[derive(Debug)]
#[expect(clippy::large_enum_variant, reason = "there is one a process")]
enum Network {
    AlexNet(AlexNet),
    Vgg16(Vgg16),
    SqueezeNet(SqueezeNet),
}

/// How different two pictures look.
#[derive(Debug)]
pub struct Lpips {
    network: Network,
    /// Of each channel, layer by layer; nothing for the unweighted distance.
    weights: Option<Vec<Vec<f32>>>,
    /// A value from 0 to 255 times this...
    scale: [f32; 3],
    /// ...plus this.
    shift: [f32; 3],
    name: &'static str,
    id: String,
    device: Device,
}

/// The mean distance of pairs of pictures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct Diversity {
    /// What was measured by what; figures with different protocols do not compare.
    pub protocol: String,
    /// What the distance is called.
    pub name: String,
    /// Pairs of pictures.
    pub pairs: usize,
    /// Mean distance.
    pub mean: f64,
    /// Standard error of the mean.
    pub error: f64,
}

impl Lpips {
    /// The distance through the network that `network` means, as [`crate::FeatureNetwork::open`] has it. linear: a file of
    /// the authors' linear layers (`lin0.model.1.weight` and so on); without, all weights are 1.
    ///
    /// # Errors
    /// A file cannot be read, or holds another network, or the layers are another network's.
    pub fn open(network: &str, linear: Option<&Path>, device: &Device) -> Result<Self> {
        let (path, _) = features::locate(network)?;
        let (named, format) = features::read(&path)?;
        let at = |path: &Path, error: MetricsError| MetricsError::Setting(format!("{}: {error}", path.display()));
        let this = Self::from_named(named, format, device).map_err(|error| at(&path, error))?;
        match linear {
            None => Ok(this),
            Some(path) => this.weighted(&features::read(path)?.0).map_err(|error| at(path, error)),
        }
    }

    /// The unweighted distance through the network of torchvision's named tensors. SqueezeNet 1.0 takes Caffe's input if
    /// they come from safetensors, torchvision's if they come from PyTorch's own files.
    ///
    /// # Errors
    /// It is another network, or a tensor is missing or has another shape.
    pub fn from_named(mut named: Named, format: Format, device: &Device) -> Result<Self> {
        let device = device.clone().without_autodiff();
        // Fully connected layers are large and not looked at.
        named.retain(|name, _| name.starts_with("features.") || name.starts_with("classifier.1."));
        let tensors = Tensors::new(&named, &device);
        let wrong = |name: &str, error| MetricsError::Metadata(format!("not {name} as it should be: {error}"));
        let (slug, name, network) = if AlexNet::is_in(&tensors) {
            let network = AlexNet::from_tensors(&tensors).map_err(|error| wrong("AlexNet", error))?;
            ("alexnet", "AlexNet", Network::AlexNet(network))
        } else {
            let kind = Kind::of(&named).ok();
            let network = match kind {
                Some(Kind::Vgg16) => Vgg16::from_tensors(&tensors).map(Network::Vgg16),
                Some(Kind::SqueezeNet10 | Kind::SqueezeNet11) => {
                    SqueezeNet::from_tensors(&tensors).map(Network::SqueezeNet)
                }
                _ => {
                    return Err(MetricsError::Setting(
                        "LPIPS looks through torchvision's alexnet, vgg16 or squeezenet1_1 (unweighted: squeezenet1_0 \
                         too); give the file of one of these"
                            .to_string(),
                    ));
                }
            };
            let kind = kind.unwrap_or(Kind::Vgg16);
            (kind.slug(), kind.name(), network.map_err(|error| wrong(kind.slug(), error))?)
        };
        let used = tensors.used();
        named.retain(|name, _| used.contains(name));
        let caffe = slug == "squeezenet1_0" && format == Format::Safetensors;
        let (scale, shift) = if caffe {
            ([1.0; 3], squeezenet::MEANS.map(|mean| -mean))
        } else {
            ([0, 1, 2].map(|c| 2.0 / (255.0 * SCALE[c])), [0, 1, 2].map(|c| (-1.0 - SHIFT[c]) / SCALE[c]))
        };
        let input = if caffe { "/caffe" } else { "" };
        let id = format!("perceptual-v1/{slug}:{}{input}/unweighted", support::fingerprint(&named)?);
        Ok(Self { network, weights: None, scale, shift, name, id, device })
    }

    /// The distance with the authors' linear layers.
    ///
    /// # Errors
    /// A layer is missing or has other channels than the network, or a weight is negative.
    pub fn weighted(self, named: &Named) -> Result<Self> {
        let (layers, kept): (&[usize], _) = match &self.network {
            Network::AlexNet(_) => (&[64, 192, 384, 256, 256], "alex.pth"),
            Network::Vgg16(_) => (&[64, 128, 256, 512, 512], "vgg.pth"),
            Network::SqueezeNet(network) if network.version == squeezenet::VERSION_1_1 => {
                (&[64, 128, 256, 384, 384, 512, 512], "squeeze.pth")
            }
            Network::SqueezeNet(_) => {
                let message = "LPIPS has no linear layers for SqueezeNet 1.0; give squeezenet1_1 as the network";
                return Err(MetricsError::Setting(message.to_string()));
            }
        };
        let tensors = Tensors::new(named, &self.device);
        let of_layer = |(l, channels): (usize, &usize)| {
            let name = format!("lin{l}.model.1.weight");
            let wrong = |what: String| {
                MetricsError::Setting(format!(
                    "{what}; expected the linear layers of LPIPS for {}: {kept} of version 0.1",
                    self.name
                ))
            };
            let values = tensors.values(&name, &[1, *channels, 1, 1]).map_err(|error| wrong(error.to_string()))?;
            match values.iter().find(|weight| !(weight.is_finite() && **weight >= 0.0)) {
                Some(weight) => Err(wrong(format!("'{name}' has a weight of {weight}"))),
                None => Ok(values.to_vec()),
            }
        };
        let weights = layers.iter().enumerate().map(of_layer).collect::<Result<Vec<_>>>()?;
        if named.contains_key(&format!("lin{}.model.1.weight", layers.len())) {
            let message =
                format!("more than {} linear layers: they are of another network than {}", layers.len(), self.name);
            return Err(MetricsError::Setting(message));
        }
        let used = tensors.used();
        let used: Named =
            named.iter().filter(|(name, _)| used.contains(*name)).map(|(n, v)| (n.clone(), v.clone())).collect();
        let network = self.id.trim_start_matches("perceptual-v1/").trim_end_matches("/unweighted");
        let id = format!("lpips-v0.1/{network}/linear:{}", support::fingerprint(&used)?);
        Ok(Self { weights: Some(weights), id, ..self })
    }

    /// What the distance is called: LPIPS with the authors' weights only.
    pub fn name(&self) -> String {
        let what = if self.weights.is_some() { "LPIPS" } else { "perceptual distance" };
        format!("{what} ({})", self.name)
    }

    /// Its place in a protocol.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The distance of each pair, in f32 whatever precision is in force; grey becomes RGB, transparency is laid onto white.
    ///
    /// # Errors
    /// A picture has another size than the first, or is smaller than 32x32.
    pub fn distances(&self, pairs: &[[Picture; 2]]) -> Result<Vec<f64>> {
        let Some([first, _]) = pairs.first() else { return Ok(Vec::new()) };
        let size = [first.height, first.width];
        if size.iter().any(|side| *side < SMALLEST) {
            let message = format!(
                "pictures of {}x{}: LPIPS looks at {SMALLEST}x{SMALLEST} at least; enlarge them, or leave it out",
                size[0], size[1]
            );
            return Err(MetricsError::Setting(message));
        }
        let at_once = (PIXELS / (2 * size[0] * size[1])).max(1);
        let mut distances = Vec::with_capacity(pairs.len());
        for pairs in pairs.chunks(at_once) {
            in_f32(|| self.look(pairs, size, &mut distances))?;
        }
        Ok(distances)
    }

    fn look(&self, pairs: &[[Picture; 2]], size: [usize; 2], distances: &mut Vec<f64>) -> Result<()> {
        let [height, width] = size;
        let mut x = Vec::with_capacity(pairs.len() * 6 * height * width);
        for picture in pairs.iter().flatten() {
            if [picture.height, picture.width] != size {
                let (h, w) = (picture.height, picture.width);
                let message = format!("pictures of {height}x{width} and of {h}x{w}: bring them to one size first");
                return Err(MetricsError::Setting(message));
            }
            let rgb = decode::with_channels(picture.clone(), 3)?.pixels;
            for ((c, scale), shift) in self.scale.iter().enumerate().zip(self.shift) {
                x.extend(rgb.iter().skip(c).step_by(3).map(|value| f32::from(*value) * scale + shift));
            }
        }
        let x = Tensor::from_data(TensorData::new(x, [2 * pairs.len(), 3, height, width]), &self.device);
        let seen = match &self.network {
            Network::AlexNet(network) => network.stages(x),
            Network::Vgg16(network) => network.stages(x),
            Network::SqueezeNet(network) => network.layers(x),
        };
        let seen: Vec<(usize, Vec<f32>)> =
            seen.into_iter().map(|layer| (layer.dims()[1], weights::values(layer).data)).collect();
        let unweighted: Vec<Vec<f32>> = match self.weights {
            Some(_) => Vec::new(),
            None => seen.iter().map(|(channels, _)| vec![1.0; *channels]).collect(),
        };
        let weights: Vec<&[f32]> = self.weights.as_ref().unwrap_or(&unweighted).iter().map(Vec::as_slice).collect();
        let layers = |place: usize| -> Vec<Layer<'_>> {
            let mut layers = Vec::with_capacity(seen.len());
            for (channels, values) in &seen {
                let each = values.len() / (2 * pairs.len());
                layers.push(Layer { channels: *channels, values: &values[place * each..][..each] });
            }
            layers
        };
        for pair in 0..pairs.len() {
            distances.push(lpips(&layers(2 * pair), &layers(2 * pair + 1), &weights)?);
        }
        Ok(())
    }

    /// The mean of distances of pairs, under a name of what they are pairs of.
    ///
    /// # Errors
    /// There are fewer than two.
    pub fn diversity(&self, distances: &[f64], of: &str) -> Result<Diversity> {
        let n = distances.len() as f64;
        if distances.len() < 2 {
            let message = format!("{}: {} pairs of pictures; at least 2 are needed", self.name(), distances.len());
            return Err(MetricsError::Setting(message));
        }
        let mean = distances.iter().sum::<f64>() / n;
        let variance = distances.iter().map(|distance| (distance - mean).powi(2)).sum::<f64>() / (n - 1.0);
        Ok(Diversity {
            protocol: format!("{}/{of}/pairs={}", self.id, distances.len()),
            name: self.name(),
            pairs: distances.len(),
            mean,
            error: (variance / n).sqrt(),
        })
    }
}
