//! CPU kernels on plain slices. Knows no tensor framework: tensors are contiguous slices of `f32` or [`bf16`], pictures
//! channels-last, `[batch, height, width, channels]`, so that what a kernel row covers is one run of neighbours.
//!
//! One idea carries the matrix work: every operand is packed into 32-bit *words*, a word being one `f32` or a pair
//! of bf16 neighbours along the reduction, and each instruction set has one micro-kernel, which multiplies 32 rows of A
//! with 32 columns of B (`isa`). Convolutions ([`conv2d_forward`] and friends) line up A from padded copies of the input.
//!
//! Promises:
//! - A shape that does not fit is a [`KernelError`] that names it, in release builds too; nothing panics.
//! - Results are the same to the bit for every number of threads (rayon's current pool is used).
//! - NaN and infinity pass through; where AMX tiles read pictures in place, a NaN may reach neighbours of those it should
//!   as well. bf16 operands that are subnormal may be flushed to zero.
//! - The instruction set is chosen at run time; `SHENBI_ISA=amx|avx512|avx2|neon|portable` overrides it.

#[cfg(target_endian = "big")]
compile_error!("bf16 pairs are laid out for little-endian machines");

mod activation;
mod bottleneck;
mod conv;
mod draw;
mod element;
mod error;
mod functions;
mod isa;
mod lstm;
mod matmul;
mod norm;
mod optim;
mod pack;
mod parallel;
mod pool;
mod resample;
mod scratch;
mod softmax;

pub use activation::{Activation, activation_backward, activation_forward, channel_sum, tanh_backward, tanh_forward};
pub use bottleneck::{
    Bottleneck, BottleneckGradients, BottleneckParameters, BottleneckWeights, bottleneck_backward, bottleneck_forward,
    bottleneck_tangent,
};
pub use conv::{
    Conv2d, PackedWeights, conv2d_backward_data, conv2d_backward_data_packed, conv2d_backward_weights, conv2d_forward,
    conv2d_forward_packed,
};
pub use draw::sample;
pub use element::{Element, Input, bf16};
pub use error::KernelError;
pub use isa::{Isa, Precision, active_isa, auto_precision, available_isas, describe, with_isa};
pub use lstm::{Lstm, lstm_backward, lstm_forward};
pub use matmul::{Transpose, gemm};
pub use norm::{Norm, NormGradients, NormStats, Over, norm_apply, norm_backward, norm_forward};
pub use optim::{AdamStep, adam_step, ema_update};
pub use pool::{MaxPool, max_pool_backward, max_pool_forward};
pub use resample::{Filter, Resample, downsample, upsample};
pub use softmax::{Head, NllGradients, nll};
