//! `measurements.json` beside `results.json`: what a job knew and measured of its models that is no evaluation.
//!
//! ```text
//!   {"notice": TEXT or null,
//!    "models": {MODEL: {"variant": "b1.58", "size": "0.6M", "role": "candidate", "format": "q2_0",
//!                       "source": PATH as the suite has it, "measured": what `b158 bench --json` prints}}}
//! ```
//!
//! `results.json` depends on models and data alone; what depends on the machine is here.

use std::path::Path;

use b158_checkpoint::{OutputError, write_file};
use b158_runner::bench::Measured;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

use crate::Error;
use crate::suite::Role;

/// Name of the file in a results folder.
pub const MEASUREMENTS_FILE: &str = "measurements.json";

/// The content of the file.
#[derive(Debug, Clone, Default, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Measurements {
    /// What has to be known about the models.
    pub notice: Option<String>,
    /// [`Known`] by the model's name in results, in the suite's order.
    pub models: Map<String, Value>,
}

/// What is known of a model.
#[derive(Debug, Clone, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Known {
    /// Its name among the models of its size.
    pub variant: String,
    /// The size that it shares with its twins.
    pub size: Option<String>,
    /// What it is in comparisons.
    pub role: Role,
    /// The format that it was evaluated in.
    pub format: String,
    /// Where it came from, as the suite has it.
    pub source: String,
    /// Size and speed, as `bench` measured them.
    pub measured: Option<Measured>,
}

impl Measurements {
    /// Of these models, named as in results.
    pub fn new(notice: Option<String>, models: impl IntoIterator<Item = (String, Known)>) -> Self {
        let entry = |(name, known)| {
            (name, serde_json::to_value::<Known>(known).expect("a structure of plain values"))
        };
        Self { notice, models: models.into_iter().map(entry).collect() }
    }

    /// Writes the file.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn write(&self, folder: &Path) -> Result<(), Error> {
        let json = serde_json::to_string_pretty(self).expect("a structure of plain values");
        Ok(write_file(&folder.join(MEASUREMENTS_FILE), format!("{json}\n").as_bytes())?)
    }

    /// Removes the file of an earlier run, which was of other models, maybe of the same names.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn remove(folder: &Path) -> Result<(), Error> {
        let file = folder.join(MEASUREMENTS_FILE);
        match std::fs::remove_file(&file) {
            Err(source) if source.kind() != std::io::ErrorKind::NotFound => {
                Err(OutputError { file, source }.into())
            }
            _ => Ok(()),
        }
    }

    /// Reads the file; none where there is none.
    ///
    /// # Errors
    /// [`Error::Read`], and [`Error::Config`] for a file that is not what [`Self::write`] makes.
    pub fn read(folder: &Path) -> Result<Option<Self>, Error> {
        let path = folder.join(MEASUREMENTS_FILE);
        let text = match std::fs::read_to_string(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => return Ok(None),
            Err(source) => return Err(Error::Read { path, source }),
            Ok(text) => text,
        };
        let bad = |message: String| Error::Config {
            file: path.display().to_string(),
            message,
            hint: "run `b158 reproduce` again, or remove the file to report without measurements".into(),
        };
        let read: Self =
            serde_json::from_str(&text).map_err(|e| bad(format!("not a measurements file: {e}")))?;
        for (name, value) in &read.models {
            Known::deserialize(value).map_err(|e| bad(format!("model '{name}': {e}")))?;
        }
        Ok(Some(read))
    }

    /// What is known of a model.
    pub fn model(&self, name: &str) -> Option<Known> {
        Known::deserialize(self.models.get(name)?).ok()
    }
}
