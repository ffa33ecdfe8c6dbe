//! What can go wrong between a checkpoint and its logits.

use std::path::PathBuf;

use crate::memory::{Bytes, Needed};

/// An error of loading or running a model.
#[derive(Debug, thiserror::Error)]
pub enum Error {
    /// The checkpoint could not be read.
    #[error(transparent)]
    Checkpoint(#[from] b158_checkpoint::Error),
    /// A tensor holds NaN or infinity, so it has no scale.
    #[error(
        "{}: tensor `{tensor}`: element {index} is not a finite number\nhint: the checkpoint is damaged or its training diverged; download it again or use an earlier one",
        file.display()
    )]
    NonFiniteWeight {
        /// The checkpoint.
        file: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// Position of the first bad element.
        index: usize,
    },
    /// Packed codes that are not ternary, or blocks with different scales.
    #[error("{}: tensor `{tensor}`: {reason}", file.display())]
    Packed {
        /// The checkpoint.
        file: PathBuf,
        /// The tensor's name in the file.
        tensor: String,
        /// What is wrong with it, and the remedy.
        reason: String,
    },
    /// An activation became NaN or infinite.
    #[error(
        "{}: {place}: the activations of token {token} are not finite\nhint: the checkpoint is damaged, or its values overflow f32 (a key-value cache in f16: 65504); download it again, use an earlier one, or --kv f32",
        file.display()
    )]
    NonFiniteActivation {
        /// The checkpoint.
        file: PathBuf,
        /// The layer and the operation.
        place: String,
        /// The token's position in the sequence.
        token: usize,
    },
    /// A token id outside the vocabulary.
    #[error("token id {id} is outside the vocabulary of {vocab_size} tokens\nhint: valid ids are 0 to {}", vocab_size - 1)]
    TokenOutOfVocabulary {
        /// The id.
        id: u32,
        /// Number of rows of the embedding.
        vocab_size: usize,
    },
    /// The model does not fit into memory; said before a weight is read.
    #[error(
        "{}: running it takes {} ({needed}), but {} of memory are available\nhint: {}",
        model.display(), Bytes(needed.bytes()), Bytes(*available), memory_hint(needed)
    )]
    Memory {
        /// The checkpoint, or what would be made.
        model: PathBuf,
        /// What it takes.
        needed: Box<Needed>,
        /// Bytes that there are.
        available: u64,
    },
    /// The sequence would outgrow the session.
    #[error(
        "the sequence would have {wanted} tokens, but the context holds {capacity}\nhint: {}", context_hint(*capacity, *limit)
    )]
    ContextFull {
        /// Tokens that the sequence would have.
        wanted: usize,
        /// Tokens that the session was made for.
        capacity: usize,
        /// The limit in the model's config.
        limit: usize,
    },
    /// Nothing to run.
    #[error("the {what} has no tokens\nhint: give at least one token")]
    Empty {
        /// Which input.
        what: &'static str,
    },
    /// A sampling option outside its range.
    #[error("{option} is {value}\nhint: {valid}")]
    Sampling {
        /// The option's name.
        option: &'static str,
        /// What was given.
        value: f64,
        /// What is valid.
        valid: &'static str,
    },
}

/// What takes most is what to make smaller.
fn memory_hint(needed: &Needed) -> &'static str {
    let weights = &needed.weights;
    if needed.cache_bytes > weights.weight_bytes() {
        "most of it is the key-value cache: a shorter context (--ctx, or --depth of bench) or --kv f16 or q8 makes it smaller"
    } else if weights.dense_bytes > weights.ternary_bytes {
        "a ternary model takes a tenth of that; otherwise close other programs or use a machine with more memory"
    } else if weights.embedding_bytes + weights.head_bytes > weights.ternary_bytes {
        "convert it with `--head q8_0` or `q6_k`, choose a shorter context, or close other programs"
    } else {
        "choose a shorter context, close other programs, or use a machine with more memory"
    }
}

fn context_hint(capacity: usize, limit: usize) -> String {
    if capacity < limit {
        format!("shorten the input, or raise the context up to the model's limit of {limit}")
    } else {
        "shorten the input; this is the model's limit".to_owned()
    }
}
