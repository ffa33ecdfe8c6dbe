//! `b158 data fetch`: files of the catalogue from the Hub into its local cache, or how to get them by hand.

use anyhow::{Result, bail};
use b158_datasets::catalogue::{Entry, Split};

use super::found::{entry, splits};
use crate::{ExitStatus, cli::DataFetchArgs, printer::Printer};

pub fn run(args: &DataFetchArgs, printer: &Printer) -> Result<ExitStatus> {
    let entry = entry(&args.name)?;
    let splits = splits(entry, args.split.as_deref())?;
    let by_hand = by_hand(entry, &splits);
    if is_offline() {
        bail!("HF_HUB_OFFLINE forbids the network\nhint: unset it, or {by_hand}");
    }
    fetch(entry, &splits, &by_hand, printer)
}

/// As `huggingface_hub` reads the variable.
fn is_offline() -> bool {
    let value = std::env::var("HF_HUB_OFFLINE").unwrap_or_default();
    matches!(value.to_ascii_uppercase().as_str(), "1" | "ON" | "YES" | "TRUE")
}

/// Which files to put where.
fn by_hand(entry: &Entry, splits: &[(&str, &Split)]) -> String {
    let revision =
        entry.revision.as_ref().map(|revision| format!(" at revision {revision}")).unwrap_or_default();
    let mut out = format!("put these files of the dataset {}{revision} into a folder for --data:", entry.hub);
    for (name, split) in splits {
        for file in &split.files {
            let extension =
                file.rsplit_once('/').map_or(&file[..], |(_, last)| last).split_once('.').map(|(_, e)| e);
            let target = match (&split.files[..], file.contains('*'), extension) {
                ([_], false, Some(extension)) => {
                    let extension = if extension.ends_with("json.gz") { "jsonl.gz" } else { extension };
                    format!("{}-{name}.{extension}", entry.name)
                }
                // Several files keep the Hub's paths.
                _ => format!("{}/{file}", entry.hub),
            };
            out += &format!("\n  {file} as {target}");
        }
    }
    out
}

#[cfg(not(feature = "hub"))]
fn fetch(_: &Entry, _: &[(&str, &Split)], by_hand: &str, _: &Printer) -> Result<ExitStatus> {
    bail!("this b158 was built without the feature `hub`\nhint: build it with `--features hub`, or {by_hand}")
}

#[cfg(feature = "hub")]
fn fetch(entry: &Entry, splits: &[(&str, &Split)], by_hand: &str, printer: &Printer) -> Result<ExitStatus> {
    use std::io::IsTerminal;
    use std::path::PathBuf;

    use b158_datasets::hub;
    use hf_hub::{
        Repo, RepoType,
        api::sync::{ApiBuilder, ApiError},
    };
    use serde::Serialize;

    #[derive(Serialize)]
    struct Output<'a> {
        name: &'a str,
        files: Vec<PathBuf>,
    }

    let cannot = |error: ApiError| {
        anyhow::anyhow!("cannot fetch '{}': {error}\nhint: look at the network, or {by_hand}", entry.name)
    };
    let mut builder = ApiBuilder::from_env().with_progress(std::io::stderr().is_terminal());
    if let Some(cache) = hub::cache() {
        builder = builder.with_cache_dir(cache);
    }
    let revision = entry.revision.clone().unwrap_or_else(|| "main".to_owned());
    let repository = Repo::with_revision(entry.hub.clone(), RepoType::Dataset, revision);
    let repository = builder.build().map_err(cannot)?.repo(repository);
    let listed = repository.info().map_err(cannot)?.siblings;
    let mut files = Vec::new();
    for (name, split) in splits {
        for pattern in &split.files {
            let before = files.len();
            for file in listed.iter().filter(|file| hub::is_match(pattern, &file.rfilename)) {
                files.push(repository.get(&file.rfilename).map_err(cannot)?);
            }
            if files.len() == before {
                bail!("{} has no {pattern} any more (split '{name}')", entry.hub);
            }
        }
    }
    let output = Output { name: &entry.name, files };
    printer.result(&output, || output.files.iter().map(|path| format!("{}\n", path.display())).collect())?;
    Ok(ExitStatus::Success)
}
