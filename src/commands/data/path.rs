//! `b158 data path`.

use std::path::PathBuf;

use anyhow::{Result, bail};
use serde::Serialize;

use super::found::{entry, find, places, sources, splits};
use crate::{ExitStatus, cli::DataPathArgs, printer::Printer};

#[derive(Serialize)]
struct Output<'a> {
    name: &'a str,
    files: Vec<PathBuf>,
}

pub fn run(args: &DataPathArgs, printer: &Printer) -> Result<ExitStatus> {
    let entry = entry(&args.name)?;
    let wanted = splits(entry, args.split.as_deref())?;
    let sources = sources(args.folder.data.as_deref());
    let is_wanted = |name: &str| wanted.iter().any(|(other, _)| *other == name);
    let found = find(entry, &sources);
    let found = found.into_iter().filter(|found| found.splits.iter().any(|(name, _)| is_wanted(name)));
    let files: Vec<PathBuf> = found.flat_map(|found| found.files).collect();
    if files.is_empty() {
        let name = &entry.name;
        let hint = format!("`b158 data fetch {name}` gets it, or says which files to put where");
        bail!("'{name}' is not in {}\nhint: {hint}", places(&sources));
    }
    let output = Output { name: &entry.name, files };
    printer.result(&output, || output.files.iter().map(|path| format!("{}\n", path.display())).collect())?;
    Ok(ExitStatus::Success)
}
