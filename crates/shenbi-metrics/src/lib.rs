//! How good are the pictures? Each measure is one file, and each number carries its protocol.
//!
//! | file | measures |
//! |---|---|
//! | [`attributes`] | does a picture show the scene that was asked for: colours, shapes, sizes, who is where |
//! | [`judge`] | the classifier behind it, trained on real scenes |
//! | [`mod@frechet`] | Fréchet distance of features: how far generated pictures are from real ones |
//! | [`mod@kid`] | the same by a kernel, without the bias of few pictures |
//! | [`mod@prdc`] | precision, recall, density, coverage: is all of it real, is all that is real there |
//! | [`resize`] | how pictures are brought to a network's size |
//! | [`mod@frechet_infinity`] | the Fréchet distance that infinitely many generated pictures would have |
//! | [`mod@mmd`] | the distance by a Gaussian kernel: CMMD, on CLIP |
//! | [`mod@inception_score`] | are pictures each of a clear class, and of all classes |
//! | [`class_scores`] | the Fréchet distance class by class; what a classifier learns from generated pictures |
//! | [`mod@memorisation`] | does a model repeat its training pictures |
//! | [`pairs`], [`mod@lpips`] | how near one picture is to another of the same thing |
//! | [`features`] | the pretrained networks behind all these |
//! | [`classifier`] | one that is trained on a labelled data set, where there is none |
//! | [`bootstrap`](mod@bootstrap) | how far a score would be from itself on other pictures |
//! | [`mod@reference`], [`npy`] | statistics of a reference, kept in a file |
//! | [`mod@clip_score`] | does a picture show its caption, by CLIP |
//! | [`mod@r_precision`] | is a picture's own caption the best among 100 |
//! | [`text`] | texts: likelihoods, BLEU and self-BLEU, distinct-n, copied n-grams, the reverse score |
//! | [`contrast`] | the picture and text encoder behind it, trained on real pictures and captions |

pub mod attributes;
pub mod bootstrap;
pub mod class_scores;
pub mod classifier;
pub mod clip_score;
mod cnn;
pub mod contrast;
pub mod error;
pub mod features;
pub mod frechet;
pub mod frechet_infinity;
pub mod inception_score;
pub mod judge;
pub mod kid;
mod linear_algebra;
pub mod lpips;
pub mod memorisation;
pub mod mmd;
mod neighbours;
pub mod npy;
pub mod numpy_random;
pub mod pairs;
mod perturb;
pub mod prdc;
pub mod r_precision;
pub mod reference;
pub mod resize;
mod support;
pub mod text;

pub use attributes::{AttributeReport, score};
pub use bootstrap::Interval;
pub use class_scores::{ClassificationAccuracy, IntraClass, classification_accuracy, intra_class};
pub use classifier::{Classifier, ClassifierOptions};
pub use clip_score::{ClipJudge, ClipScore, clip_score};
pub use contrast::{ContrastEncoder, ContrastOptions};
pub use error::{MetricsError, Result};
pub use features::{FeatureNetwork, Preprocessing};
pub use frechet::{Frechet, Gaussian, Moments, Reference, frechet};
pub use frechet_infinity::{FrechetInfinity, frechet_infinity};
pub use inception_score::{InceptionScore, Order, inception_score};
pub use judge::{Judge, JudgeOptions};
pub use kid::{Draw, Kid, KidOptions, kid};
pub use lpips::{Diversity, Lpips, lpips};
pub use memorisation::{Memorisation, memorisation};
pub use mmd::{Mmd, mmd};
pub use pairs::{PairSum, Pairs};
pub use prdc::{Prdc, prdc};
pub use r_precision::{RPrecision, r_precision};
pub use reference::{Protocol, Saved};
pub use support::Progress;
