//! The captions' part of a report: how many, how long, in which script, which words.

use std::collections::{BTreeMap, HashMap};

use super::report::{Duplicates, Range, by_count};

/// What the captions are like.
#[derive(Clone, Debug, Default, serde::Serialize)]
pub struct CaptionReport {
    /// Captions that are not empty, of all pictures.
    pub count: usize,
    /// Pictures without any.
    pub missing: usize,
    /// Captions of one picture.
    pub per_picture: Range,
    /// Length in characters.
    pub characters: Range,
    /// Length in words; a Chinese character counts as one.
    pub words: Range,
    /// Captions by the script most of their letters are in: `latin`, `han`, `other`, or `none` without letters.
    pub scripts: BTreeMap<&'static str, usize>,
    /// Distinct words, in lower case.
    pub vocabulary: usize,
    /// Words that occur once only.
    pub rare_words: usize,
    /// The 20 most frequent words with their counts.
    pub frequent: Vec<(String, usize)>,
    /// The same caption for several pictures.
    pub duplicates: Duplicates,
}

pub(super) fn look<'a>(captions: impl Iterator<Item = &'a [String]>) -> CaptionReport {
    let mut report = CaptionReport::default();
    let (mut per_picture, mut characters, mut lengths) = (Vec::new(), Vec::new(), Vec::new());
    let mut vocabulary: HashMap<String, usize> = HashMap::new();
    let mut seen: HashMap<&str, usize> = HashMap::new();
    for texts in captions {
        let texts: Vec<&str> = texts.iter().map(|t| t.trim()).filter(|t| !t.is_empty()).collect();
        per_picture.push(texts.len());
        report.missing += usize::from(texts.is_empty());
        for text in texts {
            report.count += 1;
            *report.scripts.entry(script(text)).or_insert(0) += 1;
            *seen.entry(text).or_insert(0) += 1;
            characters.push(text.chars().count());
            let words = words(text);
            lengths.push(words.len());
            for word in words {
                *vocabulary.entry(word).or_insert(0) += 1;
            }
        }
    }
    report.per_picture = Range::of(per_picture);
    report.characters = Range::of(characters);
    report.words = Range::of(lengths);
    report.vocabulary = vocabulary.len();
    report.rare_words = vocabulary.values().filter(|&&count| count == 1).count();
    report.frequent = by_count(vocabulary).into_iter().take(20).collect();
    let repeated = by_count(seen.into_iter().map(|(text, count)| (text.to_string(), count)));
    report.duplicates = Duplicates {
        extra: repeated.iter().map(|(_, count)| count - 1).sum(),
        groups: repeated.into_iter().filter(|r| r.1 > 1).take(20).map(|(text, n)| vec![text, n.to_string()]).collect(),
    };
    report
}

fn is_han(c: char) -> bool {
    matches!(c, '\u{3400}'..='\u{4dbf}' | '\u{4e00}'..='\u{9fff}' | '\u{f900}'..='\u{faff}' | '\u{20000}'..='\u{323af}')
}

/// Letters of the Latin script: ASCII, Latin-1, Extended-A and -B, and the Additional block.
fn is_latin(c: char) -> bool {
    c.is_alphabetic() && matches!(c, '\0'..='\u{24f}' | '\u{1e00}'..='\u{1eff}')
}

fn script(text: &str) -> &'static str {
    let count = |is: fn(char) -> bool| text.chars().filter(|&c| is(c)).count();
    let (latin, han) = (count(is_latin), count(is_han));
    let other = count(char::is_alphabetic) - latin - han;
    match latin.max(han).max(other) {
        0 => "none",
        most if most == han => "han",
        most if most == latin => "latin",
        _ => "other",
    }
}

/// Runs of letters and digits in lower case; a Chinese character is a word of its own.
fn words(text: &str) -> Vec<String> {
    let mut words = Vec::new();
    let mut word = String::new();
    for c in text.chars() {
        if c.is_alphanumeric() && !is_han(c) || matches!(c, '\'' | '’') && !word.is_empty() {
            word.extend(c.to_lowercase());
            continue;
        }
        if !word.is_empty() {
            words.push(std::mem::take(&mut word));
        }
        if is_han(c) {
            words.push(c.to_string());
        }
    }
    if !word.is_empty() {
        words.push(word);
    }
    words
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_of_two_languages() {
        assert_eq!(words("A red-hot Café, don't!"), ["a", "red", "hot", "café", "don't"]);
        assert_eq!(words("红色3D药水 ok"), ["红", "色", "3d", "药", "水", "ok"]);
    }

    #[test]
    fn scripts_by_majority() {
        assert_eq!(
            ["a cat", "一只猫", "кот", "42!", "ok 一只红猫"].map(script),
            ["latin", "han", "other", "none", "han"]
        );
    }
}
