//! What a batch did: `manifest.json` in its output folder.

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
        let file = Self::path(folder);
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
        folder.join("manifest.json")
    }

    pub(super) fn write(&self, folder: &Path) -> Result<(), Error> {
        let mut text = serde_json::to_string_pretty(self).expect("plain data");
        text.push('\n');
        Ok(write_file(&Self::path(folder), text.as_bytes())?)
    }
}
