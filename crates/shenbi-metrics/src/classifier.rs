//! A classifier that learns the classes of a labelled data set: what a score can be made with where no network trained
//! on photographs is at hand.
//!
//! The judge's small CNN learns by cross entropy from pictures that are shifted, zoomed, softened and grained a little
//! (see `perturb`). Its features serve as any other network's; scores on them are named after it, and compare only between
//! users of the same file. Trained on generated pictures and tested on real ones it gives the classification accuracy
//! score (Ravuri & Vinyals, 1905.10887): what a classifier can learn from a model's pictures.

use std::collections::HashMap;
use std::sync::Arc;

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData, activation};
use serde::{Deserialize, Serialize};
use shenbi_data::loader::{Loader, LoaderOptions};
use shenbi_data::{DataError, Example, Picture, Source, convert, decode, rng};
use shenbi_nn::optim::{AdamConfig, Optimizer};
use shenbi_nn::{Init, weights};

use crate::cnn::Cnn;
use crate::perturb::{Flaws, shift_and_zoom};
use crate::support::{self, Progress, scalar};
use crate::{MetricsError, Result};

/// What a file of it says it is.
const KIND: &str = "classifier";
/// Adam's largest step size.
const RATE: f64 = 1e-3;
/// Pictures that pass at once.
const CHUNK: usize = 128;
/// Classes, at most.
const MOST_CLASSES: usize = 10_000;

/// Shapes and classes.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Config {
    size: [usize; 2],
    channels: usize,
    /// Channels after each halving.
    widths: Vec<usize>,
    features: usize,
    /// Their names.
    classes: Vec<String>,
}

impl Config {
    fn network(&self, init: &mut Init) -> Cnn {
        let [height, width] = self.size;
        Cnn::new([self.channels, height, width], &self.widths, self.features, self.classes.len(), init)
    }
}

/// How long it learns.
#[derive(Clone, Debug)]
pub struct ClassifierOptions {
    /// Steps of training.
    pub steps: u64,
    /// Pictures a step.
    pub batch: usize,
    /// Channels after the first halving; doubled with each, up to four times.
    pub width: usize,
    /// Mirror every second picture: wrong for digits and letters.
    pub flip: bool,
    /// Weights, order and flaws.
    pub seed: u64,
}

impl Default for ClassifierOptions {
    fn default() -> Self {
        Self { steps: 2000, batch: 64, width: 48, flip: false, seed: 1 }
    }
}

/// Names the classes of pictures.
#[derive(Clone, Debug)]
pub struct Classifier {
    config: Config,
    network: Cnn,
    device: Device,
    id: String,
}

impl Classifier {
    /// Trains one on all pictures of `source`. Its weights are rounded to f16 at the end, so that saving changes nothing.
    ///
    /// # Errors
    /// The source has fewer than two classes, its pictures cannot be read or have a size that does not fit.
    pub fn train(
        source: Arc<dyn Source>,
        options: &ClassifierOptions,
        device: &Device,
        mut progress: impl FnMut(Progress),
    ) -> Result<Self> {
        let device = device.clone().without_autodiff();
        let ClassifierOptions { steps, batch, width, flip, seed } = *options;
        let classes = source.classes().to_vec();
        if !(2..=MOST_CLASSES).contains(&classes.len()) {
            let message = format!("{} classes: a classifier needs 2 to {MOST_CLASSES}", classes.len());
            return Err(MetricsError::Setting(message));
        }
        if !(2..=4096).contains(&batch) || !(1..=512).contains(&width) {
            return Err(MetricsError::Setting(format!("batch {batch} and width {width}: 2 to 4096, and 1 to 512")));
        }
        let stages = support::stages(source.size())?;
        let config = Config {
            size: source.size(),
            channels: source.channels(),
            widths: (0..stages).map(|i| width << i.min(2)).collect(),
            features: 256,
            classes,
        };
        let mut network = config.network(&mut Init::new(seed, KIND, &device)).train();
        let mut adam = Optimizer::adam(AdamConfig { beta1: 0.9, ..AdamConfig::default() });
        let flaws = Flaws::new(seed);
        let mut loader = Loader::new(source, LoaderOptions { batch, seed, flip, threads: 1, ..Default::default() })?;
        for step in 0..steps {
            let mut given = loader.next_batch()?;
            let [b, c, h, w] = given.shape;
            let mut stream = rng::stream(seed, "classifier/flaws", step);
            for picture in given.pixels.chunks_exact_mut(c * h * w) {
                shift_and_zoom(picture, [h, w], &mut stream);
                flaws.put_on(picture, [h, w], &mut stream);
            }
            if given.classes.len() != b {
                return Err(MetricsError::Setting("some pictures have no class".to_string()));
            }
            let mut target = vec![0.0_f32; b * config.classes.len()];
            let rows = target.chunks_exact_mut(config.classes.len()).zip(&given.classes);
            rows.for_each(|(row, class)| row[*class % row.len()] = 1.0);
            let target = Tensor::<2>::from_data(TensorData::new(target, [b, config.classes.len()]), &device);
            let x = Tensor::<4>::from_data(TensorData::new(given.pixels, given.shape), &device);
            let shares = activation::log_softmax(network.forward(x.autodiff()), 1);
            let loss = (shares * target).sum().mul_scalar(-1.0 / b as f64);
            let value = scalar(loss.clone());
            let mut grads = loss.backward();
            let rate = support::rate(step, steps, RATE);
            network = adam.step(network, &mut grads, |_| rate);
            progress(Progress { step: step + 1, steps, loss: value });
        }
        let trained = Self { config, network: network.valid(), device: device.clone(), id: String::new() };
        Self::from_bytes(&trained.to_bytes()?, &device)
    }

    /// Its place in a protocol: picture shape, hash of the weights, and how pictures are resized.
    pub fn id(&self) -> &str {
        &self.id
    }

    /// The names of its classes.
    pub fn classes(&self) -> &[String] {
        &self.config.classes
    }

    /// Numbers in a picture's features.
    pub fn dim(&self) -> usize {
        self.config.features
    }

    /// Features and logits of pictures of any size, which are cropped and scaled as for training.
    ///
    /// # Shapes
    /// returns `[pictures, dim]` and `[pictures, classes]`, row-major.
    ///
    /// # Errors
    /// A picture is empty.
    pub fn embed_with_logits(&self, pictures: &[Picture]) -> Result<(Vec<f32>, Vec<f32>)> {
        let (mut features, mut logits) = (Vec::new(), Vec::new());
        let Config { size: [h, w], channels, .. } = self.config;
        for pictures in pictures.chunks(CHUNK) {
            let mut pixels = Vec::with_capacity(pictures.len() * channels * h * w);
            for picture in pictures {
                let Picture { width, height, channels: own, .. } = *picture;
                if picture.pixels.is_empty() || picture.pixels.len() != width * height * own {
                    let message = format!("a picture of {height}x{width} with {} samples", picture.pixels.len());
                    return Err(MetricsError::Setting(message));
                }
                let picture = decode::with_channels(picture.clone(), channels)?;
                pixels.extend(convert::to_floats(&decode::fit(&picture, [h, w], decode::Fit::Cover)?));
            }
            let x = Tensor::from_data(TensorData::new(pixels, [pictures.len(), channels, h, w]), &self.device);
            let (some_features, some_logits) = self.network.both(x);
            features.extend(support::rows(some_features));
            logits.extend(support::rows(some_logits));
        }
        Ok((features, logits))
    }

    /// The share of a source's pictures, 0 to 1, whose class it names; at most the first `most`.
    ///
    /// # Errors
    /// The source has other classes, no pictures, or one cannot be read.
    pub fn accuracy(&self, source: &dyn Source, most: u64) -> Result<f64> {
        if source.classes() != self.classes() {
            let message = "the pictures to test on have other classes than those trained on".to_string();
            return Err(MetricsError::Setting(message));
        }
        let n = source.len().unwrap_or(most).min(most);
        if n == 0 {
            return Err(MetricsError::Setting("no pictures to test on".to_string()));
        }
        let mut right = 0;
        for start in (0..n).step_by(CHUNK) {
            let places = start..n.min(start + CHUNK as u64);
            let pictures = places.clone().map(|i| source.get(i).map(|example| example.picture));
            let (_, logits) = self.embed_with_logits(&pictures.collect::<std::result::Result<Vec<_>, DataError>>()?)?;
            for (i, row) in places.zip(logits.chunks_exact(self.classes().len())) {
                let best = (0..row.len()).fold(0, |best, class| if row[class] > row[best] { class } else { best });
                right += u64::from(source.class(i) == Some(best));
            }
        }
        Ok(right as f64 / n as f64)
    }

    /// The classifier as a safetensors file, weights as f16.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let config = serde_json::to_string(&self.config).map_err(|e| MetricsError::Metadata(e.to_string()))?;
        let metadata = HashMap::from([("config".to_string(), config)]);
        support::to_bytes(&weights::collect(&self.network, KIND), KIND, metadata)
    }

    /// Whether these are the bytes of one, going by their metadata.
    pub fn is_in(bytes: &[u8]) -> bool {
        let header = safetensors::SafeTensors::read_metadata(bytes);
        let kind = |header: &safetensors::tensor::Metadata| {
            header.metadata().as_ref().is_some_and(|metadata| metadata.get("kind").is_some_and(|kind| kind == KIND))
        };
        header.is_ok_and(|(_, header)| kind(&header))
    }

    /// The classifier in `bytes`, on `device`.
    ///
    /// # Errors
    /// The bytes are no classifier; the message says in what way.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Self> {
        let device = device.clone().without_autodiff();
        let (named, metadata) = support::from_bytes(bytes, KIND)?;
        let damaged = |what: String| MetricsError::Metadata(format!("the classifier's config is damaged: {what}"));
        let config: Config =
            serde_json::from_str(support::entry(&metadata, "config")?).map_err(|error| damaged(error.to_string()))?;
        let known = config.widths.iter().all(|width| (1..=4096).contains(width))
            && matches!(config.channels, 1 | 3 | 4)
            && (1..=65_536).contains(&config.features)
            && (2..=MOST_CLASSES).contains(&config.classes.len());
        if !known || support::stages(config.size)? != config.widths.len() {
            return Err(damaged(format!("{:?}, {} classes", config.size, config.classes.len())));
        }
        let network = weights::apply(config.network(&mut Init::zeros(&device)), &named, KIND)?;
        let fingerprint = support::fingerprint(&weights::collect(&network, KIND))?;
        let [height, width] = config.size;
        let id = format!("{KIND}:{fingerprint}/lanczos-cover-{height}x{width}x{}", config.channels);
        Ok(Self { config, network, device, id })
    }
}

/// Some pictures of a source.
pub struct Part {
    source: Arc<dyn Source>,
    indices: Vec<u64>,
}

impl Part {
    /// A source in two: every `every`-th picture held out, and the others.
    ///
    /// # Errors
    /// The source is endless, or so small that a part would be empty.
    pub fn split(source: &Arc<dyn Source>, every: u64) -> Result<[Self; 2]> {
        let n =
            source.len().ok_or_else(|| MetricsError::Setting("an endless source has no held-out part".to_string()))?;
        let (held_out, kept): (Vec<u64>, Vec<u64>) = (0..n).partition(|i| i % every.max(1) == every.max(1) - 1);
        if held_out.is_empty() || kept.is_empty() {
            return Err(MetricsError::Setting(format!("{n} pictures: too few to hold every {every}th out")));
        }
        Ok([kept, held_out].map(|indices| Self { source: Arc::clone(source), indices }))
    }

    fn place(&self, index: u64) -> shenbi_data::Result<u64> {
        let place = usize::try_from(index).ok().and_then(|index| self.indices.get(index));
        place.copied().ok_or_else(|| DataError::Setting(format!("there is no picture {index}")))
    }
}

impl Source for Part {
    fn len(&self) -> Option<u64> {
        Some(self.indices.len() as u64)
    }

    fn get(&self, index: u64) -> shenbi_data::Result<Example> {
        self.source.get(self.place(index)?)
    }

    fn class(&self, index: u64) -> Option<usize> {
        self.source.class(self.place(index).ok()?)
    }

    fn classes(&self) -> &[String] {
        self.source.classes()
    }

    fn channels(&self) -> usize {
        self.source.channels()
    }

    fn size(&self) -> [usize; 2] {
        self.source.size()
    }
}
