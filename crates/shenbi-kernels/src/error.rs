//! What can be wrong with a call: always said with the operation, the tensor and the sizes.

use std::fmt;

/// Why a kernel refused to run. Nothing has been written to the outputs then.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum KernelError {
    /// A slice has not as many elements as its shape says.
    Length {
        /// The operation.
        op: &'static str,
        /// The tensor's name in the operation's signature.
        tensor: &'static str,
        /// The shape that was expected.
        shape: Vec<usize>,
        /// The slice's number of elements.
        found: usize,
    },
    /// A dimension that must be at least one is zero.
    Zero {
        /// The operation.
        op: &'static str,
        /// The dimension's name.
        what: &'static str,
    },
    /// The number of elements of a shape does not fit into an index.
    Overflow {
        /// The operation.
        op: &'static str,
        /// The shape.
        shape: Vec<usize>,
    },
    /// The shapes contradict each other.
    Shape {
        /// The operation.
        op: &'static str,
        /// What does not fit, with its sizes.
        message: String,
    },
    /// `SHENBI_ISA` names an unknown instruction set or one that this CPU does not have.
    Isa(String),
}

impl fmt::Display for KernelError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Length { op, tensor, shape, found } => {
                let expected: usize = shape.iter().product();
                write!(f, "{op}: `{tensor}` has {found} elements, but its shape {shape:?} needs {expected}")
            }
            Self::Zero { op, what } => write!(f, "{op}: {what} is 0; it must be at least 1"),
            Self::Overflow { op, shape } => write!(f, "{op}: a tensor of shape {shape:?} is too large to address"),
            Self::Shape { op, message } => write!(f, "{op}: {message}"),
            Self::Isa(message) => f.write_str(message),
        }
    }
}

impl std::error::Error for KernelError {}

/// The largest tensor we accept, in elements: byte offsets must fit into an `isize` with room for padding.
const MAX_ELEMENTS: usize = isize::MAX as usize / 64;

/// The number of elements of `shape`, checked.
pub(crate) fn elements(op: &'static str, shape: &[usize]) -> Result<usize, KernelError> {
    shape
        .iter()
        .try_fold(1usize, |n, &d| n.checked_mul(d))
        .filter(|&n| n <= MAX_ELEMENTS)
        .ok_or_else(|| KernelError::Overflow { op, shape: shape.to_vec() })
}

/// Checks that `found` elements are what `shape` needs.
pub(crate) fn expect_len(
    op: &'static str,
    tensor: &'static str,
    found: usize,
    shape: &[usize],
) -> Result<(), KernelError> {
    if elements(op, shape)? == found {
        return Ok(());
    }
    Err(KernelError::Length { op, tensor, shape: shape.to_vec(), found })
}

/// Checks that none of the named dimensions is zero.
pub(crate) fn expect_nonzero(op: &'static str, dims: &[(&'static str, usize)]) -> Result<(), KernelError> {
    match dims.iter().find(|(_, d)| *d == 0) {
        Some(&(what, _)) => Err(KernelError::Zero { op, what }),
        None => Ok(()),
    }
}
