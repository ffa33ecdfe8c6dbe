//! One file for each verb.

pub mod batch;
pub mod bench;
pub mod chat;
pub mod compare;
pub mod convert;
pub mod eval;
pub mod inspect;
pub mod logits;
pub mod reproduce;
pub mod run;
pub mod suite;
mod text;

use std::path::Path;

use anyhow::Context;
use b158_checkpoint::Checkpoint;
use b158_kernels::Isa;
use b158_runner::{LoadOptions, Model};

/// Makes a folder for results, before any work is done for them.
fn create_folder(folder: &Path) -> anyhow::Result<()> {
    let hint = "choose a folder that you may write to";
    std::fs::create_dir_all(folder)
        .with_context(|| format!("{}: cannot create the folder\nhint: {hint}", folder.display()))
}

/// Opens and loads a model.
fn load(path: &Path, isa: Isa, context: Option<usize>) -> anyhow::Result<(Checkpoint, Model)> {
    let checkpoint = Checkpoint::open(path)?;
    let model = Model::load(&checkpoint, LoadOptions { isa, context })?;
    Ok((checkpoint, model))
}
