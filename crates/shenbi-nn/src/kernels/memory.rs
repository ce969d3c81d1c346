//! Tensors' memory: in which order pictures lie, and buffers that are used again.

use std::collections::HashMap;
use std::sync::Mutex;

use burn::backend::TensorMetadata;
use burn::tensor::{Bytes, DType, Shape};
use burn_flex::{FlexTensor, Layout};
use shenbi_kernels::{Element, bf16};

/// Bytes of unused buffers that are kept at most.
const KEPT: usize = 1 << 30;

/// Buffers that were given back, by their number of elements: the steps of a training run need the same ones again.
pub struct Pool<E> {
    shelves: HashMap<usize, Shelf<E>>,
    bytes: usize,
}

/// Buffers of one size.
struct Shelf<E> {
    free: Vec<Vec<E>>,
    /// How many more were asked for than came back: no more than these are taken, so that buffers of Burn's own do not
    /// pile up here.
    lent: usize,
}

/// What Burn and the kernels both call an element.
pub trait Stored: Element + burn::tensor::Element + bytemuck::Pod {
    /// The buffers of this type.
    fn pool() -> &'static Mutex<Option<Pool<Self>>>;
}

impl Stored for f32 {
    fn pool() -> &'static Mutex<Option<Pool<Self>>> {
        static POOL: Mutex<Option<Pool<f32>>> = Mutex::new(None);
        &POOL
    }
}

impl Stored for bf16 {
    fn pool() -> &'static Mutex<Option<Pool<Self>>> {
        static POOL: Mutex<Option<Pool<bf16>>> = Mutex::new(None);
        &POOL
    }
}

/// A buffer of `n` elements that holds whatever it held: the caller writes all of it.
pub fn buffer<E: Stored>(n: usize) -> Vec<E> {
    let mut pool = E::pool().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let pool = pool.get_or_insert_with(|| Pool { shelves: HashMap::new(), bytes: 0 });
    let shelf = pool.shelves.entry(n).or_insert_with(|| Shelf { free: Vec::new(), lent: 0 });
    shelf.lent += 1;
    match shelf.free.pop() {
        Some(old) => {
            pool.bytes -= n * size_of::<E>();
            old
        }
        None => vec![E::default(); n],
    }
}

/// Keeps the buffer of a tensor that no one else holds.
pub fn recycle(tensor: FlexTensor) {
    match tensor.dtype() {
        DType::F32 => recycle_as::<f32>(tensor),
        DType::BF16 => recycle_as::<bf16>(tensor),
        _ => {}
    }
}

fn recycle_as<E: Stored>(tensor: FlexTensor) {
    let data = tensor.data_arc();
    drop(tensor);
    let Ok(bytes) = burn_std::sync::Arc::try_unwrap(data) else { return };
    let Ok(buffer) = bytes.try_into_vec::<E>() else { return };
    let mut pool = E::pool().lock().unwrap_or_else(std::sync::PoisonError::into_inner);
    let Some(pool) = pool.as_mut() else { return };
    let bytes = buffer.len() * size_of::<E>();
    let Some(shelf) = pool.shelves.get_mut(&buffer.len()).filter(|shelf| shelf.lent > 0) else { return };
    if pool.bytes + bytes <= KEPT {
        shelf.lent -= 1;
        pool.bytes += bytes;
        shelf.free.push(buffer);
    }
}

/// A contiguous tensor of `values`.
pub fn tensor<E: Stored>(values: Vec<E>, shape: impl Into<Shape>) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), Layout::contiguous(shape.into()), E::dtype())
}

/// Pictures whose `values` are `[b, h, w, c]` in memory, as a tensor of shape `[b, c, h, w]`.
pub fn pictures<E: Stored>(values: Vec<E>, [b, c, h, w]: [usize; 4]) -> FlexTensor {
    FlexTensor::new(Bytes::from_elems(values), channels_last([b, c, h, w]), E::dtype())
}

fn channels_last([b, c, h, w]: [usize; 4]) -> Layout {
    let strides = [h * w * c, 1, w * c, c].map(usize::cast_signed);
    Layout::new([b, c, h, w].into(), strides.to_vec(), 0)
}

/// Whether a tensor of rank 4 lies channels-last.
pub fn is_channels_last(tensor: &FlexTensor) -> bool {
    let shape: [usize; 4] = tensor.shape().dims();
    let wanted = channels_last(shape);
    let same = |i: usize| shape[i] == 1 || tensor.layout().strides()[i] == wanted.strides()[i];
    (0..4).all(same)
}

/// The same pictures, channels-last in memory.
pub fn to_channels_last(tensor: FlexTensor) -> FlexTensor {
    if is_channels_last(&tensor) {
        return tensor;
    }
    let layout = tensor.layout().permute(&[0, 2, 3, 1]);
    let copy = tensor.with_layout(layout).to_contiguous();
    let layout = copy.layout().permute(&[0, 3, 1, 2]);
    copy.with_layout(layout)
}

/// The same values in one piece, in an order that a whole pass may ignore: channels-last pictures stay so.
pub fn dense(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() || (tensor.shape().num_dims() == 4 && is_channels_last(&tensor)) {
        return tensor;
    }
    tensor.to_contiguous()
}

/// Contiguous, in Burn's order.
pub fn contiguous(tensor: FlexTensor) -> FlexTensor {
    if tensor.is_contiguous() { tensor } else { tensor.to_contiguous() }
}

/// The elements of a dense tensor, in the order they lie.
pub fn elements<E: Stored>(tensor: &FlexTensor) -> &[E] {
    let n = tensor.layout().num_elements();
    let start = tensor.layout().start_offset();
    &tensor.storage::<E>()[start..start + n]
}
