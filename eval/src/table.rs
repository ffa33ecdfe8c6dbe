//! Markdown tables: results in lm-eval's style, and parity reports.
//!
//! ```text
//!   | Tasks  |Version|Filter|n-shot|Metric|   |Value |   |Stderr|
//!   |--------|------:|------|-----:|------|---|-----:|---|------|
//!   |arc_easy|      1|none  |     0|acc   |↑  |0.9333|±  |0.0463|
//! ```

use crate::compare::{Family, MetricParity, Parity};
use crate::results::ModelResults;

/// Whether a column's cells stand at its left or right.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Align {
    /// At the left.
    Left,
    /// At the right.
    Right,
    /// Cells at the right without a mark in the ruler, as lm-eval's table writer does for mixed columns.
    Mixed,
}

/// Tasks, sorted by name, and metrics, sorted by name, of one model.
pub fn results_table(results: &ModelResults) -> String {
    markdown(&results_header(), &results_rows(results))
}

/// Columns of a model's table.
pub fn results_header() -> [(&'static str, Align); 9] {
    use Align::{Left, Mixed, Right};
    [
        ("Tasks", Left),
        ("Version", Right),
        ("Filter", Left),
        ("n-shot", Right),
        ("Metric", Left),
        ("", Left),
        ("Value", Right),
        ("", Left),
        ("Stderr", Mixed),
    ]
}

/// Rows of a model's table.
pub fn results_rows(results: &ModelResults) -> Vec<Vec<String>> {
    let mut tasks: Vec<_> = results.tasks.iter().collect();
    tasks.sort_by_key(|t| &t.task.task);
    let mut rows = Vec::new();
    for task in tasks {
        let mut metrics = task.metrics().to_vec();
        metrics.sort_by_key(|m| m.metric.name());
        for (i, m) in metrics.iter().enumerate() {
            let first = |text: String| if i == 0 { text } else { String::new() };
            rows.push(vec![
                first(task.task.task.clone()),
                first(task.task.version.to_string()),
                "none".into(),
                task.task.shots().to_string(),
                m.metric.name().into(),
                if m.metric.higher_is_better() { "↑" } else { "↓" }.into(),
                format!("{:.4}", m.value),
                "±".into(),
                m.stderr.map_or("N/A".into(), |s| if s == 0.0 { "0".into() } else { format!("{s:.4}") }),
            ]);
        }
    }
    rows
}

/// The comparison's metrics and its verdict.
pub fn parity_table(parity: &Parity) -> String {
    let rows: Vec<_> = parity.metrics.iter().map(parity_row).collect();
    format!("{}\n{}\n", markdown(&parity_header(parity), &rows), parity_verdict(parity))
}

/// Who is compared with whom, the verdict, and those of the families.
pub fn parity_verdict(parity: &Parity) -> String {
    let family = |f: &Family| {
        let name = if f.metrics == 1 {
            f.family.trim_end_matches("ies").to_owned() + "y"
        } else {
            f.family.to_owned()
        };
        format!("{} {name}: {} ({} not inferior)", f.metrics, f.verdict.name(), f.noninferior)
    };
    format!(
        "{} against {}: {}\nafter Holm's correction, {}\np: one-sided, for not being inferior; detectable: the smallest \
         effect that 80 % of such evaluations find",
        parity.candidate,
        parity.baseline,
        parity.verdict.name(),
        parity.families.iter().map(family).collect::<Vec<_>>().join("; ")
    )
}

/// Columns of the comparison's table.
pub fn parity_header(parity: &Parity) -> Vec<(&str, Align)> {
    use Align::{Left, Right};
    vec![
        ("Tasks", Left),
        ("Metric", Left),
        (parity.baseline.as_str(), Right),
        (parity.candidate.as_str(), Right),
        ("Effect", Right),
        ("95 % interval", Right),
        ("Margin", Right),
        ("McNemar p", Right),
        ("Non-inferior p", Right),
        ("Holm", Right),
        ("Detectable", Right),
        ("Items", Right),
        ("Verdict", Left),
    ]
}

/// A row of the comparison's table.
pub fn parity_row(m: &MetricParity) -> Vec<String> {
    // Differences of accuracies carry a sign, ratios of perplexities a cross.
    let effect = |value: f64| match m.mcnemar {
        Some(_) => format!("{value:+.4}"),
        None => format!("×{value:.4}"),
    };
    let verdict = match (m.verdict, m.documents_to_decide) {
        (crate::Verdict::Undecided, Some(n)) => format!("undecided (about {n} items would decide)"),
        (verdict, _) => verdict.name().to_owned(),
    };
    vec![
        m.task.clone(),
        m.metric.name().into(),
        format!("{:.4}", m.baseline),
        format!("{:.4}", m.candidate),
        effect(m.effect),
        format!("{} to {}", effect(m.interval.0), effect(m.interval.1)),
        effect(m.margin),
        m.mcnemar.map_or(String::new(), |t| format!("{:.4}", t.p)),
        format!("{:.4}", m.p.noninferior),
        format!("{:.4}", m.p_holm.noninferior),
        m.minimum_detectable.map_or(String::new(), |d| match m.mcnemar {
            Some(_) => format!("{d:.4}"),
            None => format!("×{d:.4}"),
        }),
        m.documents.to_string(),
        verdict,
    ]
}

/// A Markdown table whose columns line up in plain text.
pub fn markdown<S: AsRef<str>>(header: &[(S, Align)], rows: &[Vec<String>]) -> String {
    let header: Vec<(String, Align)> =
        header.iter().map(|(text, align)| (escape(text.as_ref()), *align)).collect();
    let rows: Vec<Vec<String>> =
        rows.iter().map(|row| row.iter().map(|cell| escape(cell)).collect()).collect();
    let width = |column: usize| {
        let cells = rows.iter().map(|row| row[column].chars().count()).max().unwrap_or(0);
        cells.max(header[column].0.chars().count()).max(3)
    };
    let widths: Vec<usize> = (0..header.len()).map(width).collect();
    let mut out = String::from("|");
    for ((text, _), &width) in header.iter().zip(&widths) {
        out += &format!("{text:^width$}|");
    }
    out += "\n|";
    for ((_, align), &width) in header.iter().zip(&widths) {
        let mark = if *align == Align::Right { ":" } else { "" };
        out += &format!("{}{mark}|", "-".repeat(width - mark.len()));
    }
    for row in &rows {
        out += "\n|";
        for ((cell, (_, align)), &width) in row.iter().zip(&header).zip(&widths) {
            if *align == Align::Left {
                out += &format!("{cell:<width$}|");
            } else {
                out += &format!("{cell:>width$}|");
            }
        }
    }
    out.push('\n');
    out
}

/// Model names are free text: they must not end a cell or a row, nor speak to a terminal.
fn escape(cell: &str) -> String {
    cell.replace('|', "\\|").replace(char::is_control, " ")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::compare::{CompareOptions, compare};
    use crate::results::tests::{choice_task, model, rolling_task, suite};

    #[test]
    fn results_as_lm_eval_prints_them() {
        insta::assert_snapshot!(results_table(&suite().models[0]));
    }

    #[test]
    fn parity_report() {
        let rows =
            |shift: f64| -> Vec<_> { (0..30).map(|i| (-100.0 - shift * f64::from(i), 20, 100)).collect() };
        let choices = |flip: usize| {
            let rows: Vec<([f64; 2], usize)> =
                (0..30).map(|i| (if i < flip { [-2.0, -1.0] } else { [-1.0, -2.0] }, 0)).collect();
            choice_task(&rows.iter().map(|(ll, gold)| (&ll[..], *gold)).collect::<Vec<_>>())
        };
        let baseline = model("fp16", vec![choices(0), rolling_task(&rows(0.0))]);
        let candidate = model("b|158", vec![choices(3), rolling_task(&rows(0.01))]);
        let parity = compare(&baseline, &candidate, &CompareOptions::default()).unwrap();
        insta::assert_snapshot!(parity_table(&parity));
    }
}
