//! PyTorch's weight files (`.pth`, `.pt`): what `torch.save` writes, from its first formats to today's.
//!
//! Such a file holds a *pickle*, a program that Python runs when it loads the file. Nothing is run here: the library
//! follows the few steps that put tensors together and knows no others. A file that asks for more is refused by the name
//! of what it asks for, since weights need none of it, and so is one whose tensors would take far more memory than the
//! file.

use std::collections::VecDeque;
use std::path::Path;

use pytorch_reader::{DType, PickleValue, PytorchError, PytorchReader, Tensor};

use crate::file::numbers;
use crate::weights::{Named, Values};

/// Tensors may share memory, so that they take more than the file has; honest files do so a little.
const LARGER: u64 = 4;
/// Bytes of tensors that any file may have.
const ALLOWED: u64 = 1 << 24;
/// What the library calls parts of tensors.
const TENSORS: [&str; 3] = ["torch.Tensor", "torch.TypedStorage", "torch.UntypedStorage"];
/// Values beside tensors that are plain, whatever Python makes of them.
const PLAIN: [&str; 8] = [
    "torch.device",
    "torch.Size",
    "torch.float32",
    "torch.float16",
    "torch.bfloat16",
    "torch.float64",
    "numpy.core.multiarray.scalar",
    "numpy._core.multiarray.scalar",
];

/// Why a PyTorch file is refused.
#[derive(Debug, thiserror::Error)]
pub enum PthError {
    /// The library's reason.
    #[error("not a whole PyTorch file ({0}); copy it again, or save a state_dict with torch.save or as safetensors")]
    Damaged(#[from] PytorchError),
    /// It asks to run something.
    #[error(
        "the file asks to run '{0}', which weights never need; nothing was run. If you trust it, load it in Python and \
         save its state_dict alone"
    )]
    Code(String),
    /// More than the file can honestly hold.
    #[error(
        "its tensors would take {tensors} bytes and the file has {file}: it is damaged, or made to fill the memory"
    )]
    Size {
        /// All tensors together.
        tensors: u64,
        /// The file.
        file: u64,
    },
    /// A tensor's bytes cannot be had.
    #[error("{0}; copy the file again")]
    Tensor(std::io::Error),
    /// No tensors.
    #[error("the file holds no tensors: expected a state_dict")]
    Empty,
}

/// The tensors in a PyTorch file, by their names in the `state_dict` (with dots, where one holds another). Numbers of any
/// kind become f32.
///
/// # Errors
/// The file is none, is damaged, asks to run something, or would take far more memory than it is long.
pub fn open(path: &Path) -> Result<Named, PthError> {
    // First without a tensor's bytes.
    if let Some(name) = foreign(PytorchReader::read_pickle_data(path, None)?) {
        return Err(PthError::Code(name));
    }
    let tensors = PytorchReader::new(path)?.into_tensors();
    let bytes = tensors.values().map(|tensor| {
        let elements = tensor.shape().iter().try_fold(1, |product: u64, side| product.checked_mul(*side as u64));
        // As they are read, and as f32.
        elements.and_then(|n| n.checked_mul(tensor.dtype().size().max(4) as u64)).unwrap_or(u64::MAX)
    });
    let bytes = bytes.fold(0, u64::saturating_add);
    let file = std::fs::metadata(path).map_err(PytorchError::Io)?.len();
    if bytes > ALLOWED.max(file.saturating_mul(LARGER)) {
        return Err(PthError::Size { tensors: bytes, file });
    }
    if tensors.is_empty() {
        return Err(PthError::Empty);
    }
    tensors.into_iter().map(|(name, tensor)| Ok((name, values(&tensor)?))).collect()
}

/// What the file asks for beside tensors and plain values.
fn foreign(root: PickleValue) -> Option<String> {
    let mut queue = VecDeque::from([root]);
    while let Some(value) = queue.pop_front() {
        match value {
            PickleValue::List(values) => queue.extend(values),
            PickleValue::Dict(values) => queue.extend(values.into_values()),
            PickleValue::Unsupported(name) if !TENSORS.iter().chain(&PLAIN).any(|known| *known == name) => {
                return Some(name);
            }
            _ => {}
        }
    }
    None
}

/// A tensor's numbers.
fn values(tensor: &Tensor) -> Result<Values, PthError> {
    let bytes = tensor.read().map_err(PthError::Tensor)?;
    let data = match tensor.dtype() {
        DType::F64 => numbers(&bytes, |b| f64::from_ne_bytes(b) as f32),
        DType::F32 => numbers(&bytes, f32::from_ne_bytes),
        DType::F16 => numbers(&bytes, |b| half::f16::from_ne_bytes(b).to_f32()),
        DType::BF16 => numbers(&bytes, |b| half::bf16::from_ne_bytes(b).to_f32()),
        DType::I64 => numbers(&bytes, |b| i64::from_ne_bytes(b) as f32),
        DType::I32 => numbers(&bytes, |b| i32::from_ne_bytes(b) as f32),
        DType::I16 => numbers(&bytes, |b| f32::from(i16::from_ne_bytes(b))),
        DType::I8 => numbers(&bytes, |b| f32::from(i8::from_ne_bytes(b))),
        DType::U64 => numbers(&bytes, |b| u64::from_ne_bytes(b) as f32),
        DType::U32 => numbers(&bytes, |b| u32::from_ne_bytes(b) as f32),
        DType::U16 => numbers(&bytes, |b| f32::from(u16::from_ne_bytes(b))),
        DType::U8 | DType::Bool => numbers(&bytes, |[b]: [u8; 1]| f32::from(b)),
    };
    Ok(Values { shape: tensor.shape().to_vec(), data })
}
