//! `shenbi evaluate` of a model of texts: likelihoods, BLEU against real texts, variety, and what was copied. The first row
//! is what real texts score, against others.

use std::path::Path;

use serde::Serialize;
use shenbi_data::{rng, text};
use shenbi_metrics::text::ngrams::copied_whole;
use shenbi_metrics::text::{
    JudgeOptions, Likelihood, References, Words, copied, distinct, judge, known, likelihood, self_bleu,
};
use shenbi_models::text::tokenizer::TextTokenizer;
use shenbi_models::text::{END, Sequences, TextModel};
use shenbi_nn::kernels::{Precision, auto_precision, set_precision};
use shenbi_train::text::data::read_oracle;

use super::learnt::{ByHeart, learnt_by};
use super::plot::{Curve, quality_and_variety};
use super::text_embeddings::Embeddings;
use super::text_sides::{Side, sides};
use super::{Args, Row, Scores, failed};
use crate::failure::Failure;

/// Texts that are generated, if not told.
const TEXTS: u64 = 1000;
/// Temperatures of a plot, if not told.
const SWEEP: [f32; 8] = [0.5, 0.6, 0.7, 0.8, 0.9, 1.0, 1.1, 1.2];
/// Words of the n-grams whose copies are counted.
pub(super) const COPIED: usize = 5;

/// What was measured of one set of texts.
#[derive(Serialize, Default)]
pub struct TextScores {
    /// -log p of real texts that were not learnt, by the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_out: Option<Likelihood>,
    /// -log p of the texts, by the oracle.
    #[serde(skip_serializing_if = "Option::is_none")]
    oracle: Option<Likelihood>,
    /// -log p of the texts, by a model that learnt from real ones.
    #[serde(skip_serializing_if = "Option::is_none")]
    quality: Option<Likelihood>,
    /// -log p of real texts, by a model that learnt from these.
    #[serde(skip_serializing_if = "Option::is_none")]
    reverse: Option<Likelihood>,
    /// BLEU-2 to BLEU-5 against real texts.
    bleu: Vec<f64>,
    /// Self-BLEU-2 to -5.
    self_bleu: Vec<f64>,
    /// distinct-1 to -3.
    distinct: Vec<f64>,
    /// Share of n-grams of five words that stand in the first half of the real texts.
    copied: f64,
    /// Share of texts that do, whole.
    copied_whole: f64,
    /// The same of the texts that the model learnt from, where its run folder says where they are.
    #[serde(skip_serializing_if = "Option::is_none")]
    by_heart: Option<ByHeart>,
    /// Fréchet distance of sentence embeddings from real texts'.
    #[serde(skip_serializing_if = "Option::is_none")]
    sentences: Option<f64>,
    /// Why that says little, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    sentences_warning: Option<String>,
    /// How it was measured.
    pub(super) protocol: String,
}

impl TextScores {
    /// Where a plot has it: how far from variety, and how far from quality.
    fn place(&self) -> Option<[f64; 2]> {
        Some([self.reverse?.nll, self.quality?.nll])
    }

    pub(super) fn lines(&self) -> Vec<String> {
        let list = |values: &[f64]| values.iter().map(|value| format!("{value:.3}")).collect::<Vec<_>>().join(" ");
        let mut lines = Vec::new();
        for (name, likelihood) in
            [("held out", self.held_out), ("oracle", self.oracle), ("judge", self.quality), ("reverse", self.reverse)]
        {
            if let Some(Likelihood { nll, bits_per_character, tokens }) = likelihood {
                let bits = bits_per_character.map_or_else(String::new, |bits| format!(", {bits:.3} bits a character"));
                lines.push(format!("NLL {name} {nll:.4} a token{bits} ({tokens} tokens)"));
            }
        }
        lines.push(format!("BLEU-2..5 {}  self-BLEU-2..5 {}", list(&self.bleu), list(&self.self_bleu)));
        lines.push(format!(
            "distinct-1..3 {}  copied 5-grams {:.1}%, whole texts {:.1}%",
            list(&self.distinct),
            self.copied * 100.0,
            self.copied_whole * 100.0
        ));
        if let Some(ByHeart { ngrams, whole }) = self.by_heart {
            let (ngrams, whole) = (ngrams * 100.0, whole * 100.0);
            lines.push(format!("of the texts it learnt from: 5-grams {ngrams:.1}%, whole texts {whole:.1}%"));
        }
        if let Some(distance) = self.sentences {
            let warning = self.sentences_warning.as_ref().map_or_else(String::new, |text| format!("; warning: {text}"));
            lines.push(format!("Fréchet distance of sentence embeddings {distance:.4}{warning}"));
        }
        lines
    }
}

/// The rows of the table: real texts, then each temperature.
pub fn rows(args: &Args, name: &str, model: TextModel) -> Result<Vec<Row>, Failure> {
    // Products in f32: these are measurements. Judges learn at whatever is fastest.
    set_precision(Precision::F32);
    let temperatures = match (&args.temperature[..], &args.plot) {
        ([], None) => vec![1.0],
        ([], Some(_)) => SWEEP.to_vec(),
        (given, _) => given.to_vec(),
    };
    if let Some(bad) = temperatures.iter().find(|t| !(0.0..=100.0).contains(*t)) {
        return Err(Failure::usage(format!("--temperature {bad}: expected a number from 0 to 100")));
    }
    let sides = sides(name, model, &args.against)?;
    let model = &sides[0].model;
    let count = args.number.unwrap_or(TEXTS) as usize;
    let characters = matches!(model.tokenizer, TextTokenizer::Characters { .. });
    let oracle = args.oracle.as_deref().map(read_oracle).transpose()?;
    if args.data == "scenes" && oracle.is_none() {
        return Err(Failure::usage(
            "--data: this model writes texts; give a file of real ones to compare with (.txt, .csv, .jsonl), or --oracle",
        ));
    }
    let mut real: Vec<String> = match &oracle {
        Some(oracle) if args.data == "scenes" => {
            if oracle.out().weight.dims()[0] != model.tokenizer.vocabulary() {
                return Err(Failure::usage(
                    "--oracle: its vocabulary is not the model's; the model learnt other texts",
                ));
            }
            let mut stream = rng::stream(args.seed, "evaluate/oracle", 0);
            let texts = oracle.write(2 * count, model.config.length, false, 1.0, || rng::uniform(&mut stream));
            model.decode(&texts)
        }
        _ => text::read(Path::new(&args.data), &args.caption_columns)?.texts,
    };
    if real.len() < 4 {
        return Err(Failure::usage(format!("--data {}: {} texts are too few to compare with", args.data, real.len())));
    }
    // A file may have an order; its halves shall not.
    rng::shuffle(&mut rng::stream(args.seed, "evaluate/real", 0), &mut real);
    let tokens = encoded(model, &real)?;
    let judge_of = |texts: &Sequences| {
        let vocabulary = model.tokenizer.vocabulary();
        set_precision(auto_precision());
        let judge = judge(texts, vocabulary, model.config.ends, JudgeOptions::default()).map_err(failed);
        set_precision(Precision::F32);
        judge
    };
    let mut words = Words::default();
    let real_words: Vec<Vec<u32>> = real.iter().map(|text| words.of(text, characters)).collect();
    // Every other text of a random order is a reference, the others are what real texts score.
    let half = |odd: usize| real_words.iter().skip(odd).step_by(2).cloned().collect::<Vec<_>>();
    let (references, others) = (half(0), half(1));
    let counted = References::new(&references, 5);
    let places = |odd: usize| (odd..tokens.rows()).step_by(2).take(5000).collect::<Vec<_>>();
    let measured = tokens.select(&places(0));
    let (ends, unknown) = (model.config.ends, model.tokenizer.unknown_token());
    let counts = known(&measured, ends, unknown);
    let characters_of = || {
        let known = |text: &[u32]| text.iter().copied().filter(|token| Some(*token) != unknown).collect::<Vec<_>>();
        let texts =
            measured.iter().map(|text| model.tokenizer.decode(&known(text)).chars().count() + usize::from(ends));
        texts.sum()
    };
    let left_out = match measured.mask(ends).iter().sum::<f32>() {
        all if all > 0.0 => 1.0 - counts.iter().sum::<f32>() / all,
        _ => 0.0,
    };
    let embeddings = args.sentence_encoder.as_deref().map(|folder| {
        let references: Vec<&str> = real.iter().step_by(2).map(String::as_str).collect();
        Embeddings::open(folder, &references)
    });
    let embeddings = embeddings.transpose()?;
    let critic = judge_of(&measured)?;
    let score = |written: &[&str], texts: &[Vec<u32>], ids: &Sequences, what: &str| -> Result<TextScores, Failure> {
        let mask = known(ids, ends, unknown);
        let oracle = oracle.as_ref().map(|oracle| likelihood(oracle, ids, &mask, None)).transpose();
        let reverse = likelihood(&judge_of(ids)?, &measured, &counts, None);
        let quality = likelihood(&critic, ids, &mask, None);
        let sentences = embeddings.as_ref().map(|embeddings| embeddings.distance(written)).transpose()?;
        Ok(TextScores {
            held_out: None,
            oracle: oracle.map_err(failed)?,
            quality: Some(quality.map_err(failed)?),
            reverse: Some(reverse.map_err(failed)?),
            bleu: counted.bleu(texts)[1..].to_vec(),
            self_bleu: self_bleu(texts, 5)[1..].to_vec(),
            distinct: (1..=3).map(|n| distinct(texts, n)).collect(),
            copied: copied(texts, &references, COPIED),
            copied_whole: copied_whole(texts, &references),
            by_heart: None,
            sentences: sentences.as_ref().map(|found| found.distance),
            sentences_warning: sentences.and_then(|found| found.warning),
            protocol: format!(
                "{what}; likelihoods without unknown words ({:.1}% of real texts); BLEU of NLTK's smoothing method 1 \
                 against {} real texts; seed {}{}",
                left_out * 100.0,
                references.len(),
                args.seed,
                embeddings.as_ref().map_or_else(String::new, |embeddings| format!("; {}", embeddings.protocol()))
            ),
        })
    };
    let mut rows = Vec::new();
    let others = &others[..count.min(others.len())];
    // As many as are generated: a judge that learns from more of them is a better one.
    let ids = tokens.select(&places(1)[..others.len().min(5000)]);
    let real_texts: Vec<&str> = real.iter().skip(1).step_by(2).take(count).map(String::as_str).collect();
    let real_scores = score(&real_texts, others, &ids, &format!("{} real texts against others", others.len()))?;
    let mark = real_scores.place();
    rows.push(Row { what: "real texts".to_string(), scores: Scores::Text(real_scores) });
    let mut curves = Vec::new();
    for Side { name, path, model: side } in &sides {
        let same = tokens_of(side)? == tokens_of(model)? && side.config.length == model.config.length;
        let own = same.then(|| likelihood(&side.language, &measured, &counts, Some(characters_of())));
        let held_out = own.transpose().map_err(failed)?;
        let learnt = learnt_by(path, &mut words, characters);
        let mut points = Vec::new();
        for &temperature in &temperatures {
            let mut stream = rng::stream(args.seed, "evaluate/texts", 0);
            let mut ids = Sequences { length: side.config.length, ids: Vec::new() };
            for first in (0..count).step_by(256) {
                let part = side.write(256.min(count - first), temperature, || rng::uniform(&mut stream));
                ids.ids.extend(part.ids);
            }
            let written = side.decode(&ids);
            let ids = if same { ids } else { encoded(model, &written)? };
            let texts: Vec<Vec<u32>> = written.iter().map(|text| words.of(text, characters)).collect();
            let written: Vec<&str> = written.iter().map(String::as_str).collect();
            let mut scores = score(&written, &texts, &ids, &format!("{count} texts at temperature {temperature}"))?;
            scores.held_out = held_out;
            scores.by_heart = learnt.as_ref().map(|learnt| ByHeart::of(&texts, learnt));
            points.extend(scores.place().map(|place| (place, format!("{temperature}"))));
            let what = match sides.len() {
                1 => format!("temperature {temperature}"),
                _ => format!("{name}, temperature {temperature}"),
            };
            rows.push(Row { what, scores: Scores::Text(scores) });
        }
        curves.push(Curve { name: name.clone(), points });
    }
    if let (Some(path), Some(mark)) = (&args.plot, mark) {
        quality_and_variety(path, &curves, mark)?;
    }
    Ok(rows)
}

/// What a model's tokens stand for.
fn tokens_of(model: &TextModel) -> Result<String, Failure> {
    model.tokenizer.to_json().map_err(|error| Failure::Failed(error.to_string()))
}

/// Texts as the model would have learnt them: cut at its length, and padded to it.
fn encoded(model: &TextModel, texts: &[String]) -> Result<Sequences, Failure> {
    let length = model.config.length;
    let mut ids = Vec::with_capacity(texts.len() * length);
    for text in texts {
        let row = model.tokenizer.encode(text).map_err(|error| Failure::Failed(error.to_string()))?;
        ids.extend(row.iter().copied().chain(std::iter::repeat(END)).take(length));
    }
    Ok(Sequences { length, ids })
}
