//! The picture of `--plot`: quality against variety, a curve a model, a point a temperature ("Language GANs falling
//! short", 1811.02549). Whatever is nearer to the lower left corner is better in one and no worse in the other.

use std::path::Path;

use plotters::prelude::*;
use shenbi_train::atomic::write_atomic;

use crate::failure::Failure;

/// Width and height in pixels.
const SIZE: (u32, u32) = (900, 640);
const FONT: &str = "sans-serif";
/// Colours that people with any colour sight tell apart (Okabe & Ito, 2008).
const COLOURS: [RGBColor; 6] = [
    RGBColor(0, 114, 178),
    RGBColor(230, 159, 0),
    RGBColor(0, 158, 115),
    RGBColor(204, 121, 167),
    RGBColor(213, 94, 0),
    RGBColor(86, 180, 233),
];

/// What a model wrote.
pub struct Curve {
    /// The model.
    pub name: String,
    /// Reverse and judge's -log p, and the temperature.
    pub points: Vec<([f64; 2], String)>,
}

/// Writes an SVG. real: what real texts score.
///
/// # Errors
/// The file cannot be written.
pub fn quality_and_variety(path: &Path, curves: &[Curve], real: [f64; 2]) -> Result<(), Failure> {
    let mut svg = String::new();
    draw(&mut svg, curves, real).map_err(|error| Failure::Failed(format!("--plot {}: {error}", path.display())))?;
    Ok(write_atomic(path, svg.as_bytes())?)
}

fn draw(svg: &mut String, curves: &[Curve], real: [f64; 2]) -> Result<(), Box<dyn std::error::Error>> {
    let places = || curves.iter().flat_map(|curve| curve.points.iter().map(|(place, _)| *place)).chain([real]);
    let range = |axis: usize| {
        let low = places().map(|place| place[axis]).fold(f64::INFINITY, f64::min);
        let high = places().map(|place| place[axis]).fold(f64::NEG_INFINITY, f64::max);
        let margin = ((high - low) * 0.08).max(0.05);
        low - margin..high + margin
    };
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    area.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&area)
        .caption("Quality against variety, by temperature", (FONT, 22))
        .margin(16)
        .x_label_area_size(48)
        .y_label_area_size(64)
        .build_cartesian_2d(range(0), range(1))?;
    chart
        .configure_mesh()
        .light_line_style(WHITE)
        .x_desc("less varied or worse: NLL of real texts, by a model that learnt from these (nats a token)")
        .y_desc("worse: NLL of these texts, by a model that learnt from real ones")
        .axis_desc_style((FONT, 15))
        .draw()?;
    for (curve, colour) in curves.iter().zip(COLOURS.iter().cycle()) {
        let places = || curve.points.iter().map(|([x, y], _)| (*x, *y));
        chart
            .draw_series(LineSeries::new(places(), colour.stroke_width(2)))?
            .label(curve.name.as_str())
            .legend(|(x, y)| PathElement::new([(x, y), (x + 20, y)], colour.stroke_width(2)));
        chart.draw_series(places().map(|place| Circle::new(place, 4, colour.filled())))?;
        let labels = curve.points.iter().map(|([x, y], label)| {
            EmptyElement::at((*x, *y)) + Text::new(label.clone(), (7, -14), (FONT, 13).into_font().color(colour))
        });
        chart.draw_series(labels)?;
    }
    let star = TriangleMarker::new((real[0], real[1]), 8, BLACK.filled());
    chart.draw_series([star])?.label("real texts").legend(|(x, y)| TriangleMarker::new((x + 10, y), 7, BLACK.filled()));
    chart
        .configure_series_labels()
        .background_style(WHITE.mix(0.8))
        .border_style(BLACK)
        .label_font((FONT, 14))
        .draw()?;
    area.present()?;
    Ok(())
}
