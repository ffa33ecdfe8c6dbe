//! The desk suite and its twin models, carried inside the command.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use b158_checkpoint::write_file;

macro_rules! embed {
    ($($file:literal),* $(,)?) => {
        &[$(($file, include_bytes!(concat!("../ci/", $file)))),*]
    };
}

const SUITE: &str = "suites/desk.yaml";

/// Paths as under `ci/`, and contents.
const FILES: &[(&str, &[u8])] = embed![
    "suites/desk.yaml",
    "twins/tiny-llama-f16/config.json",
    "twins/tiny-llama-f16/generation_config.json",
    "twins/tiny-llama-f16/model.safetensors",
    "twins/tiny-llama-f16/tokenizer.json",
    "twins/tiny-llama-f16/tokenizer_config.json",
    "twins/tiny-b158-f16/config.json",
    "twins/tiny-b158-f16/model.safetensors",
    "twins/tiny-b158-f16/tokenizer.json",
    "twins/tiny-b158-f16/tokenizer_config.json",
];

/// What has to be said on screen about these models.
pub const NOTICE: &str =
    "These twins are a regression fixture: small models, trained on the text they are tested on.";

/// Writes the suite and its models under `folder`, where they differ from what is there; returns the
/// suite's path.
pub fn unpack(folder: &Path) -> Result<PathBuf> {
    for (name, bytes) in FILES {
        let path = folder.join(name);
        let cannot = || format!("{}: cannot write", path.display());
        if std::fs::read(&path).is_ok_and(|found| found == *bytes) {
            continue;
        }
        std::fs::create_dir_all(path.parent().expect("a file in a folder")).with_context(cannot)?;
        write_file(&path, bytes)?;
    }
    Ok(folder.join(SUITE))
}
