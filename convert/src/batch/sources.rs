//! What a job's `source` stands for.
//!
//! ```text
//! models/a        a checkpoint, relative to the job file
//! models/*        every checkpoint that the pattern matches: folders with config.json, .safetensors, .gguf
//! org/name        a model in the local cache of the Hugging Face Hub, if there is no such file
//! ```

use std::{
    collections::BTreeSet,
    path::{Component, Path, PathBuf},
};

use b158_checkpoint::find_in_hub_cache;

use crate::Error;

/// A checkpoint to convert.
#[derive(Clone, Debug)]
pub(super) struct Source {
    /// Where it is.
    pub(super) path: PathBuf,
    /// Its path relative to the job file where it is below that, else absolute; or `org/name`. The same
    /// from whichever directory the batch is started.
    pub(super) label: String,
    /// Its name without extension.
    pub(super) stem: String,
    /// The name of the folder around it.
    pub(super) parent: String,
    /// Whether a pattern found it.
    pub(super) matched: bool,
}

/// Every source, in order of names. Only a pattern may stand for none.
pub(super) fn find(file: &Path, pattern: &str) -> Result<Vec<Source>, Error> {
    let base = file.parent().unwrap_or(Path::new(""));
    let given = base.join(pattern);
    if given.exists() {
        return Ok(vec![Source::new(base, given, false)]);
    }
    if let Some(path) = find_in_hub_cache(Path::new(pattern)) {
        let (parent, stem) = pattern.split_once('/').unwrap_or_default();
        let (stem, parent) = (stem.to_owned(), parent.to_owned());
        return Ok(vec![Source { path, label: pattern.to_owned(), stem, parent, matched: false }]);
    }
    let error = |reason: String| Error::Jobs {
        file: file.to_owned(),
        reason,
        hint: "paths and patterns are relative to the file that holds them".to_owned(),
    };
    let escaped = glob::Pattern::escape(&base.to_string_lossy());
    let pattern = Path::new(&escaped).join(pattern);
    let paths = glob::glob(&pattern.to_string_lossy())
        .map_err(|e| error(format!("the pattern {}: {e}", pattern.display())))?;
    let paths: Vec<PathBuf> = paths
        .collect::<Result<_, _>>()
        .map_err(|e| Error::Read { file: e.path().to_owned(), source: e.into() })?;
    if paths.is_empty() {
        return Err(error(format!("nothing matches {}", given.display())));
    }
    let folders: BTreeSet<PathBuf> = paths.iter().filter(|path| is_folder(path)).cloned().collect();
    let is_source = |path: &PathBuf| {
        folders.contains(path)
            || is_file(path, "gguf")
            // Those of a folder belong to it.
            || (is_file(path, "safetensors") && !path.parent().is_some_and(|p| folders.contains(p)))
    };
    // Hidden are what other writers are at and what they left. (glob's own option for that ends in a panic on
    // names that are not UTF-8.)
    let is_hidden = |path: &PathBuf| {
        let found = path.strip_prefix(base).unwrap_or(path).components();
        let mut names = found.filter(|name| name.as_os_str().as_encoded_bytes().starts_with(b"."));
        names.any(|name| matches!(name, Component::Normal(_)) && !given.components().any(|part| part == name))
    };
    let mut sources: Vec<PathBuf> = paths.into_iter().filter(|p| is_source(p) && !is_hidden(p)).collect();
    sources.sort();
    if sources.is_empty() {
        let kinds = "folders with config.json, .safetensors and .gguf files";
        return Err(error(format!("nothing that matches {} is a checkpoint ({kinds})", given.display())));
    }
    Ok(sources.into_iter().map(|path| Source::new(base, path, true)).collect())
}

fn is_folder(path: &Path) -> bool {
    path.join("config.json").is_file()
}

fn is_file(path: &Path, extension: &str) -> bool {
    path.extension().is_some_and(|e| e.eq_ignore_ascii_case(extension)) && path.is_file()
}

impl Source {
    fn new(base: &Path, path: PathBuf, matched: bool) -> Self {
        let identity = identity(&path);
        let name = if path.is_dir() { identity.file_name() } else { identity.file_stem() };
        let stem = name.map_or("model".into(), |name| name.to_string_lossy()).into_owned();
        let parent = identity.parent().and_then(Path::file_name).unwrap_or_default();
        let parent = parent.to_string_lossy().into_owned();
        let base = if base.as_os_str().is_empty() { Path::new(".") } else { base };
        let base = base.canonicalize().unwrap_or_default();
        let label = identity.strip_prefix(&base).unwrap_or(&identity);
        let label = if label.as_os_str().is_empty() { Path::new(".") } else { label };
        let label = label.to_string_lossy().into_owned();
        Self { path, label, stem, parent, matched }
    }
}

/// One path for a file, however it is spelt. A link keeps its own name.
pub(super) fn identity(path: &Path) -> PathBuf {
    let whole = || path.canonicalize().unwrap_or_else(|_| path.to_owned());
    let Some(name) = path.file_name() else { return whole() };
    let parent = path.parent().filter(|p| !p.as_os_str().is_empty()).unwrap_or(Path::new("."));
    parent.canonicalize().map_or_else(|_| path.to_owned(), |parent| parent.join(name))
}
