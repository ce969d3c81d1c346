//! A Transformer layer of others' files (1706.03762): attention and an MLP, each added to its input. Norms lie before
//! each (pre-norm: ViT, CLIP), x + f(norm(x)), or after each sum (post-norm: BERT), norm(x + f(x)).

use burn::module::Module;
use burn::tensor::Tensor;
use shenbi_nn::transformer::{attention, gelu};
use shenbi_nn::weights::WeightsError;
use shenbi_nn::{LayerNorm, Linear};

use super::load::Tensors;

/// Where a family of files has a layer's tensors. A `#` stands for the layer's number.
pub struct Names {
    /// Of attention and of the MLP.
    pub norms: [&'static str; 2],
    /// Weights of query, key and value, or of all at once; their biases.
    pub qkv: &'static [(&'static str, &'static str)],
    /// From the heads back.
    pub out: &'static str,
    /// Up and down.
    pub mlp: [&'static str; 2],
    /// What attention and the MLP add is scaled by these (LayerScale, 2103.17239).
    pub scales: Option<[&'static str; 2]>,
}

/// What the tensors do not tell.
#[derive(Clone, Copy, Debug)]
pub struct LayerOptions {
    /// Numbers in a token.
    pub n: usize,
    /// Attention heads, a divisor of n.
    pub heads: usize,
    /// Added to the norms' variance.
    pub epsilon: f64,
    /// GELU as x σ(1.702 x).
    pub quick: bool,
    /// Norms after the sums.
    pub post: bool,
}

/// One layer.
#[derive(Module, Debug)]
pub struct Layer {
    /// Of attention.
    pub norm1: LayerNorm,
    /// To query, key and value at once, `[3 n, n]`.
    pub qkv: Linear,
    /// From the heads back.
    pub out: Linear,
    /// Of the MLP.
    pub norm2: LayerNorm,
    /// `[m, n]`
    pub up: Linear,
    /// `[n, m]`
    pub down: Linear,
    /// Attention heads.
    #[module(skip)]
    pub heads: usize,
    /// GELU as x σ(1.702 x).
    #[module(skip)]
    pub quick: bool,
    /// Norms after the sums.
    #[module(skip)]
    pub post: bool,
}

impl Layer {
    /// # Shapes
    /// x: `[b, t, n]`, returns the same; bias: as [`attention`]'s.
    pub fn forward(&self, x: Tensor<3>, bias: Option<Tensor<4>>) -> Tensor<3> {
        let mlp = |x: Tensor<3>| self.down.forward(gelu(self.up.forward(x), self.quick));
        let attend = |x: Tensor<3>| self.out.forward(attention(self.qkv.forward(x), self.heads, bias.clone()));
        if self.post {
            let x = self.norm1.forward(x.clone() + attend(x));
            return self.norm2.forward(x.clone() + mlp(x));
        }
        let x = x.clone() + attend(self.norm1.forward(x));
        x.clone() + mlp(self.norm2.forward(x))
    }

    /// The layer of this number of a file whose names begin with `prefix`.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn from_tensors(
        tensors: &Tensors,
        prefix: &str,
        names: &Names,
        number: usize,
        options: LayerOptions,
    ) -> Result<Self, WeightsError> {
        let LayerOptions { n, heads, epsilon, quick, post } = options;
        let name = |name: &str| format!("{prefix}{}", numbered(name, number));
        let (mut weight, mut bias) = (Vec::new(), Vec::new());
        let rows = 3 * n / names.qkv.len();
        for (part_weight, part_bias) in names.qkv {
            weight.extend_from_slice(tensors.values(&name(part_weight), &[rows, n])?);
            bias.extend_from_slice(tensors.values(&name(part_bias), &[rows])?);
        }
        let scaled = |part: &str, inputs: usize, which: usize| {
            let Some(scales) = names.scales else { return tensors.linear(&name(part), [inputs, n]) };
            let scales = tensors.values(&name(scales[which]), &[n])?;
            let (weight, bias) = (format!("{}.weight", name(part)), format!("{}.bias", name(part)));
            let (weight, bias) = (tensors.values(&weight, &[n, inputs])?, tensors.values(&bias, &[n])?);
            let rows = weight.chunks_exact(inputs).zip(scales);
            let weight = rows.flat_map(|(row, scale)| row.iter().map(move |value| value * scale)).collect();
            let bias = bias.iter().zip(scales).map(|(value, scale)| value * scale).collect();
            Ok(Linear { weight: tensors.param(weight, [n, inputs]), bias: Some(tensors.param(bias, [n])) })
        };
        // As wide as the file has it; at least one number.
        let wide = tensors.shape(&format!("{}.weight", name(names.mlp[0])))?.first().copied().unwrap_or(0).max(1);
        Ok(Self {
            norm1: tensors.layer_norm(&name(names.norms[0]), n, epsilon)?,
            qkv: Linear { weight: tensors.param(weight, [3 * n, n]), bias: Some(tensors.param(bias, [3 * n])) },
            out: scaled(names.out, n, 0)?,
            norm2: tensors.layer_norm(&name(names.norms[1]), n, epsilon)?,
            up: tensors.linear(&name(names.mlp[0]), [n, wide])?,
            down: scaled(names.mlp[1], wide, 1)?,
            heads,
            quick,
            post,
        })
    }
}

/// All layers that a file has; at least one.
///
/// # Errors
/// As [`Layer::from_tensors`].
pub fn layers(
    tensors: &Tensors,
    prefix: &str,
    names: &Names,
    options: LayerOptions,
) -> Result<Vec<Layer>, WeightsError> {
    let first = |number| format!("{prefix}{}.weight", numbered(names.norms[0], number));
    let mut layers = Vec::new();
    while tensors.has(&first(layers.len())) {
        layers.push(Layer::from_tensors(tensors, prefix, names, layers.len(), options)?);
    }
    if layers.is_empty() { Err(WeightsError::Missing(first(0))) } else { Ok(layers) }
}

/// A name with its layer's number.
pub fn numbered(name: &str, layer: usize) -> String {
    name.replace('#', &layer.to_string())
}
