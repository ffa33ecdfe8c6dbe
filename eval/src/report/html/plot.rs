//! Plots as SVG whose colours follow the page.
//!
//! plotters writes colours as numbers. Colours that nothing else has stand in for those of the page and are replaced
//! in the text:
//!
//! ```text
//!   #010000 + k    var(--sK)        of series K: a variable that has another value in dark mode
//!   #010100        currentColor     text and axes
//!   #010200        var(--grid)
//! ```
//!
//! Nothing but a data point is *filled* with the colour of a series, so points can be counted. Series differ in the
//! shape of their points, too. Legends are part of the page, not of the picture.

use plotters::coord::Shift;
use plotters::prelude::*;
use plotters::style::text_anchor::{HPos, Pos, VPos};

use super::super::run::distinct;

/// Series that have a colour and a shape of their own; further ones share them.
pub const STYLES: usize = 6;

const WIDTH: u32 = 480;
const TEXT: RGBColor = RGBColor(1, 1, 0);
const GRID: RGBColor = RGBColor(1, 2, 0);
const FONT: i32 = 14;

type Drawn = Result<(), Box<dyn std::error::Error>>;
type Area<'a> = DrawingArea<SVGBackend<'a>, Shift>;

/// A value, and the ends of its interval if it has one.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Point {
    /// Where it stands: a number, or the index of a row.
    pub at: f64,
    /// Its value.
    pub value: f64,
    /// 95 % interval of the value.
    pub interval: Option<(f64, f64)>,
}

/// Points of one kind.
#[derive(Debug, Clone, PartialEq)]
pub struct Series {
    /// Its name in the legend.
    pub name: String,
    /// Its colour and shape, from 0.
    pub style: usize,
    /// Its points.
    pub points: Vec<Point>,
    /// A line through other points: for curves.
    pub line: Vec<(f64, f64)>,
}

/// An axis.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Axis<'a> {
    /// Its title.
    pub title: &'a str,
    /// Whether equal ratios are equally long.
    pub log: bool,
}

/// Points over numbers; points of a series are joined by a line.
pub fn over_numbers(series: &[Series], x: Axis<'_>, y: Axis<'_>, guide: &[(f64, f64)]) -> String {
    let scale = |axis: Axis<'_>, value: f64| if axis.log { value.log10() } else { value };
    let place = |(a, b): (f64, f64)| (scale(x, a), scale(y, b));
    let all: Vec<(f64, f64)> = series
        .iter()
        .flat_map(|s| s.points.iter().map(|p| (p.at, p.value)).chain(s.line.iter().copied()))
        .chain(guide.iter().copied())
        .map(place)
        .filter(|(a, b)| a.is_finite() && b.is_finite())
        .collect();
    let (xs, ys) = (range(all.iter().map(|p| p.0)), range(all.iter().map(|p| p.1)));
    picture(320, |root| {
        let mut chart = ChartBuilder::on(root)
            .margin(8)
            .margin_right(20)
            .x_label_area_size(46)
            .y_label_area_size(66)
            .build_cartesian_2d(xs.0..xs.1, ys.0..ys.1)?;
        let label = |axis: Axis<'_>, v: f64| {
            let text = short(if axis.log { libm::pow(10.0, v) } else { v });
            // Billions of weights, as the papers write them.
            if axis.title.starts_with("weights") { text.replace('G', "B") } else { text }
        };
        chart
            .configure_mesh()
            .x_desc(x.title)
            .y_desc(y.title)
            .x_labels(4)
            .y_labels(6)
            .max_light_lines(1)
            .x_label_formatter(&|v| label(x, *v))
            .y_label_formatter(&|v| label(y, *v))
            .label_style(("sans-serif", FONT, &TEXT))
            .axis_desc_style(("sans-serif", FONT, &TEXT))
            .axis_style(TEXT)
            .bold_line_style(GRID)
            .light_line_style(GRID)
            .draw()?;
        if !guide.is_empty() {
            let line = guide.iter().copied().map(place).collect::<Vec<_>>();
            chart.draw_series([PathElement::new(line, TEXT.stroke_width(1))])?;
        }
        for s in series {
            let color = color(s.style);
            let through: Vec<(f64, f64)> = if s.line.is_empty() {
                s.points.iter().map(|p| place((p.at, p.value))).collect()
            } else {
                s.line.iter().copied().map(place).collect()
            };
            chart.draw_series([PathElement::new(through, color.stroke_width(2))])?;
            for p in &s.points {
                let at = place((p.at, p.value));
                chart.draw_series([EmptyElement::at(at) + shape(s.style)])?;
            }
        }
        Ok(())
    })
}

/// Points by row: the accuracies of tasks. `marks` are places of their own in each row.
pub fn by_row(rows: &[String], series: &[Series], title: &str, marks: &[Option<f64>]) -> String {
    // Series share a row; more than three make it higher.
    let step = (0.84 / series.len().max(1) as f64).min(0.24);
    let height = 46.max(13 * series.len() as u32);
    picture(60 + height * rows.len() as u32, |root| {
        let mut chart = rows_chart(root, rows, (0.0, 1.0), title, &|v| format!("{:.0}", v * 1e2))?;
        for (row, mark) in marks.iter().enumerate() {
            let Some(mark) = mark else { continue };
            let y = row as f64 + 0.5;
            chart.draw_series([PathElement::new(
                [(*mark, y - 0.42), (*mark, y + 0.42)],
                TEXT.stroke_width(1),
            )])?;
        }
        for (k, s) in series.iter().enumerate() {
            let offset = (k as f64 - (series.len() as f64 - 1.0) / 2.0) * step;
            let color = color(s.style);
            for p in &s.points {
                let y = p.at + 0.5 + offset;
                if let Some((low, high)) = p.interval {
                    chart.draw_series([PathElement::new([(low, y), (high, y)], color.stroke_width(2))])?;
                }
                chart.draw_series([EmptyElement::at((p.value, y)) + shape(s.style)])?;
            }
        }
        Ok(())
    })
}

/// A bar for each row, with its value written behind it.
pub fn bars(rows: &[String], values: &[(f64, usize)], title: &str, text: &dyn Fn(f64) -> String) -> String {
    let n = rows.len();
    let most = values.iter().map(|v| v.0).fold(f64::MIN_POSITIVE, f64::max);
    picture(60 + 34 * n as u32, |root| {
        let mut chart = rows_chart(root, rows, (0.0, most * 1.18), title, &|v| short(*v))?;
        for (row, (value, style)) in values.iter().enumerate() {
            let y = row as f64 + 0.5;
            chart
                .draw_series([Rectangle::new([(0.0, y - 0.3), (*value, y + 0.3)], color(*style).filled())])?;
            let label = TextStyle::from(("sans-serif", FONT).into_font())
                .color(&TEXT)
                .pos(Pos::new(HPos::Left, VPos::Center));
            chart.draw_series([EmptyElement::at((*value, y)) + Text::new(text(*value), (6, 0), label)])?;
        }
        Ok(())
    })
}

type Rows<'a, 'b> = ChartContext<
    'a,
    SVGBackend<'b>,
    Cartesian2d<plotters::coord::types::RangedCoordf64, plotters::coord::types::RangedCoordf64>,
>;

/// Axes of a chart with a row for each name, the first on top.
fn rows_chart<'a, 'b>(
    root: &'a Area<'b>,
    rows: &[String],
    x: (f64, f64),
    title: &str,
    label: &dyn Fn(&f64) -> String,
) -> Result<Rows<'a, 'b>, Box<dyn std::error::Error>> {
    let rows: Vec<String> = rows.iter().map(|row| cut(row)).collect();
    let longest = rows.iter().map(|row| row.chars().count()).max().unwrap_or(0);
    let n = rows.len() as f64;
    let mut chart = ChartBuilder::on(root)
        .margin(6)
        .margin_right(20)
        .x_label_area_size(46)
        .y_label_area_size(longest as u32 * 8 + 14)
        .build_cartesian_2d(x.0..x.1, n..0.0)?;
    chart
        .configure_mesh()
        .x_desc(title)
        .x_labels(6)
        .disable_y_mesh()
        .y_labels(0)
        .max_light_lines(1)
        .x_label_formatter(label)
        .label_style(("sans-serif", FONT, &TEXT))
        .axis_desc_style(("sans-serif", FONT, &TEXT))
        .axis_style(TEXT)
        .bold_line_style(GRID)
        .light_line_style(GRID)
        .draw()?;
    for (row, name) in rows.iter().enumerate() {
        let style = TextStyle::from(("sans-serif", FONT).into_font())
            .color(&TEXT)
            .pos(Pos::new(HPos::Right, VPos::Center));
        let at = EmptyElement::at((x.0, row as f64 + 0.5));
        chart.draw_series([at + Text::new(name.clone(), (-8, 0), style)])?;
    }
    Ok(chart)
}

/// A name that leaves room for the picture.
fn cut(name: &str) -> String {
    const MOST: usize = 22;
    if name.chars().count() <= MOST {
        return name.to_owned();
    }
    name.chars().take(MOST - 1).chain(['…']).collect()
}

fn color(style: usize) -> RGBColor {
    RGBColor(1, 0, (style % STYLES) as u8)
}

/// A point of a series, in pixels around where it stands.
fn shape(style: usize) -> Polygon<(i32, i32)> {
    let corners: &[(i32, i32)] = match style % STYLES {
        // A circle as a polygon: all shapes are of one kind then.
        0 => &[
            (5, 0),
            (4, 3),
            (3, 4),
            (0, 5),
            (-3, 4),
            (-4, 3),
            (-5, 0),
            (-4, -3),
            (-3, -4),
            (0, -5),
            (3, -4),
            (4, -3),
        ],
        1 => &[(-5, -5), (5, -5), (5, 5), (-5, 5)],
        2 => &[(0, -6), (6, 5), (-6, 5)],
        3 => &[(0, -7), (7, 0), (0, 7), (-7, 0)],
        4 => &[(0, 6), (6, -5), (-6, -5)],
        _ => &[
            (-6, -2),
            (-2, -2),
            (-2, -6),
            (2, -6),
            (2, -2),
            (6, -2),
            (6, 2),
            (2, 2),
            (2, 6),
            (-2, 6),
            (-2, 2),
            (-6, 2),
        ],
    };
    Polygon::new(corners.to_vec(), color(style).filled())
}

/// The shape of a series for a legend.
pub fn key(style: usize) -> String {
    let mut out = String::new();
    {
        let root = SVGBackend::with_string(&mut out, (16, 16)).into_drawing_area();
        let moved = EmptyElement::at((8, 8)) + shape(style);
        // Memory takes every byte.
        let _ = root.draw(&moved).and_then(|()| root.present());
    }
    themed(&out).replacen("<svg ", "<svg class=\"key\" aria-hidden=\"true\" ", 1)
}

/// A picture of that height; an empty one if the library cannot draw, which the tests would show.
fn picture(height: u32, draw: impl FnOnce(&Area<'_>) -> Drawn) -> String {
    let mut out = String::new();
    {
        let root = SVGBackend::with_string(&mut out, (WIDTH, height)).into_drawing_area();
        if draw(&root).and_then(|()| Ok(root.present()?)).is_err() {
            return String::new();
        }
    }
    themed(&out)
}

/// Colours of the page, and the width that the page gives.
fn themed(svg: &str) -> String {
    let mut out = svg.replace("#010100", "currentColor").replace("#010200", "var(--grid)");
    for style in 0..STYLES {
        out = out.replace(&format!("#01000{style}"), &format!("var(--s{style})"));
    }
    let Some(tag) = out.find('>') else { return out };
    let (head, rest) = out.split_at(tag);
    let kept: Vec<&str> =
        head.split(' ').filter(|part| !part.starts_with("width=") && !part.starts_with("height=")).collect();
    kept.join(" ") + rest
}

/// The ends of an axis, with room at both.
fn range(values: impl Iterator<Item = f64>) -> (f64, f64) {
    let (low, high) = values.fold((f64::MAX, f64::MIN), |(low, high), v| (low.min(v), high.max(v)));
    if low > high {
        return (0.0, 1.0);
    }
    let room = ((high - low) * 0.1).max(high.abs().max(1.0) * 1e-2);
    (low - room, high + room)
}

/// A number for an axis: three digits, and a letter for thousands.
pub fn short(value: f64) -> String {
    // What is a thousand but for rounding is one.
    let size = value.abs() * (1.0 + 1e-9);
    let (value, letter) = if size >= 1e9 {
        (value / 1e9, "G")
    } else if size >= 1e6 {
        (value / 1e6, "M")
    } else if size >= 1e3 {
        (value / 1e3, "k")
    } else {
        (value, "")
    };
    let digits = match value.abs() * (1.0 + 1e-9) {
        v if v >= 100.0 || v == 0.0 => 0,
        v if v >= 10.0 => 1,
        v if v >= 1.0 => 2,
        v => 2 + (-v.log10()).floor() as usize,
    };
    let text = format!("{value:.digits$}");
    let text = if text.contains('.') { text.trim_end_matches('0').trim_end_matches('.') } else { &text };
    format!("{text}{letter}")
}

/// The styles that series have, each once.
pub fn legend(series: &[Series]) -> Vec<(String, usize)> {
    distinct(series.iter().map(|s| (s.name.clone(), s.style)))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_short() {
        let texts: Vec<String> =
            [0.0, 0.046, 1.0, 2.7982, 12.5, 640.0, 3162.0, 643_000.0, 1.44e6, 999_999_999.999_999, 70e9]
                .map(short)
                .to_vec();
        assert_eq!(texts, ["0", "0.046", "1", "2.8", "12.5", "640", "3.16k", "643k", "1.44M", "1G", "70G"]);
    }

    fn series(style: usize, points: &[(f64, f64)]) -> Series {
        let points = points.iter().map(|&(at, value)| Point { at, value, interval: Some((value, value)) });
        Series { name: format!("s{style}"), style, points: points.collect(), line: Vec::new() }
    }

    fn filled(svg: &str) -> usize {
        svg.matches("fill=\"var(--s").count()
    }

    #[test]
    fn every_point_is_drawn_once_and_no_colour_is_left() {
        let two = [series(0, &[(0.0, 0.5), (1.0, 0.7)]), series(1, &[(0.0, 0.2), (1.0, 0.9)])];
        let axis = |title| Axis { title, log: false };
        let rows = ["a".to_owned(), "b<c".to_owned()];
        for svg in [
            over_numbers(&two, axis("x"), axis("y"), &[]),
            by_row(&rows, &two, "accuracy", &[Some(0.25), None]),
        ] {
            assert_eq!(filled(&svg), 4, "{svg}");
            assert!(!svg.contains("#01") && svg.starts_with("<svg viewBox"), "{svg}");
        }
        let bars = bars(&rows, &[(1.0, 0), (2.0, 1)], "ms", &short);
        assert_eq!(filled(&bars), 2);
        assert!(bars.contains("b&lt;c"), "{bars}");
        for style in 0..STYLES {
            assert_eq!(filled(&key(style)), 1, "{}", key(style));
        }
        // A name is cut to what fits; ten series of one row are drawn, too.
        let long = ["a".repeat(60)];
        let ten: Vec<Series> = (0..10).map(|style| series(style, &[(0.0, 0.5)])).collect();
        let svg = by_row(&long, &ten, "accuracy", &[None]);
        assert_eq!(filled(&svg), 10);
        assert!(svg.contains(&format!("{}…", "a".repeat(21))) && !svg.contains(&long[0]), "{svg}");
        // Nothing to show is a frame.
        assert_eq!(filled(&over_numbers(&[], axis("x"), axis("y"), &[])), 0);
    }
}
