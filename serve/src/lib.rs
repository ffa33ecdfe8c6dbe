//! OpenAI-compatible HTTP around one model, with continuous batching: an answer has the same bits alone or in a crowd.
//!
//! ```text
//! connections (tokio, 2 threads)                            engine (1 thread, the kernels' pool below it)
//!
//! request ─ key ─ body ─ fields ─ tokens ── Job ──►  waiting ─► slots [s0][s1][s2]
//!                                                                  │ a step: forward_batch over all of them
//! response ◄─ JSON, or one SSE document each ◄─ events ◄───────────┘ scores, pieces of text, the end
//!                                   (bounded: who does not read gives his slot to others)
//! ```
//!
//! - `config`, `server`: limits; listening, signals, draining.
//! - `routes`, `requests`, `sse`, `error`, `auth`: HTTP in OpenAI's forms.
//! - `engine`: sequences that join and leave between steps.
//! - `token_texts`, `metrics`: how tokens are spelled; Prometheus.

mod app;
mod auth;
mod config;
mod engine;
mod error;
mod metrics;
mod requests;
mod routes;
mod server;
mod sse;
mod token_texts;

pub use app::Chat;
pub use config::{Config, positions};
pub use server::{Error, Served, Server};
