//! Networks of GAN papers: one paper, one file, read top to bottom. Networks know no files and no clock.

pub mod backbone;
pub mod encoder;
pub mod image;
pub mod model;
pub mod text;
pub mod text_to_image;
