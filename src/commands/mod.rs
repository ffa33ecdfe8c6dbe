//! One file for each verb.

pub mod bench;
pub mod compare;
pub mod convert;
pub mod eval;
pub mod logits;
pub mod reproduce;
pub mod run;
pub mod suite;

use std::path::Path;

use b158_checkpoint::Checkpoint;
use b158_kernels::Isa;
use b158_runner::{LoadOptions, Model};

/// Opens and loads a model.
fn load(path: &Path, isa: Isa, context: Option<usize>) -> anyhow::Result<(Checkpoint, Model)> {
    let checkpoint = Checkpoint::open(path)?;
    let model = Model::load(&checkpoint, LoadOptions { isa, context })?;
    Ok((checkpoint, model))
}
