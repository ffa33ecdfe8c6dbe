//! What happened in training: losses by step, as JSON and as a picture.

use b158_checkpoint::write_file;
use std::path::Path;

use plotters::prelude::*;
use serde::{Deserialize, Serialize};

use crate::{Error, held_out::HeldOut};

/// One step.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Point {
    /// The step, from 1.
    pub step: usize,
    /// Mean loss of its batch in nats a token, before the update.
    pub loss: f64,
    /// Its learning rate.
    pub rate: f64,
    /// Norm of its gradient before clipping.
    pub norm: f64,
}

/// A measurement on held-out text.
#[derive(Debug, Clone, Copy, PartialEq, Serialize, Deserialize)]
pub struct Measurement {
    /// Steps done before.
    pub step: usize,
    /// What was found.
    #[serde(flatten)]
    pub held_out: HeldOut,
}

/// The course of one twin.
#[derive(Debug, Clone, PartialEq, Default, Serialize, Deserialize)]
pub struct Curve {
    /// Every step.
    pub steps: Vec<Point>,
    /// Measurements on held-out text, the last one after the last step.
    pub held_out: Vec<Measurement>,
}

/// What [`write`] writes.
pub(crate) const FILES: [&str; 2] = ["curves.json", "curves.svg"];

/// Writes `curves.json` and `curves.svg` of several twins.
///
/// # Errors
/// A file that cannot be written.
pub fn write(folder: &Path, curves: &[(String, Curve)]) -> Result<(), Error> {
    let json: serde_json::Map<String, serde_json::Value> =
        curves.iter().map(|(name, curve)| (name.clone(), serde_json::json!(curve))).collect();
    let json = serde_json::to_string(&json).expect("numbers and names");
    let [json_file, svg_file] = FILES.map(|name| folder.join(name));
    write_file(&json_file, format!("{json}\n").as_bytes())?;
    write_file(&svg_file, svg(curves)?.as_bytes())?;
    Ok(())
}

/// Losses by step: lines for batches, smoothed over a fiftieth of the steps, and points for held-out text.
///
/// # Errors
/// [`Error::Plot`] if the library cannot draw.
pub fn svg(curves: &[(String, Curve)]) -> Result<String, Error> {
    let mut out = String::new();
    draw(&mut out, curves).map_err(|e| Error::Plot(e.to_string()))?;
    Ok(out)
}

fn draw(out: &mut String, curves: &[(String, Curve)]) -> Result<(), Box<dyn std::error::Error>> {
    let lines: Vec<Vec<(f64, f64)>> = curves.iter().map(|(_, curve)| smoothed(&curve.steps)).collect();
    let measured = curves.iter().flat_map(|(_, curve)| &curve.held_out).map(|m| m.held_out.nats);
    let losses =
        lines.iter().flatten().map(|(_, loss)| *loss).chain(measured).filter(|loss| loss.is_finite());
    let (low, high) = losses.fold((f64::MAX, f64::MIN), |(low, high), loss| (low.min(loss), high.max(loss)));
    let (low, high) = if low <= high { (low, high) } else { (0.0, 1.0) };
    let margin = ((high - low) * 0.05).max(0.05);
    let steps = curves.iter().map(|(_, curve)| curve.steps.len()).max().unwrap_or(0).max(1);

    let root = SVGBackend::with_string(out, (800, 480)).into_drawing_area();
    root.fill(&WHITE)?;
    let mut chart = ChartBuilder::on(&root)
        .margin(12)
        .x_label_area_size(40)
        .y_label_area_size(56)
        .build_cartesian_2d(0.0..steps as f64, low - margin..high + margin)?;
    chart.configure_mesh().x_desc("step").y_desc("loss, nats a token").light_line_style(WHITE).draw()?;
    for (i, ((name, curve), line)) in curves.iter().zip(lines).enumerate() {
        let color = Palette99::pick(i).to_rgba();
        chart
            .draw_series(LineSeries::new(line, color.stroke_width(2)))?
            .label(name)
            .legend(move |(x, y)| PathElement::new([(x, y), (x + 18, y)], color.stroke_width(2)));
        let points =
            curve.held_out.iter().map(|m| Circle::new((m.step as f64, m.held_out.nats), 4, color.filled()));
        chart.draw_series(points)?;
    }
    chart.configure_series_labels().background_style(WHITE.mix(0.8)).border_style(BLACK).draw()?;
    root.present()?;
    Ok(())
}

fn smoothed(points: &[Point]) -> Vec<(f64, f64)> {
    let width = (points.len() / 50).max(1);
    let mean = |points: &[Point]| points.iter().map(|p| p.loss).sum::<f64>() / points.len() as f64;
    points.chunks(width).map(|chunk| (chunk[chunk.len() / 2].step as f64, mean(chunk))).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_picture_has_a_line_for_each_twin_and_points_for_what_was_measured() {
        let held_out = HeldOut { windows: 1, tokens: 1, nats: 2.5, perplexity: 12.2, interval: [12.0, 12.4] };
        let curve = |start: f64| Curve {
            steps: (1..=100)
                .map(|step| Point { step, loss: start / step as f64, rate: 1e-3, norm: 1.0 })
                .collect(),
            held_out: vec![Measurement { step: 100, held_out }],
        };
        let svg = svg(&[("fp16".into(), curve(5.0)), ("b158".into(), curve(6.0))]).unwrap();
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert_eq!(svg.matches("<circle").count(), 2);
        for text in ["fp16", "b158", "loss, nats a token"] {
            assert!(svg.contains(text), "{text}");
        }
        // A run without a step yet is drawn, too.
        super::svg(&[("empty".into(), Curve::default())]).unwrap();
    }
}
