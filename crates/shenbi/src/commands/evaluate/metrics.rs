//! The scores by name, what each needs, and the tools whose choices can be repeated.

use clap::ValueEnum;
use clap::builder::PossibleValue;
use shenbi_metrics::{Draw, KidOptions, Order, Preprocessing};

use super::Args;
use crate::failure::Failure;

/// A score of pictures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Metric {
    Fid,
    FidInfinity,
    Kid,
    Mmd,
    Prdc,
    InceptionScore,
    IntraClass,
    ClassificationAccuracy,
    Memorisation,
    Lpips,
    ClipScore,
    ClipRPrecision,
    Pairs,
}

impl Metric {
    /// Whether statistics in a file are enough as the other side.
    fn takes_statistics(self) -> bool {
        matches!(self, Self::Fid | Self::FidInfinity | Self::InceptionScore)
    }

    /// Whether each picture's features are needed, and not their statistics alone.
    pub fn keeps_features(self) -> bool {
        self.needs_network() && !matches!(self, Self::Fid | Self::InceptionScore)
    }

    /// Whether it works on a network's features or classes.
    pub fn needs_network(self) -> bool {
        !matches!(self, Self::Pairs | Self::ClassificationAccuracy | Self::Lpips) && !self.needs_captions()
    }

    /// Whether it compares pictures with their captions, by CLIP.
    pub fn needs_captions(self) -> bool {
        matches!(self, Self::ClipScore | Self::ClipRPrecision)
    }

    /// Whether pictures of the other side are needed.
    pub fn needs_data(self) -> bool {
        !matches!(self, Self::InceptionScore | Self::Lpips) && !self.needs_captions()
    }

    /// Its name on the command line.
    pub fn name(self) -> String {
        self.to_possible_value().map_or_else(String::new, |value| value.get_name().to_string())
    }
}

impl ValueEnum for Metric {
    fn value_variants<'a>() -> &'a [Self] {
        use Metric::{
            ClassificationAccuracy, ClipRPrecision, ClipScore, Fid, FidInfinity, InceptionScore, IntraClass, Kid,
            Lpips, Memorisation, Mmd, Pairs, Prdc,
        };
        &[
            Fid,
            Kid,
            Prdc,
            InceptionScore,
            Mmd,
            FidInfinity,
            Memorisation,
            IntraClass,
            ClassificationAccuracy,
            Lpips,
            ClipScore,
            ClipRPrecision,
            Pairs,
        ]
    }

    fn to_possible_value(&self) -> Option<PossibleValue> {
        let (name, help) = match self {
            Self::Fid => ("fid", "Fréchet distance of features; called FID on the Inception network of 2015 only"),
            Self::Kid => ("kid", "kernel distance of features: no bias of few pictures"),
            Self::Prdc => ("prdc", "precision, recall, density and coverage"),
            Self::InceptionScore => ("is", "clear and many classes, without looking at --data"),
            Self::Mmd => ("mmd", "Gaussian kernel distance; called CMMD on CLIP"),
            Self::FidInfinity => ("fid-infinity", "the Fréchet distance of infinitely many pictures, extrapolated"),
            Self::Memorisation => ("memorisation", "are pictures nearer to the training pictures than real ones are"),
            Self::IntraClass => ("intra", "Fréchet distance class by class"),
            Self::ClassificationAccuracy => {
                ("cas", "train a classifier on a model's pictures by class, test it on real ones (slow)")
            }
            Self::Lpips => {
                ("lpips", "how different generated pictures are from each other; --features vgg16 or the like")
            }
            Self::ClipScore => ("clip-score", "do pictures show their captions, by the network of --clip"),
            Self::ClipRPrecision => ("clip-r-precision", "is a picture's own caption the best of 100, by --clip"),
            Self::Pairs => ("pairs", "PSNR and SSIM of two folders, picture by picture"),
        };
        Some(PossibleValue::new(name).help(help))
    }
}

/// A tool whose choices are repeated: which pictures, in what order, with which random numbers.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub enum Compat {
    /// Subsets and shuffles by NumPy with seed 2020, ten splits, three neighbours
    TorchFidelity,
    /// The Fréchet distance alone
    PytorchFid,
    /// Subsets by NumPy with --seed
    CleanFid,
}

impl Compat {
    /// Its name.
    pub fn name(self) -> &'static str {
        match self {
            Self::TorchFidelity => "torch-fidelity",
            Self::PytorchFid => "pytorch-fid",
            Self::CleanFid => "clean-fid",
        }
    }

    /// Its way of preparing pictures.
    pub fn preprocessing(self) -> Preprocessing {
        match self {
            Self::TorchFidelity => Preprocessing::TorchFidelity,
            Self::PytorchFid => Preprocessing::PytorchFid,
            Self::CleanFid => Preprocessing::CleanFid,
        }
    }

    /// The scores it has.
    fn metrics(self) -> &'static [Metric] {
        match self {
            Self::TorchFidelity => &[Metric::Fid, Metric::Kid, Metric::Prdc, Metric::InceptionScore],
            Self::PytorchFid => &[Metric::Fid],
            Self::CleanFid => &[Metric::Fid, Metric::Kid],
        }
    }
}

/// The scores that are asked for, checked.
pub fn chosen(args: &Args) -> Result<Vec<Metric>, Failure> {
    let by_default: &[Metric] = match (args.compat, &args.reference) {
        (_, None) if args.clip.is_some() && args.features.is_none() => &[Metric::ClipScore, Metric::ClipRPrecision],
        (_, Some(_)) => &[Metric::Fid],
        (Some(compat), None) => compat.metrics(),
        (None, None) => &[Metric::Fid, Metric::Kid, Metric::Prdc],
    };
    let mut metrics = if args.metrics.is_empty() { by_default.to_vec() } else { args.metrics.clone() };
    metrics.sort_by_key(|metric| Metric::value_variants().iter().position(|known| known == metric));
    metrics.dedup();
    for metric in &metrics {
        if let Some(compat) = args.compat.filter(|compat| !compat.metrics().contains(metric)) {
            let known = compat.metrics().iter().map(|metric| metric.name()).collect::<Vec<_>>().join(", ");
            let message = format!("--compat {}: it has no {}; it has {known}", compat.name(), metric.name());
            return Err(Failure::usage(message));
        }
        if args.reference.is_some() && !metric.takes_statistics() {
            let message = format!(
                "--metrics {}: it compares picture by picture, and --reference holds statistics only; give --data",
                metric.name()
            );
            return Err(Failure::usage(message));
        }
    }
    if let Some(metric) = metrics.iter().find(|metric| metric.needs_captions() && args.clip.is_none()) {
        let message = format!("--metrics {}: it needs --clip, a folder of CLIP as Hugging Face has it", metric.name());
        return Err(Failure::usage(message));
    }
    if args.lpips.is_some() && !metrics.contains(&Metric::Lpips) {
        return Err(Failure::usage("--lpips: it belongs to --metrics lpips"));
    }
    Ok(metrics)
}

/// How the subsets of KID are drawn.
pub fn kid_options(args: &Args) -> KidOptions {
    let options = KidOptions { seed: args.seed, ..KidOptions::default() };
    match args.compat {
        Some(Compat::TorchFidelity) => KidOptions { seed: 2020, draw: Draw::TorchFidelity, ..options },
        Some(Compat::CleanFid) => KidOptions { draw: Draw::CleanFid, ..options },
        Some(Compat::PytorchFid) | None => options,
    }
}

/// In which order pictures are cut into the splits of the Inception score.
pub fn order(args: &Args) -> Order {
    match args.compat {
        Some(Compat::TorchFidelity) => Order::Numpy(2020),
        _ => Order::Shuffled(args.seed),
    }
}
