//! Packed weights, kept for as long as the tensor that they were packed from lives: real and generated pictures pass the
//! same weights in a training step, and painting never changes them.

use std::sync::{Arc, Mutex, PoisonError, Weak};

use burn::tensor::Bytes;
use burn_flex::FlexTensor;
use shenbi_kernels::{Conv2d, KernelError, PackedWeights, Precision};

use super::memory::elements;
use super::precision;

/// More than networks have layers.
const KEPT: usize = 1024;

struct Entry {
    /// The tensor's memory. As long as this can be upgraded no one can have written to it: Rust hands out exclusive
    /// access to shared memory only when nobody else refers to it, be it weakly.
    bytes: Weak<Bytes>,
    start: usize,
    packed: Arc<PackedWeights>,
}

static KEPT_WEIGHTS: Mutex<Vec<Entry>> = Mutex::new(Vec::new());

/// `weight`, which is contiguous, packed for this convolution; split: for three products of bf16.
pub fn packed(weight: &FlexTensor, g: &Conv2d, backward: bool, split: bool) -> Result<Arc<PackedWeights>, KernelError> {
    let (data, start) = (weight.data_arc(), weight.layout().start_offset());
    let precision = if split { Precision::Bf16 } else { precision() };
    {
        let mut kept = KEPT_WEIGHTS.lock().unwrap_or_else(PoisonError::into_inner);
        let known = kept.iter().find(|entry| {
            let same =
                entry.start == start && entry.packed.is_split() == split && entry.packed.fits(g, backward, precision);
            same && entry.bytes.upgrade().is_some_and(|bytes| Arc::ptr_eq(&bytes, &data))
        });
        if let Some(entry) = known {
            return Ok(entry.packed.clone());
        }
        kept.retain(|entry| entry.bytes.strong_count() > 0);
    }
    let values = elements::<f32>(weight);
    let packed = if split {
        PackedWeights::split(g, values)?
    } else if backward {
        PackedWeights::backward(g, values, precision)?
    } else {
        PackedWeights::forward(g, values, precision)?
    };
    let packed = Arc::new(packed);
    let mut kept = KEPT_WEIGHTS.lock().unwrap_or_else(PoisonError::into_inner);
    if kept.len() < KEPT {
        kept.push(Entry { bytes: Arc::downgrade(&data), start, packed: packed.clone() });
    }
    Ok(packed)
}
