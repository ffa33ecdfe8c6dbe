//! What clients may ask: JSON objects become values that are in range, or errors that name the field.
//!
//! - `fields`: single fields.
//! - `generation`: what completions and chats have in common.
//! - `completion`, `chat`: the two.

pub(crate) mod chat;
pub(crate) mod completion;
pub(crate) mod fields;
pub(crate) mod generation;

use serde_json::Value;

/// A list of token ids.
pub(crate) fn ids(value: &Value) -> Option<Vec<u32>> {
    value.as_array()?.iter().map(|id| id.as_u64().and_then(|id| u32::try_from(id).ok())).collect()
}
