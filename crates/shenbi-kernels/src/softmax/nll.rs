//! The negative log likelihood of given tokens with its gradients.
//!
//! Rows go by blocks of 32, as many at once as there are threads. What a block keeps for the weight's gradient is the logits'
//! gradients as operands of that product, in the memory that its exponentials had.

use super::{AREA, GROUP, Head, PANELS, PackedHead, exponentials, larger};
use crate::error::{KernelError, expect_len};
use crate::functions::exp;
use crate::isa::{BLOCK, Micro, Precision, Work, vectorize};
use crate::matmul::{PackA, pack_columns};
use crate::pack::{rows_to_words, run_to_words};
use crate::parallel::{SharedMut, for_items};
use crate::scratch::{self, Buffer, Slot};

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
    let micro = Micro::active(p)?;
    losses.fill(0.0);
    let row = |number| Row { number, target: targets[number] as usize, weight: weights[number] };
    let counted: Vec<Row> = (0..n).map(row).filter(|row| row.weight != 0.0).collect();
    let blocks: Vec<&[Row]> = counted.chunks(BLOCK).collect();
    let head = &PackedHead::new(head, micro);
    let batch = Batch { head, x, losses: SharedMut::new(losses) };
    match gradients {
        Some(to) => with_gradients(batch, &blocks, to),
        None => for_items(blocks.len(), |i| vectorize(micro.isa, Block { batch, rows: blocks[i], gradient: None })),
    }
    Ok(())
}

fn with_gradients(batch: Batch<'_>, blocks: &[&[Row]], to: NllGradients<'_>) {
    let (head, micro) = (batch.head, batch.head.micro);
    let (v, h) = (head.head.vocabulary, head.head.width);
    let (groups, panels, across) = (head.groups(), head.panels(), h.div_ceil(BLOCK));
    let (step, size) = (micro.k_words(BLOCK), across * group_words(micro));
    let mut weight = scratch::take(Slot::Panel, groups * size);
    let shared = SharedMut::new(&mut weight);
    for_items(groups, |group| {
        // SAFETY: each item has its own group.
        let packed = unsafe { shared.slice(group * size, size) };
        let weight = &to.weight[group * GROUP * h..v.min((group + 1) * GROUP) * h];
        vectorize(micro.isa, PackWeight { micro, weight, width: h, packed });
    });
    let kept = |_| Kept {
        logits: scratch::take(Slot::Logits, panels * AREA),
        inputs: scratch::take(Slot::PackedA, across * BLOCK * step),
        dbias: vec![0.0; panels * BLOCK],
    };
    let at_once = rayon::current_num_threads().min(blocks.len());
    let mut kept: Vec<Kept> = (0..at_once).map(kept).collect();
    let mut sums = scratch::take(Slot::Sums, panels * across * AREA); // [panels, across, 32 of the width, 32 tokens]
    sums.fill(0);
    let (dx, sums, dbias) = (SharedMut::new(to.dx), sums.as_f32_mut(), SharedMut::new(to.dbias));
    let shared_sums = SharedMut::new(sums);
    for blocks in blocks.chunks(at_once.max(1)) {
        let shared = SharedMut::new(&mut kept);
        for_items(blocks.len(), |i| {
            // SAFETY: each item has its own.
            let kept = unsafe { &mut shared.slice(i, 1)[0] };
            let gradient = Some(Gradient { weight: &weight, dx, kept });
            vectorize(micro.isa, Block { batch, rows: blocks[i], gradient });
        });
        let kept = &kept[..blocks.len()];
        for_items(groups, |group| {
            let (first, tokens) = (group * PANELS, GROUP.min(v - group * GROUP));
            // SAFETY: each item has its own group.
            let (sums, dbias) = unsafe {
                let count = tokens.div_ceil(BLOCK) * across;
                (shared_sums.slice(first * across * AREA, count * AREA), dbias.slice(group * GROUP, tokens))
            };
            vectorize(micro.isa, AddBlocks { micro, width: h, kept, first, sums, dbias });
        });
    }
    let (sums, dweight) = (&*sums, SharedMut::new(to.dweight));
    for_items(panels, |panel| {
        let first = panel * BLOCK;
        // SAFETY: each item has its own tokens.
        let dweight = unsafe { dweight.slice(first * h, BLOCK.min(v - first) * h) };
        let sums = &sums[panel * across * AREA..][..across * AREA];
        for (token, row) in dweight.chunks_exact_mut(h).enumerate() {
            for (values, sums) in row.chunks_mut(BLOCK).zip(sums.chunks_exact(AREA)) {
                values.iter_mut().zip(sums[token..].iter().step_by(BLOCK)).for_each(|(value, sum)| *value = *sum);
            }
        }
    });
}

/// Words of 32 columns of a group's weight.
fn group_words(micro: Micro) -> usize {
    PANELS * micro.k_words(BLOCK) * BLOCK
}

/// Packs the weight `[tokens, width]` of a group as B panels along the tokens: `[across, k, 32]`.
struct PackWeight<'a> {
    micro: Micro,
    weight: &'a [f32],
    width: usize,
    packed: &'a mut [u32],
}

impl Work for PackWeight<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { micro, weight, width, packed } = self;
        for (i, panel) in packed.chunks_exact_mut(group_words(micro)).enumerate() {
            pack_columns(micro, weight, [width, weight.len() / width], false, i * BLOCK, panel);
        }
    }
}

/// What all blocks of rows read, and where losses go.
#[derive(Clone, Copy)]
struct Batch<'a> {
    head: &'a PackedHead<'a>,
    x: &'a [f32],
    losses: SharedMut<'a, f32>,
}

/// A row that counts.
struct Row {
    number: usize,
    target: usize,
    weight: f32,
}

/// Up to 32 rows: their losses, and with `gradient` their gradients.
struct Block<'a> {
    batch: Batch<'a>,
    rows: &'a [Row],
    gradient: Option<Gradient<'a>>,
}

/// What the gradients of a block need besides.
struct Gradient<'a> {
    /// As [`PackWeight`] leaves each group.
    weight: &'a [u32],
    dx: SharedMut<'a, f32>,
    kept: &'a mut Kept,
}

/// What the gradients of weight and bias need of a block of rows.
struct Kept {
    /// Exponentials `[panels, 32 rows, 32 tokens]`; then, where each panel begins, its gradients as a B panel along the rows.
    logits: Buffer,
    /// The block's x as A blocks along the rows.
    inputs: Buffer,
    /// Sums over the rows.
    dbias: Vec<f32>,
}

impl Work for Block<'_> {
    #[inline(always)]
    fn run(self) {
        let Batch { head, x, losses } = self.batch;
        let (micro, h, n) = (head.micro, head.head.width, self.rows.len());
        let mut inputs = scratch::take(Slot::Between, n * h);
        let inputs = inputs.as_f32_mut();
        for (input, row) in inputs.chunks_exact_mut(h).zip(self.rows) {
            input.copy_from_slice(&x[row.number * h..][..h]);
        }
        let mut a = scratch::take(Slot::Panel, BLOCK * micro.k_words(h));
        PackA { micro, a: inputs, size: [n, h], transposed: false, block: 0, packed: &mut a }.run();
        let losses_here = match self.gradient {
            None => softmax(head, &a, self.rows, &mut scratch::take(Slot::Logits, PANELS * AREA), 0).losses,
            Some(mut gradient) => {
                let found = softmax(head, &a, self.rows, &mut gradient.kept.logits, PANELS * AREA);
                gradient.run(head, self.rows, &found.factors);
                for (i, packed) in gradient.kept.inputs.chunks_exact_mut(BLOCK * micro.k_words(BLOCK)).enumerate() {
                    PackA { micro, a: inputs, size: [h, n], transposed: true, block: i, packed }.run();
                }
                found.losses
            }
        };
        for (row, loss) in self.rows.iter().zip(losses_here) {
            // SAFETY: each row is in one block.
            unsafe { losses.slice(row.number, 1)[0] = loss };
        }
    }
}

/// The softmax of up to 32 rows.
struct Softmax {
    losses: [f32; BLOCK],
    /// What the exponentials of each group and row must be multiplied by.
    factors: Vec<[f32; BLOCK]>,
}

/// Leaves the exponentials of each group `per_group` floats after those of the one before.
#[inline(always)]
fn softmax(head: &PackedHead<'_>, a: &[u32], rows: &[Row], logits: &mut Buffer, per_group: usize) -> Softmax {
    let groups = head.groups();
    let (mut most, mut sums) = (vec![[f32::MIN; BLOCK]; groups], vec![[0.0; BLOCK]; groups]);
    let mut at_target = [0.0; BLOCK];
    let session = head.micro.enter();
    for group in 0..groups {
        let bias = head.bias(group);
        let logits = &mut logits.as_f32_mut()[group * per_group..][..bias.len() * BLOCK];
        // SAFETY: whole blocks of an aligned buffer, session held.
        unsafe { head.products(a, rows.len(), group, logits) };
        for (i, Row { target, .. }) in rows.iter().enumerate() {
            let logits = &mut logits[i * BLOCK..];
            if target / GROUP == group {
                at_target[i] = logits[target % GROUP / BLOCK * AREA + target % BLOCK] + bias[target % GROUP];
            }
            let part = exponentials(logits, AREA, bias, 1.0);
            (most[group][i], sums[group][i]) = (part.most, part.sum);
        }
    }
    drop(session);
    let (mut highest, mut total) = ([f32::MIN; BLOCK], [0.0; BLOCK]);
    for most in &most {
        highest.iter_mut().zip(most).for_each(|(highest, most)| *highest = larger(*highest, *most));
    }
    let mut factors = most;
    for (factors, sums) in factors.iter_mut().zip(&sums) {
        for (((factor, sum), highest), total) in factors.iter_mut().zip(sums).zip(&highest).zip(&mut total) {
            *factor = exp(*factor - highest);
            *total += sum * *factor;
        }
    }
    factors.iter_mut().for_each(|factors| factors.iter_mut().zip(&total).for_each(|(factor, total)| *factor /= total));
    let losses = std::array::from_fn(|row| total[row].ln() + (highest[row] - at_target[row]));
    Softmax { losses, factors }
}

impl Gradient<'_> {
    /// Turns exponentials into gradients: of x at once, of the rest as [`Kept`] says.
    #[inline(always)]
    fn run(&mut self, head: &PackedHead<'_>, rows: &[Row], factors: &[[f32; BLOCK]]) {
        let (micro, h, n) = (head.micro, head.head.width, rows.len());
        let (step, across) = (micro.k_words(BLOCK), h.div_ceil(BLOCK));
        let mut values = scratch::take(Slot::Phases, AREA);
        let mut a = scratch::take(Slot::Row, group_words(micro));
        // Rows that are not there count nothing.
        values.fill(0);
        a.fill(0);
        let mut dx = scratch::take(Slot::Block, across * AREA);
        let dx = dx.as_f32_mut();
        let session = micro.enter();
        for (group, factors) in factors.iter().enumerate() {
            let panels = head.bias(group).len() / BLOCK;
            for (i, a) in a.chunks_exact_mut(BLOCK * step).take(panels).enumerate() {
                self.panel(micro, rows, factors, group * PANELS + i, values.as_f32_mut(), a);
            }
            for (i, dx) in dx.chunks_exact_mut(AREA).enumerate() {
                let b = &self.weight[(group * across + i) * group_words(micro)..][..group_words(micro)];
                let size = [n, BLOCK.min(h - i * BLOCK)];
                // SAFETY: sizes as demanded (a and b hold at least these panels), buffers aligned, session held.
                unsafe { micro.block(panels * step, a.as_ptr(), b.as_ptr(), dx.as_mut_ptr(), size, group > 0) };
            }
        }
        drop(session);
        for (i, row) in rows.iter().enumerate() {
            // SAFETY: each row is in one block.
            let to = unsafe { self.dx.slice(row.number * h, h) };
            for (to, dx) in to.chunks_mut(BLOCK).zip(dx.chunks_exact(AREA)) {
                to.copy_from_slice(&dx[i * BLOCK..][..to.len()]);
            }
        }
    }

    /// The gradients of a panel's logits as words of the block `a` along the tokens, and kept as a B panel along the rows.
    #[inline(always)]
    fn panel(
        &mut self,
        micro: Micro,
        rows: &[Row],
        factors: &[f32; BLOCK],
        panel: usize,
        values: &mut [f32],
        a: &mut [u32],
    ) {
        let mut sums = [0.0; BLOCK];
        let exponentials = &self.kept.logits.as_f32_mut()[panel * AREA..][..AREA];
        for (((values, exponentials), row), factor) in
            values.as_chunks_mut::<BLOCK>().0.iter_mut().zip(exponentials.as_chunks::<BLOCK>().0).zip(rows).zip(factors)
        {
            let factor = factor * row.weight;
            for ((value, exponential), sum) in values.iter_mut().zip(exponentials).zip(&mut sums) {
                *value = exponential * factor;
                *sum += *value;
            }
        }
        for (i, row) in rows.iter().enumerate().filter(|(_, row)| row.target / BLOCK == panel) {
            values[i * BLOCK + row.target % BLOCK] -= row.weight;
            sums[row.target % BLOCK] -= row.weight;
        }
        self.kept.dbias[panel * BLOCK..][..BLOCK].copy_from_slice(&sums);
        for (i, values) in values.as_chunks::<BLOCK>().0.iter().enumerate().take(rows.len()) {
            for (a, values) in a.chunks_exact_mut(16 * BLOCK).zip(values.chunks_exact(16 * micro.per_word())) {
                run_to_words(micro, values, &mut a[i * 16..][..16]);
            }
        }
        let words = &mut self.kept.logits[panel * AREA..][..BLOCK * micro.k_words(BLOCK)];
        let pairs = values.chunks_exact(BLOCK * micro.per_word());
        for (words, pair) in words.as_chunks_mut::<BLOCK>().0.iter_mut().zip(pairs) {
            let (low, high) = pair.split_at(BLOCK);
            rows_to_words(micro, low, (!high.is_empty()).then_some(high), words);
        }
    }
}

/// Adds what blocks of rows kept for a group to the gradients of weight and bias.
struct AddBlocks<'a> {
    micro: Micro,
    width: usize,
    kept: &'a [Kept],
    /// The group's first panel.
    first: usize,
    /// `[panels, across, 32 of the width, 32 tokens]`
    sums: &'a mut [f32],
    dbias: &'a mut [f32],
}

impl Work for AddBlocks<'_> {
    #[inline(always)]
    fn run(self) {
        let Self { micro, width, kept, first, sums, dbias } = self;
        let (step, across) = (micro.k_words(BLOCK), width.div_ceil(BLOCK));
        let _session = micro.enter();
        for kept in kept {
            for (i, sums) in sums.chunks_exact_mut(across * AREA).enumerate() {
                let b = &kept.logits[(first + i) * AREA..][..BLOCK * step];
                for (j, c) in sums.chunks_exact_mut(AREA).enumerate() {
                    let a = &kept.inputs[j * BLOCK * step..][..BLOCK * step];
                    let size = [BLOCK.min(width - j * BLOCK), BLOCK];
                    // SAFETY: sizes as demanded, buffers aligned, session held.
                    unsafe { micro.block(step, a.as_ptr(), b.as_ptr(), c.as_mut_ptr(), size, true) };
                }
            }
            dbias.iter_mut().zip(&kept.dbias[first * BLOCK..]).for_each(|(sum, value)| *sum += value);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::softmax::tests::numbers;

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
