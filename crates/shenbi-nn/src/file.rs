//! Named tensors as a safetensors file.

use std::collections::HashMap;

use safetensors::tensor::{Dtype, SafeTensors, TensorView};

use crate::weights::{Named, Values};

/// Why bytes are no such file.
#[derive(Debug, thiserror::Error)]
pub enum FileError {
    /// The library's reason.
    #[error("{0}")]
    Safetensors(#[from] safetensors::SafeTensorError),
    /// A type of number that weights do not come in.
    #[error("tensor '{0}' holds {1:?}, expected F32, F16 or BF16")]
    Dtype(String, Dtype),
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
    Ok(safetensors::serialize(views, Some(metadata))?)
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
            Dtype::F32 => raw.chunks_exact(4).map(|b| f32::from_le_bytes([b[0], b[1], b[2], b[3]])).collect(),
            Dtype::F16 => raw.chunks_exact(2).map(|b| half::f16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            Dtype::BF16 => raw.chunks_exact(2).map(|b| half::bf16::from_le_bytes([b[0], b[1]]).to_f32()).collect(),
            other => return Err(FileError::Dtype(name, other)),
        };
        named.insert(name, Values { shape: view.shape().to_vec(), data });
    }
    Ok((named, metadata))
}
