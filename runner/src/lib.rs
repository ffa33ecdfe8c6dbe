//! Executes the Transformer: prefill, decode, scoring and generation, with the same bits on every
//! instruction set, thread count and split of the input.
//!
//! ```text
//! tokens ── embedding ──► x ─┬─ norm ─ q,k,v ─ rope ─ attention ─ (sub-norm) ─ o ─┬─ + ─► x
//!                            └────────────────────────────────────────────────────┘
//!                         x ─┬─ norm ─ gate,up ─ activation ─ (sub-norm) ─ down ──┬─ + ─► x
//!                            └────────────────────────────────────────────────────┘
//!                         x ── norm ── head ──► logits
//! ```
//!
//! Why the bits do not depend on how the work is split: every output element of every operation is
//! one reduction in one fixed order (see [`b158_kernels`]), computed by one thread; threads, tiles
//! and batches only decide who computes which element, never in which order its terms are added.
//!
//! - [`Model`]: weights and shape, shared by all threads.
//! - [`Session`]: one sequence, that is a key-value cache and scratch buffers; a fork shares the cache.
//! - [`forward_batch`]: several sequences in one pass.
//! - [`score()`], [`score_batch`], [`score_rolling`]: log-likelihoods of a continuation, of many, of a text.
//! - [`generate()`]: greedy or sampled tokens; [`TextSession`]: text, with what a prompt shares with the last one
//!   computed once.
//! - [`bench`]: rates, latency, memory and energy.
//!
//! ```
//! use b158_runner::{LoadOptions, Model, Session, Shape, SyntheticFormat, argmax};
//!
//! // A model without training; `Model::load` takes a checkpoint.
//! let shape = Shape::named("tiny").unwrap();
//! let model = Model::synthetic(shape, SyntheticFormat::Ternary, LoadOptions::default(), |_| ())?;
//! let mut session = Session::new(&model, 16)?;
//! let logits = session.forward(&[1, 17, 42], 2)?; // of the last token
//! let next = argmax(logits.as_slice().unwrap());
//! session.forward(&[next as u32], 0)?;
//! assert_eq!(session.len(), 4);
//! # Ok::<(), b158_runner::Error>(())
//! ```

mod awake;
pub mod bench;
mod error;
mod generate;
mod kv_cache;
mod linear;
pub mod memory;
mod model;
mod pass;
mod rope_cache;
mod sample;
mod score;
mod session;
mod shapes;
mod stop;
mod synthetic;
mod weights;

pub use error::Error;
pub use generate::{
    GenerateOptions, Generation, Statistics, StopReason, TextGeneration, TextSession, generate,
};
pub use memory::MemoryReport;
pub use model::{LoadOptions, Model};
pub use sample::{Sampler, Sampling};
pub use score::{Score, ScoreRequest, argmax, score, score_batch, score_rolling};
pub use session::{Part, Session, forward_batch};
pub use shapes::Shape;
pub use stop::StopStrings;
pub use synthetic::SyntheticFormat;
