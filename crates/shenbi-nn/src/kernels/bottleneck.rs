//! Inverted bottlenecks, a few pictures at a time: what is inside is not kept but computed again for the gradients.

use burn::backend::tensor::FloatTensor;
use burn::backend::{Autodiff, Backend, TensorMetadata};
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
use super::{Bottleneck, KernelGradients, Kernels, precision};

/// x with its geometry, and the parameters with the weights packed for one direction.
struct Ready {
    x: FlexTensor,
    g: kernels::Bottleneck,
    biases: [FlexTensor; 2],
    weights: [FlexTensor; 3],
}

impl Ready {
    fn new([x, w1, b1, w2, b2, w3]: [FlexTensor; 6], how: Bottleneck) -> Self {
        let x = to_channels_last(x);
        let x = if x.dtype() == activation_type() { x } else { cast(x, activation_type()) };
        let ([batch, channels, height, width], [inner, ..]) = (x.shape().dims(), w1.shape().dims::<4>());
        let g = kernels::Bottleneck { batch, height, width, channels, inner, groups: how.groups };
        Self { x, g, biases: [b1, b2].map(contiguous), weights: [w1, w2, w3].map(contiguous) }
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

/// Its gradients: in x, and where `all` in the others.
pub(super) fn gradients(
    of: [FlexTensor; 6],
    dy: FlexTensor,
    how: Bottleneck,
    all: bool,
) -> (FlexTensor, Option<[FlexTensor; 5]>) {
    let dtype = of[0].dtype();
    let ready = Ready::new(of, how);
    let dy = to_channels_last(dy);
    let dy = if dy.dtype() == ready.x.dtype() { dy } else { cast(dy, ready.x.dtype()) };
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
        run(kernels::bottleneck_backward(&ready.g, x, elements::<E>(&dy), w, backward, out, precision()));
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
    recycle(ready.x);
    recycle(dy);
    (if dx.dtype() == dtype { dx } else { cast(dx, dtype) }, parameters)
}

/// The same under autodiff.
pub(super) fn differentiable<B: Backend + Kernels + KernelGradients, C: CheckpointStrategy>(
    of: [FloatTensor<Autodiff<B, C>>; 6],
    how: Bottleneck,
) -> FloatTensor<Autodiff<B, C>> {
    #[derive(Debug)]
    struct Step;
    impl<B: Backend + KernelGradients> Backward<B, 6> for Step {
        type State = ([FloatTensor<B>; 6], Bottleneck);

        fn backward(self, ops: Ops<Self::State, 6>, grads: &mut Gradients, _checkpointer: &mut Checkpointer) {
            let dy = grads.consume::<B>(&ops.node);
            let [x_node, parameters @ ..] = ops.parents;
            let (of, how) = ops.state;
            let (dx, all) = B::shenbi_bottleneck_gradients(of, dy, how, parameters.iter().any(Option::is_some));
            if let Some(node) = x_node {
                grads.register::<B>(node.id, dx);
            }
            for (node, gradient) in parameters.into_iter().zip(all.into_iter().flatten()) {
                if let Some(node) = node {
                    grads.register::<B>(node.id, gradient);
                }
            }
        }
    }
    let [(x, n0), (w1, n1), (b1, n2), (w2, n3), (b2, n4), (w3, n5)] = of.map(|tensor| tensor.into_parts());
    let run = |[x, w1, b1, w2, b2, w3]: [FloatTensor<B>; 6]| B::shenbi_bottleneck(x, w1, b1, w2, b2, w3, how);
    let tensors = [x, w1, b1, w2, b2, w3];
    match Step.prepare::<C>([n0, n1, n2, n3, n4, n5]).compute_bound().stateful() {
        OpsKind::Tracked(prep) => {
            let y = run(tensors.clone());
            prep.finish((tensors, how), y)
        }
        OpsKind::UnTracked(prep) => prep.finish(run(tensors)),
    }
}
