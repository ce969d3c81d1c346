//! Names of devices, and what this build has of them.

use burn::tensor::Device;

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

/// Where training runs: on one device.
#[derive(clap::Args)]
pub struct Devices {
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

impl Devices {
    /// The device to train on.
    pub fn open(&self) -> Result<Device, Failure> {
        let device = open("--device", &self.device)?;
        let named = |flag, name: &Option<String>| name.as_deref().map_or(Ok(device.clone()), |name| open(flag, name));
        let (generator, discriminator) = (named("--device-g", &self.device_g)?, named("--device-d", &self.device_d)?);
        if generator != discriminator {
            let message = "--device-g and --device-d name two devices: this version trains both networks on one; \
                give --device alone";
            return Err(Failure::usage(message));
        }
        Ok(generator)
    }
}
