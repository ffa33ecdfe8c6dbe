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
    #[error("cannot read {}: {source}\nhint: check the name and the permissions", path.display())]
    Read {
        /// The file.
        path: PathBuf,
        /// What the system said.
        source: std::io::Error,
    },
    /// The text has fewer tokens than one window takes.
    #[error(
        "{origin}: {tokens} tokens are no window of {window}\nhint: give more text, or a shorter context"
    )]
    TooLittleText {
        /// Where the text is from.
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
        "{file}: twin '{twin}' needs about {} and {} are available\nhint: a smaller `batch.micro` takes less: {} for each sequence on each thread",
        bytes(*needed), bytes(*available), bytes(*per_sequence)
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
    },
    /// The loss is no number any more.
    #[error(
        "twin '{twin}': the loss is {loss} at step {step} (learning rate {rate:e})\nhint: lower the schedule's `peak`, or lengthen its `warmup`; the last checkpoint is of step {checkpoint}"
    )]
    Diverged {
        /// The twin.
        twin: String,
        /// The step, from 1.
        step: usize,
        /// The loss.
        loss: f64,
        /// The learning rate of that step.
        rate: f64,
        /// The step of the last state on disk.
        checkpoint: usize,
    },
    /// A weight is not finite.
    #[error("a weight is not finite")]
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

fn bytes(n: u64) -> String {
    format!("{:.2} GB", n as f64 / 1e9)
}
