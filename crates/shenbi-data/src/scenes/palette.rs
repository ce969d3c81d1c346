//! The colours: strong ones for objects, their softer sisters for backgrounds.

use super::words::Colour;

/// Red, green, blue in `0..=255`, before rounding.
pub(super) type Rgb = [f32; 3];

/// An object's colour before its variation.
pub(super) const fn object(colour: Colour) -> Rgb {
    match colour {
        Colour::Red => [220.0, 38.0, 44.0],
        Colour::Orange => [246.0, 134.0, 22.0],
        Colour::Yellow => [250.0, 214.0, 40.0],
        Colour::Green => [46.0, 158.0, 70.0],
        Colour::Blue => [40.0, 96.0, 214.0],
        Colour::Purple => [126.0, 58.0, 178.0],
        Colour::Pink => [246.0, 126.0, 178.0],
        Colour::Brown => [124.0, 74.0, 40.0],
        Colour::Black => [34.0, 34.0, 40.0],
        Colour::White => [248.0, 248.0, 246.0],
    }
}

/// A background's colour before its variation: the object's hue, less saturated and (mostly) lighter.
pub(super) const fn background(colour: Colour) -> Rgb {
    match colour {
        Colour::Red => [212.0, 76.0, 74.0],
        Colour::Orange => [245.0, 164.0, 82.0],
        Colour::Yellow => [250.0, 228.0, 122.0],
        Colour::Green => [136.0, 200.0, 136.0],
        Colour::Blue => [122.0, 174.0, 236.0],
        Colour::Purple => [172.0, 134.0, 212.0],
        Colour::Pink => [250.0, 192.0, 214.0],
        Colour::Brown => [156.0, 112.0, 78.0],
        Colour::Black => [46.0, 46.0, 54.0],
        Colour::White => [246.0, 246.0, 246.0],
    }
}

/// `a` where `share` is 0, `b` where it is 1.
pub(super) fn mix(a: Rgb, b: Rgb, share: f32) -> Rgb {
    [0, 1, 2].map(|i| a[i] + (b[i] - a[i]) * share)
}

/// Darker by `share`, towards a deep tone of its own hue: a pink roof in the shade stays pink. Warm colours keep more
/// of their red, or yellow would turn olive.
pub(super) fn darker(colour: Rgb, share: f32) -> Rgb {
    let [r, g, b] = colour;
    let warmth = 0.14 + 0.26 * ((r - b) / 255.0).max(0.0);
    mix(colour, [r * warmth + 6.0, g * 0.14 + 6.0, b * 0.14 + 16.0], share)
}

/// Lighter by `share`.
pub(super) fn lighter(colour: Rgb, share: f32) -> Rgb {
    mix(colour, [255.0, 255.0, 250.0], share)
}
