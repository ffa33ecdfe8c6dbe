//! Results folders: writing and reading.
//!
//! ```text
//!   DIR/results.json       see `results`, and "samples_sha256": SHA-256 of samples.parquet
//!   DIR/samples.parquet    one row per request: see `samples`
//!   DIR/samples.log/       what an unfinished evaluation goes on from: see `log`
//!   DIR/environment.json   machine, versions, time: see `environment`
//!   DIR/shard.json         in place of results.json in the folder of a shard: see `shard`
//! ```
//!
//! `results.json` is written last of the two: where it is, the folder is complete. Reading computes all metrics from
//! the samples again and checks the digests; the checksum comes first, so that no damaged Parquet file is ever parsed.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use b158_checkpoint::{OutputError, write_file};
use b158_datasets::table::sha256;
use serde::Deserialize;
use serde_json::{Map, Value, json};

use crate::compare::Margins;
use crate::environment::program;
use crate::results::{ModelResults, Settings, SuiteResults, TaskResults};
use crate::shard::{SHARD_FILE, Shard};
use crate::task::Task;
use crate::{Error, samples};

/// Name of the results file in a results folder.
pub const RESULTS_FILE: &str = "results.json";
/// Name of the samples file in a results folder.
pub const SAMPLES_FILE: &str = "samples.parquet";

/// What reading needs of `results.json` and of `shard.json`.
#[derive(Deserialize)]
struct ResultsFile {
    suite: String,
    margins: Margins,
    models: Map<String, Value>,
    suite_sha256: String,
    samples_sha256: String,
    #[serde(default)]
    shard: Option<Shard>,
    #[serde(default)]
    b158: String,
}

#[derive(Deserialize)]
struct ModelDocument {
    configs: Map<String, Value>,
    #[serde(rename = "n-samples")]
    n_samples: BTreeMap<String, SampleCount>,
    config: Settings,
    model_sha256: String,
    data_sha256: BTreeMap<String, String>,
    #[serde(default)]
    examples_sha256: BTreeMap<String, String>,
    digest: String,
}

#[derive(Deserialize)]
struct SampleCount {
    original: usize,
}

/// The results of a shard: documents are missing, so there are no metrics.
#[derive(Debug, Clone, PartialEq)]
pub struct ShardResults {
    /// Where they are from, for messages.
    pub folder: String,
    /// Version of the program that evaluated.
    pub b158: String,
    /// Which part.
    pub shard: Shard,
    /// The part's documents.
    pub results: SuiteResults,
}

impl SuiteResults {
    /// Writes `samples.parquet` and `results.json` into a folder, which is made if it is not there.
    ///
    /// # Errors
    /// [`Error::Output`] when a file cannot be written.
    pub fn write(&self, dir: &Path) -> Result<(), Error> {
        self.write_as(dir, RESULTS_FILE, self.to_json())
    }

    /// Writes `samples.parquet` and `shard.json`, likewise.
    ///
    /// # Errors
    /// [`Error::Output`] when a file cannot be written.
    pub fn write_shard(&self, dir: &Path, shard: Shard) -> Result<(), Error> {
        self.write_as(dir, SHARD_FILE, self.shard_json(shard))
    }

    /// The content of `shard.json`: that of `results.json` without metrics, which of a part would mislead.
    pub fn shard_json(&self, shard: Shard) -> Value {
        let mut models = Map::new();
        for model in &self.models {
            let mut document = model.json_without_metrics();
            document["digest"] = json!(model.digest());
            models.insert(model.name.clone(), document);
        }
        json!({
            "shard": shard,
            "b158": program(),
            "suite": self.suite,
            "margins": self.margins,
            "models": models,
            "suite_sha256": self.suite_sha256(),
        })
    }

    fn write_as(&self, dir: &Path, name: &str, mut json: Value) -> Result<(), Error> {
        let failed = |source| OutputError { file: dir.to_path_buf(), source };
        std::fs::create_dir_all(dir).map_err(failed)?;
        check_own(dir)?;
        // Old results must not stand beside new samples if this is interrupted.
        for old in [RESULTS_FILE, SHARD_FILE] {
            match std::fs::remove_file(dir.join(old)) {
                Err(e) if e.kind() != std::io::ErrorKind::NotFound => return Err(failed(e).into()),
                _ => {}
            }
        }
        let samples = samples::to_table(&self.models).to_parquet();
        json["samples_sha256"] = json!(sha256(&samples));
        write_file(&dir.join(SAMPLES_FILE), &samples)?;
        let text = format!("{json:#}\n");
        write_file(&dir.join(name), text.as_bytes())?;
        Ok(())
    }

    /// Reads a folder that [`Self::write`] made.
    ///
    /// # Errors
    /// [`Error::Read`] and [`Error::Data`] for files that cannot be read, [`Error::Config`] for files that are
    /// damaged or do not belong together, or for the folder of a shard.
    pub fn read(dir: &Path) -> Result<Self, Error> {
        let (file, part) = (dir.join(RESULTS_FILE), dir.join(SHARD_FILE));
        if !file.exists() && part.exists() {
            return Err(Error::Config {
                file: part.display().to_string(),
                message: "these are the results of a shard only".into(),
                hint: "join all shards with `b158 merge` first".into(),
            });
        }
        Ok(read(dir, RESULTS_FILE)?.1)
    }
}

impl ShardResults {
    /// The folders of shards that are meant by `dir`: itself, or, if it is none, those in it, in order of their names;
    /// and those in it whose evaluation has not finished.
    ///
    /// # Errors
    /// [`Error::Read`] if the folder cannot be read.
    pub fn folders(dir: &Path) -> Result<(Vec<PathBuf>, Vec<PathBuf>), Error> {
        let failed = |source| Error::Read { path: dir.to_path_buf(), source };
        let mut inside = Vec::new();
        if !dir.join(SHARD_FILE).exists() && dir.is_dir() {
            for entry in dir.read_dir().map_err(failed)? {
                let entry = entry.map_err(failed)?;
                let shard = entry.file_name().to_str().and_then(Shard::from_name);
                inside.extend(shard.map(|_| entry.path()));
            }
        }
        if inside.is_empty() {
            // Whatever it is, reading says so.
            return Ok((vec![dir.to_path_buf()], Vec::new()));
        }
        inside.sort();
        Ok(inside.into_iter().partition(|folder| folder.join(SHARD_FILE).exists()))
    }

    /// Reads a folder that [`SuiteResults::write_shard`] made.
    ///
    /// # Errors
    /// As [`SuiteResults::read`]; [`Error::Config`] for a folder of complete results.
    pub fn read(dir: &Path) -> Result<Self, Error> {
        if !dir.join(SHARD_FILE).exists() && dir.join(RESULTS_FILE).exists() {
            return Err(Error::Config {
                file: dir.display().to_string(),
                message: "these results are of no shard, but complete".into(),
                hint: "leave the folder out; only what `b158 eval --shard I/N` wrote is merged".into(),
            });
        }
        let (file, results) = read(dir, SHARD_FILE)?;
        let folder = dir.display().to_string();
        let Some(shard) = file.shard else {
            return Err(bad(&dir.join(SHARD_FILE), "it does not say which shard it is of".into()));
        };
        Ok(Self { folder, b158: file.b158, shard, results })
    }
}

/// Refuses a folder whose results another program wrote: they would be replaced.
///
/// # Errors
/// [`Error::Config`] that names the file; [`Error::Read`].
pub fn check_own(dir: &Path) -> Result<(), Error> {
    for path in [dir.join(RESULTS_FILE), dir.join(SHARD_FILE)] {
        let bytes = match std::fs::read(&path) {
            Err(e) if e.kind() == std::io::ErrorKind::NotFound => continue,
            Err(source) => return Err(Error::Read { path, source }),
            Ok(bytes) => bytes,
        };
        let own = serde_json::from_slice(&bytes).is_ok_and(|v: Value| v.get("suite_sha256").is_some());
        if !own {
            return Err(Error::Config {
                file: path.display().to_string(),
                message: "it is not of b158, and would be replaced".into(),
                hint: "choose another folder, or remove the file".into(),
            });
        }
    }
    Ok(())
}

fn bad(path: &Path, message: String) -> Error {
    let hint = "evaluate again into an empty folder".into();
    Error::Config { file: path.display().to_string(), message, hint }
}

fn read(dir: &Path, name: &str) -> Result<(ResultsFile, SuiteResults), Error> {
    let path = dir.join(name);
    let text = std::fs::read_to_string(&path).map_err(|source| Error::Read { path: path.clone(), source })?;
    let bad = |message: String| bad(&path, message);
    let mut file: ResultsFile =
        serde_json::from_str(&text).map_err(|e| bad(format!("not a results file: {e}")))?;
    // They go into tables, pages and terminals.
    if let Some(name) =
        file.models.keys().chain([&file.suite]).find(|name| name.chars().any(char::is_control))
    {
        return Err(bad(format!("the name {name:?} has control characters")));
    }
    let table = b158_datasets::Table::read_parquet(&dir.join(SAMPLES_FILE), &file.samples_sha256)?;
    let rows = samples::Rows::of(&table).map_err(&bad)?;
    let mut models = Vec::new();
    for (name, value) in std::mem::take(&mut file.models) {
        let document: ModelDocument =
            serde_json::from_value(value).map_err(|e| bad(format!("model '{name}': {e}")))?;
        let mut tasks = Vec::new();
        for (task_name, config) in document.configs {
            let place = format!("model '{name}', task '{task_name}'");
            let task: Task = serde_json::from_value(config).map_err(|e| bad(format!("{place}: {e}")))?;
            let documents = rows.documents(&name, &task).map_err(|m| bad(format!("{place}: {m}")))?;
            if documents.is_empty() && file.shard.is_none() {
                return Err(bad(format!("{place}: it has no samples")));
            }
            let Some(count) = document.n_samples.get(&task_name) else {
                return Err(bad(format!("{place}: n-samples is missing")));
            };
            let of_this =
                |sha256: &BTreeMap<String, String>| sha256.get(&task_name).cloned().unwrap_or_default();
            let (data, examples) = (of_this(&document.data_sha256), of_this(&document.examples_sha256));
            tasks.push(TaskResults::new(task, count.original, documents).of_data(data, examples));
        }
        let model =
            ModelResults { name, model_sha256: document.model_sha256, settings: document.config, tasks };
        if model.digest() != document.digest {
            let message =
                format!("the digest of model '{}' is not that of {SAMPLES_FILE} beside it", model.name);
            return Err(bad(message));
        }
        models.push(model);
    }
    let results = SuiteResults { suite: file.suite.clone(), margins: file.margins, models };
    if results.suite_sha256() != file.suite_sha256 {
        let message = "suite, margins, models, settings, tasks or data are not those that were evaluated: \
                       suite_sha256 differs";
        return Err(bad(message.into()));
    }
    Ok((file, results))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::results::tests::suite;

    #[test]
    fn a_folder_reads_back_as_it_was_written() {
        let dir = tempfile::tempdir().unwrap();
        let out = dir.path().join("made/on/the/way");
        suite().write(&out).unwrap();
        assert_eq!(SuiteResults::read(&out).unwrap(), suite());
        let first = std::fs::read(out.join(SAMPLES_FILE)).unwrap();
        suite().write(&out).unwrap();
        assert_eq!(std::fs::read(out.join(SAMPLES_FILE)).unwrap(), first);
    }

    #[test]
    fn damaged_folders_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join(RESULTS_FILE);
        suite().write(dir.path()).unwrap();
        let whole = std::fs::read_to_string(&path).unwrap();
        let message = |text: String| {
            std::fs::write(&path, text).unwrap();
            let message = SuiteResults::read(dir.path()).unwrap_err().to_string();
            message.replace(&dir.path().display().to_string(), "DIR")
        };
        insta::assert_snapshot!(message(whole[..200].to_owned()), @r"
        DIR/results.json: not a results file: EOF while parsing an object at line 12 column 2
        hint: evaluate again into an empty folder
        ");
        insta::assert_snapshot!(message(whole.replace("\"fp16\"", "\"fp8\"")), @r"
        DIR/results.json: model 'fp8', task 'arc_easy': it has no samples
        hint: evaluate again into an empty folder
        ");
        insta::assert_snapshot!(message(whole.replace("\"acc\"", "\"acc_bytes\"")), @r"
        DIR/results.json: model 'fp16', task 'arc_easy': row 0 of the samples has no 'acc_bytes'
        hint: evaluate again into an empty folder
        ");
        insta::assert_snapshot!(message(whole.replace("samples_sha256\": \"", "samples_sha256\": \"0")), @r"
        DIR/samples.parquet is damaged: its checksum differs from the recorded one
        hint: make it again
        ");
        insta::assert_snapshot!(message(whole.replace("\"suite\": \"desk\"", "\"suite\": \"a\\n# b\"")), @r#"
        DIR/results.json: the name "a\n# b" has control characters
        hint: evaluate again into an empty folder
        "#);
        // Margins are fixed before the evaluation.
        insta::assert_snapshot!(message(whole.replacen("\"accuracy\": 0.01", "\"accuracy\": 0.5", 1)), @r"
        DIR/results.json: suite, margins, models, settings, tasks or data are not those that were evaluated: suite_sha256 differs
        hint: evaluate again into an empty folder
        ");
        let digest = suite().models[1].digest();
        insta::assert_snapshot!(message(whole.replace(&digest, &digest.replace('1', "2"))), @r"
        DIR/results.json: the digest of model 'b158' is not that of samples.parquet beside it
        hint: evaluate again into an empty folder
        ");
    }
}
