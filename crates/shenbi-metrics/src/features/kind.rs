//! Which networks there are, what their files are called, and how they are told apart.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use burn::tensor::Device;
use sha2::{Digest, Sha256};
use shenbi_models::backbone::{GoogLeNet, InceptionV3, ResNet, SqueezeNet, Tensors, Vgg16, Vit};
use shenbi_nn::weights::{Named, WeightsError};

use super::network::Network;
use crate::{MetricsError, Result};

/// What torchvision's AlexNet is published as: LPIPS alone looks through it.
const ALEXNET: &str = "alexnet-owt";

/// A network that this program knows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    /// InceptionV3 of 2015 with 1,008 classes: the one that FID and the Inception Score are defined by.
    Inception2015,
    /// torchvision's `inception_v3`.
    InceptionV3,
    /// torchvision's `googlenet`.
    GoogLeNet,
    /// torchvision's `vgg16`.
    Vgg16,
    /// torchvision's `resnet18`.
    ResNet18,
    /// torchvision's `resnet50`.
    ResNet50,
    /// torchvision's `squeezenet1_0`.
    SqueezeNet10,
    /// torchvision's `squeezenet1_1`.
    SqueezeNet11,
    /// DINOv2, ViT-S/14.
    Dinov2S,
    /// DINOv2, ViT-B/14.
    Dinov2B,
    /// DINOv2, ViT-L/14.
    Dinov2L,
    /// The picture tower of CLIP, ViT-B/32.
    ClipB32,
}

impl Kind {
    /// All of them.
    pub const ALL: [Self; 12] = [
        Self::Inception2015,
        Self::InceptionV3,
        Self::GoogLeNet,
        Self::Vgg16,
        Self::ResNet18,
        Self::ResNet50,
        Self::SqueezeNet10,
        Self::SqueezeNet11,
        Self::Dinov2S,
        Self::Dinov2B,
        Self::Dinov2L,
        Self::ClipB32,
    ];

    /// Its name on the command line and in protocols, what scores are named after, and the names under which its weights
    /// are published, without what follows the last hyphen where that is a hash.
    const fn names(self) -> (&'static str, &'static str, &'static [&'static str]) {
        match self {
            Self::Inception2015 => {
                ("inception-2015", "Inception", &["pt_inception-2015-12-05", "weights-inception-2015-12-05"])
            }
            Self::InceptionV3 => ("inception-v3", "InceptionV3", &["inception_v3_google", "inception_v3"]),
            Self::GoogLeNet => ("googlenet", "GoogLeNet", &["googlenet"]),
            Self::Vgg16 => ("vgg16", "VGG16", &["vgg16"]),
            Self::ResNet18 => ("resnet18", "ResNet18", &["resnet18"]),
            Self::ResNet50 => ("resnet50", "ResNet50", &["resnet50"]),
            Self::SqueezeNet10 => ("squeezenet1_0", "SqueezeNet", &["squeezenet1_0"]),
            Self::SqueezeNet11 => ("squeezenet1_1", "SqueezeNet 1.1", &["squeezenet1_1"]),
            Self::Dinov2S => {
                ("dinov2-vits14", "DINOv2 S", &["dinov2_vits14_pretrain", "dinov2_vits14", "dinov2-small"])
            }
            Self::Dinov2B => ("dinov2-vitb14", "DINOv2 B", &["dinov2_vitb14_pretrain", "dinov2_vitb14", "dinov2-base"]),
            Self::Dinov2L => {
                ("dinov2-vitl14", "DINOv2 L", &["dinov2_vitl14_pretrain", "dinov2_vitl14", "dinov2-large"])
            }
            Self::ClipB32 => ("clip-vitb32", "CLIP", &["clip-vit-base-patch32", "clip-vitb32"]),
        }
    }

    /// Its name on the command line and in protocols.
    pub fn slug(self) -> &'static str {
        self.names().0
    }

    /// What scores on its features are named after.
    pub fn name(self) -> &'static str {
        self.names().1
    }

    /// The network of this name on the command line.
    pub fn from_slug(slug: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.slug() == slug)
    }

    /// All names on the command line.
    pub fn slugs() -> String {
        Self::ALL.map(Self::slug).join(", ")
    }

    /// Which network these tensors are of.
    ///
    /// # Errors
    /// None that is known.
    pub fn of(named: &Named) -> Result<Self> {
        let tensors = Tensors::new(named, &Device::default());
        let unknown = |what: String| {
            MetricsError::Metadata(format!("{what}: expected the weights of one of these networks: {}", Self::slugs()))
        };
        if tensors.has("Mixed_7c.branch1x1.conv.weight") {
            let of_2015 = InceptionV3::is_2015(&tensors)?;
            return Ok(if of_2015 { Self::Inception2015 } else { Self::InceptionV3 });
        }
        if tensors.has("inception5b.branch1.conv.weight") {
            return Ok(Self::GoogLeNet);
        }
        if let Ok(first) = tensors.shape("features.0.weight") {
            return match first {
                [96, ..] if tensors.has("features.3.squeeze.weight") => Ok(Self::SqueezeNet10),
                [64, ..] if tensors.has("features.3.squeeze.weight") => Ok(Self::SqueezeNet11),
                _ if tensors.has("features.28.weight") && !tensors.has("features.30.weight") => Ok(Self::Vgg16),
                _ => Err(unknown("neither SqueezeNet nor VGG16".to_string())),
            };
        }
        if tensors.has("layer1.0.conv1.weight") {
            return match ResNet::blocks(&tensors) {
                ([2, 2, 2, 2], false) => Ok(Self::ResNet18),
                ([3, 4, 6, 3], true) => Ok(Self::ResNet50),
                (blocks, _) => Err(unknown(format!("a ResNet of {blocks:?} blocks"))),
            };
        }
        if let Some((clip, width, patch)) = Vit::size_of(&tensors) {
            return match (clip, width, patch) {
                (false, 384, 14) => Ok(Self::Dinov2S),
                (false, 768, 14) => Ok(Self::Dinov2B),
                (false, 1024, 14) => Ok(Self::Dinov2L),
                (true, 768, 32) => Ok(Self::ClipB32),
                _ => Err(unknown(format!("a vision transformer of width {width} with patches of {patch}"))),
            };
        }
        let first = named.keys().next().map_or("no tensors", String::as_str);
        Err(unknown(format!("no known network (the file begins with '{first}')")))
    }

    /// The network itself.
    pub(super) fn build(self, tensors: &Tensors) -> std::result::Result<Network, WeightsError> {
        Ok(match self {
            Self::Inception2015 => Network::Inception(InceptionV3::from_tensors(tensors)?, false),
            Self::InceptionV3 => Network::Inception(InceptionV3::from_tensors(tensors)?, true),
            Self::GoogLeNet => Network::GoogLeNet(GoogLeNet::from_tensors(tensors)?),
            Self::Vgg16 => Network::Vgg16(Vgg16::from_tensors(tensors)?),
            Self::ResNet18 | Self::ResNet50 => Network::ResNet(ResNet::from_tensors(tensors)?),
            Self::SqueezeNet10 | Self::SqueezeNet11 => Network::SqueezeNet(SqueezeNet::from_tensors(tensors)?),
            Self::Dinov2S | Self::Dinov2B | Self::Dinov2L | Self::ClipB32 => Network::Vit(Vit::from_tensors(tensors)?),
        })
    }

    /// Its weights in the first of these folders that has any: a file of the network's name here, or of a name that it is
    /// published under.
    pub(super) fn find(self, folders: &[PathBuf]) -> Option<PathBuf> {
        let (slug, _, published) = self.names();
        let ours = |stem: &str| stem == slug || published.contains(&stem) || published.contains(&split(stem).0);
        folders.iter().find_map(|folder| {
            let mut files: Vec<PathBuf> = std::fs::read_dir(folder).ok()?.flatten().map(|entry| entry.path()).collect();
            files.sort();
            files.into_iter().find(|path| {
                let known = path.extension().is_some_and(|end| end == "safetensors" || end == "pth" || end == "pt");
                known && path.file_stem().and_then(|stem| stem.to_str()).is_some_and(ours)
            })
        })
    }
}

/// Folders where weights are kept: `SHENBI_WEIGHTS`, then PyTorch's.
pub fn folders() -> Vec<PathBuf> {
    let variable = |name: &str| std::env::var_os(name).filter(|value| !value.is_empty()).map(PathBuf::from);
    let home = || variable("HOME").or_else(|| variable("USERPROFILE")).map(|home| home.join(".cache"));
    let torch = || variable("XDG_CACHE_HOME").or_else(home).map(|cache| cache.join("torch"));
    let torch = variable("TORCH_HOME").or_else(torch).map(|torch| torch.join("hub").join("checkpoints"));
    variable("SHENBI_WEIGHTS").into_iter().chain(torch).collect()
}

/// `name-0123abcd` as the name and the hash.
fn split(stem: &str) -> (&str, Option<&str>) {
    match stem.rsplit_once('-') {
        Some((name, hash)) if hash.len() == 8 && hash.bytes().all(|b| b.is_ascii_hexdigit()) => (name, Some(hash)),
        _ => (stem, None),
    }
}

/// Where a file has the name of a published one, with the first eight digits of its SHA-256, compares them.
///
/// # Errors
/// They differ, or the file cannot be read.
pub fn check_hash(path: &Path) -> Result<()> {
    let stem = path.file_stem().and_then(|stem| stem.to_str()).unwrap_or_default();
    let (name, Some(expected)) = split(stem) else { return Ok(()) };
    let known = name == ALEXNET || Kind::ALL.iter().any(|kind| kind.names().2.contains(&name));
    if !known {
        return Ok(());
    }
    let unreadable = |error: io::Error| MetricsError::Setting(format!("{}: cannot be read: {error}", path.display()));
    let (mut file, mut hash, mut buffer) = (File::open(path).map_err(unreadable)?, Sha256::new(), vec![0; 1 << 20]);
    loop {
        match file.read(&mut buffer).map_err(unreadable)? {
            0 => break,
            n => hash.update(&buffer[..n]),
        }
    }
    let found: String = hash.finalize().iter().take(4).map(|byte| format!("{byte:02x}")).collect();
    if found != expected.to_ascii_lowercase() {
        return Err(MetricsError::Setting(format!(
            "{}: its SHA-256 begins with {found}, not with {expected} as its name says: it is cut off or another file; \
             load it again, or rename it if it is your own",
            path.display()
        )));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn weights_are_found_by_published_names() {
        let folder = tempfile::tempdir().unwrap();
        let folders = [folder.path().join("absent"), folder.path().to_path_buf()];
        assert_eq!(Kind::ResNet18.find(&folders), None);
        for (file, kind) in [
            ("resnet18-f37072fd.pth", Kind::ResNet18),
            ("pt_inception-2015-12-05-6726825d.pth", Kind::Inception2015),
            ("inception_v3_google-0cc3c7bd.pth", Kind::InceptionV3),
            ("googlenet-1378be20.pth", Kind::GoogLeNet),
            ("squeezenet1_0.safetensors", Kind::SqueezeNet10),
            ("dinov2_vits14_pretrain.pth", Kind::Dinov2S),
            ("clip-vitb32.safetensors", Kind::ClipB32),
        ] {
            let path = folder.path().join(file);
            std::fs::write(&path, "no weights").unwrap();
            assert_eq!(kind.find(&folders), Some(path.clone()), "{file}");
            assert_eq!(
                Kind::ALL.into_iter().filter(|kind| kind.find(&folders) == Some(path.clone())).count(),
                1,
                "{file}"
            );
        }
        assert_eq!(Kind::Vgg16.find(&folders), None);
        assert!(Kind::ALL.iter().all(|kind| Kind::from_slug(kind.slug()) == Some(*kind)));
    }

    #[test]
    fn a_hash_in_a_published_name_is_checked() {
        let folder = tempfile::tempdir().unwrap();
        let check = |name: &str| {
            std::fs::write(folder.path().join(name), "abc").unwrap();
            check_hash(&folder.path().join(name)).map_err(|error| error.to_string())
        };
        // SHA-256 of "abc": ba7816bf...
        let error = check("googlenet-1378be20.pth").unwrap_err();
        assert!(["begins with ba7816bf", "not with 1378be20", "load it again"].iter().all(|part| error.contains(part)));
        assert!(check("alexnet-owt-7be5be79.pth").is_err());
        assert_eq!(check("googlenet-ba7816bf.pth"), Ok(()));
        assert_eq!(check("mine-20250101.pth"), Ok(()));
        assert_eq!(check("googlenet.pth"), Ok(()));
    }
}
