//! Whether files are what the catalogue says: checksums, columns, number of rows, content.
//!
//! ```text
//!   SHA-256 of a file     against SHA256SUMS beside it (as `sha256sum` writes it), and against the Hub's own cache
//!   every row             against the columns of the catalogue
//!   rows, content         against the catalogue, where it knows them
//! ```
//!
//! The digest of the content does not depend on the container: SHA-256 of one line for each row, a JSON object of the
//! catalogue's columns alone, in their order, without blanks. JSON Lines and Parquet of the same rows have the same.

use std::collections::HashMap;
use std::path::{Path, PathBuf};

use serde::Serialize;
use serde_json::{Map, Value};
use sha2::{Digest, Sha256};

use crate::catalogue::{Entry, Split};
use crate::schema::{Columns, Kind};
use crate::table::sha256;
use crate::{hub, layout, read};

/// The file of checksums that may lie beside data.
pub const SUMS: &str = "SHA256SUMS";
/// Columns that tell a row from others.
const IDS: [&str; 3] = ["id", "ind", "idx"];
/// So many rows are named before the rest is only counted.
const NAMED: usize = 3;

/// What was found out about the files of a split.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize)]
pub struct Report {
    /// Every file that was read.
    pub files: Vec<File>,
    /// Number of rows; 0 if they could not be read.
    pub rows: usize,
    /// [`content_digest`] of the rows; empty if they could not be read.
    pub content: String,
    /// Whether the catalogue knows the number of rows.
    pub rows_known: bool,
    /// Whether the catalogue knows the content.
    pub content_known: bool,
    /// What is not as it should be.
    pub problems: Vec<String>,
    /// What is unusual, but not wrong: rows that occur twice, or came in another form.
    pub notes: Vec<String>,
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct File {
    /// Where it is.
    pub path: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its checksum.
    pub sha256: String,
    /// Whether a checksum to compare with was found.
    pub checked: bool,
}

/// Checks the files of a split of a dataset. A file whose name does not say its split is of one of several.
pub fn verify(entry: &Entry, splits: &[(&str, &Split)], files: &[PathBuf]) -> Report {
    let mut report = Report::default();
    for path in files {
        check_file(path, &mut report);
    }
    let origin = files.first().map(|path| path.display().to_string()).unwrap_or_default();
    let rows = read::all(files).and_then(|rows| {
        report.notes.extend(layout::of(entry, &rows).map(|layout| layout.remark().to_owned()));
        layout::normalize(entry, &origin, rows)
    });
    let rows = match rows {
        Ok(rows) => rows,
        Err(error) => {
            report.problems.push(error.to_string());
            return report;
        }
    };
    report.rows = rows.len();
    report.content = content_digest(entry, &rows);
    check_columns(entry, &rows, &mut report);
    check_published(splits, &mut report);
    report.notes.extend(repeated(entry, &rows));
    report
}

/// Rows and content have to be those of one of the splits, as far as they are known.
fn check_published(splits: &[(&str, &Split)], report: &mut Report) {
    let rows = report.rows;
    let counts = splits.iter().filter_map(|(name, split)| Some(format!("{} ({name})", split.rows?)));
    let counts: Vec<String> = counts.collect();
    let mut fitting = splits.iter().filter(|(_, split)| split.rows.is_none_or(|n| n == rows)).peekable();
    if fitting.peek().is_none() {
        return report.problems.push(format!("{rows} rows, published are {}", counts.join(", ")));
    }
    let fitting: Vec<&Split> = fitting.map(|(_, split)| *split).collect();
    report.rows_known = fitting.iter().all(|split| split.rows.is_some());
    let digests: Option<Vec<&str>> = fitting.iter().map(|split| split.content.as_deref()).collect();
    let Some(digests) = digests else { return };
    report.content_known = true;
    if !digests.contains(&report.content.as_str()) {
        let (found, published) = (&report.content, digests.join(", "));
        report.problems.push(format!("the content has the digest {found}, the published text {published}"));
    }
}

fn check_file(path: &Path, report: &mut Report) {
    let bytes = match std::fs::read(path) {
        Ok(bytes) => bytes,
        Err(error) => return report.problems.push(format!("cannot read {}: {error}", path.display())),
    };
    let found = sha256(&bytes);
    let mut checked = false;
    for (expected, place) in
        [(summed(path, &mut report.problems), SUMS), (hub::recorded_sha256(path), "the cache")]
    {
        let Some(expected) = expected else { continue };
        checked = true;
        if expected != found {
            let path = path.display();
            report.problems.push(format!("{path} has the SHA-256 {found}, {place} says {expected}"));
        }
    }
    report.files.push(File { path: path.to_path_buf(), bytes: bytes.len() as u64, sha256: found, checked });
}

/// The checksum that `SHA256SUMS` beside a file gives it.
fn summed(path: &Path, problems: &mut Vec<String>) -> Option<String> {
    let (folder, name) = (path.parent()?, path.file_name()?.to_str()?);
    let sums = folder.join(SUMS);
    let text = match std::fs::read_to_string(&sums) {
        Ok(text) => text,
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => return None,
        Err(error) => {
            problems.push(format!("cannot read {}: {error}", sums.display()));
            return None;
        }
    };
    // `<digest>  <name>`, or `<digest> *<name>` of a binary file.
    let line = text.lines().find_map(|line| {
        let (digest, file) = line.split_once(' ')?;
        (file.trim_start_matches([' ', '*']) == name).then(|| digest.to_ascii_lowercase())
    });
    line.filter(|digest| {
        let fine = digest.len() == 64 && digest.bytes().all(|b| b.is_ascii_hexdigit());
        if !fine {
            problems.push(format!("{}: '{digest}' is no SHA-256", sums.display()));
        }
        fine
    })
}

fn check_columns(entry: &Entry, rows: &[Value], report: &mut Report) {
    let misfit = |row: &Value| match row {
        Value::Object(row) => entry.columns.misfit(row).or_else(|| optional_misfit(entry, row)),
        _ => Some("it is no object".to_owned()),
    };
    let mut misfits = rows.iter().enumerate().filter_map(|(i, row)| Some((i, misfit(row)?)));
    for (i, message) in misfits.by_ref().take(NAMED) {
        report.problems.push(format!("row {}: {message}", i + 1));
    }
    let rest = misfits.count();
    if rest > 0 {
        report.problems.push(format!("and so on, {} rows in all", NAMED + rest));
    }
}

/// Optional columns may be missing or null, not of another type.
fn optional_misfit(entry: &Entry, row: &Map<String, Value>) -> Option<String> {
    let mut present = entry.optional.clone();
    present.0.retain(|(name, _)| row.get(name).is_some_and(|value| !value.is_null()));
    present.misfit(row)
}

/// SHA-256, in lower-case hexadecimal, of the rows' catalogued columns.
pub fn content_digest(entry: &Entry, rows: &[Value]) -> String {
    let mut hasher = Sha256::new();
    for row in rows {
        hasher.update(line(entry, row));
        hasher.update(b"\n");
    }
    hasher.finalize().iter().map(|byte| format!("{byte:02x}")).collect()
}

/// A row's catalogued columns as JSON.
fn line(entry: &Entry, row: &Value) -> String {
    catalogued(&entry.columns, row).to_string()
}

/// The keys of an object that are columns, in the columns' order, at every depth.
fn catalogued(columns: &Columns, object: &Value) -> Value {
    let column = |(name, kind): &(String, Kind)| {
        let value = object.get(name).unwrap_or(&Value::Null);
        let value = match kind {
            Kind::Object(inner) if value.is_object() => catalogued(inner, value),
            _ => value.clone(),
        };
        (name.clone(), value)
    };
    columns.0.iter().map(column).collect::<Map<_, _>>().into()
}

/// Ids and rows that occur more than once. lm-evaluation-harness scores each of them, and so does b158, but for a column
/// `id` that does not tell rows apart: an evaluation refuses it.
fn repeated(entry: &Entry, rows: &[Value]) -> Vec<String> {
    let id = IDS.into_iter().find(|id| entry.optional.names().any(|name| name == *id));
    let mut notes = Vec::new();
    if let Some(id) = id {
        let ids = rows.iter().filter_map(|row| row.get(id)).filter(|id| !id.is_null()).map(Value::to_string);
        notes.extend(twice(ids).map(|(n, first)| format!("repeated values of '{id}': {first} ({n} in all)")));
    }
    let lines = rows.iter().map(|row| line(entry, row));
    notes.extend(twice(lines).map(|(n, _)| format!("repeated rows: {n}")));
    notes
}

/// How many different texts occur more than once, and the first few of them.
fn twice(texts: impl Iterator<Item = String>) -> Option<(usize, String)> {
    let mut seen: HashMap<[u8; 32], usize> = HashMap::new();
    let mut repeated = Vec::new();
    let mut count = 0;
    for text in texts {
        let times = seen.entry(Sha256::digest(text.as_bytes()).into()).or_default();
        *times += 1;
        if *times == 2 {
            count += 1;
            if repeated.len() < NAMED {
                repeated.push(text);
            }
        }
    }
    (count > 0).then(|| (count, repeated.join(", ") + if count > NAMED { ", ..." } else { "" }))
}

#[cfg(test)]
mod tests;
