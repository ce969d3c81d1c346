//! Both towers of CLIP (Radford et al., 2103.00020) from one folder as Hugging Face has it: pictures and texts become
//! vectors of one space, and the cosine between them says how well they belong together.

use burn::tensor::{Device, Tensor};
use shenbi_nn::ops::normalize;
use std::path::Path;

use super::folder::{Folder, PretrainedError};
use super::pretrained::Pretrained;
use crate::backbone::view::{Colours, resized, rgb};
use crate::backbone::vit::{CLIP_DEVIATIONS, CLIP_MEANS, HEAD, SIDE};
use crate::backbone::{Tensors, Vit};

/// Pictures and texts to vectors.
#[derive(Clone, Debug)]
pub struct Clip {
    /// Of pictures of 224x224.
    pub pictures: Vit,
    /// Of texts, with their tokenizer.
    pub texts: Pretrained,
}

impl Clip {
    /// The networks in `path`, on `device`.
    ///
    /// # Errors
    /// A file is missing or damaged, it is no CLIP, or one whose picture tower is built otherwise than a Vision
    /// Transformer for pictures of 224x224 with heads of 64 numbers.
    pub fn open(path: &Path, device: &Device) -> Result<Self, PretrainedError> {
        let texts = Pretrained::open(path, device)?;
        let mut folder = Folder::open(path)?;
        let config = folder.json("config.json")?.unwrap_or_default();
        let open = folder.json("open_clip_config.json")?.unwrap_or_default();
        // What transformers' file says, or OpenCLIP's.
        let vision = config.get("vision_config");
        let number = |key: &str| vision.and_then(|vision| vision.get(key)).and_then(serde_json::Value::as_u64);
        let quick = match vision {
            Some(vision) => {
                vision.get("hidden_act").and_then(|act| act.as_str()).unwrap_or("quick_gelu") == "quick_gelu"
            }
            None => open.pointer("/model_cfg/quick_gelu").and_then(serde_json::Value::as_bool).unwrap_or(false),
        };
        let named = folder.weights()?;
        let tensors = Tensors::new(&named, device);
        let tower = match Vit::size_of(&tensors) {
            Some((true, width, patch)) => (width, patch),
            _ => {
                return Err(
                    folder.error("it has no picture tower of CLIP: give the folder of a whole CLIP model".into())
                );
            }
        };
        let (width, side) = (tower.0 as u64, SIDE as u64);
        let (heads, image) = (number("num_attention_heads"), number("image_size").unwrap_or(side));
        if heads.is_some_and(|heads| heads * HEAD as u64 != width) || image != side {
            let heads =
                heads.map_or_else(String::new, |heads| format!(" with {heads} heads of {width} numbers together"));
            let message = format!(
                "its picture tower sees {image}x{image}{heads}; {SIDE}x{SIDE} and heads of {HEAD} numbers are known: choose a \
                 CLIP such as openai/clip-vit-base-patch32"
            );
            return Err(folder.error(message));
        }
        let pictures = Vit::clip(&tensors, quick).map_err(|error| folder.error(error.to_string()))?;
        if pictures.dim() != texts.dim() {
            let message = format!("pictures have {} numbers and texts {}", pictures.dim(), texts.dim());
            return Err(folder.error(message));
        }
        Ok(Self { pictures, texts })
    }
}

/// How far pictures are from their texts: the mean of 1 - cos(E_I, E_T), which a generator can be steered by. Pictures are
/// brought to the tower's size by (antialiased) bilinear interpolation; CLIP's own is bicubic.
///
/// # Shapes
/// pictures: `[b, channels, h, w]` in [-1, 1] (see [`rgb`]), texts: their embeddings, `[b, dim]`; returns `[1]`.
pub fn distance(tower: &Vit, pictures: Tensor<4>, texts: Tensor<2>) -> Tensor<1> {
    let x = Colours::normal(CLIP_MEANS, CLIP_DEVIATIONS).apply(resized(rgb(pictures), tower.side()));
    (normalize(tower.features(x)) * normalize(texts)).sum_dim(1).mean().neg().add_scalar(1.0)
}
