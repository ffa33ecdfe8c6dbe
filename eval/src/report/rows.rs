//! The report for other programs: one row for each model, task and metric, as CSV and as Parquet.
//!
//! ```text
//!   suite, model, size, variant, role, format     text
//!   task, metric                                  text
//!   documents                                     integer
//!   value, stderr                                 real       no standard error of corpus metrics
//!   low, high                                     real       Wilson's 95 % interval, of accuracies
//!   chance                                        real       of accuracies
//!   baseline                                      text       the rest only of candidates that have one
//!   effect, effect_low, effect_high               real       difference of accuracies, ratio of perplexities
//!   p_noninferior, p_noninferior_holm             real       one-sided; the second corrected for its family
//!   minimum_detectable                            real       what the effect would have to be to be seen
//!   verdict                                       text
//!   digest                                        text       of the model's results
//! ```
//!
//! CSV is RFC 4180: commas, CRLF, quotes where they are needed, an empty cell for what there is not. A name that a
//! spreadsheet would take for a formula (`=`, `+`, `-` or `@` first) has an apostrophe before it.

use b158_datasets::{Column, Table};

use super::Report;
use super::run::{Comparison, ModelRow, Run};
use crate::chance::{chance, wilson};
use crate::compare::MetricParity;
use crate::metrics::MetricValue;
use crate::{Role, TaskResults};

/// A metric of a task of a model.
struct Row<'r> {
    run: &'r Run,
    model: &'r ModelRow,
    task: &'r TaskResults,
    index: usize,
    value: MetricValue,
    pair: Option<(&'r Comparison, &'r MetricParity)>,
}

impl Row<'_> {
    /// Wilson's interval of an accuracy.
    fn interval(&self) -> Option<(f64, f64)> {
        self.value
            .metric
            .higher_is_better()
            .then(|| wilson(self.task.right(self.index), self.task.documents.len()))
    }
}

fn rows(report: &Report) -> Vec<Row<'_>> {
    let mut rows = Vec::new();
    for run in &report.runs {
        for (model, results) in run.models.iter().zip(&run.evaluated.models) {
            for task in &results.tasks {
                for (index, value) in task.metrics().iter().enumerate() {
                    let pair = run.comparison_of(model).and_then(|c| {
                        let same = |m: &&MetricParity| m.task == task.task.task && m.metric == value.metric;
                        Some((c, c.parity.metrics.iter().find(same)?))
                    });
                    rows.push(Row { run, model, task, index, value: *value, pair });
                }
            }
        }
    }
    rows
}

/// The rows as a table.
pub fn table(report: &Report) -> Table {
    let rows = rows(report);
    let text = |f: &dyn Fn(&Row) -> Option<String>| Column::Text(rows.iter().map(f).collect());
    let real = |f: &dyn Fn(&Row) -> Option<f64>| Column::Real(rows.iter().map(f).collect());
    let role = |row: &Row| match row.model.role {
        Role::Baseline => "baseline",
        Role::Candidate => "candidate",
    };
    Table::new(vec![
        ("suite", text(&|r| Some(r.run.suite.clone()))),
        ("model", text(&|r| Some(r.model.name.clone()))),
        ("size", text(&|r| r.model.size.clone())),
        ("variant", text(&|r| Some(r.model.variant.clone()))),
        ("role", text(&|r| Some(role(r).to_owned()))),
        ("format", text(&|r| r.model.format.clone())),
        ("task", text(&|r| Some(r.task.task.task.clone()))),
        ("metric", text(&|r| Some(r.value.metric.name().to_owned()))),
        ("documents", Column::Integer(rows.iter().map(|r| Some(r.task.documents.len() as i64)).collect())),
        ("value", real(&|r| Some(r.value.value))),
        ("stderr", real(&|r| r.value.stderr)),
        ("low", real(&|r| Some(r.interval()?.0))),
        ("high", real(&|r| Some(r.interval()?.1))),
        ("chance", real(&|r| chance(r.task).filter(|_| r.value.metric.higher_is_better()))),
        ("baseline", text(&|r| Some(r.pair?.0.parity.baseline.clone()))),
        ("effect", real(&|r| Some(r.pair?.1.effect))),
        ("effect_low", real(&|r| Some(r.pair?.1.interval.0))),
        ("effect_high", real(&|r| Some(r.pair?.1.interval.1))),
        ("p_noninferior", real(&|r| Some(r.pair?.1.p.noninferior))),
        ("p_noninferior_holm", real(&|r| Some(r.pair?.1.p_holm.noninferior))),
        ("minimum_detectable", real(&|r| r.pair?.1.minimum_detectable)),
        ("verdict", text(&|r| Some(r.pair?.1.verdict.name().to_owned()))),
        ("digest", text(&|r| Some(r.model.digest.clone()))),
    ])
}

/// A table as CSV.
pub fn csv(table: &Table) -> String {
    let quoted = |text: &str| {
        let guard = if text.starts_with(['=', '+', '-', '@', '\t', '\r']) { "'" } else { "" };
        let text = &format!("{guard}{text}");
        if text.contains(['"', ',', '\n', '\r']) {
            format!("\"{}\"", text.replace('"', "\"\""))
        } else {
            text.to_owned()
        }
    };
    // A number is the shortest text that reads back as the same.
    let cell = |column: &Column, row: usize| match column {
        Column::Text(values) => values[row].as_deref().map_or(String::new(), quoted),
        Column::Integer(values) => values[row].map_or(String::new(), |v| v.to_string()),
        Column::Real(values) => values[row].map_or(String::new(), |v| v.to_string()),
        Column::Flag(values) => values[row].map_or(String::new(), |v| v.to_string()),
        Column::Ids(values) => values[row].iter().map(u32::to_string).collect::<Vec<_>>().join(" "),
    };
    let names: Vec<String> = table.columns().map(|(name, _)| quoted(name)).collect();
    let mut out = names.join(",") + "\r\n";
    for row in 0..table.rows() {
        let cells: Vec<String> = table.columns().map(|(_, column)| cell(column, row)).collect();
        out += &(cells.join(",") + "\r\n");
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_no_formulas() {
        let names = ["=1+1", "+a,b", "-\"x", "@b", "b1.58"].map(|name| Some(name.to_owned()));
        let numbers = Column::Real(vec![Some(-1.5); 5]);
        let table = Table::new(vec![("model", Column::Text(names.to_vec())), ("value", numbers)]);
        let expected =
            "model,value\r\n'=1+1,-1.5\r\n\"'+a,b\",-1.5\r\n\"'-\"\"x\",-1.5\r\n'@b,-1.5\r\nb1.58,-1.5\r\n";
        assert_eq!(csv(&table), expected);
    }
}
