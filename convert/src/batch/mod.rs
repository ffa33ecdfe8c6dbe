//! Many conversions: a list of jobs, a memory budget, a manifest, and going on after an interruption.
//!
//! ```text
//! jobs.yaml ─► plan  every source x every format is a job; names are unique; shapes fit
//!                │
//!                ▼   as many at once as the memory budget holds
//!              run ─► manifest.json, written anew after each job
//! ```
//!
//! A job that fails does not stop the others. For `resume` a job is done if the manifest has it as done, by
//! this version of b158 and with the same options, and the hashes in the manifest are those of
//! - the source's weights,
//! - its config, generation config and tokenizer,
//! - every file of the output.
//!
//! A batch may be run in parts, on several machines at once: each part has a list of jobs, and a manifest of its own, so
//! that no two write one file; [`Batch::join`] makes `manifest.json` of them.
//!
//! Whatever is not done runs, and takes the place of what is there under its name: of a GGUF file, or of a
//! folder that b158 wrote, never of another folder. The earlier output stays until the new one is whole.

mod jobs;
mod join;
mod lock;
mod manifest;
mod memory;
mod run;
mod small_file;
mod sources;

pub use jobs::{JobFile, JobSpec};
pub use manifest::{Entry, Manifest, OutputEntry, Status};
pub use run::{Batch, Events, Planned};
