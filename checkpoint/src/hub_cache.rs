//! Models in the local cache of the Hugging Face Hub, by `organization/name`.
//!
//! ```text
//! $HF_HUB_CACHE, else $HF_HOME/hub, else ~/.cache/huggingface/hub
//!   models--ORG--NAME/refs/main                 the commit of the last download
//!   models--ORG--NAME/snapshots/COMMIT/         the files, links into ../../blobs
//! ```
//!
//! The layout is that of the Python package `huggingface_hub`. Nothing is downloaded.

use std::{
    env, fs,
    path::{Path, PathBuf},
};

/// The folder of a model `org/name` in the local cache of the Hugging Face Hub, if the path is of that form
/// and the cache has it.
pub fn find(model: &Path) -> Option<PathBuf> {
    find_in(&cache()?, model)
}

fn cache() -> Option<PathBuf> {
    let folder = |variable| env::var_os(variable).filter(|value| !value.is_empty()).map(PathBuf::from);
    folder("HF_HUB_CACHE")
        .or_else(|| Some(folder("HF_HOME")?.join("hub")))
        .or_else(|| Some(folder("HOME")?.join(".cache/huggingface/hub")))
}

fn find_in(cache: &Path, model: &Path) -> Option<PathBuf> {
    let (organization, name) = model.to_str()?.split_once('/')?;
    let is_name = |text: &str| {
        !text.is_empty()
            && !text.starts_with('.')
            && text.bytes().all(|b| b.is_ascii_alphanumeric() || b"-_.".contains(&b))
    };
    if !is_name(organization) || !is_name(name) {
        return None;
    }
    let folder = cache.join(format!("models--{organization}--{name}"));
    let commit = fs::read_to_string(folder.join("refs/main")).ok()?;
    let commit = commit.trim();
    let snapshot = is_name(commit).then(|| folder.join("snapshots").join(commit))?;
    snapshot.is_dir().then_some(snapshot)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_cached_model_is_found_by_its_name() {
        let cache = tempfile::tempdir().unwrap();
        let folder = cache.path().join("models--org--a-model_1.58");
        fs::create_dir_all(folder.join("snapshots/0123abcd")).unwrap();
        fs::create_dir(folder.join("refs")).unwrap();
        fs::write(folder.join("refs/main"), "0123abcd\n").unwrap();
        let find = |model: &str| find_in(cache.path(), Path::new(model));
        assert_eq!(find("org/a-model_1.58"), Some(folder.join("snapshots/0123abcd")));
        for other in
            ["org/other", "a-model_1.58", "org/a/b", "../models--org--a-model_1.58", "org/..", "/org"]
        {
            assert_eq!(find(other), None, "{other}");
        }
        // A reference out of the folder is none.
        fs::write(folder.join("refs/main"), "../refs").unwrap();
        assert_eq!(find("org/a-model_1.58"), None);
    }
}
