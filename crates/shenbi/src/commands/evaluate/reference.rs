//! Statistics of the data, kept in a file and compared with later.

use std::path::Path;

use burn::tensor::Device;
use serde::Serialize;
use shenbi_data::decode;
use shenbi_metrics::{Protocol, Saved};

use super::network::{Network, open_features};
use super::pictures::look;
use super::sets::{self, Set};
use super::side::{Keep, Side};
use super::{Args, failed};
use crate::failure::Failure;
use crate::output;

/// Looks at the data alone and keeps its statistics.
pub fn save_reference(args: &Args, path: &Path, device: &Device) -> Result<(), Failure> {
    let network = open_features(args, device)?;
    let set = sets::data(args, None, &args.split, args.compat.is_some())?;
    let side = look(args, set.as_ref(), &network, Keep::default(), "data")?;
    let protocol = protocol(&network, set.as_ref());
    keep(path, &protocol, set.as_ref(), &side)?;
    if !args.json {
        return Ok(());
    }
    let set = format!("{}:{}", set.name(), side.hash);
    output::json(&Kept { reference: path, protocol, set, n: side.moments.count() })
}

/// What was kept, for scripts.
#[derive(Serialize)]
struct Kept<'a> {
    reference: &'a Path,
    protocol: Protocol,
    set: String,
    n: usize,
}

/// Keeps a side's statistics in a file.
pub fn keep(path: &Path, protocol: &Protocol, set: &dyn Set, side: &Side) -> Result<(), Failure> {
    let gaussian = side.moments.gaussian().map_err(failed)?;
    let set = format!("{}:{}", set.name(), side.hash);
    let saved = Saved { protocol: Some(protocol.clone()), set, gaussian };
    decode::write_atomically(path, &saved.to_bytes().map_err(failed)?)?;
    output::note(&format!("statistics of {} pictures: {}", side.moments.count(), path.display()));
    Ok(())
}

/// What features of a set are made by.
pub fn protocol(network: &Network, set: &dyn Set) -> Protocol {
    match set.shape() {
        Some(shape) => Protocol::new(network.id(), shape),
        None => Protocol { pictures: "own-size".to_string(), ..Protocol::new(network.id(), [0; 3]) },
    }
}

/// The statistics of `--reference`, refused where they were made otherwise.
pub fn open_reference(path: &Path, ours: &Protocol, network: &Network) -> Result<Saved, Failure> {
    let at = |message: String| Failure::Failed(format!("--reference {}: {message}", path.display()));
    let bytes = std::fs::read(path).map_err(|error| at(error.to_string()))?;
    let saved = Saved::from_bytes(&bytes).map_err(|error| at(error.to_string()))?;
    let dim = saved.gaussian.mean.len();
    if let Some(theirs) = &saved.protocol {
        let differences = theirs.differences(ours);
        if !differences.is_empty() {
            let message =
                format!("it was made otherwise, so the numbers would not compare: {}", differences.join("; "));
            return Err(at(message));
        }
    } else {
        output::note(
            "warning: the reference does not say what made it; that it is this network and resizer is yours to know",
        );
    }
    if dim != network.dim() {
        return Err(at(format!("it has {dim} features, {} has {}", network.name(), network.dim())));
    }
    Ok(saved)
}
