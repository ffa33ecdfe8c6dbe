//! Finds a task's data.
//!
//! ```text
//!   --data DIR given:   DIR/STEM-SPLIT.jsonl, else DIR/STEM.jsonl, else an error
//!   not given:          the embedded desk data, else an error
//! ```
//!
//! A given folder never falls back on the embedded data: a typing error would quietly turn a benchmark into
//! the regression fixture.

use std::path::{Path, PathBuf};

use serde_json::Value;

use crate::{Error, desk, jsonl};

/// Where tasks find their data.
#[derive(Debug, Clone, Default)]
pub struct DataSource {
    dir: Option<PathBuf>,
}

/// The rows of one split.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// JSON objects, in the file's order; never empty.
    pub rows: Vec<Value>,
    /// The file, or `embedded NAME`.
    pub origin: String,
}

impl DataSource {
    /// The embedded desk data.
    pub fn embedded() -> Self {
        Self { dir: None }
    }

    /// Files `STEM-SPLIT.jsonl` or `STEM.jsonl` in a folder.
    pub fn folder(dir: impl Into<PathBuf>) -> Self {
        Self { dir: Some(dir.into()) }
    }

    /// The folder, or the embedded data without one.
    pub fn new(dir: Option<&Path>) -> Self {
        Self { dir: dir.map(Path::to_path_buf) }
    }

    /// Loads one split of a dataset.
    ///
    /// # Errors
    /// [`Error::NotInFolder`], [`Error::NotEmbedded`] and [`Error::Name`] when there is no such data, otherwise
    /// those of [`jsonl::read`].
    pub fn load(&self, stem: &str, split: &str) -> Result<Dataset, Error> {
        for name in [stem, split] {
            check_name(name)?;
        }
        let Some(dir) = &self.dir else {
            let Some(text) = desk::get(stem) else {
                let embedded = desk::DATASETS.map(|(name, _)| name).join(", ");
                return Err(Error::NotEmbedded { stem: stem.into(), split: split.into(), embedded });
            };
            let origin = format!("embedded {stem}");
            return Ok(Dataset { rows: jsonl::parse(&origin, text.as_bytes())?, origin });
        };
        let names = [format!("{stem}-{split}.jsonl"), format!("{stem}.jsonl")];
        let Some(path) = names.iter().map(|name| dir.join(name)).find(|path| path.exists()) else {
            return Err(Error::NotInFolder { stem: stem.into(), split: split.into(), dir: dir.clone() });
        };
        Ok(Dataset { rows: jsonl::read(&path)?, origin: path.display().to_string() })
    }
}

/// Task files are user input: their names must not lead out of the data folder.
fn check_name(name: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
        return Err(Error::Name { name: name.to_owned() });
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_data_loads() {
        for (name, rows) in [("arc_easy", 30), ("wikitext", 20)] {
            let data = DataSource::embedded().load(name, "test").unwrap();
            assert_eq!((data.rows.len(), data.origin), (rows, format!("embedded {name}")));
        }
    }

    #[test]
    fn the_split_file_comes_first_and_a_folder_never_falls_back() {
        let dir = tempfile::tempdir().unwrap();
        let source = DataSource::folder(dir.path());
        let error = source.load("arc_easy", "test").unwrap_err().to_string();
        let shown = error.replace(&dir.path().display().to_string(), "DATA");
        insta::assert_snapshot!(shown, @r"
        no data for 'arc_easy' (split 'test') in DATA
        hint: put arc_easy-test.jsonl or arc_easy.jsonl there
        ");
        std::fs::write(dir.path().join("arc_easy.jsonl"), "{\"n\": 1}\n").unwrap();
        assert_eq!(source.load("arc_easy", "test").unwrap().rows[0]["n"], 1);
        std::fs::write(dir.path().join("arc_easy-test.jsonl"), "{\"n\": 2}\n").unwrap();
        assert_eq!(source.load("arc_easy", "test").unwrap().rows[0]["n"], 2);
    }

    #[test]
    fn unknown_and_unsafe_names_are_refused() {
        let message = |stem| DataSource::embedded().load(stem, "test").unwrap_err().to_string();
        insta::assert_snapshot!(message("piqa"), @r"
        no data for 'piqa': only arc_easy, wikitext are embedded
        hint: put piqa-test.jsonl or piqa.jsonl into a folder and pass it as --data
        ");
        insta::assert_snapshot!(message("../secret"), @r"
        '../secret' is not a usable dataset name
        hint: use letters, digits, '_', '-' and '.', not starting with '.'
        ");
    }
}
