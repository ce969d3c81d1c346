//! What the scores of two sets of pictures say, for people and scripts.

use serde::Serialize;
use shenbi_metrics::{
    ClassificationAccuracy, ClipScore, Diversity, Frechet, FrechetInfinity, InceptionScore, Interval, IntraClass, Kid,
    Memorisation, Mmd, Pairs, Prdc, RPrecision,
};

/// The scores that were asked for.
#[derive(Default, Serialize)]
pub struct PictureScores {
    /// What the scores are named after.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub features: Option<&'static str>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frechet: Option<Frechet>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub kid: Option<Kid>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub prdc: Option<Prdc>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub inception_score: Option<InceptionScore>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub mmd: Option<Mmd>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub frechet_infinity: Option<FrechetInfinity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub memorisation: Option<Memorisation>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub intra_class: Option<IntraClass>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub classification_accuracy: Option<ClassificationAccuracy>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lpips: Option<Diversity>,
    /// The same of the data.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub lpips_data: Option<Diversity>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_score: Option<ClipScore>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub clip_r_precision: Option<RPrecision>,
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pairs: Option<Pairs>,
}

/// Names of the scores that bear the name of a certain network, and none other's.
struct Names {
    frechet: String,
    infinity: String,
    kid: String,
    inception_score: String,
    mmd: String,
}

impl Names {
    fn new(features: &str) -> Self {
        let inception = features == INCEPTION;
        let either = |own: bool, name: &str, other: String| if own { name.to_string() } else { other };
        Self {
            frechet: either(inception, "FID", format!("Fréchet ({features})")),
            infinity: either(inception, "FID at infinity", format!("Fréchet at infinity ({features})")),
            kid: either(inception, "KID", format!("KID ({features})")),
            inception_score: either(inception, "Inception score", format!("{features} score")),
            mmd: either(features.starts_with("CLIP"), "CMMD", format!("MMD ({features})")),
        }
    }
}

/// What the Inception network of 2015 is called: the only one on whose features the distance is FID.
const INCEPTION: &str = "Inception";

impl PictureScores {
    /// For the table.
    pub fn lines(&self) -> Vec<String> {
        let names = Names::new(self.features.unwrap_or_default());
        let mut lines = Vec::new();
        if let Some(found) = &self.frechet {
            lines.push(format!("{} {:.3}{}", names.frechet, found.distance, between(found.interval)));
        }
        if let Some(found) = &self.frechet_infinity {
            lines.push(format!("{} {:.3}  (fit {:.3})", names.infinity, found.distance, found.fit));
        }
        if let Some(found) = &self.kid {
            lines.push(format!("{} {} ± {}", names.kid, short(found.mean), short(found.deviation)));
        }
        if let Some(found) = &self.mmd {
            lines.push(format!("{} {}", names.mmd, short(found.distance)));
        }
        if let Some(found) = &self.prdc {
            let Prdc { precision, recall, density, coverage, intervals, .. } = found;
            let of = |i: usize| between(intervals.map(|intervals| intervals[i]));
            lines.push(format!(
                "precision {precision:.3}{}  recall {recall:.3}{}  density {density:.3}{}  coverage {coverage:.3}{}",
                of(0),
                of(1),
                of(2),
                of(3)
            ));
        }
        if let Some(found) = &self.inception_score {
            let InceptionScore { mean, deviation, interval, .. } = found;
            lines.push(format!("{} {mean:.3} ± {deviation:.3}{}", names.inception_score, between(*interval)));
        }
        if let Some(found) = &self.memorisation {
            let share = 100.0 * found.share_closer;
            let (made, real) = (short(found.generated), short(found.real));
            lines.push(format!(
                "nearer to the data than real pictures are {share:.1}%  (50% is right; median distance {made}, real {real})"
            ));
        }
        if let Some(found) = &self.intra_class {
            let worst = found.classes.iter().max_by(|a, b| a.1.total_cmp(&b.1));
            let worst = worst.map_or_else(String::new, |(name, distance)| format!("  (worst: {name}, {distance:.3})"));
            lines.push(format!("intra-class {} {:.3}{worst}", names.frechet, found.mean));
        }
        if let Some(found) = &self.classification_accuracy {
            let (accuracy, chance) = (100.0 * found.accuracy, 100.0 * found.chance);
            lines.push(format!("classification accuracy {accuracy:.1}%  (chance {chance:.1}%)"));
        }
        if let Some(Diversity { name, mean, error, .. }) = &self.lpips {
            let of_data = self.lpips_data.as_ref();
            let of_data =
                of_data.map_or_else(String::new, |data| format!("  (data {:.4} ± {:.4})", data.mean, data.error));
            lines.push(format!("{name} of pairs {mean:.4} ± {error:.4}{of_data}"));
        }
        if let Some(found) = &self.clip_score {
            lines.push(format!("CLIP score {:.3} ± {:.3}", found.score, found.error));
        }
        if let Some(found) = &self.clip_r_precision {
            let (share, chance) = (100.0 * found.r_at_1, 100.0 * found.chance);
            lines.push(format!("CLIP R-precision {share:.1}%  (chance {chance:.0}%)"));
        }
        if let Some(found) = &self.pairs {
            let psnr = found.psnr.map_or_else(|| "none (all equal)".to_string(), |psnr| format!("{psnr:.2} dB"));
            lines.push(format!("PSNR {psnr}  SSIM {:.4}  ({} of {} equal)", found.ssim, found.equal, found.n));
        }
        lines
    }

    /// What measured each.
    pub fn protocols(&self) -> Vec<&str> {
        let Self { frechet, kid, prdc, inception_score, mmd, .. } = self;
        let Self { frechet_infinity, memorisation, intra_class, classification_accuracy, pairs, .. } = self;
        let Self { lpips, lpips_data, clip_score, clip_r_precision, .. } = self;
        let of = [
            frechet.as_ref().map(|found| &found.protocol),
            frechet_infinity.as_ref().map(|found| &found.protocol),
            kid.as_ref().map(|found| &found.protocol),
            mmd.as_ref().map(|found| &found.protocol),
            prdc.as_ref().map(|found| &found.protocol),
            inception_score.as_ref().map(|found| &found.protocol),
            memorisation.as_ref().map(|found| &found.protocol),
            intra_class.as_ref().map(|found| &found.protocol),
            classification_accuracy.as_ref().map(|found| &found.protocol),
            lpips.as_ref().map(|found| &found.protocol),
            lpips_data.as_ref().map(|found| &found.protocol),
            clip_score.as_ref().map(|found| &found.protocol),
            clip_r_precision.as_ref().map(|found| &found.protocol),
            pairs.as_ref().map(|found| &found.protocol),
        ];
        of.into_iter().flatten().map(String::as_str).collect()
    }

    /// Why some say little.
    pub fn warnings(&self) -> Vec<String> {
        let names = Names::new(self.features.unwrap_or_default());
        let of = [
            (names.frechet.as_str(), self.frechet.as_ref().and_then(|found| found.warning.as_ref())),
            (&names.infinity, self.frechet_infinity.as_ref().and_then(|found| found.warning.as_ref())),
            (&names.inception_score, self.inception_score.as_ref().and_then(|found| found.warning.as_ref())),
            ("intra-class", self.intra_class.as_ref().and_then(|found| found.warning.as_ref())),
        ];
        of.into_iter().filter_map(|(name, warning)| warning.map(|warning| format!("{name}: {warning}"))).collect()
    }
}

/// An interval behind a number; nothing where there is none.
fn between(interval: Option<Interval>) -> String {
    interval.map_or_else(String::new, |Interval { low, high, .. }| format!(" [{low:.3}, {high:.3}]"))
}

/// Five digits: how large the kernel's values are depends on the network.
fn short(value: f64) -> String {
    let size = value.abs();
    if !(1e-3..1e5).contains(&size) {
        return format!("{value:.4e}");
    }
    format!("{value:.*}", (4 - size.log10().floor() as i32).max(0) as usize)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_of_any_size_are_short() {
        let all = [0.0, 0.012_345_67, 1.0, -7623.78283, 99_999.0, 1.5e-5, 123_456.0].map(short);
        assert_eq!(all, ["0.0000e0", "0.012346", "1.0000", "-7623.8", "99999", "1.5000e-5", "1.2346e5"]);
    }

    #[test]
    fn only_inceptions_distance_is_called_fid() {
        assert_eq!(Names::new("Inception").frechet, "FID");
        assert_eq!(Names::new("SqueezeNet").frechet, "Fréchet (SqueezeNet)");
        assert_eq!(Names::new("GoogLeNet").inception_score, "GoogLeNet score");
        assert_eq!(Names::new("CLIP ViT-B/32").mmd, "CMMD");
    }
}
