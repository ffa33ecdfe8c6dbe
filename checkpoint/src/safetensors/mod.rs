//! The safetensors format (<https://huggingface.co/docs/safetensors>), read and written.
//!
//! ```text
//! | N: u64 LE | header: N bytes of JSON                                             | data |
//!               {"name": {"dtype": "F16", "shape": [2, 3], "data_offsets": [0, 12]}, ...}
//! ```
//!
//! - [`parse`] reads the header of a file.
//! - [`SafetensorsPlan`] and [`SafetensorsWriter`] write: all headers first, then one tensor after the
//!   other, in one file or in shards with their index, so that a model of any size streams through.

mod read;
mod write;

pub use read::{Entry, parse};
pub(crate) use write::INDEX;
pub use write::{SafetensorsPlan, SafetensorsWriter};
