//! The text tower of CLIP (Radford et al., 2103.00020), under the names of transformers' `CLIPModel` and `CLIPTextModel` or
//! of OpenAI's and OpenCLIP's own files.
//!
//! Words and positions are added; then pre-norm Transformer layers in which a token sees those before it, and a norm. The
//! text's embedding is that of its end token, which alone has seen everything, projected to where pictures lie.

use burn::module::{Module, Param};
use burn::tensor::{Device, Tensor};
use shenbi_nn::transformer::causal;
use shenbi_nn::weights::WeightsError;
use shenbi_nn::{Embedding, LayerNorm, Linear};

use super::tokenizer::Tokens;
use crate::backbone::Tensors;
use crate::backbone::transformer::{Layer, LayerOptions, Names};

/// Where a family of files has its tensors.
struct Family {
    words: &'static str,
    positions: &'static str,
    layer: Names,
    after: &'static str,
    project: &'static str,
    /// Whether the projection is stored as `[in, out]`.
    transposed: bool,
}

const TRANSFORMERS: Family = Family {
    words: "embeddings.token_embedding.weight",
    positions: "embeddings.position_embedding.weight",
    layer: Names {
        norms: ["encoder.layers.#.layer_norm1", "encoder.layers.#.layer_norm2"],
        qkv: &[
            ("encoder.layers.#.self_attn.q_proj.weight", "encoder.layers.#.self_attn.q_proj.bias"),
            ("encoder.layers.#.self_attn.k_proj.weight", "encoder.layers.#.self_attn.k_proj.bias"),
            ("encoder.layers.#.self_attn.v_proj.weight", "encoder.layers.#.self_attn.v_proj.bias"),
        ],
        out: "encoder.layers.#.self_attn.out_proj",
        mlp: ["encoder.layers.#.mlp.fc1", "encoder.layers.#.mlp.fc2"],
        scales: None,
    },
    after: "final_layer_norm",
    project: "text_projection.weight",
    transposed: false,
};
const OPENAI: Family = Family {
    words: "token_embedding.weight",
    positions: "positional_embedding",
    layer: Names {
        norms: ["transformer.resblocks.#.ln_1", "transformer.resblocks.#.ln_2"],
        qkv: &[("transformer.resblocks.#.attn.in_proj_weight", "transformer.resblocks.#.attn.in_proj_bias")],
        out: "transformer.resblocks.#.attn.out_proj",
        mlp: ["transformer.resblocks.#.mlp.c_fc", "transformer.resblocks.#.mlp.c_proj"],
        scales: None,
    },
    after: "ln_final",
    project: "text_projection",
    transposed: true,
};

/// What the tensors do not tell.
#[derive(Clone, Copy, Debug)]
pub struct ClipTextConfig {
    /// Tokens that it knows.
    pub vocabulary: usize,
    /// Numbers in a token.
    pub width: usize,
    /// Layers.
    pub layers: usize,
    /// Attention heads, a divisor of the width.
    pub heads: usize,
    /// Rows of the table of positions.
    pub positions: usize,
    /// Added to the norms' variance.
    pub epsilon: f64,
    /// GELU as x σ(1.702 x): OpenAI's; OpenCLIP's mostly not.
    pub quick: bool,
    /// The end token; the one with the largest index where a file does not say.
    pub end: Option<i32>,
}

/// Tokens to hidden states, and these to an embedding.
#[derive(Module, Debug)]
pub struct ClipText {
    /// `[vocabulary, n]`
    pub tokens: Embedding,
    /// `[positions, n]`
    pub positions: Param<Tensor<2>>,
    /// In order.
    pub layers: Vec<Layer>,
    /// After them.
    pub after: LayerNorm,
    /// To where pictures lie, where the file has it.
    pub project: Option<Linear>,
    /// The end token.
    #[module(skip)]
    pub end: Option<i32>,
}

impl ClipText {
    /// The network of a file's named tensors. Others (the picture tower) are ignored.
    ///
    /// # Errors
    /// A tensor is missing, or has another shape than the configuration says.
    pub fn from_tensors(tensors: &Tensors, config: &ClipTextConfig) -> Result<Self, WeightsError> {
        let ClipTextConfig { vocabulary, width: n, heads, positions, epsilon, quick, end, .. } = *config;
        let known = [("text_model.", &TRANSFORMERS), ("", &TRANSFORMERS), ("", &OPENAI), ("text.", &OPENAI)];
        let found = known.into_iter().find(|(prefix, family)| tensors.has(&format!("{prefix}{}", family.words)));
        let (prefix, family) = found.unwrap_or(known[0]);
        let name = |name: &str| format!("{prefix}{name}");
        let words = tensors.values(&name(family.words), &[vocabulary, n])?.to_vec();
        let places = tensors.values(&name(family.positions), &[positions, n])?.to_vec();
        let options = LayerOptions { n, heads, epsilon, quick, post: false };
        let layers = (0..config.layers).map(|i| Layer::from_tensors(tensors, prefix, &family.layer, i, options));
        // Beside the towers in transformers' files, inside of them in others.
        let project = [family.project.to_string(), name(family.project)].into_iter().find(|name| tensors.has(name));
        Ok(Self {
            tokens: Embedding { weight: tensors.param(words, [vocabulary, n]) },
            positions: tensors.param(places, [positions, n]),
            layers: layers.collect::<Result<_, _>>()?,
            after: tensors.layer_norm(&name(family.after), n, epsilon)?,
            project: project.map(|name| tensors.projection(&name, n, family.transposed)).transpose()?,
            end,
        })
    }

    /// The longest text, in tokens.
    pub fn max_tokens(&self) -> usize {
        self.positions.dims()[0]
    }

    /// Numbers in an embedding.
    pub fn dim(&self) -> usize {
        self.project.as_ref().map_or(self.after.weight.dims()[0], |project| project.weight.dims()[0])
    }

    /// What each token is after those before it. tokens: no longer than [`Self::max_tokens`].
    ///
    /// # Shapes
    /// Returns `[b, t, n]`.
    pub fn forward(&self, tokens: &Tokens, device: &Device) -> Tensor<3> {
        self.after.forward(self.below(tokens, self.layers.len(), device))
    }

    /// The same after the first layers only, and before the last norm.
    pub fn below(&self, tokens: &Tokens, layers: usize, device: &Device) -> Tensor<3> {
        let attend = causal(tokens.length, device);
        let places = self.positions.val().narrow(0, 0, tokens.length).unsqueeze();
        let x = self.tokens.forward(tokens.to_tensor(device)) + places;
        self.layers.iter().take(layers).fold(x, |x, layer| layer.forward(x, Some(attend.clone())))
    }

    /// The embeddings of texts from their hidden states.
    ///
    /// # Shapes
    /// hidden: `[b, t, n]`, returns `[b, dim]`.
    pub fn embedding(&self, hidden: Tensor<3>, tokens: &Tokens) -> Tensor<2> {
        let last = tokens.pick(hidden, &tokens.ends(self.end)); // [b, n]
        self.project.as_ref().map_or(last.clone(), |project| project.forward(last))
    }
}
