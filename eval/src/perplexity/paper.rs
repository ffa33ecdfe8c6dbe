//! Packed windows of b1.58's authors (microsoft/BitBLAS, `integration/BitNet/eval_ppl.py`): see [`crate::request`].
//!
//! WikiText-2 is packed line by line, C4 document by document: give the one as a text file and the other as `.jsonl`.
//! The papers' "PPL" is the mean of both perplexities.

use super::{Plan, Text};
use crate::evaluate::Preset;
use crate::request::{Encoder, Packed};
use crate::{Error, LanguageModel};

pub(super) fn plan(model: &dyn LanguageModel, text: &Text, context: usize) -> Result<Plan, Error> {
    let encoder = Encoder::new(model, Preset::Paper, true, context)?;
    let Packed { windows, left_out } = encoder.packed(&text.pieces())?;
    Ok(Plan { windows, left_out })
}
