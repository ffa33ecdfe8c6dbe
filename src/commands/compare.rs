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
    let (baseline, fixed) = read(&args.base)?;
    let (candidate, other) = read(&args.candidate)?;
    let margins = Margins {
        perplexity_ratio: args.perplexity_ratio.unwrap_or(fixed.perplexity_ratio),
        accuracy: args.accuracy.unwrap_or(fixed.accuracy),
    };
    // Whoever reads the verdict has to know that the evaluation was under others.
    for margins_of in [fixed, other] {
        if margins != margins_of {
            printer.note(&format!(
                "note: these margins were not fixed before the evaluation, whose suite has a perplexity ratio of {} and an \
                 accuracy of {}",
                margins_of.perplexity_ratio, margins_of.accuracy
            ));
            break;
        }
    }
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
