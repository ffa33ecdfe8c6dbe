//! What the end-to-end tests share: the command, the embedded twins and damaged copies of them.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use assert_cmd::Command;
use tempfile::TempDir;

/// The command, with nothing inherited that changes its output.
pub fn b158() -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_b158"));
    command
        .env_remove("B158_ISA")
        .env_remove("B158_THREADS")
        .env_remove("B158_DATA")
        .env_remove("B158_CACHE");
    command
}

/// A committed twin: `tiny-llama-f16` or `tiny-b158-f16`.
pub fn twin(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/twins").join(name)
}

/// Data of the tasks `arc_easy` (30 questions) and `wikitext` (20 pages), which the committed twins were trained on.
pub fn fixtures() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fixtures")
}

/// The folder with the recorded reference, or `None` (and a message) where it is absent.
pub fn oracle() -> Option<PathBuf> {
    let path = std::env::var_os("B158_ORACLE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../shared/oracle"), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: no reference outputs here (set B158_ORACLE to their folder)");
    None
}

/// A folder with the results of the committed twins, under `results`, on so many documents of each of two tasks.
pub fn evaluated(suite: &str, limit: usize) -> TempDir {
    let folder = TempDir::new().unwrap();
    let text = format!(
        "suite: {suite}\nmodels:\n  - {{name: fp16, path: {fp16}, role: baseline}}\n  - {{name: b1.58, path: {b158}, \
         convert: tq2_0}}\ntasks: [wikitext, arc_easy]\n",
        fp16 = twin("tiny-llama-f16").display(),
        b158 = twin("tiny-b158-f16").display()
    );
    fs::write(folder.path().join("suite.yaml"), text).unwrap();
    b158()
        .current_dir(folder.path())
        .args(["eval", "suite.yaml", "-o", "results", "--limit", &limit.to_string(), "--data"])
        .arg(fixtures())
        .assert()
        .success();
    folder
}

/// A copy of a twin that a test may damage.
pub fn copy_of(name: &str) -> TempDir {
    let copy = TempDir::new().unwrap();
    for entry in fs::read_dir(twin(name)).unwrap() {
        let path = entry.unwrap().path();
        fs::copy(&path, copy.path().join(path.file_name().unwrap())).unwrap();
    }
    copy
}

/// Replaces text in a file, which must be there.
pub fn replace(file: &Path, from: &str, to: &str) {
    let text = fs::read_to_string(file).unwrap();
    assert!(text.contains(from), "{from} is not in {}", file.display());
    fs::write(file, text.replacen(from, to, 1)).unwrap();
}

/// Exit code, standard output and standard error, with the temporary folder's name replaced.
pub fn transcript(command: &mut Command, folder: &Path) -> String {
    let output = command.output().unwrap();
    let text =
        |bytes: &[u8]| String::from_utf8(bytes.to_vec()).unwrap().replace(folder.to_str().unwrap(), "[DIR]");
    format!(
        "exit: {}\n--- stdout\n{}--- stderr\n{}",
        output.status.code().unwrap(),
        text(&output.stdout),
        text(&output.stderr)
    )
}
