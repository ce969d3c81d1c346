//! What judge and contrast encoder share: files, schedules, progress.

use std::collections::HashMap;

use burn::tensor::Tensor;
use shenbi_nn::file;
use shenbi_nn::weights::{self, Named, Values};

use crate::{MetricsError, Result};

/// Slope of every LeakyReLU here.
pub(crate) const SLOPE: f64 = 0.2;
/// Version of the files' layout.
const FORMAT: &str = "1";

/// How far a training is.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Progress {
    /// Steps done.
    pub step: u64,
    /// Steps there will be.
    pub steps: u64,
    /// Loss of the last step.
    pub loss: f32,
}

/// Step size in step `step` of `steps`: a warm-up of 100 steps, or a tenth of a short run, then a cosine from `peak` to
/// nearly nothing.
pub(crate) fn rate(step: u64, steps: u64, peak: f64) -> f64 {
    let warm = ((step + 1) as f64 / (steps / 10).clamp(1, 100) as f64).min(1.0);
    let progress = step as f64 / steps.max(1) as f64;
    peak * warm * (0.01 + 0.99 * 0.5 * (1.0 + (std::f64::consts::PI * progress).cos()))
}

/// Number of halvings from a picture to the smallest grid, whose shorter side is 4 to 7.
pub(crate) fn stages(size: [usize; 2]) -> Result<usize> {
    let [height, width] = size;
    let short = height.min(width);
    let stages = (short.max(4) / 4).ilog2() as usize;
    if short < 8 || height.max(width) > 1024 || size.iter().any(|side| !side.is_multiple_of(1 << stages)) {
        return Err(MetricsError::Setting(format!(
            "size {height}x{width} does not fit: sides of 8 to 1024 that divide by the power of two that brings the \
             shorter one to 4..7 (32, 48, 64, 96, ...)"
        )));
    }
    Ok(stages)
}

/// Checks that `pixels` hold `n` pictures of `shape`, `[c, h, w]`.
pub(crate) fn check_pixels(pixels: &[f32], shape: [usize; 3], n: usize) -> Result<()> {
    let each: usize = shape.iter().product();
    if pixels.len() == n * each {
        return Ok(());
    }
    let [c, h, w] = shape;
    let found = pixels.len();
    Err(MetricsError::Setting(format!("{found} numbers are not {n} pictures of {c}x{h}x{w} ({} numbers)", n * each)))
}

/// The number in a tensor of one.
pub(crate) fn scalar(tensor: Tensor<1>) -> f32 {
    weights::values(tensor).data.first().copied().unwrap_or(f32::NAN)
}

/// The file of a network: weights as f16, with what is needed to read it.
pub(crate) fn to_bytes(named: &Named, kind: &str, mut metadata: HashMap<String, String>) -> Result<Vec<u8>> {
    metadata.insert("format".into(), FORMAT.into());
    metadata.insert("kind".into(), kind.into());
    Ok(file::to_bytes(named, metadata, true)?)
}

/// The weights and metadata of a file of `kind`.
pub(crate) fn from_bytes(bytes: &[u8], kind: &str) -> Result<(Named, HashMap<String, String>)> {
    let (named, metadata) = file::from_bytes(bytes)?;
    let found = metadata.get("kind").map_or("something else", String::as_str);
    if found != kind {
        return Err(MetricsError::Metadata(format!("the file holds {found}, expected {kind}")));
    }
    let format = metadata.get("format").map_or("unknown", String::as_str);
    if format != FORMAT {
        let message = format!("{kind}: file format {format}, this program reads {FORMAT}: update it");
        return Err(MetricsError::Metadata(message));
    }
    Ok((named, metadata))
}

/// The entry `key` of a file's metadata.
pub(crate) fn entry<'a>(metadata: &'a HashMap<String, String>, key: &str) -> Result<&'a str> {
    let absent = || MetricsError::Metadata(format!("no '{key}' in the file's metadata: it is damaged"));
    metadata.get(key).map(String::as_str).ok_or_else(absent)
}

/// A name for these weights, equal before and after saving as f16: FNV-1a of names, shapes and f16 values, 8 digits.
pub(crate) fn fingerprint(named: &Named) -> Result<String> {
    let mut hash = 0xcbf2_9ce4_8422_2325_u64;
    for byte in file::to_bytes(named, HashMap::new(), true)? {
        hash = (hash ^ u64::from(byte)).wrapping_mul(0x0000_0100_0000_01b3);
    }
    Ok(format!("{:08x}", (hash >> 32) ^ (hash & 0xffff_ffff)))
}

/// The values of a tensor, row by row.
pub(crate) fn rows(tensor: Tensor<2>) -> Vec<f32> {
    let Values { data, .. } = weights::values(tensor);
    data
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_that_fit() {
        assert_eq!(stages([32, 32]).unwrap(), 3);
        assert_eq!(stages([64, 96]).unwrap(), 4);
        for bad in [[4, 4], [0, 0], [33, 32], [64, 72], [2048, 64]] {
            assert!(stages(bad).unwrap_err().to_string().contains("does not fit"), "{bad:?}");
        }
    }

    #[test]
    fn fingerprint_survives_half_precision_and_sees_a_change() {
        let mut named = Named::from([("a.weight".to_string(), Values { shape: vec![2], data: vec![0.1, 1.0 / 3.0] })]);
        let first = fingerprint(&named).unwrap();
        let (read, _) = from_bytes(&to_bytes(&named, "test", HashMap::new()).unwrap(), "test").unwrap();
        assert_eq!(fingerprint(&read).unwrap(), first);
        named.values_mut().for_each(|v| v.data[0] = 0.2);
        assert_ne!(fingerprint(&named).unwrap(), first);
    }
}
