//! What can go wrong with data; every message names the file and, where there is one, the remedy.

use std::path::PathBuf;

/// A failure to find, read or write data.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A file could not be opened or read.
    #[error("cannot read {}: {source}\nhint: check the file and its permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A line of a JSONL file is not one JSON object.
    #[error("{file}, line {line}: {message}\nhint: a .jsonl file holds one JSON object per line")]
    Line {
        /// The file, or the name of the embedded data.
        file: String,
        /// Line number, from 1.
        line: usize,
        /// What is wrong with the line.
        message: String,
    },
    /// A file that does not hold rows as it should.
    #[error("{file}: {message}\nhint: {hint}")]
    Rows {
        /// The file.
        file: String,
        /// What is wrong.
        message: String,
        /// The remedy.
        hint: String,
    },
    /// A dataset without a single row.
    #[error("{file} has no rows\nhint: put at least one document there")]
    NoRows {
        /// The file.
        file: String,
    },
    /// The data folder lacks a dataset.
    #[error("no data for '{name}' (split '{split}') in {}\nhint: {hint}", dir.display())]
    NotFound {
        /// The dataset.
        name: String,
        /// Its split.
        split: String,
        /// The folder, or the Hub's cache, that was searched.
        dir: PathBuf,
        /// Which files would do.
        hint: String,
    },
    /// The Hub's cache was asked for what is not on the Hub.
    #[error("'{name}' has no split '{split}' in the catalogue\nhint: {hint}")]
    NotInCatalogue {
        /// The dataset.
        name: String,
        /// Its split.
        split: String,
        /// What there is.
        hint: String,
    },
    /// The catalogue contradicts itself.
    #[error("{place}: {message}")]
    Catalogue {
        /// The file and where in it.
        place: String,
        /// What is wrong.
        message: String,
    },
    /// Without a data folder only the desk's data is there.
    #[error(
        "no data for '{stem}': the desk makes only {made}\nhint: put {stem}-{split}.jsonl or {stem}.jsonl into a folder and pass it as --data"
    )]
    NotOfDesk {
        /// The dataset.
        stem: String,
        /// Its split.
        split: String,
        /// The names of the desk's tasks.
        made: String,
    },
    /// A dataset's or split's name is not a plain file name.
    #[error(
        "'{name}' is not a usable dataset name\nhint: use letters, digits, '_', '-' and '.', not starting with '.'"
    )]
    Name {
        /// The name.
        name: String,
    },
    /// A file is not the one that was written.
    #[error("{} is damaged: its checksum differs from the recorded one\nhint: make it again", path.display())]
    Checksum {
        /// The file.
        path: PathBuf,
    },
    /// A Parquet file could not be read as the table that was expected.
    #[error("{}: {message}\nhint: evaluate again", path.display())]
    Parquet {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
    },
}
