//! `b158 data verify`.

use anyhow::{Result, bail};
use b158_datasets::{
    Catalogue,
    catalogue::Entry,
    verify::{Report, verify},
};
use serde::Serialize;

use super::found::{self, find, places, sources};
use crate::{ExitStatus, cli::DataVerifyArgs, printer::Printer, progress};

#[derive(Serialize)]
struct Output {
    /// Whether everything is as it should be.
    ok: bool,
    checked: Vec<Checked>,
}

#[derive(Serialize)]
struct Checked {
    name: String,
    split: String,
    ok: bool,
    #[serde(flatten)]
    report: Report,
}

pub fn run(args: &DataVerifyArgs, printer: &Printer) -> Result<ExitStatus> {
    let sources = sources(args.folder.data.as_deref());
    let wanted: Vec<&Entry> = match &args.names[..] {
        [] => Catalogue::embedded().datasets.iter().collect(),
        names => names.iter().map(|name| found::entry(name)).collect::<Result<_>>()?,
    };
    let mut found = Vec::new();
    for entry in wanted {
        let splits = find(entry, &sources);
        // Nothing at hand is nothing wrong only where nothing was asked for.
        if splits.is_empty() && !args.names.is_empty() {
            bail!(
                "'{}' is not in {}\nhint: `b158 data fetch {0}` gets it, or says how",
                entry.name,
                places(&sources)
            );
        }
        found.extend(splits.into_iter().map(|split| (entry, split)));
    }
    if found.is_empty() {
        let hint = "name a folder with --data, or fetch data with `b158 data fetch NAME`";
        bail!("no data in {}\nhint: {hint}", places(&sources));
    }
    let bar = progress::bar("verify", found.len() as u64);
    let mut checked = Vec::with_capacity(found.len());
    for (entry, found) in found {
        let report = verify(entry, &found.splits, &found.files);
        let ok = report.problems.is_empty();
        checked.push(Checked { name: entry.name.clone(), split: found.splits(), ok, report });
        bar.inc(1);
    }
    bar.finish_and_clear();
    let output = Output { ok: checked.iter().all(|checked| checked.ok), checked };
    printer.result(&output, || text(&output))?;
    Ok(if output.ok { ExitStatus::Success } else { ExitStatus::CheckFailed })
}

/// A line for each split, then what is wrong with it.
fn text(output: &Output) -> String {
    let mut out = String::new();
    for Checked { name, split, ok, report } in &output.checked {
        let mut known = vec!["columns"];
        if report.files.iter().all(|file| file.checked) && !report.files.is_empty() {
            known.push("checksum");
        }
        if report.rows_known {
            known.push("rows");
        }
        if report.content_known {
            known.push("content");
        }
        let verdict = if *ok { format!("ok ({})", known.join(", ")) } else { "DIFFERS".to_owned() };
        let digest = report.content.get(..16).unwrap_or("-");
        out +=
            &format!("{:<34} {:>8} rows  {digest:<16}  {verdict}\n", format!("{name} {split}"), report.rows);
        let problems = report.problems.iter().map(|problem| problem.replace('\n', "\n  "));
        let notes = report.notes.iter().map(|note| format!("note: {note}"));
        out.extend(problems.chain(notes).map(|line| format!("  {line}\n")));
    }
    let wrong = output.checked.iter().filter(|checked| !checked.ok).count();
    out + &format!("\n{} checked, {wrong} differ\n", output.checked.len())
}
