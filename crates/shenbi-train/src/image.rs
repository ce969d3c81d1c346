//! Training an image GAN, step by step: D step, G step, average. One generation serves both steps of a batch.

use burn::module::{Module, ModuleMapper, Param};
use burn::tensor::{Device, Tensor, TensorData};
use rand_chacha::ChaCha8Rng;
use shenbi_data::loader::Batch;
use shenbi_data::rng;
use shenbi_models::image::model::{ImageConfig, one_hot};
use shenbi_models::image::{Discriminator, Generator, ImageModel, NetworkConfig};
use shenbi_models::model::Model;
use shenbi_nn::kernels::precision;
use shenbi_nn::optim::{AdamConfig, Optimizer, Rule};
use shenbi_nn::tangent::{self, Penalty};
use shenbi_nn::weights::{self, Fitted, Named, Values, WeightsError};
use shenbi_nn::{BatchStats, Init, NormMode, ema};

use crate::augment::{augment, dither, fill};
use crate::backbone;
use crate::config::{ImageRecipe, OptimizerName, is_part};
use crate::losses::{cross_entropy, feature_matching, lecam, mmd};
use crate::schedule::{along, cosine};
use crate::trainer::{Devices, Losses, Phase, Steps, Trainer, choose_precision, noise, pictures, scalar};
use crate::vitals::{Vitals, gradient};

/// How fast running statistics follow the batches'.
const MOMENTUM: f64 = 0.05;
/// ADA looks at its statistic every so many steps (2006.06676, section 3.1).
const ADA_EVERY: u64 = 4;
/// Decay of LeCam's averages (2104.03310, section 4).
const LECAM_DECAY: f32 = 0.99;

/// Everything that training changes.
pub struct ImageTrainer {
    /// The settings.
    pub recipe: ImageRecipe,
    /// Shapes and classes.
    pub config: ImageConfig,
    generator: Generator,
    discriminator: Discriminator,
    average: Generator,
    optimizer_generator: Optimizer,
    optimizer_discriminator: Optimizer,
    aids: Aids,
    vitals: Vitals,
    steps: u64,
    devices: Devices,
}

/// What the training aids remember.
#[derive(Clone, Debug, Default, PartialEq)]
struct Aids {
    /// ADA: the probability of augmentation.
    p: f32,
    /// ADA: sum of the mean signs of D's answers on real pictures since it last looked.
    signs: f32,
    /// LeCam: averages of D's answers on real and on generated pictures.
    averages: [f32; 2],
}

impl Aids {
    fn values(&self) -> Values {
        let [real, fake] = self.averages;
        Values { shape: vec![4], data: vec![self.p, self.signs, real, fake] }
    }

    fn from_values(values: &Values) -> Option<Self> {
        let [p, signs, real, fake] = values.data[..] else { return None };
        Some(Self { p, signs, averages: [real, fake] })
    }
}

impl ImageTrainer {
    /// Untrained networks. Sets the precision of this process.
    ///
    /// classes: the names of the data's classes; unused unless the recipe is by class.
    ///
    /// # Errors
    /// The recipe's shapes do not fit; the text says which.
    pub fn new(recipe: &ImageRecipe, channels: usize, classes: &[String], devices: &Devices) -> Result<Self, String> {
        let devices = devices.plain();
        choose_precision(&recipe.run);
        let network = recipe.networks(channels, classes.len())?;
        let seed = recipe.run.seed;
        let generator = Generator::new(&network, &mut Init::new(seed, "generator", &devices.generator))?;
        let discriminator = discriminator(recipe, &network, seed, &devices.discriminator)?;
        let classes = if network.classes() > 0 { classes.to_vec() } else { Vec::new() };
        Ok(Self {
            recipe: recipe.clone(),
            config: ImageConfig { network, classes },
            average: generator.clone(),
            generator: generator.train(),
            discriminator: discriminator.train(),
            optimizer_generator: Optimizer::new(rule(recipe, 0.0)),
            optimizer_discriminator: Optimizer::new(rule(recipe, 0.0)),
            aids: Aids::default(),
            vitals: Vitals::default(),
            steps: 0,
            devices,
        })
    }

    /// Whether a run with these settings can begin: for a person who just typed them.
    ///
    /// # Errors
    /// The shapes do not fit, or a frozen layer does not exist; the text says which, and which there are.
    pub fn check(recipe: &ImageRecipe, channels: usize, classes: usize) -> Result<(), String> {
        let network = recipe.networks(channels, classes)?;
        if recipe.freeze.is_empty() && recipe.rates.is_empty() && recipe.projected(network.classes())?.is_none() {
            return Ok(());
        }
        let device = Device::flex();
        let mut names = weights::collect(&Generator::new(&network, &mut Init::zeros(&device))?, "generator");
        names.extend(weights::collect(&discriminator(recipe, &network, 0, &device)?, "discriminator"));
        let absent = |layer: &&String| !names.keys().any(|name| is_part(name, layer));
        let (freeze, rates) = (recipe.freeze.iter().find(absent), recipe.rates.keys().find(absent));
        let Some((key, layer)) = freeze.map(|layer| ("freeze", layer)).or(rates.map(|layer| ("rates", layer))) else {
            return Ok(());
        };
        let mut all: Vec<String> =
            names.keys().map(|name| name.split('.').take(3).collect::<Vec<_>>().join(".")).collect();
        all.dedup();
        Err(format!("{key} = '{layer}': there is no such layer; there are {}", all.join(", ")))
    }

    fn gan_step(&mut self, batch: &Batch, progress: f64) -> Losses {
        let recipe = self.recipe.clone();
        let (seed, n) = (recipe.run.seed, batch.captions.len());
        let rate = |peak| cosine(self.steps, recipe.warmup, progress, peak, recipe.last_rate);
        let (rate_generator, rate_discriminator) = (rate(recipe.generator_rate), rate(recipe.discriminator_rate));
        self.optimizer_generator.set_rule(rule(&recipe, progress));
        self.optimizer_discriminator.set_rule(rule(&recipe, progress));
        let mut draws = rng::stream(seed, "augment", self.steps);
        let real = pictures(batch, &self.devices.discriminator);
        let class = one_hot(&batch.classes, self.config.network.classes(), &self.devices.discriminator);
        let update_generator = (self.steps + 1).is_multiple_of(recipe.discriminator_steps);

        let generator = if update_generator { self.generator.clone() } else { self.generator.valid() };
        let noise = noise(seed, "noise", self.steps, n, self.config.network.noise(), &self.devices.generator);
        let there = class.clone().map(|class| class.to_device(&self.devices.generator));
        let mut statistics = Vec::new();
        let fake = generator.forward(noise, there, &mut NormMode::Train(&mut statistics));
        let fake = fake.to_device(&self.devices.discriminator);

        // D step.
        self.discriminator = self.discriminator.clone().refreshed();
        let seen_real = self.seen(real.clone(), progress, &mut draws);
        let seen_fake = self.seen(fake.clone().without_autodiff(), progress, &mut draws);
        let (mut stats_real, mut stats_fake) = (Vec::new(), Vec::new());
        let on = |x: &Tensor<4>, statistics: &mut Vec<BatchStats>| {
            self.discriminator.forward(x.clone().autodiff(), class.clone(), &mut NormMode::Train(statistics))
        };
        let (on_real, on_fake) = (on(&seen_real, &mut stats_real), on(&seen_fake, &mut stats_fake));
        let d = recipe.loss.discriminator(on_real.logit.clone(), on_fake.logit.clone());
        let (mean_real, mean_fake) = (scalar(on_real.logit.clone().mean()), scalar(on_fake.logit.clone().mean()));
        let mut losses = Losses::from_iter([("d", scalar(d.clone())), ("real", mean_real), ("fake", mean_fake)]);
        self.vitals.pictures(self.steps, &real, &fake, &mut losses);
        let mut loss = d;
        if let (Some(logits), Some(class)) = (&on_real.classes, &class) {
            let loss_class = cross_entropy(logits.clone(), class.clone());
            losses.push("class", scalar(loss_class.clone()));
            loss = loss + loss_class.mul_scalar(recipe.auxiliary);
        }
        if recipe.lecam > 0.0 {
            let [real, fake] = self.aids.averages.map(f64::from);
            let anchored = lecam(on_real.logit.clone(), on_fake.logit.clone(), real, fake);
            loss = loss + anchored.mul_scalar(recipe.lecam);
        }
        if self.steps.is_multiple_of(recipe.penalty_every) {
            for (name, x, penalty) in self.penalties(&seen_real, &seen_fake, progress) {
                let (surrogate, value) = self.penalty(x, class.clone(), penalty);
                losses.push(name, value);
                loss = loss + surrogate;
            }
        }
        let mut grads = loss.backward();
        gradient(self.steps, "gradient_d", &self.discriminator, &grads, &mut losses);
        let moved = self.optimizer_discriminator.step(self.discriminator.clone(), &mut grads, |path| {
            rate_discriminator * recipe.rate(&format!("discriminator.{path}"))
        });
        let moved = moved.with_running(&stats_real, MOMENTUM).with_running(&stats_fake, MOMENTUM);
        self.discriminator = if recipe.clip > 0.0 { moved.map(&mut Clip(recipe.clip)) } else { moved };
        let real_logit = on_real.logit.without_autodiff();
        self.remember(&real_logit, [mean_real, mean_fake], n);

        // G step; what D said of real pictures is of before its step: a whole pass saved.
        if update_generator {
            let judge = self.discriminator.valid();
            let mut ignored = Vec::new();
            let seen = self.seen(fake, progress, &mut draws);
            let answer = judge.forward(seen, class.clone(), &mut NormMode::Train(&mut ignored));
            let g = recipe.loss.generator(real_logit, answer.logit);
            losses.push("g", scalar(g.clone()));
            let mut loss = g;
            if let (Some(logits), Some(class)) = (answer.classes, class) {
                loss = loss + cross_entropy(logits, class).mul_scalar(recipe.auxiliary);
            }
            let real_features = on_real.features.without_autodiff();
            if recipe.feature_matching > 0.0 {
                let distance = feature_matching(real_features.clone(), answer.features.clone());
                losses.push("feature_matching", scalar(distance.clone()));
                loss = loss + distance.mul_scalar(recipe.feature_matching);
            }
            if recipe.mmd > 0.0 {
                let distance = mmd(real_features, answer.features);
                losses.push("mmd", scalar(distance.clone()));
                loss = loss + distance.mul_scalar(recipe.mmd);
            }
            let mut grads = loss.backward();
            gradient(self.steps, "gradient_g", &self.generator, &grads, &mut losses);
            self.generator = self.optimizer_generator.step(self.generator.clone(), &mut grads, |path| {
                rate_generator * recipe.rate(&format!("generator.{path}"))
            });
            self.generator = self.generator.clone().with_running(&statistics, MOMENTUM);
        }
        self.steps += 1;

        // The average that paints.
        if update_generator {
            let seen = (self.steps * n as u64) as f64;
            let decay = ema::decay((n as u64 * recipe.discriminator_steps) as f64, recipe.run.half_life(seen));
            self.average = ema::update(self.average.clone(), &self.generator, decay);
        }
        if !recipe.augment.is_empty() {
            losses.push("augment", self.chance(progress) as f32);
        }
        losses
    }

    /// A picture as D sees it.
    fn seen(&self, x: Tensor<4>, progress: f64, draws: &mut ChaCha8Rng) -> Tensor<4> {
        let p = self.chance(progress);
        augment(dither(x, precision(), draws), &self.recipe.augment, p, fill(self.config.network.channels()), draws)
    }

    /// The probability of each augmentation.
    fn chance(&self, progress: f64) -> f64 {
        let ImageRecipe { ada_target, augment_chance, last_augment_chance, .. } = self.recipe;
        if ada_target > 0.0 { f64::from(self.aids.p) } else { along(progress, augment_chance, last_augment_chance) }
    }

    /// What the training aids learn from a step of D.
    fn remember(&mut self, real_logit: &Tensor<1>, means: [f32; 2], n: usize) {
        for (average, mean) in self.aids.averages.iter_mut().zip(means) {
            *average = if self.steps == 0 { mean } else { LECAM_DECAY * *average + (1.0 - LECAM_DECAY) * mean };
        }
        if self.recipe.ada_target > 0.0 {
            self.aids.signs += scalar(real_logit.clone().sign().mean());
            if (self.steps + 1).is_multiple_of(ADA_EVERY) {
                let sign = std::mem::take(&mut self.aids.signs) / ADA_EVERY as f32;
                let change = (ADA_EVERY * n as u64) as f32 / (self.recipe.ada_kimg * 1000.0) as f32;
                let change = if sign > self.recipe.ada_target as f32 { change } else { -change };
                self.aids.p = (self.aids.p + change).clamp(0.0, 1.0);
            }
        }
    }

    /// The penalties of this step: their names in the log, where, and which.
    fn penalties(&self, real: &Tensor<4>, fake: &Tensor<4>, progress: f64) -> Vec<(&'static str, Tensor<4>, Penalty)> {
        let recipe = &self.recipe;
        let weight = recipe.penalty_every as f64 * recipe.last_penalty.powf(progress.clamp(0.0, 1.0));
        let mut draws = rng::stream(recipe.run.seed, "penalty", self.steps);
        let [b, c, h, w] = real.dims();
        let mut uniform = |shape: [usize; 4]| {
            let numbers: Vec<f32> = (0..shape.iter().product()).map(|_| rng::uniform(&mut draws)).collect();
            Tensor::<4>::from_data(TensorData::new(numbers, shape), &real.device())
        };
        let mut chosen = Vec::new();
        if recipe.r1 > 0.0 {
            chosen.push(("r1", real.clone(), Penalty::R1 { gamma: weight * recipe.r1 }));
        }
        if recipe.r2 > 0.0 {
            chosen.push(("r2", fake.clone(), Penalty::R1 { gamma: weight * recipe.r2 }));
        }
        if recipe.wgan_gp > 0.0 {
            let between = real.clone() + (fake.clone() - real.clone()) * uniform([b, 1, 1, 1]);
            chosen.push(("wgan_gp", between, Penalty::WganGp { lambda: weight * recipe.wgan_gp }));
        }
        if recipe.dragan > 0.0 {
            // 1705.07215, algorithm 1, with the perturbation of its authors: half the batch's deviation, of random length.
            let centred = real.clone() - real.clone().mean_dims(&[0, 1, 2, 3]);
            let deviation = centred.powi_scalar(2).mean_dims(&[0, 1, 2, 3]).sqrt(); // [1, 1, 1, 1]
            let around = real.clone() + uniform([b, c, h, w]) * uniform([b, 1, 1, 1]) * deviation.mul_scalar(0.5);
            chosen.push(("dragan", around, Penalty::WganGp { lambda: weight * recipe.dragan }));
        }
        chosen
    }

    /// The tangent pass (see [`tangent`]): a surrogate with the penalty's gradient, and E‖∇ₓD‖².
    fn penalty(&self, x: Tensor<4>, class: Option<Tensor<2>>, penalty: Penalty) -> (Tensor<1>, f32) {
        let judge = self.discriminator.valid();
        let input = x.clone().autodiff().require_grad();
        let mut ignored = Vec::new();
        let logit = judge.forward(input.clone(), class.clone(), &mut NormMode::Train(&mut ignored)).logit;
        let grads = logit.sum().backward();
        let Some(g) = input.grad(&grads) else { return (Tensor::zeros([1], &self.devices.discriminator), 0.0) };
        let squared = tangent::squared_norm(&g);
        let v = tangent::scale_examples(g, penalty.direction(squared.clone()));
        let (_, derivative) = self.discriminator.forward_tangent(x.autodiff(), v.autodiff(), class);
        (derivative.mean(), scalar(squared.mean()))
    }
}

/// The untrained discriminator: the network's own, or one on a backbone.
fn discriminator(
    recipe: &ImageRecipe,
    network: &NetworkConfig,
    seed: u64,
    device: &Device,
) -> Result<Discriminator, String> {
    let mut init = Init::new(seed, "discriminator", device);
    match recipe.projected(network.classes())? {
        None => Discriminator::new(network, &mut init),
        Some(config) => {
            let backbone = backbone::open(&recipe.backbone, device)?;
            Discriminator::projected(&config, backbone, &mut init)
        }
    }
}

/// The optimizer's rule at this point of the run.
fn rule(recipe: &ImageRecipe, progress: f64) -> Rule {
    let beta2 = along(progress, recipe.beta2, recipe.last_beta2);
    let adam = |weight_decay| {
        let max_rms = if recipe.max_rms > 0.0 { recipe.max_rms } else { f64::INFINITY };
        Rule::Adam(AdamConfig { beta1: recipe.beta1, beta2, epsilon: 1e-8, max_rms, weight_decay })
    };
    match recipe.optimizer {
        OptimizerName::Adam => adam(0.0),
        OptimizerName::Adamw => adam(recipe.weight_decay),
        OptimizerName::Rmsprop => Rule::RmsProp { alpha: beta2, epsilon: 1e-8 },
        OptimizerName::Sgd => Rule::Sgd { momentum: recipe.beta1 },
    }
}

/// Weight clipping (WGAN, 1701.07875, algorithm 1); buffers stay.
struct Clip(f64);

impl ModuleMapper for Clip {
    fn map_float<const D: usize>(&mut self, param: Param<Tensor<D>>) -> Param<Tensor<D>> {
        param.map(|old| {
            if !old.is_require_grad() {
                return old;
            }
            old.without_autodiff().clamp(-self.0, self.0).autodiff().require_grad()
        })
    }
}

impl Trainer for ImageTrainer {
    fn steps(&self) -> Steps {
        Steps { contrast: 0, gan: self.steps }
    }

    fn step(&mut self, batch: &Batch, _phase: Phase, progress: f64) -> Result<Losses, String> {
        Ok(self.gan_step(batch, progress))
    }

    /// The averaged generator.
    fn model(&self) -> Model {
        Model::Image(ImageModel {
            recipe: self.recipe.run.recipe.clone(),
            config: self.config.clone(),
            generator: self.average.clone(),
        })
    }

    fn state(&self) -> Named {
        let mut named = weights::collect(&self.generator, "generator");
        named.extend(weights::collect(&self.discriminator, "discriminator"));
        named.extend(weights::collect(&self.average, "average"));
        named.extend(self.optimizer_generator.state("optimizer_generator"));
        named.extend(self.optimizer_discriminator.state("optimizer_discriminator"));
        named.insert("aids".to_string(), self.aids.values());
        named
    }

    fn restore(&mut self, named: &Named, steps: Steps) -> Result<(), WeightsError> {
        self.generator = weights::apply(self.generator.clone(), named, "generator")?;
        self.discriminator = weights::apply(self.discriminator.clone(), named, "discriminator")?;
        self.average = weights::apply(self.average.clone(), named, "average")?;
        let optimizer = |prefix, device| Optimizer::from_state(rule(&self.recipe, 0.0), named, prefix, device);
        self.optimizer_generator = optimizer("optimizer_generator", &self.devices.generator);
        self.optimizer_discriminator = optimizer("optimizer_discriminator", &self.devices.discriminator);
        let aids = named.get("aids").and_then(Aids::from_values);
        self.aids = aids.ok_or_else(|| WeightsError::Missing("aids".to_string()))?;
        self.steps = steps.gan;
        Ok(())
    }

    fn start_from(&mut self, named: &Named) -> Vec<(&'static str, Fitted)> {
        let (generator, in_generator) = weights::apply_fitting(self.generator.clone(), named, "generator");
        let (discriminator, in_discriminator) =
            weights::apply_fitting(self.discriminator.clone(), named, "discriminator");
        let (average, _) = weights::apply_fitting(self.average.clone(), named, "average");
        (self.generator, self.discriminator, self.average) = (generator, discriminator, average);
        vec![("generator", in_generator), ("discriminator", in_discriminator)]
    }
}
