//! The file of the network that a projected discriminator looks through: read, and known again when a run goes on.

use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use burn::tensor::Device;
use sha2::{Digest, Sha256};
use shenbi_models::backbone::stages::Backbone;
use shenbi_nn::file;

use crate::config::BackboneSettings;

/// The SHA-256 of a file, in hexadecimal digits.
///
/// # Errors
/// It cannot be read; the text says why, and what is expected.
pub fn hash(path: &str) -> Result<String, String> {
    let mut hash = Sha256::new();
    let mut read = || -> io::Result<()> {
        let (mut file, mut buffer) = (File::open(path)?, vec![0; 1 << 20]);
        loop {
            match file.read(&mut buffer)? {
                0 => return Ok(()),
                n => hash.update(&buffer[..n]),
            }
        }
    };
    read().map_err(|error| {
        format!(
            "backbone {path}: {error}; expected a file of torchvision's weights (squeezenet1_0, squeezenet1_1, vgg16, \
             resnet18 or resnet50, .safetensors or .pth), DINOv2's or CLIP's"
        )
    })?;
    Ok(hash.finalize().iter().map(|byte| format!("{byte:02x}")).collect())
}

/// The network that the settings name, whose file must have their hash unless that is empty.
///
/// # Errors
/// The file is missing, another one than before, damaged, or of a network that cannot be used.
pub fn open(settings: &BackboneSettings, device: &Device) -> Result<Backbone, String> {
    let (path, expected) = (settings.file.as_str(), settings.sha256.as_str());
    let found = hash(path)?;
    if !expected.is_empty() && found != expected {
        return Err(format!(
            "backbone {path}: its SHA-256 is {found}, the run was begun with {expected}: put that file back, or name its \
             new place as backbone in config.toml"
        ));
    }
    let (named, format) = file::open(Path::new(path)).map_err(|error| format!("backbone {path}: {error}"))?;
    if let Some((name, _)) = named.iter().find(|(_, values)| values.data.iter().any(|value| !value.is_finite())) {
        return Err(format!("backbone {path}: tensor '{name}' holds numbers that are not finite: damaged"));
    }
    Backbone::from_named(&named, format, settings.side, device).map_err(|error| format!("backbone {path}: {error}"))
}
