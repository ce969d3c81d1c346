//! A chart of curves, drawn in braille.

use ratatui::buffer::Buffer;
use ratatui::layout::Rect;
use ratatui::style::{Color, Style, Stylize};
use ratatui::symbols::Marker;
use ratatui::text::{Line, Span};
use ratatui::widgets::{Axis, Block, Chart, Dataset, GraphType, Widget};

use super::curves::{Group, smooth, span};
use super::run::{Run, clean};
use super::words::{figure, position};

/// Colours of a chart's curves by turns.
const COLOURS: [Color; 6] =
    [Color::Cyan, Color::Yellow, Color::LightMagenta, Color::LightGreen, Color::LightBlue, Color::LightRed];
/// The curves as they are, where their trend is drawn over them.
const BEHIND: Color = Color::DarkGray;
/// Of so many values, the most extreme at either end may lie outside of the chart.
const EXTREME: usize = 100;
/// Rows of a chart that has a mark in the middle of its side.
const TALL: u16 = 9;

/// The values of a chart's curves, each in its colour.
fn legend(group: &Group<'_>, run: &Run) -> Vec<Span<'static>> {
    let values = group.names.iter().zip(COLOURS.into_iter().cycle()).filter_map(|(name, colour)| {
        let curve = run.curves.get(name)?;
        Some(Span::styled(format!(" {} {} ", clean(name), figure(curve.latest.1)), Style::new().fg(colour)))
    });
    values.collect()
}

/// Draws the curves of `group`; which: "2/5", say.
pub fn draw(group: &Group<'_>, which: &str, smoothed: bool, run: &Run, area: Rect, buffer: &mut Buffer) {
    let raw: Vec<_> = group.names.iter().filter_map(|name| Some(run.curves.get(name)?.points())).collect();
    let trends: Vec<_> = if smoothed { raw.iter().map(|points| smooth(points)).collect() } else { Vec::new() };
    let line = |points, colour| {
        Dataset::default()
            .marker(Marker::Braille)
            .graph_type(GraphType::Line)
            .style(Style::new().fg(colour))
            .data(points)
    };
    let colours = || COLOURS.into_iter().cycle();
    let datasets = if smoothed {
        let behind = raw.iter().map(|points| line(points, BEHIND));
        behind.chain(trends.iter().zip(colours()).map(|(points, colour)| line(points, colour))).collect()
    } else {
        raw.iter().zip(colours()).map(|(points, colour)| line(points, colour)).collect()
    };

    let (low, high) = span(raw.iter().flatten().map(|point| point.1).collect(), EXTREME);
    let all = || raw.iter().flatten().map(|point| point.0);
    let (first, last) = (all().fold(f64::INFINITY, f64::min), all().fold(f64::NEG_INFINITY, f64::max));
    let (first, last) = if first < last { (first, last) } else { (last.min(0.0), last.max(1.0)) };
    let heights = if area.height >= TALL { vec![low, low.midpoint(high), high] } else { vec![low, high] };
    let along = [first, first.midpoint(last), last].map(|x| position(run, x));
    let axis = || Axis::default().style(Style::new().fg(Color::DarkGray));
    let chart = Chart::new(datasets)
        .block(
            Block::bordered()
                .border_style(Style::new().fg(Color::DarkGray))
                .title(Line::from(legend(group, run)))
                .title(Line::from(which.dim()).right_aligned()),
        )
        .legend_position(None)
        .x_axis(axis().bounds([first, last]).labels(along))
        .y_axis(axis().bounds([low, high]).labels(heights.into_iter().map(figure)));
    chart.render(area, buffer);
}
