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
//! - [`Session`]: one sequence, that is a key-value cache and scratch buffers.
//! - [`score()`]: log-likelihood of a continuation.
//! - [`generate()`]: greedy or sampled tokens; [`TextSession`]: text, with what a prompt shares with the last one
//!   computed once.
//! - [`bench`]: prefill and decode rates.

pub mod bench;
mod error;
mod generate;
mod kv_cache;
mod linear;
mod model;
mod sample;
mod score;
mod session;
mod stop;

pub use error::Error;
pub use generate::{
    GenerateOptions, Generation, Statistics, StopReason, TextGeneration, TextSession, generate,
};
pub use model::{LoadOptions, Model};
pub use sample::{Sampler, Sampling};
pub use score::{Score, argmax, score};
pub use session::Session;
pub use stop::StopStrings;
