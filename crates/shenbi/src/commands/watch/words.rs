//! A run in words: the lines that the dashboard and the plain frame begin with.

use super::run::{Run, Settings, State};
use crate::progress::duration;

/// What is trained on what.
pub fn settings(settings: &Settings) -> String {
    let Settings { recipe, data, level, size, channels, batch, .. } = settings;
    let mut words = Vec::new();
    words.extend(recipe.clone());
    words.extend(data.as_ref().map(|data| match level {
        Some(level) => format!("{data} ({level})"),
        None => data.clone(),
    }));
    words.extend(size.map(|[height, width]| {
        let colours = match channels {
            Some(1) => " grey",
            Some(3) => " RGB",
            Some(4) => " RGBA",
            _ => "",
        };
        format!("{height}x{width}{colours}")
    }));
    words.extend(batch.map(|batch| format!("batch {batch}")));
    words.join("  ")
}

/// Where it stands, the state of things first.
pub fn standing(run: &Run) -> Vec<String> {
    let facts = &run.facts;
    let mut words = vec![match run.state() {
        State::Waiting => return vec![waiting(run)],
        State::Silent(age) => format!("no new line for {}", duration(age.as_secs_f64())),
        state => state.name().to_string(),
    }];
    words.extend(facts.phase.clone());
    words.extend(facts.images.map(|images| match run.settings.kimg {
        Some(kimg) => format!("{:.1} of {kimg} kimg", images / 1000.0),
        None => format!("{:.1} kimg", images / 1000.0),
    }));
    words.extend(
        facts
            .images_per_second
            .map(|speed| format!("{speed:.0} {}/s", if run.settings.texts { "texts" } else { "img" })),
    );
    words.extend(facts.seconds.map(|seconds| format!("{} so far", duration(seconds))));
    words.extend(run.seconds_left().map(|left| format!("{} left", duration(left))));
    words
}

fn waiting(run: &Run) -> String {
    match &run.trouble {
        Some(trouble) => trouble.clone(),
        None if run.bad_lines > 0 => "waiting: log.jsonl has no line that can be read".to_string(),
        None => "waiting: nothing is in log.jsonl yet".to_string(),
    }
}

/// What is wrong with the log, if anything is.
pub fn trouble(run: &Run) -> Option<String> {
    let lines = match run.bad_lines {
        0 => None,
        1 => Some("1 line of log.jsonl is damaged".to_string()),
        n => Some(format!("{n} lines of log.jsonl are damaged")),
    };
    run.trouble.clone().or(lines)
}

/// A number in some four digits.
pub fn figure(value: f64) -> String {
    let size = value.abs();
    if size == 0.0 || !size.is_finite() {
        return format!("{value:.0}");
    }
    if !(1e-3..1e6).contains(&size) {
        return format!("{value:.2e}");
    }
    let whole = size.log10().floor() as i32;
    format!("{value:.*}", usize::try_from(3 - whole).unwrap_or(0))
}

/// How far along the axis of pictures, or of whatever else the log counts, `x` is.
pub fn position(run: &Run, x: f64) -> String {
    if run.facts.images.is_none() {
        return figure(x);
    }
    let kimg = x / 1000.0;
    match kimg.abs() {
        size if size < 10.0 => format!("{kimg:.1} kimg"),
        size if size < 1e6 => format!("{kimg:.0} kimg"),
        _ => format!("{} kimg", figure(kimg)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn figures_in_four_digits() {
        for (value, text) in [
            (0.0, "0"),
            (-0.0, "-0"),
            (0.32976, "0.3298"),
            (2.7568, "2.757"),
            (-12.3456, "-12.35"),
            (123456.7, "123457"),
            (0.00123456, "0.001235"),
            (0.0001, "1.00e-4"),
            (1.5e9, "1.50e9"),
            (9.99999, "10.000"),
            (f64::MAX, "1.80e308"),
        ] {
            assert_eq!(figure(value), text);
        }
    }

    #[test]
    fn settings_in_words() {
        let all = Settings {
            recipe: Some("brush".into()),
            data: Some("scenes".into()),
            level: Some("mixed".into()),
            size: Some([48, 64]),
            channels: Some(4),
            batch: Some(64),
            ..Settings::default()
        };
        assert_eq!(settings(&all), "brush  scenes (mixed)  48x64 RGBA  batch 64");
        assert_eq!(settings(&Settings::default()), "");
        let texts = Settings::from_toml("recipe = \"seqgan\"\ndata = \"a.txt\"\nheight = 32\nwidth = 32\nbatch = 8");
        assert_eq!(settings(&texts.unwrap()), "seqgan  a.txt  batch 8");
    }
}
