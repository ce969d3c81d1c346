//! The inverted bottleneck against the convolutions that it is made of, which have tests of their own.
#![allow(clippy::unwrap_used)]

mod common;

use common::*;
use shenbi_kernels::*;

const SLOPE: f32 = 0.2;

/// Batch, height, width, channels, inner channels, groups: several pictures at a time, some, and one.
const SHAPES: [[usize; 6]; 5] =
    [[5, 4, 4, 3, 6, 2], [2, 7, 5, 16, 32, 1], [3, 16, 16, 32, 64, 2], [17, 4, 4, 40, 64, 2], [9, 32, 32, 32, 128, 4]];

struct Results<E> {
    y: Vec<E>,
    dx: Vec<E>,
    weights: [Vec<f32>; 3],
    biases: [Vec<f32>; 2],
}

struct Problem<E> {
    g: Bottleneck,
    x: Vec<E>,
    dy: Vec<E>,
    weights: [Vec<f32>; 3],
    biases: [Vec<f32>; 2],
    p: Precision,
}

impl<E: Element> Problem<E> {
    fn new([batch, height, width, channels, inner, groups]: [usize; 6]) -> Self {
        let g = Bottleneck { batch, height, width, channels, inner, groups };
        let n = batch * height * width * channels;
        let stored = |seed| values(n, seed).into_iter().map(E::from_f32).collect();
        let weights = g.convolutions(1).map(|g| {
            let fan_in = g.in_channels / g.groups * g.kernel[0] * g.kernel[1];
            let scale = (3.0 / fan_in as f32).sqrt();
            values(fan_in * g.out_channels, fan_in as u64).into_iter().map(|v| v * scale).collect()
        });
        let biases = [3, 4].map(|seed| values(inner, seed));
        Self { g, x: stored(1), dy: stored(2), weights, biases, p: E::PRECISION }
    }

    fn packed(&self) -> [[PackedWeights; 3]; 2] {
        let convolutions = self.g.convolutions(self.g.batch);
        let forward = |i: usize| PackedWeights::forward(&convolutions[i], &self.weights[i], self.p).unwrap();
        let backward = |i: usize| PackedWeights::backward(&convolutions[i], &self.weights[i], self.p).unwrap();
        [std::array::from_fn(forward), std::array::from_fn(backward)]
    }

    fn empty(&self) -> Results<E> {
        let [weights, biases] = [&self.weights[..], &self.biases[..]]
            .map(|list| list.iter().map(|v| vec![f32::NAN; v.len()]).collect::<Vec<_>>());
        Results {
            y: vec![E::default(); self.x.len()],
            dx: vec![E::default(); self.x.len()],
            weights: weights.try_into().unwrap(),
            biases: biases.try_into().unwrap(),
        }
    }

    fn ours(&self) -> Results<E> {
        let [forward, backward] = self.packed();
        let w = BottleneckWeights {
            forward: forward.each_ref(),
            biases: self.biases.each_ref().map(|b| &b[..]),
            slope: SLOPE,
        };
        let mut out = self.empty();
        bottleneck_forward(&self.g, &self.x, w, &mut out.y).unwrap();
        let parameters = BottleneckParameters {
            weights: out.weights.each_mut().map(|w| &mut w[..]),
            biases: out.biases.each_mut().map(|b| &mut b[..]),
        };
        let gradients = BottleneckGradients { dx: &mut out.dx, parameters: Some(parameters) };
        bottleneck_backward(&self.g, &self.x, None, &self.dy, w, backward.each_ref(), gradients).unwrap();
        // The same without those of the parameters.
        let mut dx = vec![E::default(); self.x.len()];
        let gradients = BottleneckGradients { dx: &mut dx, parameters: None };
        bottleneck_backward(&self.g, &self.x, None, &self.dy, w, backward.each_ref(), gradients).unwrap();
        assert!(dx.iter().zip(&out.dx).all(|(a, b)| a.to_f32() == b.to_f32()));
        out
    }

    /// One convolution after the other, all pictures at a time.
    fn theirs(&self) -> Results<E> {
        let [forward, backward] = self.packed();
        let [expand, mix, shrink] = self.g.convolutions(self.g.batch);
        let n = self.x.len() / self.g.channels * self.g.inner;
        let (act, none) = (Activation::LeakyRelu(SLOPE), Activation::None);
        let mut between = [(); 4].map(|()| vec![E::default(); n]);
        let [y1, y2, d1, d2] = &mut between;
        let mut out = self.empty();
        let Results { y, dx, weights: [w1, w2, w3], biases: [b1, b2] } = &mut out;
        conv2d_forward_packed(&expand, &self.x, &forward[0], Some(&self.biases[0]), act, y1).unwrap();
        conv2d_forward_packed(&mix, &*y1, &forward[1], Some(&self.biases[1]), act, y2).unwrap();
        conv2d_forward_packed(&shrink, &*y2, &forward[2], None, none, y).unwrap();
        conv2d_backward_weights(&shrink, &*y2, &self.dy, w3, self.p).unwrap();
        conv2d_backward_data_packed(&shrink, &self.dy, &backward[2], None, none, d2).unwrap();
        let through = Input { values: d2, gate: Some((&**y2, SLOPE)) };
        channel_sum(through, b2).unwrap();
        conv2d_backward_weights(&mix, &*y1, through, w2, self.p).unwrap();
        conv2d_backward_data_packed(&mix, through, &backward[1], None, none, d1).unwrap();
        let through = Input { values: d1, gate: Some((&**y1, SLOPE)) };
        channel_sum(through, b1).unwrap();
        conv2d_backward_weights(&expand, &self.x, through, w1, self.p).unwrap();
        conv2d_backward_data_packed(&expand, through, &backward[0], None, none, dx).unwrap();
        let add = |to: &mut [E], from: &[E]| {
            to.iter_mut().zip(from).for_each(|(to, from)| *to = E::from_f32(to.to_f32() + from.to_f32()));
        };
        add(y, &self.x);
        add(dx, &self.dy);
        out
    }
}

fn close(what: &str, ours: &[f32], theirs: &[f32], tolerance: f32) {
    let scale = theirs.iter().map(|v| v.abs()).fold(1e-6, f32::max);
    for (a, b) in ours.iter().zip(theirs) {
        assert!((a - b).abs() <= tolerance * scale, "{what}: {a} instead of {b} (of {scale})");
    }
}

fn check<E: Element>(shape: [usize; 6]) {
    let problem = Problem::<E>::new(shape);
    for isa in available_isas() {
        // The smallest shapes are enough for the slow one.
        if isa == Isa::Portable && shape[1] > 16 {
            continue;
        }
        let (ours, theirs) = with_isa(isa, || (problem.ours(), problem.theirs())).unwrap();
        let floats = |values: &[E]| values.iter().map(|v| v.to_f32()).collect::<Vec<_>>();
        let what = format!("{shape:?} {isa:?} {:?}", problem.p);
        // Pictures are computed as they are elsewhere. Sums over pictures are in another order, and those of biases see
        // gradients after a LeakyReLU that are stored, not passed on in f32.
        let tolerance = if problem.p == Precision::F32 { 1e-5 } else { 1e-3 };
        assert_eq!(floats(&ours.y), floats(&theirs.y), "{what}");
        assert_eq!(floats(&ours.dx), floats(&theirs.dx), "{what}");
        for (ours, theirs) in ours.weights.iter().zip(&theirs.weights).chain(ours.biases.iter().zip(&theirs.biases)) {
            close(&what, ours, theirs, tolerance);
        }
    }
}

#[test]
fn it_is_its_convolutions() {
    for shape in SHAPES {
        check::<f32>(shape);
        check::<bf16>(shape);
    }
}

/// The tangent pass is linear in dx where no LeakyReLU bends: its result from differences, its gradients from their
/// definition ⟨gradient, dy(dx)⟩ = ⟨∇, dx⟩, and those of the weights, in which dy is linear too.
#[test]
fn tangents_are_derivatives() {
    for shape in [SHAPES[0], SHAPES[2]] {
        let problem = Problem::<f32>::new(shape);
        let [forward, backward] = problem.packed();
        let biases = problem.biases.each_ref().map(|b| &b[..]);
        let w = BottleneckWeights { forward: forward.each_ref(), biases, slope: SLOPE };
        let n = problem.x.len();
        let (dx, gradient) = (values(n, 7), &problem.dy);
        let (mut y, mut dy) = (vec![0.0; n], vec![0.0; n]);
        bottleneck_tangent(&problem.g, [&problem.x, &dx], w, [&mut y, &mut dy]).unwrap();
        let mut plain = vec![0.0; n];
        bottleneck_forward(&problem.g, &problem.x, w, &mut plain).unwrap();
        assert_eq!(y, plain);
        let step = 1e-3;
        let at = |sign: f32| {
            let x: Vec<f32> = problem.x.iter().zip(&dx).map(|(x, dx)| x + sign * step * dx).collect();
            let mut y = vec![0.0; n];
            bottleneck_forward(&problem.g, &x, w, &mut y).unwrap();
            y
        };
        let (above, below) = (at(1.0), at(-1.0));
        let wrong = (0..n).filter(|&i| ((above[i] - below[i]) / (2.0 * step) - dy[i]).abs() > 2e-2).count();
        assert!(wrong * 20 < n, "{wrong} of {n}, more than those next to a bend");
        let mut out = problem.empty();
        let parameters = BottleneckParameters {
            weights: out.weights.each_mut().map(|w| &mut w[..]),
            biases: out.biases.each_mut().map(|b| &mut b[..]),
        };
        let gradients = BottleneckGradients { dx: &mut out.dx, parameters: Some(parameters) };
        bottleneck_backward(&problem.g, &problem.x, Some(&dx), gradient, w, backward.each_ref(), gradients).unwrap();
        let dot = |a: &[f32], b: &[f32]| a.iter().zip(b).map(|(a, b)| f64::from(*a) * f64::from(*b)).sum::<f64>();
        let whole = dot(gradient, &dy);
        let scale = 1e-4 * dot(gradient, gradient);
        assert!((whole - dot(&out.dx, &dx)).abs() < scale);
        // Each weight enters dy once, beside the identity.
        let without = whole - dot(gradient, &dx);
        for (weights, of) in problem.weights.iter().zip(&out.weights) {
            assert!((without - dot(weights, of)).abs() < scale, "{shape:?}: {without} {}", dot(weights, of));
        }
        assert!(out.biases.iter().flatten().all(|b| *b == 0.0));
    }
}

#[test]
fn results_do_not_depend_on_threads() {
    let problem = Problem::<bf16>::new(SHAPES[4]);
    let with = |threads: usize| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| problem.ours())
    };
    let (one, four) = (with(1), with(4));
    assert_eq!(one.y, four.y);
    assert_eq!(one.dx, four.dx);
    assert_eq!(one.weights, four.weights);
    assert_eq!(one.biases, four.biases);
}

#[test]
fn errors_name_the_shapes() {
    let problem = Problem::<f32>::new(SHAPES[0]);
    let [forward, backward] = problem.packed();
    let biases = problem.biases.each_ref().map(|b| &b[..]);
    let w = BottleneckWeights { forward: forward.each_ref(), biases, slope: SLOPE };
    let mut y = vec![0.0; problem.x.len()];
    let text = bottleneck_forward(&problem.g, &problem.x[1..], w, &mut y).unwrap_err().to_string();
    assert!(text.contains("bottleneck_forward") && text.contains('x'), "{text}");
    let short = BottleneckWeights { biases: [biases[0], &biases[1][1..]], ..w };
    let text = bottleneck_forward(&problem.g, &problem.x, short, &mut y).unwrap_err().to_string();
    assert!(text.contains("bias"), "{text}");
    let turned = BottleneckWeights { forward: backward.each_ref(), ..w };
    let text = bottleneck_forward(&problem.g, &problem.x, turned, &mut y).unwrap_err().to_string();
    assert!(text.contains("weights packed for"), "{text}");
    let none = Bottleneck { batch: 0, ..problem.g };
    assert!(bottleneck_forward(&none, &[0.0f32; 0], w, &mut []).unwrap_err().to_string().contains("batch"));
    let gradients = BottleneckGradients { dx: &mut y[1..], parameters: None };
    let text = bottleneck_backward(&problem.g, &problem.x, None, &problem.dy, w, backward.each_ref(), gradients)
        .unwrap_err()
        .to_string();
    assert!(text.contains("dx"), "{text}");
}
