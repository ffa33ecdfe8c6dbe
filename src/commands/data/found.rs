//! Which splits of a dataset are at hand, in a folder or in the Hub's local cache.

use std::path::{Path, PathBuf};

use anyhow::Result;
use b158_datasets::{
    Catalogue, DataSource,
    catalogue::{Entry, Split},
    nearest::suggest,
};

/// Files that hold a split, or one of several where their name does not say.
pub struct Found<'a> {
    pub splits: Vec<(&'a str, &'a Split)>,
    pub files: Vec<PathBuf>,
}

impl Found<'_> {
    /// `test`, or `train/validation/test`.
    pub fn splits(&self) -> String {
        self.splits.iter().map(|(name, _)| *name).collect::<Vec<_>>().join("/")
    }
}

/// Where to look: the folder first, if there is one, and the Hub's cache.
pub fn sources(data: Option<&Path>) -> Vec<DataSource> {
    let mut sources = vec![DataSource::hub()];
    match DataSource::new(data) {
        folder @ DataSource::Folder(_) => sources.insert(0, folder),
        DataSource::Desk | DataSource::Hub(_) => {}
    }
    sources
}

/// The sources' folders.
pub fn folders(sources: &[DataSource]) -> Vec<String> {
    let folder = |source: &DataSource| match source {
        DataSource::Folder(path) | DataSource::Hub(path) => Some(path.display().to_string()),
        DataSource::Desk => None,
    };
    sources.iter().filter_map(folder).collect()
}

/// The sources' folders, for messages about what is not there.
pub fn places(sources: &[DataSource]) -> String {
    folders(sources).join(", nor in ")
}

/// The dataset of that name.
pub fn entry(name: &str) -> Result<&'static Entry> {
    let catalogue = Catalogue::embedded();
    catalogue.get(name).ok_or_else(|| {
        let hint = suggest(name, "datasets", &catalogue.names());
        anyhow::anyhow!("no dataset '{name}' in the catalogue\nhint: {hint}")
    })
}

/// The splits of a dataset, or the one that is asked for.
pub fn splits<'a>(entry: &'a Entry, wanted: Option<&str>) -> Result<Vec<(&'a str, &'a Split)>> {
    let all: Vec<(&str, &Split)> = entry.splits.iter().collect();
    let Some(wanted) = wanted else { return Ok(all) };
    let one: Vec<_> = all.iter().copied().filter(|(name, _)| *name == wanted).collect();
    if one.is_empty() {
        let names: Vec<&str> = all.iter().map(|(name, _)| *name).collect();
        let hint = suggest(wanted, "splits", &names);
        anyhow::bail!("'{}' has no split '{wanted}'\nhint: {hint}", entry.name);
    }
    Ok(one)
}

/// The splits of a dataset that are at hand.
pub fn find<'a>(entry: &'a Entry, sources: &[DataSource]) -> Vec<Found<'a>> {
    let mut found: Vec<Found> = Vec::new();
    for (name, split) in entry.splits.iter() {
        let Some(files) = sources.iter().find_map(|source| source.find(&entry.name, name).ok()) else {
            continue;
        };
        match found.iter_mut().find(|other| other.files == files) {
            Some(other) => other.splits.push((name, split)),
            None => found.push(Found { splits: vec![(name, split)], files }),
        }
    }
    found
}
