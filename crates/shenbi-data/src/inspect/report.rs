//! The report, for programs (serde) and for people (`Display`).

use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::path::PathBuf;

use super::captions::CaptionReport;
use crate::folder::{Layout, Skipped};

/// What [`super::inspect`] found.
#[derive(Clone, Debug, serde::Serialize)]
pub struct Report {
    /// The folder or archive.
    pub path: PathBuf,
    /// Where the captions came from.
    pub layout: Layout,
    /// Readable pictures.
    pub pictures: usize,
    /// Pictures by format.
    pub formats: BTreeMap<String, usize>,
    /// Their sizes.
    pub sizes: Sizes,
    /// Pictures by channels: 1, 3 or 4.
    pub channels: BTreeMap<usize, usize>,
    /// Pictures with a pixel that is not opaque.
    pub transparent: usize,
    /// Their captions.
    pub captions: CaptionReport,
    /// Pictures that are the same, pixel by pixel.
    pub duplicate_pictures: Duplicates,
    /// Readable pictures by class.
    pub classes: Vec<(String, usize)>,
    /// Pictures that cannot be used, and why.
    pub skipped: Vec<Skipped>,
    /// Plain sentences on what to expect and what to do.
    pub recommendations: Vec<String>,
}

/// The smallest, the middle and the largest of some numbers; zeros where there are none.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub struct Range {
    /// The smallest.
    pub min: usize,
    /// The middle one (the upper of the two).
    pub median: usize,
    /// The largest.
    pub max: usize,
}

impl Range {
    pub(super) fn of(mut values: Vec<usize>) -> Self {
        values.sort_unstable();
        let at = |i: usize| values.get(i).copied().unwrap_or(0);
        Self { min: at(0), median: at(values.len() / 2), max: at(values.len().saturating_sub(1)) }
    }
}

impl fmt::Display for Range {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { min, median, max } = self;
        if min == max { write!(f, "{min}") } else { write!(f, "{min} to {max} (median {median})") }
    }
}

/// Picture sizes in pixels.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Sizes {
    /// Widths.
    pub width: Range,
    /// Heights.
    pub height: Range,
    /// The five most common sizes as (width, height, count).
    pub most_common: Vec<(usize, usize, usize)>,
}

impl Sizes {
    pub(super) fn of(sizes: &[(usize, usize)]) -> Self {
        let mut counts = HashMap::new();
        for &size in sizes {
            *counts.entry(size).or_insert(0) += 1;
        }
        Self {
            width: Range::of(sizes.iter().map(|s| s.0).collect()),
            height: Range::of(sizes.iter().map(|s| s.1).collect()),
            most_common: by_count(counts).into_iter().take(5).map(|((w, h), n)| (w, h, n)).collect(),
        }
    }
}

/// Things that occur more than once.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct Duplicates {
    /// How many could go without losing anything.
    pub extra: usize,
    /// The first 20 groups: names of equal pictures, or a caption and its count.
    pub groups: Vec<Vec<String>>,
}

/// The most frequent first; equally frequent ones in their own order.
pub(super) fn by_count<T: Ord>(counts: impl IntoIterator<Item = (T, usize)>) -> Vec<(T, usize)> {
    let mut sorted: Vec<(T, usize)> = counts.into_iter().collect();
    sorted.sort_by(|a, b| b.1.cmp(&a.1).then_with(|| a.0.cmp(&b.0)));
    sorted
}

/// "1 picture is", "3 pictures are"
fn pictures(count: usize, one: &str, several: &str) -> String {
    if count == 1 { format!("1 picture {one}") } else { format!("{count} pictures {several}") }
}

impl Report {
    /// Fills in the recommendations for training at `size` (height, width).
    pub(super) fn recommend(&mut self, [height, width]: [usize; 2], sizes: &[(usize, usize)]) {
        let mut say = Vec::new();
        match self.pictures {
            0 => say.push("No picture is readable: nothing can be trained.".to_string()),
            n @ 1..200 => say.push(format!(
                "Only {}: expect memorisation; some hundred are a start, some thousand are good.",
                pictures(n, "", "").trim()
            )),
            n @ 200..1000 => {
                say.push(format!("{n} pictures are few: keep augmentation on and watch for memorisation."))
            }
            _ => {}
        }
        let small = sizes.iter().filter(|s| s.0 < width || s.1 < height).count();
        if small > 0 {
            let count = pictures(small, "is", "are");
            say.push(format!("{count} smaller than the training size {height}x{width} and would be enlarged."));
        }
        let ratio = |(w, h): (usize, usize)| (w * height) as f64 / (h * width) as f64;
        let odd = sizes.iter().filter(|&&s| !(0.5..=2.0).contains(&ratio(s))).count();
        if odd > 0 {
            let count = pictures(odd, "is", "are");
            say.push(format!(
                "{count} far from the training shape: cover would crop over half; consider fit = contain."
            ));
        }
        if self.transparent > 0 && self.transparent < self.pictures {
            let (some, all) = (self.transparent, self.pictures);
            say.push(format!("{some} of {all} pictures have transparency: train RGBA, or RGB to put them on white."));
        }
        if self.captions.missing > 0 && self.captions.count > 0 {
            let count = pictures(self.captions.missing, "has", "have");
            say.push(format!("{count} no caption and would be skipped in text-to-image training."));
        } else if self.captions.count == 0 && self.pictures > 0 {
            say.push("There are no captions: only recipes without text can be trained.".to_string());
        }
        if self.captions.count > 1 && self.captions.duplicates.extra + 1 == self.captions.count {
            say.push("All captions are the same: a prompt will have no influence.".to_string());
        }
        if self.duplicate_pictures.extra > 0 {
            let count = pictures(self.duplicate_pictures.extra, "is a copy", "are copies");
            say.push(format!("{count} of others, pixel by pixel: remove them, or they count twice."));
        }
        let lone: Vec<&str> = self.classes.iter().filter(|c| c.1 == 1).map(|c| c.0.as_str()).collect();
        match lone.as_slice() {
            [] => {}
            [class] => say.push(format!("Class {class} has only one picture.")),
            several => {
                let shown = several.iter().take(5).copied().collect::<Vec<_>>().join(", ");
                say.push(format!("{} classes have only one picture: {shown}.", several.len()));
            }
        }
        let most = self.classes.iter().map(|c| c.1).max().unwrap_or(0);
        let least = self.classes.iter().map(|c| c.1).filter(|&n| n > 1).min().unwrap_or(most);
        if most > 10 * least {
            say.push(format!("Classes are uneven: from {least} to {most} pictures."));
        }
        if !self.skipped.is_empty() {
            say.push(format!("{} skipped; see the list.", pictures(self.skipped.len(), "is", "are")));
        }
        self.recommendations = say;
    }
}

impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let counts = |items: Vec<String>| if items.is_empty() { "none".to_string() } else { items.join(", ") };
        writeln!(f, "{}", self.path.display())?;
        writeln!(f, "  layout        {}", self.layout)?;
        let formats = counts(self.formats.iter().map(|(name, n)| format!("{n} {name}")).collect());
        writeln!(f, "  pictures      {} ({formats})", self.pictures)?;
        writeln!(f, "  width         {}", self.sizes.width)?;
        writeln!(f, "  height        {}", self.sizes.height)?;
        let common = self.sizes.most_common.iter().map(|(w, h, n)| format!("{w}x{h}: {n}")).collect();
        writeln!(f, "  common sizes  {}", counts(common))?;
        let kind = |c: usize| ["", "grey", "", "RGB", "RGBA"].get(c).copied().unwrap_or("");
        let kinds = counts(self.channels.iter().map(|(&c, n)| format!("{n} {}", kind(c))).collect());
        writeln!(f, "  channels      {kinds}; {} with transparency", self.transparent)?;
        let c = &self.captions;
        writeln!(f, "  captions      {}, a picture has {}", c.count, c.per_picture)?;
        if c.count > 0 {
            writeln!(f, "  length        {} characters, {} words", c.characters, c.words)?;
            let scripts = counts(c.scripts.iter().map(|(name, n)| format!("{n} {name}")).collect());
            writeln!(f, "  scripts       {scripts}")?;
            writeln!(f, "  vocabulary    {} words, {} of them once only", c.vocabulary, c.rare_words)?;
            let frequent = counts(c.frequent.iter().map(|(word, n)| format!("{word} {n}")).collect());
            writeln!(f, "  frequent      {frequent}")?;
        }
        writeln!(f, "  duplicates    {} pictures, {} captions", self.duplicate_pictures.extra, c.duplicates.extra)?;
        if !self.classes.is_empty() {
            let shown = self.classes.iter().take(20).map(|(name, n)| format!("{name} {n}")).collect();
            writeln!(f, "  classes       {}: {}", self.classes.len(), counts(shown))?;
        }
        writeln!(f, "  skipped       {}", self.skipped.len())?;
        for Skipped { name, reason } in self.skipped.iter().take(10) {
            writeln!(f, "    {name}: {reason}")?;
        }
        if self.skipped.len() > 10 {
            writeln!(f, "    and {} more", self.skipped.len() - 10)?;
        }
        for sentence in &self.recommendations {
            writeln!(f, "  * {sentence}")?;
        }
        Ok(())
    }
}
