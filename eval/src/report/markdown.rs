//! The report as Markdown: it fits a terminal and the step summary of a CI job.

use super::run::{Comparison, Run};
use super::tables;
use crate::table;

/// What is shown on screen: at most 200 columns.
pub fn summary(run: &Run) -> String {
    let mut out = format!("# b158: {}\n\n", run.suite);
    if let Some(notice) = &run.notice {
        out += &format!("{notice}\n\n");
    }
    for sheet in tables::main_tables(run) {
        out += &sheet.markdown();
        out.push('\n');
    }
    out += &format!("result digest of all models {}\n", run.digest);
    out
}

/// Every comparison and every metric, model by model.
pub fn details(run: &Run) -> String {
    let mut out = String::new();
    for Comparison { parity, .. } in &run.comparisons {
        out += &format!(
            "\n## {} against {}\n\n{}",
            parity.candidate,
            parity.baseline,
            table::parity_table(parity)
        );
    }
    for (row, model) in run.models.iter().zip(&run.evaluated.models) {
        out += &format!("\n## {}\n\n{}", model.name, table::results_table(model));
        out += &format!("\nresult digest {}\n", row.digest);
    }
    out
}
