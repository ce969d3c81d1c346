//! Exact gradient penalties with first-order autodiff.
//!
//! For a penalty P(θ) = E φ(‖∇ₓD(x)‖) let g = ∇ₓD(x), from one ordinary backward, and v = stop(φ′(‖g‖)/‖g‖ · g). Then
//! ∇θ P = ∇θ E⟨∇ₓD(x), v⟩ = ∇θ E[JVP_D(x; v)], and the Jacobian-vector product is a forward pass: each discriminator
//! layer's `forward_tangent`. The surrogate E[JVP_D(x; v)] has the penalty's gradient, not its value.

use burn::tensor::Tensor;

/// The penalties that the tangent pass serves: φ(r) of the gradient's norm r.
#[derive(Clone, Copy, Debug, PartialEq)]
pub enum Penalty {
    /// (γ/2) r², on real pictures (R1, 1801.04406, eq. 9) or generated ones (R2).
    R1 {
        /// γ
        gamma: f64,
    },
    /// λ (r - 1)² (WGAN-GP, 1704.00028, eq. 3).
    WganGp {
        /// λ
        lambda: f64,
    },
    /// k rᵖ over the gradient in picture and sentence together (matching-aware, DF-GAN, 2008.05865, eq. 2).
    MaGp {
        /// k
        k: f64,
        /// p
        p: f64,
    },
}

impl Penalty {
    /// φ(r), averaged over the batch. squared: each example's ‖g‖², `[b]`.
    pub fn value(self, squared: Tensor<1>) -> Tensor<1> {
        match self {
            Self::R1 { gamma } => squared.mean().mul_scalar(gamma / 2.0),
            Self::WganGp { lambda } => (squared.sqrt() - 1.0).powi_scalar(2).mean().mul_scalar(lambda),
            Self::MaGp { k, p } => squared.powf_scalar(p / 2.0).mean().mul_scalar(k),
        }
    }

    /// φ′(r)/r for each example, the factor between g and v. squared: ‖g‖², `[b]`.
    pub fn direction(self, squared: Tensor<1>) -> Tensor<1> {
        match self {
            Self::R1 { gamma } => squared.zeros_like().add_scalar(gamma),
            Self::WganGp { lambda } => {
                let r = squared.add_scalar(1e-24).sqrt();
                (r.recip().neg() + 1.0).mul_scalar(2.0 * lambda)
            }
            Self::MaGp { k, p } => squared.powf_scalar((p - 2.0) / 2.0).mul_scalar(k * p),
        }
    }
}

/// Sum of squares of each example: `[b, ..]` to `[b]`.
pub fn squared_norm<const D: usize>(g: &Tensor<D>) -> Tensor<1> {
    let b = g.dims()[0];
    let n = g.dims().iter().skip(1).product::<usize>();
    g.clone().reshape([b, n]).powi_scalar(2).sum_dim(1).reshape([b])
}

/// g with each example multiplied by its factor. factor: `[b]`.
pub fn scale_examples<const D: usize>(g: Tensor<D>, factor: Tensor<1>) -> Tensor<D> {
    let mut shape = [1; D];
    shape[0] = g.dims()[0];
    g * factor.reshape(shape)
}
