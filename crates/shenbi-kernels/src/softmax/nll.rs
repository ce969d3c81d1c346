//! The negative log likelihood of given tokens with its gradients.
//!
//! Rows go by blocks of 32, as many at once as there are threads. What a block keeps for the weight's gradient is the logits'
//! gradients as operands of that product, in the memory that its exponentials had.

use super::{AREA, GROUP, Head, PANELS, PackedHead, exponentials, larger, row_of};
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
    /// Exponentials `[groups, rows, tokens]`; then, AREA words apart, their gradients as B panels along the rows.
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
            None => softmax(head, &a, self.rows, scratch::take(Slot::Logits, PANELS * AREA).as_f32_mut(), 0).losses,
            Some(mut gradient) => {
                let found = softmax(head, &a, self.rows, gradient.kept.logits.as_f32_mut(), PANELS * AREA);
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

/// Leaves the exponentials of each group `[rows, tokens]`, `per_group` floats after those of the one before.
#[inline(always)]
fn softmax(head: &PackedHead<'_>, a: &[u32], rows: &[Row], kept: &mut [f32], per_group: usize) -> Softmax {
    let groups = head.groups();
    let (mut most, mut sums) = (vec![[f32::MIN; BLOCK]; groups], vec![[0.0; BLOCK]; groups]);
    let mut at_target = [0.0; BLOCK];
    let mut products = scratch::take(Slot::Block, PANELS * AREA);
    let products = products.as_f32_mut();
    let session = head.micro.enter();
    for group in 0..groups {
        let bias = head.bias(group);
        let kept = &mut kept[group * per_group..][..rows.len() * bias.len()];
        // SAFETY: products are aligned as their buffer is, session held.
        unsafe { head.products(a, rows.len(), group, products) };
        for (i, (logits, row)) in kept.chunks_exact_mut(bias.len()).zip(rows).enumerate() {
            row_of(products, i, logits);
            if row.target / GROUP == group {
                at_target[i] = logits[row.target % GROUP] + bias[row.target % GROUP];
            }
            let part = exponentials(logits, bias, 1.0);
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
        let mut values = scratch::take(Slot::Logits, BLOCK * GROUP);
        let mut a = scratch::take(Slot::Panel, group_words(micro));
        // Rows that are not there count nothing.
        values.fill(0);
        a.fill(0);
        let mut dx = scratch::take(Slot::Block, across * AREA);
        let dx = dx.as_f32_mut();
        let session = micro.enter();
        for (group, factors) in factors.iter().enumerate() {
            let tokens = head.bias(group).len();
            let panels = tokens / BLOCK;
            self.kept.scale(rows, factors, group, tokens, values.as_f32_mut());
            let values = values.as_f32_mut();
            for (i, values) in values.chunks_exact(GROUP).take(n).enumerate() {
                for (a, values) in a.chunks_exact_mut(16 * BLOCK).zip(values.chunks_exact(16 * micro.per_word())) {
                    run_to_words(micro, values, &mut a[i * 16..][..16]);
                }
            }
            self.kept.pack(micro, group, panels, values);
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
}

impl Kept {
    /// The gradients of a group's logits `[rows, GROUP]`, and their sums over the rows.
    #[inline(always)]
    fn scale(&mut self, rows: &[Row], factors: &[f32; BLOCK], group: usize, tokens: usize, values: &mut [f32]) {
        let sums = &mut self.dbias[group * GROUP..][..tokens];
        sums.fill(0.0);
        let exponentials = self.logits.as_f32_mut()[group * PANELS * AREA..].chunks_exact(tokens);
        for (((values, exponentials), row), factor) in
            values.chunks_exact_mut(GROUP).zip(exponentials).zip(rows).zip(factors)
        {
            let factor = factor * row.weight;
            for ((value, exponential), sum) in values[..tokens].iter_mut().zip(exponentials).zip(&mut *sums) {
                *value = exponential * factor;
                *sum += *value;
            }
            if row.target / GROUP == group {
                values[row.target % GROUP] -= row.weight;
                sums[row.target % GROUP] -= row.weight;
            }
        }
    }

    /// Keeps a group's gradients as B panels in place of its exponentials.
    #[inline(always)]
    fn pack(&mut self, micro: Micro, group: usize, panels: usize, values: &[f32]) {
        let kept = self.logits[group * PANELS * AREA..].chunks_exact_mut(AREA).take(panels);
        for (panel, kept) in kept.enumerate() {
            let pairs = values.chunks_exact(GROUP * micro.per_word());
            for (words, pair) in kept.chunks_exact_mut(BLOCK).zip(pairs) {
                let (low, high) = pair.split_at(GROUP);
                let high = high.get(panel * BLOCK..(panel + 1) * BLOCK);
                rows_to_words(micro, &low[panel * BLOCK..][..BLOCK], high, words);
            }
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
