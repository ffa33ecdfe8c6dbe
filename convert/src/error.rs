//! What can go wrong in a conversion.

use std::path::PathBuf;

/// An error of a conversion or of its proof.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The source or the written file could not be read.
    #[error(transparent)]
    Checkpoint(#[from] b158_checkpoint::Error),
    /// A format, scheme or other choice that does not exist.
    #[error("unknown {what} `{given}`\nhint: one of {valid}")]
    Unknown {
        /// What was to be chosen.
        what: &'static str,
        /// What was asked for.
        given: String,
        /// The valid names.
        valid: String,
    },
    /// The format cannot be written under that name.
    #[error("{}: the name does not fit the format {format}\nhint: {hint}", file.display())]
    Name {
        /// The output.
        file: PathBuf,
        /// The format.
        format: &'static str,
        /// Which name does.
        hint: &'static str,
    },
    /// A shape that the format cannot hold.
    #[error("{}: tensor `{tensor}` has {needs}\nhint: formats that fit the model: {fitting}", file.display())]
    Shape {
        /// The source's file.
        file: PathBuf,
        /// The tensor's name in the source.
        tensor: String,
        /// Its size and the format's.
        needs: String,
        /// The formats that hold it.
        fitting: String,
    },
    /// Embeddings and head cannot be stored in the type asked for.
    #[error("{}: embeddings and output head: {reason}\nhint: {hint}", file.display())]
    Head {
        /// The source's file.
        file: PathBuf,
        /// Why not.
        reason: String,
        /// What to choose instead.
        hint: &'static str,
    },
    /// Weights without codes, and a scheme that makes none.
    #[error(
        "{}: tensor `{tensor}` is not ternary: its weights have more than one magnitude\nhint: choose a scheme (absmean, absmedian or binary) that makes it so",
        file.display()
    )]
    NotTernary {
        /// The source's file.
        file: PathBuf,
        /// The tensor's name in the source.
        tensor: String,
    },
    /// Codes 0, and a format that has none.
    #[error(
        "{}: tensor `{tensor}` holds weights of 0, but {format} stores one bit, -1 or +1\nhint: it is for binary models (BitNet), whose full-precision weights the scheme binary makes so; ternary codes need another format",
        file.display()
    )]
    HasZeros {
        /// The source's file.
        file: PathBuf,
        /// The tensor's name in the source.
        tensor: String,
        /// The format.
        format: &'static str,
    },
    /// A scale that its place in the output cannot hold.
    #[error(
        "{}: tensor `{tensor}`: the scale {scale} does not fit {format}\nhint: choose a format that keeps scales in f32 (tq1_0, tq2_0, q2_0, i2_s, hf)",
        file.display()
    )]
    Scale {
        /// The source's file.
        file: PathBuf,
        /// The tensor's name in the source.
        tensor: String,
        /// Its scale.
        scale: f32,
        /// The format.
        format: &'static str,
    },
    /// A weight beyond the range of the type asked for.
    #[error(
        "{}: tensor `{tensor}`: element {index} is {value}, too large for {dtype}\nhint: choose bf16 or f32",
        file.display()
    )]
    TooLarge {
        /// The source's file.
        file: PathBuf,
        /// The tensor's name in the source.
        tensor: String,
        /// Position of the first such element.
        index: usize,
        /// Its value.
        value: f32,
        /// The type.
        dtype: &'static str,
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
    /// The source was written to while it was read.
    #[error("{}: the file changed while it was converted\nhint: wait until it is complete, then convert again", file.display())]
    SourceChanged {
        /// The source file.
        file: PathBuf,
    },
    /// A file that lists jobs, or a manifest, is not what it should be.
    #[error("{}: {reason}\nhint: {hint}", file.display())]
    Jobs {
        /// The file.
        file: PathBuf,
        /// What is wrong.
        reason: String,
        /// What to do about it.
        hint: String,
    },
    /// A job takes more memory than the budget of its batch.
    #[error(
        "{}: the conversion takes up to {} MiB, but the budget is {} MiB\nhint: raise `memory` in the job file",
        file.display(), needed >> 20, budget >> 20
    )]
    Memory {
        /// The job's source.
        file: PathBuf,
        /// What it takes, in bytes.
        needed: u64,
        /// What all jobs together may take, in bytes.
        budget: u64,
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
