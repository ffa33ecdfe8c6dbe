//! Many conversions: a list of jobs, a memory budget, a manifest, and going on after an interruption.
//!
//! ```text
//! jobs.yaml ─► plan  every source x every format is a job; names are unique; shapes fit
//!                │
//!                ▼   as many at once as the memory budget holds
//!              run ─► manifest.json, written anew after each job
//! ```
//!
//! A job that fails does not stop the others. A job counts as done, for `resume`, if the manifest says
//! so and the hashes of source and output are those in the manifest.

mod jobs;
mod manifest;
mod memory;
mod run;

pub use jobs::{JobFile, JobSpec};
pub use manifest::{Entry, Manifest, OutputEntry, Status};
pub use run::{Batch, Events, Planned};
