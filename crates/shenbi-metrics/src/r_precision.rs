//! R-precision: is a picture's own caption the best among its own and 99 others (AttnGAN, 1711.10485, section 4.1)?
//!
//! The others are drawn at random from the different captions of the same set. A tie does not count as first.

use std::collections::HashSet;

use serde::Serialize;
use shenbi_data::rng;

use crate::{ContrastEncoder, MetricsError, Result};

/// How many pictures find their caption.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct RPrecision {
    /// What was measured by what; figures with different protocols do not compare.
    pub protocol: String,
    /// Number of pictures.
    pub n: usize,
    /// Captions that each picture chose from, its own included.
    pub pool: usize,
    /// Share of pictures whose own caption came first, 0 to 1.
    pub r_at_1: f64,
    /// What a blind choice would reach: 1 / pool.
    pub chance: f64,
}

/// Matches pictures, real or generated, with their captions: picture i has caption i, one caption a picture (for two
/// languages, measure twice). With fewer than `pool` different captions the pool is all of them.
///
/// # Shapes
/// pictures: `[n, c, h, w]` in [-1, 1], row-major (RGBA premultiplied).
///
/// # Errors
/// `pictures` is not of the encoder's shape, there are fewer than two different captions, or one cannot be encoded.
pub fn r_precision<T: AsRef<str>>(
    encoder: &ContrastEncoder,
    pictures: &[f32],
    captions: &[T],
    pool: usize,
    seed: u64,
) -> Result<RPrecision> {
    let a = encoder.embed_pictures(pictures, captions.len())?;
    let b = encoder.embed_texts(captions)?;
    from_embeddings(&a, &b, captions, pool, seed, &format!("r-precision-v1/{}", encoder.id()?))
}

/// The same from embeddings, compared by their inner product.
///
/// # Shapes
/// pictures, texts: `[n, dim]`, row-major, for n captions.
///
/// # Errors
/// The lists are of different lengths, a pool below two, or fewer than two different captions.
pub fn from_embeddings<T: AsRef<str>>(
    pictures: &[f32],
    texts: &[f32],
    captions: &[T],
    pool: usize,
    seed: u64,
    protocol: &str,
) -> Result<RPrecision> {
    let n = captions.len();
    let dim = texts.len() / n.max(1);
    if texts.len() != n * dim || pictures.len() != texts.len() {
        let message = format!("R-precision: {} and {} numbers for {n} captions", pictures.len(), texts.len());
        return Err(MetricsError::Setting(message));
    }
    // The first example of each different caption.
    let mut known = HashSet::new();
    let different: Vec<usize> = (0..n).filter(|&i| known.insert(captions[i].as_ref())).collect();
    let pool = pool.min(different.len());
    if pool < 2 {
        let found = different.len();
        return Err(MetricsError::Setting(format!("R-precision needs two captions to choose from: {found} found")));
    }
    let mut first = 0;
    for i in 0..n {
        let closeness = |j: usize| {
            let (a, b) = (&pictures[i * dim..][..dim], &texts[j * dim..][..dim]);
            a.iter().zip(b).map(|(a, b)| a * b).sum::<f32>()
        };
        let own = closeness(i);
        let mut others: Vec<usize> =
            different.iter().copied().filter(|&j| captions[j].as_ref() != captions[i].as_ref()).collect();
        rng::shuffle(&mut rng::stream(seed, "r-precision", i as u64), &mut others);
        first += usize::from(others.iter().take(pool - 1).all(|&j| closeness(j) < own));
    }
    Ok(RPrecision {
        protocol: format!("{protocol}/pool={pool}/seed={seed}/n={n}"),
        n,
        pool,
        r_at_1: first as f64 / n as f64,
        chance: 1.0 / pool as f64,
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn draws(name: &str, n: usize) -> Vec<f32> {
        let mut stream = rng::stream(9, name, 0);
        (0..n).map(|_| rng::normal(&mut stream)).collect()
    }

    fn captions(n: usize) -> Vec<String> {
        (0..n).map(|i| format!("caption {i}")).collect()
    }

    /// Rows of length one.
    fn unit(mut rows: Vec<f32>, dim: usize) -> Vec<f32> {
        for row in rows.chunks_exact_mut(dim) {
            let norm = row.iter().map(|v| v * v).sum::<f32>().sqrt();
            row.iter_mut().for_each(|v| *v /= norm);
        }
        rows
    }

    #[test]
    fn equal_embeddings_find_their_captions() {
        let rows = unit(draws("a", 300 * 16), 16);
        let result = from_embeddings(&rows, &rows, &captions(300), 100, 1, "test").unwrap();
        assert_eq!((result.r_at_1, result.n, result.pool, result.chance), (1.0, 300, 100, 0.01));
        assert_eq!(result.protocol, "test/pool=100/seed=1/n=300");
    }

    #[test]
    fn random_embeddings_are_at_chance() {
        let n = 4000;
        let (a, b) = (unit(draws("a", n * 8), 8), unit(draws("b", n * 8), 8));
        let result = from_embeddings(&a, &b, &captions(n), 10, 1, "test").unwrap();
        assert!((result.r_at_1 - 0.1).abs() < 0.02, "{result:?}"); // 4 sigma
        assert_ne!(result.r_at_1, from_embeddings(&a, &b, &captions(n), 10, 2, "test").unwrap().r_at_1);
    }

    #[test]
    fn blind_and_broken_embeddings_find_nothing() {
        let (same, nan) = (vec![1.0; 200], vec![f32::NAN; 200]);
        for rows in [same, nan] {
            assert_eq!(from_embeddings(&rows, &rows, &captions(100), 50, 1, "test").unwrap().r_at_1, 0.0);
        }
    }

    #[test]
    fn equal_captions_are_no_rivals_and_small_sets_have_small_pools() {
        let rows = [1.0, 0.0, 1.0, 0.0, 0.0, 1.0];
        let result = from_embeddings(&rows, &rows, &["a", "a", "b"], 100, 1, "test").unwrap();
        assert_eq!((result.r_at_1, result.pool, result.chance), (1.0, 2, 0.5));
        assert!(from_embeddings(&rows, &rows, &["a", "a", "a"], 100, 1, "test").is_err());
        assert!(from_embeddings(&rows, &rows, &["a", "b"], 100, 1, "test").is_ok());
        assert!(from_embeddings(&rows[1..], &rows, &["a", "b"], 100, 1, "test").is_err());
        assert!(from_embeddings::<&str>(&[], &[], &[], 100, 1, "test").is_err());
    }
}
