//! `b158 reproduce`: the main job, from twin checkpoints to a parity table.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use b158_checkpoint::write_file;
use b158_datasets::DataSource;
use b158_eval::{
    CompareOptions, Metric, ModelResults, Parity, Role, Suite, SuiteResults, compare, find_tasks, table,
};
use b158_kernels::Isa;
use serde::Serialize;

use crate::{
    ExitStatus,
    cli::ReproduceArgs,
    commands::{
        bench::Measured,
        create_folder,
        suite::{Prepared, evaluate_all, prepare},
    },
    embedded,
    printer::Printer,
};

/// Everything that the report says.
#[derive(Serialize)]
struct Report {
    suite: String,
    notice: Option<&'static str>,
    models: Vec<Row>,
    results: serde_json::Value,
    comparisons: Vec<Parity>,
}

/// One line of the main table.
#[derive(Serialize)]
struct Row {
    name: String,
    format: String,
    measured: Measured,
    digest: String,
}

pub fn run(args: &ReproduceArgs, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    let (file, notice) = match &args.suite {
        Some(file) => (file.clone(), None),
        None => (embedded::unpack(&args.output.join("desk"))?, Some(embedded::NOTICE)),
    };
    let suite = Suite::read(&file)?;
    let suite = Suite { limit: args.documents.limit.or(suite.limit), ..suite }.checked("the command line")?;
    if suite.models.len() > 1 && suite.baseline().is_none() {
        let hint = "add `role: baseline` to the model that the others are compared with";
        bail!("{}: no model has the role baseline\nhint: {hint}", file.display());
    }
    create_folder(&args.output)?;
    let tasks = find_tasks(&suite.tasks, args.documents.task_dir.as_deref())?;
    let models = prepare(&suite, &file, &args.output.join("models"), isa)?;
    let measured = models.iter().map(|m| measure(&m.path, isa)).collect::<Result<Vec<_>>>()?;
    let results =
        evaluate_all(&suite, &models, &tasks, &DataSource::new(args.documents.data.as_deref()), isa)?;
    results.write(&args.output)?;

    let rows = models.iter().zip(measured).zip(&results.models);
    let report = Report {
        suite: suite.suite.clone(),
        notice,
        models: rows.map(|((prepared, measured), results)| row(prepared, measured, results)).collect(),
        results: results.to_json(),
        comparisons: comparisons(&suite, &results)?,
    };
    let text = text(&report, &results);
    let path = args.output.join("report.md");
    write_file(&path, text.as_bytes())?;
    printer.result(&report, || text)?;
    printer.note(&format!("written: {}", path.display()));
    Ok(ExitStatus::Success)
}

fn row(prepared: &Prepared, measured: Measured, results: &ModelResults) -> Row {
    Row {
        name: prepared.name.clone(),
        format: prepared.format.map_or("as it is".to_owned(), |f| f.to_string()),
        measured,
        digest: results.digest(),
    }
}

/// Runs `bench` in a process of its own, so that the peak memory is that of this model alone.
fn measure(model: &Path, isa: Isa) -> Result<Measured> {
    let output = Command::new(std::env::current_exe()?)
        .arg("bench")
        .arg(model)
        // A minute is for the whole job.
        .args(["--depth", "0"])
        .args(["--json", "--isa", isa.name(), "--threads", &rayon::current_num_threads().to_string()])
        .stderr(Stdio::inherit())
        .output()?;
    if !output.status.success() {
        bail!(
            "{}: the measurement failed ({})\nhint: its message stands above",
            model.display(),
            output.status
        );
    }
    serde_json::from_slice(&output.stdout).context("the measurement's result")
}

/// Every candidate against the baseline; none without a baseline.
fn comparisons(suite: &Suite, results: &SuiteResults) -> Result<Vec<Parity>> {
    let Some(baseline) = suite.baseline().and_then(|b| results.model(&b.name)) else {
        return Ok(Vec::new());
    };
    let candidates = suite.models.iter().filter(|m| m.role == Role::Candidate);
    let options = CompareOptions { margins: suite.margins, ..CompareOptions::default() };
    candidates
        .filter_map(|m| results.model(&m.name))
        .map(|candidate| Ok(compare(baseline, candidate, &options)?))
        .collect()
}

fn text(report: &Report, results: &SuiteResults) -> String {
    let mut out = format!("# b158 reproduce: {}\n\n", report.suite);
    if let Some(notice) = report.notice {
        out += &format!("{notice}\n\n");
    }
    out += &main_table(report, results);
    for parity in &report.comparisons {
        out += &format!(
            "\n## {} against {}\n\n{}",
            parity.candidate,
            parity.baseline,
            table::parity_table(parity)
        );
    }
    for model in &results.models {
        out += &format!("\n## {}\n\n{}", model.name, table::results_table(model));
        out += &format!("\nresult digest {}\n", model.digest());
    }
    out
}

fn main_table(report: &Report, results: &SuiteResults) -> String {
    use table::Align::{Left, Right};
    let accuracies: Vec<(&str, Metric)> = results.models[0]
        .tasks
        .iter()
        .flat_map(|t| t.task.metrics().map(|m| (t.task.task.as_str(), m)))
        .filter(|(_, m)| m.higher_is_better() || *m == Metric::WordPerplexity)
        .collect();
    let mut header = vec![
        ("model".to_owned(), Left),
        ("format".to_owned(), Left),
        ("bits/weight".to_owned(), Right),
        ("file MB".to_owned(), Right),
        ("peak MB".to_owned(), Right),
        ("prefill tok/s".to_owned(), Right),
        ("decode tok/s".to_owned(), Right),
    ];
    header.extend(accuracies.iter().map(|(task, metric)| (format!("{task} {}", metric.name()), Right)));
    header.push(("verdict".to_owned(), Left));

    let megabytes = |bytes: u64| format!("{:.2}", bytes as f64 / 1e6);
    let rows = report.models.iter().map(|row| {
        let m = &row.measured;
        let mut cells = vec![
            row.name.clone(),
            row.format.clone(),
            m.bits_per_weight.map_or("?".to_owned(), |bits| format!("{bits:.4}")),
            m.file_bytes.map_or("?".to_owned(), megabytes),
            m.peak_resident_bytes().map_or("?".to_owned(), megabytes),
            m.prefill_per_second().map_or("?".to_owned(), |rate| format!("{rate:.0}")),
            m.decode_per_second().map_or("?".to_owned(), |rate| format!("{rate:.0}")),
        ];
        let model = results.model(&row.name).expect("every row was evaluated");
        cells.extend(accuracies.iter().map(|(task, metric)| value(model, task, *metric)));
        let parity = report.comparisons.iter().find(|p| p.candidate == row.name);
        let alone = if report.comparisons.is_empty() { "-" } else { "baseline" };
        cells.push(parity.map_or(alone, |p| p.verdict.name()).to_owned());
        cells
    });
    table::markdown(&header, &rows.collect::<Vec<_>>())
}

/// `value ± standard error`
fn value(model: &ModelResults, task: &str, metric: Metric) -> String {
    let task = model.tasks.iter().find(|t| t.task.task == task).expect("all models ran the same tasks");
    let found = task.metrics().into_iter().find(|m| m.metric == metric).expect("a metric of the task");
    match found.stderr {
        Some(stderr) => format!("{:.4} ± {stderr:.4}", found.value),
        None => format!("{:.4}", found.value),
    }
}
