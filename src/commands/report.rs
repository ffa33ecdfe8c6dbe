//! `b158 report`.

use anyhow::{Result, bail};
use b158_eval::report::{Form, Report, Run, curves};
use serde_json::json;

use crate::{
    ExitStatus,
    cli::{ReportArgs, ReportForm},
    commands::{claims, create_folder},
    printer::Printer,
};

pub fn run(args: &ReportArgs, printer: &Printer) -> Result<ExitStatus> {
    if args.baseline.is_some() && args.folders.len() > 1 {
        bail!("--baseline names a model of one folder\nhint: report each folder on its own");
    }
    let mut runs = Vec::new();
    for folder in &args.folders {
        runs.push(Run::read(folder, args.baseline.as_deref())?);
    }
    for file in &args.curves {
        // Curves are of twins, not of a folder of results: they stand with the first.
        let found = curves::read(file)?;
        if let Some(run) = runs.first_mut() {
            run.curves.extend(found);
        }
    }
    // Claims are about twins.
    let claims = match (args.folders.first(), runs.first()) {
        (Some(folder), Some(run)) if !run.comparisons.is_empty() => {
            Some(claims::ledger(run, &claims::in_folder(folder)?)?)
        }
        _ => None,
    };
    let report = Report { runs, claims, public_data: args.public_data };
    create_folder(&args.output)?;
    let mut written = Vec::new();
    for form in &args.format {
        written.extend(report.write(form.form(), &args.output)?);
    }
    let names: Vec<String> = written.iter().map(|path| path.display().to_string()).collect();
    printer.result(&json!({ "written": names }), || names.join("\n"))?;
    if args.format.contains(&ReportForm::Hub) && !args.public_data {
        printer.note(
            "note: no .eval_results, whose entries must be on public data sets\nhint: add --public-data if the tasks' data \
             is that of the data sets of their names",
        );
    }
    Ok(ExitStatus::Success)
}

impl ReportForm {
    fn form(self) -> Form {
        match self {
            Self::Md => Form::Markdown,
            Self::Html => Form::Html,
            Self::Csv => Form::Csv,
            Self::Tex => Form::Latex,
            Self::Json => Form::Json,
            Self::Parquet => Form::Parquet,
            Self::Hub => Form::Hub,
        }
    }
}
