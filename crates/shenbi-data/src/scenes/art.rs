//! How each shape looks: a few filled paths around the origin, in units of the object's radius, y pointing down.
//!
//! Paths (strokes included) are built once; drawing only moves and scales them.

use std::f64::consts::TAU;
use std::sync::OnceLock;

use tiny_skia::{FillRule, LineCap, LineJoin, Path, PathBuilder, PathSegment, Point, Rect, Stroke};

use super::palette::{Rgb, darker, lighter};
use super::words::{Colour, Shape};

/// What a layer is painted with, made from the object's colour.
#[derive(Clone, Copy, Debug)]
pub(super) enum Paint {
    /// The colour itself.
    Plain,
    /// A darker part (on black: a lighter one, to be seen).
    Dark(f32),
    /// The edge of a part, darker by this share.
    Outline(f32),
    /// Lighter by this share.
    Light(f32),
    /// A detail that must differ from the object: lighter on a dark colour, darker on a light one.
    Contrast(f32),
    /// Wood, whatever the object's colour.
    Trunk,
    /// A flower's centre: yellow, or brown where the petals are yellow or orange.
    Centre,
    /// The white of an eye.
    Eye,
    /// A pupil.
    Pupil,
}

impl Paint {
    /// The colour of this layer on an object of `colour`, of which this picture's variant is `base`.
    pub(super) fn colour(self, colour: Colour, base: Rgb) -> Rgb {
        match self {
            Self::Plain => base,
            // Shadows on white stay light: a grey house is not a white one.
            Self::Dark(share) | Self::Outline(share) if colour == Colour::White => darker(base, share * 0.55),
            Self::Dark(share) if colour == Colour::Black => lighter(base, share * 0.3),
            Self::Dark(share) | Self::Outline(share) => darker(base, share),
            Self::Light(share) => lighter(base, share),
            Self::Contrast(share) => match colour {
                Colour::White => darker(base, share * 0.6),
                Colour::Yellow | Colour::Pink | Colour::Orange => darker(base, share),
                Colour::Black => lighter(base, share * 0.6),
                _ => lighter(base, share),
            },
            Self::Trunk if colour == Colour::Brown => [84.0, 50.0, 28.0],
            Self::Trunk => [112.0, 70.0, 42.0],
            Self::Centre if matches!(colour, Colour::Yellow | Colour::Orange) => [120.0, 68.0, 30.0],
            Self::Centre => [252.0, 206.0, 60.0],
            Self::Eye => [252.0, 252.0, 250.0],
            Self::Pupil => [24.0, 22.0, 32.0],
        }
    }
}

/// One filled path.
#[derive(Debug)]
pub(super) struct Layer {
    pub(super) path: Path,
    pub(super) rule: FillRule,
    pub(super) paint: Paint,
}

/// A shape's layers, bottom first, and its rim.
#[derive(Debug)]
pub(super) struct Art {
    pub(super) layers: Vec<Layer>,
    /// Its outermost points, outline included.
    rim: Vec<[f32; 2]>,
}

/// The layers of `shape`.
pub(super) fn art(shape: Shape) -> &'static Art {
    static ALL: OnceLock<Vec<Art>> = OnceLock::new();
    &ALL.get_or_init(|| Shape::ALL.iter().map(|&shape| build(shape)).collect())[shape.index()]
}

/// Cosine and sine of the angle whose half has the tangent `turn`.
pub(super) fn rotation(turn: f32) -> [f32; 2] {
    let square = turn * turn;
    [(1.0 - square) / (1.0 + square), 2.0 * turn / (1.0 + square)]
}

/// Half width and half height of `shape` turned by `turn` (see [`rotation`]), as seen from its centre.
pub(super) fn extent(shape: Shape, turn: f32, mirrored: bool) -> [f32; 2] {
    let [cos, sin] = rotation(if mirrored { -turn } else { turn });
    art(shape).rim.iter().fold([0.0; 2], |[ex, ey], &[x, y]| {
        let turned = [x * cos - y * sin, x * sin + y * cos];
        [ex.max(turned[0].abs() + BETWEEN), ey.max(turned[1].abs() + BETWEEN)]
    })
}

/// More than the rim bulges between two of its points.
const BETWEEN: f32 = 0.004;

/// Width of the outline outside the shape.
const OUTLINE: f32 = 0.085;
/// How dark it is.
const OUTLINE_SHARE: f32 = 0.5;

/// Builds a shape layer by layer. A path that cannot be (an empty one) is left out.
#[derive(Default)]
struct Drawing {
    layers: Vec<Layer>,
}

impl Drawing {
    fn fill(&mut self, path: Option<Path>, paint: Paint) {
        self.layers.extend(path.map(|path| Layer { path, rule: FillRule::Winding, paint }));
    }

    fn stroke(&mut self, path: Option<Path>, width: f32, paint: Paint) {
        let stroke = Stroke { width, line_join: LineJoin::Round, line_cap: LineCap::Round, ..Stroke::default() };
        self.fill(path.and_then(|path| path.stroke(&stroke, 24.0)), paint);
    }

    /// The path with an outline around it. Called before the next part is drawn over it.
    fn part(&mut self, path: Option<Path>, paint: Paint) {
        let edge = match paint {
            Paint::Dark(share) => Paint::Outline((share + OUTLINE_SHARE).min(0.75)),
            Paint::Trunk | Paint::Centre => Paint::Outline(OUTLINE_SHARE + 0.1),
            _ => Paint::Outline(OUTLINE_SHARE),
        };
        self.stroke(path.clone(), 2.0 * OUTLINE, edge);
        self.fill(path, paint);
    }

    fn finish(self) -> Art {
        // The furthest point in each of 64 directions.
        let points: Vec<Point> = self.layers.iter().flat_map(|layer| points(&layer.path)).collect();
        let mut rim = Vec::with_capacity(64);
        for k in 0..64 {
            let (sin, cos) = (f64::from(k) * TAU / 64.0).sin_cos();
            let along = |p: &Point| f64::from(p.x) * cos + f64::from(p.y) * sin;
            rim.extend(points.iter().max_by(|a, b| along(a).total_cmp(&along(b))).map(|p| [p.x, p.y]));
        }
        rim.dedup();
        Art { layers: self.layers, rim }
    }
}

/// Points along a path, the curves' own and not their handles, which lie outside.
fn points(path: &Path) -> Vec<Point> {
    let mut points: Vec<Point> = Vec::new();
    let blend = |a: Point, b: Point, t: f32| Point::from_xy(a.x + (b.x - a.x) * t, a.y + (b.y - a.y) * t);
    for segment in path.segments() {
        let from = points.last().copied().unwrap_or_default();
        let steps = (1..=8_u8).map(|k| f32::from(k) / 8.0);
        match segment {
            PathSegment::MoveTo(p) | PathSegment::LineTo(p) => points.push(p),
            PathSegment::QuadTo(a, p) => {
                points.extend(steps.map(|t| blend(blend(from, a, t), blend(a, p, t), t)));
            }
            PathSegment::CubicTo(a, b, p) => points.extend(steps.map(|t| {
                let (x, y, z) = (blend(from, a, t), blend(a, b, t), blend(b, p, t));
                blend(blend(x, y, t), blend(y, z, t), t)
            })),
            PathSegment::Close => {}
        }
    }
    points
}

/// A path from a closure that traces it.
fn path(trace: impl FnOnce(&mut PathBuilder)) -> Option<Path> {
    let mut builder = PathBuilder::new();
    trace(&mut builder);
    builder.finish()
}

/// A closed polygon.
fn polygon(points: &[[f32; 2]]) -> Option<Path> {
    path(|b| {
        for (i, &[x, y]) in points.iter().enumerate() {
            if i == 0 { b.move_to(x, y) } else { b.line_to(x, y) }
        }
        b.close();
    })
}

fn circle(x: f32, y: f32, radius: f32) -> Option<Path> {
    PathBuilder::from_circle(x, y, radius)
}

fn oval(left: f32, top: f32, right: f32, bottom: f32) -> Option<Path> {
    Rect::from_ltrb(left, top, right, bottom).and_then(PathBuilder::from_oval)
}

fn rectangle(left: f32, top: f32, right: f32, bottom: f32) -> Option<Path> {
    Rect::from_ltrb(left, top, right, bottom).map(PathBuilder::from_rect)
}

/// Sine and cosine of 0, 72, 144, 216 and 288 degrees: the corners of a regular pentagon.
const FIFTHS: [[f32; 2]; 5] = [
    [0.0, 1.0],
    [0.951_056_5, 0.309_017],
    [0.587_785_24, -0.809_017],
    [-0.587_785_24, -0.809_017],
    [-0.951_056_5, 0.309_017],
];

/// Adds a circular arc around `(x, 0)` from one angle to another, as four cubic curves.
fn arc(builder: &mut PathBuilder, x: f64, radius: f64, from: f64, to: f64) {
    let step = (to - from) / 4.0;
    let handle = radius * 4.0 / 3.0 * (step / 4.0).tan(); // the usual approximation of an arc by a cubic
    for k in 0..4 {
        let (s0, c0) = (from + step * f64::from(k)).sin_cos();
        let (s1, c1) = (from + step * f64::from(k + 1)).sin_cos();
        let [x1, y1] = [x + radius * c0 - handle * s0, radius * s0 + handle * c0];
        let [x2, y2] = [x + radius * c1 + handle * s1, radius * s1 - handle * c1];
        let [x3, y3] = [x + radius * c1, radius * s1];
        builder.cubic_to(x1 as f32, y1 as f32, x2 as f32, y2 as f32, x3 as f32, y3 as f32);
    }
}

fn build(shape: Shape) -> Art {
    let mut d = Drawing::default();
    match shape {
        Shape::Circle => {
            d.part(circle(0.0, 0.0, 0.93), Paint::Plain);
            d.fill(oval(-0.62, -0.68, -0.1, -0.3), Paint::Light(0.28));
        }
        Shape::Square => d.part(rectangle(-0.8, -0.8, 0.8, 0.8), Paint::Plain),
        Shape::Triangle => d.part(polygon(&[[0.0, -0.9], [0.97, 0.8], [-0.97, 0.8]]), Paint::Plain),
        Shape::Star => {
            let [outer, inner] = [1.0_f32, 0.47];
            let mut points = Vec::new();
            for k in 0..5 {
                let [sin, cos] = FIFTHS[k];
                points.push([outer * sin, 0.06 - outer * cos]);
                // Halfway to the next corner is opposite to the third one after it.
                let [sin, cos] = FIFTHS[(k + 3) % 5];
                points.push([-inner * sin, 0.06 + inner * cos]);
            }
            d.part(polygon(&points), Paint::Plain);
        }
        Shape::Heart => {
            let heart = path(|b| {
                b.move_to(0.0, 0.92);
                b.cubic_to(-0.35, 0.62, -0.98, 0.2, -0.98, -0.32);
                b.cubic_to(-0.98, -0.68, -0.72, -0.86, -0.48, -0.86);
                b.cubic_to(-0.24, -0.86, -0.07, -0.7, 0.0, -0.48);
                b.cubic_to(0.07, -0.7, 0.24, -0.86, 0.48, -0.86);
                b.cubic_to(0.72, -0.86, 0.98, -0.68, 0.98, -0.32);
                b.cubic_to(0.98, 0.2, 0.35, 0.62, 0.0, 0.92);
                b.close();
            });
            d.part(heart, Paint::Plain);
            d.fill(oval(-0.72, -0.62, -0.36, -0.28), Paint::Light(0.3));
        }
        Shape::Ring => {
            // A wide stroke on a wider, darker one: outlines inside and outside.
            d.stroke(circle(0.0, 0.0, 0.71), 0.44 + 2.0 * OUTLINE, Paint::Outline(OUTLINE_SHARE));
            d.stroke(circle(0.0, 0.0, 0.71), 0.44, Paint::Plain);
        }
        Shape::Cross => {
            let [a, b] = [0.93, 0.31];
            d.part(
                polygon(&[
                    [-b, -a],
                    [b, -a],
                    [b, -b],
                    [a, -b],
                    [a, b],
                    [b, b],
                    [b, a],
                    [-b, a],
                    [-b, b],
                    [-a, b],
                    [-a, -b],
                    [-b, -b],
                ]),
                Paint::Plain,
            );
        }
        Shape::Crescent => {
            // A disc of radius 0.95 less one of radius 0.72 whose centre is 0.4 further right; they cross at (x, ±y).
            let [outer, inner, shift] = [0.95_f64, 0.72, 0.4];
            let x = (outer * outer - inner * inner + shift * shift) / (2.0 * shift);
            let y = (outer * outer - x * x).sqrt();
            let (from, back) = (y.atan2(x), y.atan2(x - shift));
            let crescent = path(|b| {
                b.move_to(x as f32 + 0.14, y as f32);
                arc(b, 0.14, outer, from, TAU - from);
                arc(b, 0.14 + shift, inner, TAU - back, back);
                b.close();
            });
            d.part(crescent, Paint::Plain);
        }
        Shape::House => {
            d.part(rectangle(0.34, -0.78, 0.58, -0.2), Paint::Dark(0.45));
            d.part(rectangle(-0.7, -0.12, 0.7, 0.93), Paint::Plain);
            d.part(polygon(&[[0.0, -0.92], [0.97, -0.06], [-0.97, -0.06]]), Paint::Dark(0.3));
            d.fill(rectangle(-0.46, 0.28, -0.06, 0.93), Paint::Dark(0.55));
            d.fill(rectangle(0.16, 0.2, 0.52, 0.56), Paint::Contrast(0.7));
        }
        Shape::Tree => {
            d.part(polygon(&[[-0.15, 0.2], [0.15, 0.2], [0.22, 0.93], [-0.22, 0.93]]), Paint::Trunk);
            let crown = path(|b| {
                for [x, y, r] in [[0.0, -0.48, 0.44], [-0.44, -0.05, 0.42], [0.44, -0.05, 0.42], [0.0, -0.05, 0.4]] {
                    b.push_circle(x, y, r);
                }
            });
            d.part(crown, Paint::Plain);
            for [x, y, r] in [[-0.18, -0.56, 0.15], [-0.5, -0.1, 0.13], [0.3, -0.16, 0.13]] {
                d.fill(circle(x, y, r), Paint::Light(0.22));
            }
        }
        Shape::Fish => {
            d.part(polygon(&[[0.45, 0.0], [0.98, -0.52], [0.86, 0.0], [0.98, 0.52]]), Paint::Dark(0.2));
            d.part(polygon(&[[-0.3, -0.3], [0.05, -0.74], [0.35, -0.3]]), Paint::Dark(0.2));
            let body = path(|b| {
                b.move_to(-0.98, 0.02);
                b.cubic_to(-0.7, -0.66, 0.2, -0.74, 0.66, 0.0);
                b.cubic_to(0.2, 0.74, -0.7, 0.68, -0.98, 0.02);
                b.close();
            });
            d.part(body, Paint::Plain);
            d.fill(circle(-0.55, -0.12, 0.16), Paint::Eye);
            d.fill(circle(-0.57, -0.12, 0.085), Paint::Pupil);
            let gill = path(|b| {
                b.move_to(-0.22, -0.26);
                b.quad_to(-0.06, 0.02, -0.22, 0.3);
            });
            d.stroke(gill, 0.08, Paint::Dark(0.35));
        }
        Shape::Flower => {
            let petals = path(|b| {
                for [sin, cos] in FIFTHS {
                    b.push_circle(0.56 * sin, 0.03 - 0.56 * cos, 0.38);
                }
            });
            d.part(petals, Paint::Plain);
            d.part(circle(0.0, 0.03, 0.27), Paint::Centre);
        }
    }
    d.finish()
}
