//! What a batch did: `manifest.json` in its output folder.

use std::path::{Path, PathBuf};

use b158_checkpoint::write_file;
use serde::{Deserialize, Serialize};

use crate::{Error, Report, Verified};

/// What a batch did, or has done so far.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize)]
pub struct Manifest {
    /// The version of b158 that wrote it.
    pub version: String,
    /// One entry for each job, in the order of the job file.
    pub jobs: Vec<Entry>,
}

/// One job.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize)]
pub struct Entry {
    /// The checkpoint.
    pub source: PathBuf,
    /// The output's name in the manifest's folder.
    pub output: String,
    /// What was asked for, as on the command line.
    pub options: String,
    /// How far it is.
    pub status: Status,
    /// Why it failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The output's weight files.
    #[serde(default)]
    pub files: Vec<OutputEntry>,
    /// What the conversion did.
    #[serde(default)]
    pub report: Option<Report>,
    /// What the proof compared.
    #[serde(default)]
    pub verified: Option<Verified>,
}

/// How far a job is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Status {
    /// Not begun, or interrupted.
    Pending,
    /// The output is there.
    Done,
    /// It failed; nothing is there.
    Failed,
}

/// One written weight file.
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
        let text = match std::fs::read_to_string(&file) {
            Ok(text) => text,
            Err(error) if error.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { file, source }),
        };
        serde_json::from_str(&text).map(Some).map_err(|e| Error::Jobs {
            file,
            reason: format!("it is no manifest: {e}"),
            hint: "remove it; without it every job runs anew",
        })
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
