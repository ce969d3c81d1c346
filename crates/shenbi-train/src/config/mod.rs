//! What decides a run: one typed set of settings a recipe, written into the run folder as `config.toml`.

mod backbone;
mod brush;
mod dfgan;
mod image;
mod run;
mod sentences;
mod text;

pub use backbone::BackboneSettings;
pub use brush::{BrushRecipe, SIZES};
pub use dfgan::DfganRecipe;
pub(crate) use image::is_part;
pub use image::{IMAGE_RECIPES, ImageRecipe, Network, OptimizerName};
pub use run::RunSettings;
pub use sentences::SentenceSettings;
pub use text::{Method, TEXT_RECIPES, TextRecipe, Writer};

use serde::Serialize;
use serde::de::DeserializeOwned;

use crate::losses::Adversarial;

/// Settings of one of the recipes.
#[derive(Clone, Debug, PartialEq, Serialize)]
#[serde(untagged)]
pub enum Recipe {
    /// Text to image, ours.
    Brush(BrushRecipe),
    /// Text to image, DF-GAN.
    Dfgan(DfganRecipe),
    /// Pictures alone, or by class.
    Image(ImageRecipe),
    /// Texts.
    Text(TextRecipe),
}

impl Default for Recipe {
    fn default() -> Self {
        Self::Brush(BrushRecipe::default())
    }
}

impl Recipe {
    /// The names of all recipes.
    pub fn names() -> Vec<&'static str> {
        let pictures = IMAGE_RECIPES.iter().map(|(name, _)| *name);
        ["brush", "dfgan"].into_iter().chain(pictures).chain(TEXT_RECIPES.iter().map(|(name, _)| *name)).collect()
    }

    /// The recipe called `name` with its own settings.
    ///
    /// # Errors
    /// There is none of that name; the nearest is named.
    pub fn named(name: &str) -> Result<Self, ConfigError> {
        if name == "brush" {
            return Ok(Self::default());
        }
        if name == "dfgan" {
            return Ok(Self::Dfgan(DfganRecipe::default()));
        }
        let found = ImageRecipe::named(name).map(Self::Image);
        found.or_else(|| TextRecipe::named(name).map(Self::Text)).ok_or_else(|| {
            let all = Self::names();
            let nearest = nearest(all.iter().copied(), name);
            let message = format!("'{name}': no such recipe; did you mean '{nearest}'? (all: {})", all.join(", "));
            ConfigError::Value { key: "recipe".into(), message }
        })
    }

    /// Whether it learns from captions.
    pub fn reads_captions(&self) -> bool {
        self.sentences().is_some()
    }

    /// What every recipe has.
    pub fn run(&self) -> &RunSettings {
        match self {
            Self::Brush(recipe) => &recipe.run,
            Self::Dfgan(recipe) => &recipe.run,
            Self::Image(recipe) => &recipe.run,
            Self::Text(recipe) => &recipe.run,
        }
    }

    /// How captions become sentences, where it learns from any.
    pub fn sentences(&self) -> Option<&SentenceSettings> {
        match self {
            Self::Brush(recipe) => Some(&recipe.sentences),
            Self::Dfgan(recipe) => Some(&recipe.sentences),
            Self::Image(_) | Self::Text(_) => None,
        }
    }

    /// The same, to be changed.
    pub fn sentences_mut(&mut self) -> Option<&mut SentenceSettings> {
        match self {
            Self::Brush(recipe) => Some(&mut recipe.sentences),
            Self::Dfgan(recipe) => Some(&mut recipe.sentences),
            Self::Image(_) | Self::Text(_) => None,
        }
    }

    /// The network that D looks through, in recipes that take one.
    pub fn backbone_mut(&mut self) -> Option<&mut BackboneSettings> {
        match self {
            Self::Brush(recipe) => Some(&mut recipe.backbone),
            Self::Image(recipe) => Some(&mut recipe.backbone),
            Self::Dfgan(_) | Self::Text(_) => None,
        }
    }

    /// The game between D and G.
    pub fn loss(&self) -> Adversarial {
        match self {
            Self::Brush(recipe) => recipe.loss(),
            Self::Dfgan(_) => Adversarial::Hinge,
            Self::Image(recipe) => recipe.loss,
            Self::Text(_) => Adversarial::NonSaturating,
        }
    }

    /// Calmer settings for a run that went wrong: gradient penalties four times as large (R1 and R2 of 0.5 where there were
    /// none), step sizes halved. Says what it did.
    pub fn calm(&mut self) -> String {
        match self {
            Self::Brush(recipe) => {
                recipe.learning_rate /= 2.0;
                if recipe.backbone.is_set() {
                    return format!("learning_rate is {} now", recipe.learning_rate);
                }
                (recipe.gamma, recipe.last_gamma) = (recipe.gamma * 4.0, recipe.last_gamma * 4.0);
                format!("gamma is {} now, learning_rate {}", recipe.gamma, recipe.learning_rate)
            }
            Self::Dfgan(recipe) => {
                recipe.penalty *= 4.0;
                (recipe.generator_rate, recipe.discriminator_rate) =
                    (recipe.generator_rate / 2.0, recipe.discriminator_rate / 2.0);
                let rates = format!("rates are {} and {}", recipe.generator_rate, recipe.discriminator_rate);
                format!("penalty is {} now, {rates}", recipe.penalty)
            }
            Self::Text(recipe) => {
                recipe.generator_rate /= 2.0;
                recipe.discriminator_rate /= 2.0;
                format!("rates are {} and {}", recipe.generator_rate, recipe.discriminator_rate)
            }
            Self::Image(recipe) => {
                recipe.generator_rate /= 2.0;
                recipe.discriminator_rate /= 2.0;
                let rates = format!("rates are {} and {}", recipe.generator_rate, recipe.discriminator_rate);
                if recipe.backbone.is_set() {
                    return rates;
                }
                let penalties = [
                    ("r1", &mut recipe.r1),
                    ("r2", &mut recipe.r2),
                    ("wgan_gp", &mut recipe.wgan_gp),
                    ("dragan", &mut recipe.dragan),
                ];
                if penalties.iter().all(|(_, weight)| **weight == 0.0) {
                    (recipe.r1, recipe.r2) = (0.5, 0.5);
                    return format!("r1 and r2 are 0.5 now, {rates}");
                }
                let changed = penalties.into_iter().filter(|(_, weight)| **weight > 0.0).map(|(name, weight)| {
                    *weight *= 4.0;
                    format!("{name} is {weight}")
                });
                format!("{} now, {rates}", changed.collect::<Vec<_>>().join(", "))
            }
        }
    }

    /// The same, to be changed.
    pub fn run_mut(&mut self) -> &mut RunSettings {
        match self {
            Self::Brush(recipe) => &mut recipe.run,
            Self::Dfgan(recipe) => &mut recipe.run,
            Self::Image(recipe) => &mut recipe.run,
            Self::Text(recipe) => &mut recipe.run,
        }
    }

    /// The recipe in a TOML text; absent keys keep the values of the recipe it names (`brush` if it names none).
    ///
    /// # Errors
    /// Syntax, an unknown key or a wrong value, named.
    pub fn from_toml(text: &str) -> Result<Self, ConfigError> {
        let mut table: toml::Table = toml::from_str(text).map_err(|error| ConfigError::Syntax(error.to_string()))?;
        let mut recipe = match table.remove("recipe") {
            None => Self::default(),
            Some(toml::Value::String(name)) => Self::named(&name)?,
            Some(other) => {
                let message = format!("{other}: expected a name in quotes");
                return Err(ConfigError::Value { key: "recipe".into(), message });
            }
        };
        for (key, value) in table {
            recipe.set(&key, value)?;
        }
        Ok(recipe)
    }

    /// The recipe as TOML, every key written out.
    pub fn to_toml(&self) -> String {
        // A flat struct of numbers, texts and lists of them always has a TOML form.
        toml::to_string(self).unwrap_or_default()
    }

    /// Sets one key from a person's `key=value`; text needs no quotes.
    ///
    /// # Errors
    /// As [`Recipe::set`]; or there is no `=`.
    pub fn set_text(&mut self, assignment: &str) -> Result<(), ConfigError> {
        let Some((key, value)) = assignment.split_once('=') else {
            return Err(ConfigError::Syntax(format!("'{assignment}': expected key=value, as in --set batch=32")));
        };
        let (key, value) = (key.trim(), value.trim());
        let parsed =
            toml::from_str::<toml::Table>(&format!("value = {value}")).ok().and_then(|mut t| t.remove("value"));
        self.set(key, parsed.unwrap_or_else(|| toml::Value::String(value.to_string())))
    }

    /// Sets one key.
    ///
    /// # Errors
    /// The key is unknown (the nearest known one is named), or the value has another type or is out of range.
    pub fn set(&mut self, key: &str, value: toml::Value) -> Result<(), ConfigError> {
        if key == "recipe" {
            let message = "it decides what the other keys are: give it with --recipe".to_string();
            return Err(ConfigError::Value { key: key.into(), message });
        }
        let changed = match &*self {
            Self::Brush(recipe) => Self::Brush(with(recipe, key, value)?),
            Self::Dfgan(recipe) => Self::Dfgan(with(recipe, key, value)?),
            Self::Image(recipe) => Self::Image(with(recipe, key, value)?),
            Self::Text(recipe) => Self::Text(with(recipe, key, value)?),
        };
        match &changed {
            Self::Brush(recipe) => recipe.check()?,
            Self::Dfgan(recipe) => recipe.check()?,
            Self::Image(recipe) => recipe.check()?,
            Self::Text(recipe) => recipe.check()?,
        }
        *self = changed;
        Ok(())
    }
}

/// Why a setting was refused.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// No such key.
    #[error("unknown setting '{key}' of the recipe {recipe}; did you mean '{nearest}'? (all: {all})")]
    Unknown {
        /// As typed.
        key: String,
        /// Whose settings were looked through.
        recipe: String,
        /// The known key with the fewest differences.
        nearest: String,
        /// Every known key.
        all: String,
    },
    /// The value has the wrong type or is out of range.
    #[error("setting '{key}': {message}")]
    Value {
        /// The key.
        key: String,
        /// What was expected.
        message: String,
    },
    /// The file is not TOML.
    #[error("{0}")]
    Syntax(String),
}

/// `recipe` with one key changed.
fn with<R: Serialize + DeserializeOwned>(recipe: &R, key: &str, value: toml::Value) -> Result<R, ConfigError> {
    let wrong = |message: String| ConfigError::Value { key: key.to_string(), message };
    let mut table = toml::Table::try_from(recipe).map_err(|error| wrong(error.to_string()))?;
    let Some(old) = table.get(key) else {
        let name = table.get("recipe").and_then(toml::Value::as_str).unwrap_or_default().to_string();
        let nearest = nearest(table.keys().map(String::as_str), key).to_string();
        let all = table.keys().cloned().collect::<Vec<_>>().join(", ");
        return Err(ConfigError::Unknown { key: key.to_string(), recipe: name, nearest, all });
    };
    let value = match (old, value) {
        (toml::Value::Float(_), toml::Value::Integer(whole)) => toml::Value::Float(whole as f64),
        (toml::Value::Array(_), one @ (toml::Value::String(_) | toml::Value::Integer(_))) => {
            toml::Value::Array(vec![one])
        }
        (_, value) => value,
    };
    table.insert(key.to_string(), value);
    table.try_into().map_err(|error: toml::de::Error| wrong(error.message().to_string()))
}

/// Refuses the first number that is out of its range.
fn check_ranges(ranges: &[(&str, f64, f64, f64)]) -> Result<(), ConfigError> {
    match ranges.iter().find(|(_, value, low, high)| !(low..=high).contains(&value)) {
        None => Ok(()),
        Some((key, value, low, high)) => {
            Err(ConfigError::Value { key: (*key).into(), message: format!("{value}: expected {low} to {high}") })
        }
    }
}

/// Refuses a word that is not among the known ones.
fn one_of(key: &str, value: &str, known: &[&str]) -> Result<(), ConfigError> {
    if known.contains(&value) {
        return Ok(());
    }
    Err(ConfigError::Value { key: key.into(), message: format!("'{value}': expected {}", known.join(", ")) })
}

/// The known word with the fewest differences from `word`.
pub fn nearest<'a>(known: impl Iterator<Item = &'a str>, word: &str) -> &'a str {
    known.min_by_key(|known| distance(known, word)).unwrap_or_default()
}

/// Levenshtein distance, in characters.
fn distance(a: &str, b: &str) -> usize {
    let b: Vec<char> = b.chars().collect();
    let mut row: Vec<usize> = (0..=b.len()).collect();
    for (i, x) in a.chars().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, &y) in b.iter().enumerate() {
            let best = (diagonal + usize::from(x != y)).min(row[j] + 1).min(row[j + 1] + 1);
            diagonal = row[j + 1];
            row[j + 1] = best;
        }
    }
    row[b.len()]
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sets_and_survives_toml() {
        let mut recipe = Recipe::default();
        for assignment in
            ["batch=32", "kimg=10", "level=two", "caption_columns=[\"text\", \"text_zh\"]", "template=ein {class}"]
        {
            recipe.set_text(assignment).unwrap();
        }
        let run = recipe.run();
        assert_eq!((run.batch, run.kimg, run.level.as_str()), (32, 10.0, "two"));
        assert_eq!(Recipe::from_toml(&recipe.to_toml()).unwrap(), recipe);
    }

    #[test]
    fn every_recipe_survives_toml_and_passes_its_own_checks() {
        for name in Recipe::names() {
            let mut recipe = Recipe::named(name).unwrap();
            assert_eq!(recipe.run().recipe, name);
            assert_eq!(Recipe::from_toml(&recipe.to_toml()).unwrap(), recipe);
            recipe.set_text("batch=8").unwrap();
        }
    }

    #[test]
    fn layers_have_rates_of_their_own() {
        let mut recipe = Recipe::named("dcgan").unwrap();
        recipe.set_text("rates={\"discriminator.downs\"=0.1, \"discriminator.downs.1\"=0.5}").unwrap();
        recipe.set_text("freeze=generator.ups.0").unwrap();
        assert_eq!(Recipe::from_toml(&recipe.to_toml()).unwrap(), recipe);
        let Recipe::Image(image) = &recipe else { panic!("of pictures") };
        for (name, rate) in [
            ("discriminator.downs.0.layer.weight", 0.1),
            ("discriminator.downs.1.layer.weight", 0.05),
            ("discriminator.downs.10.layer.weight", 0.1),
            ("generator.ups.0.weight", 0.0),
            ("generator.ups.1.weight", 1.0),
        ] {
            assert!((image.rate(name) - rate).abs() < 1e-12, "{name}: {}", image.rate(name));
        }
        let error = recipe.set_text("rates={\"generator\"=-1}").unwrap_err().to_string();
        assert!(error.contains("rates: generator"), "{error}");
    }

    #[test]
    fn names_the_nearest_key() {
        let refused = |text: &str| Recipe::default().set_text(text).unwrap_err().to_string();
        assert!(refused("learnin_rate=1").contains("did you mean 'learning_rate'"));
        assert!(refused("batch=many").contains("'batch'"));
        assert!(refused("batch=0").contains("expected 2"));
        assert!(refused("recipe=dcgan").contains("--recipe"));
        assert!(Recipe::from_toml("batch = 8\nspeed = 3").is_err());
        let of_another = Recipe::named("dcgan").unwrap().set_text("caption_columns=x").unwrap_err().to_string();
        assert!(of_another.contains("recipe dcgan"), "{of_another}");
        assert!(Recipe::named("wgan_gp").unwrap_err().to_string().contains("did you mean 'wgan-gp'"));
    }
}
