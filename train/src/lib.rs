//! Quantization-aware training of twin models: the same shape, data and steps, once in full precision and once with
//! ternary or binary linear layers.
//!
//! ```text
//!   recipe.yaml ── recipe ──┬─ text ── tokenizer ── windows      what is read, in what order
//!                           └─ scheme, schedule, shape
//!   train:  gradient (model, ops, scheme)  ──►  optimizer  ──►  parameters  ──►  state (resume)
//!                                                                   └──────►  export: a Hugging Face folder
//!   held_out: perplexity of text that was not read          curve: the losses, as JSON and SVG
//! ```
//!
//! Tensors and their differentiation are candle's; what a scheme does to weights is in [`scheme`], to activations in
//! [`ops`]. The same recipe and seed give the same bits on one machine, whatever the number of threads; another
//! machine may divide matrix products otherwise (crate gemm chooses by the size of caches and the instruction set),
//! so its last bits may differ.

pub mod curve;
pub mod error;
pub mod export;
pub mod gradient;
pub mod held_out;
pub mod model;
pub mod ops;
pub mod optimizer;
pub mod parameters;
mod random;
pub mod recipe;
pub mod schedule;
pub mod scheme;
pub mod state;
pub mod text;
pub mod tokenizer;
pub mod trainer;
pub mod windows;

pub use candle_core::Device;
pub use error::Error;
pub use recipe::{Recipe, RecipeFile};
pub use scheme::Scheme;
pub use trainer::{Observer, Report, TrainOptions, TwinReport, train};
