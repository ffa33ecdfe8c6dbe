//! What can go wrong in a conversion.

use std::path::PathBuf;

/// An error of a conversion or of its proof.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The source or the written file could not be read.
    #[error(transparent)]
    Checkpoint(#[from] b158_checkpoint::Error),
    /// A format or scheme that does not exist.
    #[error("unknown {what} `{given}`\nhint: one of {valid}")]
    Unknown {
        /// "format" or "scheme".
        what: &'static str,
        /// What was asked for.
        given: String,
        /// The valid names.
        valid: String,
    },
    /// A row that is no multiple of the format's block.
    #[error(
        "{}: tensor `{tensor}`: rows of {cols} weights do not fit {format}, whose blocks hold {block}\nhint: no GGUF format written here fits; run the checkpoint itself, which needs no conversion",
        file.display()
    )]
    RowLength {
        /// The source's file.
        file: PathBuf,
        /// The tensor's name in the source.
        tensor: String,
        /// Its row length.
        cols: usize,
        /// The format that was asked for.
        format: &'static str,
        /// Weights of one block.
        block: usize,
    },
    /// Packed bytes that are not ternary codes.
    #[error("{}: tensor `{tensor}`: {reason}", file.display())]
    Packed {
        /// The source's file.
        file: PathBuf,
        /// The tensor's name in the source.
        tensor: String,
        /// What is wrong with it, and the remedy.
        reason: String,
    },
    /// A tensor holds NaN or infinity.
    #[error(
        "{}: tensor `{tensor}`: element {index} is not a finite number\nhint: the checkpoint is damaged or its training diverged; download it again or use an earlier one",
        file.display()
    )]
    NonFinite {
        /// The source's file.
        file: PathBuf,
        /// The tensor's name in the source.
        tensor: String,
        /// Position of the first bad element.
        index: usize,
    },
    /// The output could not be written.
    #[error(transparent)]
    Output(#[from] b158_checkpoint::OutputError),
    /// The output is a file of the source.
    #[error("{}: the output would replace the source\nhint: give the output another name", file.display())]
    OutputIsSource {
        /// The file that both are.
        file: PathBuf,
    },
    /// The source could not be read while it was hashed.
    #[error("{}: cannot read: {source}\nhint: check the file and its permissions", file.display())]
    Read {
        /// The source file.
        file: PathBuf,
        /// The system's error.
        source: std::io::Error,
    },
    /// A written file does not say what its source says.
    #[error("{}: tensor `{tensor}`: {difference}\nhint: convert again; if it happens again, this is a bug", file.display())]
    Verification {
        /// The written file.
        file: PathBuf,
        /// The tensor's name in the written file.
        tensor: String,
        /// Where it differs and how.
        difference: String,
    },
}
