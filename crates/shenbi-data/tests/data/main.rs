//! The data crate as its users see it: files in, examples and batches out.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod decode;
mod fixtures;
mod folder;
mod inspect;
mod loader;
mod shared_data;
