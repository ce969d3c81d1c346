//! A picture in a terminal: two pixels a cell, one above the other.

use std::fs;
use std::ops::Range;
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

/// Strips that a tall picture is cut into, at most, and how much larger it must become by one more.
const STRIPS: usize = 4;
const WORTH: f64 = 1.15;
/// A picture with more rows than this is not cut.
const MAX_ROWS: usize = 20_000;

/// A picture that may be laid out as strips side by side: grids of samples are tall, terminals wide.
#[derive(Debug)]
pub struct Sheet {
    picture: Picture,
    /// The rows that are of one colour.
    plain: Vec<bool>,
}

impl Sheet {
    fn new(picture: Picture) -> Self {
        let of_one_colour = |row: &[u8]| {
            let mut pixels = row.chunks_exact(picture.channels);
            let first = pixels.next();
            pixels.all(|pixel| Some(pixel) == first)
        };
        let plain = picture.pixels.chunks_exact(picture.width * picture.channels).map(of_one_colour).collect();
        Self { picture, plain }
    }

    /// Cuts it into `n` strips of about the same height where its rows are plain, if they are there.
    fn cut(&self, n: usize) -> Option<Vec<Range<usize>>> {
        let rows = self.plain.len();
        let mut cuts = vec![0];
        for i in 1..n {
            let (wanted, reach) = (rows * i / n, rows / (4 * n));
            let near = (0..=reach).flat_map(|away| [wanted - away, wanted + away]);
            let last = cuts[i - 1];
            cuts.push(near.into_iter().find(|row| *row > last && self.plain[*row])?);
        }
        cuts.push(rows);
        Some(cuts.windows(2).map(|pair| pair[0]..pair[1]).collect())
    }

    /// The strips that make the picture largest in so many pixels, and the height and width that they then take.
    fn strips(&self, rows: usize, columns: usize) -> (Vec<Range<usize>>, [usize; 2]) {
        let (whole, width) = (self.plain.len(), self.picture.width);
        let mut best = (Vec::new(), 0.0);
        let most = if whole <= MAX_ROWS { STRIPS } else { 1 };
        for strips in (1..=most).filter_map(|n| self.cut(n)) {
            let scale = scale(highest(&strips), width * strips.len(), rows, columns);
            if best.0.is_empty() || scale > best.1 * WORTH {
                best = (strips, scale);
            }
        }
        let sides = [highest(&best.0), width * best.0.len()];
        (best.0, scaled_by(best.1, sides))
    }

    /// By what the picture is multiplied where so many pixels are at hand and all of it is seen, and the height and width
    /// that it then takes.
    pub fn size(&self, rows: usize, columns: usize) -> (f64, [usize; 2]) {
        let (strips, size) = self.strips(rows, columns);
        (size[0] as f64 / highest(&strips).max(1) as f64, size)
    }

    /// The strips side by side; below a shorter one its last row goes on.
    fn laid_out(&self, strips: &[Range<usize>]) -> Picture {
        let Picture { width, channels, ref pixels, .. } = self.picture;
        let height = highest(strips);
        let row = |at: usize| &pixels[at * width * channels..(at + 1) * width * channels];
        let of_row = |y: usize| strips.iter().flat_map(move |strip| row((strip.start + y).min(strip.end - 1)));
        Picture {
            width: width * strips.len(),
            height,
            channels,
            pixels: (0..height).flat_map(of_row).copied().collect(),
        }
    }
}

fn highest(strips: &[Range<usize>]) -> usize {
    strips.iter().map(Range::len).max().unwrap_or(0)
}

/// The picture shown last: a file is decoded and scaled again only if it or its place has changed.
#[derive(Debug, Default)]
pub struct Cache {
    file: Option<(PathBuf, SystemTime, u64)>,
    sheet: Option<Result<Sheet, String>>,
    place: Option<(Rect, Fit)>,
    pixels: Option<Pixels>,
}

impl Cache {
    /// The picture in the file `path`; an error says why there is none.
    pub fn sheet(&mut self, path: &Path) -> Result<&Sheet, String> {
        let metadata = fs::metadata(path).map_err(|error| error.to_string())?;
        let modified = metadata.modified().unwrap_or(SystemTime::UNIX_EPOCH);
        let file = (path.to_path_buf(), modified, metadata.len());
        if self.file.as_ref() != Some(&file) {
            let sheet = load(path, metadata.len()).map(Sheet::new);
            *self = Self { file: Some(file), sheet: Some(sheet), ..Self::default() };
        }
        match &self.sheet {
            Some(sheet) => sheet.as_ref().map_err(Clone::clone),
            None => Err(String::new()),
        }
    }

    /// Draws the picture in the file `path` into `area`, in the middle.
    pub fn draw(&mut self, path: &Path, fit: Fit, area: Rect, buffer: &mut Buffer) -> Result<(), String> {
        self.sheet(path)?;
        let place = Some((area, fit));
        if let (Some(Ok(sheet)), true) = (&self.sheet, self.place != place) {
            let (columns, rows) = (usize::from(area.width), 2 * usize::from(area.height));
            let pixels = match fit {
                Fit::Whole => match sheet.strips(rows, columns) {
                    (strips, size) if strips.len() > 1 => scaled(&sheet.laid_out(&strips), size, 0..size[0]),
                    (_, size) => scaled(&sheet.picture, size, 0..size[0]),
                },
                Fit::Width(top) => {
                    let Picture { height, width, .. } = sheet.picture;
                    let size = scaled_by(scale(height, width, usize::MAX, columns), [height, width]);
                    let top = (2 * top).min(size[0].saturating_sub(rows));
                    scaled(&sheet.picture, size, top..size[0].min(top + rows))
                }
            };
            (self.pixels, self.place) = (Some(pixels), place);
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

/// By what a picture of `height` and `width` is multiplied to fill `rows` and `columns` of pixels: smaller by any factor,
/// larger by a whole one.
fn scale(height: usize, width: usize, rows: usize, columns: usize) -> f64 {
    let scale = (rows as f64 / height.max(1) as f64).min(columns as f64 / width.max(1) as f64);
    if scale > 1.0 { scale.floor() } else { scale }
}

fn scaled_by(scale: f64, sides: [usize; 2]) -> [usize; 2] {
    sides.map(|side| ((side as f64 * scale).round() as usize).max(1))
}

/// The picture at this height and width, and of that the rows that are `seen`.
fn scaled(picture: &Picture, [height, width]: [usize; 2], seen: Range<usize>) -> Pixels {
    let mut colours = Vec::with_capacity(seen.len() * width);
    let across: Vec<_> = (0..width).map(|x| part(picture.width, width, x)).collect();
    for (y, row) in seen.clone().enumerate() {
        let rows = part(picture.height, height, row);
        for (x, columns) in across.iter().enumerate() {
            let [r, g, b, alpha] = mean(picture, &rows, columns);
            let check = CHECKS[(x / CHECK + y / CHECK) % 2] * (1.0 - alpha / 255.0);
            colours.push([r, g, b].map(|value| (value + check).round().clamp(0.0, 255.0) as u8));
        }
    }
    Pixels { width, height: seen.len(), colours }
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

    /// All of the picture in so many pixels.
    fn whole(picture: &Picture, columns: usize, rows: usize) -> Pixels {
        let size = scaled_by(scale(picture.height, picture.width, rows, columns), [picture.height, picture.width]);
        scaled(picture, size, 0..size[0])
    }

    #[test]
    fn areas_are_averaged() {
        let checks = picture(4, 1, &[0, 255, 0, 255, 255, 0, 255, 0]); // 2 rows of 4
        let small = whole(&checks, 2, 1);
        assert_eq!((small.width, small.height), (2, 1));
        assert_eq!(small.colours, [[128; 3]; 2]);
        // Three pixels to two: a pixel and a half each.
        let three = whole(&picture(3, 3, &[0, 0, 0, 90, 90, 90, 255, 0, 30]), 2, 2);
        assert_eq!(three.colours, [[30, 30, 30], [200, 30, 50]]);
        // Larger by a whole factor, sharp.
        let large = whole(&picture(2, 1, &[10, 20]), 5, 9);
        assert_eq!((large.width, large.height), (4, 2));
        assert_eq!(large.colours[..4], [[10; 3], [10; 3], [20; 3], [20; 3]]);
    }

    #[test]
    fn what_is_transparent_shows_the_checks() {
        let clear = whole(&picture(4, 4, &[255, 0, 0, 0].repeat(16)), 4, 4);
        let [dark, light] = CHECKS.map(|grey| [grey as u8; 3]);
        assert_eq!(clear.colours[..4], [dark, dark, light, light]);
        assert_eq!(clear.colours[8..12], [light, light, dark, dark]);
        // Beside nothing, red stays red: colour counts by its alpha.
        let half = whole(&picture(2, 4, &[255, 0, 0, 255, 0, 255, 0, 0]), 1, 1);
        assert_eq!(half.colours, [[176, 48, 48]]);
    }

    #[test]
    fn a_tall_picture_is_cut_where_it_is_plain() {
        // 40 rows of 4, plain but for two blocks.
        let mut pixels = vec![255; 160];
        (1..19).chain(21..39).for_each(|row| pixels[4 * row + 1] = row as u8);
        let sheet = Sheet::new(picture(4, 1, &pixels));
        assert_eq!(sheet.strips(20, 8), (vec![0..20, 20..40], [20, 8]));
        let (strips, size) = sheet.strips(40, 4);
        assert_eq!((strips.len(), size), (1, [40, 4]), "it fits as it is");
        let both = sheet.laid_out(&[0..20, 20..40]);
        assert_eq!((both.width, both.height, both.pixels[8 * 5 + 1], both.pixels[8 * 5 + 5]), (8, 20, 5, 25));
        let uneven = sheet.laid_out(&[0..30, 30..40]);
        assert_eq!((uneven.height, uneven.pixels[8 * 5 + 5], uneven.pixels[8 * 29 + 5]), (30, 35, 255));
        let full = Sheet::new(picture(2, 1, &(0..80).collect::<Vec<u8>>()));
        assert_eq!(full.strips(10, 8).0.len(), 1, "nowhere to cut");
    }

    #[test]
    fn a_tall_picture_fills_the_width() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.png");
        decode::write_png(&path, &picture(2, 1, &(0..40).collect::<Vec<u8>>())).unwrap(); // 20 rows of 2
        let area = Rect::new(0, 0, 2, 5);
        let mut cache = Cache::default();
        for (top, first) in [(0, 0), (3, 12), (100, 20)] {
            let mut buffer = Buffer::empty(area);
            cache.draw(&path, Fit::Width(top), area, &mut buffer).unwrap();
            let cell = &buffer[(0, 0)];
            assert_eq!(
                (cell.fg, cell.bg),
                (Color::Rgb(first, first, first), Color::Rgb(first + 2, first + 2, first + 2))
            );
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
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("1.png");
        let mut cache = Cache::default();
        for height in [1, 5, 60] {
            decode::write_png(&path, &picture(7, 3, &vec![100; 7 * height * 3])).unwrap();
            for (columns, rows) in (0..20).flat_map(|columns| (0..20).map(move |rows| (columns, rows))) {
                for fit in [Fit::Whole, Fit::Width(0), Fit::Width(3)] {
                    let area = Rect::new(0, 0, columns, rows);
                    cache.draw(&path, fit, area, &mut Buffer::empty(area)).unwrap();
                    let Pixels { width, height, .. } = cache.pixels.as_ref().unwrap();
                    let fits = *width <= usize::from(columns) && *height <= 2 * usize::from(rows);
                    assert!(fits || columns == 0 || rows == 0, "{width}x{height} in {columns}x{rows}");
                }
            }
        }
    }

    #[test]
    fn files_that_are_no_pictures() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("00000001.png");
        let mut cache = Cache::default();
        assert!(cache.sheet(&path).is_err());
        fs::write(&path, "no PNG").unwrap();
        assert!(cache.sheet(&path).unwrap_err().contains("00000001.png"));
        decode::write_png(&path, &picture(1, 3, &[1, 2, 3])).unwrap();
        // Of a while ago: files have their times to some milliseconds only.
        fs::File::options().write(true).open(&path).unwrap().set_modified(SystemTime::UNIX_EPOCH).unwrap();
        assert_eq!(cache.sheet(&path).unwrap().picture.pixels, [1, 2, 3]);
        decode::write_png(&path, &picture(1, 1, &[1, 2])).unwrap();
        assert_eq!(cache.sheet(&path).unwrap().picture.height, 2, "written anew");
    }
}
