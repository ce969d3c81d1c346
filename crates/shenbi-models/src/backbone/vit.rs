//! Vision Transformers (Dosovitskiy et al., 2010.11929) that were trained without labels:
//!
//! - DINOv2 (Oquab et al., 2304.07193) of sizes S, B and L, under the names that transformers' `Dinov2Model` or the
//!   authors' own files have. Features: the class token after the last norm.
//! - The picture tower of CLIP (Radford et al., 2103.00020), under the names that transformers' `CLIPModel` or OpenAI's
//!   files have. Features: the class token after the last norm, projected to where captions lie; its length is left alone.
//!
//! A picture is cut into patches, each of which becomes a token; a class token comes first; positions are added. Then
//! x + attention(norm(x)) and x + mlp(norm(x)), layer by layer. All sizes follow from the tensors' shapes; a head has 64
//! numbers in all of these networks.
//!
//! DINOv2 scales what attention and the MLP add (LayerScale, 2103.17239); the scales are multiplied into the layers before
//! them. Its positions were learned for 37x37 patches and are brought to 16x16 by bicubic interpolation: of transformers'
//! files from the ratio of the sizes, of the authors' files from the ratio with their offset of 0.1.
//!
//! Input: RGB from 0 to 1 less means over deviations (ImageNet's or CLIP's), 224x224.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use shenbi_nn::weights::WeightsError;
use shenbi_nn::{Conv2d, LayerNorm, Linear, ops};

use super::load::{Shape, Tensors};
use super::transformer::{self, Layer, LayerOptions};

/// Height and width of the pictures.
pub const SIDE: usize = 224;
/// Means and deviations of the pictures that CLIP learnt from, of RGB from 0 to 1.
pub const CLIP_MEANS: [f32; 3] = [0.481_454_66, 0.457_827_5, 0.408_210_73];
/// See [`CLIP_MEANS`].
pub const CLIP_DEVIATIONS: [f32; 3] = [0.268_629_54, 0.261_302_6, 0.275_777_1];
/// Numbers in a head.
pub const HEAD: usize = 64;

/// Where a family of files has its tensors. A `#` stands for the layer's number.
struct Names {
    class: &'static str,
    positions: &'static str,
    patch: &'static str,
    /// Before the layers.
    before: Option<&'static str>,
    norms: [&'static str; 2],
    /// Weights of query, key and value, or of all at once; their biases.
    qkv: &'static [(&'static str, &'static str)],
    out: &'static str,
    mlp: [&'static str; 2],
    scales: Option<[&'static str; 2]>,
    after: &'static str,
    project: Option<&'static str>,
    /// Whether the projection is stored as `[in, out]`.
    transposed: bool,
    /// Added to the number of patches where positions are interpolated.
    offset: f64,
}

const DINOV2: Names = Names {
    class: "embeddings.cls_token",
    positions: "embeddings.position_embeddings",
    patch: "embeddings.patch_embeddings.projection",
    before: None,
    norms: ["encoder.layer.#.norm1", "encoder.layer.#.norm2"],
    qkv: &[
        ("encoder.layer.#.attention.attention.query.weight", "encoder.layer.#.attention.attention.query.bias"),
        ("encoder.layer.#.attention.attention.key.weight", "encoder.layer.#.attention.attention.key.bias"),
        ("encoder.layer.#.attention.attention.value.weight", "encoder.layer.#.attention.attention.value.bias"),
    ],
    out: "encoder.layer.#.attention.output.dense",
    mlp: ["encoder.layer.#.mlp.fc1", "encoder.layer.#.mlp.fc2"],
    scales: Some(["encoder.layer.#.layer_scale1.lambda1", "encoder.layer.#.layer_scale2.lambda1"]),
    after: "layernorm",
    project: None,
    transposed: false,
    offset: 0.0,
};
/// As newer versions of transformers have them.
const DINOV2_NEWER: Names = Names {
    qkv: &[
        ("encoder.layer.#.attention.q_proj.weight", "encoder.layer.#.attention.q_proj.bias"),
        ("encoder.layer.#.attention.k_proj.weight", "encoder.layer.#.attention.k_proj.bias"),
        ("encoder.layer.#.attention.v_proj.weight", "encoder.layer.#.attention.v_proj.bias"),
    ],
    out: "encoder.layer.#.attention.o_proj",
    ..DINOV2
};
const DINOV2_AUTHORS: Names = Names {
    class: "cls_token",
    positions: "pos_embed",
    patch: "patch_embed.proj",
    norms: ["blocks.#.norm1", "blocks.#.norm2"],
    qkv: &[("blocks.#.attn.qkv.weight", "blocks.#.attn.qkv.bias")],
    out: "blocks.#.attn.proj",
    mlp: ["blocks.#.mlp.fc1", "blocks.#.mlp.fc2"],
    scales: Some(["blocks.#.ls1.gamma", "blocks.#.ls2.gamma"]),
    after: "norm",
    offset: 0.1,
    ..DINOV2
};
const CLIP: Names = Names {
    class: "vision_model.embeddings.class_embedding",
    positions: "vision_model.embeddings.position_embedding.weight",
    patch: "vision_model.embeddings.patch_embedding",
    // Spelled so in the files.
    before: Some("vision_model.pre_layrnorm"),
    norms: ["vision_model.encoder.layers.#.layer_norm1", "vision_model.encoder.layers.#.layer_norm2"],
    qkv: &[
        (
            "vision_model.encoder.layers.#.self_attn.q_proj.weight",
            "vision_model.encoder.layers.#.self_attn.q_proj.bias",
        ),
        (
            "vision_model.encoder.layers.#.self_attn.k_proj.weight",
            "vision_model.encoder.layers.#.self_attn.k_proj.bias",
        ),
        (
            "vision_model.encoder.layers.#.self_attn.v_proj.weight",
            "vision_model.encoder.layers.#.self_attn.v_proj.bias",
        ),
    ],
    out: "vision_model.encoder.layers.#.self_attn.out_proj",
    mlp: ["vision_model.encoder.layers.#.mlp.fc1", "vision_model.encoder.layers.#.mlp.fc2"],
    scales: None,
    after: "vision_model.post_layernorm",
    project: Some("visual_projection.weight"),
    transposed: false,
    offset: 0.0,
};
const CLIP_OPENAI: Names = Names {
    class: "visual.class_embedding",
    positions: "visual.positional_embedding",
    patch: "visual.conv1",
    before: Some("visual.ln_pre"),
    norms: ["visual.transformer.resblocks.#.ln_1", "visual.transformer.resblocks.#.ln_2"],
    qkv: &[("visual.transformer.resblocks.#.attn.in_proj_weight", "visual.transformer.resblocks.#.attn.in_proj_bias")],
    out: "visual.transformer.resblocks.#.attn.out_proj",
    mlp: ["visual.transformer.resblocks.#.mlp.c_fc", "visual.transformer.resblocks.#.mlp.c_proj"],
    after: "visual.ln_post",
    project: Some("visual.proj"),
    transposed: true,
    ..CLIP
};

/// Pictures to features.
#[derive(Module, Debug)]
pub struct Vit {
    /// Each patch to a token.
    pub patch: Conv2d,
    /// The class token, `[n]`.
    pub class: Param<Tensor<1>>,
    /// Of the class token and each patch, `[1 + patches, n]`.
    pub positions: Param<Tensor<2>>,
    /// Before the layers (CLIP).
    pub before: Option<LayerNorm>,
    /// In order.
    pub layers: Vec<Layer>,
    /// After them.
    pub after: LayerNorm,
    /// To the features (CLIP), without a bias.
    pub project: Option<Linear>,
}

impl Vit {
    /// Of named tensors of DINOv2 or CLIP: whether they are CLIP's, the numbers in a token, and the side of a patch.
    pub fn size_of(tensors: &Tensors) -> Option<(bool, usize, usize)> {
        let names = names(tensors)?;
        match *tensors.shape(&format!("{}.weight", names.patch)).ok()? {
            [width, 3, side, _] => Some((names.project.is_some(), width, side)),
            _ => None,
        }
    }

    /// The network of a file's named tensors. Other tensors (CLIP's text tower) are ignored.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn from_tensors(tensors: &Tensors) -> Result<Self, WeightsError> {
        Self::clip(tensors, true)
    }

    /// The same. quick: whether CLIP's GELU is x σ(1.702 x), as OpenAI's have it.
    ///
    /// # Errors
    /// As [`Self::from_tensors`].
    pub fn clip(tensors: &Tensors, quick: bool) -> Result<Self, WeightsError> {
        let patch = Self::size_of(tensors).map_or(1, |(_, _, side)| side.max(1));
        Self::with_patches(tensors, quick, SIDE / patch)
    }

    /// The same for pictures of so many patches on a side.
    ///
    /// # Errors
    /// As [`Self::from_tensors`].
    pub fn with_patches(tensors: &Tensors, quick: bool, patches: usize) -> Result<Self, WeightsError> {
        let names = names(tensors).unwrap_or(&DINOV2);
        let (clip, width, side) = Self::size_of(tensors)
            .filter(|(_, width, side)| *width > 0 && width.is_multiple_of(HEAD) && (1..=SIDE).contains(side))
            .ok_or_else(|| WeightsError::Missing(format!("{}.weight", names.patch)))?;
        let epsilon = if clip { 1e-5 } else { 1e-6 };
        let shape = Shape::square([3, width], side, side, 0);
        let patch = if clip { tensors.bare_conv(names.patch, shape)? } else { tensors.conv(names.patch, shape)? };
        let class = tensors.values(names.class, tensors.shape(names.class)?)?;
        if class.len() != width {
            let (found, expected) = (vec![class.len()], vec![width]);
            return Err(WeightsError::Shape { name: names.class.to_string(), found, expected });
        }
        let options = LayerOptions { n: width, heads: width / HEAD, epsilon, quick: clip && quick, post: false };
        Ok(Self {
            patch,
            class: tensors.param(class.to_vec(), [width]),
            positions: positions(tensors, names, width, patches)?,
            before: names.before.map(|name| tensors.layer_norm(name, width, epsilon)).transpose()?,
            layers: transformer::layers(tensors, "", &of_layers(names), options)?,
            after: tensors.layer_norm(names.after, width, epsilon)?,
            project: names.project.map(|name| tensors.projection(name, width, names.transposed)).transpose()?,
        })
    }

    /// Numbers in a picture's features.
    pub fn dim(&self) -> usize {
        let [width] = self.class.dims();
        self.project.as_ref().map_or(width, |project| project.weight.dims()[0])
    }

    /// Whether it is CLIP's.
    pub fn is_clip(&self) -> bool {
        self.project.is_some()
    }

    /// Height and width of its pictures.
    pub fn side(&self) -> usize {
        (self.positions.dims()[0] - 1).isqrt() * self.patch.stride
    }

    /// Pictures as tokens, the class token first, before the layers: `[b, 1 + patches, n]`.
    fn tokens(&self, x: Tensor<4>) -> Tensor<3> {
        let [b, _, _, _] = x.dims();
        let [tokens, n] = self.positions.dims();
        let x = ops::to_f32(self.patch.forward(x)).permute([0, 2, 3, 1]).reshape([b, tokens - 1, n]);
        let class = self.class.val().reshape([1, 1, n]).repeat_dim(0, b);
        let x = Tensor::cat(vec![class, x], 1) + self.positions.val().unsqueeze();
        self.before.as_ref().map_or(x.clone(), |norm| norm.forward(x))
    }

    /// The patches' tokens after each `parts`th part of the layers, as pictures of patches.
    ///
    /// # Shapes
    /// x: `[b, 3, side, side]`, returns `parts` of `[b, n, side / patch, side / patch]`, f32.
    pub fn grids(&self, x: Tensor<4>, parts: usize) -> Vec<Tensor<4>> {
        let (b, all) = (x.dims()[0], self.layers.len());
        let [tokens, n] = self.positions.dims();
        let grid = (tokens - 1).isqrt();
        let mut x = self.tokens(x);
        let mut seen = Vec::with_capacity(parts);
        for part in 0..parts {
            for layer in &self.layers[all * part / parts..all * (part + 1) / parts] {
                x = layer.forward(x, None);
            }
            seen.push(x.clone().narrow(1, 1, tokens - 1).reshape([b, grid, grid, n]).permute([0, 3, 1, 2]));
        }
        seen
    }

    /// What the network sees.
    ///
    /// # Shapes
    /// x: `[b, 3, side, side]`, returns `[b, dim]`, f32.
    pub fn features(&self, x: Tensor<4>) -> Tensor<2> {
        let (b, n) = (x.dims()[0], self.positions.dims()[1]);
        let x = self.layers.iter().fold(self.tokens(x), |x, layer| layer.forward(x, None));
        let class = self.after.forward(x.narrow(1, 0, 1)).reshape([b, n]);
        match &self.project {
            Some(project) => project.forward(class),
            None => class,
        }
    }
}

fn names(tensors: &Tensors) -> Option<&'static Names> {
    const KNOWN: [&Names; 5] = [&DINOV2, &DINOV2_NEWER, &DINOV2_AUTHORS, &CLIP, &CLIP_OPENAI];
    KNOWN.into_iter().find(|names| tensors.has(names.class) && tensors.has(&transformer::numbered(names.qkv[0].0, 0)))
}

/// What [`Layer`] needs to know of them.
fn of_layers(names: &Names) -> transformer::Names {
    let Names { norms, qkv, out, mlp, scales, .. } = *names;
    transformer::Names { norms, qkv, out, mlp, scales }
}

/// The positions of the class token and of `side` by `side` patches.
fn positions(tensors: &Tensors, names: &Names, n: usize, side: usize) -> Result<Param<Tensor<2>>, WeightsError> {
    let shape = tensors.shape(names.positions)?;
    let values = tensors.values(names.positions, shape)?;
    let learned = (values.len() / n).saturating_sub(1).isqrt();
    if values.len() != (learned * learned + 1) * n || learned == 0 || shape.last() != Some(&n) {
        let expected = vec![side * side + 1, n];
        return Err(WeightsError::Shape { name: names.positions.to_string(), found: shape.to_vec(), expected });
    }
    let (class, patches) = values.split_at(n);
    let mut all = class.to_vec();
    if learned == side {
        all.extend_from_slice(patches);
    } else {
        all.extend(bicubic(patches, learned, side, learned as f64 / (side as f64 + names.offset)));
    }
    Ok(tensors.param(all, [side * side + 1, n]))
}

/// A square of vectors at another size, as PyTorch's `interpolate(mode="bicubic")`: cubic convolution with a = -0.75, half-
/// pixel centres, and the edge repeated. `scale`: inputs per output.
///
/// # Shapes
/// grid: `[from, from, n]`, returns `[to, to, n]`.
fn bicubic(grid: &[f32], from: usize, to: usize, scale: f64) -> Vec<f32> {
    let n = grid.len() / (from * from);
    let taps: Vec<[(usize, f64); 4]> = (0..to).map(|at| taps(at, from, scale)).collect();
    let mut out = Vec::with_capacity(to * to * n);
    for rows in &taps {
        for columns in &taps {
            let mut sum = vec![0.0; n];
            for (row, row_weight) in rows {
                for (column, column_weight) in columns {
                    let vector = &grid[(row * from + column) * n..][..n];
                    let weight = row_weight * column_weight;
                    sum.iter_mut().zip(vector).for_each(|(sum, value)| *sum += weight * f64::from(*value));
                }
            }
            out.extend(sum.into_iter().map(|value| value as f32));
        }
    }
    out
}

/// The four inputs that an output is made of.
fn taps(at: usize, from: usize, scale: f64) -> [(usize, f64); 4] {
    const A: f64 = -0.75;
    let place = (at as f64 + 0.5) * scale - 0.5;
    let left = place.floor();
    let weight = |distance: f64| {
        let x = distance.abs();
        if x <= 1.0 {
            ((A + 2.0) * x - (A + 3.0)) * x * x + 1.0
        } else {
            ((A * x - 5.0 * A) * x + 8.0 * A) * x - 4.0 * A
        }
    };
    [-1.0, 0.0, 1.0, 2.0].map(|step| {
        let input = left + step;
        (input.clamp(0.0, (from - 1) as f64) as usize, weight(place - input))
    })
}
