//! The report as text: the paper's Table 1 and Table 2, how the gap moves with size, and every metric.

use b158_eval::{
    Average, Metric, SuiteResults, TaskResults, Verdict,
    compare::MetricParity,
    table::{self, Align},
};

use super::report::{Comparison, ModelRow, Report};

/// What is shown on screen: at most 200 columns.
pub fn summary(report: &Report, results: &SuiteResults) -> String {
    let mut out = format!("# b158 reproduce: {}\n\n", report.suite);
    if let Some(notice) = report.notice {
        out += &format!("{notice}\n\n");
    }
    let perplexities = results.tasks_with(Metric::WordPerplexity);
    out += "## Size, memory, latency and perplexity\n\n";
    out += &sizes(report, results, &perplexities);
    let accuracies = results.tasks_with(Metric::Acc);
    if !accuracies.is_empty() {
        out += "\n## End tasks\n\n";
        out += &end_tasks(report, results, &accuracies);
    }
    if !report.comparisons.is_empty() {
        out += if report.has_sizes() {
            "\n## How the gap moves with size\n\n"
        } else {
            "\n## Candidates against the baseline\n\n"
        };
        out += &gaps(report, &perplexities);
    }
    out += &format!("\nresult digest of all models {}\n", report.digest);
    out
}

/// Every comparison and every metric, model by model.
pub fn details(report: &Report, results: &SuiteResults) -> String {
    let mut out = String::new();
    for Comparison { parity, .. } in &report.comparisons {
        out += &format!(
            "\n## {} against {}\n\n{}",
            parity.candidate,
            parity.baseline,
            table::parity_table(parity)
        );
    }
    for (row, model) in report.models.iter().zip(&results.models) {
        out += &format!("\n## {}\n\n{}", model.name, table::results_table(model));
        out += &format!("\nresult digest {}\n", row.digest);
    }
    out
}

/// A header and its cells, filled row by row.
struct Table {
    header: Vec<(String, Align)>,
    rows: Vec<Vec<String>>,
    has_sizes: bool,
}

impl Table {
    /// The size comes first, if the suite has sizes.
    fn new(report: &Report) -> Self {
        let mut table = Self { header: Vec::new(), rows: Vec::new(), has_sizes: report.has_sizes() };
        if table.has_sizes {
            table.column("size", Align::Left);
        }
        table
    }

    fn column(&mut self, title: impl Into<String>, align: Align) {
        self.header.push((title.into(), align));
    }

    fn row(&mut self, size: Option<&str>, mut cells: Vec<String>) {
        if self.has_sizes {
            cells.insert(0, size.unwrap_or_default().to_owned());
        }
        self.rows.push(cells);
    }

    fn text(&self) -> String {
        table::markdown(&self.header, &self.rows)
    }
}

/// As the paper's Table 1: what a model takes, how fast it is, and its perplexity, with ratios to its baseline.
fn sizes(report: &Report, results: &SuiteResults, perplexities: &[String]) -> String {
    let mut table = Table::new(report);
    table.column("model", Align::Left);
    table.column("format", Align::Left);
    let columns = ["weights M", "bits/weight", "file MB", "weights in memory MB", "peak MB", "ms/token"];
    for title in columns {
        table.column(title, Align::Right);
    }
    for task in perplexities {
        table.column(format!("{task} word PPL"), Align::Right);
    }
    for row in &report.models {
        let baseline = report.baseline_of(row);
        // How many times less than the baseline.
        let less = |digits: usize, value: &dyn Fn(&ModelRow) -> Option<f64>| {
            let Some(own) = value(row) else { return "?".to_owned() };
            let ratio = baseline.and_then(value).map(|theirs| format!(" ({:.2}x)", theirs / own));
            format!("{own:.digits$}{}", ratio.unwrap_or_default())
        };
        let mut cells = vec![
            row.variant.clone(),
            row.format.clone(),
            row.measured.linear_weights.map_or("?".to_owned(), |n| format!("{:.2}", n as f64 / 1e6)),
            row.measured.bits_per_weight.map_or("?".to_owned(), |bits| format!("{bits:.4}")),
            less(2, &|r| Some(r.measured.file_bytes? as f64 / 1e6)),
            less(2, &|r| Some(r.measured.weight_bytes()? as f64 / 1e6)),
            row.measured.peak_resident_bytes().map_or("?".to_owned(), |b| format!("{:.2}", b as f64 / 1e6)),
            less(3, &|r| r.measured.latency_ms()),
        ];
        for task in perplexities {
            let of = |r: &ModelRow| value(results, r, task, Metric::WordPerplexity);
            let ratio = baseline.and_then(of).zip(of(row)).map(|(b, own)| format!(" (×{:.4})", own / b));
            let own = of(row).map_or("?".to_owned(), |v| format!("{v:.4}"));
            cells.push(format!("{own}{}", ratio.unwrap_or_default()));
        }
        table.row(row.size.as_deref(), cells);
    }
    format!(
        "{}\n(N.NNx): how many times less than the baseline; ×: perplexity over the baseline's. Weights are those of \
         linear\nlayers, ms/token is the median of decoding; bits, file and memory hold for the format named.\n",
        table.text()
    )
}

/// As the paper's Table 2: accuracies in percent, and their mean.
fn end_tasks(report: &Report, results: &SuiteResults, tasks: &[String]) -> String {
    let mut table = Table::new(report);
    table.column("model", Align::Left);
    for task in tasks {
        table.column(task, Align::Right);
    }
    table.column("mean", Align::Right);

    let mut chances = Vec::new();
    for task in tasks {
        chances.extend(report.tasks.iter().find(|t| t.task == *task).and_then(|t| t.chance));
    }
    let mean = chances.iter().sum::<f64>() / chances.len().max(1) as f64;
    let mut cells = vec!["(chance)".to_owned()];
    // As wide as a standard error and a star, so that the points stand below each other.
    cells.extend(chances.iter().chain([&mean]).map(|chance| format!("{:.1}        ", chance * 1e2)));
    table.row(None, cells);

    for row in &report.models {
        let mut cells = vec![row.variant.clone()];
        for task in tasks {
            let above = row.above_chance.get(task).and_then(serde_json::Value::as_bool);
            let star = if above == Some(true) { '*' } else { ' ' };
            let metric = task_of(results, row, task).and_then(|t| t.metric(Metric::Acc));
            cells.push(metric.map_or("?".to_owned(), |m| format!("{} {star}", percent(m.value, m.stderr))));
        }
        let mean = |a: Average| format!("{}  ", percent(a.value, a.stderr));
        cells.push(row.average.map_or("?".to_owned(), mean));
        table.row(row.size.as_deref(), cells);
    }
    let documents = tasks.iter().filter_map(|task| report.tasks.iter().find(|t| t.task == *task));
    let documents: Vec<usize> = documents.map(|t| t.documents).collect();
    let items = match (documents.iter().min(), documents.iter().max()) {
        (Some(low), Some(high)) if low == high => format!("{low} items a task"),
        (Some(low), Some(high)) => format!("{low} to {high} items a task"),
        _ => String::new(),
    };
    format!(
        "{}\n% of right answers ± standard error, {items}; *: the lower 95 % bound is above chance, the best that one \
         can do\nwithout reading the question.\n",
        table.text()
    )
}

/// Perplexity and mean accuracy of every candidate against its baseline, candidate by candidate.
fn gaps(report: &Report, perplexities: &[String]) -> String {
    // The size stands behind the candidate here: each candidate is read from small to large.
    let mut header = vec![("candidate".to_owned(), Align::Left)];
    if report.has_sizes() {
        header.push(("size".to_owned(), Align::Left));
    }
    for task in perplexities {
        header.push((format!("{task} PPL ratio (95 % interval)"), Align::Right));
        header.push(("verdict".to_owned(), Align::Left));
    }
    let with_accuracies = report.comparisons.iter().any(|c| c.average.is_some());
    if with_accuracies {
        header.push(("mean accuracy, points (95 % interval)".to_owned(), Align::Right));
        header.push(("verdict".to_owned(), Align::Left));
    }
    header.push(("metrics better, at parity, undecided, worse".to_owned(), Align::Right));
    header.push(("verdict of all".to_owned(), Align::Left));

    let mut variants: Vec<&str> = Vec::new();
    for comparison in &report.comparisons {
        if !variants.contains(&comparison.variant.as_str()) {
            variants.push(&comparison.variant);
        }
    }
    let mut rows = Vec::new();
    for variant in variants {
        for comparison in report.comparisons.iter().filter(|c| c.variant == variant) {
            let mut cells = vec![variant.to_owned()];
            if report.has_sizes() {
                cells.push(comparison.size.clone().unwrap_or_default());
            }
            let metrics = &comparison.parity.metrics;
            for task in perplexities {
                let found = metrics.iter().find(|m| m.task == *task && m.metric == Metric::WordPerplexity);
                cells.push(found.map_or("?".to_owned(), ratio));
                cells.push(found.map_or("?", |m| m.verdict.name()).to_owned());
            }
            if with_accuracies {
                let points = |v: f64| format!("{:+.2}", v * 1e2);
                let (effect, verdict) = comparison.average.map_or(("?".to_owned(), "?"), |a| {
                    let (low, high) = a.interval;
                    let text = format!("{} ({} to {})", points(a.effect), points(low), points(high));
                    (text, a.verdict.name())
                });
                cells.push(effect);
                cells.push(verdict.to_owned());
            }
            let count = |verdict| metrics.iter().filter(|m| m.verdict == verdict).count().to_string();
            let all = [Verdict::Better, Verdict::Parity, Verdict::Undecided, Verdict::Worse];
            cells.push(all.map(count).join(", "));
            cells.push(comparison.parity.verdict.name().to_owned());
            rows.push(cells);
        }
    }
    let points = report.margins.accuracy * 1e2;
    let plural = if points == 1.0 { "" } else { "s" };
    format!(
        "{}\nMargins, fixed beforehand: a perplexity ratio of {}, {points} point{plural} of accuracy. Documents are \
         resampled in pairs;\nparity: not worse than the margin allows, with 95 % confidence. The verdict of all is that \
         of the worst metric.\n",
        table::markdown(&header, &rows),
        report.margins.perplexity_ratio,
    )
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

fn task_of<'r>(results: &'r SuiteResults, row: &ModelRow, task: &str) -> Option<&'r TaskResults> {
    results.model(&row.name)?.tasks.iter().find(|t| t.task.task == task)
}

fn value(results: &SuiteResults, row: &ModelRow, task: &str, metric: Metric) -> Option<f64> {
    Some(task_of(results, row, task)?.metric(metric)?.value)
}
