//! Texts as tokens: those to learn, those to measure on, and what was odd about them.

use std::path::Path;

use serde::Serialize;
use shenbi_data::{DataError, rng, text};
use shenbi_models::text::oracle::{self, oracle};
use shenbi_models::text::tokenizer::TextTokenizer;
use shenbi_models::text::{END, Language, Sequences, text_length};
use shenbi_nn::file;

use crate::config::TextRecipe;
use crate::session::TrainError;

/// Data of this prefix are an oracle's own texts: `oracle:FILE`.
pub const ORACLE: &str = "oracle:";
/// Texts that the oracle writes to learn from (1609.05473, section 4.1), and to measure on.
const ORACLE_TEXTS: [usize; 2] = [10_000, 2_000];
/// A token should occur so often, on average, for its embedding to be learnt.
const OCCURRENCES: f64 = 5.0;

/// Texts to train on.
#[derive(Clone, Debug)]
pub struct TextData {
    /// Texts to tokens and back.
    pub tokenizer: TextTokenizer,
    /// Whether texts end of themselves; if not, all have the same length.
    pub ends: bool,
    /// What is learnt.
    pub train: Sequences,
    /// What is kept for measuring; may be empty.
    pub test: Sequences,
    /// What there is, for people.
    pub summary: TextSummary,
}

/// What there is to train on.
#[derive(Clone, Debug, Default, Serialize)]
pub struct TextSummary {
    /// The file.
    pub data: String,
    /// Texts to learn.
    pub texts: usize,
    /// Texts to measure on.
    pub held_out: usize,
    /// Empty lines.
    pub empty: usize,
    /// Texts cut at the length.
    pub cut: usize,
    /// Texts left out because they were longer.
    pub skipped: usize,
    /// Tokens of the longest text, the end included.
    pub length: usize,
    /// Number of tokens known.
    pub vocabulary: usize,
    /// Share of the texts' tokens that are not known.
    pub unknown: f64,
    /// What a person should know.
    pub warnings: Vec<String>,
}

impl std::fmt::Display for TextSummary {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self { data, texts, held_out, vocabulary, length, .. } = self;
        write!(f, "{data}: {texts} texts and {held_out} held out, {vocabulary} tokens, at most {length} a text")?;
        for (count, what) in [(self.empty, "empty"), (self.cut, "cut"), (self.skipped, "skipped as too long")] {
            if count > 0 {
                write!(f, "; {count} {what}")?;
            }
        }
        Ok(())
    }
}

impl TextData {
    /// Reads what `recipe` names. tokenizer_json: the one a run began with.
    ///
    /// # Errors
    /// The file cannot be read or holds nothing to learn.
    pub fn open(recipe: &TextRecipe, tokenizer_json: Option<&str>) -> Result<Self, TrainError> {
        let name = recipe.run.data.as_str();
        if name.is_empty() || name == "scenes" {
            let message =
                format!("the recipe {} learns texts: give a .txt, .csv or .jsonl file with --data", recipe.run.recipe);
            return Err(TrainError::Setting(message));
        }
        if let Some(path) = name.strip_prefix(ORACLE) {
            return Self::of_oracle(&read_oracle(Path::new(path))?, recipe.run.seed, name);
        }
        let found = text::read(Path::new(name), &recipe.columns)?;
        let tokenizer = match tokenizer_json {
            Some(json) => TextTokenizer::from_json(json).map_err(|error| error.to_string()),
            None => {
                TextTokenizer::train(recipe.unit, &found.texts, recipe.vocabulary).map_err(|error| error.to_string())
            }
        };
        let tokenizer = tokenizer.map_err(|error| TrainError::Setting(format!("tokenizer: {error}")))?;
        Self::of_texts(recipe, tokenizer, &found)
    }

    fn of_texts(recipe: &TextRecipe, tokenizer: TextTokenizer, found: &text::Texts) -> Result<Self, TrainError> {
        let mut summary = TextSummary {
            data: recipe.run.data.clone(),
            empty: found.empty,
            vocabulary: tokenizer.vocabulary(),
            ..TextSummary::default()
        };
        let (mut rows, mut unknown, mut tokens) = (Vec::with_capacity(found.texts.len()), 0, 0);
        for text in &found.texts {
            let mut row = tokenizer.encode(text).map_err(|error| TrainError::Setting(error.to_string()))?;
            unknown += row.iter().filter(|token| **token == 1).count();
            tokens += row.len();
            row.push(END);
            if row.len() > recipe.length {
                if recipe.long == "skip" {
                    summary.skipped += 1;
                    continue;
                }
                summary.cut += 1;
                row.truncate(recipe.length);
            }
            rows.push(row);
        }
        if rows.is_empty() {
            let message = format!(
                "all {} texts are longer than {} tokens; raise length, or cut them with --set long=cut",
                summary.skipped, recipe.length
            );
            return Err(TrainError::Data(DataError::file(&recipe.run.data, message)));
        }
        if !matches!(tokenizer, TextTokenizer::Bytes(_)) {
            summary.unknown = unknown as f64 / tokens.max(1) as f64;
        }
        let each = tokens as f64 / tokenizer.vocabulary() as f64;
        if each < OCCURRENCES {
            summary.warnings.push(format!(
                "a vocabulary of {} is large for {tokens} tokens of text: each occurs {each:.1} times on average; lower \
                 it with --set vocabulary=N, or take unit=bytes or unit=characters",
                tokenizer.vocabulary()
            ));
        }
        if summary.unknown > 0.05 {
            let share = summary.unknown * 100.0;
            summary.warnings.push(format!("{share:.0}% of the tokens are not in the vocabulary; raise vocabulary"));
        }
        if summary.cut * 2 > rows.len() {
            summary.warnings.push(format!(
                "{} of {} texts are cut at length = {}",
                summary.cut,
                rows.len(),
                recipe.length
            ));
        }
        if rows.len() < 2 {
            summary.warnings.push("one text only: all that can be learnt is to repeat it".to_string());
        }
        summary.length = rows.iter().map(Vec::len).max().unwrap_or(1);
        let mut places: Vec<usize> = (0..rows.len()).collect();
        rng::shuffle(&mut rng::stream(recipe.run.seed, "held-out", 0), &mut places);
        let kept = ((rows.len() as f64 * recipe.held_out).round() as usize).min(rows.len() - 1);
        let part = |places: &[usize]| {
            let mut places = places.to_vec();
            places.sort_unstable();
            let padded = places.iter().flat_map(|place| {
                let row = &rows[*place];
                row.iter().copied().chain(std::iter::repeat_n(END, summary.length - row.len()))
            });
            Sequences { length: summary.length, ids: padded.collect() }
        };
        let (test, train) = (part(&places[..kept]), part(&places[kept..]));
        (summary.texts, summary.held_out) = (train.rows(), test.rows());
        Ok(Self { tokenizer, ends: true, train, test, summary })
    }

    /// Texts that an oracle wrote.
    fn of_oracle(oracle: &Language, seed: u64, name: &str) -> Result<Self, TrainError> {
        let write = |rows: usize, stream: &str| {
            let mut stream = rng::stream(seed, stream, 0);
            oracle.write(rows, oracle::LENGTH, false, 1.0, || rng::uniform(&mut stream))
        };
        let [train, test] = [write(ORACLE_TEXTS[0], "oracle/train"), write(ORACLE_TEXTS[1], "oracle/test")];
        let vocabulary = oracle.out().weight.dims()[0];
        let summary = TextSummary {
            data: name.to_string(),
            texts: train.rows(),
            held_out: test.rows(),
            length: oracle::LENGTH,
            vocabulary,
            ..TextSummary::default()
        };
        Ok(Self { tokenizer: TextTokenizer::Numbers(vocabulary), ends: false, train, test, summary })
    }

    /// The batch that begins with example number `first` of a run: every text once, in a new order each time.
    pub fn batch(&self, seed: u64, first: u64, size: usize) -> Sequences {
        let n = self.train.rows() as u64;
        let (mut epoch, mut order) = (u64::MAX, Vec::new());
        let places: Vec<usize> = (first..first + size as u64)
            .map(|example| {
                if example / n != epoch {
                    epoch = example / n;
                    order = (0..n as usize).collect();
                    rng::shuffle(&mut rng::stream(seed, "order", epoch), &mut order);
                }
                order[(example % n) as usize]
            })
            .collect();
        self.trimmed(self.train.select(&places))
    }

    /// Texts without the padding that all of them have.
    fn trimmed(&self, texts: Sequences) -> Sequences {
        if !self.ends {
            return texts;
        }
        let length = texts.iter().map(text_length).max().unwrap_or(1);
        Sequences { length, ids: texts.iter().flat_map(|row| row[..length].to_vec()).collect() }
    }
}

/// The oracle in a file.
///
/// # Errors
/// The file cannot be read or holds none.
pub fn read_oracle(path: &Path) -> Result<Language, TrainError> {
    let bytes = std::fs::read(path).map_err(|error| TrainError::Data(DataError::io(path, error)))?;
    let wrong = |message: String| TrainError::Data(DataError::file(path, message));
    let (named, _) = file::from_bytes(&bytes).map_err(|error| wrong(error.to_string()))?;
    oracle(&named, &burn::tensor::Device::flex()).map_err(wrong)
}
