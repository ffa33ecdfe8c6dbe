//! `b158 eval`.

use std::path::Path;

use anyhow::Result;
use b158_datasets::DataSource;
use b158_eval::{Margins, ModelResults, Preset, Role, Suite, find_tasks, suite::SuiteModel, table};
use b158_kernels::Isa;

use crate::{
    ExitStatus,
    cli::EvalArgs,
    commands::{
        create_folder,
        suite::{evaluate_all, prepare},
    },
    printer::Printer,
};

/// Nobody shall take the desk's questions for the benchmark of the same name.
const DESK: &str =
    "note: without --data, tasks are about the desk's small made-up world, not the benchmarks of their names";

pub fn run(args: &EvalArgs, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    let (suite, file) = match &args.suite {
        Some(file) => (Suite::read(file)?, file.as_path()),
        None => (from_arguments(args), Path::new("")),
    };
    let tasks = if args.tasks.is_empty() { suite.tasks } else { args.tasks.clone() };
    let suite =
        Suite { tasks, limit: args.documents.limit.or(suite.limit), ..suite }.checked("the command line")?;
    let tasks = find_tasks(&suite.tasks, args.documents.task_dir.as_deref())?;
    create_folder(&args.output)?;
    if args.documents.data.is_none() {
        printer.note(DESK);
    }
    let models = prepare(&suite, file, &args.output.join("models"), isa)?;
    let results =
        evaluate_all(&suite, &models, &tasks, &DataSource::new(args.documents.data.as_deref()), isa)?;
    results.write(&args.output)?;
    printer.result(&results.to_json(), || {
        let section = |m: &ModelResults| {
            format!("{}\n\n{}\nresult digest {}\n", m.name, table::results_table(m), m.digest())
        };
        results.models.iter().map(section).collect::<Vec<_>>().join("\n")
    })?;
    Ok(ExitStatus::Success)
}

/// The suite that `--model` and `--tasks` describe.
fn from_arguments(args: &EvalArgs) -> Suite {
    let model = |(name, path): &(String, std::path::PathBuf)| SuiteModel {
        name: name.clone(),
        size: None,
        path: path.display().to_string(),
        role: Role::Candidate,
        convert: None,
    };
    Suite {
        suite: "command line".to_owned(),
        models: args.models.iter().map(model).collect(),
        tasks: args.tasks.clone(),
        preset: Preset::default(),
        limit: None,
        margins: Margins::default(),
    }
}
