//! Which plots a run has, and of what.

use super::plot::{self, Axis, Point, Series};
use crate::Metric;
use crate::chance::wilson;
use crate::report::curves::smoothed;
use crate::report::paper::PUBLISHED;
use crate::report::run::{ModelRow, Run};

/// A plot and what stands below it.
pub struct Figure {
    /// Its name in the page.
    pub id: String,
    /// What it shows.
    pub title: String,
    /// What has to be known to read it.
    pub note: String,
    /// The picture.
    pub svg: String,
    /// Points in it.
    pub points: usize,
    /// Names and styles of its series.
    pub legend: Vec<(String, usize)>,
}

impl Figure {
    fn of_series(id: String, title: &str, note: &str, svg: String, series: &[Series]) -> Self {
        let points = series.iter().map(|s| s.points.len()).sum();
        Self { id, title: title.into(), note: note.into(), svg, points, legend: plot::legend(series) }
    }
}

/// Candidates whose perplexity is further from the baseline's than this would hide the others.
const FAR: f64 = 1.5;

/// All plots of a run, in their order.
pub fn figures(run: &Run) -> Vec<Figure> {
    let mut figures = Vec::new();
    figures.extend(perplexity(run));
    figures.extend(accuracies(run));
    figures.extend(bars(run, "latency", "Latency", "milliseconds a token, median", |row| {
        row.measured.as_ref()?.latency_ms()
    }));
    figures.extend(bars(run, "memory", "Weights in memory", "MB", |row| {
        Some(row.measured.as_ref()?.weight_bytes()? as f64 / 1e6)
    }));
    figures.extend(roofline(run));
    figures.extend(curves(run));
    figures
}

/// The style of a variant: the same in all plots of a run.
fn style(run: &Run, variant: &str) -> usize {
    run.variants().iter().position(|v| *v == variant).unwrap_or(0)
}

/// Perplexity against the number of weights, twin by twin.
fn perplexity(run: &Run) -> Option<Figure> {
    let (task, metric) = run.perplexities().into_iter().next()?;
    let of = |row: &ModelRow| {
        let weights = row.measured.as_ref()?.linear_weights? as f64;
        Some((weights, run.value(row, &task, metric)?))
    };
    let far = |row: &&ModelRow| {
        let ratio = |b: &ModelRow| Some(of(row)?.1 / of(b)?.1);
        run.baseline_of(row).and_then(ratio).is_some_and(|ratio| !(1.0 / FAR..=FAR).contains(&ratio))
    };
    let mut series = Vec::new();
    for variant in run.variants() {
        let rows = run.models.iter().filter(|row| row.variant == variant && !far(row));
        let points: Vec<Point> = rows
            .filter_map(of)
            .filter(|(_, value)| value.is_finite())
            .map(|(at, value)| Point { at, value, interval: None })
            .collect();
        if !points.is_empty() {
            series.push(Series {
                name: variant.into(),
                style: style(run, variant),
                points,
                line: Vec::new(),
            });
        }
    }
    if series.is_empty() {
        return None;
    }
    let left_out: Vec<String> = run
        .models
        .iter()
        .filter(far)
        .filter_map(|row| Some(format!("{} at {:.1}", row.name, of(row)?.1)))
        .collect();
    let beyond = if left_out.is_empty() {
        String::new()
    } else {
        format!(" Beyond the frame: {}.", left_out.join(", "))
    };
    let name = metric.name().replace('_', " ");
    let note = format!("On {task}; less is better. Both axes are logarithmic.{beyond}");
    let log = |title| Axis { title, log: true };
    let svg = plot::over_numbers(&series, log("weights in linear layers"), log(&name), &[]);
    Some(Figure::of_series("perplexity".into(), "Perplexity against size", &note, svg, &series))
}

/// Accuracies by task with their intervals: a plot for each size.
fn accuracies(run: &Run) -> Vec<Figure> {
    let tasks = run.evaluated.tasks_with(Metric::Acc);
    if tasks.is_empty() {
        return Vec::new();
    }
    let chances: Vec<Option<f64>> =
        tasks.iter().map(|task| run.tasks.iter().find(|t| t.task == *task)?.chance).collect();
    let point = |row: &ModelRow, at: usize, task: &str| {
        let results = run.task(row, task)?;
        let index = results.task.metrics().position(|m| m == Metric::Acc)?;
        let (right, n) = (results.right(index), results.documents.len());
        Some(Point { at: at as f64, value: right as f64 / n as f64, interval: Some(wilson(right, n)) })
    };
    let of_size = |size: Option<&str>| {
        let rows = run.models.iter().filter(|row| row.size.as_deref() == size);
        let series: Vec<Series> = rows
            .map(|row| Series {
                name: row.variant.clone(),
                style: style(run, &row.variant),
                points: tasks.iter().enumerate().filter_map(|(i, task)| point(row, i, task)).collect(),
                line: Vec::new(),
            })
            .collect();
        let title = size.map_or("Accuracies".to_owned(), |size| format!("Accuracies at {size}"));
        let id = size.map_or("accuracy".to_owned(), |size| format!("accuracy-{}", super::identifier(size)));
        let svg = plot::by_row(&tasks, &series, "% of right answers", &chances);
        let note = "Points with Wilson's 95 % intervals; upright strokes are chance.";
        Figure::of_series(id, &title, note, svg, &series)
    };
    run.sizes().into_iter().map(of_size).collect()
}

/// A bar for each model.
fn bars(
    run: &Run,
    id: &str,
    title: &str,
    unit: &str,
    value: impl Fn(&ModelRow) -> Option<f64>,
) -> Option<Figure> {
    let (mut rows, mut values) = (Vec::new(), Vec::new());
    for row in &run.models {
        let Some(value) = value(row) else { continue };
        rows.push(row.name.clone());
        values.push((value, style(run, &row.variant)));
    }
    if rows.is_empty() {
        return None;
    }
    let machine = run.models.iter().find_map(|row| row.measured.as_ref());
    let note = machine.map_or(String::new(), |m| {
        let threads = if m.threads == 1 { "1 thread".to_owned() } else { format!("{} threads", m.threads) };
        format!("{threads}, {}; less is better.", m.isa)
    });
    Some(Figure {
        id: id.into(),
        title: title.into(),
        note,
        svg: plot::bars(&rows, &values, unit, &plot::short),
        points: rows.len(),
        legend: Vec::new(),
    })
}

/// Tokens per second against the bytes that each reads, and what the memory's bandwidth allows.
fn roofline(run: &Run) -> Option<Figure> {
    let measured = |row: &ModelRow| {
        let measurement = &row.measured.as_ref()?.formats.first()?.measurement;
        let decode = measurement.decode.first()?;
        let bandwidth = measurement.read_bandwidth_bytes_per_second;
        Some((decode.bytes_read_per_token as f64, decode.tokens_per_second, bandwidth))
    };
    let all: Vec<(f64, f64, f64)> = run.models.iter().filter_map(measured).collect();
    let bandwidth = all.iter().map(|m| m.2).fold(0.0, f64::max);
    if all.is_empty() || bandwidth <= 0.0 {
        return None;
    }
    let mut series = Vec::new();
    for variant in run.variants() {
        let rows = run.models.iter().filter(|row| row.variant == variant);
        let points: Vec<Point> =
            rows.filter_map(measured).map(|(at, value, _)| Point { at, value, interval: None }).collect();
        series.push(Series { name: variant.into(), style: style(run, variant), points, line: Vec::new() });
    }
    let (least, most) = all.iter().fold((f64::MAX, 0.0_f64), |(a, b), m| (a.min(m.0), b.max(m.0)));
    let roof = [least / 1.5, most * 1.5].map(|bytes| (bytes, bandwidth / bytes));
    let log = |title| Axis { title, log: true };
    let note = format!(
        "Decoding; the thin line is what reading memory at {:.1} GB/s allows. Models that fit into a cache may be above \
         it.",
        bandwidth / 1e9
    );
    let svg = plot::over_numbers(&series, log("bytes read for each token"), log("tokens per second"), &roof);
    Some(Figure::of_series("roofline".into(), "Share of the memory's roofline", &note, svg, &series))
}

/// Losses in training.
fn curves(run: &Run) -> Option<Figure> {
    let series: Vec<Series> = run
        .curves
        .iter()
        .enumerate()
        .map(|(style, (name, curve))| Series {
            name: name.clone(),
            style,
            points: curve
                .held_out
                .iter()
                .map(|m| Point { at: m.step as f64, value: m.nats, interval: None })
                .collect(),
            line: smoothed(&curve.steps),
        })
        .collect();
    if series.is_empty() {
        return None;
    }
    let linear = |title| Axis { title, log: false };
    let svg = plot::over_numbers(&series, linear("step"), linear("loss, nats a token"), &[]);
    let note = "Lines: batches, smoothed over a fiftieth of the steps. Points: held-out text.";
    Some(Figure::of_series("curves".into(), "Loss in training", note, svg, &series))
}

/// The paper's perplexities, to stand beside ours.
pub fn of_paper() -> Figure {
    let weights = |size: &str| size.trim_end_matches(['B', 'M']).parse::<f64>().unwrap_or_default();
    let unit = |size: &str| if size.ends_with('B') { 1e9 } else { 1e6 };
    let series: Vec<Series> = ["LLaMA", "b1.58"]
        .into_iter()
        .enumerate()
        .map(|(style, model)| Series {
            name: format!("{model} (the paper's)"),
            style,
            points: PUBLISHED
                .iter()
                .filter(|p| p.model == model)
                .map(|p| Point { at: weights(p.size) * unit(p.size), value: p.perplexity, interval: None })
                .collect(),
            line: Vec::new(),
        })
        .collect();
    let log = |title| Axis { title, log: true };
    let svg = plot::over_numbers(&series, log("weights"), log("perplexity"), &[]);
    let note = "Figures of Table 1 of arXiv 2402.17764, not measured here. Both axes are logarithmic.";
    Figure::of_series("paper".into(), "Perplexity against size in the paper", note, svg, &series)
}
