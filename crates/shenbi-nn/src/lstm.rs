//! Long short-term memory (Hochreiter & Schmidhuber 1997), as PyTorch's `LSTM` of one layer but with one bias.

use burn::module::{Module, Param};
use burn::tensor::Tensor;
use shenbi_kernels as kernels;

use crate::init::Init;
use crate::linear::Linear;
use crate::{ops, weights};

/// One layer; gates in the order i, f, g, o.
#[derive(Module, Debug)]
pub struct Lstm {
    /// From the inputs to the gates, `[4h, in]`, with the bias.
    pub input: Linear,
    /// From the state to the gates, `[4h, h]`.
    pub recurrent: Param<Tensor<2>>,
}

impl Lstm {
    /// Weights from N(0, 1 / fan-in), zero biases but for the forget gates' (1: remember at first).
    pub fn new(inputs: usize, hidden: usize, init: &mut Init) -> Self {
        let input = Linear::new(inputs, 4 * hidden, 0.5f32.sqrt(), init);
        let forget = |bias: Tensor<1>| {
            let (ones, zeros) = (Tensor::<1>::ones([hidden], &bias.device()), bias.zeros_like());
            let zeros = |parts: usize| zeros.clone().narrow(0, 0, parts * hidden);
            Tensor::cat(vec![zeros(1), ones, zeros(2)], 0)
        };
        let bias = input.bias.map(|bias| bias.map(forget));
        Self { input: Linear { bias, ..input }, recurrent: init.he([4 * hidden, hidden], hidden, 0.5f32.sqrt()) }
    }

    /// From a state of zeros.
    ///
    /// # Shapes
    /// x: `[t, b, in]`, time first; returns `[t, b, h]`.
    pub fn forward(&self, x: Tensor<3>) -> Tensor<3> {
        ops::lstm(self.input.forward(x), self.recurrent.val())
    }

    /// The layer for inputs out of a table, one step after the other, without gradients, on the CPU. table: `[v, in]`.
    pub fn reader(&self, table: Tensor<2>, rows: usize) -> LstmReader {
        let gates = weights::values(self.input.forward(table.without_autodiff()));
        let recurrent = weights::values(self.recurrent.val());
        let hidden = recurrent.shape[1];
        let zeros = vec![0.0; rows * hidden];
        LstmReader { gates: gates.data, recurrent: recurrent.data, hidden, state: zeros.clone(), cell: zeros }
    }
}

/// An LSTM that reads tokens one by one; see [`Lstm::reader`].
#[derive(Clone, Debug)]
pub struct LstmReader {
    /// Of each token, `[v, 4h]`.
    gates: Vec<f32>,
    recurrent: Vec<f32>,
    hidden: usize,
    /// `[b, h]`
    state: Vec<f32>,
    cell: Vec<f32>,
}

impl LstmReader {
    /// Reads one token a row; returns the states, `[b, h]`.
    ///
    /// # Panics
    /// There are not as many tokens as rows, or one is not in the table.
    pub fn read(&mut self, tokens: &[u32]) -> &[f32] {
        let wide = 4 * self.hidden;
        let mut gates: Vec<f32> = Vec::with_capacity(tokens.len() * wide);
        tokens.iter().for_each(|token| gates.extend_from_slice(&self.gates[*token as usize * wide..][..wide]));
        let size = kernels::Lstm { steps: 1, batch: tokens.len(), hidden: self.hidden };
        let (mut cell, mut state) = (vec![0.0; self.cell.len()], vec![0.0; self.state.len()]);
        let before = Some([&self.state[..], &self.cell[..]]);
        kernels::lstm_forward(size, &mut gates, &self.recurrent, before, &mut cell, &mut state)
            .unwrap_or_else(|error| panic!("{error}"));
        (self.state, self.cell) = (state, cell);
        &self.state
    }

    /// Each row `times` times, one after the other.
    #[must_use]
    pub fn repeat(&self, times: usize) -> Self {
        let rows = |values: &[f32]| values.chunks(self.hidden).flat_map(|row| row.repeat(times)).collect();
        Self { state: rows(&self.state), cell: rows(&self.cell), ..self.clone() }
    }
}
