//! Small flaws on training pictures, so that a judge of generated pictures is not thrown off by softness or grain.

use rand_chacha::ChaCha8Rng;
use shenbi_data::rng;

/// Standard deviation of the strongest grain, in pictures of [-1, 1].
const GRAIN: f32 = 0.1;

/// Draws of N(0, 1), drawn once and read from random places: a fresh draw a pixel would cost more than the training.
pub(crate) struct Flaws {
    normals: Vec<f32>,
}

impl Flaws {
    pub(crate) fn new(seed: u64) -> Self {
        let mut stream = rng::stream(seed, "flaws", 0);
        Self { normals: (0..1 << 16).map(|_| rng::normal(&mut stream)).collect() }
    }

    /// Softens every second picture by a random strength, and puts grain on every second.
    ///
    /// # Shapes
    /// picture: `[c, h, w]`
    pub(crate) fn put_on(&self, picture: &mut [f32], [height, width]: [usize; 2], rng: &mut ChaCha8Rng) {
        if rng::below(rng, 2) == 0 {
            let side = 0.25 * rng::uniform(rng);
            for plane in picture.chunks_exact_mut(height * width) {
                soften(plane, [height, width], side);
            }
        }
        if rng::below(rng, 2) == 0 {
            let sigma = GRAIN * rng::uniform(rng);
            let mut at = rng::below(rng, self.normals.len() as u64) as usize;
            for value in picture {
                *value += sigma * self.normals[at];
                at = (at + 1) % self.normals.len();
            }
        }
    }
}

/// Convolves a plane with `[side, 1 - 2 side, side]` along rows and columns; edges repeat.
fn soften(plane: &mut [f32], [height, width]: [usize; 2], side: f32) {
    let mix = |before: f32, here: f32, after: f32| here + side * (before + after - 2.0 * here);
    for row in plane.chunks_exact_mut(width) {
        let mut before = row[0];
        for x in 0..width {
            let here = row[x];
            row[x] = mix(before, here, row[(x + 1).min(width - 1)]);
            before = here;
        }
    }
    for x in 0..width {
        let mut before = plane[x];
        for y in 0..height {
            let here = plane[y * width + x];
            plane[y * width + x] = mix(before, here, plane[(y + 1).min(height - 1) * width + x]);
            before = here;
        }
    }
}

/// Moves a picture by up to an eighth of a side and scales it by up to an eighth, resampling bilinearly; what comes in
/// from outside repeats the edge.
///
/// # Shapes
/// picture: `[c, h, w]`
pub(crate) fn shift_and_zoom(picture: &mut [f32], [height, width]: [usize; 2], rng: &mut ChaCha8Rng) {
    let mut draw = || (rng::uniform(rng) - 0.5) * 0.25; // -1/8 to 1/8
    let zoom = [1.0 + draw(), 1.0 + draw()];
    let shift = [draw() * height as f32, draw() * width as f32];
    // For each row or column: the one it is read from, and the share of the next one.
    let places = |n: usize, zoom: f32, shift: f32| -> Vec<(usize, usize, f32)> {
        let middle = (n as f32 - 1.0) / 2.0;
        let place = |i: usize| {
            let from = ((i as f32 - middle) * zoom + middle + shift).clamp(0.0, n as f32 - 1.0);
            let low = from as usize;
            (low, (low + 1).min(n - 1), from - low as f32)
        };
        (0..n).map(place).collect()
    };
    let (rows, columns) = (places(height, zoom[0], shift[0]), places(width, zoom[1], shift[1]));
    let mut source = vec![0.0; height * width];
    for plane in picture.chunks_exact_mut(height * width) {
        source.copy_from_slice(plane);
        for (out, &(y0, y1, fy)) in plane.chunks_exact_mut(width).zip(&rows) {
            let (upper, lower) = (&source[y0 * width..][..width], &source[y1 * width..][..width]);
            for (value, &(x0, x1, fx)) in out.iter_mut().zip(&columns) {
                let top = upper[x0] + (upper[x1] - upper[x0]) * fx;
                let bottom = lower[x0] + (lower[x1] - lower[x0]) * fx;
                *value = top + (bottom - top) * fy;
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn softening_keeps_flat_pictures_and_spreads_a_dot() {
        let mut flat = vec![0.7; 20];
        soften(&mut flat, [4, 5], 0.25);
        assert!(flat.iter().all(|v| (v - 0.7).abs() < 1e-6));
        let mut dot = vec![0.0; 25];
        dot[12] = 1.0;
        soften(&mut dot, [5, 5], 0.25);
        // The 3x3 binomial kernel: 1 2 1, 2 4 2, 1 2 1 in sixteenths.
        for (at, expected) in [(12, 4.0), (11, 2.0), (7, 2.0), (6, 1.0), (18, 1.0), (0, 0.0)] {
            assert!((dot[at] * 16.0 - expected).abs() < 1e-6, "{dot:?}");
        }
    }

    #[test]
    fn flaws_are_small_and_seeded() {
        let flaws = Flaws::new(3);
        let mut differ = 0;
        for position in 0..32 {
            let mut a = vec![0.5; 3 * 8 * 8];
            let mut b = a.clone();
            flaws.put_on(&mut a, [8, 8], &mut rng::stream(1, "test", position));
            flaws.put_on(&mut b, [8, 8], &mut rng::stream(1, "test", position));
            assert_eq!(a, b);
            assert!(a.iter().all(|v| (v - 0.5).abs() < 6.0 * GRAIN));
            differ += usize::from(a.iter().any(|v| (v - 0.5).abs() > 1e-3));
        }
        assert!((6..27).contains(&differ), "{differ} of 32 have grain");
    }

    #[test]
    fn shifting_moves_a_ramp_and_keeps_its_range() {
        let ramp: Vec<f32> = (0..64).map(|i| (i % 8) as f32).collect();
        for position in 0..16 {
            let mut moved = ramp.clone();
            shift_and_zoom(&mut moved, [8, 8], &mut rng::stream(1, "test", position));
            assert!(moved.iter().all(|v| (0.0..=7.0).contains(v)));
            assert!(moved.chunks(8).all(|row| row.windows(2).all(|w| w[0] <= w[1]) && row == &moved[..8]));
            assert!(moved.iter().zip(&ramp).all(|(a, b)| (a - b).abs() < 2.0));
        }
    }
}
