//! Finds a task's data.
//!
//! ```text
//!   --data DIR given:   DIR/STEM-SPLIT.jsonl, .jsonl.gz, .parquet ..., else DIR/STEM.jsonl ...; the catalogue knows
//!                       more stems, and the Hub's own paths under DIR/ORGANIZATION/NAME or DIR/NAME; else an error
//!   --data hub:         the Hub's local cache, else an error
//!   not given:          the desk's data, made on the spot (`world`), else an error
//! ```
//!
//! A given folder never falls back on the desk's data, nor on the cache: a typing error would quietly turn a benchmark
//! into a small world's questions, or into what another download left there.

use std::path::{Path, PathBuf};
use std::sync::OnceLock;

use serde_json::Value;

use crate::catalogue::{Catalogue, Entry};
use crate::read::EXTENSIONS;
use crate::{Error, hub, jsonl, layout, nearest, read, world};

/// Where tasks find their data.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum DataSource {
    /// The desk's data.
    Desk,
    /// Files in a folder.
    Folder(PathBuf),
    /// A local cache of the Hugging Face Hub, at this folder.
    Hub(PathBuf),
}

/// The rows of one split.
#[derive(Debug, Clone)]
pub struct Dataset {
    /// JSON objects, in the file's order; never empty.
    pub rows: Vec<Value>,
    /// The file, or `desk NAME`.
    pub origin: String,
}

/// What stands for the Hub's cache in place of a folder.
pub const HUB: &str = "hub";

impl DataSource {
    /// The desk's data.
    pub fn desk() -> Self {
        Self::Desk
    }

    /// Files in a folder.
    pub fn folder(dir: impl Into<PathBuf>) -> Self {
        Self::Folder(dir.into())
    }

    /// The Hub's local cache, which may be empty.
    pub fn hub() -> Self {
        Self::Hub(hub::cache().unwrap_or_default())
    }

    /// The folder, the Hub's cache for [`HUB`] (a folder of that name is `./hub`), or the desk's data without one.
    pub fn new(dir: Option<&Path>) -> Self {
        match dir {
            None => Self::Desk,
            Some(dir) if dir == Path::new(HUB) => Self::hub(),
            Some(dir) => Self::folder(dir),
        }
    }

    /// Loads one split of a dataset, in the catalogue's form ([`layout`]) if the catalogue has it.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotInCatalogue`], [`Error::NotOfDesk`] and [`Error::Name`] when there is no such
    /// data, otherwise those of [`read::rows`]; [`Error::Rows`] for files of the Hub without the catalogue's columns.
    pub fn load(&self, name: &str, split: &str) -> Result<Dataset, Error> {
        let entry = Catalogue::embedded().get(name);
        if *self == Self::Desk {
            check_names(name, split)?;
            return desk_dataset(name, split, entry);
        }
        let files = self.find(name, split)?;
        let rest = match files.len() - 1 {
            0 => String::new(),
            more => format!(" and {more} more"),
        };
        let origin = format!("{}{rest}", files[0].display());
        let mut rows = read::all(&files)?;
        if let Some(entry) = entry {
            rows = layout::normalize(entry, &origin, rows)?;
        }
        // Others' folders may hold what they like, for tasks of theirs; what is missing is said by the task.
        if let (Self::Hub(_), Some(entry)) = (self, entry) {
            check_columns(entry, &origin, &rows)?;
        }
        Ok(Dataset { rows, origin })
    }

    /// The files of one split of a dataset, never none: several if it is published in parts.
    ///
    /// # Errors
    /// [`Error::NotFound`], [`Error::NotInCatalogue`], [`Error::Name`]; the desk has no files.
    pub fn find(&self, name: &str, split: &str) -> Result<Vec<PathBuf>, Error> {
        check_names(name, split)?;
        let entry = Catalogue::embedded().get(name);
        let not_found = |dir: &Path, hint: String| Error::NotFound {
            name: name.to_owned(),
            split: split.to_owned(),
            dir: dir.to_path_buf(),
            hint,
        };
        match self {
            Self::Desk => Err(not_of_desk(name, split)),
            Self::Folder(dir) => in_folder(dir, name, split, entry)
                .ok_or_else(|| not_found(dir, put_there(name, split, entry))),
            Self::Hub(cache) => {
                let names = Catalogue::embedded().names();
                let not_in_catalogue =
                    |hint| Error::NotInCatalogue { name: name.into(), split: split.into(), hint };
                let entry =
                    entry.ok_or_else(|| not_in_catalogue(nearest::suggest(name, "datasets", &names)))?;
                let Some(known) = entry.splits.get(split) else {
                    let splits: Vec<&str> = entry.splits.iter().map(|(name, _)| name).collect();
                    return Err(not_in_catalogue(nearest::suggest(split, "splits", &splits)));
                };
                let hint =
                    format!("`b158 data fetch {name}` gets {} of {}", known.files.join(", "), entry.hub);
                hub::find(cache, entry, known).ok_or_else(|| not_found(cache, hint))
            }
        }
    }
}

fn check_columns(entry: &Entry, origin: &str, rows: &[Value]) -> Result<(), Error> {
    let misfit = |row: &Value| row.as_object().and_then(|row| entry.columns.misfit(row));
    let Some((i, message)) = rows.iter().enumerate().find_map(|(i, row)| Some((i, misfit(row)?))) else {
        return Ok(());
    };
    Err(Error::Rows {
        file: origin.to_owned(),
        message: format!("row {}: {message}", i + 1),
        hint: format!("the files of {} have changed: fetch the catalogue's revision", entry.hub),
    })
}

fn in_folder(dir: &Path, name: &str, split: &str, entry: Option<&Entry>) -> Option<Vec<PathBuf>> {
    let own = [format!("{name}-{{split}}"), name.to_owned()];
    let stems = entry.map_or(&own[..], |entry| &entry.stems);
    // Published files shorten it now and then.
    let splits: &[&str] =
        if split == "validation" { &["validation", "valid", "val", "dev"] } else { &[split] };
    for stem in stems {
        for split in &splits[..if stem.contains("{split}") { splits.len() } else { 1 }] {
            let stem = stem.replace("{split}", split);
            let mut paths = EXTENSIONS.iter().map(|extension| dir.join(format!("{stem}.{extension}")));
            if let Some(path) = paths.find(|path| path.is_file()) {
                return Some(vec![path]);
            }
        }
    }
    let entry = entry?;
    let known = entry.splits.get(split)?;
    let (_, last) = entry.hub.split_once('/')?;
    [entry.hub.as_str(), last].into_iter().find_map(|folder| hub::files(&dir.join(folder), known))
}

/// Which files would do.
fn put_there(name: &str, split: &str, entry: Option<&Entry>) -> String {
    let mut hint = format!("put {name}-{split}.jsonl (or .jsonl.gz, .parquet) or {name}.jsonl there");
    if let Some(entry) = entry
        && let Some(known) = entry.splits.get(split)
    {
        hint += &format!("; the Hub has it as {} of {}", known.files.join(", "), entry.hub);
    }
    hint
}

fn desk_dataset(name: &str, split: &str, entry: Option<&Entry>) -> Result<Dataset, Error> {
    let known = entry.into_iter().flat_map(|entry| entry.stems.iter().map(String::as_str));
    let Some((stem, text)) = known.chain([name]).find_map(|stem| Some((stem, desk(stem)?))) else {
        return Err(not_of_desk(name, split));
    };
    let origin = format!("desk {stem}");
    Ok(Dataset { rows: jsonl::parse(&origin, text.as_bytes())?, origin })
}

fn not_of_desk(name: &str, split: &str) -> Error {
    Error::NotOfDesk { stem: name.into(), split: split.into(), made: world::TASKS.join(", ") }
}

/// The JSON Lines of a task of the desk: made once, used for every model.
fn desk(stem: &str) -> Option<&'static str> {
    static TEXTS: [OnceLock<Option<String>>; world::TASKS.len()] =
        [const { OnceLock::new() }; world::TASKS.len()];
    let index = world::TASKS.iter().position(|task| *task == stem)?;
    TEXTS[index].get_or_init(|| world::dataset(stem)).as_deref()
}

/// Task files are user input: their names must not lead out of the data folder.
fn check_names(name: &str, split: &str) -> Result<(), Error> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    for name in [name, split] {
        if name.is_empty() || name.starts_with('.') || !name.chars().all(plain) {
            return Err(Error::Name { name: name.to_owned() });
        }
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
        hint: put arc_easy-test.jsonl (or .jsonl.gz, .parquet) or arc_easy.jsonl there; the Hub has it as ARC-Easy/test-00000-of-00001.parquet of allenai/ai2_arc
        ");
        std::fs::write(dir.path().join("arc_easy.jsonl"), "{\"n\": 1}\n").unwrap();
        assert_eq!(source.load("arc_easy", "test").unwrap().rows[0]["n"], 1);
        std::fs::write(dir.path().join("arc_easy-test.jsonl"), "{\"n\": 2}\n").unwrap();
        assert_eq!(source.load("arc_easy", "test").unwrap().rows[0]["n"], 2);
    }

    #[test]
    fn forms_and_names_in_a_folder() {
        let dir = tempfile::tempdir().unwrap();
        let source = DataSource::folder(dir.path());
        let find = |name: &str, split: &str| {
            let files = source.find(name, split).ok()?;
            Some(files[0].strip_prefix(dir.path()).unwrap().to_str().unwrap().to_owned())
        };
        let touch = |name: &str| {
            let path = dir.path().join(name);
            std::fs::create_dir_all(path.parent().unwrap()).unwrap();
            std::fs::write(path, "").unwrap();
        };
        // The later ones are found in place of the earlier ones.
        for (name, split, files) in [
            (
                "winogrande",
                "validation",
                &[
                    "winogrande/winogrande_xl/validation-00000-of-00001.parquet",
                    "winogrande_xl-validation.jsonl",
                    "winogrande-dev.jsonl",
                    "winogrande-validation.parquet",
                    "winogrande-validation.jsonl.gz",
                ][..],
            ),
            (
                "boolq",
                "validation",
                &[
                    "aps/super_glue/boolq/validation-00000-of-00001.parquet",
                    "boolq.parquet",
                    "boolq-validation.jsonl",
                    "boolq-validation.superglue.jsonl",
                ],
            ),
            (
                "wikitext",
                "validation",
                &["wiki.valid.raw", "wikitext-2-valid.documents.jsonl", "wikitext.jsonl"],
            ),
            ("lambada_openai", "test", &["lambada.jsonl", "lambada_openai-test.jsonl"]),
            ("mine", "train", &["mine.txt", "mine.jsonl", "mine-train.jsonl"]),
        ] {
            assert_eq!(find(name, split), None, "{name}");
            for file in files {
                touch(file);
                assert_eq!(find(name, split).as_deref(), Some(*file));
            }
        }
    }

    #[test]
    fn the_cache_of_the_hub() {
        let dir = tempfile::tempdir().unwrap();
        let source = DataSource::Hub(dir.path().to_path_buf());
        let message = |name: &str, split: &str| {
            let error = source.load(name, split).unwrap_err().to_string();
            error.replace(&dir.path().display().to_string(), "CACHE")
        };
        insta::assert_snapshot!(message("piqa", "validation"), @r"
        no data for 'piqa' (split 'validation') in CACHE
        hint: `b158 data fetch piqa` gets piqa_validation.parquet of baber/piqa
        ");
        insta::assert_snapshot!(message("pika", "validation"), @r"
        'pika' has no split 'validation' in the catalogue
        hint: did you mean 'piqa'? datasets: arc_easy, arc_challenge, hellaswag, boolq, boolq_google, openbookqa, piqa, winogrande, lambada_openai, lambada_standard, wikitext, wikitext_rows, c4, tinystories, redpajama
        ");
        insta::assert_snapshot!(message("piqa", "dev"), @r"
        'piqa' has no split 'dev' in the catalogue
        hint: splits: train, validation, test
        ");

        let folder = dir.path().join("datasets--allenai--c4");
        let shard = folder.join("snapshots/0123abcd/en/c4-validation.00000-of-00008.json.gz");
        std::fs::create_dir_all(shard.parent().unwrap()).unwrap();
        std::fs::create_dir_all(folder.join("refs")).unwrap();
        std::fs::write(folder.join("refs/main"), "0123abcd").unwrap();
        std::fs::write(&shard, "{\"text\": \"a\"}\n{\"txt\": \"b\"}\n").unwrap();
        insta::assert_snapshot!(message("c4", "validation"), @r"
        CACHE/datasets--allenai--c4/snapshots/0123abcd/en/c4-validation.00000-of-00008.json.gz: row 2: column 'text' is missing; there are txt
        hint: the files of allenai/c4 have changed: fetch the catalogue's revision
        ");
        std::fs::write(&shard, "{\"text\": \"a\"}\n").unwrap();
        assert_eq!(source.load("c4", "validation").unwrap().rows.len(), 1);
    }

    #[test]
    fn the_tasks_of_one_dataset_share_the_desks() {
        for name in ["lambada_openai", "lambada_standard", "lambada"] {
            assert_eq!(DataSource::desk().load(name, "test").unwrap().origin, "desk lambada");
        }
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
