//! `shenbi generate` with a model of texts: a line each, or a prompt continued before one's eyes.

use std::io::{IsTerminal, Write};

use serde::Serialize;
use shenbi_data::rng;
use shenbi_models::text::TextModel;
use shenbi_train::atomic::write_atomic;

use super::{Args, PAINTED};
use crate::failure::Failure;
use crate::output;

/// Texts written at once.
const AT_ONCE: u64 = 64;

#[derive(Serialize)]
struct Written {
    #[serde(skip_serializing_if = "Option::is_none")]
    prompt: Option<String>,
    text: String,
}

#[derive(Serialize)]
struct Report<'a> {
    model: &'a str,
    recipe: &'a str,
    seed: u64,
    temperature: f32,
    texts: Vec<Written>,
}

/// Reads `--temperature`.
pub fn temperature(text: &str) -> Result<f32, String> {
    match text.parse::<f32>() {
        Ok(temperature) if (0.0..=100.0).contains(&temperature) => Ok(temperature),
        _ => Err("expected a number from 0 to 100".to_string()),
    }
}

/// Writes texts.
pub fn run(args: &Args, model: &TextModel, prompts: Vec<String>) -> Result<(), Failure> {
    if !args.classes.is_empty() {
        return Err(Failure::usage("--class: this model writes texts and knows no classes; leave it out"));
    }
    if args.truncation.is_some() {
        return Err(Failure::usage("--truncation is of pictures; for texts there is --temperature"));
    }
    let temperature = args.temperature.unwrap_or(1.0);
    let to_file = args.out.as_os_str() != PAINTED;
    let quiet = args.json || to_file;
    let mut texts = Vec::new();
    if prompts.is_empty() {
        for first in (0..args.number).step_by(AT_ONCE as usize) {
            let mut stream = rng::stream(args.seed, "generate", first);
            let rows = AT_ONCE.min(args.number - first) as usize;
            for text in model.decode(&model.write(rows, temperature, || rng::uniform(&mut stream))) {
                if !quiet {
                    output::line(&text)?;
                }
                texts.push(Written { prompt: None, text });
            }
        }
    }
    for prompt in &prompts {
        let tokens = checked(model, prompt)?;
        for index in 0..args.number {
            let mut stream = rng::stream(args.seed, "generate/prompt", index);
            let uniform = || rng::uniform(&mut stream);
            let mut shown = Stream::new(!quiet && std::io::stdout().is_terminal());
            let ids =
                model.continue_prompt(&tokens, temperature, uniform, |ids| shown.show(&model.tokenizer.decode(ids)));
            let text = model.tokenizer.decode(&ids);
            if !quiet {
                shown.end(&text)?;
            }
            texts.push(Written { prompt: Some(prompt.clone()), text });
        }
    }
    if to_file {
        let lines: String = texts.iter().map(|written| format!("{}\n", written.text)).collect();
        write_atomic(&args.out, lines.as_bytes())?;
    }
    if args.json {
        let (model, recipe, seed) = (args.model.as_str(), model.recipe.as_str(), args.seed);
        return output::json(&Report { model, recipe, seed, temperature, texts });
    }
    if to_file {
        output::line(&args.out.display().to_string())?;
    }
    Ok(())
}

/// The prompt's tokens; what the model does not know is told.
fn checked(model: &TextModel, prompt: &str) -> Result<Vec<u32>, Failure> {
    let tokens = model.tokenizer.encode(prompt).map_err(|error| Failure::usage(format!("--prompt: {error}")))?;
    let unknown = model.tokenizer.unknown(prompt);
    if !unknown.is_empty() {
        let words: String = unknown.join(", ").chars().take(200).collect();
        if unknown.len() >= tokens.len() {
            return Err(Failure::usage(format!(
                "the prompt '{prompt}' has no word that the model has learnt ({words}); begin with words of its texts"
            )));
        }
        output::note(&format!("warning: the model does not know {words}, and reads '<unknown>' there"));
    }
    if tokens.len() >= model.config.length {
        return Err(Failure::usage(format!(
            "a prompt of {} tokens leaves no room in the model's texts of at most {}; shorten it",
            tokens.len(),
            model.config.length
        )));
    }
    Ok(tokens)
}

/// A text that grows on a terminal.
struct Stream {
    terminal: bool,
    shown: String,
}

impl Stream {
    fn new(terminal: bool) -> Self {
        Self { terminal, shown: String::new() }
    }

    /// Shows what is new. A character whose bytes are not all there yet waits.
    fn show(&mut self, text: &str) {
        let whole = text.trim_end_matches('\u{fffd}');
        if let (true, Some(new)) = (self.terminal, whole.strip_prefix(&self.shown)) {
            let mut out = std::io::stdout().lock();
            let _ = write!(out, "{new}").and_then(|()| out.flush());
            self.shown = whole.to_string();
        }
    }

    fn end(self, text: &str) -> Result<(), Failure> {
        output::line(text.strip_prefix(&self.shown).unwrap_or(text))
    }
}
