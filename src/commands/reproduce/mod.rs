//! `b158 reproduce`: the main job, from twin checkpoints to the tables of the paper.

mod report;
mod tables;

use std::{
    path::Path,
    process::{Command, Stdio},
};

use anyhow::{Context, Result, bail};
use b158_checkpoint::write_file;
use b158_datasets::DataSource;
use b158_eval::{Suite, environment::Environment, find_tasks};
use b158_kernels::Isa;

use self::report::Report;
use crate::{
    ExitStatus,
    cli::ReproduceArgs,
    commands::{
        bench::Measured,
        create_folder,
        suite::{Work, evaluate_all, prepare},
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
    let tasks = find_tasks(&suite.tasks, args.documents.task_dir.as_deref())?;
    let models = prepare(&suite, &file, &args.output.join("models"), isa)?;
    let measured = models.iter().map(|m| measure(&m.path, isa)).collect::<Result<Vec<_>>>()?;
    let data = DataSource::new(args.documents.data.as_deref());
    let environment = Environment::new(isa.name(), rayon::current_num_threads());
    let work = Work { cache: args.documents.cache.clone(), ..Work::default() };
    let results = evaluate_all(&suite, &models, &tasks, &data, &work, isa)?;
    environment.write(&args.output, &results)?;
    results.write(&args.output)?;

    let report = Report::new(&suite, notice, &models, measured, &results)?;
    let summary = tables::summary(&report, &results);
    let path = args.output.join("report.md");
    write_file(&path, format!("{summary}{}", tables::details(&report, &results)).as_bytes())?;
    printer.result(&report, || summary)?;
    printer.note(&format!("written, with every metric and comparison: {}", path.display()));
    Ok(ExitStatus::Success)
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
