//! The data that a recipe names: the built-in scenes, or a folder or archive of captioned pictures.

use std::path::Path;
use std::sync::Arc;

use serde::Serialize;
use shenbi_data::Source;
use shenbi_data::folder::{Folder, FolderOptions};
use shenbi_data::mnist::Mnist;
use shenbi_data::scenes::{Level, Scenes, ScenesOptions, Split, showcase};
use shenbi_train::config::{ImageRecipe, Recipe, RunSettings};
use shenbi_train::session::spread_captions;

use crate::failure::Failure;
use crate::values;

/// What a recipe calls the built-in scenes.
pub const SCENES: &str = "scenes";
/// Data sets of fewer pictures are augmented unless the user says otherwise.
const SMALL: u64 = 20_000;
/// Prompts of a sample grid.
const SAMPLES: usize = 8;
/// Prompts painted at the end, half of them Chinese where there are any.
const PAINTED: usize = 6;

/// An opened data set.
pub struct Data {
    /// What the loader reads.
    pub source: Arc<dyn Source>,
    /// What it is, for people and scripts.
    pub summary: Summary,
    level: Option<Level>,
}

/// What there is to train on.
#[derive(Debug, Serialize)]
pub struct Summary {
    /// `scenes`, or the path.
    pub data: String,
    /// How captions are stored, or the level of the scenes.
    pub layout: String,
    /// Number of pictures; nothing for endless scenes.
    pub pictures: Option<u64>,
    /// Number of captions, where the recipe reads them.
    pub captions: Option<usize>,
    /// Number of classes; 0 where there are none.
    pub classes: usize,
    /// Pictures left out when opening; damaged ones show later.
    pub skipped: usize,
    /// Why the first of them was.
    pub first_skipped: Option<String>,
    /// 1, 3 or 4.
    pub channels: usize,
}

impl std::fmt::Display for Summary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let kind = ["", "grey", "", "RGB", "RGBA"].get(self.channels).copied().unwrap_or_default();
        let Self { data, layout, skipped, .. } = self;
        let Some(pictures) = self.pictures else {
            return write!(f, "built-in scenes ({kind}), level {layout}, endless");
        };
        write!(f, "{data}: {pictures} pictures ({kind})")?;
        match (self.captions, self.classes) {
            (Some(captions), _) => write!(f, " with {captions} captions, from {layout}")?,
            (None, 0) => {}
            (None, classes) => write!(f, " in {classes} classes, from {layout}")?,
        }
        match &self.first_skipped {
            Some(first) => write!(f, "; {skipped} skipped, the first: {first}"),
            None => write!(f, "; none skipped"),
        }
    }
}

impl Data {
    /// Opens what `recipe` names.
    pub fn open(recipe: &Recipe) -> Result<Self, Failure> {
        if recipe.run().data == SCENES { Self::scenes(recipe.run()) } else { Self::folder(recipe) }
    }

    fn scenes(run: &RunSettings) -> Result<Self, Failure> {
        let level = values::level(&run.level).map_err(|error| Failure::usage(format!("level {error}")))?;
        if !matches!(run.channels, 0 | 3) {
            let message = format!("channels = {}: scenes have 3 (RGB); leave the setting out", run.channels);
            return Err(Failure::usage(message));
        }
        let size = [run.height, run.width];
        let scenes = Scenes::new(ScenesOptions { size, level, seed: run.seed, split: Split::Train })?;
        let summary = Summary {
            data: SCENES.to_string(),
            layout: run.level.clone(),
            pictures: None,
            captions: None,
            classes: 0,
            skipped: 0,
            first_skipped: None,
            channels: 3,
        };
        Ok(Self { source: Arc::new(scenes), summary, level: Some(level) })
    }

    fn folder(recipe: &Recipe) -> Result<Self, Failure> {
        let run = recipe.run();
        let path = Path::new(&run.data);
        if !path.exists() {
            let message = format!("--data {}: no such folder or archive; give a path, or 'scenes'", run.data);
            return Err(Failure::Failed(message));
        }
        if let (Recipe::Image(recipe), true) = (recipe, Mnist::is_in(path)) {
            return Self::digits(recipe, path);
        }
        let mut options = FolderOptions {
            size: [run.height, run.width],
            channels: (run.channels > 0).then_some(run.channels),
            split: (!run.split.is_empty()).then(|| run.split.clone()),
            ..FolderOptions::default()
        };
        match recipe.sentences() {
            Some(text) => {
                options.caption_columns.clone_from(&text.caption_columns);
                options.template.clone_from(&text.template);
            }
            None => options.captions_required = false,
        }
        let folder = Folder::open(path, &options)?;
        let summary = Summary {
            data: run.data.clone(),
            layout: folder.layout().to_string(),
            pictures: Some(folder.count() as u64),
            captions: recipe.reads_captions().then(|| folder.all_captions().iter().map(Vec::len).sum()),
            classes: folder.classes().len(),
            skipped: folder.skipped().len(),
            first_skipped: folder.skipped().first().map(|s| format!("{}: {}", s.name, s.reason)),
            channels: Source::channels(&folder),
        };
        Ok(Self { source: Arc::new(folder), summary, level: None })
    }

    fn digits(recipe: &ImageRecipe, path: &Path) -> Result<Self, Failure> {
        let run = &recipe.run;
        let mnist = Mnist::open(path, [run.height, run.width], recipe.stacked.then_some(run.seed))?;
        let summary = Summary {
            data: run.data.clone(),
            layout: "idx files".to_string(),
            pictures: Some(mnist.count() as u64),
            captions: None,
            classes: mnist.classes().len(),
            skipped: 0,
            first_skipped: None,
            channels: mnist.channels(),
        };
        Ok(Self { source: Arc::new(mnist), summary, level: None })
    }

    /// Whether so few pictures call for augmentation.
    pub fn small(&self) -> bool {
        self.summary.pictures.is_some_and(|pictures| pictures < SMALL)
    }

    /// Prompts for the sample grids: of the scenes, half of them held out.
    pub fn sample_prompts(&self) -> Result<Vec<String>, Failure> {
        let Some(level) = self.level else { return Ok(spread_captions(self.source.as_ref(), SAMPLES)?) };
        let held_out = showcase(level).into_iter().map(|(prompt, _)| prompt);
        let mut prompts: Vec<String> =
            held_out.enumerate().filter(|(i, _)| i % 3 < 2).map(|(_, prompt)| prompt).collect();
        prompts.extend(spread_captions(self.source.as_ref(), SAMPLES - prompts.len())?);
        Ok(prompts)
    }

    /// Prompts for the picture at the end of a run.
    pub fn painted_prompts(&self) -> Result<Vec<String>, Failure> {
        if let Some(level) = self.level {
            return Ok(showcase(level).into_iter().map(|(prompt, _)| prompt).collect());
        }
        let count = self.source.len().unwrap_or(0);
        let looked_at = count.min(240);
        let (mut chinese, mut others): (Vec<String>, Vec<String>) = (Vec::new(), Vec::new());
        for i in 0..looked_at {
            let captions = self.source.captions(i * count / looked_at)?;
            let is_new = |caption: &&String| !chinese.contains(caption) && !others.contains(caption);
            // By turns, so that the two languages show different pictures.
            let wanted = captions.iter().filter(is_new).find(|caption| is_chinese(caption) == (i % 2 == 1));
            if let Some(caption) = wanted.or_else(|| captions.iter().find(is_new)) {
                let list = if is_chinese(caption) { &mut chinese } else { &mut others };
                list.push(caption.clone());
            }
        }
        let first = PAINTED / 2 + (PAINTED / 2).saturating_sub(chinese.len());
        let mut prompts = spread(&others, first);
        prompts.extend(spread(&chinese, PAINTED - prompts.len()));
        Ok(prompts)
    }
}

/// At most `count` of `items`, from all over.
fn spread(items: &[String], count: usize) -> Vec<String> {
    let count = count.min(items.len());
    (0..count).map(|i| items[i * items.len() / count].clone()).collect()
}

fn is_chinese(text: &str) -> bool {
    text.chars().any(|c| ('\u{4e00}'..='\u{9fff}').contains(&c))
}
