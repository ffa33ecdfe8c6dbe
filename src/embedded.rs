//! The desk suite and its twin models, carried inside the command.

use std::path::{Path, PathBuf};

use anyhow::{Context, Result};
use b158_checkpoint::write_file;

/// Paths as under `ci/`, and contents.
type Files = &'static [(&'static str, &'static [u8])];

macro_rules! embed {
    ($($path:literal)*) => { &[$(($path, include_bytes!(concat!("../ci/", $path)))),*] };
}

/// The files of twins; `embed_twin!("NAME")` has those that `b158 train` writes.
macro_rules! embed_twin {
    ($folder:literal) => {
        embed_twin!($folder "config.json" "generation_config.json" "model.safetensors" "recipe.json" "tokenizer.json"
            "tokenizer_config.json")
    };
    ($folder:literal $($file:literal)*) => {
        &[$((
            concat!("twins/", $folder, "/", $file),
            include_bytes!(concat!("../ci/twins/", $folder, "/", $file)),
        )),*]
    };
}

const SUITE: &str = "suites/desk.yaml";

const FILES: &[Files] = &[
    embed!("suites/desk.yaml"),
    embed_twin!("desk-s-fp16"),
    embed_twin!("desk-s-b158"),
    embed_twin!("desk-m-fp16"),
    embed_twin!("desk-m-b158"),
    embed_twin!("desk-l-fp16"),
    embed_twin!("desk-l-b158"),
];

/// What has to be said on screen about these models.
pub const NOTICE: &str = "\
The twins learned from text about a small made-up world; the tasks are about it too, in the schemas of the data sets
whose names they bear. They say how twins compare, not how models compare.";

/// Writes the suite and its models under `folder`, where they differ from what is there; returns the
/// suite's path.
pub fn unpack(folder: &Path) -> Result<PathBuf> {
    for (name, bytes) in FILES.iter().copied().flatten() {
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
