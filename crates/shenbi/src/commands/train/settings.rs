//! From flags to a recipe.

use std::path::{Path, PathBuf};

use shenbi_train::backbone;
use shenbi_train::config::{ImageRecipe, Recipe};
use shenbi_train::guidance;
use shenbi_train::image::ImageTrainer;
use shenbi_train::text::data::ORACLE;

use crate::data_source::{Data, SCENES};
use crate::failure::Failure;
use crate::hub;
use crate::values;

/// The flags that are settings of a run.
#[derive(clap::Args)]
pub struct Flags {
    /// What to train: brush and dfgan paint sentences; dcgan, r3gan and others (docs/recipes.md) make pictures; mle-lstm,
    /// mle-transformer, seqgan, relgan and gan-text write texts [default: brush]
    #[arg(long)]
    recipe: Option<String>,
    /// scenes, a folder or .zip of pictures with captions or classes, MNIST's folder, or texts (.txt, .csv, .jsonl)
    /// [default: scenes]
    #[arg(long, value_name = "PATH")]
    data: Option<String>,
    /// How much is in a scene: one, two, many or mixed [default: one]
    #[arg(long)]
    level: Option<String>,
    /// Size of the pictures: 64, or height and width as 48x64 [default: the recipe's; 32 for brush]
    #[arg(long, value_parser = values::size)]
    size: Option<[usize; 2]>,
    /// Length of the run in minutes of training [default: 5]
    #[arg(long, conflicts_with = "kimg", allow_negative_numbers = true)]
    minutes: Option<f64>,
    /// Length of the run in thousands of pictures
    #[arg(long, allow_negative_numbers = true)]
    kimg: Option<f64>,
    /// Another seed, another run [default: 1]
    #[arg(long)]
    seed: Option<u64>,
    /// brush and image GANs: a network that others trained (torchvision's SqueezeNet, VGG16 or ResNet, .safetensors or
    /// .pth) for the discriminator to look through
    #[arg(long, value_name = "FILE")]
    backbone: Option<String>,
    /// Numbers inside of the networks: auto, f32 or bf16 [default: auto, which is bf16 where the CPU is fast at it]
    #[arg(long, value_parser = ["auto", "f32", "bf16"])]
    precision: Option<String>,
    /// A column of metadata.jsonl or metadata.csv that holds captions, or of a table that holds texts (repeatable)
    #[arg(long = "caption-column", visible_alias = "column", value_name = "COLUMN")]
    caption_columns: Vec<String>,
    /// The caption of a class folder [default: "a photo of a {class}"]
    #[arg(long)]
    template: Option<String>,
    /// A text encoder that others trained, to read the captions with: a folder as Hugging Face has them (BERT, RoBERTa,
    /// XLM-R, MiniLM, CLIP) [default: one is learnt with the pictures]
    #[arg(long, value_name = "PATH")]
    text_encoder: Option<String>,
    /// Train the last layers of --text-encoder on as well: layers=2
    #[arg(long, value_name = "layers=N", value_parser = values::tuned_layers, requires = "text_encoder")]
    tune_text: Option<usize>,
    /// brush: steer by a CLIP's opinion of pictures and captions, a folder as Hugging Face has it (clip_weight says how much)
    #[arg(long, value_name = "FOLDER")]
    clip: Option<String>,
    /// Only the pictures of this split
    #[arg(long)]
    split: Option<String>,
    /// A TOML file of settings, as a run's config.toml
    #[arg(long, value_name = "FILE")]
    config: Option<PathBuf>,
    /// Any setting by its name (repeatable); --dry-run lists them all
    #[arg(long = "set", value_name = "KEY=VALUE")]
    set: Vec<String>,
}

impl Flags {
    /// The settings: from the file, then the flags, then `--set`.
    pub fn recipe(&self) -> Result<Recipe, Failure> {
        let mut recipe = match &self.config {
            Some(path) => read(path, self.recipe.as_deref())?,
            None => match &self.recipe {
                Some(name) => Recipe::named(name).map_err(|error| Failure::usage(format!("--recipe: {error}")))?,
                None => Recipe::default(),
            },
        };
        let text = |value: &String| toml::Value::String(value.clone());
        let mut flags: Vec<(&str, &str, toml::Value)> = Vec::new();
        for (flag, key, value) in [
            ("--data", "data", self.data.as_ref()),
            ("--level", "level", self.level.as_ref()),
            ("--template", "template", self.template.as_ref()),
            ("--split", "split", self.split.as_ref()),
            ("--backbone", "backbone", self.backbone.as_ref()),
            ("--precision", "precision", self.precision.as_ref()),
        ] {
            flags.extend(value.map(|value| (flag, key, text(value))));
        }
        if let Some(sides) = self.size {
            for (key, side) in ["height", "width"].into_iter().zip(sides) {
                flags.push(("--size", key, whole(side as u64)?));
            }
        }
        if let Some(layers) = self.tune_text {
            flags.push(("--tune-text", "tune_layers", whole(layers as u64)?));
        }
        if let Some(seed) = self.seed {
            flags.push(("--seed", "seed", whole(seed)?));
        }
        if !self.caption_columns.is_empty() {
            flags.push((
                "--caption-column",
                if matches!(recipe, Recipe::Text(_)) { "columns" } else { "caption_columns" },
                toml::Value::Array(self.caption_columns.iter().map(text).collect()),
            ));
        }
        for (flag, key, path) in
            [("--text-encoder", "text_encoder", &self.text_encoder), ("--clip", "clip", &self.clip)]
        {
            if let Some(path) = path {
                flags.push((flag, key, text(&hub::folder(flag, path)?.display().to_string())));
            }
        }
        for (flag, key, value) in flags {
            recipe.set(key, value).map_err(|error| Failure::usage(format!("{flag}: {error}")))?;
        }
        self.lengthen(&mut recipe)?;
        for assignment in &self.set {
            recipe.set_text(assignment).map_err(|error| Failure::usage(format!("--set {assignment}: {error}")))?;
        }
        self.check(&recipe)?;
        // So that --resume finds it from anywhere; what does not exist is reported when it is opened.
        let absolute =
            |path: &str| Path::new(path).canonicalize().ok().and_then(|path| path.to_str().map(String::from));
        let run = recipe.run_mut();
        if run.data != SCENES {
            let (kind, name) = match run.data.strip_prefix(ORACLE) {
                Some(name) => (ORACLE, name),
                None => ("", run.data.as_str()),
            };
            if let Some(path) = absolute(name) {
                run.data = format!("{kind}{path}");
            }
        }
        if let Some(backbone) = recipe.backbone_mut()
            && let Some(path) = absolute(&backbone.file)
        {
            backbone.file = path;
        }
        if let Recipe::Brush(recipe) = &mut recipe
            && let Some(path) = absolute(&recipe.clip)
        {
            recipe.clip = path;
        }
        if let Some(sentences) = recipe.sentences_mut().filter(|sentences| !sentences.text_encoder.is_empty())
            && let Some(path) = absolute(&sentences.text_encoder)
        {
            sentences.text_encoder = path;
        }
        Ok(recipe)
    }

    /// Takes over `--minutes` or `--kimg`: the one that is given decides.
    pub fn lengthen(&self, recipe: &mut Recipe) -> Result<(), Failure> {
        let (minutes, kimg) = match (self.minutes, self.kimg) {
            (Some(minutes), _) => (minutes, 0.0),
            (None, Some(kimg)) => (0.0, kimg),
            (None, None) => return Ok(()),
        };
        recipe.set("minutes", minutes.into()).map_err(|error| Failure::usage(format!("--minutes: {error}")))?;
        recipe.set("kimg", kimg.into()).map_err(|error| Failure::usage(format!("--kimg: {error}")))?;
        has_length(recipe)
    }

    /// What depends on the data: channels, classes, and augmentation where there are few pictures.
    pub fn fit_to_data(&self, recipe: &mut Recipe, data: &Data) -> Result<(), Failure> {
        recipe.run_mut().channels = data.source.channels();
        let key = if recipe.reads_captions() { "augment" } else { "by_class" };
        let chosen = |text: &str| text.split('=').next().is_some_and(|text| text.trim() == key);
        let in_file = match &self.config {
            Some(path) => table(path)?.contains_key(key),
            None => false,
        };
        let is_chosen = in_file || self.set.iter().any(|assignment| chosen(assignment));
        let classes = data.source.classes().len();
        match recipe {
            Recipe::Brush(recipe) if !is_chosen => recipe.sentences.augment = data.small(),
            Recipe::Dfgan(recipe) if !is_chosen => recipe.sentences.augment = data.small(),
            Recipe::Image(recipe) if !is_chosen => recipe.by_class = classes > 1,
            Recipe::Image(recipe) if recipe.by_class && classes == 0 => {
                return Err(Failure::usage(format!(
                    "by_class: {} has no classes; give it a folder for each class, or leave the setting out",
                    data.summary.data
                )));
            }
            _ => {}
        }
        if let Some(settings) = recipe.backbone_mut().filter(|settings| settings.is_set() && settings.sha256.is_empty())
        {
            settings.sha256 = backbone::hash(&settings.file).map_err(Failure::Usage)?;
        }
        if let Recipe::Brush(recipe) = recipe
            && recipe.clip_sha256.is_empty()
        {
            recipe.clip_sha256 = guidance::hash(&recipe.clip).map_err(Failure::Usage)?;
        }
        if let Recipe::Image(recipe) = recipe {
            ImageTrainer::check(recipe, data.source.channels(), classes).map_err(Failure::Usage)?;
        }
        Ok(())
    }

    /// The first flag that a resumed run may not be given.
    pub fn fixed_when_resuming(&self) -> Option<&'static str> {
        let given = [
            ("--recipe", self.recipe.is_some()),
            ("--data", self.data.is_some()),
            ("--level", self.level.is_some()),
            ("--size", self.size.is_some()),
            ("--seed", self.seed.is_some()),
            ("--backbone", self.backbone.is_some()),
            ("--caption-column", !self.caption_columns.is_empty()),
            ("--template", self.template.is_some()),
            ("--split", self.split.is_some()),
            ("--text-encoder", self.text_encoder.is_some()),
            ("--tune-text", self.tune_text.is_some()),
            ("--clip", self.clip.is_some()),
            ("--config", self.config.is_some()),
            ("--set", !self.set.is_empty()),
        ];
        given.into_iter().find(|(_, given)| *given).map(|(flag, _)| flag)
    }

    /// All that can be checked before any work.
    fn check(&self, recipe: &Recipe) -> Result<(), Failure> {
        let scenes = recipe.run().data == SCENES;
        if !scenes && self.level.is_some() {
            return Err(Failure::usage("--level is of the built-in scenes; leave it out, or leave out --data"));
        }
        let of_folders = [
            ("--caption-column", !self.caption_columns.is_empty()),
            ("--template", self.template.is_some()),
            ("--split", self.split.is_some()),
        ];
        if let Some((flag, _)) = of_folders.into_iter().find(|(_, given)| scenes && *given) {
            return Err(Failure::usage(format!("{flag} is of folders; name one with --data")));
        }
        if recipe.sentences().is_some_and(|text| text.tune_layers > 0 && text.text_encoder.is_empty()) {
            return Err(Failure::usage(
                "tune_layers: there is no encoder to tune; name its folder with --text-encoder",
            ));
        }
        if let Some(text) = recipe.sentences().filter(|text| !text.text_encoder.is_empty())
            && !Path::new(&text.text_encoder).exists()
        {
            return Err(Failure::usage(format!(
                "--text-encoder {}: there is no such folder; give one as Hugging Face has them, complete",
                text.text_encoder
            )));
        }
        has_length(recipe)?;
        let channels = if recipe.run().channels == 0 { 3 } else { recipe.run().channels };
        match recipe {
            Recipe::Brush(recipe) => {
                recipe.brush(channels).check().map_err(|error| Failure::usage(error.to_string()))?;
                recipe.sentences.config().check().map_err(Failure::Usage)
            }
            Recipe::Dfgan(recipe) => {
                recipe.dfgan(channels).map(drop).map_err(Failure::Usage)?;
                recipe.sentences.config().check().map_err(Failure::Usage)
            }
            // Classes are known when the data is open.
            Recipe::Image(recipe) => {
                let plain = ImageRecipe { by_class: false, ..recipe.clone() };
                plain.projected(0).map_err(Failure::Usage)?;
                plain.networks(channels, 0).map(drop).map_err(Failure::Usage)
            }
            // Its shapes are checked as they are set, and fit the texts when these are read.
            Recipe::Text(_) => Ok(()),
        }
    }
}

fn has_length(recipe: &Recipe) -> Result<(), Failure> {
    if recipe.run().minutes > 0.0 || recipe.run().kimg > 0.0 {
        return Ok(());
    }
    Err(Failure::usage("nothing would be trained: give --minutes or --kimg a number above 0"))
}

fn whole(number: u64) -> Result<toml::Value, Failure> {
    let number =
        i64::try_from(number).map_err(|_| Failure::usage(format!("{number} is too large; give less than 2^63")))?;
    Ok(number.into())
}

fn text_of(path: &Path) -> Result<String, Failure> {
    std::fs::read_to_string(path)
        .map_err(|error| Failure::Failed(format!("--config {}: {error}; check the path", path.display())))
}

fn table(path: &Path) -> Result<toml::Table, Failure> {
    let wrong = |error: toml::de::Error| Failure::usage(format!("--config {}: {error}", path.display()));
    toml::from_str(&text_of(path)?).map_err(wrong)
}

/// The recipe in a file, which may not be another than the one asked for.
fn read(path: &Path, asked: Option<&str>) -> Result<Recipe, Failure> {
    let recipe = Recipe::from_toml(&text_of(path)?)
        .map_err(|error| Failure::usage(format!("--config {}: {error}", path.display())))?;
    match asked {
        Some(name) if name != recipe.run().recipe => Err(Failure::usage(format!(
            "--recipe {name}: --config {} is of the recipe {}; leave one of them out",
            path.display(),
            recipe.run().recipe
        ))),
        _ => Ok(recipe),
    }
}
