//! A picture in a terminal: two pixels a cell, one above the other.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::SystemTime;

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::Color;
use ratatui::widgets::Widget;
use shenbi_data::{Picture, decode};

/// A file larger than this is not a sample of ours.
const MAX_BYTES: u64 = 64 << 20;
/// The two greys that show through where a picture is transparent, in squares of so many pixels of the terminal.
const CHECKS: [f32; 2] = [96.0, 152.0];
const CHECK: usize = 2;

/// Colours in rows from the top.
#[derive(Debug, PartialEq, Eq)]
pub struct Pixels {
    width: usize,
    height: usize,
    colours: Vec<[u8; 3]>,
}

/// How a picture fills its place.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Fit {
    /// All of it is seen.
    Whole,
    /// It is as wide as the place; a part is seen, from so many rows of the terminal below its top.
    Width(usize),
}

/// The picture shown last: a file is decoded and scaled again only if it or its place has changed.
#[derive(Debug, Default)]
pub struct Cache {
    file: Option<(PathBuf, SystemTime, u64)>,
    picture: Option<Result<Picture, String>>,
    place: Option<(Rect, Fit)>,
    pixels: Option<Pixels>,
}

impl Cache {
    /// The picture in the file `path`; an error says why there is none.
    pub fn picture(&mut self, path: &Path) -> Result<&Picture, String> {
        let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let file = (path.to_path_buf(), modified, metadata.len());
        if self.file.as_ref() != Some(&file) {
            *self = Self { file: Some(file), picture: Some(load(path, metadata.len())), ..Self::default() };
        }
        match &self.picture {
            Some(Ok(picture)) => Ok(picture),
            Some(Err(message)) => Err(message.clone()),
            None => Err(String::new()),
        }
    }

    /// Draws the picture in the file `path` into `area`, in the middle.
    pub fn draw(&mut self, path: &Path, fit: Fit, area: Rect, buffer: &mut Buffer) -> Result<(), String> {
        self.picture(path)?;
        if let (Some(Ok(picture)), true) = (&self.picture, self.place != Some((area, fit))) {
            self.pixels = Some(scaled(picture, usize::from(area.width), 2 * usize::from(area.height), fit));
            self.place = Some((area, fit));
        }
        if let Some(pixels) = &self.pixels {
            pixels.render(area, buffer);
        }
        Ok(())
    }
}

fn load(path: &Path, bytes: u64) -> Result<Picture, String> {
    if bytes > MAX_BYTES {
        return Err(format!("{} is larger than {} MiB", path.display(), MAX_BYTES >> 20));
    }
    let bytes = fs::read(path).map_err(|error| error.to_string())?;
    decode::decode(path, &bytes, decode::MAX_PIXELS).map_err(|error| error.to_string())
}

/// Height and width, in pixels of the terminal, of a picture of `height` and `width` that fills `rows` and `columns`:
/// smaller by any factor, larger by a whole one.
pub fn size(height: usize, width: usize, rows: usize, columns: usize, fit: Fit) -> [usize; 2] {
    let (high, wide) = (rows as f64 / height.max(1) as f64, columns as f64 / width.max(1) as f64);
    let scale = if fit == Fit::Whole { high.min(wide) } else { wide };
    let scale = if scale > 1.0 { scale.floor() } else { scale };
    [height, width].map(|side| ((side as f64 * scale).round() as usize).max(1))
}

/// The picture, or what is seen of it, at a size that fits into `columns` and `rows` of pixels.
fn scaled(picture: &Picture, columns: usize, rows: usize, fit: Fit) -> Pixels {
    let [whole, width] = size(picture.height, picture.width, rows, columns, fit);
    let width = width.min(columns);
    let height = whole.min(rows);
    let top = match fit {
        Fit::Whole => 0,
        Fit::Width(top) => (2 * top).min(whole - height),
    };
    let mut colours = Vec::with_capacity(height * width);
    let across: Vec<_> = (0..width).map(|x| part(picture.width, width, x)).collect();
    for y in 0..height {
        let rows = part(picture.height, whole, top + y);
        for (x, columns) in across.iter().enumerate() {
            let [r, g, b, alpha] = mean(picture, &rows, columns);
            let check = CHECKS[(x / CHECK + y / CHECK) % 2] * (1.0 - alpha / 255.0);
            colours.push([r, g, b].map(|value| (value + check).round().clamp(0.0, 255.0) as u8));
        }
    }
    Pixels { width, height, colours }
}

/// Of a side of `from` pixels cut into `to` parts, part `i`: its first pixel, and how much of it and of those after it
/// lies in the part.
fn part(from: usize, to: usize, i: usize) -> (usize, Vec<f32>) {
    let step = from as f64 / to as f64;
    let (start, end) = (i as f64 * step, ((i + 1) as f64 * step).min(from as f64));
    let first = (start as usize).min(from - 1);
    let last = (end.ceil() as usize).clamp(first + 1, from);
    let share = |pixel: usize| (end.min((pixel + 1) as f64) - start.max(pixel as f64)).max(0.0) as f32;
    (first, (first..last).map(share).collect())
}

/// The mean colour of an area, times its alpha, and the alpha.
fn mean(picture: &Picture, rows: &(usize, Vec<f32>), columns: &(usize, Vec<f32>)) -> [f32; 4] {
    let (mut sums, mut total) = ([0.0; 4], 0.0);
    for (y, high) in rows.1.iter().enumerate() {
        for (x, wide) in columns.1.iter().enumerate() {
            let at = ((rows.0 + y) * picture.width + columns.0 + x) * picture.channels;
            let [r, g, b, alpha] = match picture.pixels[at..at + picture.channels] {
                [r, g, b, alpha] => [r, g, b, alpha].map(f32::from),
                [r, g, b] => [r, g, b, 255].map(f32::from),
                [grey, ..] => [grey, grey, grey, 255].map(f32::from),
                [] => [0.0; 4],
            };
            let (weight, opaque) = (high * wide, alpha / 255.0);
            for (sum, value) in sums.iter_mut().zip([r * opaque, g * opaque, b * opaque, alpha]) {
                *sum += weight * value;
            }
            total += weight;
        }
    }
    sums.map(|sum| sum / total.max(f32::MIN_POSITIVE))
}

impl Widget for &Pixels {
    fn render(self, area: Rect, buffer: &mut Buffer) {
        let area = area.intersection(buffer.area);
        let cells = self.height.div_ceil(2);
        let left = usize::from(area.width).saturating_sub(self.width) / 2;
        let top = usize::from(area.height).saturating_sub(cells) / 2;
        let colour = |x: usize, y: usize| {
            (y < self.height).then(|| self.colours[y * self.width + x]).map(|[r, g, b]| Color::Rgb(r, g, b))
        };
        for y in 0..cells.min(usize::from(area.height)) {
            for x in 0..self.width.min(usize::from(area.width)) {
                let cell = &mut buffer[(area.x + (left + x) as u16, area.y + (top + y) as u16)];
                cell.set_symbol("▀");
                cell.set_fg(colour(x, 2 * y).unwrap_or(Color::Reset));
                cell.set_bg(colour(x, 2 * y + 1).unwrap_or(Color::Reset));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn picture(width: usize, channels: usize, pixels: &[u8]) -> Picture {
        Picture { width, height: pixels.len() / channels / width, channels, pixels: pixels.to_vec() }
    }

    #[test]
    fn areas_are_averaged() {
        let checks = picture(4, 1, &[0, 255, 0, 255, 255, 0, 255, 0]); // 2 rows of 4
        let small = scaled(&checks, 2, 1, Fit::Whole);
        assert_eq!((small.width, small.height), (2, 1));
        assert_eq!(small.colours, [[128; 3]; 2]);
        // Three pixels to two: a pixel and a half each.
        let three = scaled(&picture(3, 3, &[0, 0, 0, 90, 90, 90, 255, 0, 30]), 2, 2, Fit::Whole);
        assert_eq!(three.colours, [[30, 30, 30], [200, 30, 50]]);
        // Larger by a whole factor, sharp.
        let large = scaled(&picture(2, 1, &[10, 20]), 5, 9, Fit::Whole);
        assert_eq!((large.width, large.height), (4, 2));
        assert_eq!(large.colours[..4], [[10; 3], [10; 3], [20; 3], [20; 3]]);
    }

    #[test]
    fn what_is_transparent_shows_the_checks() {
        let clear = scaled(&picture(4, 4, &[255, 0, 0, 0].repeat(16)), 4, 4, Fit::Whole);
        let [dark, light] = CHECKS.map(|grey| [grey as u8; 3]);
        assert_eq!(clear.colours[..4], [dark, dark, light, light]);
        assert_eq!(clear.colours[8..12], [light, light, dark, dark]);
        // Beside nothing, red stays red: colour counts by its alpha.
        let half = scaled(&picture(2, 4, &[255, 0, 0, 255, 0, 255, 0, 0]), 1, 1, Fit::Whole);
        assert_eq!(half.colours, [[176, 48, 48]]);
    }

    #[test]
    fn a_tall_picture_fills_the_width() {
        let tall = picture(2, 1, &(0..40).collect::<Vec<u8>>()); // 20 rows of 2
        assert_eq!(size(20, 2, 10, 2, Fit::Whole), [10, 1]);
        for (top, first) in [(0, 0), (3, 12), (100, 20)] {
            let seen = scaled(&tall, 2, 10, Fit::Width(top));
            assert_eq!((seen.width, seen.height, seen.colours[0]), (2, 10, [first; 3]));
        }
    }

    #[test]
    fn two_pixels_share_a_cell() {
        let pixels = Pixels { width: 1, height: 3, colours: vec![[1; 3], [2; 3], [3; 3]] };
        let mut buffer = Buffer::empty(Rect::new(0, 0, 3, 2));
        pixels.render(buffer.area, &mut buffer);
        let [above, below] = [&buffer[(1, 0)], &buffer[(1, 1)]];
        assert_eq!((above.symbol(), above.fg, above.bg), ("▀", Color::Rgb(1, 1, 1), Color::Rgb(2, 2, 2)));
        assert_eq!((below.fg, below.bg), (Color::Rgb(3, 3, 3), Color::Reset));
        assert_eq!(buffer[(0, 0)].symbol(), " ");
    }

    #[test]
    fn any_place_will_do() {
        let picture = picture(7, 3, &[100; 7 * 5 * 3]);
        for (columns, rows) in (0..20).flat_map(|columns| (0..20).map(move |rows| (columns, rows))) {
            for fit in [Fit::Whole, Fit::Width(0), Fit::Width(3)] {
                let pixels = scaled(&picture, columns, rows, fit);
                assert!(pixels.width <= columns && pixels.height <= rows, "{columns}x{rows}");
                let mut buffer = Buffer::empty(Rect::new(0, 0, columns as u16, rows.div_ceil(2) as u16));
                pixels.render(buffer.area, &mut buffer);
            }
        }
    }

    #[test]
    fn files_that_are_no_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("00000001.png");
        let mut cache = Cache::default();
        assert!(cache.picture(&path).is_err());
        fs::write(&path, "no PNG").unwrap();
        assert!(cache.picture(&path).unwrap_err().contains("00000001.png"));
        decode::write_png(&path, &picture(1, 3, &[1, 2, 3])).unwrap();
        assert_eq!(cache.picture(&path).unwrap().pixels, [1, 2, 3]);
        decode::write_png(&path, &picture(1, 1, &[1, 2])).unwrap();
        assert_eq!(cache.picture(&path).unwrap().height, 2, "written anew");
    }
}
