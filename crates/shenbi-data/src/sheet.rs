//! Contact sheets: many pictures on one, with or without captions, for a person to look at.
//!
//! Small pictures are enlarged by whole numbers, each pixel a square, so that a sheet shows what was made and nothing
//! else. Transparency shows a light checkerboard. Captions are set in GNU Unifont (all scripts, 16 pixels high).

use unifont::get_glyph;

use crate::Picture;

/// Pictures are enlarged to at least so many pixels, on the longer side...
const SMALLEST: usize = 128;
/// ...and, with a caption each, to so many: three lines of 24 letters hold most captions whole.
const SMALLEST_LABELLED: usize = 192;
/// From this width on a cell's text is twice as high.
const LARGE: usize = 384;
/// Between cells, and around the sheet.
const GAP: usize = 12;
/// Between the pictures of a plain grid.
const HAIR: usize = 2;
/// Between a picture and its caption.
const ABOVE_TEXT: usize = 5;
/// Longer captions end in an ellipsis.
const MAX_LINES: usize = 3;
/// Height of a glyph, and its width if it is Chinese; Latin is half as wide.
const GLYPH: usize = 16;
/// Height of a line of text.
const LINE: usize = GLYPH + 2;
const WHITE: [u8; 3] = [255; 3];
const INK: [u8; 3] = [34, 34, 34];
/// Transparency: squares of these, and so wide.
const CHECKER: [u8; 2] = [255, 232];
const SQUARE: usize = 8;
/// Stands for a character that the font lacks.
const UNKNOWN: char = '\u{25a1}';

/// Each picture with its caption below it, `columns` in a row, on white. The result is RGB.
#[must_use]
pub fn labelled(cells: &[(String, Picture)], columns: usize) -> Picture {
    let columns = columns.clamp(1, cells.len().max(1));
    let scale = scale_of(cells.iter().map(|(_, picture)| picture), SMALLEST_LABELLED);
    let (width, height) = cell_size(cells.iter().map(|(_, picture)| picture), scale);
    let size = text_size(width);
    let texts: Vec<Vec<String>> = cells.iter().map(|(label, _)| wrap(label, width / size)).collect();
    // A row is as high as its longest caption needs.
    let text_height = |row: &[Vec<String>]| row.iter().map(Vec::len).max().unwrap_or(0) * LINE * size;
    let rows: Vec<usize> = texts.chunks(columns).map(|row| height + ABOVE_TEXT * size + text_height(row)).collect();
    let mut sheet = blank(columns * (width + GAP) + GAP, rows.iter().sum::<usize>() + (rows.len() + 1) * GAP);
    let mut top = GAP;
    for ((row, texts), row_height) in cells.chunks(columns).zip(texts.chunks(columns)).zip(rows) {
        for (column, ((_, picture), lines)) in row.iter().zip(texts).enumerate() {
            let left = GAP + column * (width + GAP);
            place(&mut sheet, picture, scale, left, top, [width, height]);
            for (i, line) in lines.iter().enumerate() {
                let indent = (width - text_width(line) * size) / 2;
                write(&mut sheet, line, size, left + indent, top + height + (ABOVE_TEXT + i * LINE) * size);
            }
        }
        top += row_height + GAP;
    }
    sheet
}

/// Each row's pictures with its label below them, `columns` in a line (more make further lines), on white. The result
/// is RGB.
///
/// scale: how many times pictures are enlarged; `None` for what makes them at least 128 pixels.
#[must_use]
pub fn sheet(rows: &[(String, Vec<Picture>)], columns: usize, scale: Option<usize>) -> Picture {
    let pictures = || rows.iter().flat_map(|(_, pictures)| pictures);
    let longest = rows.iter().map(|(_, pictures)| pictures.len()).max().unwrap_or(0);
    let columns = columns.clamp(1, longest.max(1));
    let scale = scale.map_or_else(|| scale_of(pictures(), SMALLEST), |scale| scale.max(1));
    let (width, height) = cell_size(pictures(), scale);
    let inside = columns * (width + HAIR) - HAIR;
    let size = text_size(width);
    let texts: Vec<Vec<String>> = rows.iter().map(|(label, _)| wrap(label, inside / size)).collect();
    let lines_of = |pictures: &[Picture]| pictures.len().div_ceil(columns) * (height + HAIR);
    let heights = rows.iter().zip(&texts).map(|((_, pictures), text)| {
        lines_of(pictures) + (ABOVE_TEXT + text.len() * LINE) * size + GAP // one row and the gap below it
    });
    let mut sheet = blank(inside + 2 * GAP, heights.sum::<usize>() + GAP);
    let mut top = GAP;
    for ((_, pictures), text) in rows.iter().zip(&texts) {
        for (i, picture) in pictures.iter().enumerate() {
            let (x, y) = (GAP + i % columns * (width + HAIR), top + i / columns * (height + HAIR));
            place(&mut sheet, picture, scale, x, y, [width, height]);
        }
        top += lines_of(pictures) + ABOVE_TEXT * size;
        for line in text {
            write(&mut sheet, line, size, GAP, top);
            top += LINE * size;
        }
        top += GAP;
    }
    sheet
}

/// Pictures without captions, `columns` in a row, on white. The result is RGB.
#[must_use]
pub fn grid(pictures: &[Picture], columns: usize) -> Picture {
    let columns = columns.clamp(1, pictures.len().max(1));
    let scale = scale_of(pictures, SMALLEST);
    let (width, height) = cell_size(pictures, scale);
    let rows = pictures.len().div_ceil(columns);
    let mut sheet = blank(columns * (width + HAIR) + HAIR, rows * (height + HAIR) + HAIR);
    for (i, picture) in pictures.iter().enumerate() {
        let (x, y) = (HAIR + i % columns * (width + HAIR), HAIR + i / columns * (height + HAIR));
        place(&mut sheet, picture, scale, x, y, [width, height]);
    }
    sheet
}

/// One picture, enlarged as on a [`grid`]. The result is RGB.
#[must_use]
pub fn alone(picture: &Picture) -> Picture {
    let scale = scale_of([picture], SMALLEST);
    let size = [picture.width * scale, picture.height * scale];
    let mut sheet = blank(size[0], size[1]);
    place(&mut sheet, picture, scale, 0, 0, size);
    sheet
}

fn blank(width: usize, height: usize) -> Picture {
    Picture { width, height, channels: 3, pixels: vec![WHITE[0]; width * height * 3] }
}

/// The least whole number that makes the largest picture `smallest` pixels long.
fn scale_of<'a>(pictures: impl IntoIterator<Item = &'a Picture>, smallest: usize) -> usize {
    let longest = pictures.into_iter().map(|picture| picture.width.max(picture.height)).max().unwrap_or(smallest);
    smallest.div_ceil(longest.max(1))
}

/// Width and height that hold every picture.
fn cell_size<'a>(pictures: impl IntoIterator<Item = &'a Picture>, scale: usize) -> (usize, usize) {
    let larger = |(width, height): (usize, usize), picture: &Picture| {
        (width.max(picture.width * scale), height.max(picture.height * scale))
    };
    // Room for text, however narrow the pictures.
    let (width, height) = pictures.into_iter().fold((0, 0), larger);
    (width.max(4 * GLYPH), height)
}

fn text_size(width: usize) -> usize {
    if width >= LARGE { 2 } else { 1 }
}

/// `picture`, enlarged, in the middle of the cell at `left`, `top`.
fn place(sheet: &mut Picture, picture: &Picture, scale: usize, left: usize, top: usize, cell: [usize; 2]) {
    let (width, height) = (picture.width * scale, picture.height * scale);
    let (left, top) = (left + (cell[0] - width) / 2, top + (cell[1] - height) / 2);
    for y in 0..height {
        for x in 0..width {
            let at = (y / scale * picture.width + x / scale) * picture.channels;
            let rgb = match picture.pixels[at..at + picture.channels] {
                [r, g, b, a] => {
                    let under = CHECKER[(x / SQUARE + y / SQUARE) % 2];
                    [r, g, b].map(|over| blend(over, under, a))
                }
                [r, g, b] => [r, g, b],
                [grey, ..] => [grey; 3],
                [] => WHITE,
            };
            set(sheet, left + x, top + y, rgb);
        }
    }
}

fn blend(over: u8, under: u8, alpha: u8) -> u8 {
    let (over, under, alpha) = (u32::from(over), u32::from(under), u32::from(alpha));
    ((over * alpha + under * (255 - alpha) + 127) / 255) as u8
}

fn set(sheet: &mut Picture, x: usize, y: usize, rgb: [u8; 3]) {
    let at = (y * sheet.width + x) * 3;
    sheet.pixels[at..at + 3].copy_from_slice(&rgb);
}

/// A line of text, each dot of the font `size` pixels wide.
fn write(sheet: &mut Picture, line: &str, size: usize, left: usize, top: usize) {
    let mut left = left;
    for c in line.chars() {
        if let Some(glyph) = get_glyph(c).or_else(|| get_glyph(UNKNOWN)) {
            for y in 0..GLYPH * size {
                for x in 0..glyph.get_width() * size {
                    if glyph.get_pixel(x / size, y / size) {
                        set(sheet, left + x, top + y, INK);
                    }
                }
            }
        }
        left += width_of(c) * size;
    }
}

fn width_of(c: char) -> usize {
    get_glyph(c).or_else(|| get_glyph(UNKNOWN)).map_or(GLYPH, unifont::Glyph::get_width)
}

fn text_width(text: &str) -> usize {
    text.chars().map(width_of).sum()
}

/// `text` in lines of at most `width` pixels and at most [`MAX_LINES`]: broken at spaces, after a Chinese character,
/// and, where a word is longer than a line, anywhere.
fn wrap(text: &str, width: usize) -> Vec<String> {
    let mut lines: Vec<String> = Vec::new();
    let mut line = String::new();
    for piece in pieces(text) {
        if text_width(&line) + text_width(piece.trim_end()) <= width {
            line.push_str(&piece);
            continue;
        }
        if !line.is_empty() {
            lines.push(std::mem::take(&mut line));
        }
        for c in piece.chars() {
            if text_width(&line) + width_of(c) > width && c != ' ' {
                lines.push(std::mem::take(&mut line));
            }
            line.push(c);
        }
        if lines.len() > MAX_LINES {
            break; // of ten thousand characters the first lines will do
        }
    }
    lines.push(line);
    let mut lines: Vec<String> = lines.into_iter().map(|line| line.trim().to_string()).collect();
    lines.retain(|line| !line.is_empty());
    if lines.len() > MAX_LINES {
        lines.truncate(MAX_LINES);
        if let Some(last) = lines.last_mut() {
            while text_width(last) + width_of('…') > width && last.pop().is_some() {}
            last.truncate(last.trim_end().len());
            last.push('…');
        }
    }
    lines
}

/// What a line may not be broken within: a word with the space after it, or a Chinese character with the punctuation
/// after it. Control characters become spaces.
fn pieces(text: &str) -> Vec<String> {
    let mut pieces: Vec<String> = Vec::new();
    let mut open = false; // the last piece may be continued
    for c in text.chars().map(|c| if c.is_control() { ' ' } else { c }) {
        let wide = width_of(c) == GLYPH;
        let clings =
            matches!(c, ' ' | ',' | '.' | ';' | ':' | '!' | '?' | '，' | '。' | '、' | '；' | '：' | '！' | '？');
        match pieces.last_mut() {
            Some(last) if clings || (open && !wide) => last.push(c),
            _ => pieces.push(c.to_string()),
        }
        open = c != ' ' && !wide;
    }
    pieces
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    fn plain(width: usize, height: usize, pixel: &[u8]) -> Picture {
        Picture { width, height, channels: pixel.len(), pixels: pixel.repeat(width * height) }
    }

    fn at(sheet: &Picture, x: usize, y: usize) -> [u8; 3] {
        let at = (y * sheet.width + x) * 3;
        [sheet.pixels[at], sheet.pixels[at + 1], sheet.pixels[at + 2]]
    }

    #[test]
    fn captions_break_between_words_and_chinese_characters() {
        assert_eq!(wrap("a small red star", 8 * 8), ["a small", "red star"]);
        assert_eq!(wrap("绿色圆形在黄色背景上", 4 * 16), ["绿色圆形", "在黄色背", "景上"]);
        assert_eq!(wrap("绿色圆形，黄色", 5 * 16), ["绿色圆形，", "黄色"]);
        assert_eq!(wrap("绿色圆形，黄色", 4 * 16), ["绿色圆", "形，黄色"], "no line begins with a comma");
        assert_eq!(wrap("incomprehensibilities", 8 * 8), ["incompre", "hensibil", "ities"]);
        assert_eq!(wrap("one two three four five six", 8 * 8), ["one two", "three", "four…"]);
        assert_eq!(wrap("  tab\tand\nline ", 800), ["tab and line"]);
        assert!(wrap("", 64).is_empty());
    }

    #[test]
    fn small_pictures_grow_by_a_whole_number() {
        assert_eq!(scale_of(&[plain(32, 32, &[0])], 128), 4);
        assert_eq!(scale_of(&[plain(48, 30, &[0])], 128), 3);
        assert_eq!(scale_of(&[plain(256, 1, &[0])], 128), 1);
        let sheet = grid(&[plain(64, 32, &[255, 0, 0]), plain(64, 32, &[0, 0, 255]), plain(64, 32, &[9])], 2);
        assert_eq!((sheet.width, sheet.height, sheet.channels), (2 * 130 + 2, 2 * 66 + 2, 3));
        assert_eq!(at(&sheet, 2, 2), [255, 0, 0]);
        assert_eq!(at(&sheet, 129, 65), [255, 0, 0]);
        assert_eq!(at(&sheet, 130, 65), WHITE);
        assert_eq!(at(&sheet, 132, 2), [0, 0, 255]);
        assert_eq!(at(&sheet, 2, 68), [9; 3]);
        assert_eq!(at(&sheet, 132, 68), WHITE);
    }

    #[test]
    fn transparency_shows_the_checkerboard() {
        let sheet = grid(&[plain(128, 128, &[255, 0, 0, 0]), plain(128, 128, &[0, 0, 0, 128])], 2);
        assert_eq!(at(&sheet, HAIR, HAIR), [CHECKER[0]; 3]);
        assert_eq!(at(&sheet, HAIR + SQUARE, HAIR), [CHECKER[1]; 3]);
        assert_eq!(at(&sheet, 132, HAIR), [127; 3]);
    }

    #[test]
    fn a_label_is_written_where_it_belongs() {
        let sheet = labelled(&[("一".to_string(), plain(192, 192, &[255, 0, 0]))], 3);
        assert_eq!((sheet.width, sheet.height), (192 + 2 * GAP, 192 + ABOVE_TEXT + LINE + 2 * GAP));
        let mut ink = Vec::new();
        for y in 0..sheet.height {
            ink.extend((0..sheet.width).filter(|&x| at(&sheet, x, y) == INK).map(|x| (x, y)));
        }
        // One stroke, level, in the middle under the picture.
        assert!(ink.len() >= 10 && ink.iter().all(|&(_, y)| y == ink[0].1 && y > GAP + 192), "{ink:?}");
        assert!(ink[0].0 >= GAP + 88 && ink[ink.len() - 1].0 < GAP + 104, "{ink:?}");
    }

    #[test]
    fn nothing_makes_an_empty_sheet() {
        for sheet in
            [labelled(&[], 3), grid(&[], 0), sheet(&[], 2, None), sheet(&[(String::new(), vec![])], 0, Some(0))]
        {
            assert_eq!(sheet.pixels.len(), sheet.width * sheet.height * 3);
        }
    }

    proptest! {
        #[test]
        fn lines_fit_and_keep_the_text(text in "[ -~一-龥🍎]{0,80}", columns in 4_usize..40) {
            let width = columns * GLYPH;
            let lines = wrap(&text, width);
            prop_assert!(lines.len() <= MAX_LINES);
            prop_assert!(lines.iter().all(|line| text_width(line) <= width), "{lines:?}");
            let letters = |text: &str| text.chars().filter(|c| !c.is_whitespace()).collect::<String>();
            let shown = letters(&lines.concat());
            match shown.strip_suffix('…') {
                Some(shown) => prop_assert!(letters(&text).starts_with(shown)),
                None => prop_assert_eq!(shown, letters(&text)),
            }
        }

        #[test]
        fn any_pictures_fit(
            sizes in prop::collection::vec((1_usize..200, 1_usize..90, prop::sample::select(vec![1_usize, 3, 4])), 1..6),
            columns in 0_usize..5,
            label in "[a-z 一-龥]{0,60}",
        ) {
            let pictures: Vec<Picture> = sizes.iter().map(|&(w, h, c)| plain(w, h, &vec![200; c])).collect();
            let cells: Vec<_> = pictures.iter().map(|picture| (label.clone(), picture.clone())).collect();
            let rows = vec![(label.clone(), pictures.clone()), (label, pictures[..1].to_vec())];
            for sheet in [labelled(&cells, columns), grid(&pictures, columns), sheet(&rows, columns, None)] {
                prop_assert_eq!(sheet.pixels.len(), sheet.width * sheet.height * 3);
            }
        }
    }
}
