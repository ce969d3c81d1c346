//! A scene to pixels.
//!
//! tiny-skia turns each layer's path into coverage; colours are put on by this file, straight into the RGB picture.
//! Only additions, multiplications, divisions and square roots of f32 take part, so a picture is the same on every
//! machine.

use rand_chacha::ChaCha8Rng;
use tiny_skia::{Mask, Transform};

use super::palette::{self, Rgb, darker, lighter};
use super::scene::{Background, Object, Scene, between};
use super::{art, words::Colour};
use crate::Picture;

/// Pictures whose shorter side is at most this are covered at twice their size, for smoother edges.
const SUPERSAMPLED: usize = 72;

/// Paints `scene` at `[height, width]`.
pub(super) fn scene(scene: &Scene, [height, width]: [usize; 2], rng: &mut ChaCha8Rng) -> Picture {
    let ground = vary(scene.background.colour, palette::background(scene.background.colour), rng);
    let mut canvas = Canvas::new(height, width);
    canvas.background(scene.background, ground);
    // Objects of one kind are of one colour, as a person would draw them.
    let mut last: Option<(Colour, Rgb)> = None;
    for object in &scene.objects {
        let base = match last {
            Some((colour, base)) if colour == object.colour => base,
            _ => vary(object.colour, palette::object(object.colour), rng),
        };
        last = Some((object.colour, base));
        canvas.object(object, base);
    }
    canvas.finish()
}

/// `base`, slightly brighter or darker and with its channels shifted a little (on black and white, which a tint would
/// spoil, least).
fn vary(colour: Colour, base: Rgb, rng: &mut ChaCha8Rng) -> Rgb {
    let (shift, low) = if matches!(colour, Colour::Black | Colour::White) { (2.5, 0.97) } else { (6.0, 0.94) };
    let brightness = between(rng, low, 1.05);
    base.map(|c| c * brightness + between(rng, -shift, shift))
}

struct Canvas {
    height: usize,
    width: usize,
    /// Mask pixels per picture pixel, each way.
    fine: usize,
    mask: Option<Mask>,
    rgb: Vec<Rgb>, // [height * width]
}

impl Canvas {
    fn new(height: usize, width: usize) -> Self {
        let fine = if height.min(width) <= SUPERSAMPLED { 2 } else { 1 };
        let mask = Mask::new((width * fine) as u32, (height * fine) as u32);
        Self { height, width, fine, mask, rgb: vec![[0.0; 3]; height * width] }
    }

    fn background(&mut self, background: Background, base: Rgb) {
        let (light, dark) = match background.colour {
            Colour::Black => (0.1, 0.35),  // more light would be grey
            Colour::White => (0.5, 0.07),  // more shade would be grey
            Colour::Yellow => (0.3, 0.06), // more shade would be mustard
            Colour::Pink => (0.2, 0.06),   // more shade would be mauve
            Colour::Red => (0.07, 0.13),   // more light would be salmon
            Colour::Orange => (0.12, 0.1), // more light would be cream
            _ => (0.22, 0.13),
        };
        let (top, bottom) = (lighter(base, light * background.gradient), darker(base, dark * background.gradient));
        for (y, row) in self.rgb.chunks_exact_mut(self.width).enumerate() {
            let share = (y as f32 + 0.5) / self.height as f32;
            row.fill(palette::mix(top, bottom, share));
        }
    }

    fn object(&mut self, object: &Object, base: Rgb) {
        let scale = object.radius * self.height.min(self.width) as f32; // pixels
        let [cos, sin] = art::rotation(object.turn).map(|v| v * scale);
        let side = if object.mirrored { -1.0 } else { 1.0 };
        let (x, y) = (object.x * self.width as f32, object.y * self.height as f32);
        let place = Transform::from_row(cos * side, sin * side, -sin, cos, x, y);
        for layer in &art::art(object.shape).layers {
            self.layer(layer, layer.paint.colour(object.colour, base), place, [x, y, scale]);
        }
    }

    /// One path in one colour, a little lighter towards the object's upper left, whose centre and radius are `at`.
    fn layer(&mut self, layer: &art::Layer, colour: Rgb, place: Transform, at: [f32; 3]) {
        let fine = self.fine;
        let Some(mask) = &mut self.mask else { return };
        let Some(path) = layer.path.clone().transform(place.post_scale(fine as f32, fine as f32)) else { return };
        let bounds = path.bounds();
        // Picture rows and columns that the path can touch.
        let first = |v: f32| (v.max(0.0) as usize) / fine;
        let past = |v: f32, end: usize| ((v.max(0.0) as usize) / fine + 1).min(end);
        let (x0, x1) = (first(bounds.left()), past(bounds.right() + 1.0, self.width));
        let (y0, y1) = (first(bounds.top()), past(bounds.bottom() + 1.0, self.height));
        mask.fill_path(&path, layer.rule, true, Transform::identity());
        let stride = self.width * fine;
        let data = mask.data_mut();
        let [cx, cy, scale] = at;
        let full = 1.0 / (255 * fine * fine) as f32;
        for y in y0..y1 {
            for x in x0..x1 {
                let sum: u32 = (0..fine)
                    .map(|row| {
                        let start = (y * fine + row) * stride + x * fine;
                        data[start..start + fine].iter().map(|&c| u32::from(c)).sum::<u32>()
                    })
                    .sum();
                if sum == 0 {
                    continue;
                }
                let light = 1.0 - 0.07 * (((x as f32 - cx) * 0.5 + (y as f32 - cy)) / scale);
                let pixel = &mut self.rgb[y * self.width + x];
                *pixel = palette::mix(*pixel, colour.map(|c| c * light), sum as f32 * full);
            }
            data[y * fine * stride..(y + 1) * fine * stride].fill(0);
        }
    }

    fn finish(self) -> Picture {
        // `as u8` saturates.
        let pixels = self.rgb.into_iter().flatten().map(|c| (c + 0.5) as u8).collect();
        Picture { width: self.width, height: self.height, channels: 3, pixels }
    }
}
