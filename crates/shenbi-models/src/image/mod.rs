//! Pictures from noise.

pub mod dcgan;
