//! The classification accuracy score: a classifier that learns from a model's pictures is tested on real ones.

use std::sync::Arc;

use burn::tensor::Device;
use shenbi_data::{DataError, Example, Picture, Source};
use shenbi_metrics::{ClassificationAccuracy, ClassifierOptions, classification_accuracy};

use super::pictures::NUMBER;
use super::sets::{self, Generated, Set};
use super::{Args, failed, side};
use crate::failure::Failure;
use crate::progress::Bar;

/// How often the classifier sees each picture...
const EPOCHS: u64 = 20;
/// ...and its steps, at least.
const LEAST_STEPS: u64 = 100;

/// What a classifier learns from a model's pictures.
pub fn taught(args: &Args, made: &Generated<'_>, device: &Device) -> Result<ClassificationAccuracy, Failure> {
    let shape = made.shape().unwrap_or_default();
    if made.classes().is_empty() {
        return Err(Failure::usage("--metrics cas: the model makes pictures without classes"));
    }
    let split = args.held_out.as_deref().unwrap_or(&args.split);
    let real = Taken::new(sets::data(args, Some(shape), split, false)?.as_ref(), args.number.unwrap_or(NUMBER))?;
    let generated = Taken::new(made, args.number.unwrap_or(NUMBER))?;
    let mut options = ClassifierOptions { seed: args.seed, ..ClassifierOptions::default() };
    options.steps = (EPOCHS * generated.pictures.len() as u64 / options.batch as u64).max(LEAST_STEPS);
    let bar = Bar::new("classifier", options.steps);
    let of = format!("{}/reference={}:{split}", made.name(), args.data);
    let (most, progress) = (u64::MAX, |progress: shenbi_metrics::Progress| bar.at(progress.step));
    classification_accuracy(Arc::new(generated), &real, most, &options, device, &of, progress).map_err(failed)
}

/// Pictures in memory, by class.
struct Taken {
    pictures: Vec<(Picture, usize)>,
    classes: Vec<String>,
    shape: [usize; 3],
}

impl Taken {
    fn new(set: &dyn Set, number: u64) -> Result<Self, Failure> {
        let count = set.count().unwrap_or(number);
        let number = number.min(count);
        let places: Vec<u64> =
            (0..number).map(|i| (u128::from(i) * u128::from(count) / u128::from(number)) as u64).collect();
        let mut pictures = Vec::with_capacity(places.len());
        for places in places.chunks(side::BATCH) {
            for (picture, class) in set.get(places).into_iter().flatten() {
                let class =
                    class.ok_or_else(|| Failure::usage("--metrics cas: the data has pictures without a class"))?;
                pictures.push((picture, class));
            }
        }
        let shape = set.shape().unwrap_or_default();
        Ok(Self { pictures, classes: set.classes().to_vec(), shape })
    }
}

impl Source for Taken {
    fn len(&self) -> Option<u64> {
        Some(self.pictures.len() as u64)
    }

    fn get(&self, index: u64) -> shenbi_data::Result<Example> {
        let found = usize::try_from(index).ok().and_then(|index| self.pictures.get(index));
        let (picture, _) = found.ok_or_else(|| DataError::Setting(format!("there is no picture {index}")))?;
        Ok(Example { picture: picture.clone(), captions: vec![String::new()] })
    }

    fn class(&self, index: u64) -> Option<usize> {
        self.pictures.get(usize::try_from(index).ok()?).map(|(_, class)| *class)
    }

    fn classes(&self) -> &[String] {
        &self.classes
    }

    fn channels(&self) -> usize {
        self.shape[2]
    }

    fn size(&self) -> [usize; 2] {
        [self.shape[0], self.shape[1]]
    }
}
