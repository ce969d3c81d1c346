//! Counting n-grams: how varied texts are, and how much of them stands in the texts they were learnt from.

use std::collections::HashSet;

/// distinct-n (1510.03055): different n-grams as a share of all n-grams of the texts. Depends on how many texts there are:
/// compare equal numbers. 0 where there are none.
pub fn distinct(texts: &[Vec<u32>], n: usize) -> f64 {
    let mut seen = HashSet::new();
    let mut all = 0u64;
    for gram in texts.iter().flat_map(|text| text.windows(n.max(1))) {
        seen.insert(gram);
        all += 1;
    }
    seen.len() as f64 / all.max(1) as f64
}

/// Share of the texts' n-grams that stand in `sources`: 1 where all was copied. 0 where there are none.
pub fn copied(texts: &[Vec<u32>], sources: &[Vec<u32>], n: usize) -> f64 {
    let known: HashSet<&[u32]> = sources.iter().flat_map(|text| text.windows(n.max(1))).collect();
    let (mut found, mut all) = (0u64, 0u64);
    for gram in texts.iter().flat_map(|text| text.windows(n.max(1))) {
        found += u64::from(known.contains(gram));
        all += 1;
    }
    found as f64 / all.max(1) as f64
}

/// Share of the texts that are one of `sources`, word by word.
pub fn copied_whole(texts: &[Vec<u32>], sources: &[Vec<u32>]) -> f64 {
    let known: HashSet<&Vec<u32>> = sources.iter().collect();
    texts.iter().filter(|text| known.contains(text)).count() as f64 / texts.len().max(1) as f64
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn counts_by_hand() {
        let texts = vec![vec![1, 2, 3, 1, 2], vec![1, 2]];
        assert!((distinct(&texts, 1) - 3.0 / 7.0).abs() < 1e-12);
        assert!((distinct(&texts, 2) - 3.0 / 5.0).abs() < 1e-12);
        assert_eq!(distinct(&texts, 6), 0.0);
        let sources = vec![vec![2, 3, 9], vec![1, 2]];
        assert!((copied(&texts, &sources, 2) - 4.0 / 5.0).abs() < 1e-12);
        assert_eq!(copied_whole(&texts, &sources), 0.5);
        assert_eq!(copied(&[], &sources, 2), 0.0);
    }
}
