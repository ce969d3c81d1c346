//! Image GANs' settings: one backbone, one loss, penalties and training aids to choose; named recipes are papers' choices.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use shenbi_models::image::projected::ProjectedConfig;
use shenbi_models::image::r3gan::R3ganConfig;
use shenbi_models::image::{Head, NetworkConfig, dcgan, resnet};

use super::{BackboneSettings, ConfigError, RunSettings, check_ranges, one_of};
use crate::augment::Policy;
use crate::losses::Adversarial;

/// Which networks.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Network {
    /// [`dcgan`].
    Dcgan,
    /// [`resnet`].
    Resnet,
    /// [`shenbi_models::image::r3gan`].
    R3gan,
}

/// Which rule turns gradients into steps.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum OptimizerName {
    /// Adam (1412.6980).
    Adam,
    /// Adam with decoupled weight decay (1711.05101).
    Adamw,
    /// RMSProp, as PyTorch's: beta2 is its alpha.
    Rmsprop,
    /// Gradient descent with momentum beta1.
    Sgd,
}

/// Everything that decides a run of an image GAN, but for the data itself.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct ImageRecipe {
    /// What every recipe has.
    #[serde(flatten)]
    pub run: RunSettings,
    /// MNIST's files only: three random digits as red, green and blue, 1,000 modes.
    pub stacked: bool,
    /// `dcgan`, `resnet` or `r3gan`.
    pub network: Network,
    /// Numbers of noise a picture.
    pub noise: usize,
    /// `dcgan`, `resnet`: channels of the layers next to the picture.
    pub hidden: usize,
    /// `r3gan`: channels of each stage, from 4x4 upwards; empty for a small network, like the next two.
    pub widths: Vec<usize>,
    /// `r3gan`: residual blocks of each stage.
    pub blocks: Vec<usize>,
    /// `r3gan`: groups of the 3x3 convolutions of each stage.
    pub cardinalities: Vec<usize>,
    /// `dcgan`, `resnet`: D's normalisation, `batch`, `spectral` or `none`.
    pub discriminator_norm: dcgan::Norm,
    /// Whether pictures are made by class; where the data has classes this is set unless you say otherwise.
    pub by_class: bool,
    /// `dcgan`, `resnet`: how D learns of classes, `projection`, `auxiliary` or `none`; `r3gan` always projects.
    pub head: Head,
    /// Weight of the auxiliary classifier.
    pub auxiliary: f64,
    /// `minimax`, `non-saturating`, `least-squares`, `wasserstein`, `hinge` or `relativistic`.
    pub loss: Adversarial,
    /// γ of R1 on real pictures; 0 for none, as everywhere.
    pub r1: f64,
    /// γ of R2 on generated pictures.
    pub r2: f64,
    /// λ of WGAN-GP's penalty, between real and generated pictures.
    pub wgan_gp: f64,
    /// λ of DRAGAN's penalty, around real pictures.
    pub dragan: f64,
    /// The penalties are computed every so many steps, and count as many times.
    pub penalty_every: u64,
    /// Penalties at the end of the run, as a share of those at its start (geometric in between).
    pub last_penalty: f64,
    /// D's weights are clipped to this size after each step (WGAN).
    pub clip: f64,
    /// Weight of feature matching in G's loss (1606.03498): distance of the mean features of D.
    pub feature_matching: f64,
    /// Weight of the maximum mean discrepancy of D's features in G's loss (1502.02761).
    pub mmd: f64,
    /// Weight of LeCam regularisation (2104.03310).
    pub lecam: f64,
    /// Differentiable augmentation of what D sees (2006.10738): any of `color`, `translation`, `cutout`.
    pub augment: Vec<Policy>,
    /// Probability of each augmentation at the start.
    pub augment_chance: f64,
    /// The same at the end of the run (along a cosine).
    pub last_augment_chance: f64,
    /// Adaptive augmentation (ADA, 2006.06676, eq. 1): the mean sign of D's answers on real pictures (0 where it guesses, 1
    /// where it is sure of all) to which the probability is steered instead; 0 for none.
    pub ada_target: f64,
    /// ADA: the probability can go from 0 to 1 in this many thousand pictures.
    pub ada_kimg: f64,
    /// `adam`, `adamw`, `rmsprop` or `sgd`.
    pub optimizer: OptimizerName,
    /// Step size of G.
    pub generator_rate: f64,
    /// Step size of D.
    pub discriminator_rate: f64,
    /// Steps of linear warm-up.
    pub warmup: u64,
    /// Step size at the end, as a share of that at the start (along a cosine).
    pub last_rate: f64,
    /// Decay of the gradient's average.
    pub beta1: f64,
    /// Decay of the squared gradient's average.
    pub beta2: f64,
    /// The same at the end of the run.
    pub last_beta2: f64,
    /// Adam: bound on the root mean square of each tensor's direction (StableAdamW); 0 for none.
    pub max_rms: f64,
    /// AdamW: weight decay.
    pub weight_decay: f64,
    /// Steps of D for each of G.
    pub discriminator_steps: u64,
    /// The network that D looks through, if it is to.
    #[serde(flatten)]
    pub backbone: BackboneSettings,
    /// Layers that stay as they are, by how their names begin: `discriminator.downs.0` (FreezeD, 2002.10964).
    pub freeze: Vec<String>,
    /// Shares of the step size for layers that learn at another pace, by how their names begin, as in
    /// `{"discriminator.downs" = 0.1}`; a layer's and its part's multiply.
    pub rates: BTreeMap<String, f64>,
}

impl Default for ImageRecipe {
    /// DCGAN (1511.06434).
    fn default() -> Self {
        let run = RunSettings { recipe: "dcgan".into(), height: 64, width: 64, batch: 128, ..RunSettings::default() };
        Self {
            run,
            stacked: false,
            network: Network::Dcgan,
            noise: 100,
            hidden: 64,
            widths: Vec::new(),
            blocks: Vec::new(),
            cardinalities: Vec::new(),
            discriminator_norm: dcgan::Norm::Batch,
            by_class: false,
            head: Head::Projection,
            auxiliary: 1.0,
            loss: Adversarial::NonSaturating,
            r1: 0.0,
            r2: 0.0,
            wgan_gp: 0.0,
            dragan: 0.0,
            penalty_every: 1,
            last_penalty: 1.0,
            clip: 0.0,
            feature_matching: 0.0,
            mmd: 0.0,
            lecam: 0.0,
            augment: Vec::new(),
            augment_chance: 1.0,
            last_augment_chance: 1.0,
            ada_target: 0.0,
            ada_kimg: 500.0,
            optimizer: OptimizerName::Adam,
            generator_rate: 2e-4,
            discriminator_rate: 2e-4,
            warmup: 0,
            last_rate: 1.0,
            beta1: 0.5,
            beta2: 0.999,
            last_beta2: 0.999,
            max_rms: 0.0,
            weight_decay: 0.0,
            discriminator_steps: 1,
            backbone: BackboneSettings::default(),
            freeze: Vec::new(),
            rates: BTreeMap::new(),
        }
    }
}

/// A change of the DCGAN recipe into another.
type Preset = fn(&mut ImageRecipe);

/// The named recipes: a paper's backbone, loss and numbers.
pub const IMAGE_RECIPES: [(&str, Preset); 15] = [
    ("dcgan", |_| {}),
    ("gan", |recipe| recipe.loss = Adversarial::Minimax),
    ("lsgan", |recipe| {
        // 1611.04076, section 4: LSUN.
        (recipe.loss, recipe.run.batch) = (Adversarial::LeastSquares, 64);
        (recipe.generator_rate, recipe.discriminator_rate) = (1e-3, 1e-3);
    }),
    ("wgan", |recipe| {
        // 1701.07875, algorithm 1.
        (recipe.loss, recipe.clip, recipe.discriminator_steps) = (Adversarial::Wasserstein, 0.01, 5);
        (recipe.optimizer, recipe.beta2, recipe.last_beta2) = (OptimizerName::Rmsprop, 0.99, 0.99);
        (recipe.generator_rate, recipe.discriminator_rate, recipe.run.batch) = (5e-5, 5e-5, 64);
    }),
    ("wgan-gp", |recipe| {
        // 1704.00028, algorithm 1; no batch norm in D, as its penalty is per picture.
        (recipe.network, recipe.noise, recipe.discriminator_norm) = (Network::Resnet, 128, dcgan::Norm::None);
        (recipe.loss, recipe.wgan_gp, recipe.discriminator_steps) = (Adversarial::Wasserstein, 10.0, 5);
        (recipe.beta1, recipe.beta2, recipe.last_beta2) = (0.0, 0.9, 0.9);
        (recipe.generator_rate, recipe.discriminator_rate, recipe.run.batch) = (1e-4, 1e-4, 64);
        recipe.head = Head::Auxiliary;
    }),
    ("dragan", |recipe| (recipe.dragan, recipe.run.batch) = (10.0, 64)), // 1705.07215, section 3
    ("sngan", |recipe| {
        // 1802.05957, tables 1 (setting C with five steps of D) and 4.
        (recipe.network, recipe.noise, recipe.hidden) = (Network::Resnet, 128, 128);
        (recipe.discriminator_norm, recipe.loss) = (dcgan::Norm::Spectral, Adversarial::Hinge);
        (recipe.beta1, recipe.beta2, recipe.last_beta2) = (0.0, 0.9, 0.9);
        (recipe.discriminator_steps, recipe.run.batch) = (5, 64);
    }),
    ("acgan", |recipe| (recipe.head, recipe.run.batch) = (Head::Auxiliary, 100)), // 1610.09585, appendix A
    ("projected", |recipe| {
        // 2111.01007, section 4 and appendix on training: hinge, Adam at 2e-4 without momentum, batch 64, DiffAugment.
        (recipe.loss, recipe.run.batch) = (Adversarial::Hinge, 64);
        (recipe.beta1, recipe.beta2, recipe.last_beta2) = (0.0, 0.99, 0.99);
        recipe.augment = vec![Policy::Color, Policy::Translation, Policy::Cutout];
    }),
    ("r3gan", |recipe| {
        // 2501.05441's networks and losses at a size for CPUs.
        r3gan_base(recipe);
        (recipe.run.batch, recipe.run.height, recipe.run.width) = (64, 32, 32);
        (recipe.generator_rate, recipe.discriminator_rate, recipe.last_rate, recipe.warmup) = (1e-3, 1e-3, 0.1, 100);
        (recipe.r1, recipe.r2, recipe.last_penalty, recipe.max_rms) = (0.5, 0.5, 0.1, 1.0);
        recipe.penalty_every = 4; // a third of the paper's cost for each picture
        (recipe.run.ema_kimg, recipe.run.ema_share) = (20.0, 0.05);
    }),
    ("r3gan-cifar10", |recipe| r3gan_paper(recipe, [2, 512], [0.05, 5000.0, 0.55], R3ganConfig::cifar10())),
    ("r3gan-ffhq64", |recipe| r3gan_paper(recipe, [2, 256], [2.0, 500.0, 0.3], R3ganConfig::ffhq64())),
    ("r3gan-ffhq256", |recipe| r3gan_paper(recipe, [2, 256], [150.0, 500.0, 0.3], R3ganConfig::ffhq256())),
    ("r3gan-imagenet32", |recipe| r3gan_paper(recipe, [20, 4096], [0.5, 50_000.0, 0.5], R3ganConfig::imagenet32())),
    ("r3gan-imagenet64", |recipe| r3gan_paper(recipe, [20, 4096], [1.0, 50_000.0, 0.4], R3ganConfig::imagenet64())),
];

/// R3GAN's loss and optimizer.
fn r3gan_base(recipe: &mut ImageRecipe) {
    (recipe.network, recipe.noise, recipe.loss) = (Network::R3gan, 64, Adversarial::Relativistic);
    (recipe.beta1, recipe.beta2, recipe.last_beta2) = (0.0, 0.9, 0.99);
}

/// R3GAN at the paper's size (2501.05441, appendix on training details). The schedules are over tens of millions of
/// pictures there and over the whole run here; the penalty falls along a cosine there and geometrically here. Augmentation
/// comes in as the run goes on; its changes there are ADA's (flips, turns, scales, colours, holes), here DiffAugment's.
fn r3gan_paper(
    recipe: &mut ImageRecipe,
    [tens_of_millions, batch]: [usize; 2],
    [gamma, ema_kimg, last_augment_chance]: [f64; 3],
    networks: R3ganConfig,
) {
    r3gan_base(recipe);
    (recipe.run.height, recipe.run.width, recipe.run.batch) = (networks.size, networks.size, batch);
    (recipe.run.minutes, recipe.run.kimg) = (0.0, tens_of_millions as f64 * 10_000.0);
    (recipe.generator_rate, recipe.discriminator_rate, recipe.last_rate) = (2e-4, 2e-4, 0.25);
    (recipe.r1, recipe.r2, recipe.last_penalty) = (gamma, gamma, 0.1);
    (recipe.run.ema_kimg, recipe.run.ema_share) = (ema_kimg, 0.25);
    recipe.augment = vec![Policy::Color, Policy::Translation, Policy::Cutout];
    (recipe.augment_chance, recipe.last_augment_chance) = (0.0, last_augment_chance);
    (recipe.widths, recipe.blocks, recipe.cardinalities) = (networks.widths, networks.blocks, networks.cardinalities);
}

impl ImageRecipe {
    /// The recipe called `name`, one of [`IMAGE_RECIPES`].
    pub fn named(name: &str) -> Option<Self> {
        let (name, change) = IMAGE_RECIPES.iter().find(|(known, _)| *known == name)?;
        let mut recipe = Self::default();
        recipe.run.recipe = (*name).to_string();
        change(&mut recipe);
        Some(recipe)
    }

    /// The share of the step size that the parameter of this name gets; 0 if it stays as it is.
    pub(crate) fn rate(&self, name: &str) -> f64 {
        if self.freeze.iter().any(|layer| is_part(name, layer)) {
            return 0.0;
        }
        self.rates.iter().filter(|(layer, _)| is_part(name, layer)).map(|(_, rate)| rate).product()
    }

    /// Shapes of the networks, for pictures of `channels` channels in `classes` classes.
    ///
    /// # Errors
    /// The size does not fit the network; the text says which would.
    pub fn networks(&self, channels: usize, classes: usize) -> Result<NetworkConfig, String> {
        let RunSettings { height, width, .. } = self.run;
        if height != width {
            return Err(format!("size {height}x{width}: this recipe makes square pictures only"));
        }
        let classes = if self.by_class { classes } else { 0 };
        let head = if classes > 0 { self.head } else { Head::None };
        let (size, noise, norm) = (height, self.noise, self.discriminator_norm);
        let config = match self.network {
            Network::Dcgan => {
                let width = self.hidden;
                NetworkConfig::Dcgan(dcgan::DcganConfig { size, channels, noise, width, classes, head, norm })
            }
            Network::Resnet => {
                let (width, spectral) = (self.hidden, norm == dcgan::Norm::Spectral);
                NetworkConfig::Resnet(resnet::ResnetConfig { size, channels, noise, classes, width, spectral, head })
            }
            Network::R3gan => {
                let mut config = R3ganConfig { channels, noise, classes, ..R3ganConfig::small(size) };
                for (given, field) in [
                    (&self.widths, &mut config.widths),
                    (&self.blocks, &mut config.blocks),
                    (&self.cardinalities, &mut config.cardinalities),
                ] {
                    if !given.is_empty() {
                        field.clone_from(given);
                    }
                }
                NetworkConfig::R3gan(config)
            }
        };
        config.check()?;
        Ok(config)
    }

    /// Shapes of the discriminator on a backbone, if there is to be one.
    ///
    /// # Errors
    /// There should be one and is none, or another setting asks what it cannot do; the text names it and the remedy.
    pub fn projected(&self, classes: usize) -> Result<Option<ProjectedConfig>, String> {
        if !self.backbone.is_set() {
            if self.run.recipe == "projected" {
                return Err(
                    "recipe projected: D looks through a network that others trained; name the file of its weights \
                            with --backbone (torchvision's squeezenet1_0, squeezenet1_1, vgg16, resnet18 or resnet50)"
                        .to_string(),
                );
            }
            return Ok(None);
        }
        let penalties = [("r1", self.r1), ("r2", self.r2), ("wgan_gp", self.wgan_gp), ("dragan", self.dragan)];
        if let Some((name, value)) = penalties.into_iter().find(|(_, value)| *value > 0.0) {
            return Err(format!(
                "{name} = {value}: a discriminator on a backbone takes no gradient penalty (its features do not learn, and \
                 its heads are held by spectral norm); add --set {name}=0, or leave out backbone"
            ));
        }
        if classes > 0 && self.head == Head::Auxiliary {
            return Err(
                "head = auxiliary: a discriminator on a backbone has projection or none; add --set head=projection"
                    .to_string(),
            );
        }
        let classes = if self.head == Head::None { 0 } else { classes };
        Ok(Some(self.backbone.projected(classes)))
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.run.check()?;
        check_ranges(&[
            ("noise", self.noise as f64, 1.0, 4096.0),
            ("hidden", self.hidden as f64, 1.0, 1024.0),
            ("auxiliary", self.auxiliary, 0.0, 1e3),
            ("r1", self.r1, 0.0, 1e6),
            ("r2", self.r2, 0.0, 1e6),
            ("wgan_gp", self.wgan_gp, 0.0, 1e6),
            ("dragan", self.dragan, 0.0, 1e6),
            ("penalty_every", self.penalty_every as f64, 1.0, 1e6),
            ("last_penalty", self.last_penalty, 1e-6, 1e6),
            ("clip", self.clip, 0.0, 1e6),
            ("feature_matching", self.feature_matching, 0.0, 1e6),
            ("mmd", self.mmd, 0.0, 1e6),
            ("lecam", self.lecam, 0.0, 1e6),
            ("augment_chance", self.augment_chance, 0.0, 1.0),
            ("last_augment_chance", self.last_augment_chance, 0.0, 1.0),
            ("ada_target", self.ada_target, 0.0, 1.0),
            ("ada_kimg", self.ada_kimg, 1e-3, 1e6),
            ("generator_rate", self.generator_rate, 0.0, 1.0),
            ("discriminator_rate", self.discriminator_rate, 0.0, 1.0),
            ("last_rate", self.last_rate, 0.0, 1.0),
            ("beta1", self.beta1, 0.0, 0.9999),
            ("beta2", self.beta2, 0.0, 0.999_999),
            ("last_beta2", self.last_beta2, 0.0, 0.999_999),
            ("max_rms", self.max_rms, 0.0, 1e6),
            ("weight_decay", self.weight_decay, 0.0, 1.0),
            ("discriminator_steps", self.discriminator_steps as f64, 1.0, 100.0),
        ])?;
        self.backbone.check()?;
        for (layer, rate) in &self.rates {
            check_ranges(&[(format!("rates: {layer}").as_str(), *rate, 0.0, 1e3)])?;
        }
        one_of("recipe", &self.run.recipe, &IMAGE_RECIPES.map(|(name, _)| name))
    }
}

/// Whether `name` is `layer`, or of a part of it.
pub(crate) fn is_part(name: &str, layer: &str) -> bool {
    name.strip_prefix(layer).is_some_and(|rest| rest.is_empty() || rest.starts_with('.'))
}
