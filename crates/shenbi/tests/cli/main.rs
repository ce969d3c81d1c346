//! The program as a person uses it: every test runs the built binary.
#![allow(clippy::unwrap_used)]

mod bad_input;
mod data;
mod evaluate;
mod explore;
mod generate;
mod hub;
mod image;
mod interrupt;
mod machine;
mod support;
mod text;
mod train;
mod watch;
