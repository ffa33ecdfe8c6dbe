//! One file for each verb.

pub mod batch;
pub mod bench;
pub mod chat;
pub mod check;
pub mod claims;
pub mod compare;
pub mod convert;
pub mod data;
pub mod eval;
pub mod inspect;
pub mod logits;
pub mod merge;
pub mod perplexity;
pub mod report;
pub mod reproduce;
pub mod run;
#[cfg(feature = "serve")]
pub mod serve;
pub mod suite;
mod text;
#[cfg(feature = "train")]
pub mod train;

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

/// Opens and loads a model with its whole context and a cache in f32.
fn load(path: &Path, isa: Isa) -> anyhow::Result<(Checkpoint, Model)> {
    load_with(path, LoadOptions { isa, ..LoadOptions::default() })
}

/// Opens and loads a model.
fn load_with(path: &Path, options: LoadOptions) -> anyhow::Result<(Checkpoint, Model)> {
    let checkpoint = Checkpoint::open(path)?;
    let model = Model::load(&checkpoint, LoadOptions { memory: memory_limit()?, ..options })?;
    Ok((checkpoint, model))
}

/// `B158_MEMORY`: bytes that a model may take, in place of what the system says.
fn memory_limit() -> anyhow::Result<Option<u64>> {
    let Some(value) = std::env::var_os("B158_MEMORY") else { return Ok(None) };
    let bytes = value.to_str().and_then(|text| text.parse().ok());
    let hint = "give a number of bytes, such as 8000000000";
    bytes.map(Some).with_context(|| format!("B158_MEMORY is `{}`\nhint: {hint}", value.to_string_lossy()))
}
