//! A linear layer onto a vocabulary with the softmax that follows, without ever holding all logits: the negative log
//! likelihood of given tokens with its gradients.

use crate::error::{KernelError, expect_len, expect_nonzero};
use crate::functions::exp;
use crate::isa::{Precision, Work, active_isa, vectorize};
use crate::matmul::{Transpose, gemm};
use crate::parallel::{SharedMut, for_items};

/// Rows whose logits are held at once.
const ROWS: usize = 64;
/// Logits summed apart, so that sums vectorise.
const RUN: usize = 64;

/// A linear layer onto a vocabulary, kept as products want it.
#[derive(Clone, Debug)]
pub struct Head {
    pub(crate) vocabulary: usize,
    pub(crate) width: usize,
    /// `[width, vocabulary]`
    pub(crate) turned: Vec<f32>,
    pub(crate) bias: Vec<f32>,
}

impl Head {
    /// The layer of this weight `[vocabulary, width]` and bias.
    ///
    /// # Errors
    /// The sizes do not fit each other.
    pub fn new(weight: &[f32], bias: &[f32]) -> Result<Self, KernelError> {
        let vocabulary = bias.len();
        expect_nonzero("head", &[("vocabulary", vocabulary), ("width", weight.len() / vocabulary.max(1))])?;
        let width = weight.len() / vocabulary;
        expect_len("head", "weight", weight.len(), &[vocabulary, width])?;
        let mut turned = vec![0.0; weight.len()];
        for (token, row) in weight.chunks_exact(width).enumerate() {
            row.iter().enumerate().for_each(|(i, value)| turned[i * vocabulary + token] = *value);
        }
        Ok(Self { vocabulary, width, turned, bias: bias.to_vec() })
    }

    /// Number of tokens.
    pub fn vocabulary(&self) -> usize {
        self.vocabulary
    }

    /// Products without bias. x: `[rows, width]`, logits: `[rows, vocabulary]`.
    fn products(&self, x: &[f32], logits: &mut [f32], p: Precision) -> Result<(), KernelError> {
        let how = [Transpose::No, Transpose::No];
        gemm(x.len() / self.width, self.vocabulary, self.width, x, &self.turned, logits, how, p)
    }
}

/// Where [`nll`] puts the gradients of the weighted sum of its losses.
pub struct NllGradients<'a> {
    /// The layer's weight `[vocabulary, width]` again.
    pub weight: &'a [f32],
    /// `[n, width]`
    pub dx: &'a mut [f32],
    /// `[vocabulary, width]`
    pub dweight: &'a mut [f32],
    /// `[vocabulary]`
    pub dbias: &'a mut [f32],
}

/// -log softmax(W x + b) at each row's target; 0 for rows of weight 0, which cost nothing. `p` is that of the products.
///
/// # Shapes
/// x: `[n, width]`, targets, weights and losses: `[n]`.
///
/// # Errors
/// If a slice does not fit its shape or a target is none of the tokens.
pub fn nll(
    head: &Head,
    x: &[f32],
    targets: &[u32],
    weights: &[f32],
    losses: &mut [f32],
    mut gradients: Option<NllGradients<'_>>,
    p: Precision,
) -> Result<(), KernelError> {
    const OP: &str = "nll";
    let (v, h, n) = (head.vocabulary, head.width, targets.len());
    expect_len(OP, "x", x.len(), &[n, h])?;
    expect_len(OP, "weights", weights.len(), &[n])?;
    expect_len(OP, "losses", losses.len(), &[n])?;
    if let Some(target) = targets.iter().find(|target| **target as usize >= v) {
        return Err(KernelError::Shape { op: OP, message: format!("token {target} of a vocabulary of {v}") });
    }
    if let Some(to) = &mut gradients {
        expect_len(OP, "weight", to.weight.len(), &[v, h])?;
        expect_len(OP, "dx", to.dx.len(), &[n, h])?;
        expect_len(OP, "dweight", to.dweight.len(), &[v, h])?;
        expect_len(OP, "dbias", to.dbias.len(), &[v])?;
        to.dx.fill(0.0);
        to.dbias.fill(0.0);
    }
    losses.fill(0.0);
    let isa = active_isa()?;
    let counted: Vec<usize> = (0..n).filter(|&row| weights[row] != 0.0).collect();
    let most = ROWS.min(counted.len());
    let mut logits = vec![0.0; most * v];
    let mut inputs = vec![0.0; most * h];
    let (mut block_dx, mut block_dw, mut turned) = (Vec::new(), Vec::new(), Vec::new());
    if gradients.is_some() {
        (block_dx, block_dw, turned) = (vec![0.0; most * h], vec![0.0; h * v], vec![0.0; h * v]);
    }
    for rows in counted.chunks(ROWS) {
        let (inputs, logits) = (&mut inputs[..rows.len() * h], &mut logits[..rows.len() * v]);
        for (input, &row) in inputs.chunks_exact_mut(h).zip(rows) {
            input.copy_from_slice(&x[row * h..][..h]);
        }
        head.products(inputs, logits, p)?;
        let mut block_losses = vec![0.0; rows.len()];
        let (shared, shared_losses) = (SharedMut::new(logits), SharedMut::new(&mut block_losses));
        for_items(rows.len(), |i| {
            let (target, weight) = (targets[rows[i]] as usize, weights[rows[i]]);
            let scale = gradients.is_some().then_some(weight);
            #[allow(unsafe_code)]
            // SAFETY: each item has its own row.
            let (logits, loss) = unsafe { (shared.slice(i * v, v), &mut shared_losses.slice(i, 1)[0]) };
            vectorize(isa, Row { bias: &head.bias, logits, target, scale, loss });
        });
        for (&row, loss) in rows.iter().zip(&block_losses) {
            losses[row] = *loss;
        }
        let Some(to) = &mut gradients else { continue };
        let block_dx = &mut block_dx[..rows.len() * h];
        gemm(rows.len(), h, v, logits, to.weight, block_dx, [Transpose::No, Transpose::No], p)?;
        for (dx, &row) in block_dx.chunks_exact(h).zip(rows) {
            to.dx[row * h..][..h].copy_from_slice(dx);
        }
        gemm(h, v, rows.len(), inputs, logits, &mut block_dw, [Transpose::Yes, Transpose::No], p)?;
        vectorize(isa, Add { values: &block_dw, sums: &mut turned });
        vectorize(isa, SumRows { rows: logits, sums: to.dbias });
    }
    if let Some(to) = gradients {
        for (token, row) in to.dweight.chunks_exact_mut(h).enumerate() {
            row.iter_mut().enumerate().for_each(|(i, value)| *value = turned[i * v + token]);
        }
    }
    Ok(())
}

/// One row: the loss and, with a scale, the loss's gradient times it in place of the logits.
struct Row<'a> {
    bias: &'a [f32],
    logits: &'a mut [f32],
    target: usize,
    scale: Option<f32>,
    loss: &'a mut f32,
}

impl Work for Row<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { bias, logits, target, scale, loss } = self;
        let most = biased_maximum(logits, bias, 1.0);
        let at_target = logits[target] - most;
        let mut sum = 0.0;
        for run in logits.chunks_mut(RUN) {
            sum += exponentials(run, most);
        }
        *loss = sum.ln() - at_target;
        if let Some(scale) = scale {
            let factor = scale / sum;
            logits.iter_mut().for_each(|value| *value *= factor);
            logits[target] -= scale;
        }
    }
}

/// Adds the bias, multiplies by `factor`; returns the largest.
#[inline(always)]
fn biased_maximum(logits: &mut [f32], bias: &[f32], factor: f32) -> f32 {
    let mut most = [f32::NEG_INFINITY; 16];
    for (run, bias) in logits.chunks_mut(16).zip(bias.chunks(16)) {
        for ((logit, bias), most) in run.iter_mut().zip(bias).zip(&mut most) {
            *logit = (*logit + bias) * factor;
            *most = if *logit > *most { *logit } else { *most };
        }
    }
    most.into_iter().fold(f32::NEG_INFINITY, f32::max)
}

/// e to each of a run's values less `most`, in place; returns their sum.
#[inline(always)]
fn exponentials(run: &mut [f32], most: f32) -> f32 {
    run.iter_mut().for_each(|value| *value = exp(*value - most));
    let mut sums = [0.0f32; 16];
    for part in run.chunks(16) {
        sums.iter_mut().zip(part).for_each(|(sum, value)| *sum += value);
    }
    sums.iter().sum()
}

struct Add<'a> {
    values: &'a [f32],
    sums: &'a mut [f32],
}

impl Work for Add<'_> {
    #[inline(always)]
    fn run(self) {
        self.sums.iter_mut().zip(self.values).for_each(|(sum, value)| *sum += value);
    }
}

/// Adds rows to their sum.
struct SumRows<'a> {
    rows: &'a [f32],
    sums: &'a mut [f32],
}

impl Work for SumRows<'_> {
    #[inline(always)]
    fn run(self) {
        const COLUMNS: usize = 64;
        let v = self.sums.len();
        for (place, sums) in self.sums.chunks_mut(COLUMNS).enumerate() {
            let mut part = [0.0f32; COLUMNS];
            for row in self.rows.chunks_exact(v) {
                let row = &row[place * COLUMNS..][..sums.len()];
                match row.first_chunk::<COLUMNS>() {
                    Some(row) => part.iter_mut().zip(row).for_each(|(sum, value)| *sum += value),
                    None => part.iter_mut().zip(row).for_each(|(sum, value)| *sum += value),
                }
            }
            sums.iter_mut().zip(&part).for_each(|(sum, value)| *sum += value);
        }
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// Numbers in [-1, 1).
    pub(crate) fn numbers(n: usize, seed: u64) -> Vec<f32> {
        let mut state = seed;
        let mut next = || {
            state = state.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
            (state >> 40) as f32 / 8_388_608.0 - 1.0
        };
        (0..n).map(|_| next()).collect()
    }

    #[test]
    fn losses_and_gradients_are_those_of_softmax() {
        let (n, v, h) = (150, 77, 9);
        let (x, w, b) = (numbers(n * h, 1), numbers(v * h, 2), numbers(v, 3));
        let targets: Vec<u32> = (0..n as u32).map(|i| i * 31 % v as u32).collect();
        let weights: Vec<f32> = (0..n).map(|i| if i % 7 == 3 { 0.0 } else { 0.1 * (i % 5) as f32 - 0.15 }).collect();
        let mut losses = vec![0.0; n];
        let (mut dx, mut dw, mut db) = (vec![1.0; n * h], vec![1.0; v * h], vec![1.0; v]);
        let to = NllGradients { weight: &w, dx: &mut dx, dweight: &mut dw, dbias: &mut db };
        nll(&Head::new(&w, &b).unwrap(), &x, &targets, &weights, &mut losses, Some(to), Precision::F32).unwrap();
        let (mut ex, mut ew, mut eb) = (vec![0.0f64; n * h], vec![0.0f64; v * h], vec![0.0f64; v]);
        for row in 0..n {
            let logit = |k: usize| {
                (0..h).map(|i| f64::from(x[row * h + i]) * f64::from(w[k * h + i])).sum::<f64>() + f64::from(b[k])
            };
            let e: Vec<f64> = (0..v).map(|k| logit(k).exp()).collect();
            let (sum, target, weight) = (e.iter().sum::<f64>(), targets[row] as usize, f64::from(weights[row]));
            let loss = if weight == 0.0 { 0.0 } else { sum.ln() - logit(target) };
            assert!((loss - f64::from(losses[row])).abs() < 1e-5);
            for k in 0..v {
                let d = weight * (e[k] / sum - f64::from(u8::from(k == target)));
                eb[k] += d;
                for i in 0..h {
                    ex[row * h + i] += d * f64::from(w[k * h + i]);
                    ew[k * h + i] += d * f64::from(x[row * h + i]);
                }
            }
        }
        for (found, expected) in [(&dx, &ex), (&dw, &ew), (&db, &eb)] {
            let error = found.iter().zip(expected).map(|(a, b)| (f64::from(*a) - b).abs()).fold(0.0, f64::max);
            assert!(error < 1e-5, "{error}");
        }
    }

    #[test]
    fn unknown_tokens_are_refused() {
        let head = Head::new(&[0.0; 6], &[0.0; 3]).unwrap();
        assert!(
            nll(&head, &[0.0; 2], &[3], &[1.0], &mut [0.0], None, Precision::F32)
                .unwrap_err()
                .to_string()
                .contains("token 3")
        );
        assert!(Head::new(&[0.0; 7], &[0.0; 3]).is_err());
    }
}
