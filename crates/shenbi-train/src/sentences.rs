//! The sentence encoder in text-to-image training: which captions a step takes, and how the encoder first learns by
//! contrast, with a discriminator as its picture encoder.

use burn::module::Module;
use burn::tensor::{Device, Tensor};
use shenbi_data::loader::Batch;
use shenbi_data::rng;
use shenbi_models::encoder::sentence::{Projection, Reader, SentenceEncoder, Tuned};
use shenbi_models::encoder::text::TextEncoder;
use shenbi_models::text_to_image::brush::Discriminator;
use shenbi_models::text_to_image::painter::PretrainedConfig;
use shenbi_nn::ops::normalize;
use shenbi_nn::optim::{AdamConfig, Optimizer, Rule};
use shenbi_nn::weights::{self, Fitted, Named, WeightsError};
use shenbi_nn::{Init, ema};

use crate::augment::{fill, shift_and_cut};
use crate::config::SentenceSettings;
use crate::embeddings::Captions;
use crate::losses::{info_nce, retrieval_accuracy, same_captions};
use crate::schedule::cosine;
use crate::trainer::{Losses, Steps, pictures, scalar};

/// CLIP's bound on the inverse temperature: ln 100.
pub(crate) const MAX_LOG_SCALE: f64 = 4.605;
/// No average of gradients, as GANs like it (R3GAN), and no sudden leaps: one long run without the bound
/// tore apart (docs/results).
pub(crate) const ADAM: AdamConfig =
    AdamConfig { beta1: 0.0, beta2: 0.99, epsilon: 1e-8, max_rms: 1.0, weight_decay: 0.0 };

/// What was drawn of a batch's captions.
pub(crate) struct Drawn<'a> {
    pub(crate) first: Vec<&'a str>,
    pub(crate) second: Vec<&'a str>,
    /// Pictures, and what is false of them.
    pub(crate) contraries: Vec<(usize, &'a str)>,
}

/// Two captions a picture, drawn without repetition where it has several; and the contraries of the first ones, with the
/// pictures they are false of.
pub(crate) fn draw(batch: &Batch, seed: u64, steps: Steps) -> Drawn<'_> {
    let mut stream = rng::stream(seed, "captions", steps.all());
    let mut drawn = Drawn { first: Vec::new(), second: Vec::new(), contraries: Vec::new() };
    for (picture, captions) in batch.captions.iter().enumerate() {
        let n = captions.len() as u64;
        let first = rng::below(&mut stream, n);
        let second = if n > 1 { (first + 1 + rng::below(&mut stream, n - 1)) % n } else { first };
        drawn.first.push(captions[first as usize].as_str());
        drawn.second.push(captions[second as usize].as_str());
        if let Some(contrary) = batch.contraries.get(picture).and_then(|texts| texts.get(first as usize)) {
            drawn.contraries.push((picture, contrary.as_str()));
        }
    }
    drawn
}

/// The encoder, its average and its optimizer.
pub(crate) struct Sentences {
    /// What is not trained.
    captions: Captions,
    text: SentenceEncoder,
    average: SentenceEncoder,
    adam: Optimizer,
    /// Step size of tuned layers, as a share of the others'.
    tune_rate: f64,
    device: Device,
}

impl Sentences {
    /// An untrained encoder, or an untrained projection of a pretrained one, whose last layers may learn too.
    pub(crate) fn new(
        settings: &SentenceSettings,
        mut captions: Captions,
        seed: u64,
        device: &Device,
    ) -> Result<Self, String> {
        let config = &settings.config();
        config.check()?;
        let mut init = Init::new(seed, "text", device);
        let text = match &mut captions {
            Captions::Own(tokenizer) => {
                SentenceEncoder::Own(TextEncoder::new(config, tokenizer.vocabulary(), &mut init))
            }
            Captions::Pretrained(embeddings) => {
                let projection = Projection::new(embeddings.config.dim, config.sentence, &mut init);
                if settings.tune_layers == 0 {
                    SentenceEncoder::Pretrained(projection)
                } else {
                    let (shapes, tail) = embeddings.encoder.tail(settings.tune_layers)?;
                    embeddings.config.tuned = Some(shapes);
                    SentenceEncoder::Tuned(Tuned { tail: tail.to_device(device), above: projection })
                }
            }
        };
        let (average, tune_rate) = (text.clone(), settings.tune_rate);
        Ok(Self {
            captions,
            text: text.train(),
            average,
            adam: Optimizer::adam(ADAM),
            tune_rate,
            device: device.clone(),
        })
    }

    /// `[n, sentence]`
    pub(crate) fn encode(&mut self, captions: &[&str]) -> Result<Tensor<2>, String> {
        match (&mut self.captions, &self.text) {
            (Captions::Own(tokenizer), SentenceEncoder::Own(text)) => {
                let tokens = tokenizer.encode(captions).map_err(|error| error.to_string())?;
                Ok(text.forward(&tokens, &self.device))
            }
            (Captions::Pretrained(embeddings), SentenceEncoder::Pretrained(projection)) => {
                let embeddings = embeddings.get(captions).map_err(|error| error.to_string())?;
                Ok(projection.forward(embeddings, captions.len(), &self.device))
            }
            (Captions::Pretrained(embeddings), SentenceEncoder::Tuned(tuned)) => {
                tuned.forward(&embeddings.encoder, captions, &self.device).map_err(|error| error.to_string())
            }
            _ => Err("the sentence encoder is not of the captions' kind".into()),
        }
    }

    /// The averaged encoder on `device`, as a painter has it: what reads, what it is, what is learnt.
    pub(crate) fn painter(&self, device: &Device) -> (Reader, Option<PretrainedConfig>, SentenceEncoder) {
        let text = self.average.clone().to_device(device);
        match &self.captions {
            Captions::Own(tokenizer) => (Reader::Own(tokenizer.clone()), None, text),
            Captions::Pretrained(embeddings) => {
                (Reader::Pretrained(embeddings.encoder.clone()), Some(embeddings.config.clone()), text)
            }
        }
    }

    /// The sentences of contraries, `[m, sentence]`; nothing where there are none.
    pub(crate) fn contraries(&mut self, drawn: &Drawn<'_>) -> Result<Option<Tensor<2>>, String> {
        if drawn.contraries.is_empty() {
            return Ok(None);
        }
        let texts: Vec<&str> = drawn.contraries.iter().map(|(_, text)| *text).collect();
        self.encode(&texts).map(Some)
    }

    /// Pictures against captions, and captions of one picture against each other: a step of the encoder and of the
    /// discriminator that sees the pictures.
    pub(crate) fn contrast_step(
        &mut self,
        judge: (&mut Discriminator, &mut Optimizer),
        batch: &Batch,
        seed: u64,
        augment: bool,
        steps: Steps,
        progress: f64,
    ) -> Result<Losses, String> {
        let (discriminator, adam) = judge;
        let drawn = draw(batch, seed, steps);
        let same = same_captions(&drawn.first, &self.device);
        let a = normalize(self.encode(&drawn.first)?);
        let b = normalize(self.encode(&drawn.second)?);
        let contraries = self.contraries(&drawn)?.map(normalize);
        let mut real = pictures(batch, &self.device);
        if augment {
            let mut stream = rng::stream(seed, "augment/contrast", steps.contrast);
            real = shift_and_cut(real, fill(batch.shape[1]), &mut stream);
        }
        *discriminator = discriminator.clone().refreshed();
        let pictures = discriminator.embedding(&discriminator.trunk(real.autodiff()));
        let scale = discriminator.scale();
        let loss = info_nce(pictures.clone(), a.clone(), scale.clone(), same.clone(), contraries.clone())
            + info_nce(pictures.clone(), b.clone(), scale.clone(), same.clone(), contraries);
        let losses = Losses::from_iter([
            ("contrast", scalar(loss.clone()) / 2.0),
            ("accuracy", scalar(retrieval_accuracy(pictures.without_autodiff(), a.clone().without_autodiff()))),
        ]);
        let loss = loss + info_nce(a, b, scale, same, None);
        let mut grads = loss.backward();
        let rate = cosine(steps.contrast, 20, progress, 1e-3, 0.1);
        self.step(&mut grads, rate);
        *discriminator = adam.step(discriminator.clone(), &mut grads, |_| rate).bounded(MAX_LOG_SCALE);
        self.average = self.text.valid();
        Ok(losses)
    }

    /// A step of the encoder.
    pub(crate) fn step(&mut self, grads: &mut burn::tensor::Gradients, rate: f64) {
        let tune = rate * self.tune_rate;
        let rate = |path: &str| if path.starts_with("tail.") { tune } else { rate };
        self.text = self.adam.step(self.text.clone(), grads, rate);
    }

    /// The average after a step of the GAN.
    pub(crate) fn follow(&mut self, decay: f64) {
        self.average = ema::update(self.average.clone(), &self.text, decay);
    }

    pub(crate) fn state(&self) -> Named {
        let mut named = weights::collect(&self.text, "text");
        named.extend(weights::collect(&self.average, "text_average"));
        named.extend(self.adam.state("adam_text"));
        named
    }

    pub(crate) fn restore(&mut self, named: &Named) -> Result<(), WeightsError> {
        self.text = weights::apply(self.text.clone(), named, "text")?;
        self.average = weights::apply(self.average.clone(), named, "text_average")?;
        self.adam = Optimizer::from_state(Rule::Adam(ADAM), named, "adam_text", &self.device);
        Ok(())
    }

    pub(crate) fn start_from(&mut self, named: &Named) -> Fitted {
        let (text, fitted) = weights::apply_fitting(self.text.clone(), named, "text");
        (self.text, self.average) = (text.clone(), text.valid());
        fitted
    }
}
