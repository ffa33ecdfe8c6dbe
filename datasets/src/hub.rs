//! Datasets in the local cache of the Hugging Face Hub.
//!
//! ```text
//! $HF_HUB_CACHE, else $HF_HOME/hub, else ~/.cache/huggingface/hub
//!   datasets--ORG--NAME/refs/main                 the commit of the last download
//!   datasets--ORG--NAME/snapshots/COMMIT/         the files, links into ../../blobs
//!   datasets--ORG--NAME/blobs/SHA256              the content of a large file, named by its SHA-256
//! ```
//!
//! The layout is that of the Python package `huggingface_hub`. Nothing is downloaded here.

use std::path::{Path, PathBuf};
use std::{env, fs};

use crate::catalogue::{Entry, Split};

/// The cache's folder, whether it exists or not; `None` without a home.
pub fn cache() -> Option<PathBuf> {
    let folder = |variable| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("HF_HUB_CACHE")
        .or_else(|| Some(folder("HF_HOME")?.join("hub")))
        .or_else(|| Some(folder("HOME")?.join(".cache/huggingface/hub")))
}

/// The files of a split in a cache: those of the catalogue's revision, else of the last download. `None` unless all
/// are there.
pub fn find(cache: &Path, entry: &Entry, split: &Split) -> Option<Vec<PathBuf>> {
    let folder = cache.join(format!("datasets--{}", entry.hub.replace('/', "--")));
    let last = fs::read_to_string(folder.join("refs/main")).unwrap_or_default();
    let last = last.trim();
    let is_commit = !last.is_empty() && last.bytes().all(|b| b.is_ascii_alphanumeric());
    let commits = entry.revision.as_deref().into_iter().chain(is_commit.then_some(last));
    commits.map(|commit| folder.join("snapshots").join(commit)).find_map(|snapshot| files(&snapshot, split))
}

/// The files of a split under a folder laid out as the Hub's repository, in the order of their names. `None` unless
/// all are there.
pub fn files(folder: &Path, split: &Split) -> Option<Vec<PathBuf>> {
    let mut found = Vec::new();
    for pattern in &split.files {
        found.extend(matches(folder, pattern)?);
    }
    is_complete(&found).then_some(found)
}

fn matches(folder: &Path, pattern: &str) -> Option<Vec<PathBuf>> {
    let path = folder.join(pattern);
    let name = path.file_name()?.to_str()?;
    let Some((start, end)) = name.split_once('*') else { return path.is_file().then(|| vec![path]) };
    let matches =
        |name: &str| name.len() >= start.len() + end.len() && name.starts_with(start) && name.ends_with(end);
    let mut found: Vec<PathBuf> = fs::read_dir(path.parent()?)
        .ok()?
        .filter_map(|entry| Some(entry.ok()?.path()))
        .filter(|path| path.file_name().and_then(|n| n.to_str()).is_some_and(matches) && path.is_file())
        .collect();
    found.sort();
    (!found.is_empty()).then_some(found)
}

/// Whether a path is meant by a pattern of the catalogue: equal, but for what a `*` stands for, which is no `/`.
pub fn is_match(pattern: &str, path: &str) -> bool {
    let Some((start, end)) = pattern.split_once('*') else { return pattern == path };
    let middle = path.strip_prefix(start).and_then(|rest| rest.strip_suffix(end));
    middle.is_some_and(|middle| !middle.contains('/'))
}

/// Of files `...-00001-of-00004...` all have to be there: half a split is another one.
fn is_complete(files: &[PathBuf]) -> bool {
    files.iter().all(|path| {
        let name = path.file_name().and_then(|n| n.to_str()).unwrap_or_default();
        let total = name.split_once("-of-").and_then(|(before, after)| {
            let digits: String = after.chars().take_while(char::is_ascii_digit).collect();
            // C4's own shards are files by themselves: `c4-validation.00000-of-00008`.
            (before.rfind('-') > before.rfind('.')).then(|| digits.parse::<usize>().ok()).flatten()
        });
        total.is_none_or(|total| files.len() == total)
    })
}

/// The SHA-256 that the cache gives a file: the name of the blob that it links to, if that is one.
pub fn recorded_sha256(file: &Path) -> Option<String> {
    let target = fs::read_link(file).ok()?;
    let name = target.file_name()?.to_str()?;
    (name.len() == 64 && name.bytes().all(|b| b.is_ascii_hexdigit())).then(|| name.to_ascii_lowercase())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::catalogue::Catalogue;

    fn touch(path: &Path) {
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(path, "").unwrap();
    }

    #[test]
    fn the_catalogues_revision_goes_before_the_last_download() {
        let cache = tempfile::tempdir().unwrap();
        let entry = Catalogue::embedded().get("arc_easy").unwrap();
        let split = entry.splits.get("test").unwrap();
        let folder = cache.path().join("datasets--allenai--ai2_arc");
        assert_eq!(find(cache.path(), entry, split), None);

        touch(&folder.join("refs/main"));
        fs::write(folder.join("refs/main"), "0123abcd\n").unwrap();
        let last = folder.join("snapshots/0123abcd").join(&split.files[0]);
        touch(&last);
        assert_eq!(find(cache.path(), entry, split), Some(vec![last]));

        let pinned = folder.join("snapshots").join(entry.revision.as_ref().unwrap()).join(&split.files[0]);
        touch(&pinned);
        assert_eq!(find(cache.path(), entry, split), Some(vec![pinned]));

        // A reference out of the folder is none.
        fs::remove_dir_all(folder.join("snapshots").join(entry.revision.as_ref().unwrap())).unwrap();
        fs::write(folder.join("refs/main"), "../refs").unwrap();
        assert_eq!(find(cache.path(), entry, split), None);
    }

    #[test]
    fn patterns() {
        for (pattern, path, matches) in [
            ("a/b.parquet", "a/b.parquet", true),
            ("a/b.parquet", "a/c.parquet", false),
            ("a/b-*.parquet", "a/b-1.parquet", true),
            ("a/b-*.parquet", "a/b-.parquet", true),
            ("a/b*b.parquet", "a/b.parquet", false),
            ("*_sample.jsonl", "x/c4_sample.jsonl", false),
        ] {
            assert_eq!(is_match(pattern, path), matches, "{pattern} {path}");
        }
    }

    #[test]
    fn all_parts_of_a_split_have_to_be_there() {
        let folder = tempfile::tempdir().unwrap();
        let split = Catalogue::embedded().get("tinystories").unwrap().splits.get("train").unwrap();
        let part = |i: usize| folder.path().join(format!("data/train-{i:05}-of-00003-0123abcd.parquet"));
        (0..2).for_each(|i| touch(&part(i)));
        assert_eq!(files(folder.path(), split), None);
        touch(&part(2));
        assert_eq!(files(folder.path(), split), Some((0..3).map(part).collect()));

        let c4 = Catalogue::embedded().get("c4").unwrap().splits.get("validation").unwrap();
        let shard = folder.path().join("en/c4-validation.00000-of-00008.json.gz");
        touch(&shard);
        assert_eq!(files(folder.path(), c4), Some(vec![shard]));
    }
}
