//! Adversarial and contrastive losses. Logits and embeddings in, a scalar `[1]` out.

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use shenbi_nn::ops::softplus;

/// Relativistic pairing, one side: E softplus(worse - better) (RpGAN, 1807.00734; R3GAN, 2501.05441, eq. 2).
///
/// The discriminator wants real better than fake, the generator fake better than real.
///
/// # Shapes
/// `[b]` each, paired by position.
pub fn relativistic(better: Tensor<1>, worse: Tensor<1>) -> Tensor<1> {
    softplus(worse - better).mean()
}

/// Symmetric InfoNCE (CLIP, 2103.00020, fig. 3): each row of `a` should be closest to the same row of `b`, and the
/// other way round.
///
/// # Shapes
/// a, b: unit rows, `[n, d]`; scale: inverse temperature, `[1]`; same: [`same_captions`], `[n, n]`.
pub fn info_nce(a: Tensor<2>, b: Tensor<2>, scale: Tensor<1>, same: Tensor<2>) -> Tensor<1> {
    let [n, _] = a.dims();
    let logits = a.matmul(b.transpose()) * scale.unsqueeze() + same; // [n, n]
    let diagonal = Tensor::<1, Int>::arange(0..n as i64, &logits.device()).reshape([n, 1]);
    let side = |logits: Tensor<2>| activation::log_softmax(logits, 1).gather(1, diagonal.clone()).mean().neg();
    (side(logits.clone()) + side(logits.transpose())).mul_scalar(0.5)
}

/// What takes equal captions of a batch out of the comparison, as they are no wrong answers: very negative where two
/// different rows have the same caption, 0 elsewhere, `[n, n]`.
pub fn same_captions(captions: &[&str], device: &Device) -> Tensor<2> {
    let n = captions.len();
    let rival = |i: usize, j: usize| if i != j && captions[i] == captions[j] { -1e9f32 } else { 0.0 };
    let mask: Vec<f32> = (0..n * n).map(|k| rival(k / n, k % n)).collect();
    Tensor::from_data(TensorData::new(mask, [n, n]), device)
}

/// Share of rows of `a` whose closest row of `b` is their own.
pub fn retrieval_accuracy(a: Tensor<2>, b: Tensor<2>) -> Tensor<1> {
    let [n, _] = a.dims();
    let best = a.matmul(b.transpose()).argmax(1).reshape([n]);
    let own = Tensor::<1, Int>::arange(0..n as i64, &best.device());
    best.equal(own).float().mean()
}
