//! Checkpoints from any format to any other, without loss.
//!
//! ```text
//! checkpoint ─► plan (names, types, sizes; everything that can be refused is refused here)
//!                 │
//!                 ▼            one tensor at a time, row by row
//!              header ─► codes (packed ones as they are, others by the scheme) ─► pack ─► write
//!                                                                                  │
//!              SHA-256 of the source, computed meanwhile ─► header, sync, rename ◄─┘
//! ```
//!
//! - [`convert()`] writes a GGUF file or a Hugging Face folder beside its final name, and renames it when
//!   it is whole.
//! - [`verify()`] reads an output back and proves every code and scale against the source.
//! - [`inspect()`] says what a checkpoint holds and whether its weights are ternary.
//! - [`batch`] converts many, within a memory budget, and goes on where it was interrupted.

pub mod batch;
mod error;
mod format;
mod gguf;
mod hugging_face;
mod inspect;
mod job;
mod plan;
mod report;
mod rows;
mod scale;
mod source;
mod ternary;
mod verify;
mod warnings;
mod write;

pub use error::Error;
pub use format::{Format, HeadType, LinearClass, Options, Scales, Scheme, activation, interleave};
pub use inspect::{Inspection, TensorInspection, TernaryInspection, Training, inspect};
pub use job::Progress;
pub use report::{Report, TensorReport};
pub use source::model_sha256;
pub use verify::{Verified, verify};
pub use write::convert;
