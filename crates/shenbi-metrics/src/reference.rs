//! Statistics of a reference set, kept in a file: mean and covariance of its features, and what they were made by.
//!
//! Our files are safetensors (`mean`, `covariance` in f64) whose metadata holds the protocol; a reference made by another
//! network, resizer or at another picture size is refused, and the message names what differs. NumPy's `.npz` with `mu`
//! and `sigma`, as pytorch-fid and clean-fid write them, say nothing of their making: whoever gives one vouches for it,
//! and the score's protocol carries the file's hash instead.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};
use serde::{Deserialize, Serialize};
use shenbi_data::Picture;

use crate::frechet::Gaussian;
use crate::{MetricsError, Result, npy};

const KIND: &str = "reference-statistics";
const FORMAT: &str = "1";
/// Features, at most.
const MOST: usize = 8192;

/// What features were made by: where it differs, scores do not compare.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Protocol {
    /// The network and a hash of its weights.
    pub network: String,
    /// How pictures come to the network's size.
    pub resizer: String,
    /// Height, width and channels that pictures were brought to before.
    pub pictures: String,
}

impl Protocol {
    /// id: a network's, whose parts are its weights and its resizer. pictures: height, width, channels.
    pub fn new(id: &str, [height, width, channels]: [usize; 3]) -> Self {
        let (network, resizer) = id.split_once('/').unwrap_or((id, ""));
        let pictures = format!("{height}x{width}x{channels}");
        Self { network: network.to_string(), resizer: resizer.to_string(), pictures }
    }

    /// What differs, in words; nothing where scores compare.
    pub fn differences(&self, other: &Self) -> Vec<String> {
        let parts = [
            ("network", &self.network, &other.network),
            ("resizer", &self.resizer, &other.resizer),
            ("picture size", &self.pictures, &other.pictures),
        ];
        let unlike = parts.into_iter().filter(|(_, a, b)| a != b);
        unlike.map(|(what, a, b)| format!("{what} {a} against {b}")).collect()
    }
}

impl std::fmt::Display for Protocol {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}/{}/{}", self.network, self.resizer, self.pictures)
    }
}

/// A reference set's statistics.
#[derive(Clone, Debug, PartialEq)]
pub struct Saved {
    /// What they were made by; nothing for a file that does not say.
    pub protocol: Option<Protocol>,
    /// What the set is called, with a hash of its pictures.
    pub set: String,
    /// Mean and covariance.
    pub gaussian: Gaussian,
}

#[derive(Serialize, Deserialize)]
struct Header {
    protocol: Protocol,
    set: String,
    n: Option<usize>,
}

impl Saved {
    /// The statistics as a safetensors file.
    ///
    /// # Errors
    /// There is no protocol, or the file cannot be made.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let damaged = |error: String| MetricsError::Metadata(error);
        let Self { protocol, set, gaussian } = self;
        let protocol = protocol.clone().ok_or_else(|| damaged("statistics without a protocol".to_string()))?;
        let header = Header { protocol, set: set.clone(), n: gaussian.n };
        let header = serde_json::to_string(&header).map_err(|error| damaged(error.to_string()))?;
        let metadata = [("kind", KIND.to_string()), ("format", FORMAT.to_string()), ("reference", header)];
        let metadata: HashMap<String, String> = metadata.map(|(key, value)| (key.to_string(), value)).into();
        let bytes = |values: &[f64]| -> Vec<u8> { values.iter().flat_map(|value| value.to_le_bytes()).collect() };
        let (dim, mean, covariance) = (gaussian.mean.len(), bytes(&gaussian.mean), bytes(&gaussian.covariance));
        let view = |shape: Vec<usize>, bytes| {
            TensorView::new(Dtype::F64, shape, bytes).map_err(|error| damaged(error.to_string()))
        };
        let views = [("mean", view(vec![dim], &mean)?), ("covariance", view(vec![dim, dim], &covariance)?)];
        safetensors::serialize(views, Some(metadata)).map_err(|error| damaged(error.to_string()))
    }

    /// The statistics in the bytes of a file: one of ours, or an `.npz` with `mu` and `sigma`.
    ///
    /// # Errors
    /// The bytes are neither, or hold no mean and covariance; the message says in what way.
    pub fn from_bytes(bytes: &[u8]) -> Result<Self> {
        let saved = if bytes.starts_with(b"PK") { Self::from_npz(bytes)? } else { Self::from_safetensors(bytes)? };
        saved.check()?;
        Ok(saved)
    }

    fn from_npz(bytes: &[u8]) -> Result<Self> {
        let (mean, covariance) = (npy::from_npz(bytes, "mu")?, npy::from_npz(bytes, "sigma")?);
        let dim = mean.values.len();
        if mean.shape != [dim] || covariance.shape != [dim, dim] {
            let message = format!("mu of {:?} and sigma of {:?}: no mean and covariance", mean.shape, covariance.shape);
            return Err(MetricsError::Metadata(message));
        }
        let set = format!("npz:{:016x}", fnv(bytes, START));
        let gaussian = Gaussian { n: None, mean: mean.values, covariance: covariance.values };
        Ok(Self { protocol: None, set, gaussian })
    }

    fn from_safetensors(bytes: &[u8]) -> Result<Self> {
        let no = |what: &str| {
            MetricsError::Metadata(format!(
                "{what}; expected statistics that 'evaluate --save-reference' wrote, or an .npz with mu and sigma"
            ))
        };
        let (_, header) = SafeTensors::read_metadata(bytes).map_err(|error| no(&format!("no such file ({error})")))?;
        let metadata = header.metadata().clone().unwrap_or_default();
        let get = |key: &str| metadata.get(key).map_or("", String::as_str);
        if get("kind") != KIND {
            return Err(no("a safetensors file of something else"));
        }
        if get("format") != FORMAT {
            let message = format!("statistics of format '{}', this program reads {FORMAT}: update it", get("format"));
            return Err(MetricsError::Metadata(message));
        }
        let Header { protocol, set, n } =
            serde_json::from_str(get("reference")).map_err(|error| no(&format!("damaged metadata ({error})")))?;
        let tensors = SafeTensors::deserialize(bytes).map_err(|error| no(&format!("a damaged file ({error})")))?;
        let read = |name: &str| -> Result<(Vec<usize>, Vec<f64>)> {
            let view = tensors.tensor(name).map_err(|_| no(&format!("no tensor '{name}'")))?;
            if view.dtype() != Dtype::F64 {
                return Err(no(&format!("tensor '{name}' is not F64")));
            }
            let number = |bytes: &[u8]| bytes.try_into().map_or(f64::NAN, f64::from_le_bytes);
            Ok((view.shape().to_vec(), view.data().chunks_exact(8).map(number).collect()))
        };
        let ((of_mean, mean), (of_covariance, covariance)) = (read("mean")?, read("covariance")?);
        if of_mean != [mean.len()] || of_covariance != [mean.len(), mean.len()] {
            return Err(no(&format!("mean of {of_mean:?} and covariance of {of_covariance:?}")));
        }
        Ok(Self { protocol: Some(protocol), set, gaussian: Gaussian { n, mean, covariance } })
    }

    /// A covariance is finite and symmetric, and has no negative variance.
    fn check(&self) -> Result<()> {
        let Gaussian { mean, covariance, .. } = &self.gaussian;
        let dim = mean.len();
        if !(1..=MOST).contains(&dim) {
            return Err(MetricsError::Metadata(format!("statistics of {dim} features: 1 to {MOST} are read")));
        }
        if mean.iter().chain(covariance).any(|value| !value.is_finite()) {
            return Err(MetricsError::Metadata("statistics that hold no finite numbers".to_string()));
        }
        let largest = covariance.iter().step_by(dim + 1).copied().fold(0.0, f64::max);
        let unlike = |i: usize, j: usize| (covariance[i * dim + j] - covariance[j * dim + i]).abs() > 1e-6 * largest;
        let negative = (0..dim).any(|i| covariance[i * dim + i] < -1e-9 * largest);
        if negative || (0..dim).any(|i| (0..i).any(|j| unlike(i, j))) {
            return Err(MetricsError::Metadata(
                "its covariance is none: not symmetric, or a negative variance".to_string(),
            ));
        }
        Ok(())
    }
}

const START: u64 = 0xcbf2_9ce4_8422_2325;

/// FNV-1a.
fn fnv(bytes: &[u8], start: u64) -> u64 {
    bytes.iter().fold(start, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3))
}

/// A hash of a set of pictures: of their sizes and samples, in whatever order they come.
#[derive(Clone, Copy, Debug, Default)]
pub struct SetHash(u64);

impl SetHash {
    /// One more picture.
    pub fn add(&mut self, picture: &Picture) {
        let shape = [picture.height, picture.width, picture.channels].map(|side| (side as u64).to_le_bytes());
        self.0 = self.0.wrapping_add(fnv(&picture.pixels, fnv(shape.as_flattened(), START)));
    }
}

impl std::fmt::Display for SetHash {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{:016x}", self.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn saved() -> Saved {
        let gaussian = Gaussian { n: Some(7), mean: vec![1.0, 2.0], covariance: vec![2.0, 0.5, 0.5, 1.0] };
        let protocol = Some(Protocol::new("net:1234/bilinear-9x9", [32, 48, 3]));
        Saved { protocol, set: "data:all:00ff".to_string(), gaussian }
    }

    #[test]
    fn kept_and_read() {
        let bytes = saved().to_bytes().unwrap();
        assert_eq!(Saved::from_bytes(&bytes).unwrap(), saved());
        assert_eq!(saved().protocol.unwrap().to_string(), "net:1234/bilinear-9x9/32x48x3");
        assert!(Saved { protocol: None, ..saved() }.to_bytes().is_err());
        for at in [0, 1, 8, 60, bytes.len() - 1] {
            let error = Saved::from_bytes(&bytes[..at]).unwrap_err().to_string();
            assert!(error.contains("--save-reference"), "{error}");
        }
    }

    #[test]
    fn unlike_protocols_name_what_differs() {
        let ours = Protocol::new("net:1234/bilinear-9x9", [32, 48, 3]);
        assert!(ours.differences(&ours).is_empty());
        let theirs = Protocol::new("net:9999/bilinear-9x9", [32, 48, 1]);
        let expected = ["network net:1234 against net:9999", "picture size 32x48x3 against 32x48x1"];
        assert_eq!(ours.differences(&theirs), expected);
    }

    #[test]
    fn what_is_no_covariance_is_refused() {
        let refused = |mean: &[f64], covariance: &[f64]| {
            let gaussian = Gaussian { n: None, mean: mean.to_vec(), covariance: covariance.to_vec() };
            Saved::from_bytes(&Saved { gaussian, ..saved() }.to_bytes().unwrap()).unwrap_err().to_string()
        };
        assert!(refused(&[0.0; 2], &[1.0, 0.3, 0.5, 1.0]).contains("symmetric"));
        assert!(refused(&[0.0], &[-1.0]).contains("negative"));
        assert!(refused(&[f64::NAN], &[1.0]).contains("finite"));
        assert!(refused(&[], &[]).contains("0 features"));
    }

    #[test]
    fn the_hash_of_a_set_knows_no_order() {
        let picture = |value: u8| Picture { width: 2, height: 1, channels: 1, pixels: vec![value, 3] };
        let hash = |values: &[u8]| {
            let mut hash = SetHash::default();
            values.iter().for_each(|value| hash.add(&picture(*value)));
            hash.to_string()
        };
        assert_eq!(hash(&[1, 2, 9]), hash(&[9, 1, 2]));
        assert_ne!(hash(&[1, 2]), hash(&[1, 3]));
        assert_ne!(hash(&[1, 1]), hash(&[1]));
    }
}
