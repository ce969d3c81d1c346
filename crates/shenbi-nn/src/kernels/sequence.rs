//! The operations of language: LSTM over a sequence, and the likelihood of tokens.

use std::sync::Arc;

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_flex::FlexTensor;
use shenbi_kernels::{self as kernels, Head, NllGradients};

use super::flex::{owned, run};
use super::memory::{buffer, contiguous, elements, recycle, tensor};
use super::{KernelGradients, Kernels, precision};

/// The token that each row is asked for, and what its loss counts.
#[derive(Clone, Debug)]
pub struct Rows {
    /// One token a row.
    pub targets: Arc<[u32]>,
    /// Factor of each row's loss; rows of weight 0 cost nothing.
    pub weights: Arc<[f32]>,
}

impl Rows {
    /// Tokens and their weights, equally many.
    pub fn new(targets: Vec<u32>, weights: Vec<f32>) -> Self {
        Self { targets: targets.into(), weights: weights.into() }
    }
}

/// What a node of the graph gets of its gradients.
macro_rules! register {
    ($ops:expr, $grads:expr, $gradients:expr) => {
        for (node, gradient) in $ops.into_iter().zip($gradients) {
            if let Some(node) = node {
                $grads.register::<B>(node.id, gradient);
            }
        }
    };
}

pub(super) fn lstm<B: Backend + Kernels + KernelGradients, C: CheckpointStrategy>(
    gates: FloatTensor<Autodiff<B, C>>,
    recurrent: FloatTensor<Autodiff<B, C>>,
) -> FloatTensor<Autodiff<B, C>> {
    #[derive(Debug)]
    struct Lstm;
    impl<B: Backend + KernelGradients> Backward<B, 2> for Lstm {
        /// What the forward pass gave, and the recurrent weight.
        type State = ([FloatTensor<B>; 3], FloatTensor<B>);

        fn backward(self, ops: Ops<Self::State, 2>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
            let dy = grads.consume::<B>(&ops.node);
            let (kept, recurrent) = ops.state;
            register!(ops.parents, grads, B::shenbi_lstm_backward(kept, recurrent, dy));
        }
    }
    let ((gates, g_node), (recurrent, r_node)) = (gates.into_parts(), recurrent.into_parts());
    match Lstm.prepare::<C>([g_node, r_node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let kept = B::shenbi_lstm_forward(gates, recurrent.clone());
            let states = kept[0].clone();
            prep.finish((kept, recurrent), states)
        }
        OpsKind::UnTracked(prep) => prep.finish(B::shenbi_lstm(gates, recurrent)),
    }
}

/// The gradients are made with the loss, in one pass over the logits; backward only scales them.
pub(super) fn nll<B: Backend + Kernels + KernelGradients, C: CheckpointStrategy>(
    x: FloatTensor<Autodiff<B, C>>,
    weight: FloatTensor<Autodiff<B, C>>,
    bias: FloatTensor<Autodiff<B, C>>,
    rows: Rows,
) -> FloatTensor<Autodiff<B, C>> {
    #[derive(Debug)]
    struct Nll;
    impl<B: Backend + KernelGradients> Backward<B, 3> for Nll {
        type State = [FloatTensor<B>; 3];

        fn backward(self, ops: Ops<Self::State, 3>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
            let dy = grads.consume::<B>(&ops.node);
            let gradients = ops.state.map(|gradient| B::shenbi_scale(gradient, dy.clone()));
            register!(ops.parents, grads, gradients);
        }
    }
    let ((x, x_node), (weight, w_node), (bias, b_node)) = (x.into_parts(), weight.into_parts(), bias.into_parts());
    match Nll.prepare::<C>([x_node, w_node, b_node]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let (loss, gradients) = B::shenbi_nll_gradients(x, weight, bias, rows);
            prep.finish(gradients, loss)
        }
        OpsKind::UnTracked(prep) => prep.finish(B::shenbi_nll(x, weight, bias, rows)),
    }
}

fn size_of(gates: &FlexTensor, recurrent: &FlexTensor) -> kernels::Lstm {
    let ([steps, batch, _], [_, hidden]) = (gates.shape().dims(), recurrent.shape().dims());
    kernels::Lstm { steps, batch, hidden }
}

pub(super) fn lstm_forward(gates: FlexTensor, recurrent: FlexTensor) -> [FlexTensor; 3] {
    let (mut gates, recurrent) = (owned(gates), contiguous(recurrent));
    let size = size_of(&gates, &recurrent);
    let shape = [size.steps, size.batch, size.hidden];
    let [mut cells, mut states] = [(); 2].map(|()| buffer::<f32>(shape.iter().product()));
    run(kernels::lstm_forward(size, gates.storage_mut(), elements(&recurrent), None, &mut cells, &mut states));
    [tensor(states, shape), gates, tensor(cells, shape)]
}

pub(super) fn lstm_backward(
    [states, gates, cells]: [FlexTensor; 3],
    recurrent: FlexTensor,
    dy: FlexTensor,
) -> [FlexTensor; 2] {
    let (recurrent, dy) = (contiguous(recurrent), contiguous(dy));
    let size = size_of(&gates, &recurrent);
    let mut dgates = buffer::<f32>(elements::<f32>(&gates).len());
    let mut drecurrent = buffer::<f32>(elements::<f32>(&recurrent).len());
    run(kernels::lstm_backward(
        size,
        elements(&gates),
        elements(&recurrent),
        elements(&cells),
        elements(&states),
        elements(&dy),
        &mut dgates,
        &mut drecurrent,
    ));
    let gradients = [tensor(dgates, gates.shape()), tensor(drecurrent, recurrent.shape())];
    [states, gates, cells, dy].into_iter().for_each(recycle);
    gradients
}

/// The weighted sum.
fn total(rows: &Rows, losses: &[f32]) -> FlexTensor {
    let sum: f64 = losses.iter().zip(&*rows.weights).map(|(loss, weight)| f64::from(*loss) * f64::from(*weight)).sum();
    tensor(vec![sum as f32], [1])
}

pub(super) fn nll_forward(x: FlexTensor, weight: FlexTensor, bias: FlexTensor, rows: &Rows) -> FlexTensor {
    let [x, weight, bias] = [x, weight, bias].map(contiguous);
    let head = run(Head::new(elements(&weight), elements(&bias)));
    let mut losses = vec![0.0; rows.targets.len()];
    run(kernels::nll(&head, elements(&x), &rows.targets, &rows.weights, &mut losses, None, precision()));
    total(rows, &losses)
}

pub(super) fn nll_gradients(
    x: FlexTensor,
    weight: FlexTensor,
    bias: FlexTensor,
    rows: &Rows,
) -> (FlexTensor, [FlexTensor; 3]) {
    let [x, weight, bias] = [x, weight, bias].map(contiguous);
    let head = run(Head::new(elements(&weight), elements(&bias)));
    let mut losses = vec![0.0; rows.targets.len()];
    let [mut dx, mut dweight, mut dbias] = [&x, &weight, &bias].map(|part| buffer::<f32>(elements::<f32>(part).len()));
    let to = NllGradients { weight: elements(&weight), dx: &mut dx, dweight: &mut dweight, dbias: &mut dbias };
    run(kernels::nll(&head, elements(&x), &rows.targets, &rows.weights, &mut losses, Some(to), precision()));
    let gradients = [tensor(dx, x.shape()), tensor(dweight, weight.shape()), tensor(dbias, bias.shape())];
    (total(rows, &losses), gradients)
}
