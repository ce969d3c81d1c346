//! Between 8-bit pictures and the floats networks see.
//!
//! Floats are planar (`[c, h, w]`) in [-1, 1]. RGBA is premultiplied: a colour channel holds colour · alpha, so that
//! what a transparent pixel hides has no influence, and blending in resampling and networks is linear.

use crate::Picture;

/// The picture as floats. Grey and RGB: `v / 127.5 - 1`. RGBA: colour · alpha, and alpha itself, each mapped from
/// [0, 1] to [-1, 1].
///
/// # Shapes
/// returns `[c, h, w]`
#[must_use]
pub fn to_floats(picture: &Picture) -> Vec<f32> {
    let mut out = vec![0.0; picture.height * picture.width * picture.channels];
    write_floats(picture, false, &mut out);
    out
}

/// [`to_floats`] into `out` (`[c, h, w]`), mirrored left to right if `flip`.
pub(crate) fn write_floats(picture: &Picture, flip: bool, out: &mut [f32]) {
    let Picture { width, height, channels, ref pixels } = *picture;
    let plane = width * height;
    for y in 0..height {
        for x in 0..width {
            let from = (y * width + if flip { width - 1 - x } else { x }) * channels;
            let pixel = &pixels[from..from + channels];
            let to = y * width + x;
            if let [r, g, b, a] = *pixel {
                for (c, v) in [r, g, b].into_iter().enumerate() {
                    out[c * plane + to] = f32::from(u16::from(v) * u16::from(a)) * (2.0 / 65_025.0) - 1.0;
                }
                out[3 * plane + to] = f32::from(a) * (2.0 / 255.0) - 1.0;
            } else {
                for (c, &v) in pixel.iter().enumerate() {
                    out[c * plane + to] = f32::from(v) * (2.0 / 255.0) - 1.0;
                }
            }
        }
    }
}

/// The picture that `floats` show: the inverse of [`to_floats`] (exact for every pixel that is not fully transparent).
/// Values outside [-1, 1] are clamped; RGBA colours are divided by alpha; a fully transparent pixel becomes 0, 0, 0, 0.
///
/// # Shapes
/// floats: `[c, h, w]`
///
/// # Panics
/// If `floats` does not have `channels * height * width` values: a defect of the caller.
#[must_use]
pub fn from_floats(floats: &[f32], channels: usize, height: usize, width: usize) -> Picture {
    let plane = height * width;
    assert_eq!(floats.len(), channels * plane, "from_floats: {channels} channels of {height}x{width}");
    let unit = |v: f32| (v * 0.5 + 0.5).clamp(0.0, 1.0);
    let byte = |v: f32| (v * 255.0).round() as u8; // a NaN becomes 0
    let mut pixels = Vec::with_capacity(floats.len());
    for at in 0..plane {
        if channels == 4 {
            let alpha = unit(floats[3 * plane + at]);
            let visible = byte(alpha) > 0;
            for c in 0..3 {
                pixels.push(if visible { byte((unit(floats[c * plane + at]) / alpha).clamp(0.0, 1.0)) } else { 0 });
            }
            pixels.push(byte(alpha));
        } else {
            pixels.extend((0..channels).map(|c| byte(unit(floats[c * plane + at]))));
        }
    }
    Picture { width, height, channels, pixels }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn picture() -> impl Strategy<Value = Picture> {
        (1_usize..6, 1_usize..6, prop::sample::select(vec![1_usize, 3, 4])).prop_flat_map(
            |(height, width, channels)| {
                prop::collection::vec(any::<u8>(), height * width * channels).prop_map(move |pixels| Picture {
                    width,
                    height,
                    channels,
                    pixels,
                })
            },
        )
    }

    proptest! {
        #[test]
        fn round_trip_is_exact_where_visible(mut picture in picture()) {
            let floats = to_floats(&picture);
            prop_assert!(floats.iter().all(|v| (-1.0..=1.0).contains(v)));
            let back = from_floats(&floats, picture.channels, picture.height, picture.width);
            if picture.channels == 4 {
                for pixel in picture.pixels.chunks_exact_mut(4).filter(|p| p[3] == 0) {
                    pixel.fill(0);
                }
            }
            prop_assert_eq!(back, picture);
        }

        #[test]
        fn flip_mirrors_rows(picture in picture()) {
            let mut mirrored = vec![0.0; picture.pixels.len()];
            write_floats(&picture, true, &mut mirrored);
            for (row, back) in to_floats(&picture).chunks(picture.width).zip(mirrored.chunks(picture.width)) {
                prop_assert!(row.iter().eq(back.iter().rev()));
            }
        }
    }

    #[test]
    fn premultiplied_values_in_closed_form() {
        let picture = Picture { width: 1, height: 1, channels: 4, pixels: vec![255, 0, 51, 51] };
        let floats = to_floats(&picture);
        for (value, expected) in floats.iter().zip([-0.6, -1.0, -0.92, -0.6]) {
            assert!((value - expected).abs() < 1e-6, "{floats:?}");
        }
    }

    #[test]
    fn wild_floats_are_clamped() {
        let wild = [f32::NAN, f32::INFINITY, f32::NEG_INFINITY, 7.0];
        assert_eq!(from_floats(&wild, 1, 1, 4).pixels, [0, 255, 0, 255]);
        assert_eq!(from_floats(&wild, 4, 1, 1).pixels, [0, 255, 0, 255]);
        assert_eq!(from_floats(&[1.0, 1.0, 1.0, -1.0], 4, 1, 1).pixels, [0, 0, 0, 0]);
    }
}
