//! GGUF, the container of llama.cpp: reads versions 1 to 3, writes version 3
//! (<https://github.com/ggml-org/ggml/blob/master/docs/gguf.md>).
//!
//! ```text
//! | "GGUF" | version u32 | tensors u64 | entries u64 |                  all numbers little-endian
//! | entry: key, type u32, value |  ...                                  a string is u64 bytes, then UTF-8
//! | tensor: name, dims u32, sizes u64 x dims, type u32, offset u64 | ...
//! | padding | tensor data | padding | tensor data | ...
//!           ^ data offset: a multiple of the alignment (32); so is every tensor's offset from here
//! ```
//!
//! In version 1 lengths, counts and sizes have 32 bits.
//!
//! The first size is that of the fastest dimension, so the sizes of a matrix `[rows, cols]` are
//! `cols, rows`: this module reverses them on both ways and shows row-major shapes only.
//!
//! - [`Gguf`] reads: strings and arrays stay in the file's bytes, and nothing is allocated by a
//!   count that the file claims.
//! - [`GgufPlan`] and [`GgufDataWriter`] write: first the whole header, then one tensor after the
//!   other, so that a model of any size streams through.
//! - [`metadata`] translates between [`crate::ModelConfig`] and llama.cpp's keys, [`tokenizer`]
//!   between a tokenizer.json and those of vocabularies.

pub mod metadata;
mod read;
mod rope;
pub mod tokenizer;
mod types;
mod value;
mod write;

#[cfg(test)]
mod tests;

pub use crate::tensor::TensorInfo;
pub use read::{Gguf, TensorEntry};
pub use rope::ROPE_FREQS;
pub use value::{Array, Value, ValueType};
pub use write::{GgufDataWriter, GgufPlan};

/// Tensor data starts at multiples of this many bytes unless `general.alignment` says otherwise.
pub const DEFAULT_ALIGNMENT: u64 = 32;

/// What bitnet.cpp has behind the codes of a tensor of type I2_S: the scale, then zeros.
pub fn i2_s_tail(scale: f32) -> [u8; I2_S_TAIL_BYTES] {
    let mut tail = [0; I2_S_TAIL_BYTES];
    tail[..4].copy_from_slice(&scale.to_le_bytes());
    tail
}

/// The length of that tail.
pub(crate) const I2_S_TAIL_BYTES: usize = 32;

const MAGIC: &[u8; 4] = b"GGUF";
/// ggml's `GGML_MAX_DIMS`.
const MAX_DIMS: usize = 4;
/// ggml's `GGML_MAX_NAME` less the terminating zero of its C strings.
const MAX_NAME_BYTES: usize = 63;
