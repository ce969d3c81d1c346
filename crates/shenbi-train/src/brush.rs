//! Training `brush`, step by step. First the sentence encoder learns by contrast with the discriminator as its picture
//! encoder; then the GAN: D step, G step, average.

use burn::module::Module;
use burn::tensor::{Device, Int, Tensor, TensorData};
use shenbi_data::loader::Batch;
use shenbi_data::rng;
use shenbi_models::model::Model;
use shenbi_models::text_to_image::brush::{BrushConfig, Discriminator, Generator};
use shenbi_models::text_to_image::network::{PainterGenerator, PainterNetwork};
use shenbi_models::text_to_image::painter::{Painter, PainterConfig};
use shenbi_nn::kernels::precision;
use shenbi_nn::ops::normalize;
use shenbi_nn::optim::{Optimizer, Rule};
use shenbi_nn::tangent::{self, Penalty};
use shenbi_nn::weights::{self, Fitted, Named, WeightsError};
use shenbi_nn::{Init, NormMode, ema};

use crate::augment::{dither, fill, shift_and_cut};
use crate::backbone;
use crate::config::BrushRecipe;
use crate::embeddings::Captions;
use crate::guidance::Guidance;
use crate::losses::{info_nce, relativistic, retrieval_accuracy, same_captions};
use crate::schedule::cosine;
use crate::sentences::{ADAM, MAX_LOG_SCALE, Sentences, draw};
use crate::trainer::{Devices, Losses, Phase, Steps, Trainer, choose_precision, noise, pictures, scalar};
use crate::vitals::{Vitals, gradient};

/// How fast running statistics follow the batches'.
const MOMENTUM: f64 = 0.05;

/// Everything that training changes.
pub struct BrushTrainer {
    /// The settings.
    pub recipe: BrushRecipe,
    channels: usize,
    sentences: Sentences,
    guidance: Option<Guidance>,
    generator: Generator,
    discriminator: Discriminator,
    average: Generator,
    adam_generator: Optimizer,
    adam_discriminator: Optimizer,
    steps: Steps,
    vitals: Vitals,
    devices: Devices,
}

impl BrushTrainer {
    /// Untrained networks. Sets the precision of this process.
    ///
    /// # Errors
    /// The recipe's shapes do not fit; the text says which.
    pub fn new(recipe: &BrushRecipe, channels: usize, captions: Captions, devices: &Devices) -> Result<Self, String> {
        let devices = devices.plain();
        choose_precision(&recipe.run);
        let brush = recipe.brush(channels);
        brush.check().map_err(|error| error.to_string())?;
        let sentences = Sentences::new(&recipe.sentences, captions, recipe.run.seed, &devices.discriminator)?;
        let init = |name: &str| Init::new(recipe.run.seed, name, &devices.discriminator);
        let mut init_generator = Init::new(recipe.run.seed, "generator", &devices.generator);
        let generator = Generator::new(&brush, &mut init_generator).map_err(|error| error.to_string())?;
        let discriminator = discriminator(recipe, &brush, &mut init("discriminator"), &devices.discriminator)?;
        let adam = Optimizer::adam(ADAM);
        Ok(Self {
            recipe: recipe.clone(),
            channels,
            sentences,
            guidance: None,
            average: generator.clone(),
            generator: generator.train(),
            discriminator: discriminator.train(),
            adam_generator: adam.clone(),
            adam_discriminator: adam,
            steps: Steps::default(),
            vitals: Vitals::default(),
            devices,
        })
    }

    /// The same with CLIP's opinion in G's loss.
    #[must_use]
    pub fn guided(self, guidance: Option<Guidance>) -> Self {
        Self { guidance, ..self }
    }

    fn gan_step(&mut self, batch: &Batch, progress: f64) -> Result<Losses, String> {
        let recipe = self.recipe.clone();
        let (step, n) = (self.steps.gan, batch.captions.len());
        let rate = cosine(step, recipe.warmup, progress, recipe.learning_rate, recipe.last_rate);
        let drawn = draw(batch, recipe.run.seed, self.steps);
        let same = same_captions(&drawn.first, &self.devices.discriminator);
        let mut augment = rng::stream(recipe.run.seed, "augment", step);
        let real = pictures(batch, &self.devices.discriminator);

        // One generation serves both steps.
        let sentence = self.sentences.encode(&drawn.first)?; // [n, sentence]
        let contraries = self.sentences.contraries(&drawn)?; // [m, sentence]
        let fixed = sentence.clone().without_autodiff();
        let noise = noise(recipe.run.seed, "noise", step, n, recipe.noise, &self.devices.generator);
        let there = fixed.clone().to_device(&self.devices.generator);
        let mut statistics = Vec::new();
        let fake = self.generator.forward(noise, there, &mut NormMode::Train(&mut statistics));
        let fake = fake.to_device(&self.devices.discriminator);

        // D step: real above generated, matched above mismatched, captions found among the batch's.
        self.discriminator = self.discriminator.clone().refreshed();
        let (seen_real, seen_fake) =
            (self.seen(real.clone(), &mut augment), self.seen(fake.clone().without_autodiff(), &mut augment));
        let look = |x: Tensor<4>| self.discriminator.trunk(x.autodiff());
        let (on_real, on_fake) = if recipe.backbone.is_set() {
            // Batch norm there: real and generated pictures apart.
            (look(seen_real.clone()), look(seen_fake.clone()))
        } else {
            let both = look(Tensor::cat(vec![seen_real.clone(), seen_fake.clone()], 0));
            (both.narrow(0, n), both.narrow(n, n))
        };
        let real_logit = self.discriminator.logit(&on_real, sentence.clone()); // [n, heads]
        let fake_logit = self.discriminator.logit(&on_fake, sentence.clone());
        let others = Tensor::cat(vec![sentence.clone().narrow(0, 1, n - 1), sentence.clone().narrow(0, 0, 1)], 0);
        let mismatched_logit = self.discriminator.logit(&on_real, others);
        let contrary_loss = contraries.clone().map(|contraries| {
            let pictures: Vec<i32> = drawn.contraries.iter().map(|(picture, _)| *picture as i32).collect();
            let pictures = Tensor::<1, Int>::from_data(TensorData::from(&pictures[..]), &self.devices.discriminator);
            let logit = self.discriminator.logit(&on_real.select(&pictures), contraries);
            pairs(real_logit.clone().select(0, pictures), logit)
        });
        let embedding = self.discriminator.embedding(&on_real);
        let unit = normalize(sentence);
        let contraries = contraries.map(normalize);
        let game = recipe.loss();
        let flat = |logits: &Tensor<2>| logits.clone().flatten::<1>(0, 1);
        let d = game.discriminator(flat(&real_logit), flat(&fake_logit));
        let contrast =
            info_nce(embedding.clone(), unit.clone(), self.discriminator.scale(), same.clone(), contraries.clone());
        let mut losses = Losses::from_iter([
            ("d", scalar(d.clone())),
            ("contrast", scalar(contrast.clone())),
            ("accuracy", scalar(retrieval_accuracy(embedding.without_autodiff(), unit.without_autodiff()))),
            ("margin", scalar((real_logit.clone() - fake_logit).mean())),
        ]);
        self.vitals.pictures(step, &real, &fake, &mut losses);
        let mut loss = d
            + pairs(real_logit.clone(), mismatched_logit).mul_scalar(recipe.mismatched)
            + contrast.mul_scalar(recipe.contrastive);
        if let Some(term) = contrary_loss {
            losses.push("contrary", scalar(term.clone()));
            loss = loss + term.mul_scalar(recipe.mismatched);
        }
        if !recipe.backbone.is_set() && step.is_multiple_of(recipe.penalty_every) {
            let gamma = recipe.gamma * (recipe.last_gamma / recipe.gamma).powf(progress.clamp(0.0, 1.0));
            let penalty = Penalty::R1 { gamma: gamma * recipe.penalty_every as f64 };
            let (on_real, r1) = self.penalty(seen_real, fixed.clone(), penalty);
            let (on_fake, r2) = self.penalty(seen_fake, fixed.clone(), penalty);
            loss = loss + on_real + on_fake;
            losses.push("r1", r1);
            losses.push("r2", r2);
        }
        let mut grads = loss.backward();
        gradient(step, "gradient_d", &self.discriminator, &grads, &mut losses);
        self.sentences.step(&mut grads, rate * recipe.text_rate);
        let discriminator =
            self.adam_discriminator.step(self.discriminator.clone(), &mut grads, |_| rate * recipe.discriminator_rate);
        self.discriminator = discriminator.bounded(MAX_LOG_SCALE);

        // G step: generated above real (judged before D's step: a whole pass saved), its captions found.
        let guided = match &mut self.guidance {
            Some(guidance) => Some(guidance.distance(fake.clone(), &drawn.first, &self.devices.discriminator)?),
            None => None,
        };
        let judge = self.discriminator.valid();
        let on_fake = judge.trunk(self.seen(fake, &mut augment));
        let fake_logit = judge.logit(&on_fake, fixed.clone());
        let g = game.generator(flat(&real_logit).without_autodiff(), flat(&fake_logit));
        let unit = normalize(fixed);
        let contraries = contraries.map(Tensor::without_autodiff);
        let contrast = info_nce(judge.embedding(&on_fake), unit, judge.scale(), same, contraries);
        losses.push("g", scalar(g.clone()));
        losses.push("contrast_fake", scalar(contrast.clone()));
        let mut loss = g + contrast.mul_scalar(recipe.contrastive);
        if let Some(distance) = guided {
            losses.push("clip", scalar(distance.clone()));
            loss = loss + distance.mul_scalar(recipe.clip_weight);
        }
        let mut grads = loss.backward();
        gradient(step, "gradient_g", &self.generator, &grads, &mut losses);
        self.generator = self.adam_generator.step(self.generator.clone(), &mut grads, |_| rate);
        self.generator = self.generator.clone().with_running(&statistics, MOMENTUM);

        // Averages of what paints.
        self.steps.gan += 1;
        let seen = (self.steps.gan * recipe.run.batch as u64) as f64;
        let decay = ema::decay(recipe.run.batch as f64, recipe.run.half_life(seen));
        self.average = ema::update(self.average.clone(), &self.generator, decay);
        self.sentences.follow(decay);
        Ok(losses)
    }

    /// A picture as D sees it.
    fn seen(&self, x: Tensor<4>, rng: &mut rand_chacha::ChaCha8Rng) -> Tensor<4> {
        let x = dither(x, precision(), rng);
        if self.recipe.sentences.augment { shift_and_cut(x, fill(self.channels), rng) } else { x }
    }

    /// The tangent pass (see [`tangent`]): a surrogate with the penalty's gradient, and E‖∇ₓD‖².
    fn penalty(&self, x: Tensor<4>, sentence: Tensor<2>, penalty: Penalty) -> (Tensor<1>, f32) {
        let judge = self.discriminator.valid();
        let input = x.clone().autodiff().require_grad();
        let grads = judge.logit(&judge.trunk(input.clone()), sentence.clone()).sum().backward();
        let Some(g) = input.grad(&grads) else { return (Tensor::zeros([1], &self.devices.discriminator), 0.0) };
        let squared = tangent::squared_norm(&g);
        let v = tangent::scale_examples(g, penalty.direction(squared.clone()));
        let (_, derivative) = self.discriminator.forward_tangent(x.autodiff(), v.autodiff(), sentence);
        (derivative.mean(), scalar(squared.mean()))
    }
}

/// The untrained discriminator: the recipe's own, or one on a backbone.
fn discriminator(
    recipe: &BrushRecipe,
    shapes: &BrushConfig,
    init: &mut Init,
    device: &Device,
) -> Result<Discriminator, String> {
    let made = if recipe.backbone.is_set() {
        let backbone = backbone::open(&recipe.backbone, device)?;
        Discriminator::on_backbone(shapes, &recipe.backbone.projected(0), backbone, init)
    } else {
        Discriminator::new(shapes, init)
    };
    made.map_err(|error| error.to_string())
}

/// [`relativistic`] of each head's logits, `[n, heads]` each.
fn pairs(better: Tensor<2>, worse: Tensor<2>) -> Tensor<1> {
    relativistic(better.flatten(0, 1), worse.flatten(0, 1))
}

impl Trainer for BrushTrainer {
    fn steps(&self) -> Steps {
        self.steps
    }

    fn step(&mut self, batch: &Batch, phase: Phase, progress: f64) -> Result<Losses, String> {
        if phase == Phase::Gan {
            return self.gan_step(batch, progress);
        }
        let (seed, augment) = (self.recipe.run.seed, self.recipe.sentences.augment);
        let judge = (&mut self.discriminator, &mut self.adam_discriminator);
        let losses = self.sentences.contrast_step(judge, batch, seed, augment, self.steps, progress)?;
        self.steps.contrast += 1;
        Ok(losses)
    }

    /// Averaged generator and sentence encoder.
    fn model(&self) -> Model {
        let (reader, pretrained, text) = self.sentences.painter(&self.devices.generator);
        let network = PainterNetwork::Brush(self.recipe.brush(self.channels));
        let generator = PainterGenerator::Brush(self.average.clone());
        let config = PainterConfig { network, text: self.recipe.sentences.config(), pretrained };
        Model::Painter(Painter { config, reader, text, generator })
    }

    fn state(&self) -> Named {
        let mut named = self.sentences.state();
        named.extend(weights::collect(&self.generator, "generator"));
        named.extend(weights::collect(&self.discriminator, "discriminator"));
        named.extend(weights::collect(&self.average, "average"));
        named.extend(self.adam_generator.state("adam_generator"));
        named.extend(self.adam_discriminator.state("adam_discriminator"));
        named
    }

    fn restore(&mut self, named: &Named, steps: Steps) -> Result<(), WeightsError> {
        self.sentences.restore(named)?;
        self.generator = weights::apply(self.generator.clone(), named, "generator")?;
        self.discriminator = weights::apply(self.discriminator.clone(), named, "discriminator")?;
        self.average = weights::apply(self.average.clone(), named, "average")?;
        let adam = |prefix: &str, device| Optimizer::from_state(Rule::Adam(ADAM), named, prefix, device);
        self.adam_generator = adam("adam_generator", &self.devices.generator);
        self.adam_discriminator = adam("adam_discriminator", &self.devices.discriminator);
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
