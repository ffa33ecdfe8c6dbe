//! The tables of a run: those of the paper, how the gap moves with size, and every metric.

use super::run::{Comparison, ModelRow, Run, distinct};
use super::sheet::{Cell, Sheet};
use crate::compare::MetricParity;
use crate::table::{
    self,
    Align::{Left, Right},
};
use crate::{Average, Metric, ModelResults, Verdict, mean_perplexity};

/// The tables that come first, in their order.
pub fn main_tables(run: &Run) -> Vec<Sheet> {
    let mut sheets = vec![sizes(run)];
    if !run.evaluated.tasks_with(Metric::Acc).is_empty() {
        sheets.push(end_tasks(run));
    }
    if !run.comparisons.is_empty() {
        sheets.push(gaps(run));
    }
    sheets
}

/// A table whose first column is the size, if the suite has sizes.
fn with_sizes(run: &Run, title: &str) -> Sheet {
    let mut sheet = Sheet::new(title);
    if run.has_sizes() {
        sheet.column("size", Left);
    }
    sheet
}

/// Puts the size before a row, if the suite has sizes.
fn row_of_size(run: &Run, size: Option<&str>, mut cells: Vec<Cell>) -> Vec<Cell> {
    if run.has_sizes() {
        cells.insert(0, size.unwrap_or_default().into());
    }
    cells
}

/// As the paper's Table 1: what a model takes, how fast it is, and its perplexity, with ratios to its baseline.
pub fn sizes(run: &Run) -> Sheet {
    let measured = run.models.iter().any(|row| row.measured.is_some());
    let title = if measured { "Size, memory, latency and perplexity" } else { "Perplexity" };
    let mut sheet = with_sizes(run, title);
    sheet.column("model", Left);
    if measured {
        sheet.column("format", Left);
        for title in ["weights M", "bits/weight", "file MB", "weights in memory MB", "peak MB", "ms/token"] {
            sheet.column(title, Right);
        }
    }
    let perplexities = run.perplexities();
    for (task, metric) in &perplexities {
        let unit = metric.name().trim_end_matches("_perplexity");
        sheet.column(format!("{task} {unit} PPL"), Right);
    }
    let mean = |row: &ModelRow| mean_perplexity(run.evaluated.model(&row.name)?);
    let has_mean = run.models.iter().any(|row| mean(row).is_some());
    if has_mean {
        sheet.column("mean token PPL", Right);
    }
    for row in &run.models {
        let mut cells = vec![Cell::from(row.variant.as_str())];
        if measured {
            cells.extend(size_cells(run, row));
        }
        let baseline = run.baseline_of(row);
        let cell = |of: &dyn Fn(&ModelRow) -> Option<f64>| {
            let Some(own) = of(row) else { return Cell::from("?") };
            let ratio = baseline.and_then(of).map(|b| format!(" (×{:.4})", own / b));
            Cell::number(format!("{own:.4}{}", ratio.unwrap_or_default()), own)
        };
        cells.extend(perplexities.iter().map(|(task, metric)| cell(&|r| run.value(r, task, *metric))));
        if has_mean {
            cells.push(cell(&mean));
        }
        sheet.rows.push(row_of_size(run, row.size.as_deref(), cells));
    }
    let note = if measured {
        "(N.NNx): how many times less than the baseline; ×: perplexity over the baseline's. Weights are those of \
         linear\nlayers, ms/token is the median of decoding; bits, file and memory hold for the format named."
    } else {
        "×: perplexity over the baseline's."
    };
    sheet.note.push_str(note);
    sheet
}

/// What was measured of a model.
fn size_cells(run: &Run, row: &ModelRow) -> Vec<Cell> {
    let baseline = run.baseline_of(row);
    let number = |digits: usize, value: Option<f64>| match value {
        Some(value) => Cell::number(format!("{value:.digits$}"), value),
        None => "?".into(),
    };
    // How many times less than the baseline.
    let less = |digits: usize, value: &dyn Fn(&ModelRow) -> Option<f64>| {
        let Some(own) = value(row) else { return Cell::from("?") };
        let ratio = baseline.and_then(value).map(|theirs| format!(" ({:.2}x)", theirs / own));
        Cell::number(format!("{own:.digits$}{}", ratio.unwrap_or_default()), own)
    };
    let own = row.measured.as_ref();
    vec![
        row.format.clone().unwrap_or_else(|| "?".into()).into(),
        number(2, own.and_then(|m| Some(m.linear_weights? as f64 / 1e6))),
        number(4, own.and_then(|m| m.bits_per_weight)),
        less(2, &|r| Some(r.measured.as_ref()?.file_bytes? as f64 / 1e6)),
        less(2, &|r| Some(r.measured.as_ref()?.weight_bytes()? as f64 / 1e6)),
        number(2, own.and_then(|m| Some(m.peak_resident_bytes()? as f64 / 1e6))),
        less(3, &|r| r.measured.as_ref()?.latency_ms()),
    ]
}

/// As the paper's Table 2: accuracies in percent, and their mean.
pub fn end_tasks(run: &Run) -> Sheet {
    let tasks = run.evaluated.tasks_with(Metric::Acc);
    let mut sheet = with_sizes(run, "End tasks");
    sheet.column("model", Left);
    for task in tasks.iter().map(String::as_str).chain(["mean"]) {
        sheet.column(task, Right);
    }

    let rows: Vec<_> = tasks.iter().filter_map(|task| run.tasks.iter().find(|t| t.task == *task)).collect();
    let chances: Vec<f64> = rows.iter().filter_map(|t| t.chance).collect();
    let mean = chances.iter().sum::<f64>() / chances.len().max(1) as f64;
    let mut cells = vec![Cell::from("(chance)")];
    // As wide as a standard error and a star, so that the points stand below each other.
    let chance = |chance: &f64| Cell::number(format!("{:.1}        ", chance * 1e2), *chance);
    cells.extend(chances.iter().chain([&mean]).map(chance));
    sheet.rows.push(row_of_size(run, None, cells));

    for row in &run.models {
        let mut cells = vec![Cell::from(row.variant.as_str())];
        for task in &tasks {
            let above = row.above_chance.get(task).and_then(serde_json::Value::as_bool);
            let star = if above == Some(true) { '*' } else { ' ' };
            let metric = run.task(row, task).and_then(|t| t.metric(Metric::Acc));
            cells.push(metric.map_or("?".into(), |m| {
                Cell::number(format!("{} {star}", percent(m.value, m.stderr)), m.value)
            }));
        }
        let mean = |a: Average| Cell::number(format!("{}  ", percent(a.value, a.stderr)), a.value);
        cells.push(row.average.map_or("?".into(), mean));
        sheet.rows.push(row_of_size(run, row.size.as_deref(), cells));
    }
    let documents = rows.iter().map(|t| t.documents);
    let items = match (documents.clone().min(), documents.max()) {
        (Some(low), Some(high)) if low == high => format!("{low} items a task"),
        (Some(low), Some(high)) => format!("{low} to {high} items a task"),
        _ => String::new(),
    };
    sheet.note = format!(
        "% of right answers ± standard error, {items}; *: the lower 95 % bound is above chance, the best that one can \
         do\nwithout reading the question."
    );
    sheet
}

/// Perplexity and mean accuracy of every candidate against its baseline, candidate by candidate.
pub fn gaps(run: &Run) -> Sheet {
    let perplexities = run.perplexities();
    let title =
        if run.has_sizes() { "How the gap moves with size" } else { "Candidates against the baseline" };
    let mut sheet = Sheet::new(title);
    // The size stands behind the candidate here: each candidate is read from small to large.
    sheet.column("candidate", Left);
    if run.has_sizes() {
        sheet.column("size", Left);
    }
    for (task, _) in &perplexities {
        sheet.column(format!("{task} PPL ratio (95 % interval)"), Right);
        sheet.column("verdict", Left);
    }
    let with_accuracies = run.comparisons.iter().any(|c| c.average.is_some());
    if with_accuracies {
        sheet.column("mean accuracy, points (95 % interval)", Right);
        sheet.column("verdict", Left);
    }
    sheet.column("metrics better, at parity, undecided, worse", Right);
    sheet.column("verdict of all", Left);

    for variant in distinct(run.comparisons.iter().map(|c| c.variant.as_str())) {
        for comparison in run.comparisons.iter().filter(|c| c.variant == variant) {
            let mut cells = vec![Cell::from(variant)];
            if run.has_sizes() {
                cells.push(comparison.size.clone().unwrap_or_default().into());
            }
            cells.extend(gap_cells(comparison, &perplexities, with_accuracies));
            sheet.rows.push(cells);
        }
    }
    let points = run.margins.accuracy * 1e2;
    let plural = if points == 1.0 { "" } else { "s" };
    sheet.note = format!(
        "Margins, fixed beforehand: a perplexity ratio of {}, {points} point{plural} of accuracy. Documents are \
         resampled in pairs;\nparity: not worse than the margin allows, with 95 % confidence. The verdict of all is that \
         of the worst metric.",
        run.margins.perplexity_ratio,
    );
    sheet
}

fn gap_cells(comparison: &Comparison, perplexities: &[(String, Metric)], with_accuracies: bool) -> Vec<Cell> {
    let metrics = &comparison.parity.metrics;
    let mut cells = Vec::new();
    for (task, metric) in perplexities {
        let found = metrics.iter().find(|m| m.task == *task && m.metric == *metric);
        cells.push(found.map_or("?".into(), |m| Cell::number(ratio(m), m.effect)));
        cells.push(found.map_or("?", |m| m.verdict.name()).into());
    }
    if with_accuracies {
        let points = |v: f64| format!("{:+.2}", v * 1e2);
        let (effect, verdict) = comparison.average.map_or((Cell::from("?"), "?"), |a| {
            let (low, high) = a.interval;
            let text = format!("{} ({} to {})", points(a.effect), points(low), points(high));
            (Cell::number(text, a.effect), a.verdict.name())
        });
        cells.push(effect);
        cells.push(verdict.into());
    }
    let count = |verdict| metrics.iter().filter(|m| m.verdict == verdict).count();
    let all = [Verdict::Better, Verdict::Parity, Verdict::Undecided, Verdict::Worse];
    let text = all.map(|v| count(v).to_string()).join(", ");
    cells.push(Cell::number(text, count(Verdict::Better) as f64));
    cells.push(comparison.parity.verdict.name().into());
    cells
}

fn ratio(m: &MetricParity) -> String {
    format!("×{:.4} ({:.4} to {:.4})", m.effect, m.interval.0, m.interval.1)
}

/// `54.7 ± 2.2`; standard errors line up.
fn percent(value: f64, stderr: Option<f64>) -> String {
    match stderr {
        Some(stderr) => format!("{:.1} ± {:>3.1}", value * 1e2, stderr * 1e2),
        None => format!("{:.1}      ", value * 1e2),
    }
}

/// Every metric of every comparison: a table for each.
pub fn comparisons(run: &Run) -> Vec<Sheet> {
    let of_pair = |c: &Comparison| {
        let parity = &c.parity;
        let mut sheet = Sheet::new(format!("{} against {}", parity.candidate, parity.baseline));
        for (title, align) in table::parity_header(parity) {
            sheet.column(title, align);
        }
        let cells = |m: &MetricParity| table::parity_row(m).into_iter().map(Cell::from).collect();
        sheet.rows = parity.metrics.iter().map(cells).collect();
        sheet.note = table::parity_verdict(parity).replace('\n', ". ") + ".";
        sheet
    };
    run.comparisons.iter().map(of_pair).collect()
}

/// Every metric of every model: a table for each.
pub fn models(run: &Run) -> Vec<Sheet> {
    let of_model = |(row, results): (&ModelRow, &ModelResults)| {
        let mut sheet = Sheet::new(results.name.clone());
        for (title, align) in table::results_header() {
            sheet.column(title, align);
        }
        let cells = |row: Vec<String>| row.into_iter().map(Cell::from).collect();
        sheet.rows = table::results_rows(results).into_iter().map(cells).collect();
        // A task's name stands in its first row only, which sorting would part from the others.
        let mut name = Cell::default();
        for row in &mut sheet.rows {
            if row[0].text.is_empty() { row[0] = name.clone() } else { name = row[0].clone() }
        }
        sheet.note = format!("Result digest {}.", row.digest);
        sheet
    };
    run.models.iter().zip(&run.evaluated.models).map(of_model).collect()
}
