//! The judge of scenes: a small strided CNN that says which colours, shapes and sizes a picture shows, and where.
//!
//! It learns by cross entropy from real scenes of levels one and two, drawn afresh for every step, all 120 combinations
//! of colour and shape equally often (a judge must know those that a generator never saw). Half of its training
//! pictures are softened a little and half have some grain (see `perturb`), as generated ones may.

use std::collections::HashMap;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData, activation};
use rand_chacha::ChaCha8Rng;
use serde::{Deserialize, Serialize};
use shenbi_data::convert::to_floats;
use shenbi_data::rng;
use shenbi_data::scenes::{Attributes, Colour, HELD_OUT, Level, Relation, Scene, Shape, Size, Split};
use shenbi_nn::optim::{AdamConfig, Optimizer};
use shenbi_nn::{Init, weights};

use crate::cnn::Cnn;
use crate::perturb::Flaws;
use crate::support::{self, Progress, check_pixels, scalar};
use crate::{AttributeReport, MetricsError, Result, attributes};

const KIND: &str = "scenes-judge";
/// Pictures a training step.
const BATCH: usize = 64;
/// Adam's largest step size.
const RATE: f64 = 2e-3;
/// Classes of each question: background; colour, shape and size of the first and of the second object; arrangement.
const HEADS: [usize; 8] = [C, C, S, Z, C, S, Z, 3];
const C: usize = Colour::ALL.len();
const S: usize = Shape::ALL.len();
const Z: usize = Size::ALL.len();

/// Shapes of a judge.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct JudgeConfig {
    /// Height and width of the pictures.
    size: [usize; 2],
    /// Channels after each halving.
    widths: Vec<usize>,
    /// Features from which all questions are answered.
    features: usize,
}

impl JudgeConfig {
    fn new(size: [usize; 2]) -> Result<Self> {
        let stages = support::stages(size)?;
        let first = if stages <= 3 { 32 } else { 24 };
        Ok(Self { size, widths: (0..stages).map(|i| (first << i.min(8)).min(128)).collect(), features: 256 })
    }

    /// The network of these shapes: logits of all questions, `[b, sum(HEADS)]`.
    fn network(&self, init: &mut Init) -> Cnn {
        let [height, width] = self.size;
        Cnn::new([3, height, width], &self.widths, self.features, HEADS.iter().sum(), init)
    }
}

/// How long and from what a judge learns.
#[derive(Clone, Debug)]
pub struct JudgeOptions {
    /// Height and width of the pictures it will judge.
    pub size: [usize; 2],
    /// Pictures it sees in training.
    pub images: u64,
    /// Weights and pictures.
    pub seed: u64,
}

/// A classifier of scenes.
#[derive(Clone, Debug)]
pub struct Judge {
    config: JudgeConfig,
    network: Cnn,
    device: Device,
}

impl Judge {
    /// Trains a judge on `device`. Its weights are rounded to f16 at the end, so that saving changes nothing.
    ///
    /// # Errors
    /// The size does not fit.
    pub fn train(options: &JudgeOptions, device: &Device, mut progress: impl FnMut(Progress)) -> Result<Self> {
        let device = device.clone().without_autodiff();
        let config = JudgeConfig::new(options.size)?;
        let mut network = config.network(&mut Init::new(options.seed, "judge", &device)).train();
        let mut adam = Optimizer::adam(AdamConfig { beta1: 0.9, ..AdamConfig::default() });
        let flaws = Flaws::new(options.seed);
        let [height, width] = options.size;
        let steps = options.images.div_ceil(BATCH as u64);
        for step in 0..steps {
            let mut pixels = Vec::with_capacity(BATCH * 3 * height * width); // [b, 3, h, w]
            let mut labels = Vec::with_capacity(BATCH * HEADS.iter().sum::<usize>());
            for i in 0..BATCH as u64 {
                let mut stream = rng::stream(options.seed, "judge/training", step * BATCH as u64 + i);
                let scene = any_scene(&mut stream, Level::Mixed);
                let mut picture = to_floats(&scene.draw(options.size, &mut stream));
                flaws.put_on(&mut picture, options.size, &mut stream);
                pixels.extend(picture);
                one_hot(&scene.attributes().by_position(), &mut labels);
            }
            let x = Tensor::<4>::from_data(TensorData::new(pixels, [BATCH, 3, height, width]), &device);
            let target = Tensor::<2>::from_data(TensorData::new(labels, [BATCH, HEADS.iter().sum()]), &device);
            let loss = cross_entropy(network.forward(x.autodiff()), target);
            let value = scalar(loss.clone());
            let mut grads = loss.backward();
            let rate = support::rate(step, steps, RATE);
            network = adam.step(network, &mut grads, |_| rate);
            progress(Progress { step: step + 1, steps, loss: value });
        }
        let judge = Self { config, network: network.valid(), device: device.clone() };
        Self::from_bytes(&judge.to_bytes()?, &device)
    }

    /// Height and width of the pictures it judges.
    pub fn size(&self) -> [usize; 2] {
        self.config.size
    }

    /// Its place in a protocol: size and fingerprint of the weights.
    ///
    /// # Errors
    /// The weights cannot be written as a file.
    pub fn id(&self) -> Result<String> {
        let [height, width] = self.config.size;
        let fingerprint = support::fingerprint(&weights::collect(&self.network, "judge"))?;
        Ok(format!("{height}x{width}/judge:{fingerprint}"))
    }

    /// What it sees in `n` pictures, by position: the upper or left object first.
    ///
    /// # Shapes
    /// pictures: `[n, 3, h, w]` in [-1, 1], row-major.
    ///
    /// # Errors
    /// `pictures` is not of this shape.
    pub fn read(&self, pictures: &[f32], n: usize) -> Result<Vec<Attributes>> {
        let [height, width] = self.config.size;
        let each = 3 * height * width;
        check_pixels(pictures, [3, height, width], n)?;
        let mut seen = Vec::with_capacity(n);
        for chunk in pictures.chunks(each * 2 * BATCH) {
            let data = TensorData::new(chunk.to_vec(), [chunk.len() / each, 3, height, width]);
            let logits = support::rows(self.network.forward(Tensor::from_data(data, &self.device)));
            seen.extend(logits.chunks_exact(HEADS.iter().sum()).map(attributes_of));
        }
        Ok(seen)
    }

    /// How often it is right on `n` real scenes that it was not trained on, all combinations of colour and shape.
    ///
    /// # Errors
    /// `n` is 0, or the level is `Many`.
    pub fn validate(&self, level: Level, n: usize) -> Result<AttributeReport> {
        let (mut pictures, mut scenes) = (Vec::new(), Vec::with_capacity(n));
        for i in 0..n as u64 {
            let mut stream = rng::stream(0, "judge/validation", i);
            let scene = any_scene(&mut stream, level);
            pictures.extend(to_floats(&scene.draw(self.config.size, &mut stream)));
            scenes.push(scene);
        }
        attributes::score(self, &pictures, &scenes)
    }

    /// The judge as a safetensors file, weights as f16.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let config = serde_json::to_string(&self.config).map_err(|e| MetricsError::Metadata(e.to_string()))?;
        let metadata = HashMap::from([("config".to_string(), config)]);
        support::to_bytes(&weights::collect(&self.network, "judge"), KIND, metadata)
    }

    /// The judge in `bytes`, on `device`.
    ///
    /// # Errors
    /// The bytes are no judge; the message says in what way.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Self> {
        let device = device.clone().without_autodiff();
        let (named, metadata) = support::from_bytes(bytes, KIND)?;
        let config: JudgeConfig = serde_json::from_str(support::entry(&metadata, "config")?)
            .map_err(|error| MetricsError::Metadata(format!("the judge's config is damaged: {error}")))?;
        let known = config.widths.iter().all(|width| (1..=4096).contains(width)) && config.features <= 65_536;
        if support::stages(config.size)? != config.widths.len() || !known {
            return Err(MetricsError::Metadata(format!("the judge's config is damaged: {config:?}")));
        }
        let network = weights::apply(config.network(&mut Init::zeros(&device)), &named, "judge")?;
        Ok(Self { config, network, device })
    }
}

/// A scene of `level`; of all combinations, each equally often (the split decides for both objects of a scene).
fn any_scene(rng: &mut ChaCha8Rng, level: Level) -> Scene {
    let held_out = rng::below(rng, (C * S) as u64) < HELD_OUT.len() as u64;
    Scene::sample(rng, level, if held_out { Split::HeldOut } else { Split::Train })
}

/// The answers, `None` where a question has none; by position.
fn answers(wanted: &Attributes) -> [Option<usize>; 8] {
    let object = |at: usize| wanted.objects.get(at);
    let [a, b] = [object(0), object(1)].map(|object| match object {
        Some((colour, shape, size)) => [Some(colour.index()), Some(shape.index()), Some(size.index())],
        None => [None; 3],
    });
    let arrangement = wanted.relation.map_or(0, |relation| if relation.is_vertical() { 1 } else { 2 });
    [Some(wanted.background.index()), a[0], a[1], a[2], b[0], b[1], b[2], Some(arrangement)]
}

/// Appends 1 at each answer and 0 elsewhere, `[sum(HEADS)]`; a question without an answer has zeros only.
fn one_hot(wanted: &Attributes, out: &mut Vec<f32>) {
    for (answer, classes) in answers(wanted).into_iter().zip(HEADS) {
        out.extend((0..classes).map(|class| if answer == Some(class) { 1.0 } else { 0.0 }));
    }
}

/// The sum of all questions' cross entropies, mean over the batch. logits, target: `[b, sum(HEADS)]`.
fn cross_entropy(logits: Tensor<2>, target: Tensor<2>) -> Tensor<1> {
    let [b, _] = logits.dims();
    let mut start = 0;
    let heads = HEADS.iter().map(|&classes| {
        let head = activation::log_softmax(logits.clone().narrow(1, start, classes), 1);
        start += classes;
        head
    });
    let log_shares = Tensor::cat(heads.collect(), 1); // [b, sum(HEADS)]
    (log_shares * target).sum().mul_scalar(-1.0 / b as f64)
}

/// The most likely answers. logits: `[sum(HEADS)]`.
fn attributes_of(logits: &[f32]) -> Attributes {
    let mut rest = logits;
    let [background, ca, sa, za, cb, sb, zb, arrangement] = HEADS.map(|classes| {
        let (head, tail) = rest.split_at(classes);
        rest = tail;
        (0..classes).fold(0, |best, class| if head[class] > head[best] { class } else { best })
    });
    let mut objects = vec![(Colour::ALL[ca], Shape::ALL[sa], Size::ALL[za])];
    let relation = [None, Some(Relation::Above), Some(Relation::LeftOf)][arrangement];
    if relation.is_some() {
        objects.push((Colour::ALL[cb], Shape::ALL[sb], Size::ALL[zb]));
    }
    let count = objects.len();
    Attributes { background: Colour::ALL[background], objects, relation, count }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn labels_and_reading_agree() {
        for i in 0..300 {
            let wanted = any_scene(&mut rng::stream(5, "test", i), Level::Mixed).attributes().by_position();
            let mut logits = Vec::new();
            one_hot(&wanted, &mut logits);
            assert_eq!(attributes_of(&logits), wanted);
        }
    }

    #[test]
    fn cross_entropy_in_closed_form() {
        // Uniform logits: ln(classes) a question that has an answer.
        let mut rng = rng::stream(5, "test", 0);
        let scenes = [Level::One, Level::Two].map(|level| any_scene(&mut rng, level));
        let mut labels = Vec::new();
        scenes.iter().for_each(|scene| one_hot(&scene.attributes().by_position(), &mut labels));
        let device = Device::flex();
        let width = HEADS.iter().sum::<usize>();
        let loss = cross_entropy(
            Tensor::zeros([2, width], &device),
            Tensor::from_data(TensorData::new(labels, [2, width]), &device),
        );
        let ln = |classes: &[usize]| classes.iter().map(|&c| (c as f32).ln()).sum::<f32>();
        let expected = (ln(&[C, C, S, Z, 3]) + ln(&HEADS)) / 2.0;
        assert!((scalar(loss) - expected).abs() < 1e-4);
    }

    #[test]
    fn learns_saves_and_loads() {
        let device = Device::flex();
        let options = JudgeOptions { size: [16, 16], images: 64 * 40, seed: 2 };
        let mut losses = Vec::new();
        let judge = Judge::train(&options, &device, |p| losses.push(p.loss)).unwrap();
        assert_eq!(losses.len(), 40);
        let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
        assert!(mean(&losses[30..]) < 0.9 * mean(&losses[..5]), "{losses:?}");

        let bytes = judge.to_bytes().unwrap();
        let again = Judge::from_bytes(&bytes, &device).unwrap();
        assert_eq!(again.id().unwrap(), judge.id().unwrap());
        let report = judge.validate(Level::Two, 40).unwrap();
        assert_eq!(report, again.validate(Level::Two, 40).unwrap());
        assert_eq!(report.protocol, format!("attributes-v1/{}/n=40", judge.id().unwrap()));
        assert!(report.objects == 80 && report.relation.is_some());

        assert!(Judge::from_bytes(&bytes[..bytes.len() - 9], &device).is_err());
        assert!(judge.validate(Level::Many, 4).unwrap_err().to_string().contains("many"));
        let error = judge.read(&[0.0; 5], 1).unwrap_err().to_string();
        assert_eq!(error, "5 numbers are not 1 pictures of 3x16x16 (768 numbers)");
    }
}
