//! Scores class by class: a model may be good on average and bad at one class.
//!
//! - Intra-class Fréchet distance (Miyato & Koyama, 1802.05637, section 4): the distance of each class's pictures from the
//!   real ones of that class, and the mean over the classes. Each class needs more pictures than there are features.
//! - Classification accuracy score (Ravuri & Vinyals, 1905.10887): a classifier that has seen nothing but generated
//!   pictures and the classes they were made for names the classes of real ones. What it misses, the model lacks.

use std::sync::Arc;

use burn::tensor::Device;
use serde::Serialize;
use shenbi_data::Source;

use crate::classifier::{Classifier, ClassifierOptions};
use crate::frechet::{Moments, frechet};
use crate::support::Progress;
use crate::{MetricsError, Result};

/// Fréchet distances of the classes.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct IntraClass {
    /// What was measured by what; figures with different protocols do not compare.
    pub protocol: String,
    /// Mean over the classes.
    pub mean: f64,
    /// Of each class, in order.
    pub classes: Vec<(String, f64)>,
    /// Pictures of the class that has fewest: real, generated.
    pub least: [usize; 2],
    /// Why the number says little, if so.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub warning: Option<String>,
}

/// The distances.
///
/// # Shapes
/// real, generated: features, `[n, dim]`, row-major, and the class of each row, a place in `names`.
///
/// # Errors
/// The lengths do not fit, or a class has fewer than two pictures on a side (it is named).
pub fn intra_class(
    real: (&[f32], &[usize]),
    generated: (&[f32], &[usize]),
    dim: usize,
    names: &[String],
    protocol: &str,
) -> Result<IntraClass> {
    for (features, classes) in [real, generated] {
        if dim == 0 || features.len() != classes.len() * dim || classes.iter().any(|class| *class >= names.len()) {
            let message =
                format!("{} numbers for {} pictures in {} classes", features.len(), classes.len(), names.len());
            return Err(MetricsError::Setting(message));
        }
    }
    // One class at a time: covariances of all of them would fill the memory.
    let of_class = |(features, classes): (&[f32], &[usize]), class: usize| {
        let mut moments = Moments::new(dim);
        let rows = features.chunks_exact(dim).zip(classes).filter(|(_, of)| **of == class);
        let rows: Vec<f32> = rows.flat_map(|(row, _)| row).copied().collect();
        moments.add(&rows).map(|()| moments)
    };
    let (mut found, mut least) = (Vec::with_capacity(names.len()), [usize::MAX; 2]);
    for (class, name) in names.iter().enumerate() {
        let (real, generated) = (of_class(real, class)?, of_class(generated, class)?);
        let n = [real.count(), generated.count()];
        if n.iter().any(|n| *n < 2) {
            let message = format!("class '{name}': {} real and {} generated pictures; each needs two", n[0], n[1]);
            return Err(MetricsError::Setting(message));
        }
        least = [least[0].min(n[0]), least[1].min(n[1])];
        found.push((name.clone(), frechet(&real, &generated, "")?.distance));
    }
    if found.is_empty() {
        return Err(MetricsError::Setting("pictures without classes".to_string()));
    }
    let mean = found.iter().map(|(_, distance)| distance).sum::<f64>() / found.len() as f64;
    let warning = (least[0].min(least[1]) <= dim).then(|| {
        let [a, b] = least;
        format!(
            "a class of {a} real and one of {b} generated pictures for {dim} features: the distances are far too large"
        )
    });
    let protocol = format!("intra-class-frechet-v1/{protocol}/classes={}/least={},{}", found.len(), least[0], least[1]);
    Ok(IntraClass { protocol, mean, classes: found, least, warning })
}

/// What a classifier can learn from generated pictures.
#[derive(Clone, Debug, PartialEq, Serialize)]
pub struct ClassificationAccuracy {
    /// What was measured by what; figures with different protocols do not compare.
    pub protocol: String,
    /// Share of real pictures whose class it names, 0 to 1.
    pub accuracy: f64,
    /// What a blind choice would reach where classes are equally frequent.
    pub chance: f64,
    /// Pictures: generated to learn from, real to test on.
    pub n: [u64; 2],
}

/// Trains on `generated` and tests on at most `most` pictures of `real`.
///
/// # Errors
/// The two have different classes, or cannot be read.
pub fn classification_accuracy(
    generated: Arc<dyn Source>,
    real: &dyn Source,
    most: u64,
    options: &ClassifierOptions,
    device: &Device,
    protocol: &str,
    progress: impl FnMut(Progress),
) -> Result<ClassificationAccuracy> {
    if generated.classes() != real.classes() {
        return Err(MetricsError::Setting("generated and real pictures have different classes".to_string()));
    }
    let n = [generated.len().unwrap_or(0), real.len().unwrap_or(most).min(most)];
    let chance = 1.0 / real.classes().len().max(1) as f64;
    let ClassifierOptions { steps, batch, width, seed, .. } = *options;
    let classifier = Classifier::train(generated, options, device, progress)?;
    let accuracy = classifier.accuracy(real, most)?;
    let protocol =
        format!("cas-v1/cnn-{width}/steps={steps}x{batch}/{protocol}/n={},{}/classifier-seed={seed}", n[0], n[1]);
    Ok(ClassificationAccuracy { protocol, accuracy, chance, n })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_class_against_its_own() {
        // Class 0 agrees; class 1 is moved by 3.
        let (real, of_real) = ([0.0, 10.0, 2.0, 14.0], [0, 1, 0, 1]);
        let (generated, of_generated) = ([13.0, 2.0, 17.0, 0.0], [1, 0, 1, 0]);
        let names = ["cat".to_string(), "dog".to_string()];
        let result = intra_class((&real, &of_real), (&generated, &of_generated), 1, &names, "test").unwrap();
        assert!(result.classes[0].1.abs() < 1e-9 && (result.classes[1].1 - 9.0).abs() < 1e-9, "{result:?}");
        assert!((result.mean - 4.5).abs() < 1e-9 && result.least == [2, 2]);
        assert_eq!(result.protocol, "intra-class-frechet-v1/test/classes=2/least=2,2");
        let alone = intra_class((&real, &of_real), (&generated[..3], &of_generated[..3]), 1, &names, "test");
        assert!(alone.unwrap_err().to_string().contains("'cat': 2 real and 1 generated"));
        assert!(intra_class((&real, &[0, 1, 0, 2]), (&generated, &of_generated), 1, &names, "test").is_err());
        assert!(intra_class((&[], &[]), (&[], &[]), 1, &[], "t").unwrap_err().to_string().contains("without classes"));
    }
}
