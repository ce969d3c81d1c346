//! From a sentence to a picture.

pub mod brush;
pub mod dfgan;
pub mod network;
pub mod painter;
