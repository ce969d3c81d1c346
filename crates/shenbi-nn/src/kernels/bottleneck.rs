//! Inverted bottlenecks, a few pictures at a time: what is inside is not kept but computed again for the gradients.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata};
use burn::tensor::DType;
use burn_autodiff::checkpoint::base::Checkpointer;
use burn_autodiff::checkpoint::strategy::CheckpointStrategy;
use burn_autodiff::grads::Gradients;
use burn_autodiff::ops::{Backward, Ops, OpsKind};
use burn_flex::FlexTensor;
use shenbi_kernels::{self as kernels, BottleneckGradients, BottleneckParameters, BottleneckWeights, PackedWeights};
use std::sync::Arc;

use super::flex::{activation_type, cast, run, with_element};
use super::memory::{buffer, contiguous, elements, pictures, recycle, tensor, to_channels_last};
use super::packed::packed;
use super::{Bottleneck, KernelGradients, Kernels};

/// x as the kernels want it, its geometry, and contiguous parameters.
struct Ready {
    x: FlexTensor,
    g: kernels::Bottleneck,
    biases: [FlexTensor; 2],
    weights: [FlexTensor; 3],
}

impl Ready {
    fn new([x, w1, b1, w2, b2, w3]: [FlexTensor; 6], how: Bottleneck) -> Self {
        let x = stored(x, activation_type());
        let ([batch, channels, height, width], [inner, ..]) = (x.shape().dims(), w1.shape().dims::<4>());
        let g = kernels::Bottleneck { batch, height, width, channels, inner, groups: how.groups };
        Self { x, g, biases: [b1, b2].map(contiguous), weights: [w1, w2, w3].map(contiguous) }
    }

    /// Another tensor of x's shape.
    fn like_x(&self, tensor: FlexTensor) -> FlexTensor {
        stored(tensor, self.x.dtype())
    }

    fn packed(&self, backward: bool) -> [Arc<PackedWeights>; 3] {
        let convolutions = self.g.convolutions(self.g.batch);
        std::array::from_fn(|i| run(packed(&self.weights[i], &convolutions[i], backward, false)))
    }

    fn biases(&self) -> [&[f32]; 2] {
        self.biases.each_ref().map(elements)
    }

    fn shape(&self) -> [usize; 4] {
        [self.g.batch, self.g.channels, self.g.height, self.g.width]
    }
}

/// Pictures channels-last and of this type.
fn stored(pictures: FlexTensor, dtype: DType) -> FlexTensor {
    let pictures = to_channels_last(pictures);
    if pictures.dtype() == dtype { pictures } else { cast(pictures, dtype) }
}

/// `shenbi_bottleneck` of x, w1, b1, w2, b2 and w3.
pub(super) fn forward(of: [FlexTensor; 6], how: Bottleneck) -> FlexTensor {
    let ready = Ready::new(of, how);
    let packed = ready.packed(false);
    let w = BottleneckWeights { forward: packed.each_ref().map(|w| &**w), biases: ready.biases(), slope: how.slope };
    let y = with_element!(ready.x.dtype(), E => {
        let x = elements::<E>(&ready.x);
        let mut y = buffer::<E>(x.len());
        run(kernels::bottleneck_forward(&ready.g, x, w, &mut y));
        pictures(y, ready.shape())
    });
    recycle(ready.x);
    y
}

/// `shenbi_bottleneck_tangent`.
pub(super) fn tangent(of: [FlexTensor; 6], dx: FlexTensor, how: Bottleneck) -> (FlexTensor, FlexTensor) {
    let ready = Ready::new(of, how);
    let dx = ready.like_x(dx);
    let packed = ready.packed(false);
    let w = BottleneckWeights { forward: packed.each_ref().map(|w| &**w), biases: ready.biases(), slope: how.slope };
    let results = with_element!(ready.x.dtype(), E => {
        let x = elements::<E>(&ready.x);
        let [mut y, mut dy] = [(); 2].map(|()| buffer::<E>(x.len()));
        run(kernels::bottleneck_tangent(&ready.g, [x, elements(&dx)], w, [&mut y, &mut dy]));
        (pictures(y, ready.shape()), pictures(dy, ready.shape()))
    });
    recycle(ready.x);
    recycle(dx);
    results
}

/// Its gradients: in x, and where `all` in the others.
pub(super) fn gradients(
    of: [FlexTensor; 6],
    tangent: Option<FlexTensor>,
    dy: FlexTensor,
    how: Bottleneck,
    all: bool,
) -> (FlexTensor, Option<[FlexTensor; 5]>) {
    let dtype = tangent.as_ref().unwrap_or(&of[0]).dtype();
    let ready = Ready::new(of, how);
    let dy = ready.like_x(dy);
    let tangent = tangent.map(|tangent| ready.like_x(tangent));
    let (forward, backward) = (ready.packed(false), ready.packed(true));
    let w = BottleneckWeights { forward: forward.each_ref().map(|w| &**w), biases: ready.biases(), slope: how.slope };
    let backward = backward.each_ref().map(|w| &**w);
    let mut weights =
        ready.weights.each_ref().map(|w| if all { buffer::<f32>(elements::<f32>(w).len()) } else { vec![] });
    let mut biases = [(); 2].map(|()| if all { vec![0.0f32; ready.g.inner] } else { vec![] });
    let dx = with_element!(ready.x.dtype(), E => {
        let x = elements::<E>(&ready.x);
        let mut dx = buffer::<E>(x.len());
        let parameters = all.then(|| BottleneckParameters {
            weights: weights.each_mut().map(|w| &mut w[..]),
            biases: biases.each_mut().map(|b| &mut b[..]),
        });
        let out = BottleneckGradients { dx: &mut dx, parameters };
        let tangent = tangent.as_ref().map(elements::<E>);
        run(kernels::bottleneck_backward(&ready.g, x, tangent, elements(&dy), w, backward, out));
        pictures(dx, ready.shape())
    });
    let parameters = all.then(|| {
        let [w1, w2, w3] = weights;
        let [b1, b2] = biases;
        let shape = |i: usize| ready.weights[i].shape();
        [
            tensor(w1, shape(0)),
            tensor(b1, [ready.g.inner]),
            tensor(w2, shape(1)),
            tensor(b2, [ready.g.inner]),
            tensor(w3, shape(2)),
        ]
    });
    [Some(ready.x), Some(dy), tangent].into_iter().flatten().for_each(recycle);
    (if dx.dtype() == dtype { dx } else { cast(dx, dtype) }, parameters)
}

/// What the gradients are computed from.
#[derive(Debug)]
struct Step;

impl<B: Backend + KernelGradients> Backward<B, 6> for Step {
    /// x and the parameters; the tangent, where the first parent is that and not x.
    type State = ([FloatTensor<B>; 6], Option<FloatTensor<B>>, Bottleneck);

    fn backward(self, ops: Ops<Self::State, 6>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
        let dy = grads.consume::<B>(&ops.node);
        let [first, parameters @ ..] = ops.parents;
        let (of, tangent, how) = ops.state;
        let all = parameters.iter().any(Option::is_some);
        let (dx, gradients) = B::shenbi_bottleneck_gradients(of, tangent, dy, how, all);
        if let Some(node) = first {
            grads.register::<B>(node.id, dx);
        }
        for (node, gradient) in parameters.into_iter().zip(gradients.into_iter().flatten()) {
            if let Some(node) = node {
                grads.register::<B>(node.id, gradient);
            }
        }
    }
}

/// [`forward`] under autodiff.
pub(super) fn differentiable<B: Backend + Kernels + KernelGradients, C: CheckpointStrategy>(
    of: [FloatTensor<Autodiff<B, C>>; 6],
    how: Bottleneck,
) -> FloatTensor<Autodiff<B, C>> {
    let [(x, n0), (w1, n1), (b1, n2), (w2, n3), (b2, n4), (w3, n5)] = of.map(|tensor| tensor.into_parts());
    let run = |[x, w1, b1, w2, b2, w3]: [FloatTensor<B>; 6]| B::shenbi_bottleneck(x, w1, b1, w2, b2, w3, how);
    let tensors = [x, w1, b1, w2, b2, w3];
    match Step.prepare::<C>([n0, n1, n2, n3, n4, n5]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let y = run(tensors.clone());
            prep.finish((tensors, None, how), y)
        }
        OpsKind::UnTracked(prep) => prep.finish(run(tensors)),
    }
}

/// [`tangent`] under autodiff.
pub(super) fn differentiable_tangent<B: Backend + Kernels + KernelGradients, C: CheckpointStrategy>(
    of: [FloatTensor<Autodiff<B, C>>; 6],
    dx: FloatTensor<Autodiff<B, C>>,
    how: Bottleneck,
) -> [FloatTensor<Autodiff<B, C>>; 2] {
    let [_, w1, b1, w2, b2, w3] = of.clone();
    let along = [dx, w1, b1, w2, b2, w3];
    let tensors = of.clone().map(|tensor| tensor.into_parts().0);
    let dx = along[0].clone().into_parts().0;
    let [x, w1, b1, w2, b2, w3] = tensors.clone();
    let (y, dy) = B::shenbi_bottleneck_tangent(x, dx.clone(), w1, b1, w2, b2, w3, how);
    // Two results, each with gradients of its own.
    let result = |parents: [FloatTensor<Autodiff<B, C>>; 6], tangent, value| match Step
        .prepare::<C>(parents.map(|tensor| tensor.into_parts().1))
        .compute_bound()
        .stateful()
    {
        OpsKind::Tracked(prep) => prep.finish((tensors.clone(), tangent, how), value),
        OpsKind::UnTracked(prep) => prep.finish(value),
    };
    [result(of, None, y), result(along, Some(dx), dy)]
}
