//! Named tensors as a file: safetensors, read and written; PyTorch's files, read.

use std::collections::HashMap;
use std::fs::File;
use std::io::{self, Read};
use std::path::Path;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::pth::{self, PthError};
use crate::weights::{Named, Values};

/// Why bytes are no such file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The library's reason.
    #[error("{0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    /// A type of number that weights do not come in.
    #[error("tensor '{0}' holds {1:?}, expected F64, F32, F16, BF16 or integers")]
    Dtype(String, Dtype),
    /// The system's reason.
    #[error("cannot be read: {0}")]
    Io(#[from] io::Error),
    /// A PyTorch file that is refused.
    #[error("{0}")]
    Pth(#[from] PthError),
}

/// What kind of file weights came in.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Format {
    /// safetensors
    Safetensors,
    /// What `torch.save` writes.
    PyTorch,
}

/// The tensors in a file of either kind, told apart by its content, never by its name.
///
/// # Errors
/// The file cannot be read, or is neither; as [`from_bytes`] and [`pth::open`].
pub fn open(path: &Path) -> Result<(Named, Format), FileError> {
    let mut start = Vec::new();
    File::open(path)?.take(9).read_to_end(&mut start)?;
    // A header's length, and the header: JSON.
    if start.get(8).is_some_and(|byte| *byte != b'{') {
        return Ok((pth::open(path)?, Format::PyTorch));
    }
    Ok((from_bytes(&std::fs::read(path)?)?.0, Format::Safetensors))
}

/// The file's bytes; half: values as f16.
///
/// # Errors
/// The library refuses.
pub fn to_bytes(named: &Named, metadata: HashMap<String, String>, half: bool) -> Result<Vec<u8>, FileError> {
    let dtype = if half { Dtype::F16 } else { Dtype::F32 };
    let bytes: Vec<(&String, &Values, Vec<u8>)> = named
        .iter()
        .map(|(name, values)| {
            let bytes = if half {
                values.data.iter().flat_map(|&v| half::f16::from_f32(v).to_le_bytes()).collect()
            } else {
                values.data.iter().flat_map(|v| v.to_le_bytes()).collect()
            };
            (name, values, bytes)
        })
        .collect();
    let mut views = Vec::with_capacity(bytes.len());
    for (name, values, bytes) in &bytes {
        views.push((name.as_str(), TensorView::new(dtype, values.shape.clone(), bytes)?));
    }
    let mut bytes = safetensors::serialize(views, Some(metadata))?;
    sort_header(&mut bytes);
    Ok(bytes)
}

/// Sorts the header's entries, which come out of a hash map: the same weights make the same bytes.
fn sort_header(bytes: &mut [u8]) {
    let Some((length, rest)) = bytes.split_first_chunk_mut::<8>() else { return };
    let header = usize::try_from(u64::from_le_bytes(*length)).ok().and_then(|length| rest.get_mut(..length));
    let Some(header) = header else { return };
    // JSON's objects are ordered maps here. Blanks after the header are part of the format.
    let sorted = serde_json::from_slice::<serde_json::Value>(header).and_then(|value| serde_json::to_vec(&value));
    if let Ok(mut sorted) = sorted
        && sorted.len() <= header.len()
    {
        sorted.resize(header.len(), b' ');
        header.copy_from_slice(&sorted);
    }
}

/// The tensors and the metadata in `bytes`.
///
/// # Errors
/// The bytes are not a whole safetensors file of floating-point tensors.
pub fn from_bytes(bytes: &[u8]) -> Result<(Named, HashMap<String, String>), FileError> {
    let (_, header) = SafeTensors::read_metadata(bytes)?;
    let metadata = header.metadata().clone().unwrap_or_default();
    let mut named = Named::new();
    for (name, view) in SafeTensors::deserialize(bytes)?.tensors() {
        let raw = view.data();
        let data: Vec<f32> = match view.dtype() {
            Dtype::F32 => numbers(raw, f32::from_le_bytes),
            Dtype::F16 => numbers(raw, |b| half::f16::from_le_bytes(b).to_f32()),
            Dtype::BF16 => numbers(raw, |b| half::bf16::from_le_bytes(b).to_f32()),
            Dtype::F64 => numbers(raw, |b| f64::from_le_bytes(b) as f32),
            // Counters, such as how many batches a norm has seen.
            Dtype::I64 => numbers(raw, |b| i64::from_le_bytes(b) as f32),
            Dtype::I32 => numbers(raw, |b| i32::from_le_bytes(b) as f32),
            Dtype::U8 => numbers(raw, |[b]: [u8; 1]| f32::from(b)),
            other => return Err(FileError::Dtype(name, other)),
        };
        named.insert(name, Values { shape: view.shape().to_vec(), data });
    }
    Ok((named, metadata))
}

/// Little-endian numbers of `N` bytes each.
pub(crate) fn numbers<const N: usize>(bytes: &[u8], number: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.as_chunks::<N>().0.iter().map(|bytes| number(*bytes)).collect()
}

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use super::*;

    #[test]
    fn equal_weights_make_equal_files() {
        let values = |shape: &[usize]| Values { shape: shape.to_vec(), data: vec![0.5; shape.iter().product()] };
        let named: Named = ["b.weight", "a.weight", "a.bias"].map(|name| (name.to_string(), values(&[2, 3]))).into();
        // Every map has a seed of its own.
        let metadata = || (0..9).map(|i| (format!("key {i}"), format!("\"value\" {i}\n"))).collect::<HashMap<_, _>>();
        let bytes = to_bytes(&named, metadata(), false).unwrap();
        for _ in 0..9 {
            assert_eq!(to_bytes(&named, metadata(), false).unwrap(), bytes);
        }
        let (read, header) = from_bytes(&bytes).unwrap();
        assert_eq!(header, metadata());
        assert_eq!(read.keys().collect::<Vec<_>>(), named.keys().collect::<Vec<_>>());
    }
}
