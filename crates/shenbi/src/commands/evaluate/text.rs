//! `shenbi evaluate` of a model of texts: likelihoods, BLEU against real texts, variety, and what was copied. The first row
//! is what real texts score, against others.

use std::path::Path;

use serde::Serialize;
use shenbi_data::{rng, text};
use shenbi_metrics::text::ngrams::copied_whole;
use shenbi_metrics::text::{
    Likelihood, References, ReverseOptions, Words, copied, distinct, likelihood, reverse_likelihood, self_bleu,
};
use shenbi_models::text::tokenizer::TextTokenizer;
use shenbi_models::text::{END, Sequences, TextModel};
use shenbi_train::text::data::read_oracle;

use super::{Args, Row, Scores, failed};
use crate::failure::Failure;

/// Texts that are generated, if not told.
const TEXTS: u64 = 1000;
/// Words of the n-grams whose copies are counted.
const COPIED: usize = 5;

/// What was measured of one set of texts.
#[derive(Serialize, Default)]
pub struct TextScores {
    /// -log p of real texts that were not learnt, by the model.
    #[serde(skip_serializing_if = "Option::is_none")]
    held_out: Option<Likelihood>,
    /// -log p of the texts, by the oracle.
    #[serde(skip_serializing_if = "Option::is_none")]
    oracle: Option<Likelihood>,
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
    /// How it was measured.
    pub(super) protocol: String,
}

impl TextScores {
    pub(super) fn lines(&self) -> Vec<String> {
        let list = |values: &[f64]| values.iter().map(|value| format!("{value:.3}")).collect::<Vec<_>>().join(" ");
        let mut lines = Vec::new();
        for (name, likelihood) in
            [("NLL held out", self.held_out), ("NLL oracle", self.oracle), ("NLL reverse", self.reverse)]
        {
            if let Some(Likelihood { nll, bits_per_character, tokens }) = likelihood {
                let bits = bits_per_character.map_or_else(String::new, |bits| format!(", {bits:.3} bits a character"));
                lines.push(format!("{name} {nll:.4} a token{bits} ({tokens} tokens)"));
            }
        }
        lines.push(format!("BLEU-2..5 {}  self-BLEU-2..5 {}", list(&self.bleu), list(&self.self_bleu)));
        lines.push(format!(
            "distinct-1..3 {}  copied 5-grams {:.1}%, whole texts {:.1}%",
            list(&self.distinct),
            self.copied * 100.0,
            self.copied_whole * 100.0
        ));
        lines
    }
}

/// The rows of the table: real texts, then each temperature.
pub fn rows(args: &Args, model: &TextModel) -> Result<Vec<Row>, Failure> {
    // Products in f32: these are measurements.
    shenbi_nn::kernels::set_precision(shenbi_nn::kernels::Precision::F32);
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
    let mut words = Words::default();
    let real_words: Vec<Vec<u32>> = real.iter().map(|text| words.of(text, characters)).collect();
    // Every other text of a random order is a reference, the others are what real texts score.
    let half = |odd: usize| real_words.iter().skip(odd).step_by(2).cloned().collect::<Vec<_>>();
    let (references, others) = (half(0), half(1));
    let counted = References::new(&references, 5);
    let places = |odd: usize| (odd..tokens.rows()).step_by(2).take(5000).collect::<Vec<_>>();
    let measured = tokens.select(&places(0));
    let characters_of =
        || places(0).iter().map(|place| real[*place].chars().count() + usize::from(model.config.ends)).sum();
    let held_out = likelihood(&model.language, &measured, model.config.ends, Some(characters_of())).map_err(failed)?;
    let score = |texts: &[Vec<u32>], ids: &Sequences, what: &str| -> Result<TextScores, Failure> {
        let ends = model.config.ends;
        let vocabulary = model.tokenizer.vocabulary();
        let oracle = oracle.as_ref().map(|oracle| likelihood(oracle, ids, ends, None)).transpose();
        let reverse = reverse_likelihood(ids, &measured, vocabulary, ends, ReverseOptions::default());
        Ok(TextScores {
            held_out: None,
            oracle: oracle.map_err(failed)?,
            reverse: Some(reverse.map_err(failed)?),
            bleu: counted.bleu(texts)[1..].to_vec(),
            self_bleu: self_bleu(texts, 5)[1..].to_vec(),
            distinct: (1..=3).map(|n| distinct(texts, n)).collect(),
            copied: copied(texts, &references, COPIED),
            copied_whole: copied_whole(texts, &references),
            protocol: format!(
                "{what}; BLEU of NLTK's smoothing method 1 against {} real texts; seed {}",
                references.len(),
                args.seed
            ),
        })
    };
    let mut rows = Vec::new();
    let (others, ids) = (&others[..count.min(others.len())], tokens.select(&places(1)));
    let real_scores = score(others, &ids, &format!("{} real texts against others", others.len()))?;
    rows.push(Row { what: "real texts".to_string(), scores: Scores::Text(real_scores) });
    let temperatures = if args.temperature.is_empty() { vec![1.0] } else { args.temperature.clone() };
    for temperature in temperatures {
        if !(0.0..=100.0).contains(&temperature) {
            return Err(Failure::usage(format!("--temperature {temperature}: expected a number from 0 to 100")));
        }
        let mut stream = rng::stream(args.seed, "evaluate/texts", 0);
        let mut ids = Sequences { length: model.config.length, ids: Vec::new() };
        for first in (0..count).step_by(256) {
            let part = model.write(256.min(count - first), temperature, || rng::uniform(&mut stream));
            ids.ids.extend(part.ids);
        }
        let texts: Vec<Vec<u32>> = model.decode(&ids).iter().map(|text| words.of(text, characters)).collect();
        let mut scores = score(&texts, &ids, &format!("{count} texts at temperature {temperature}"))?;
        scores.held_out = Some(held_out);
        rows.push(Row { what: format!("temperature {temperature}"), scores: Scores::Text(scores) });
    }
    Ok(rows)
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
