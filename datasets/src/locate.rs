//! Finds a task's data.
//!
//! ```text
//!   --data DIR given:   DIR/STEM-SPLIT.jsonl, else DIR/STEM.jsonl, else an error
//!   not given:          the desk's data, made on the spot (`world`), else an error
//! ```
//!
//! A given folder never falls back on the desk's data: a typing error would quietly turn a benchmark into a small
//! world's questions.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

use crate::{Error, jsonl, world};

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
    /// The file, or `desk NAME`.
    pub origin: String,
}

impl DataSource {
    /// The desk's data.
    pub fn desk() -> Self {
        Self { dir: None }
    }

    /// Files `STEM-SPLIT.jsonl` or `STEM.jsonl` in a folder.
    pub fn folder(dir: impl Into<PathBuf>) -> Self {
        Self { dir: Some(dir.into()) }
    }

    /// The folder, or the desk's data without one.
    pub fn new(dir: Option<&Path>) -> Self {
        Self { dir: dir.map(Path::to_path_buf) }
    }

    /// Loads one split of a dataset.
    ///
    /// # Errors
    /// [`Error::NotInFolder`], [`Error::NotOfDesk`] and [`Error::Name`] when there is no such data, otherwise
    /// those of [`jsonl::read`].
    pub fn load(&self, stem: &str, split: &str) -> Result<Dataset, Error> {
        for name in [stem, split] {
            check_name(name)?;
        }
        let Some(dir) = &self.dir else {
            let Some(text) = desk(stem) else {
                let made = world::TASKS.join(", ");
                return Err(Error::NotOfDesk { stem: stem.into(), split: split.into(), made });
            };
            let origin = format!("desk {stem}");
            return Ok(Dataset { rows: jsonl::parse(&origin, text.as_bytes())?, origin });
        };
        let names = [format!("{stem}-{split}.jsonl"), format!("{stem}.jsonl")];
        let Some(path) = names.iter().map(|name| dir.join(name)).find(|path| path.exists()) else {
            return Err(Error::NotInFolder { stem: stem.into(), split: split.into(), dir: dir.clone() });
        };
        Ok(Dataset { rows: jsonl::read(&path)?, origin: path.display().to_string() })
    }
}

/// The JSON Lines of a task of the desk: made once, used for every model.
fn desk(stem: &str) -> Option<&'static str> {
    static TEXTS: [OnceLock<Option<String>>; world::TASKS.len()] =
        [const { OnceLock::new() }; world::TASKS.len()];
    let index = world::TASKS.iter().position(|task| *task == stem)?;
    TEXTS[index].get_or_init(|| world::dataset(stem)).as_deref()
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
    fn the_desk_has_all_its_tasks() {
        for name in world::TASKS {
            let data = DataSource::desk().load(name, "test").unwrap();
            let rows = if name == "desk" { world::PAGES } else { world::ITEMS };
            assert_eq!((data.rows.len(), data.origin), (rows, format!("desk {name}")));
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
        let message = |stem| DataSource::desk().load(stem, "test").unwrap_err().to_string();
        insta::assert_snapshot!(message("wikitext"), @r"
        no data for 'wikitext': the desk makes only arc_easy, arc_challenge, hellaswag, boolq, openbookqa, piqa, winogrande, lambada, desk
        hint: put wikitext-test.jsonl or wikitext.jsonl into a folder and pass it as --data
        ");
        insta::assert_snapshot!(message("../secret"), @r"
        '../secret' is not a usable dataset name
        hint: use letters, digits, '_', '-' and '.', not starting with '.'
        ");
    }
}
