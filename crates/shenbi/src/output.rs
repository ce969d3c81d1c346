//! The two ways out: results on standard output, everything else on standard error.

use std::io::{self, Write};

use serde::Serialize;

use crate::failure::Failure;

/// A line of the result.
pub fn line(text: &str) -> Result<(), Failure> {
    let mut out = io::stdout().lock();
    writeln!(out, "{text}")?;
    Ok(out.flush()?)
}

/// The whole result as one JSON object.
pub fn json(value: &impl Serialize) -> Result<(), Failure> {
    let text = serde_json::to_string(value).map_err(|error| Failure::Failed(format!("JSON: {error}")))?;
    line(&text)
}

/// Something for the person who waits. If nobody listens, nothing is lost.
pub fn note(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// A word as a shell reads it: quoted where it has to be.
pub fn quoted(word: &str) -> String {
    let plain = |c: char| c.is_alphanumeric() || "_./-=:,+@".contains(c);
    if !word.is_empty() && word.chars().all(plain) {
        word.to_string()
    } else {
        format!("'{}'", word.replace('\'', "'\\''"))
    }
}

#[cfg(test)]
mod tests {
    use super::quoted;

    #[test]
    fn words_survive_a_shell() {
        assert_eq!(quoted("runs/00001-brush"), "runs/00001-brush");
        assert_eq!(quoted("my pictures"), "'my pictures'");
        assert_eq!(quoted("it's"), "'it'\\''s'");
        assert_eq!(quoted(""), "''");
    }
}
