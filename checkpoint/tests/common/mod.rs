//! The test fixtures, which are not part of the repository.

use std::path::{Path, PathBuf};

/// The fixtures' folder: `B158_ORACLE`, or a folder beside the workspace.
pub fn oracle() -> Option<PathBuf> {
    let beside = || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/oracle");
    let folder = std::env::var_os("B158_ORACLE").map_or_else(beside, PathBuf::from);
    if folder.join("ckpt").is_dir() {
        return Some(folder);
    }
    eprintln!("skipped: no fixtures at {}", folder.display());
    None
}

/// A fixture checkpoint's folder.
#[allow(dead_code, reason = "not every test binary opens checkpoints")]
pub fn checkpoint(name: &str) -> Option<PathBuf> {
    oracle().map(|folder| folder.join("ckpt").join(name))
}

/// A copy of a fixture checkpoint that a test may damage.
#[allow(dead_code, reason = "not every test binary damages checkpoints")]
pub fn copy(name: &str) -> Option<tempfile::TempDir> {
    let source = checkpoint(name)?;
    let folder = tempfile::tempdir().unwrap();
    for entry in source.read_dir().unwrap() {
        let entry = entry.unwrap();
        // Through read and write, since the fixtures are read-only and so would be their copies.
        std::fs::write(folder.path().join(entry.file_name()), std::fs::read(entry.path()).unwrap()).unwrap();
    }
    Some(folder)
}

/// A file of the data folder beside the fixtures.
#[allow(dead_code, reason = "not every test binary reads data")]
pub fn data(path: &str) -> Option<PathBuf> {
    let file = oracle()?.join("../data").join(path);
    if file.exists() {
        return Some(file);
    }
    eprintln!("skipped: no data at {}", file.display());
    None
}
