//! Names of devices, and what this build has of them.

use std::sync::{Mutex, PoisonError};

use burn::tensor::Device;
use shenbi_train::trainer::Devices;

use crate::failure::Failure;

/// A device's name, and how to open it; an error says why it cannot be.
type Known = (&'static str, fn() -> Result<Device, String>);

/// Every device of this build.
const KNOWN: &[Known] = &[
    ("cpu", || Ok(Device::flex())),
    #[cfg(feature = "gpu")]
    ("gpu", || Device::wgpu_options().init().map_err(|error| error.to_string())),
];

/// Opened once: a GPU can be set up only once in a process.
static OPENED: Mutex<Vec<(&str, Device)>> = Mutex::new(Vec::new());

/// The device called `name`, given with `flag`.
pub fn open(flag: &str, name: &str) -> Result<Device, Failure> {
    let Some((name, open)) = KNOWN.iter().find(|(known, _)| *known == name) else {
        let known = KNOWN.iter().map(|(known, _)| *known).collect::<Vec<_>>().join(", ");
        let remedy = if cfg!(feature = "gpu") { "" } else { "; build with --features gpu for GPUs" };
        return Err(Failure::usage(format!("{flag} {name}: no such device in this build; it has: {known}{remedy}")));
    };
    let mut opened = OPENED.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some((_, device)) = opened.iter().find(|(known, _)| known == name) {
        return Ok(device.clone());
    }
    let device = open().map_err(|error| {
        let error = error.lines().next().unwrap_or_default();
        Failure::Failed(format!(
            "{flag} {name}: no usable GPU ({error}); install its Vulkan driver, or use --device cpu"
        ))
    })?;
    opened.push((name, device.clone()));
    Ok(device)
}

/// Where training runs.
#[derive(clap::Args)]
pub struct Flags {
    /// Where to train: cpu, or gpu in a build with the feature of that name
    #[arg(long, value_name = "DEVICE", default_value = "cpu", help_heading = "Machine")]
    device: String,
    /// Where the generator lives, if elsewhere
    #[arg(long, value_name = "DEVICE", help_heading = "Machine")]
    device_g: Option<String>,
    /// Where the discriminator lives, if elsewhere
    #[arg(long, value_name = "DEVICE", help_heading = "Machine")]
    device_d: Option<String>,
}

impl Flags {
    /// The devices to train on.
    pub fn open(&self) -> Result<Devices, Failure> {
        let device = open("--device", &self.device)?;
        let named = |flag, name: &Option<String>| name.as_deref().map_or(Ok(device.clone()), |name| open(flag, name));
        Ok(Devices {
            generator: named("--device-g", &self.device_g)?,
            discriminator: named("--device-d", &self.device_d)?,
        })
    }
}
