//! Training `brush`, step by step. First the sentence encoder learns by contrast with the discriminator as its picture
//! encoder; then the GAN: D step, G step, average.

use burn::module::Module;
use burn::tensor::{Device, Tensor, TensorData};
use shenbi_data::loader::Batch;
use shenbi_data::rng;
use shenbi_models::encoder::text::TextEncoder;
use shenbi_models::encoder::tokenizer::Tokenizer;
use shenbi_models::text_to_image::brush::{Discriminator, Generator};
use shenbi_models::text_to_image::painter::{Painter, PainterConfig};
use shenbi_nn::kernels::{Precision, auto_precision, set_precision};
use shenbi_nn::optim::{Adam, AdamConfig};
use shenbi_nn::tangent::{self, Penalty};
use shenbi_nn::weights::{self, Named, Values, WeightsError};
use shenbi_nn::{Init, NormMode, ema};

use crate::augment::shift_and_cut;
use crate::config::BrushRecipe;
use crate::losses::{info_nce, relativistic, retrieval_accuracy, same_captions};
use crate::schedule::cosine;

/// CLIP's bound on the inverse temperature: ln 100.
const MAX_LOG_SCALE: f64 = 4.605;
/// No average of gradients, as GANs like it (R3GAN), and no sudden leaps: one long run without the bound
/// tore apart (docs/results).
const ADAM: AdamConfig = AdamConfig { beta1: 0.0, beta2: 0.99, epsilon: 1e-8, max_rms: 1.0 };
/// How fast running statistics follow the batches'.
const MOMENTUM: f64 = 0.05;

/// Which part of the run a step belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Phase {
    /// Sentences against pictures.
    Contrast,
    /// The GAN.
    Gan,
}

impl Phase {
    /// Its name in logs.
    pub fn name(self) -> &'static str {
        match self {
            Self::Contrast => "contrast",
            Self::Gan => "gan",
        }
    }
}

/// What one step measured. Losses are NaN-free in a healthy run.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Losses {
    /// Discriminator: the relativistic loss against generated pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub d: Option<f32>,
    /// Generator: the relativistic loss.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub g: Option<f32>,
    /// Contrast of captions with real pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contrast: Option<f32>,
    /// The same for generated pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub contrast_fake: Option<f32>,
    /// Share of real pictures whose closest caption of the batch is their own.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub accuracy: Option<f32>,
    /// Mean of D(real) - D(fake).
    #[serde(skip_serializing_if = "Option::is_none")]
    pub margin: Option<f32>,
    /// R1 on real pictures, before its weight; only in steps that compute it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r1: Option<f32>,
    /// R2 on generated pictures.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub r2: Option<f32>,
}

impl Losses {
    /// Whether every figure is a number.
    pub fn finite(&self) -> bool {
        [self.d, self.g, self.contrast, self.contrast_fake, self.accuracy, self.margin, self.r1, self.r2]
            .iter()
            .flatten()
            .all(|value| value.is_finite())
    }
}

/// Everything that training changes.
pub struct Trainer {
    /// The settings.
    pub recipe: BrushRecipe,
    /// Words to tokens; fixed.
    pub tokenizer: Tokenizer,
    channels: usize,
    text: TextEncoder,
    generator: Generator,
    discriminator: Discriminator,
    average: Generator,
    text_average: TextEncoder,
    adam_text: Adam,
    adam_generator: Adam,
    adam_discriminator: Adam,
    /// Steps of the contrastive phase done.
    pub contrast_steps: u64,
    /// Steps of the GAN done.
    pub gan_steps: u64,
    devices: Devices,
}

/// Where the networks live. Only pictures and sentences cross from one to the other.
#[derive(Clone, Debug)]
pub struct Devices {
    /// The generator and its average.
    pub generator: Device,
    /// The discriminator and the sentence encoder.
    pub discriminator: Device,
}

impl From<Device> for Devices {
    /// Everything on one device.
    fn from(device: Device) -> Self {
        Self { generator: device.clone(), discriminator: device }
    }
}

impl Trainer {
    /// Untrained networks. Sets the precision of this process.
    ///
    /// # Errors
    /// The recipe's shapes do not fit; the text says which.
    pub fn new(recipe: &BrushRecipe, channels: usize, tokenizer: Tokenizer, devices: &Devices) -> Result<Self, String> {
        let devices = Devices {
            generator: devices.generator.clone().without_autodiff(),
            discriminator: devices.discriminator.clone().without_autodiff(),
        };
        set_precision(match recipe.precision.as_str() {
            "f32" => Precision::F32,
            "bf16" => Precision::Bf16,
            _ => auto_precision(),
        });
        let (brush, text) = (recipe.brush(channels), recipe.text());
        brush.check().map_err(|error| error.to_string())?;
        text.check()?;
        let init = |name: &str| Init::new(recipe.seed, name, &devices.discriminator);
        let mut init_generator = Init::new(recipe.seed, "generator", &devices.generator);
        let generator = Generator::new(&brush, &mut init_generator).map_err(|error| error.to_string())?;
        let discriminator =
            Discriminator::new(&brush, &mut init("discriminator")).map_err(|error| error.to_string())?;
        let text = TextEncoder::new(&text, tokenizer.vocabulary(), &mut init("text"));
        let adam = Adam::new(ADAM);
        Ok(Self {
            recipe: recipe.clone(),
            tokenizer,
            channels,
            average: generator.clone(),
            text_average: text.clone(),
            text: text.train(),
            generator: generator.train(),
            discriminator: discriminator.train(),
            adam_text: adam.clone(),
            adam_generator: adam.clone(),
            adam_discriminator: adam,
            contrast_steps: 0,
            gan_steps: 0,
            devices,
        })
    }

    /// Steps so far, both phases together.
    pub fn steps(&self) -> u64 {
        self.contrast_steps + self.gan_steps
    }

    /// Pictures seen so far, both phases together.
    pub fn images(&self) -> u64 {
        self.steps() * self.recipe.batch as u64
    }

    /// One step on `batch`. progress: share of the phase that is over, 0 to 1.
    ///
    /// # Errors
    /// A caption cannot be encoded.
    pub fn step(&mut self, batch: &Batch, phase: Phase, progress: f64) -> Result<Losses, String> {
        match phase {
            Phase::Contrast => self.contrast_step(batch, progress),
            Phase::Gan => self.gan_step(batch, progress),
        }
    }

    /// The trained model as it stands: averaged generator and sentence encoder.
    pub fn painter(&self) -> Painter {
        Painter {
            config: PainterConfig { brush: self.recipe.brush(self.channels), text: self.recipe.text() },
            tokenizer: self.tokenizer.clone(),
            text: self.text_average.clone().to_device(&self.devices.generator),
            generator: self.average.clone(),
        }
    }

    fn pictures(&self, batch: &Batch) -> Tensor<4> {
        let BrushRecipe { height, width, .. } = self.recipe;
        let shape = [batch.captions.len(), self.channels, height, width];
        Tensor::from_data(TensorData::new(batch.pixels.clone(), shape), &self.devices.discriminator)
    }

    /// Two captions a picture, drawn without repetition where it has several.
    fn captions<'a>(&self, batch: &'a Batch) -> (Vec<&'a str>, Vec<&'a str>) {
        let mut stream = rng::stream(self.recipe.seed, "captions", self.contrast_steps + self.gan_steps);
        let pick = |captions: &'a Vec<String>| {
            let n = captions.len() as u64;
            let first = rng::below(&mut stream, n);
            let second = if n > 1 { (first + 1 + rng::below(&mut stream, n - 1)) % n } else { first };
            (captions[first as usize].as_str(), captions[second as usize].as_str())
        };
        batch.captions.iter().map(pick).unzip()
    }

    fn sentences(&self, encoder: &TextEncoder, captions: &[&str]) -> Result<Tensor<2>, String> {
        let tokens = self.tokenizer.encode(captions).map_err(|error| error.to_string())?;
        Ok(encoder.forward(&tokens, &self.devices.discriminator))
    }

    fn scale(discriminator: &Discriminator) -> Tensor<1> {
        discriminator.log_scale.val().exp()
    }

    /// Pictures against captions, and captions of one picture against each other.
    fn contrast_step(&mut self, batch: &Batch, progress: f64) -> Result<Losses, String> {
        let (first, second) = self.captions(batch);
        let same = same_captions(&first, &self.devices.discriminator);
        let a = shenbi_nn::ops::normalize(self.sentences(&self.text, &first)?);
        let b = shenbi_nn::ops::normalize(self.sentences(&self.text, &second)?);
        let mut real = self.pictures(batch);
        if self.recipe.augment {
            let mut stream = rng::stream(self.recipe.seed, "augment/contrast", self.contrast_steps);
            real = shift_and_cut(real, self.fill(), &mut stream);
        }
        let features = self.discriminator.trunk(real.autodiff());
        let pictures = self.discriminator.embedding(features);
        let scale = Self::scale(&self.discriminator);
        let loss = info_nce(pictures.clone(), a.clone(), scale.clone(), same.clone())
            + info_nce(pictures.clone(), b.clone(), scale.clone(), same.clone());
        let losses = Losses {
            contrast: Some(scalar(loss.clone()) / 2.0),
            accuracy: Some(scalar(retrieval_accuracy(pictures.without_autodiff(), a.clone().without_autodiff()))),
            ..Losses::default()
        };
        let loss = loss + info_nce(a, b, scale, same);
        let mut grads = loss.backward();
        let rate = cosine(self.contrast_steps, 20, progress, 1e-3, 0.1);
        self.text = self.adam_text.step(self.text.clone(), &mut grads, |_| rate);
        let discriminator = self.adam_discriminator.step(self.discriminator.clone(), &mut grads, |_| rate);
        self.discriminator = discriminator.bounded(MAX_LOG_SCALE);
        self.text_average = self.text.valid();
        self.contrast_steps += 1;
        Ok(losses)
    }

    fn gan_step(&mut self, batch: &Batch, progress: f64) -> Result<Losses, String> {
        let recipe = self.recipe.clone();
        let (step, n) = (self.gan_steps, batch.captions.len());
        let rate = cosine(step, recipe.warmup, progress, recipe.learning_rate, recipe.last_rate);
        let (captions, _) = self.captions(batch);
        let same = same_captions(&captions, &self.devices.discriminator);
        let mut augment = rng::stream(recipe.seed, "augment", step);
        let real = self.pictures(batch);

        // One generation serves both steps.
        let sentence = self.sentences(&self.text, &captions)?; // [n, sentence]
        let fixed = sentence.clone().without_autodiff();
        let noise = noise(recipe.seed, "noise", step, n, recipe.noise, &self.devices.generator);
        let there = fixed.clone().to_device(&self.devices.generator);
        let mut statistics = Vec::new();
        let fake = self.generator.forward(noise, there, &mut NormMode::Train(&mut statistics));
        let fake = fake.to_device(&self.devices.discriminator);

        // D step: real above generated, matched above mismatched, captions found among the batch's.
        let (seen_real, seen_fake) =
            (self.seen(real, &mut augment), self.seen(fake.clone().without_autodiff(), &mut augment));
        let both = Tensor::cat(vec![seen_real.clone(), seen_fake.clone()], 0);
        let features = self.discriminator.trunk(both.autodiff());
        let (real_features, fake_features) = (features.clone().narrow(0, 0, n), features.narrow(0, n, n));
        let real_logit = self.discriminator.logit(real_features.clone(), sentence.clone());
        let fake_logit = self.discriminator.logit(fake_features, sentence.clone());
        let others = Tensor::cat(vec![sentence.clone().narrow(0, 1, n - 1), sentence.clone().narrow(0, 0, 1)], 0);
        let mismatched_logit = self.discriminator.logit(real_features.clone(), others);
        let embedding = self.discriminator.embedding(real_features);
        let unit = shenbi_nn::ops::normalize(sentence);
        let d = relativistic(real_logit.clone(), fake_logit.clone());
        let contrast = info_nce(embedding.clone(), unit.clone(), Self::scale(&self.discriminator), same.clone());
        let mut losses = Losses {
            d: Some(scalar(d.clone())),
            contrast: Some(scalar(contrast.clone())),
            accuracy: Some(scalar(retrieval_accuracy(embedding.without_autodiff(), unit.without_autodiff()))),
            margin: Some(scalar((real_logit.clone() - fake_logit).mean())),
            ..Losses::default()
        };
        let mut loss = d
            + relativistic(real_logit.clone(), mismatched_logit).mul_scalar(recipe.mismatched)
            + contrast.mul_scalar(recipe.contrastive);
        if step.is_multiple_of(recipe.penalty_every) {
            let gamma = recipe.gamma * (recipe.last_gamma / recipe.gamma).powf(progress.clamp(0.0, 1.0));
            let penalty = Penalty::R1 { gamma: gamma * recipe.penalty_every as f64 };
            let (on_real, r1) = self.penalty(seen_real, fixed.clone(), penalty);
            let (on_fake, r2) = self.penalty(seen_fake, fixed.clone(), penalty);
            loss = loss + on_real + on_fake;
            (losses.r1, losses.r2) = (Some(r1), Some(r2));
        }
        let mut grads = loss.backward();
        self.text = self.adam_text.step(self.text.clone(), &mut grads, |_| rate * recipe.text_rate);
        let discriminator = self.adam_discriminator.step(self.discriminator.clone(), &mut grads, |_| rate);
        self.discriminator = discriminator.bounded(MAX_LOG_SCALE);

        // G step: generated above real (judged before D's step: a whole pass saved), its captions found.
        let judge = self.discriminator.valid();
        let features = judge.trunk(self.seen(fake, &mut augment));
        let fake_logit = judge.logit(features.clone(), fixed.clone());
        let g = relativistic(fake_logit, real_logit.without_autodiff());
        let unit = shenbi_nn::ops::normalize(fixed);
        let contrast = info_nce(judge.embedding(features), unit, Self::scale(&judge), same);
        losses.g = Some(scalar(g.clone()));
        losses.contrast_fake = Some(scalar(contrast.clone()));
        let mut grads = (g + contrast.mul_scalar(recipe.contrastive)).backward();
        self.generator = self.adam_generator.step(self.generator.clone(), &mut grads, |_| rate);
        self.generator = self.generator.clone().with_running(&statistics, MOMENTUM);

        // Averages of what paints.
        self.gan_steps += 1;
        let seen = (self.gan_steps * recipe.batch as u64) as f64;
        let half_life = (recipe.ema_kimg * 1000.0).min(recipe.ema_share * seen);
        let decay = ema::decay(recipe.batch as f64, half_life);
        self.average = ema::update(self.average.clone(), &self.generator, decay);
        self.text_average = ema::update(self.text_average.clone(), &self.text, decay);
        Ok(losses)
    }

    /// A picture as D sees it.
    fn seen(&self, x: Tensor<4>, rng: &mut rand_chacha::ChaCha8Rng) -> Tensor<4> {
        if self.recipe.augment { shift_and_cut(x, self.fill(), rng) } else { x }
    }

    /// What lies outside a picture: nothing (transparent black) for RGBA, grey otherwise.
    fn fill(&self) -> f32 {
        if self.channels == 4 { -1.0 } else { 0.0 }
    }

    /// The tangent pass (see [`tangent`]): a surrogate with the penalty's gradient, and E‖∇ₓD‖².
    fn penalty(&self, x: Tensor<4>, sentence: Tensor<2>, penalty: Penalty) -> (Tensor<1>, f32) {
        let judge = self.discriminator.valid();
        let input = x.clone().autodiff().require_grad();
        let grads = judge.logit(judge.trunk(input.clone()), sentence.clone()).sum().backward();
        let Some(g) = input.grad(&grads) else { return (Tensor::zeros([1], &self.devices.discriminator), 0.0) };
        let squared = tangent::squared_norm(&g);
        let v = tangent::scale_examples(g, penalty.direction(squared.clone()));
        let (_, derivative) = self.discriminator.forward_tangent(x.autodiff(), v.autodiff(), sentence);
        (derivative.mean(), scalar(squared.mean()))
    }

    /// All state as named tensors; with the recipe and the tokenizer it is the whole run.
    pub fn state(&self) -> Named {
        let mut named = weights::collect(&self.text, "text");
        named.extend(weights::collect(&self.generator, "generator"));
        named.extend(weights::collect(&self.discriminator, "discriminator"));
        named.extend(weights::collect(&self.average, "average"));
        named.extend(weights::collect(&self.text_average, "text_average"));
        named.extend(self.adam_text.state("adam_text"));
        named.extend(self.adam_generator.state("adam_generator"));
        named.extend(self.adam_discriminator.state("adam_discriminator"));
        named
    }

    /// Continues from [`Trainer::state`] after so many steps.
    ///
    /// # Errors
    /// A tensor is missing or has another shape.
    pub fn restore(&mut self, named: &Named, contrast_steps: u64, gan_steps: u64) -> Result<(), WeightsError> {
        self.text = weights::apply(self.text.clone(), named, "text")?;
        self.generator = weights::apply(self.generator.clone(), named, "generator")?;
        self.discriminator = weights::apply(self.discriminator.clone(), named, "discriminator")?;
        self.average = weights::apply(self.average.clone(), named, "average")?;
        self.text_average = weights::apply(self.text_average.clone(), named, "text_average")?;
        let adam = |prefix: &str, device| Adam::from_state(ADAM, named, prefix, device);
        self.adam_text = adam("adam_text", &self.devices.discriminator);
        self.adam_generator = adam("adam_generator", &self.devices.generator);
        self.adam_discriminator = adam("adam_discriminator", &self.devices.discriminator);
        (self.contrast_steps, self.gan_steps) = (contrast_steps, gan_steps);
        Ok(())
    }
}

/// Normal noise of a named stream, `[n, dim]`, drawn on the CPU.
pub fn noise(seed: u64, name: &str, position: u64, n: usize, dim: usize, device: &Device) -> Tensor<2> {
    let mut stream = rng::stream(seed, name, position);
    let values: Vec<f32> = (0..n * dim).map(|_| rng::normal(&mut stream)).collect();
    Tensor::from_data(TensorData::new(values, [n, dim]), device)
}

fn scalar(tensor: Tensor<1>) -> f32 {
    let Values { data, .. } = weights::values(tensor);
    data.first().copied().unwrap_or(f32::NAN)
}
