//! BLEU and self-BLEU against NLTK's (fixtures/bleu.py), and their speed.
#![allow(clippy::unwrap_used)]

use std::time::Instant;

use serde::Deserialize;
use shenbi_metrics::text::{References, self_bleu};

#[derive(Deserialize)]
struct Fixture {
    references: Vec<Vec<u32>>,
    texts: Vec<Vec<u32>>,
    bleu: Vec<f64>,
    of_each: Vec<Vec<f64>>,
    self_bleu: Vec<f64>,
}

fn near(found: &[f64], expected: &[f64]) {
    assert_eq!(found.len(), expected.len());
    for (found, expected) in found.iter().zip(expected) {
        assert!((found - expected).abs() < 1e-9, "{found}, expected {expected}");
    }
}

#[test]
fn bleu_is_nltks() {
    let fixture: Fixture = serde_json::from_str(include_str!("fixtures/bleu.json")).unwrap();
    let references = References::new(&fixture.references, 5);
    for (text, expected) in fixture.texts.iter().zip(&fixture.of_each) {
        near(&references.bleu(std::slice::from_ref(text)), expected);
    }
    near(&references.bleu(&fixture.texts), &fixture.bleu);
    near(&self_bleu(&fixture.texts, 5), &fixture.self_bleu);
}

#[test]
fn many_references_take_seconds() {
    let text = |seed: u32| -> Vec<u32> {
        (0..12).map(|i| (seed.wrapping_mul(2_654_435_761).wrapping_add(i * 40_503 * seed) >> 16) % 3000).collect()
    };
    let (references, texts): (Vec<_>, Vec<_>) = ((0..10_000).map(text).collect(), (20_000..21_000).map(text).collect());
    let start = Instant::now();
    let scores = References::new(&references, 5).bleu(&texts);
    let seconds = start.elapsed().as_secs_f64();
    println!("10,000 references and 1,000 texts: {seconds:.2} s, BLEU {scores:?}");
    assert!(seconds < 60.0, "{seconds}");
}
