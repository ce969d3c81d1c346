//! Names of devices, and what this build has of them.

use burn::tensor::Device;
use shenbi_train::text_to_image::Devices;

use crate::failure::Failure;

/// A device's name, and how to open it.
type Known = (&'static str, fn() -> Device);

/// Every device of this build.
const KNOWN: [Known; 1] = [("cpu", Device::flex)];

/// The device called `name`, given with `flag`.
pub fn open(flag: &str, name: &str) -> Result<Device, Failure> {
    KNOWN.iter().find(|(known, _)| *known == name).map(|(_, open)| open()).ok_or_else(|| {
        let known = KNOWN.map(|(known, _)| known).join(", ");
        Failure::usage(format!("{flag} {name}: no such device in this build; it has: {known}"))
    })
}

/// Where training runs.
#[derive(clap::Args)]
pub struct Flags {
    /// Where to train; this build has: cpu
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
