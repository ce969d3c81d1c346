//! Text recipes' settings: one generator, one way to train it, and their numbers; named recipes are papers' choices.
//!
//! Of what every recipe has, `guard` and the average of G (`ema_kimg`, `ema_share`) are of pictures, and not used here.

use serde::{Deserialize, Serialize};
use shenbi_models::text::gpt::GptConfig;
use shenbi_models::text::language::LanguageConfig;
use shenbi_models::text::lstm::LstmConfig;
use shenbi_models::text::relgan::{self, RelationalConfig};
use shenbi_models::text::seqgan;
use shenbi_models::text::tokenizer::Unit;

use super::{ConfigError, RunSettings, check_ranges, one_of};

/// Which network writes.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Writer {
    /// [`shenbi_models::text::lstm`].
    Lstm,
    /// [`shenbi_models::text::gpt`].
    Transformer,
    /// [`shenbi_models::text::relgan`]'s memory.
    Relational,
}

/// What comes after likelihood.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Method {
    /// Nothing.
    Likelihood,
    /// [`shenbi_models::text::seqgan`].
    Seqgan,
    /// [`shenbi_models::text::relgan`].
    Relgan,
    /// [`shenbi_models::text::gan_text`].
    Ppo,
}

/// Everything that decides a run on texts, but for the texts themselves.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
#[serde(default)]
pub struct TextRecipe {
    /// What every recipe has.
    #[serde(flatten)]
    pub run: RunSettings,
    /// `.csv` and `.jsonl` files: the columns that make a text, joined; empty for `text`, `caption` or `sentence`.
    pub columns: Vec<String>,
    /// What a token is: `words`, `characters` or `bytes` (byte pairs).
    pub unit: Unit,
    /// Tokens learnt from the texts, at most.
    pub vocabulary: usize,
    /// Tokens of a text, the end included, at most.
    pub length: usize,
    /// What happens to longer texts: `cut` or `skip`.
    pub long: String,
    /// Share of the texts that is kept from training, to measure on.
    pub held_out: f64,
    /// `lstm`, `transformer` or `relational`.
    pub writer: Writer,
    /// What comes after likelihood: `likelihood` (nothing), `seqgan`, `relgan` or `ppo`.
    pub method: Method,
    /// `lstm`, `relational`: numbers a token's embedding.
    pub embedding: usize,
    /// `lstm`: numbers of state.
    pub hidden: usize,
    /// `transformer`: width.
    pub text_width: usize,
    /// `transformer`: blocks.
    pub layers: usize,
    /// `transformer`, `relational`: attention heads.
    pub heads: usize,
    /// `relational`: slots of the memory.
    pub slots: usize,
    /// `relational`: numbers a head.
    pub head: usize,
    /// Share of the run spent on likelihood before the game.
    pub pretrain: f64,
    /// Steps at the start of the game in which only the discriminator learns.
    pub warmup: u64,
    /// Step size of likelihood.
    pub rate: f64,
    /// Step size of likelihood at its end, as a share of that at its start (along a cosine).
    pub last_rate: f64,
    /// Decoupled weight decay of likelihood.
    pub weight_decay: f64,
    /// Step size of the generator in the game.
    pub generator_rate: f64,
    /// Step size of the discriminator.
    pub discriminator_rate: f64,
    /// Steps of the discriminator for each of the generator.
    pub discriminator_steps: u64,
    /// Numbers of a token's embedding in the discriminator (in each of its views).
    pub discriminator_embedding: usize,
    /// Tokens a window of the discriminator, and how many filters it has.
    pub filters: Vec<[usize; 2]>,
    /// `seqgan`, `ppo`: probability with which the discriminator keeps a feature (dropout).
    pub keep: f64,
    /// `seqgan`: texts finished from every prefix.
    pub rollouts: usize,
    /// `seqgan`: share of itself that the rollout policy keeps at each step.
    pub policy_decay: f64,
    /// `seqgan`: whether a place's mean reward over the batch is subtracted (less variance, the same gradient on average).
    pub baseline: bool,
    /// `relgan`: inverse temperature at the end; it starts at 1.
    pub last_beta: f64,
    /// `relgan`: embeddings through which the discriminator sees a text.
    pub views: usize,
    /// `ppo`: passes over each batch that was written.
    pub passes: u64,
    /// `ppo`: ε, how far a token's probability may move in them.
    pub clip: f64,
    /// `ppo`: β, what a token pays for being likelier than at the start of the game.
    pub kl: f64,
    /// `ppo`: λ of the advantages.
    pub lambda: f64,
    /// `ppo`: weight of the values' squared error.
    pub value_weight: f64,
}

impl Default for TextRecipe {
    /// Likelihood with an LSTM.
    fn default() -> Self {
        let run = RunSettings { recipe: "mle-lstm".into(), data: String::new(), ..RunSettings::default() };
        Self {
            run,
            columns: Vec::new(),
            unit: Unit::Words,
            vocabulary: 8000,
            length: 40,
            long: "cut".into(),
            held_out: 0.05,
            writer: Writer::Lstm,
            method: Method::Likelihood,
            embedding: 128,
            hidden: 256,
            text_width: 128,
            layers: 4,
            heads: 4,
            slots: 1,
            head: 256,
            pretrain: 1.0,
            warmup: 100,
            rate: 2e-3,
            last_rate: 0.1,
            weight_decay: 0.0,
            generator_rate: 1e-3,
            discriminator_rate: 1e-4,
            discriminator_steps: 5,
            discriminator_embedding: 64,
            filters: vec![[1, 100], [2, 200], [3, 200], [4, 100], [5, 100], [8, 100]],
            keep: 0.75,
            rollouts: 16,
            policy_decay: 0.8,
            baseline: false,
            last_beta: 100.0,
            views: 64,
            passes: 2,
            clip: 0.2,
            kl: 0.5,
            lambda: 0.95,
            value_weight: 0.5,
        }
    }
}

/// A change of the LSTM's recipe into another.
type Preset = fn(&mut TextRecipe);

/// The named recipes.
pub const TEXT_RECIPES: [(&str, Preset); 5] = [
    ("mle-lstm", |_| {}),
    ("mle-transformer", |recipe| (recipe.writer, recipe.rate, recipe.weight_decay) = (Writer::Transformer, 1e-3, 0.1)),
    ("seqgan", |recipe| {
        (recipe.method, recipe.pretrain) = (Method::Seqgan, 0.5);
        (recipe.generator_rate, recipe.filters) = (1e-2, seqgan::PAPER_FILTERS.to_vec());
    }),
    ("relgan", |recipe| {
        (recipe.method, recipe.writer, recipe.pretrain, recipe.warmup) = (Method::Relgan, Writer::Relational, 0.3, 0);
        (recipe.embedding, recipe.heads, recipe.discriminator_embedding) = (32, 2, 1);
        (recipe.generator_rate, recipe.discriminator_rate, recipe.discriminator_steps) = (1e-4, 1e-4, 1);
        recipe.filters = relgan::PAPER_FILTERS.to_vec();
    }),
    ("gan-text", |recipe| {
        (recipe.method, recipe.writer, recipe.pretrain) = (Method::Ppo, Writer::Transformer, 0.6);
        (recipe.rate, recipe.weight_decay) = (1e-3, 0.1);
        (recipe.generator_rate, recipe.discriminator_rate, recipe.discriminator_steps) = (1e-4, 3e-4, 2);
        recipe.keep = 0.5;
    }),
];

impl TextRecipe {
    /// The recipe called `name`, one of [`TEXT_RECIPES`].
    pub fn named(name: &str) -> Option<Self> {
        let (name, change) = TEXT_RECIPES.iter().find(|(known, _)| *known == name)?;
        let mut recipe = Self::default();
        recipe.run.recipe = (*name).to_string();
        change(&mut recipe);
        Some(recipe)
    }

    /// Shape of the network that writes `vocabulary` tokens in texts of at most `length`.
    pub fn language(&self, vocabulary: usize, length: usize) -> LanguageConfig {
        match self.writer {
            Writer::Lstm => {
                LanguageConfig::Lstm(LstmConfig { vocabulary, embedding: self.embedding, hidden: self.hidden })
            }
            Writer::Transformer => LanguageConfig::Gpt(self.gpt(vocabulary, length)),
            Writer::Relational => LanguageConfig::Relational(RelationalConfig {
                vocabulary,
                embedding: self.embedding,
                slots: self.slots,
                heads: self.heads,
                head: self.head,
            }),
        }
    }

    /// The same for a Transformer.
    pub(crate) fn gpt(&self, vocabulary: usize, length: usize) -> GptConfig {
        GptConfig { vocabulary, length, width: self.text_width, layers: self.layers, heads: self.heads }
    }

    /// The share of the run spent on likelihood.
    pub(crate) fn likelihood_share(&self) -> f64 {
        if self.method == Method::Likelihood { 1.0 } else { self.pretrain }
    }

    pub(super) fn check(&self) -> Result<(), ConfigError> {
        self.run.check()?;
        check_ranges(&[
            ("vocabulary", self.vocabulary as f64, 2.0, 65_536.0),
            ("length", self.length as f64, 1.0, 4096.0),
            ("held_out", self.held_out, 0.0, 0.5),
            ("pretrain", self.pretrain, 0.0, 1.0),
            ("rate", self.rate, 0.0, 1.0),
            ("last_rate", self.last_rate, 0.0, 1.0),
            ("weight_decay", self.weight_decay, 0.0, 10.0),
            ("generator_rate", self.generator_rate, 0.0, 1.0),
            ("discriminator_rate", self.discriminator_rate, 0.0, 1.0),
            ("discriminator_steps", self.discriminator_steps as f64, 1.0, 1000.0),
            ("keep", self.keep, 0.01, 1.0),
            ("rollouts", self.rollouts as f64, 1.0, 1024.0),
            ("policy_decay", self.policy_decay, 0.0, 1.0),
            ("last_beta", self.last_beta, 1.0, 1e6),
            ("passes", self.passes as f64, 1.0, 100.0),
            ("clip", self.clip, 0.001, 10.0),
            ("kl", self.kl, 0.0, 100.0),
            ("lambda", self.lambda, 0.0, 1.0),
            ("value_weight", self.value_weight, 0.0, 100.0),
        ])?;
        one_of("long", &self.long, &["cut", "skip"])?;
        let wrong = |key: &str, message: &str| Err(ConfigError::Value { key: key.into(), message: message.into() });
        let (run, plain) = (&self.run, RunSettings::default());
        if (run.height, run.width, run.channels) != (plain.height, plain.width, plain.channels) {
            return wrong("height", "height, width and channels are of pictures; this recipe learns texts");
        }
        if run.flip || run.level != plain.level || !run.split.is_empty() {
            return wrong("level", "level, split and flip are of pictures; this recipe learns texts");
        }
        if self.method == Method::Relgan && self.writer != Writer::Relational {
            return wrong("writer", "relgan needs writer = relational, whose tokens have gradients");
        }
        if self.method == Method::Ppo && self.writer != Writer::Transformer {
            return wrong("writer", "ppo needs writer = transformer");
        }
        self.language(self.vocabulary, self.length)
            .check()
            .map_err(|message| ConfigError::Value { key: "writer".into(), message })
    }
}
