//! Long short-term memory over a whole sequence (Hochreiter & Schmidhuber 1997, with forget gates; PyTorch's gate order
//! i, f, g, o): c = f c' + i g, h = o tanh(c). The products with the inputs are made before, for all steps at once.

use crate::error::{KernelError, expect_len, expect_nonzero};
use crate::functions::{sigmoid, tanh};
use crate::isa::{Precision, Work, active_isa, vectorize};
use crate::matmul::{Transpose, gemm};

/// Sizes of a layer's pass.
#[derive(Clone, Copy, Debug)]
pub struct Lstm {
    /// Time steps.
    pub steps: usize,
    /// Sequences.
    pub batch: usize,
    /// Numbers of state.
    pub hidden: usize,
}

impl Lstm {
    /// Checks `gates`, `recurrent`, `cells` and `states`, the arguments that both passes have.
    fn check(self, op: &'static str, lengths: [usize; 4]) -> Result<(), KernelError> {
        let Self { steps, batch, hidden } = self;
        expect_nonzero(op, &[("steps", steps), ("batch", batch), ("hidden", hidden)])?;
        expect_len(op, "gates", lengths[0], &[steps, batch, 4, hidden])?;
        expect_len(op, "recurrent", lengths[1], &[4, hidden, hidden])?;
        expect_len(op, "cells", lengths[2], &[steps, batch, hidden])?;
        expect_len(op, "states", lengths[3], &[steps, batch, hidden])
    }
}

/// One pass. On entry `gates` holds the inputs' products and biases, on return the gates after their activations.
///
/// # Shapes
/// gates: `[steps, batch, 4 * hidden]`, recurrent: `[4 * hidden, hidden]`, cells and states: `[steps, batch, hidden]`;
/// start: the state and the cell before, `[batch, hidden]` each (zeros if absent).
///
/// # Errors
/// If a slice does not fit its shape.
pub fn lstm_forward(
    size: Lstm,
    gates: &mut [f32],
    recurrent: &[f32],
    start: Option<[&[f32]; 2]>,
    cells: &mut [f32],
    states: &mut [f32],
) -> Result<(), KernelError> {
    const OP: &str = "lstm_forward";
    size.check(OP, [gates.len(), recurrent.len(), cells.len(), states.len()])?;
    let Lstm { batch, hidden, .. } = size;
    let n = batch * hidden;
    for part in start.iter().flatten() {
        expect_len(OP, "start", part.len(), &[batch, hidden])?;
    }
    let isa = active_isa()?;
    // Its rows are then what the product reads.
    let mut turned = vec![0.0; recurrent.len()];
    for (row, values) in recurrent.chunks_exact(hidden).enumerate() {
        values.iter().enumerate().for_each(|(column, value)| turned[column * 4 * hidden + row] = *value);
    }
    let (mut products, zeros) = (vec![0.0; 4 * n], vec![0.0; n]);
    for (t, gates) in gates.chunks_exact_mut(4 * n).enumerate() {
        let (before, cells) = cells.split_at_mut(t * n);
        let (states_before, states) = states.split_at_mut(t * n);
        let before = match (t, start) {
            (0, None) => None,
            (0, Some([state, cell])) => Some([state, cell]),
            _ => Some([&states_before[(t - 1) * n..], &before[(t - 1) * n..]]),
        };
        let cell_before = match before {
            Some([state, cell]) => {
                let how = [Transpose::No, Transpose::No];
                gemm(batch, 4 * hidden, hidden, state, &turned, &mut products, how, Precision::F32)?;
                cell
            }
            None => &zeros,
        };
        let (cell, state) = (&mut cells[..n], &mut states[..n]);
        vectorize(isa, Forward { hidden, products: &products, cell_before, gates, cell, state });
    }
    Ok(())
}

struct Forward<'a> {
    hidden: usize,
    products: &'a [f32],
    cell_before: &'a [f32],
    gates: &'a mut [f32],
    cell: &'a mut [f32],
    state: &'a mut [f32],
}

impl Work for Forward<'_> {
    #[inline(always)]
    fn run(self) {
        let h = self.hidden;
        let rows = self.gates.chunks_exact_mut(4 * h).zip(self.products.chunks_exact(4 * h));
        let cells = self.cell_before.chunks_exact(h).zip(self.cell.chunks_exact_mut(h));
        for (((gates, products), (before, cell)), state) in rows.zip(cells).zip(self.state.chunks_exact_mut(h)) {
            gates.iter_mut().zip(products).for_each(|(gate, product)| *gate += product);
            let (sigmoids, rest) = gates.split_at_mut(2 * h);
            let (g, o) = rest.split_at_mut(h);
            sigmoids.iter_mut().for_each(|gate| *gate = sigmoid(*gate));
            g.iter_mut().for_each(|gate| *gate = tanh(*gate));
            o.iter_mut().for_each(|gate| *gate = sigmoid(*gate));
            let (i, f) = sigmoids.split_at(h);
            for j in 0..h {
                cell[j] = f[j] * before[j] + i[j] * g[j];
                state[j] = o[j] * tanh(cell[j]);
            }
        }
    }
}

/// The gradients of [`lstm_forward`] from zeros: of the inputs' products, and of the recurrent weight.
///
/// # Shapes
/// As there; dstates: `[steps, batch, hidden]`.
///
/// # Errors
/// If a slice does not fit its shape.
#[allow(clippy::too_many_arguments)]
pub fn lstm_backward(
    size: Lstm,
    gates: &[f32],
    recurrent: &[f32],
    cells: &[f32],
    states: &[f32],
    dstates: &[f32],
    dgates: &mut [f32],
    drecurrent: &mut [f32],
) -> Result<(), KernelError> {
    const OP: &str = "lstm_backward";
    size.check(OP, [gates.len(), recurrent.len(), cells.len(), states.len()])?;
    let Lstm { steps, batch, hidden } = size;
    expect_len(OP, "dstates", dstates.len(), &[steps, batch, hidden])?;
    expect_len(OP, "dgates", dgates.len(), &[steps, batch, 4, hidden])?;
    expect_len(OP, "drecurrent", drecurrent.len(), &[4, hidden, hidden])?;
    let (isa, n) = (active_isa()?, batch * hidden);
    let (mut dstate, mut dcell, zeros) = (vec![0.0; n], vec![0.0; n], vec![0.0; n]);
    for t in (0..steps).rev() {
        let (now, later) = dgates[t * 4 * n..].split_at_mut(4 * n);
        if let Some(later) = later.get(..4 * n) {
            let how = [Transpose::No, Transpose::No];
            gemm(batch, hidden, 4 * hidden, later, recurrent, &mut dstate, how, Precision::F32)?;
        }
        let cell_before = if t == 0 { &zeros[..] } else { &cells[(t - 1) * n..][..n] };
        let work = Backward {
            hidden,
            gates: &gates[t * 4 * n..][..4 * n],
            cell_before,
            cell: &cells[t * n..][..n],
            dy: &dstates[t * n..][..n],
            dstate: &dstate,
            dcell: &mut dcell,
            dgates: now,
        };
        vectorize(isa, work);
    }
    if steps == 1 {
        drecurrent.fill(0.0);
        return Ok(());
    }
    let (a, b) = (&dgates[4 * n..], &states[..(steps - 1) * n]);
    let how = [Transpose::Yes, Transpose::No];
    gemm(4 * hidden, hidden, (steps - 1) * batch, a, b, drecurrent, how, Precision::F32)
}

struct Backward<'a> {
    hidden: usize,
    gates: &'a [f32],
    cell_before: &'a [f32],
    cell: &'a [f32],
    dy: &'a [f32],
    /// From the step after.
    dstate: &'a [f32],
    /// From the step after; on return, for the step before.
    dcell: &'a mut [f32],
    dgates: &'a mut [f32],
}

impl Work for Backward<'_> {
    #[inline(always)]
    fn run(self) {
        let h = self.hidden;
        for (row, dgates) in self.dgates.chunks_exact_mut(4 * h).enumerate() {
            let (gates, at) = (&self.gates[row * 4 * h..][..4 * h], row * h);
            let (i, rest) = gates.split_at(h);
            let (f, rest) = rest.split_at(h);
            let (g, o) = rest.split_at(h);
            let (di, rest) = dgates.split_at_mut(h);
            let (df, rest) = rest.split_at_mut(h);
            let (dg, d_o) = rest.split_at_mut(h);
            let [cell_before, cell, dy, dstate] =
                [self.cell_before, self.cell, self.dy, self.dstate].map(|part| &part[at..][..h]);
            let dcell = &mut self.dcell[at..][..h];
            for j in 0..h {
                let (dh, c) = (dy[j] + dstate[j], tanh(cell[j]));
                let dc = dcell[j] + dh * o[j] * (1.0 - c * c);
                di[j] = dc * g[j] * i[j] * (1.0 - i[j]);
                df[j] = dc * cell_before[j] * f[j] * (1.0 - f[j]);
                dg[j] = dc * i[j] * (1.0 - g[j] * g[j]);
                d_o[j] = dh * c * o[j] * (1.0 - o[j]);
                dcell[j] = dc * f[j];
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The loss is the sum of all states, weighted; its gradient by differences in f64 would need another
    /// implementation: PyTorch's is compared with in shenbi-models.
    #[test]
    fn wrong_sizes_are_refused() {
        let size = Lstm { steps: 2, batch: 1, hidden: 3 };
        let (mut gates, mut cells, mut states) = (vec![0.0; 24], vec![0.0; 6], vec![0.0; 6]);
        assert!(lstm_forward(size, &mut gates, &[0.0; 36], None, &mut cells, &mut states).is_ok());
        assert!(lstm_forward(size, &mut gates, &[0.0; 35], None, &mut cells, &mut states).is_err());
        assert!(lstm_forward(size, &mut gates[..20], &[0.0; 36], None, &mut cells, &mut states).is_err());
        let start = Some([&[0.0; 3][..], &[0.0; 2][..]]);
        assert!(lstm_forward(size, &mut gates, &[0.0; 36], start, &mut cells, &mut states).is_err());
    }

    #[test]
    fn steps_one_by_one_are_a_sequence() {
        let values =
            |n: usize, k: u32| (0..n as u32).map(|i| ((i * 37 + k) % 19) as f32 * 0.1 - 0.9).collect::<Vec<_>>();
        let (steps, batch, hidden) = (3, 2, 5);
        let (gates, recurrent) = (values(steps * batch * 4 * hidden, 1), values(4 * hidden * hidden, 7));
        let n = batch * hidden;
        let (mut all, mut cells, mut states) = (gates.clone(), vec![0.0; steps * n], vec![0.0; steps * n]);
        let size = Lstm { steps, batch, hidden };
        lstm_forward(size, &mut all, &recurrent, None, &mut cells, &mut states).unwrap();
        let (mut state, mut cell) = (vec![0.0; n], vec![0.0; n]);
        for t in 0..steps {
            let mut now = gates[t * 4 * n..][..4 * n].to_vec();
            let (mut c, mut s) = (vec![0.0; n], vec![0.0; n]);
            let one = Lstm { steps: 1, ..size };
            lstm_forward(one, &mut now, &recurrent, Some([&state, &cell]), &mut c, &mut s).unwrap();
            (state, cell) = (s, c);
            assert_eq!(state, states[t * n..][..n]);
        }
    }
}
