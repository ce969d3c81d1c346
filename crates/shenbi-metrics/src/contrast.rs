//! The encoder behind R-precision: pictures and texts as unit vectors, close where they belong together.
//!
//! It is trained by symmetric InfoNCE (CLIP, 2103.00020, fig. 3) on real pictures and all their captions (so on every
//! language), with its own random start and its own tokenizer: independent of any generator it will judge. Pictures are
//! shifted, zoomed, softened and grained a little (see `perturb`); colours, left and right stay, as captions name them.

use std::collections::HashMap;
use std::sync::Arc;

use burn::module::{Module, Param};
use burn::tensor::{Device, Int, Tensor, TensorData, activation};
use serde::{Deserialize, Serialize};
use shenbi_data::loader::{Batch, Loader, LoaderOptions};
use shenbi_data::{Source, rng};
use shenbi_models::encoder::text::{TextConfig, TextEncoder};
use shenbi_models::encoder::tokenizer::Tokenizer;
use shenbi_nn::optim::{AdamConfig, Optimizer};
use shenbi_nn::{Conv2d, Init, Linear, ops, weights};

use crate::perturb::{Flaws, shift_and_zoom};
use crate::support::{self, Progress, SLOPE, check_pixels, scalar};
use crate::{MetricsError, Result};

const KIND: &str = "contrast-encoder";
/// Bound on the logarithm of the inverse temperature: ln 100, as CLIP.
const MAX_LOG_SCALE: f64 = 4.605;
/// Adam's largest step size.
const RATE: f64 = 1e-3;
/// Captions of an endless source from which the tokenizer learns.
const ENDLESS: u64 = 4000;
/// Pictures or texts that are encoded at once.
const CHUNK: usize = 128;

/// Shapes of an encoder.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct ContrastConfig {
    size: [usize; 2],
    channels: usize,
    /// Channels after each halving.
    widths: Vec<usize>,
    /// Features before the projection.
    features: usize,
    text: TextConfig,
}

/// Picture to embedding.
#[derive(Module, Debug)]
struct PictureEncoder {
    /// 4x4, stride 2.
    downs: Vec<Conv2d>,
    /// The smallest grid to features.
    features: Linear,
    /// Features to the embedding.
    embed: Linear,
    /// Logarithm of the inverse temperature, `[1]`.
    log_scale: Param<Tensor<1>>,
}

impl PictureEncoder {
    fn new(config: &ContrastConfig, init: &mut Init) -> Self {
        let mut inputs = config.channels;
        let mut grid = config.size;
        let mut downs = Vec::new();
        for &width in &config.widths {
            downs.push(Conv2d::new(inputs, width, 4, 2, 1, 1.0, init));
            inputs = width;
            grid = grid.map(|side| side / 2);
        }
        Self {
            downs,
            features: Linear::new(inputs * grid[0] * grid[1], config.features, 1.0, init),
            embed: Linear::without_bias(config.features, config.text.sentence, 0.7, init),
            log_scale: init.constant([1], 10f32.ln()),
        }
    }

    /// x: `[b, c, h, w]`, returns unit rows `[b, sentence]`.
    fn forward(&self, x: Tensor<4>) -> Tensor<2> {
        let x = self.downs.iter().fold(x, |x, down| down.forward_leaky(x, SLOPE));
        let x = ops::leaky_relu(self.features.forward(x.flatten(1, 3)), SLOPE);
        ops::normalize(self.embed.forward(x))
    }
}

/// How an encoder is trained.
#[derive(Clone, Debug)]
pub struct ContrastOptions {
    /// Training steps.
    pub steps: u64,
    /// Pictures a step, each with its captions against all others of the step.
    pub batch: usize,
    /// Weights, order, captions and flaws. Take another than the generator's.
    pub seed: u64,
    /// Channels of the largest hidden grid; they double with each halving, up to 8 times.
    pub width: usize,
    /// Mirror every second picture: wrong where captions say left or right.
    pub flip: bool,
    /// Shift and zoom pictures: for data sets of a few thousand.
    pub augment: bool,
    /// Shape of the text encoder.
    pub text: TextConfig,
}

impl Default for ContrastOptions {
    fn default() -> Self {
        let text = TextConfig::default();
        Self { steps: 2000, batch: 64, seed: 1001, width: 40, flip: false, augment: true, text }
    }
}

/// Pictures and texts to unit vectors.
#[derive(Clone, Debug)]
pub struct ContrastEncoder {
    config: ContrastConfig,
    tokenizer: Tokenizer,
    pictures: PictureEncoder,
    text: TextEncoder,
    device: Device,
}

impl ContrastEncoder {
    /// Trains an encoder on `source`, pictures and all captions. Its weights are rounded to f16 at the end, so that
    /// saving changes nothing.
    ///
    /// # Errors
    /// The source cannot be read, or its size or an option does not fit.
    pub fn train(
        source: Arc<dyn Source>,
        options: &ContrastOptions,
        device: &Device,
        mut progress: impl FnMut(Progress),
    ) -> Result<Self> {
        let device = device.clone().without_autodiff();
        options.text.check().map_err(MetricsError::Setting)?;
        if options.batch < 2 || options.width == 0 || options.width > 512 {
            let message = format!("batch {} and width {}: 2 or more, and 1 to 512", options.batch, options.width);
            return Err(MetricsError::Setting(message));
        }
        let stages = support::stages(source.size())?;
        let config = ContrastConfig {
            size: source.size(),
            channels: source.channels(),
            widths: (0..stages).map(|i| options.width << i.min(3)).collect(),
            features: 256,
            text: options.text.clone(),
        };
        let tokenizer = learn_tokenizer(&*source, &options.text)?;
        let mut init = Init::new(options.seed, "contrast", &device);
        let mut pictures = PictureEncoder::new(&config, &mut init).train();
        let mut text = TextEncoder::new(&config.text, tokenizer.vocabulary(), &mut init).train();
        let adam = Optimizer::adam(AdamConfig { beta1: 0.9, ..AdamConfig::default() });
        let (mut adam_pictures, mut adam_text) = (adam.clone(), adam);
        let flaws = Flaws::new(options.seed);
        let loading = LoaderOptions {
            batch: options.batch,
            seed: options.seed,
            flip: options.flip,
            threads: 1,
            ..LoaderOptions::default()
        };
        let mut loader = Loader::new(source, loading)?;
        for step in 0..options.steps {
            let mut batch = loader.next_batch()?;
            spoil(&mut batch, options, &flaws, step);
            let [first, second] = two_captions(&batch, options.seed, step);
            let x = Tensor::<4>::from_data(TensorData::new(batch.pixels.clone(), batch.shape), &device);
            let x = pictures.forward(x.autodiff());
            let scale = pictures.log_scale.val().clamp_max(MAX_LOG_SCALE).exp();
            let encode = |texts: &[&str]| -> Result<Tensor<2>> {
                Ok(ops::normalize(text.forward(&tokenizer.encode(texts)?, &device)))
            };
            let (a, b) = (encode(&first)?, encode(&second)?);
            let others = |one: &[&str], two: &[&str]| same_caption(one, two, &device);
            // Picture and both captions, and the captions of one picture with each other.
            let loss = info_nce(x.clone(), a.clone(), &scale, others(&first, &first))
                + info_nce(x, b.clone(), &scale, others(&second, &second))
                + info_nce(a, b, &scale, others(&first, &second));
            let value = scalar(loss.clone()) / 3.0;
            let mut grads = loss.backward();
            let rate = support::rate(step, options.steps, RATE);
            text = adam_text.step(text, &mut grads, |_| rate);
            pictures = adam_pictures.step(pictures, &mut grads, |_| rate);
            progress(Progress { step: step + 1, steps: options.steps, loss: value });
        }
        let encoder =
            Self { config, tokenizer, pictures: pictures.valid(), text: text.valid(), device: device.clone() };
        Self::from_bytes(&encoder.to_bytes()?, &device)
    }

    /// Channels, height and width of the pictures it knows.
    pub fn shape(&self) -> [usize; 3] {
        let [height, width] = self.config.size;
        [self.config.channels, height, width]
    }

    /// Numbers in an embedding.
    pub fn dim(&self) -> usize {
        self.config.text.sentence
    }

    /// Its place in a protocol: picture shape and fingerprint of the weights.
    ///
    /// # Errors
    /// The weights cannot be written as a file.
    pub fn id(&self) -> Result<String> {
        let [channels, height, width] = self.shape();
        let mut named = weights::collect(&self.pictures, "pictures");
        named.extend(weights::collect(&self.text, "text"));
        Ok(format!("{height}x{width}x{channels}/encoder:{}", support::fingerprint(&named)?))
    }

    /// Unit embeddings of `n` pictures.
    ///
    /// # Shapes
    /// pixels: `[n, c, h, w]` in [-1, 1], row-major (RGBA premultiplied); returns `[n, dim]`.
    ///
    /// # Errors
    /// `pixels` is not of this shape.
    pub fn embed_pictures(&self, pixels: &[f32], n: usize) -> Result<Vec<f32>> {
        let [c, h, w] = self.shape();
        check_pixels(pixels, self.shape(), n)?;
        let mut out = Vec::with_capacity(n * self.dim());
        for chunk in pixels.chunks(c * h * w * CHUNK) {
            let data = TensorData::new(chunk.to_vec(), [chunk.len() / (c * h * w), c, h, w]);
            out.extend(support::rows(self.pictures.forward(Tensor::from_data(data, &self.device))));
        }
        Ok(out)
    }

    /// Unit embeddings of texts, `[n, dim]`.
    ///
    /// # Errors
    /// A text cannot be encoded.
    pub fn embed_texts<T: AsRef<str>>(&self, texts: &[T]) -> Result<Vec<f32>> {
        let mut out = Vec::with_capacity(texts.len() * self.dim());
        for chunk in texts.chunks(CHUNK) {
            let tokens = self.tokenizer.encode(chunk)?;
            out.extend(support::rows(ops::normalize(self.text.forward(&tokens, &self.device))));
        }
        Ok(out)
    }

    /// The encoder as a safetensors file, weights as f16.
    ///
    /// # Errors
    /// The file cannot be made.
    pub fn to_bytes(&self) -> Result<Vec<u8>> {
        let config = serde_json::to_string(&self.config).map_err(|e| MetricsError::Metadata(e.to_string()))?;
        let tokenizer = self.tokenizer.to_json()?;
        let metadata = HashMap::from([("config".to_string(), config), ("tokenizer".to_string(), tokenizer)]);
        let mut named = weights::collect(&self.pictures, "pictures");
        named.extend(weights::collect(&self.text, "text"));
        support::to_bytes(&named, KIND, metadata)
    }

    /// The encoder in `bytes`, on `device`.
    ///
    /// # Errors
    /// The bytes are no encoder; the message says in what way.
    pub fn from_bytes(bytes: &[u8], device: &Device) -> Result<Self> {
        let device = device.clone().without_autodiff();
        let (named, metadata) = support::from_bytes(bytes, KIND)?;
        let damaged = |what: String| MetricsError::Metadata(format!("the encoder's config is damaged: {what}"));
        let config: ContrastConfig =
            serde_json::from_str(support::entry(&metadata, "config")?).map_err(|error| damaged(error.to_string()))?;
        config.text.check().map_err(damaged)?;
        let known = config.widths.iter().all(|width| (1..=4096).contains(width))
            && (1..=4).contains(&config.channels)
            && config.features <= 65_536;
        if support::stages(config.size)? != config.widths.len() || !known {
            return Err(damaged(format!("{config:?}")));
        }
        let tokenizer = Tokenizer::from_json(support::entry(&metadata, "tokenizer")?, config.text.max_tokens)?;
        let mut init = Init::zeros(&device);
        let pictures = weights::apply(PictureEncoder::new(&config, &mut init), &named, "pictures")?;
        let text = TextEncoder::new(&config.text, tokenizer.vocabulary(), &mut init);
        let text = weights::apply(text, &named, "text")?;
        Ok(Self { config, tokenizer, pictures, text, device })
    }
}

/// A tokenizer of the captions: all of a finite source, the first ones of an endless one.
fn learn_tokenizer(source: &dyn Source, text: &TextConfig) -> Result<Tokenizer> {
    let mut captions = Vec::new();
    for index in 0..source.len().unwrap_or(ENDLESS) {
        captions.extend(source.captions(index)?);
    }
    Ok(Tokenizer::train(captions.into_iter(), text.vocabulary, text.max_tokens)?)
}

/// Puts small flaws on a batch's pictures.
fn spoil(batch: &mut Batch, options: &ContrastOptions, flaws: &Flaws, step: u64) {
    let [_, c, h, w] = batch.shape;
    let mut stream = rng::stream(options.seed, "contrast/flaws", step);
    for picture in batch.pixels.chunks_exact_mut(c * h * w) {
        if options.augment {
            shift_and_zoom(picture, [h, w], &mut stream);
        }
        flaws.put_on(picture, [h, w], &mut stream);
    }
}

/// Two captions a picture, different ones where it has several.
fn two_captions(batch: &Batch, seed: u64, step: u64) -> [Vec<&str>; 2] {
    let mut stream = rng::stream(seed, "contrast/captions", step);
    let mut out = [Vec::new(), Vec::new()];
    for captions in &batch.captions {
        let n = captions.len() as u64;
        let first = rng::below(&mut stream, n);
        let second = if n > 1 { (first + 1 + rng::below(&mut stream, n - 1)) % n } else { first };
        for (list, at) in out.iter_mut().zip([first, second]) {
            list.push(captions.get(at as usize).map_or("", String::as_str));
        }
    }
    out
}

/// A very negative number where two different examples have the same caption, so that they do not repel; else 0.
///
/// # Shapes
/// Returns `[n, n]`.
fn same_caption(rows: &[&str], columns: &[&str], device: &Device) -> Tensor<2> {
    let n = rows.len();
    let value = |i: usize, j: usize| {
        if i != j && (rows[i] == rows[j] || columns[i] == columns[j]) { -1e9f32 } else { 0.0 }
    };
    let values: Vec<f32> = (0..n * n).map(|at| value(at / n, at % n)).collect();
    Tensor::from_data(TensorData::new(values, [n, n]), device)
}

/// Symmetric InfoNCE: each row of `a` should be closest to the same row of `b`, and the other way round.
///
/// # Shapes
/// a, b: unit rows, `[n, d]`; scale: inverse temperature, `[1]`; mask: added to the logits, `[n, n]`.
fn info_nce(a: Tensor<2>, b: Tensor<2>, scale: &Tensor<1>, mask: Tensor<2>) -> Tensor<1> {
    let [n, _] = a.dims();
    let logits = a.matmul(b.transpose()) * scale.clone().unsqueeze() + mask; // [n, n]
    let diagonal = Tensor::<1, Int>::arange(0..n as i64, &logits.device()).reshape([n, 1]);
    let side = |logits: Tensor<2>| activation::log_softmax(logits, 1).gather(1, diagonal.clone()).mean().neg();
    (side(logits.clone()) + side(logits.transpose())).mul_scalar(0.5)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::r_precision;
    use shenbi_data::scenes::{Scenes, ScenesOptions};

    #[test]
    fn masked_captions_do_not_repel() {
        let device = Device::flex();
        let unit = Tensor::<2>::from_data([[1.0, 0.0], [1.0, 0.0], [0.0, 1.0]], &device);
        let scale = Tensor::<1>::from_data([20.0], &device);
        let loss =
            |texts: &[&str]| scalar(info_nce(unit.clone(), unit.clone(), &scale, same_caption(texts, texts, &device)));
        // Two equal rows with different captions cannot be told apart: ln 2 for each of them.
        assert!((loss(&["a", "b", "c"]) - 2.0 / 3.0 * std::f32::consts::LN_2).abs() < 1e-4);
        assert!(loss(&["a", "a", "c"]).abs() < 1e-4);
    }

    #[test]
    fn learns_saves_and_loads() {
        let device = Device::flex();
        let scenes = Scenes::new(ScenesOptions { size: [16, 16], ..ScenesOptions::default() }).unwrap();
        let text = TextConfig { vocabulary: 400, max_tokens: 24, width: 32, layers: 1, heads: 2, sentence: 24 };
        let options =
            ContrastOptions { steps: 60, batch: 32, width: 12, text, augment: false, ..ContrastOptions::default() };
        let mut losses = Vec::new();
        let encoder =
            ContrastEncoder::train(Arc::new(scenes.clone()), &options, &device, |p| losses.push(p.loss)).unwrap();
        let mean = |losses: &[f32]| losses.iter().sum::<f32>() / losses.len() as f32;
        assert!(mean(&losses[50..]) < 0.85 * mean(&losses[..5]), "{losses:?}");

        let bytes = encoder.to_bytes().unwrap();
        let again = ContrastEncoder::from_bytes(&bytes, &device).unwrap();
        let (mut pixels, mut captions) = (Vec::new(), Vec::new());
        for index in 1_000_000..1_000_100 {
            let example = scenes.get(index).unwrap();
            pixels.extend(shenbi_data::convert::to_floats(&example.picture));
            captions.push(example.captions[0].clone());
        }
        let report = r_precision(&encoder, &pixels, &captions, 20, 1).unwrap();
        assert_eq!(report, r_precision(&again, &pixels, &captions, 20, 1).unwrap());
        assert!(report.r_at_1 > 2.0 * report.chance, "{report:?}");

        assert!(ContrastEncoder::from_bytes(&bytes[..bytes.len() / 2], &device).is_err());
        let error = r_precision(&encoder, &pixels[1..], &captions, 20, 1).unwrap_err().to_string();
        assert!(error.contains("are not 100 pictures of 3x16x16"), "{error}");
    }
}
