//! Values of flags.

use shenbi_data::scenes::Level;

/// Levels of the scenes by name.
pub const LEVELS: [(&str, Level); 4] =
    [("one", Level::One), ("two", Level::Two), ("many", Level::Many), ("mixed", Level::Mixed)];

/// A picture size: `64`, or height and width as `48x64`.
pub fn size(text: &str) -> Result<[usize; 2], String> {
    let side = |text: &str| text.trim().parse::<usize>().ok().filter(|side| *side > 0);
    let sides = match text.split_once(['x', 'X', '×']) {
        Some((height, width)) => side(height).zip(side(width)),
        None => side(text).map(|side| (side, side)),
    };
    let (height, width) = sides.ok_or("expected a number as 64, or height and width as 48x64")?;
    Ok([height, width])
}

/// How many layers of a text encoder are tuned: `layers=2`.
pub fn tuned_layers(text: &str) -> Result<usize, String> {
    let number = text.strip_prefix("layers=").and_then(|number| number.parse().ok());
    number.filter(|number| (1..=100).contains(number)).ok_or_else(|| "expected a number of layers, as layers=2".into())
}

/// The level called `name`.
pub fn level(name: &str) -> Result<Level, String> {
    let known = LEVELS.iter().find(|(known, _)| *known == name).map(|(_, level)| *level);
    known.ok_or_else(|| format!("'{name}' is no level; expected {}", LEVELS.map(|(name, _)| name).join(", ")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        assert_eq!(size("64"), Ok([64, 64]));
        assert_eq!(size("48x64"), Ok([48, 64]));
        for wrong in ["", "x", "64x", "0", "-3", "64x64x3", "big"] {
            assert!(size(wrong).is_err(), "{wrong}");
        }
    }

    #[test]
    fn levels() {
        assert_eq!(level("two"), Ok(Level::Two));
        assert!(level("five").unwrap_err().contains("one, two, many, mixed"));
    }
}
