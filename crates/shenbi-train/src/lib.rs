//! Training: what a discriminator and a generator are asked for, and the loops that ask.

pub mod atomic;
pub mod augment;
pub mod backbone;
pub mod brush;
mod budget;
pub mod checkpoint;
pub mod config;
pub mod dfgan;
pub mod embeddings;
pub mod error;
pub mod guard;
pub mod guidance;
pub mod image;
pub mod losses;
pub mod run_folder;
pub mod samples;
pub mod schedule;
pub mod scoring;
mod sentences;
pub mod session;
pub mod tensorboard;
pub mod text;
pub mod trainer;
mod vitals;
mod watch;
