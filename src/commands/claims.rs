//! `b158 claims`.

use std::path::Path;

use anyhow::{Context, Result, anyhow};
use b158_eval::{
    claims::{Claims, Evidence, Ledger},
    report::Run,
};
use b158_runner::bench::Measured;

use crate::{ExitStatus, cli::ClaimsArgs, printer::Printer};

/// The file of claims, carried inside the command.
const CLAIMS: (&str, &str) = ("ci/claims.yaml", include_str!("../../ci/claims.yaml"));

/// Files in a results folder that `bench --shape NAME --json` printed.
const BENCH_FOLDER: &str = "bench";

pub fn run(args: &ClaimsArgs, printer: &Printer) -> Result<ExitStatus> {
    let run = Run::read(&args.folder, args.baseline.as_deref())?;
    let mut shapes = in_folder(&args.folder)?;
    for file in &args.bench {
        shapes.push(read(file)?);
    }
    let ledger = match &args.claims {
        None => ledger(&run, &shapes)?,
        Some(file) => {
            let text = std::fs::read_to_string(file)
                .map_err(|e| anyhow!("{}: cannot read: {e}\nhint: check the name", file.display()))?;
            let claims = Claims::parse(&file.display().to_string(), &text)?;
            Ledger::new(&claims, &Evidence { run: &run, shapes: &shapes })
        }
    };
    printer.result(&ledger, || ledger.sheet().markdown())?;
    Ok(ExitStatus::Success)
}

/// The embedded claims, tested.
pub fn ledger(run: &Run, shapes: &[Measured]) -> Result<Ledger> {
    let claims = Claims::parse(CLAIMS.0, CLAIMS.1)?;
    Ok(Ledger::new(&claims, &Evidence { run, shapes }))
}

/// Measurements of shapes beside results, in the order of their names.
pub fn in_folder(folder: &Path) -> Result<Vec<Measured>> {
    let folder = folder.join(BENCH_FOLDER);
    if !folder.is_dir() {
        return Ok(Vec::new());
    }
    let cannot = || format!("{}: cannot read the folder", folder.display());
    let mut files = Vec::new();
    for entry in std::fs::read_dir(&folder).with_context(cannot)? {
        let path = entry.with_context(cannot)?.path();
        if path.extension().is_some_and(|extension| extension == "json") {
            files.push(path);
        }
    }
    files.sort();
    files.iter().map(|file| read(file)).collect()
}

fn read(file: &Path) -> Result<Measured> {
    let hint = "give what `b158 bench --shape NAME --json` printed";
    let text = std::fs::read_to_string(file)
        .map_err(|e| anyhow!("{}: cannot read: {e}\nhint: {hint}", file.display()))?;
    serde_json::from_str(&text).map_err(|e| anyhow!("{}: no measurement: {e}\nhint: {hint}", file.display()))
}
