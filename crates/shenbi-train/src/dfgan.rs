//! Training `dfgan`, step by step. First the sentence encoder learns by contrast, with `brush`'s small discriminator as its
//! picture encoder (in place of the paper's DAMSM), and is then fixed; then the GAN: D step, G step, average.

use burn::module::Module;
use burn::tensor::Tensor;
use shenbi_data::loader::Batch;
use shenbi_data::rng;
use shenbi_models::model::Model;
use shenbi_models::text_to_image::brush;
use shenbi_models::text_to_image::dfgan::{Discriminator, Generator, condition};
use shenbi_models::text_to_image::network::{PainterGenerator, PainterNetwork};
use shenbi_models::text_to_image::painter::{Painter, PainterConfig};
use shenbi_nn::kernels::precision;
use shenbi_nn::optim::{AdamConfig, Optimizer, Rule};
use shenbi_nn::tangent::{self, Penalty};
use shenbi_nn::weights::{self, Fitted, Named, WeightsError};
use shenbi_nn::{Init, ema, ops};

use crate::augment::{dither, fill, shift_and_cut};
use crate::config::DfganRecipe;
use crate::embeddings::Captions;
use crate::schedule::cosine;
use crate::sentences::{ADAM, Sentences, draw};
use crate::trainer::{Devices, Losses, Phase, Steps, Trainer, choose_precision, noise, pictures, scalar};
use crate::vitals::{Vitals, gradient};

/// Adam's constants for both networks.
const RULE: Rule =
    Rule::Adam(AdamConfig { beta1: 0.0, beta2: 0.9, epsilon: 1e-8, max_rms: f64::INFINITY, weight_decay: 0.0 });

/// Everything that training changes.
pub struct DfganTrainer {
    /// The settings.
    pub recipe: DfganRecipe,
    channels: usize,
    sentences: Sentences,
    /// What the encoder learns with.
    encoder: brush::Discriminator,
    generator: Generator,
    discriminator: Discriminator,
    average: Generator,
    adam_encoder: Optimizer,
    adam_generator: Optimizer,
    adam_discriminator: Optimizer,
    steps: Steps,
    vitals: Vitals,
    devices: Devices,
}

impl DfganTrainer {
    /// Untrained networks. Sets the precision of this process.
    ///
    /// # Errors
    /// The recipe's shapes do not fit; the text says which.
    pub fn new(recipe: &DfganRecipe, channels: usize, captions: Captions, devices: &Devices) -> Result<Self, String> {
        let devices = devices.plain();
        choose_precision(&recipe.run);
        let (config, seed) = (recipe.dfgan(channels)?, recipe.run.seed);
        let init = |name: &str| Init::new(seed, name, &devices.discriminator);
        let generator = Generator::new(&config, &mut Init::new(seed, "generator", &devices.generator))?;
        let encoder = brush::Discriminator::new(&recipe.encoder(channels), &mut init("encoder"));
        Ok(Self {
            recipe: recipe.clone(),
            channels,
            sentences: Sentences::new(&recipe.sentences, captions, seed, &devices.discriminator)?,
            encoder: encoder.map_err(|error| error.to_string())?.train(),
            average: generator.clone(),
            generator: generator.train(),
            discriminator: Discriminator::new(&config, &mut init("discriminator"))?.train(),
            adam_encoder: Optimizer::adam(ADAM),
            adam_generator: Optimizer::new(RULE),
            adam_discriminator: Optimizer::new(RULE),
            steps: Steps::default(),
            vitals: Vitals::default(),
            devices,
        })
    }

    fn gan_step(&mut self, batch: &Batch, progress: f64) -> Result<Losses, String> {
        let recipe = self.recipe.clone();
        let (step, n) = (self.steps.gan, batch.captions.len());
        let rate = |peak| cosine(step, 0, progress, peak, recipe.last_rate);
        let drawn = draw(batch, recipe.run.seed, self.steps);
        let mut augment = rng::stream(recipe.run.seed, "augment", step);
        let real = pictures(batch, &self.devices.discriminator);
        let sentence = condition(self.sentences.encode(&drawn.first)?.without_autodiff()); // [n, sentence]

        // One generation serves both steps.
        let noise = noise(recipe.run.seed, "noise", step, n, recipe.noise, &self.devices.generator);
        let fake = self.generator.forward(noise, sentence.clone().to_device(&self.devices.generator));
        let fake = fake.to_device(&self.devices.discriminator);

        // D step: real and matching above 1, generated below -1, real and mismatched below -1.
        let seen_real = self.seen(real.clone(), &mut augment);
        let seen_fake = self.seen(fake.clone().without_autodiff(), &mut augment);
        let others = Tensor::cat(vec![sentence.clone().narrow(0, 1, n - 1), sentence.clone().narrow(0, 0, 1)], 0);
        let d = &self.discriminator;
        let features = d.features(seen_real.clone().autodiff());
        let on_real = d.judge(features.clone(), sentence.clone());
        let on_mismatched = d.judge(features, others);
        let on_fake = d.judge(d.features(seen_fake.autodiff()), sentence.clone());
        let above = |logit: Tensor<1>| ops::relu(logit.neg().add_scalar(1.0)).mean();
        let below = |logit: Tensor<1>| ops::relu(logit.add_scalar(1.0)).mean();
        let hinge = above(on_real.clone())
            + (below(on_fake.clone()) + below(on_mismatched.clone()).mul_scalar(recipe.mismatched)).mul_scalar(0.5);
        let mut losses = Losses::from_iter([
            ("d", scalar(hinge.clone())),
            ("real", scalar(on_real.mean())),
            ("fake", scalar(on_fake.mean())),
            ("mismatched", scalar(on_mismatched.mean())),
        ]);
        self.vitals.pictures(step, &real, &fake, &mut losses);
        let mut loss = hinge;
        if step.is_multiple_of(recipe.penalty_every) {
            let (surrogate, value) = self.penalty(seen_real, sentence.clone());
            losses.push("ma_gp", value);
            loss = loss + surrogate;
        }
        let mut grads = loss.backward();
        gradient(step, "gradient_d", &self.discriminator, &grads, &mut losses);
        let rate_discriminator = rate(recipe.discriminator_rate);
        self.discriminator =
            self.adam_discriminator.step(self.discriminator.clone(), &mut grads, |_| rate_discriminator);

        // G step.
        let judge = self.discriminator.valid();
        let g = judge.judge(judge.features(self.seen(fake, &mut augment)), sentence).mean().neg();
        losses.push("g", scalar(g.clone()));
        let mut grads = g.backward();
        gradient(step, "gradient_g", &self.generator, &grads, &mut losses);
        let rate_generator = rate(recipe.generator_rate);
        self.generator = self.adam_generator.step(self.generator.clone(), &mut grads, |_| rate_generator);

        // The average that paints.
        self.steps.gan += 1;
        let seen = (self.steps.gan * n as u64) as f64;
        let decay = ema::decay(n as f64, recipe.run.half_life(seen));
        self.average = ema::update(self.average.clone(), &self.generator, decay);
        Ok(losses)
    }

    /// A picture as D sees it.
    fn seen(&self, x: Tensor<4>, rng: &mut rand_chacha::ChaCha8Rng) -> Tensor<4> {
        let x = dither(x, precision(), rng);
        if self.recipe.sentences.augment { shift_and_cut(x, fill(self.channels), rng) } else { x }
    }

    /// The tangent pass (see [`tangent`]) in picture and sentence together: a surrogate with the gradient of MA-GP, and
    /// the penalty's value.
    fn penalty(&self, x: Tensor<4>, sentence: Tensor<2>) -> (Tensor<1>, f32) {
        let penalty = Penalty::MaGp { k: self.recipe.penalty * self.recipe.penalty_every as f64, p: self.recipe.power };
        let judge = self.discriminator.valid();
        let input = x.clone().autodiff().require_grad();
        let under = sentence.clone().autodiff().require_grad();
        let grads = judge.judge(judge.features(input.clone()), under.clone()).sum().backward();
        let (Some(gx), Some(ge)) = (input.grad(&grads), under.grad(&grads)) else {
            return (Tensor::zeros([1], &self.devices.discriminator), 0.0);
        };
        let squared = tangent::squared_norm(&gx) + tangent::squared_norm(&ge);
        let factor = penalty.direction(squared.clone());
        let vx = tangent::scale_examples(gx, factor.clone()).autodiff();
        let ve = tangent::scale_examples(ge, factor).autodiff();
        let (_, derivative) = self.discriminator.forward_tangent(x.autodiff(), vx, sentence.autodiff(), ve);
        (derivative.mean(), scalar(penalty.value(squared)))
    }
}

impl Trainer for DfganTrainer {
    fn steps(&self) -> Steps {
        self.steps
    }

    fn step(&mut self, batch: &Batch, phase: Phase, progress: f64) -> Result<Losses, String> {
        if phase == Phase::Gan {
            return self.gan_step(batch, progress);
        }
        let (seed, augment) = (self.recipe.run.seed, self.recipe.sentences.augment);
        let judge = (&mut self.encoder, &mut self.adam_encoder);
        let losses = self.sentences.contrast_step(judge, batch, seed, augment, self.steps, progress)?;
        self.steps.contrast += 1;
        Ok(losses)
    }

    /// Averaged generator and fixed sentence encoder.
    fn model(&self) -> Model {
        // The shapes were checked when the networks were made.
        let network = PainterNetwork::Dfgan(self.recipe.shapes(self.channels));
        let (reader, pretrained, text) = self.sentences.painter(&self.devices.generator);
        let generator = PainterGenerator::Dfgan(self.average.clone());
        let config = PainterConfig { network, text: self.recipe.sentences.config(), pretrained };
        Model::Painter(Painter { config, reader, text, generator })
    }

    fn state(&self) -> Named {
        let mut named = self.sentences.state();
        named.extend(weights::collect(&self.encoder, "encoder"));
        named.extend(weights::collect(&self.generator, "generator"));
        named.extend(weights::collect(&self.discriminator, "discriminator"));
        named.extend(weights::collect(&self.average, "average"));
        named.extend(self.adam_encoder.state("adam_encoder"));
        named.extend(self.adam_generator.state("adam_generator"));
        named.extend(self.adam_discriminator.state("adam_discriminator"));
        named
    }

    fn restore(&mut self, named: &Named, steps: Steps) -> Result<(), WeightsError> {
        self.sentences.restore(named)?;
        self.encoder = weights::apply(self.encoder.clone(), named, "encoder")?;
        self.generator = weights::apply(self.generator.clone(), named, "generator")?;
        self.discriminator = weights::apply(self.discriminator.clone(), named, "discriminator")?;
        self.average = weights::apply(self.average.clone(), named, "average")?;
        let there = &self.devices.discriminator;
        self.adam_encoder = Optimizer::from_state(Rule::Adam(ADAM), named, "adam_encoder", there);
        self.adam_generator = Optimizer::from_state(RULE, named, "adam_generator", &self.devices.generator);
        self.adam_discriminator = Optimizer::from_state(RULE, named, "adam_discriminator", there);
        self.steps = steps;
        Ok(())
    }

    fn start_from(&mut self, named: &Named) -> Vec<(&'static str, Fitted)> {
        let (generator, in_generator) = weights::apply_fitting(self.generator.clone(), named, "generator");
        let (discriminator, in_discriminator) =
            weights::apply_fitting(self.discriminator.clone(), named, "discriminator");
        (self.generator, self.discriminator) = (generator.clone(), discriminator);
        self.average = generator.valid();
        let in_text = self.sentences.start_from(named);
        vec![("generator", in_generator), ("discriminator", in_discriminator), ("text", in_text)]
    }
}
