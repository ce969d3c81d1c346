//! What the dashboard shows, and what its keys change.

use std::path::PathBuf;

use ratatui::Frame;
use ratatui::layout::{Alignment, Constraint, Layout, Rect};
use ratatui::style::{Color, Style, Stylize};
use ratatui::text::{Line, Span};
use ratatui::widgets::{Block, Clear, LineGauge, Paragraph, Wrap};

use super::keys::Key;
use super::picture::{Cache, Fit};
use super::run::{Run, State, clean};
use super::{chart, words};

/// Columns below which a picture has no room beside the chart, rows below which it has none under it, and rows from which
/// it may go there for being larger.
const BESIDE: u16 = 50;
const UNDER: u16 = 16;
const ROOMY: u16 = 30;
/// Columns that a picture's title takes.
const TITLE: u16 = 24;

const HELP: [(&str, &str); 7] = [
    ("left, right", "another chart (also tab)"),
    ("s", "smoothing on, off"),
    ("up, down", "an older sample, a newer one"),
    ("p", "the picture: beside the chart, large, as wide as the terminal"),
    ("page up, down", "along a picture that is as wide as the terminal"),
    ("?", "this page"),
    ("q, Esc, Ctrl-C", "quit; the run goes on"),
];

/// How large the picture is.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
enum Size {
    /// It shares the screen with the chart.
    #[default]
    Shared,
    /// It has the screen, and all of it is seen.
    Large,
    /// It is as wide as the screen.
    Wide,
}

/// The dashboard: what a person chose to see.
#[derive(Debug)]
pub struct Screen {
    /// Key of the chart, or the first one.
    chart: Option<String>,
    smooth: bool,
    size: Size,
    /// The sample, or the newest one.
    sample: Option<PathBuf>,
    /// Rows of the terminal that a wide picture is scrolled by.
    top: usize,
    help: bool,
    cache: Cache,
}

impl Default for Screen {
    fn default() -> Self {
        let (chart, sample, cache) = (None, None, Cache::default());
        Self { chart, smooth: true, size: Size::default(), sample, top: 0, help: false, cache }
    }
}

impl Screen {
    /// A key was pressed. Returns whether it was one that ends the show.
    pub fn press(&mut self, key: Key, run: &Run) -> bool {
        match key {
            Key::Interrupt | Key::Char('q') => return true,
            Key::Escape if !self.help => return true,
            _ if self.help => self.help = false,
            Key::Char('?') => self.help = true,
            Key::Char('s') => self.smooth = !self.smooth,
            Key::Char('p') => {
                self.top = 0;
                self.size = match self.size {
                    Size::Shared => Size::Large,
                    Size::Large => Size::Wide,
                    Size::Wide => Size::Shared,
                };
            }
            Key::Right | Key::Tab => self.turn(1, run),
            Key::Left | Key::BackTab => self.turn(-1, run),
            Key::Up => self.leaf(-1, run),
            Key::Down => self.leaf(1, run),
            Key::PageUp => self.top = self.top.saturating_sub(10),
            Key::PageDown => self.top = self.top.saturating_add(10),
            Key::Escape | Key::Char(_) => {}
        }
        false
    }

    /// Goes on to another chart.
    fn turn(&mut self, by: isize, run: &Run) {
        let groups = run.curves.groups();
        let n = groups.len().max(1) as isize;
        let next = (self.chosen(run) as isize + by).rem_euclid(n) as usize;
        self.chart = groups.get(next).map(|group| group.key.to_string());
    }

    /// Which of the charts is shown.
    fn chosen(&self, run: &Run) -> usize {
        let is_chosen = |key: &str| self.chart.as_deref() == Some(key);
        run.curves.groups().iter().position(|group| is_chosen(group.key)).unwrap_or(0)
    }

    /// Goes on to another sample; the newest one then gives way to newer ones.
    fn leaf(&mut self, by: isize, run: &Run) {
        let last = run.samples.len().saturating_sub(1);
        let next = self.shown(run).saturating_add_signed(by).min(last);
        self.sample = run.samples.get(next).filter(|_| next < last).cloned();
    }

    /// Which of the samples is shown.
    fn shown(&self, run: &Run) -> usize {
        let last = run.samples.len().saturating_sub(1);
        let is_shown = |path: &PathBuf| self.sample.as_ref() == Some(path);
        run.samples.iter().position(is_shown).unwrap_or(last)
    }

    /// Draws all of it.
    pub fn draw(&mut self, run: &Run, frame: &mut Frame<'_>) {
        let area = frame.area();
        if area.is_empty() {
            return;
        }
        let (tall, roomy) = (area.height >= 8, area.height >= 14);
        let progress = run.progress();
        let figures = figures(run);
        let wrapped = figures.width().div_ceil(usize::from(area.width)).min(2) as u16;
        let rows = [
            Constraint::Length(1),
            Constraint::Length(1),
            Constraint::Length(u16::from(roomy && progress.is_some())),
            Constraint::Length(if roomy { wrapped } else { 0 }),
            Constraint::Min(0),
            Constraint::Length(u16::from(tall)),
        ];
        let [title, standing, gauge, values, body, foot] = Layout::vertical(rows).areas(area);
        let name = Span::from(clean(&run.path.display().to_string())).bold();
        let about = Span::from(format!("  {}", words::settings(&run.settings))).dim();
        frame.render_widget(Line::from(vec![name, about]), title);
        frame.render_widget(state(run), standing);
        if let Some(progress) = progress {
            let bar = LineGauge::default().ratio(progress).label(format!("{:3.0}%", progress * 100.0));
            let bar = bar.filled_style(Style::new().fg(Color::Cyan)).unfilled_style(Style::new().fg(Color::DarkGray));
            frame.render_widget(bar, gauge);
        }
        frame.render_widget(Paragraph::new(figures).wrap(Wrap { trim: true }), values);
        self.body(run, frame, body);
        let keys = Span::from("q quit  ←→ chart  s smooth  ↑↓ sample  p picture  ? help").dim();
        let trouble = words::trouble(run).map(|text| Span::from(format!("{text}  ")).fg(Color::LightRed));
        frame.render_widget(Line::from_iter(trouble.into_iter().chain([keys])), foot);
        if self.help {
            help(frame, area);
        }
    }

    fn body(&mut self, run: &Run, frame: &mut Frame<'_>, area: Rect) {
        match self.size {
            Size::Large => return self.picture(run, frame, area, Fit::Whole),
            Size::Wide => return self.picture(run, frame, area, Fit::Width(self.top)),
            Size::Shared => {}
        }
        // As much room for the picture as it can use, up to a half; beside the chart, unless that makes it much smaller.
        let sheet = run.samples.get(self.shown(run)).and_then(|path| self.cache.sheet(path).ok());
        let fitted = |columns: u16, rows: u16| {
            let (columns, rows) = (usize::from(columns.saturating_sub(2)), usize::from(rows.saturating_sub(2)));
            sheet.map(|sheet| sheet.size(2 * rows, columns))
        };
        let (half, low) = (area.width / 2, area.height / 2);
        let (beside, under) = (fitted(half, area.height), fitted(area.width, low));
        let larger = beside.zip(under).is_some_and(|((beside, _), (under, _))| under > 1.3 * beside);
        let [curves, picture] = if area.width >= BESIDE && !(larger && area.height >= ROOMY) {
            let columns = beside.map_or(TITLE, |(_, [_, width])| (width as u16 + 2).max(TITLE)).min(half);
            Layout::horizontal([Constraint::Min(0), Constraint::Length(columns)]).areas(area)
        } else if area.height >= UNDER {
            let rows = under.map_or(3, |(_, [height, _])| (height as u16).div_ceil(2) + 2).min(low);
            Layout::vertical([Constraint::Min(0), Constraint::Length(rows)]).areas(area)
        } else {
            [area, Rect::ZERO]
        };
        self.chart(run, frame, curves);
        self.picture(run, frame, picture, Fit::Whole);
    }

    fn chart(&self, run: &Run, frame: &mut Frame<'_>, area: Rect) {
        let groups = run.curves.groups();
        let chosen = self.chosen(run);
        match groups.get(chosen) {
            Some(group) => {
                let which = format!(" {}/{} ", chosen + 1, groups.len());
                chart::draw(group, &which, self.smooth, run, area, frame.buffer_mut());
            }
            None => empty("no figures yet", frame, area),
        }
    }

    fn picture(&mut self, run: &Run, frame: &mut Frame<'_>, area: Rect, fit: Fit) {
        if area.is_empty() {
            return;
        }
        let shown = self.shown(run);
        let Some(path) = run.samples.get(shown) else {
            return empty("no sample yet", frame, area);
        };
        let name = path.file_stem().unwrap_or_default().to_string_lossy();
        let block =
            Block::bordered().border_style(Style::new().fg(Color::DarkGray)).title(format!(" {} ", clean(&name)));
        let block = block.title(Line::from(format!(" {}/{} ", shown + 1, run.samples.len()).dim()).right_aligned());
        let inner = block.inner(area);
        frame.render_widget(block, area);
        if let Err(message) = self.cache.draw(path, fit, inner, frame.buffer_mut()) {
            frame.render_widget(Paragraph::new(clean(&message)).wrap(Wrap { trim: true }), inner);
        }
    }
}

/// Where the run stands, in colours.
fn state(run: &Run) -> Line<'static> {
    let colour = match run.state() {
        State::Waiting => Color::Yellow,
        State::Running => Color::LightGreen,
        State::Finished => Color::Cyan,
        State::Silent(_) => Color::LightRed,
    };
    let words = words::standing(run).into_iter().enumerate().map(|(i, word)| match i {
        0 => Span::from(word).fg(colour),
        _ => Span::from(format!("  {word}")),
    });
    Line::from_iter(words)
}

/// The latest of all figures.
fn figures(run: &Run) -> Line<'static> {
    let figures = run.curves.iter().flat_map(|(name, curve)| {
        [Span::from(format!("{} ", clean(name))).dim(), Span::from(format!("{}  ", words::figure(curve.latest.1)))]
    });
    Line::from_iter(figures)
}

fn empty(text: &str, frame: &mut Frame<'_>, area: Rect) {
    let block = Block::bordered().border_style(Style::new().fg(Color::DarkGray));
    frame.render_widget(Paragraph::new(text.dim()).alignment(Alignment::Center).block(block), area);
}

fn help(frame: &mut Frame<'_>, area: Rect) {
    let lines: Vec<Line<'_>> = HELP.iter().map(|(key, does)| Line::from(format!(" {key:15} {does} "))).collect();
    let width = lines.iter().map(Line::width).max().unwrap_or(0) as u16 + 2;
    let place = area.centered(Constraint::Length(width), Constraint::Length(lines.len() as u16 + 2));
    frame.render_widget(Clear, place);
    frame.render_widget(Paragraph::new(lines).block(Block::bordered().title(" keys ")), place);
}
