//! What can go wrong in training; every message names the file or the place, and where there is one, the remedy.

use std::path::PathBuf;

/// A failure to train.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// A recipe that does not say what it must.
    #[error("{file}: {message}{}", hint_line(hint))]
    Recipe {
        /// The file, with the line where it is known.
        file: String,
        /// What is wrong.
        message: String,
        /// The remedy; may be empty.
        hint: String,
    },
    /// A file could not be read.
    #[error("cannot read {}: {source}\nhint: {}", path.display(), read_hint(source))]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text has fewer tokens than one window takes.
    #[error(
        "{origin}: {tokens} tokens are no window of {window}\nhint: give more text, or a shorter `shape.context`"
    )]
    TooLittleText {
        /// The recipe and what of its data.
        origin: String,
        /// Its tokens.
        tokens: usize,
        /// Tokens of a window, with the one that is predicted last.
        window: usize,
    },
    /// The tokenizer cannot be made or does not fit.
    #[error("{file}: {message}{}", hint_line(hint))]
    Tokenizer {
        /// The file, or what it would be made of.
        file: String,
        /// What is wrong.
        message: String,
        /// The remedy; may be empty.
        hint: String,
    },
    /// Training needs more memory than there is.
    #[error(
        "{file}: twin '{twin}' needs about {} and {} are available\nhint: {}",
        bytes(*needed), bytes(*available), memory_hint(*micro, *per_sequence)
    )]
    Memory {
        /// The recipe.
        file: String,
        /// The twin.
        twin: String,
        /// Bytes that it needs.
        needed: u64,
        /// Bytes that there are.
        available: u64,
        /// Of those needed, bytes for each sequence of a micro-batch on each thread.
        per_sequence: u64,
        /// Sequences of a micro-batch.
        micro: usize,
    },
    /// The loss, or what leads to it, is no number any more.
    #[error(
        "twin '{twin}': {quantity} is {value:e} at step {step} (learning rate {rate:e})\nhint: lower the schedule's `peak`, or lengthen its `warmup`; the last checkpoint is of step {checkpoint}"
    )]
    Diverged {
        /// The twin.
        twin: String,
        /// The step, from 1.
        step: usize,
        /// What is no number: the loss, the norm of the gradient, a weight.
        quantity: &'static str,
        /// What it is.
        value: f64,
        /// The learning rate of that step.
        rate: f64,
        /// The step of the last state on disk.
        checkpoint: usize,
    },
    /// A weight is not finite, or no F16.
    #[error("a weight is not finite, or beyond what F16 holds")]
    NotFinite,
    /// A saved state that cannot be continued.
    #[error("{}: {message}\nhint: {hint}", path.display())]
    State {
        /// The file.
        path: PathBuf,
        /// What is wrong.
        message: String,
        /// The remedy.
        hint: &'static str,
    },
    /// A file could not be written.
    #[error(transparent)]
    Output(#[from] b158_checkpoint::OutputError),
    /// A model, its config or its tokenizer.
    #[error(transparent)]
    Checkpoint(#[from] b158_checkpoint::Error),
    /// A tensor operation failed; shapes are checked before, so this is a device's failure.
    #[error("the computation failed: {0}")]
    Tensor(#[from] candle_core::Error),
    /// The curves could not be drawn.
    #[error("the curves cannot be drawn: {0}")]
    Plot(String),
    /// The observer asked to stop; the state is on disk.
    #[error("stopped after step {step} of {steps}\nhint: --resume goes on from there")]
    Stopped {
        /// Steps done.
        step: usize,
        /// Steps of the recipe.
        steps: usize,
    },
}

fn hint_line(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("\nhint: {hint}") }
}

fn read_hint(error: &std::io::Error) -> &'static str {
    match error.kind() {
        std::io::ErrorKind::InvalidData => "it has to be text in UTF-8",
        std::io::ErrorKind::IsADirectory => "name a file",
        _ => "check the name and the permissions",
    }
}

fn memory_hint(micro: usize, per_sequence: u64) -> String {
    let per_sequence = bytes(per_sequence);
    if micro > 1 {
        return format!(
            "a smaller `batch.micro` takes less: {per_sequence} for each sequence on each thread"
        );
    }
    format!("a smaller `shape` takes less, or fewer threads: {per_sequence} on each of them")
}

pub(crate) fn bytes(n: u64) -> String {
    if n < 1_000_000_000 { format!("{:.2} MB", n as f64 / 1e6) } else { format!("{:.2} GB", n as f64 / 1e9) }
}
