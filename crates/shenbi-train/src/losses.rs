//! Adversarial, matching and contrastive losses. Logits, features or embeddings in, a scalar `[1]` out.

use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use serde::{Deserialize, Serialize};
use shenbi_nn::ops::{relu, softplus};

/// The game between D and G, on D's logits.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Adversarial {
    /// V(D, G) = E log D(x) + E log(1 - D(G(z))), D a sigmoid, for both (1406.2661, eq. 1).
    Minimax,
    /// The same for D; G maximises E log D(G(z)) (1406.2661, section 3).
    NonSaturating,
    /// Squared distances from 1 for real and 0 for generated; 1 for G (LSGAN, 1611.04076, eq. 9).
    LeastSquares,
    /// Differences of means (WGAN, 1701.07875, eq. 2 and 3).
    Wasserstein,
    /// Margins of one (1705.02894, eq. 3 and 4; SNGAN, 1802.05957, eq. 16 and 17).
    Hinge,
    /// Each real picture against a generated one: E softplus(worse - better) (RpGAN, 1807.00734; R3GAN, 2501.05441,
    /// eq. 2).
    Relativistic,
}

impl Adversarial {
    /// D's loss.
    ///
    /// # Shapes
    /// `[b]` each.
    pub fn discriminator(self, real: Tensor<1>, fake: Tensor<1>) -> Tensor<1> {
        match self {
            Self::Minimax | Self::NonSaturating => softplus(real.neg()).mean() + softplus(fake).mean(),
            Self::LeastSquares => {
                (real.sub_scalar(1.0).powi_scalar(2).mean() + fake.powi_scalar(2).mean()).mul_scalar(0.5)
            }
            Self::Wasserstein => fake.mean() - real.mean(),
            Self::Hinge => relu(real.neg().add_scalar(1.0)).mean() + relu(fake.add_scalar(1.0)).mean(),
            Self::Relativistic => relativistic(real, fake),
        }
    }

    /// G's loss; real: what D says of real pictures, which only the relativistic loss looks at.
    ///
    /// # Shapes
    /// `[b]` each.
    pub fn generator(self, real: Tensor<1>, fake: Tensor<1>) -> Tensor<1> {
        match self {
            Self::Minimax => softplus(fake).mean().neg(),
            Self::NonSaturating => softplus(fake.neg()).mean(),
            Self::LeastSquares => fake.sub_scalar(1.0).powi_scalar(2).mean().mul_scalar(0.5),
            Self::Wasserstein | Self::Hinge => fake.mean().neg(),
            Self::Relativistic => relativistic(fake, real),
        }
    }
}

/// Feature matching (1606.03498, section 3.1): the squared distance between the mean features of two batches, a mean
/// over the features.
///
/// # Shapes
/// `[b, n]` each.
pub fn feature_matching(real: Tensor<2>, fake: Tensor<2>) -> Tensor<1> {
    (real.mean_dim(0) - fake.mean_dim(0)).powi_scalar(2).mean()
}

/// Squared maximum mean discrepancy (generative moment matching, 1502.02761, eq. 3) under a sum of Gaussian kernels
/// whose widths are fractions and multiples of the mean squared distance, which is taken as a constant.
///
/// # Shapes
/// `[b, n]` each.
pub fn mmd(real: Tensor<2>, fake: Tensor<2>) -> Tensor<1> {
    let [b, _] = real.dims();
    let all = Tensor::cat(vec![real, fake], 0); // [2b, n]
    let squares = all.clone().powi_scalar(2).sum_dim(1); // [2b, 1]
    let distances =
        (squares.clone() + squares.transpose() - all.clone().matmul(all.transpose()).mul_scalar(2.0)).clamp_min(0.0); // [2b, 2b]
    let width = distances.clone().without_autodiff().mean().add_scalar(1e-12);
    let scaled = distances / width.unsqueeze();
    let kernel = [0.25, 0.5, 1.0, 2.0, 4.0]
        .map(|factor| scaled.clone().mul_scalar(-factor).exp())
        .into_iter()
        .reduce(|sum, kernel| sum + kernel)
        .unwrap_or(scaled);
    let block = |i: usize, j: usize| kernel.clone().slice([i * b..(i + 1) * b, j * b..(j + 1) * b]).mean();
    block(0, 0) + block(1, 1) - block(0, 1).mul_scalar(2.0)
}

/// Cross entropy of class logits (AC-GAN, 1610.09585, eq. 3).
///
/// # Shapes
/// logits: `[b, classes]`, class: one-hot, the same.
pub fn cross_entropy(logits: Tensor<2>, class: Tensor<2>) -> Tensor<1> {
    let [b, _] = logits.dims();
    (activation::log_softmax(logits, 1) * class).sum().div_scalar(b as f64).neg()
}

/// LeCam regularisation (2104.03310, eq. 6): real pictures should not be far above the average of what D says of
/// generated ones, nor generated ones far below that of real ones.
///
/// # Shapes
/// `[b]` each; averages of D's logits over the past.
pub fn lecam(real: Tensor<1>, fake: Tensor<1>, real_average: f64, fake_average: f64) -> Tensor<1> {
    real.sub_scalar(fake_average).powi_scalar(2).mean() + fake.sub_scalar(real_average).powi_scalar(2).mean()
}

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
/// a, b: unit rows, `[n, d]`; scale: inverse temperature, `[1]`; same: [`same_captions`], `[n, n]`; contraries: further
/// rows that no row of `a` should be close to (hard negatives, as in NegCLIP, 2210.01936), `[m, d]`.
pub fn info_nce(
    a: Tensor<2>,
    b: Tensor<2>,
    scale: Tensor<1>,
    same: Tensor<2>,
    contraries: Option<Tensor<2>>,
) -> Tensor<1> {
    let [n, _] = a.dims();
    let scale = scale.unsqueeze::<2>();
    let logits = a.clone().matmul(b.transpose()) * scale.clone() + same; // [n, n]
    let diagonal = Tensor::<1, Int>::arange(0..n as i64, &logits.device()).reshape([n, 1]);
    let side = |logits: Tensor<2>| activation::log_softmax(logits, 1).gather(1, diagonal.clone()).mean().neg();
    let among = match contraries {
        Some(contraries) => Tensor::cat(vec![logits.clone(), a.matmul(contraries.transpose()) * scale], 1), // [n, n + m]
        None => logits.clone(),
    };
    (side(among) + side(logits.transpose())).mul_scalar(0.5)
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

#[cfg(test)]
#[allow(clippy::unwrap_used)]
mod tests {
    use shenbi_nn::weights::values;

    use super::*;

    #[test]
    fn contraries_are_further_wrong_answers_for_rows_of_a() {
        let device = Device::flex();
        let of = |rows: [[f32; 2]; 2]| Tensor::<2>::from_data(TensorData::from(rows), &device);
        let scale = || Tensor::<1>::from_data(TensorData::from([2.0f32]), &device);
        let (a, b) = (of([[1.0, 0.0], [0.0, 1.0]]), of([[0.8, 0.6], [0.6, 0.8]]));
        let contrary = Tensor::<2>::from_data(TensorData::from([[1.0f32, 0.0]]), &device);
        let loss = |contraries| {
            let same = Tensor::zeros([2, 2], &device);
            values(info_nce(a.clone(), b.clone(), scale(), same, contraries)).data[0]
        };
        let e = f32::exp;
        let side = -(e(1.6) / (e(1.6) + e(1.2))).ln();
        assert!((loss(None) - side).abs() < 1e-5);
        // Only the direction from a changes: its first row meets e^2, its second e^0.
        let among = -((e(1.6) / (e(1.6) + e(1.2) + e(2.0))).ln() + (e(1.6) / (e(1.6) + e(1.2) + 1.0)).ln()) / 2.0;
        assert!((loss(Some(contrary)) - (side + among) / 2.0).abs() < 1e-5);
    }
}
