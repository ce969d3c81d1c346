//! The dashboard, drawn into memory.

use std::fs;
use std::path::Path;

use ratatui::Terminal;
use ratatui::backend::TestBackend;
use ratatui::buffer::Buffer;
use ratatui::style::Color;
use shenbi_data::{Picture, decode};

use super::keys::Key;
use super::run::Run;
use super::screen::Screen;

const CONFIG: &str = "recipe = \"brush\"\ndata = \"scenes\"\nlevel = \"mixed\"\nheight = 64\nwidth = 64\nchannels = 3\n\
    batch = 64\nkimg = 100.0\nminutes = 0.0\n";

/// A run of 300 lines, two samples, and a damaged line.
fn folder() -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.toml"), CONFIG).unwrap();
    let mut log = String::from("not JSON\n");
    for i in 1..=300_u32 {
        let (images, x) = (i * 256, f64::from(i) / 300.0);
        let line = serde_json::json!({"step": i * 4, "phase": "gan", "images": images, "seconds": i,
            "images_per_second": 256.0, "loader_share": 0.01, "d": 1.0 - x * 0.75, "g": 1.0 + x, "r1": x, "r2": 2.0 * x,
            "margin": -x});
        log += &format!("{line}\n");
    }
    fs::write(folder.path().join("log.jsonl"), log).unwrap();
    fs::create_dir(folder.path().join("samples")).unwrap();
    sample(folder.path(), 10_000, [10, 200, 30]);
    sample(folder.path(), 20_000, [200, 10, 30]);
    folder
}

fn sample(folder: &Path, images: u64, colour: [u8; 3]) {
    // A dark edge, so that no row is plain.
    let row: Vec<u8> = [0, 0, 0].into_iter().chain(colour.repeat(19)).collect();
    let pixels = row.repeat(50);
    let picture = Picture { width: 20, height: 50, channels: 3, pixels };
    decode::write_png(folder.join(format!("samples/{images:08}.png")), &picture).unwrap();
}

fn open(folder: &Path) -> Run {
    let mut run = Run::open(folder).unwrap();
    while run.refresh() {}
    run
}

fn draw(screen: &mut Screen, run: &Run, width: u16, height: u16) -> Buffer {
    let mut terminal = Terminal::new(TestBackend::new(width, height)).unwrap();
    terminal.draw(|frame| screen.draw(run, frame)).unwrap();
    terminal.backend().buffer().clone()
}

fn text(buffer: &Buffer) -> String {
    let width = usize::from(buffer.area.width.max(1));
    let rows = buffer.content.chunks(width).map(|row| row.iter().map(|cell| cell.symbol()).collect::<String>());
    rows.collect::<Vec<_>>().join("\n")
}

/// Cells of the picture in this colour.
fn cells(buffer: &Buffer, [r, g, b]: [u8; 3]) -> usize {
    buffer.content.iter().filter(|cell| cell.symbol() == "▀" && cell.fg == Color::Rgb(r, g, b)).count()
}

#[test]
fn the_figures_are_there() {
    let folder = folder();
    let run = open(folder.path());
    let buffer = draw(&mut Screen::default(), &run, 120, 40);
    let text = text(&buffer);
    for words in [
        "brush  scenes (mixed)  64x64 RGB  batch 64",
        "running  gan  76.8 of 100 kimg  256 img/s  5:00 so far  1:31 left",
        " 77% ",
        "d 0.2500",
        "g 2.000",
        "margin -1.000",
        "r2 2.000",
        " 1/3 ",
        "0.3 kimg",
        "77 kimg",
        " 00020000 ",
        " 2/2 ",
        "1 line of log.jsonl is damaged",
        "q quit",
    ] {
        assert!(text.contains(words), "expected '{words}' in:\n{text}");
    }
    let braille = |cell: &&ratatui::buffer::Cell| cell.symbol().chars().any(|c| ('\u{2801}'..='\u{28ff}').contains(&c));
    let curves: Vec<_> = buffer.content.iter().filter(braille).collect();
    for colour in [Color::Cyan, Color::Yellow] {
        assert!(curves.iter().filter(|cell| cell.fg == colour).count() > 30, "{colour}");
    }
    assert!(cells(&buffer, [200, 10, 30]) > 100, "the newest sample");
}

#[test]
fn keys_change_what_is_seen() {
    let folder = folder();
    let run = open(folder.path());
    let mut screen = Screen::default();
    let mut see = |keys: &[Key], run: &Run| {
        for key in keys {
            assert!(!screen.press(*key, run));
        }
        draw(&mut screen, run, 120, 40)
    };
    assert!(text(&see(&[Key::Right], &run)).contains(" margin -1.000 "));
    assert!(text(&see(&[Key::Tab], &run)).contains(" r1 1.000  r2 2.000 "));
    assert!(text(&see(&[Key::Tab], &run)).contains(" 1/3 "), "round and round");
    assert!(text(&see(&[Key::Left], &run)).contains(" 3/3 "));
    assert!(text(&see(&[Key::BackTab, Key::Left], &run)).contains(" d 0.2500  g 2.000 "));
    let older = see(&[Key::Up, Key::Up], &run);
    assert!(cells(&older, [10, 200, 30]) > 100 && text(&older).contains(" 1/2 "));
    let newest = see(&[Key::Down, Key::Down], &run);
    assert!(cells(&newest, [200, 10, 30]) > 100);
    let large = see(&[Key::Char('p')], &run);
    assert!(cells(&large, [200, 10, 30]) >= cells(&newest, [200, 10, 30]) && !text(&large).contains("kimg\n"));
    let wide = see(&[Key::Char('p'), Key::PageDown], &run);
    assert!(cells(&wide, [200, 10, 30]) > 2 * cells(&large, [200, 10, 30]));
    let help = see(&[Key::Char('p'), Key::Char('?')], &run);
    assert!(text(&help).contains("smoothing on, off"));
    assert!(!text(&see(&[Key::Escape], &run)).contains("smoothing on, off"));
    let trend = |buffer: &Buffer| buffer.content.iter().filter(|cell| cell.fg == Color::Cyan).count();
    let (smooth, plain) = (see(&[], &run), see(&[Key::Char('s')], &run));
    assert!(trend(&smooth) > 0 && trend(&plain) > 0 && smooth != plain);
    // The newest sample gives way to a newer one, an older one stays.
    sample(folder.path(), 30_000, [7, 8, 9]);
    let run = open(folder.path());
    assert!(cells(&see(&[], &run), [7, 8, 9]) > 100);
    see(&[Key::Up], &run);
    sample(folder.path(), 40_000, [1, 1, 1]);
    let run = open(folder.path());
    assert!(cells(&see(&[], &run), [200, 10, 30]) > 100);
    for key in [Key::Char('q'), Key::Escape, Key::Interrupt] {
        assert!(Screen::default().press(key, &run));
    }
}

#[test]
fn no_terminal_is_too_small_or_too_large() {
    let folder = folder();
    let empty = tempfile::tempdir().unwrap();
    fs::write(empty.path().join("config.toml"), "").unwrap();
    let widths = (0..=30).chain([45, 49, 50, 51, 79, 80, 119, 200, 500]);
    for run in [open(folder.path()), open(empty.path())] {
        let mut screen = Screen::default();
        for (width, height) in widths.clone().flat_map(|width| (0..=60).map(move |height| (width, height))) {
            draw(&mut screen, &run, width, height);
        }
        for keys in
            [&[Key::Char('?')][..], &[Key::Escape, Key::Char('s')], &[Key::Char('p')], &[Key::Char('p'), Key::PageDown]]
        {
            keys.iter().for_each(|key| assert!(!screen.press(*key, &run)));
            for (width, height) in
                widths.clone().flat_map(|width| [1, 2, 3, 5, 7, 8, 14, 30, 60].map(|height| (width, height)))
            {
                draw(&mut screen, &run, width, height);
            }
        }
        for key in [Key::Up, Key::Down, Key::Left, Key::Right, Key::PageUp] {
            assert!(!screen.press(key, &run));
        }
    }
}

#[test]
fn what_is_odd_is_drawn() {
    let folder = folder();
    let log = r#"{"images": 1, "d": 1e308, "\u001b[31m": 1}
{"images": 1e300, "d": -1e308, "g": 0}
{"images": -5, "d": 1}
"#;
    fs::write(folder.path().join("log.jsonl"), log).unwrap();
    fs::write(folder.path().join("samples/00090000.png"), "no PNG").unwrap();
    let run = open(folder.path());
    let text = text(&draw(&mut Screen::default(), &run, 120, 40));
    assert!(text.contains("PNG, JPEG") && !text.contains('\u{1b}'), "{text}");
}

#[test]
fn a_run_that_waits_says_so() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("config.toml"), CONFIG).unwrap();
    let text = text(&draw(&mut Screen::default(), &open(folder.path()), 100, 30));
    for words in ["waiting: nothing is in log.jsonl yet", "no figures yet", "no sample yet"] {
        assert!(text.contains(words), "expected '{words}' in:\n{text}");
    }
}
