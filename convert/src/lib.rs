//! Checkpoints of b1.58 models, full-precision or packed, to packed ternary files.
//!
//! ```text
//! checkpoint ─► plan (names, types, sizes; everything that can be refused is refused here)
//!                 │
//!                 ▼            one tensor at a time
//!              header ─► ternarize or unpack ─► pack ─► write ─► … ─► sync ─► rename to the final name
//! ```
//!
//! - [`convert()`] writes a file, tensor by tensor, beside its final name, and renames it when it is whole.
//! - [`verify()`] reads a written file back and proves every code and scale against the source.

mod error;
mod plan;
mod source_digest;
mod tensors;
mod verify;
mod write;

pub use error::Error;
pub use plan::{Format, Options, Scheme};
pub use verify::{Verified, verify};
pub use write::{Progress, Report, TensorReport, convert};
