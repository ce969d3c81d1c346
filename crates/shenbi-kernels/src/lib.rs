//! CPU kernels on plain slices. Knows no tensor framework: tensors are contiguous `f32` slices in NCHW order.
//!
//! One idea carries the matrix work: every operand is packed into 32-bit *words*, a word being one `f32` or a pair
//! of bf16 neighbours along the reduction. A B panel is `[k words][32 columns]` on every instruction set, an A block
//! 32 rows in the order its micro-kernel likes, and each micro-kernel computes one 32x32 block of C (`isa`).
//! Convolutions ([`conv2d_forward`] and friends) build such panels from small padded copies of the input.
//!
//! Promises:
//! - A shape that does not fit is a [`KernelError`] that names it, in release builds too; nothing panics.
//! - Results are the same to the bit for every number of threads (rayon's current pool is used).
//! - NaN and infinity pass through. bf16 operands that are subnormal may be flushed to zero.
//! - The instruction set is chosen at run time; `SHENBI_ISA=amx|avx512|avx2|portable` overrides it.

#[cfg(target_endian = "big")]
compile_error!("bf16 pairs are laid out for little-endian machines");

mod activation;
mod conv;
mod error;
mod isa;
mod matmul;

mod norm;
mod optim;
mod pack;
mod parallel;
mod scratch;

pub use activation::{
    Activation, activation_backward, activation_forward, leaky_relu_backward, leaky_relu_forward, tanh_backward,
    tanh_forward,
};
pub use conv::{
    Conv2d, conv_transpose2d_backward_bias, conv_transpose2d_backward_data, conv_transpose2d_backward_weights,
    conv_transpose2d_forward, conv_transpose2d_forward_act, conv2d_backward_bias, conv2d_backward_data,
    conv2d_backward_weights, conv2d_forward, conv2d_forward_act,
};
pub use error::KernelError;
pub use isa::{Isa, Precision, active_isa, auto_precision, available_isas, describe, with_isa};
pub use matmul::{Transpose, gemm};
pub use norm::{
    BatchNorm, BatchNormGradients, BatchNormStats, batch_norm_apply, batch_norm_backward, batch_norm_forward,
};
pub use optim::{AdamStep, adam_step, ema_update};
