//! What a batch did: `manifest.json` in its output folder; of a part of it, `manifest.PART.part.json`.

use std::path::{Path, PathBuf};

use b158_checkpoint::write_file;
use serde::{Deserialize, Serialize};

use super::small_file;
use crate::{Error, Report};

/// The longest manifest that is read.
const MAX_BYTES: u64 = 64 << 20;

/// What a batch did, or has done so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of b158 that wrote it.
    pub version: String,
    /// One entry for each job, in the order of the job file.
    pub jobs: Vec<Entry>,
    /// Other outputs in the folder: of other job files, and of jobs that the file does not list any more.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub others: Vec<Entry>,
}

/// One job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The checkpoint: relative to the job file where it is below that, else absolute; or `org/name` in the
    /// cache of the Hugging Face Hub.
    pub source: String,
    /// The output's name in the manifest's folder.
    pub output: String,
    /// What was asked for, as on the command line.
    pub options: String,
    /// How far it is.
    pub status: Status,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The version of b158 that made the output.
    #[serde(default)]
    pub version: String,
    /// SHA-256 of the lines `SHA-256 NAME` of the source's files beside its weights: config, generation
    /// config, tokenizer. (That of the weights is in the report.)
    #[serde(default)]
    pub text_sha256: String,
    /// Every file of the output, in order of names.
    #[serde(default)]
    pub files: Vec<OutputEntry>,
    /// What the conversion did.
    #[serde(default)]
    pub report: Option<Report>,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Not begun, or interrupted.
    Pending,
    /// The output is there.
    Done,
    /// It failed. What was under the output's name before, an output of an earlier run, is still there.
    Failed,
}

/// One written file.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct OutputEntry {
    /// Its path in the manifest's folder.
    pub name: PathBuf,
    /// Its length.
    pub bytes: u64,
    /// Its SHA-256 in hexadecimal.
    pub sha256: String,
}

impl Manifest {
    /// The manifest in that folder, if there is one.
    ///
    /// # Errors
    /// It cannot be read, or it is none.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        Self::read_of(folder, None)
    }

    /// Likewise; that of a part, if it is named.
    pub(super) fn read_of(folder: &Path, part: Option<&str>) -> Result<Option<Self>, Error> {
        let file = Self::path_of(folder, part);
        let text = match small_file::read_text(&file, MAX_BYTES) {
            Ok(text) => text,
            Err(Error::Read { source, .. }) if source.kind() == std::io::ErrorKind::NotFound => {
                return Ok(None);
            }
            Err(error) => return Err(error),
        };
        serde_json::from_str(&text).map(Some).map_err(|e| Error::Jobs {
            file,
            reason: format!("it is no manifest: {e}"),
            hint: "remove it; without it every job runs anew".to_owned(),
        })
    }

    /// Every entry.
    pub(super) fn entries(&self) -> impl Iterator<Item = &Entry> {
        self.jobs.iter().chain(&self.others)
    }

    /// Where a folder's manifest is.
    pub fn path(folder: &Path) -> PathBuf {
        Self::path_of(folder, None)
    }

    /// Likewise; that of a part, if it is named.
    pub fn path_of(folder: &Path, part: Option<&str>) -> PathBuf {
        folder.join(match part {
            Some(part) => format!("{PREFIX}{part}{SUFFIX}"),
            None => "manifest.json".to_owned(),
        })
    }

    /// Whether a file of that name would be a manifest.
    pub(super) fn is_name(name: &str) -> bool {
        name == "manifest.json" || part_of(name).is_some()
    }

    /// Names of the parts that have a manifest in that folder, sorted. Without the folder there are none.
    ///
    /// # Errors
    /// The folder cannot be read.
    pub fn parts(folder: &Path) -> Result<Vec<String>, Error> {
        let error = |source| Error::Read { file: folder.to_owned(), source };
        let entries = match folder.read_dir() {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(Vec::new()),
            entries => entries.map_err(error)?,
        };
        let mut parts = Vec::new();
        for entry in entries {
            let name = entry.map_err(error)?.file_name();
            parts.extend(name.to_str().and_then(part_of).map(str::to_owned));
        }
        parts.sort();
        Ok(parts)
    }

    pub(super) fn write(&self, folder: &Path, part: Option<&str>) -> Result<(), Error> {
        let mut text = serde_json::to_string_pretty(self).expect("plain data");
        text.push('\n');
        Ok(write_file(&Self::path_of(folder, part), text.as_bytes())?)
    }
}

const PREFIX: &str = "manifest.";
const SUFFIX: &str = ".part.json";

/// The part that a manifest of that name is of.
fn part_of(name: &str) -> Option<&str> {
    name.strip_prefix(PREFIX)?.strip_suffix(SUFFIX).filter(|part| !part.is_empty())
}
