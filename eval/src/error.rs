//! What can go wrong in an evaluation; every message names the file, task or document and, where there is one,
//! the remedy on a `hint:` line.

use std::path::PathBuf;

/// A failure to evaluate or to compare.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// Data or a table could not be read or written.
    #[error(transparent)]
    Data(#[from] b158_datasets::Error),
    /// A file could not be written.
    #[error(transparent)]
    Output(#[from] b158_checkpoint::OutputError),
    /// A file could not be read.
    #[error("cannot read {}: {source}\nhint: check the name and the permissions", path.display())]
    Read {
        /// The file or folder.
        path: PathBuf,
        /// What the operating system said.
        source: std::io::Error,
    },
    /// A suite, task or results file that does not say what it must.
    #[error("{file}: {message}{}", hint_line(hint))]
    Config {
        /// The file, with the line where it is known.
        file: String,
        /// What is wrong.
        message: String,
        /// The remedy; may be empty.
        hint: String,
    },
    /// No task has this name.
    #[error("unknown task '{name}'{}", hint_line(hint))]
    UnknownTask {
        /// The name.
        name: String,
        /// The nearest name and all others.
        hint: String,
    },
    /// A document that its task cannot turn into requests.
    #[error("task {task}, document {document} of {origin}: {message}{}", hint_line(hint))]
    Document {
        /// The task.
        task: String,
        /// Index of the document, from 0.
        document: usize,
        /// The data file.
        origin: String,
        /// What is wrong.
        message: String,
        /// The remedy; may be empty.
        hint: String,
    },
    /// The model has neither a BOS nor an EOS token to start from.
    #[error(
        "the tokenizer has neither a BOS nor an EOS token to put before an empty context\nhint: name one in tokenizer_config.json"
    )]
    NoPrefixToken,
    /// The model has no EOS token to put after a text.
    #[error(
        "the tokenizer has no EOS token to put after each text\nhint: name one in config.json (eos_token_id)"
    )]
    NoEndToken,
    /// The tokenizer or the model failed.
    #[error("the model failed: {0}")]
    Model(Box<dyn std::error::Error + Send + Sync>),
    /// Two results cannot be paired.
    #[error("cannot compare {baseline} with {candidate}: {message}{}", hint_line(hint))]
    Unpaired {
        /// Name of the baseline.
        baseline: String,
        /// Name of the candidate.
        candidate: String,
        /// The first difference.
        message: String,
        /// The remedy.
        hint: String,
    },
}

fn hint_line(hint: &str) -> String {
    if hint.is_empty() { String::new() } else { format!("\nhint: {hint}") }
}
