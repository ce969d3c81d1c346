//! BLEU (Papineni et al., 2002) as papers on text GANs take it: of every text against all references, smoothed as NLTK's
//! `method1` does (an n-gram order without any match counts 0.1 matches), averaged over the texts.
//!
//! The references' n-grams are counted once. Self-BLEU (1802.01886) takes the texts themselves as references, each without
//! itself: for that the second largest count of every n-gram is kept as well.

use std::collections::{BTreeMap, HashMap};

/// Longest n-grams.
const MOST: usize = 5;
/// Matches of an order that has none.
const EPSILON: f64 = 0.1;

/// An n-gram; shorter ones end in `u32::MAX`.
type Gram = [u32; MOST];

/// How often one reference has an n-gram at most, which that is, and how often another one has.
#[derive(Clone, Copy, Debug, Default)]
struct Count {
    most: u32,
    owner: u32,
    second: u32,
}

/// The n-grams of all references.
#[derive(Debug)]
pub struct References {
    orders: usize,
    counts: HashMap<Gram, Count>,
    /// How many references have each length.
    lengths: BTreeMap<usize, usize>,
}

fn gram(words: &[u32]) -> Gram {
    let mut gram = [u32::MAX; MOST];
    gram.iter_mut().zip(words).for_each(|(to, word)| *to = *word);
    gram
}

fn counted(text: &[u32], n: usize) -> HashMap<Gram, u32> {
    let mut counts = HashMap::new();
    text.windows(n).for_each(|words| *counts.entry(gram(words)).or_insert(0) += 1);
    counts
}

impl References {
    /// Counts n-grams of up to `orders` words (5 at most).
    pub fn new(references: &[Vec<u32>], orders: usize) -> Self {
        let orders = orders.clamp(1, MOST);
        let (mut counts, mut lengths) = (HashMap::<Gram, Count>::new(), BTreeMap::new());
        for (owner, reference) in (0..).zip(references) {
            *lengths.entry(reference.len()).or_insert(0) += 1;
            for (gram, count) in (1..=orders).flat_map(|n| counted(reference, n)) {
                let known = counts.entry(gram).or_default();
                if count > known.most {
                    *known = Count { most: count, owner, second: known.most };
                } else {
                    known.second = known.second.max(count);
                }
            }
        }
        Self { orders, counts, lengths }
    }

    /// BLEU-1 to BLEU-`orders` of one text. without: a reference that does not count.
    fn of_text(&self, text: &[u32], without: Option<u32>) -> Vec<f64> {
        let length = text.len();
        let closest = self.closest(length, without.is_some());
        if length == 0 || closest.is_none() {
            return vec![0.0; self.orders];
        }
        let closest = closest.unwrap_or(length);
        let penalty = if length > closest { 1.0 } else { (1.0 - closest as f64 / length as f64).exp() };
        let (mut logs, mut scores) = (0.0, Vec::with_capacity(self.orders));
        for n in 1..=self.orders {
            let matches: u32 = counted(text, n)
                .into_iter()
                .map(|(gram, count)| {
                    let known = self.counts.get(&gram).copied().unwrap_or_default();
                    let most = if without == Some(known.owner) { known.second } else { known.most };
                    count.min(most)
                })
                .sum();
            if n == 1 && matches == 0 {
                return vec![0.0; self.orders];
            }
            let all = (length + 1).saturating_sub(n).max(1) as f64;
            let matched = if matches == 0 { EPSILON } else { f64::from(matches) };
            logs += (matched / all).ln();
            scores.push(penalty * (logs / n as f64).exp());
        }
        scores
    }

    /// The length of a reference nearest to `length`, the shorter of two. own: one of exactly this length does not count.
    fn closest(&self, length: usize, own: bool) -> Option<usize> {
        let there = |(of, count): (&usize, &usize)| (*count > usize::from(own && *of == length)).then_some(*of);
        let shorter = self.lengths.range(..=length).rev().find_map(there);
        let longer = self.lengths.range(length + 1..).find_map(there);
        match (shorter, longer) {
            (Some(shorter), Some(longer)) if longer - length < length - shorter => Some(longer),
            (shorter, longer) => shorter.or(longer),
        }
    }

    /// BLEU-1 to BLEU-`orders`, each an average over the texts.
    pub fn bleu(&self, texts: &[Vec<u32>]) -> Vec<f64> {
        self.average(texts.iter().map(|text| self.of_text(text, None)))
    }

    fn average(&self, scores: impl ExactSizeIterator<Item = Vec<f64>>) -> Vec<f64> {
        let (count, mut sums) = (scores.len().max(1) as f64, vec![0.0; self.orders]);
        for scores in scores {
            sums.iter_mut().zip(scores).for_each(|(sum, score)| *sum += score / count);
        }
        sums
    }
}

/// Self-BLEU-1 to -`orders`: how alike texts are. Each is measured against all others, never against itself.
pub fn self_bleu(texts: &[Vec<u32>], orders: usize) -> Vec<f64> {
    let references = References::new(texts, orders);
    references.average(texts.iter().enumerate().map(|(own, text)| references.of_text(text, Some(own as u32))))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_text_is_no_reference_of_itself() {
        let texts = vec![vec![1, 2, 3, 4], vec![5, 6, 7, 8]];
        assert_eq!(self_bleu(&texts, 2), [0.0, 0.0]);
        let alike = vec![vec![1, 2, 3, 4], vec![1, 2, 3, 4]];
        assert!(self_bleu(&alike, 4).iter().all(|score| (score - 1.0).abs() < 1e-12));
        assert_eq!(self_bleu(&alike[..1], 2), [0.0, 0.0]);
    }
}
