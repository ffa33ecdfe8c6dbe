//! `b158 compare`.

mod kl;

use std::path::Path;

use anyhow::{Result, bail};
use b158_eval::{CompareOptions, Margins, ModelResults, SuiteResults, Verdict, compare, table};
use b158_kernels::Isa;

use crate::{ExitStatus, cli::CompareArgs, printer::Printer};

pub fn run(args: &CompareArgs, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    if let Some(text) = &args.kl {
        return kl::run(args, text, isa, printer);
    }
    let (baseline, margins) = read(&args.base)?;
    let (candidate, _) = read(&args.candidate)?;
    let margins = Margins {
        perplexity_ratio: args.perplexity_ratio.unwrap_or(margins.perplexity_ratio),
        accuracy: args.accuracy.unwrap_or(margins.accuracy),
    };
    let options = CompareOptions { margins, ..CompareOptions::default() };
    let parity = compare(&baseline, &candidate, &options)?;
    printer.result(&parity, || table::parity_table(&parity))?;
    let holds = match args.require {
        None => true,
        Some(crate::cli::Required::Parity) => matches!(parity.verdict, Verdict::Parity | Verdict::Better),
    };
    Ok(if holds { ExitStatus::Success } else { ExitStatus::CheckFailed })
}

/// Reads `DIR` or `DIR:NAME`, and the margins of the suite that it came from.
fn read(argument: &str) -> Result<(ModelResults, Margins)> {
    let (folder, name) = match argument.rsplit_once(':') {
        // A folder whose own name has a colon is taken as it is.
        Some((folder, name)) if !Path::new(argument).is_dir() => (folder, Some(name)),
        _ => (argument, None),
    };
    let mut results = SuiteResults::read(Path::new(folder))?;
    let names = results.models.iter().map(|m| m.name.clone()).collect::<Vec<_>>().join(", ");
    let found = match name {
        Some(name) => results.models.iter().position(|m| m.name == name),
        None if results.models.len() == 1 => Some(0),
        None => {
            bail!("{folder}: results of several models\nhint: add one of their names after a colon: {names}")
        }
    };
    match found {
        Some(index) => Ok((results.models.swap_remove(index), results.margins)),
        None => bail!("{folder}: no results of `{}`\nhint: it has {names}", name.unwrap_or_default()),
    }
}
