//! `b158 reproduce`: the main job, from twin checkpoints to the tables of the paper.

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use b158_datasets::DataSource;
use b158_eval::{
    Suite,
    claims::Ledger,
    environment::Environment,
    find_tasks,
    folder::check_own,
    report::{Form, Measurements, Report, Run, curves},
};
use b158_kernels::Isa;
use b158_runner::bench::Measured;
use serde::Serialize;

use crate::{
    ExitStatus,
    cli::ReproduceArgs,
    commands::{
        claims, create_folder,
        suite::{Work, evaluate_all, known, note_truncated, prepare},
    },
    embedded,
    printer::Printer,
};

pub fn run(args: &ReproduceArgs, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    let (file, notice) = match &args.suite {
        Some(file) => (file.clone(), None),
        None => (embedded::unpack(&args.output.join("desk"))?, Some(embedded::NOTICE)),
    };
    let suite = Suite::read(&file)?;
    let suite = Suite { limit: args.documents.limit.or(suite.limit), ..suite }.checked("the command line")?;
    check_baselines(&suite, &file)?;
    create_folder(&args.output)?;
    // Before minutes of work.
    check_own(&args.output)?;
    let tasks = find_tasks(&suite.tasks, args.documents.task_dir.as_deref())?;
    let models = prepare(&suite, &file, &args.output.join("models"), isa)?;
    let measured = models.iter().map(|m| measure(&m.path, isa)).collect::<Result<Vec<_>>>()?;
    let data = DataSource::new(args.documents.data.as_deref());
    let environment = Environment::new(isa.name(), rayon::current_num_threads());
    let work = Work { cache: args.documents.cache.clone(), ..Work::default() };
    let results = evaluate_all(&suite, &models, &tasks, &data, &work, isa)?;
    environment.write(&args.output, &results)?;
    results.write(&args.output)?;
    note_truncated(&results, printer);

    let notice = notice.map(str::to_owned);
    let known =
        suite.models.iter().zip(&models).zip(measured).map(|((m, p), measured)| known(m, p, Some(measured)));
    let known = Measurements::new(notice, known);
    known.write(&args.output)?;

    let base = file.parent().unwrap_or(Path::new("."));
    let sources: Vec<_> = suite.models.iter().map(|m| (m.size.as_deref(), base.join(&m.path))).collect();
    let curves = curves::of_models(sources.iter().map(|(size, path)| (*size, path.as_path())))?;
    curves::write(&args.output, &curves)?;

    let run = Run { curves, ..Run::new(results, &known, None)? };
    let claims = claims::ledger(&run, &claims::in_folder(&args.output)?)?;
    let report = Report { runs: vec![run], claims: Some(claims), public_data: false };
    report.write(Form::Markdown, &args.output)?;
    let page = report.write(Form::Html, &args.output.join("report"))?;
    let found = Found { run: &report.runs[0], claims: report.claims.as_ref() };
    printer.result(&found, || report.summary())?;
    let written = [args.output.join("report.md")].into_iter().chain(page);
    let written: Vec<String> = written.map(|path| path.display().to_string()).collect();
    printer.note(&format!("written, with every metric and comparison: {}", written.join(", ")));
    Ok(ExitStatus::Success)
}

/// What is printed as JSON.
#[derive(Serialize)]
struct Found<'r> {
    #[serde(flatten)]
    run: &'r Run,
    #[serde(flatten)]
    claims: Option<&'r Ledger>,
}

/// Models that have twins need one to be compared with.
fn check_baselines(suite: &Suite, file: &Path) -> Result<()> {
    for twins in suite.twins() {
        if twins.models.len() > 1 && twins.baseline().is_none() {
            let of_size = twins.size.map_or(String::new(), |size| format!(" of size '{size}'"));
            let hint = "add `role: baseline` to the model that the others are compared with";
            bail!("{}: no model{of_size} has the role baseline\nhint: {hint}", file.display());
        }
    }
    Ok(())
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
