//! `b158 data list`.

use std::path::PathBuf;

use anyhow::Result;
use b158_datasets::{Catalogue, catalogue::Entry};
use serde::Serialize;

use super::found::{Found, find, folders, sources};
use crate::{ExitStatus, cli::DataFolderArgs, printer::Printer};

#[derive(Serialize)]
struct Output<'a> {
    searched: Vec<String>,
    datasets: Vec<Dataset<'a>>,
}

#[derive(Serialize)]
struct Dataset<'a> {
    name: &'a str,
    title: &'a str,
    hub: &'a str,
    config: Option<&'a str>,
    revision: Option<&'a str>,
    licence: &'a str,
    citation: &'a str,
    splits: Vec<Split<'a>>,
}

#[derive(Serialize)]
struct Split<'a> {
    name: &'a str,
    /// Published rows.
    rows: Option<usize>,
    /// Paths on the Hub.
    files: &'a [String],
    /// Paths here; empty if the split is not at hand.
    found: Vec<PathBuf>,
}

pub fn run(args: &DataFolderArgs, printer: &Printer) -> Result<ExitStatus> {
    let sources = sources(args.data.as_deref());
    let found: Vec<(&Entry, Vec<Found>)> =
        Catalogue::embedded().datasets.iter().map(|entry| (entry, find(entry, &sources))).collect();
    let searched = folders(&sources);
    let datasets = found.iter().map(|(entry, found)| dataset(entry, found)).collect();
    printer.result(&Output { searched: searched.clone(), datasets }, || text(&found, &searched))?;
    Ok(ExitStatus::Success)
}

fn dataset<'a>(entry: &'a Entry, found: &[Found]) -> Dataset<'a> {
    let files_of = |name: &str| {
        let files = found.iter().find(|found| found.splits.iter().any(|(split, _)| *split == name));
        files.map(|found| found.files.clone()).unwrap_or_default()
    };
    let splits = entry.splits.iter();
    let splits = splits.map(|(name, s)| Split { name, rows: s.rows, files: &s.files, found: files_of(name) });
    Dataset {
        name: &entry.name,
        title: &entry.title,
        hub: &entry.hub,
        config: entry.config.as_deref(),
        revision: entry.revision.as_deref(),
        licence: &entry.licence,
        citation: &entry.citation,
        splits: splits.collect(),
    }
}

/// A line for each dataset, and one for each split of it that is at hand.
fn text(all: &[(&Entry, Vec<Found>)], searched: &[String]) -> String {
    let mut out = String::new();
    let mut line = |name: &str, hub: &str, licence: &str, splits: &str| {
        out += format!("{name:<17} {hub:<53} {licence:<30} {splits}").trim_end();
        out.push('\n');
    };
    line("name", "Hub", "licence", "splits");
    let mut count = 0;
    for (entry, found) in all {
        let config = entry.config.as_ref().map(|config| format!(", {config}")).unwrap_or_default();
        let splits: Vec<&str> = entry.splits.iter().map(|(name, _)| name).collect();
        // The longest terms of use do not fit; --json has them.
        let licence = entry.licence.split([',', '(']).next().unwrap_or_default().trim();
        line(&entry.name, &format!("{}{config}", entry.hub), licence, &splits.join(", "));
        for found in found {
            count += 1;
            let more = if found.files.len() > 1 {
                format!(" and {} more", found.files.len() - 1)
            } else {
                String::new()
            };
            line("", &format!("  {}: {}{more}", found.splits(), found.files[0].display()), "", "");
        }
    }
    out + &format!("\nat hand: {count}, in {}\n", searched.join(" and "))
}
