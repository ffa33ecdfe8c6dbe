//! What a model takes in memory, before it is loaded and after, and what the system has.
//!
//! ```text
//!   ternary weights        working layout, 2 or 1.6 bits a weight      own memory
//!   full-precision weights embedding, head, linear layers of a twin    mapped (own if made here)
//!   norms                  f32                                         own memory
//!   key-value cache        grows with the sequence                     own memory
//!   buffers                activations and tables of one pass          own memory
//! ```
//!
//! The estimate comes from the config and the types of the tensors, so it is ready before a weight is read; a
//! test holds it against the loaded model.

mod available;

use std::path::Path;

use b158_checkpoint::{Checkpoint, ModelConfig, TensorId};
use b158_kernels::{
    Isa,
    kv::{KvPage, KvType},
    ternary::{Layout, TernaryMatrix},
};
use serde::{Deserialize, Serialize};

pub use self::available::available;
use crate::{Error, LoadOptions};

/// Rows of logits in memory, as [`Session`](crate::Session) has them at most.
const LOGIT_ROWS: u64 = 32;

/// Bytes of a model's weights in memory.
///
/// ```
/// use b158_runner::{LoadOptions, Model, Shape, SyntheticFormat};
///
/// let shape: &Shape = Shape::named("tiny").unwrap();
/// let model = Model::synthetic(shape, SyntheticFormat::Ternary, LoadOptions::default(), |_| ())?;
/// let memory = model.memory();
/// // Two or 1.6 bits a weight, as the instruction set likes it, and padding.
/// assert!(memory.ternary_bytes < shape.linear_weights() / 3);
/// assert_eq!(memory.embedding_bytes, 2 * 512 * 256);
/// assert_eq!(memory.mapped_bytes + memory.own_bytes, memory.weight_bytes());
/// # Ok::<(), b158_runner::Error>(())
/// ```
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct MemoryReport {
    /// Ternary linear layers, in the kernels' working layout.
    pub ternary_bytes: u64,
    /// Linear layers in full precision.
    pub dense_bytes: u64,
    /// The embedding.
    pub embedding_bytes: u64,
    /// The output head; 0 where it is the embedding.
    pub head_bytes: u64,
    /// Norms, in f32.
    pub norm_bytes: u64,
    /// Of all these, bytes that stay in the file and are mapped from it.
    pub mapped_bytes: u64,
    /// Of all these, bytes in the process's own memory: repacked, widened or made.
    pub own_bytes: u64,
}

impl MemoryReport {
    /// All weights.
    pub fn weight_bytes(&self) -> u64 {
        self.ternary_bytes + self.dense_bytes + self.embedding_bytes + self.head_bytes + self.norm_bytes
    }

    /// What a checkpoint will take, from its config and the types of its tensors.
    ///
    /// # Errors
    /// A tensor that is missing.
    pub fn of_checkpoint(checkpoint: &Checkpoint, isa: Isa) -> Result<Self, Error> {
        let ternary_linears = checkpoint.config().ternary_linears;
        let mut report = Self::default();
        for id in checkpoint.tensor_ids() {
            let tensor = checkpoint.tensor(id)?;
            let packed = !tensor.dtype.is_full_precision();
            let ternary = id.is_linear() && (packed || ternary_linears);
            report.add(id, &tensor.shape, ternary.then_some(isa), tensor.bytes().len() as u64, true);
        }
        Ok(report)
    }

    /// What a model of that config takes whose full-precision weights are f16 of our own.
    pub(crate) fn of_config(config: &ModelConfig, isa: Isa) -> Self {
        let mut report = Self::default();
        for id in TensorId::all(config) {
            let shape = id.shape(config);
            let bytes = 2 * shape.iter().product::<usize>() as u64;
            let ternary = id.is_linear() && config.ternary_linears;
            report.add(id, &shape, ternary.then_some(isa), bytes, false);
        }
        report
    }

    /// Counts a tensor: ternary for an instruction set, or of that many bytes in full precision.
    fn add(&mut self, id: TensorId, shape: &[usize], ternary: Option<Isa>, bytes: u64, mapped: bool) {
        let bytes = match (ternary, shape) {
            // A shape that has no layout is refused later, with its name.
            (Some(isa), &[rows, cols]) => {
                TernaryMatrix::bytes_of(Layout::best(isa), rows, cols).unwrap_or_default() as u64
            }
            _ if is_norm(id) => (size_of::<f32>() * shape.iter().product::<usize>()) as u64,
            _ => bytes,
        };
        let mapped = mapped && ternary.is_none() && !is_norm(id);
        *(if mapped { &mut self.mapped_bytes } else { &mut self.own_bytes }) += bytes;
        *(match id {
            TensorId::TokenEmbedding => &mut self.embedding_bytes,
            TensorId::OutputHead => &mut self.head_bytes,
            _ if is_norm(id) => &mut self.norm_bytes,
            _ if ternary.is_some() => &mut self.ternary_bytes,
            _ => &mut self.dense_bytes,
        }) += bytes;
    }
}

fn is_norm(id: TensorId) -> bool {
    !id.is_linear() && !matches!(id, TensorId::TokenEmbedding | TensorId::OutputHead)
}

/// Bytes of the key-value cache of `positions` tokens, whole pages of them.
pub fn cache_bytes(config: &ModelConfig, positions: usize, kv: KvType) -> u64 {
    let pages = (config.layers as u64).saturating_mul(positions.div_ceil(KvPage::POSITIONS) as u64);
    pages.saturating_mul(KvPage::bytes(kv, config.kv_heads, config.head_dim) as u64)
}

/// Bytes of the key-value cache that a token behind `positions` others reads.
pub fn cache_bytes_read(config: &ModelConfig, positions: usize, kv: KvType) -> u64 {
    cache_bytes(config, KvPage::POSITIONS, kv) / KvPage::POSITIONS as u64 * positions as u64
}

/// Bytes of the buffers of a session whose longest pass has `tokens` tokens: activations, int8 inputs, lookup
/// tables and logits. Computed from their sizes, not measured.
pub fn buffer_bytes(config: &ModelConfig, tokens: usize) -> u64 {
    let c = config;
    let (hidden, inner) = (c.hidden_size as u64, c.intermediate_size as u64);
    let (q, kv) = ((c.heads * c.head_dim) as u64, (c.kv_heads * c.head_dim) as u64);
    let widest = inner.max(hidden).max(q);
    let tokens = (tokens as u64).max(1);
    // x, h, out; q, attention; k, v; gate, up, inner and a normalized input.
    let floats = 3 * hidden + 2 * q + 2 * kv + 3 * inner + widest;
    let logits = tokens.min(LOGIT_ROWS) * c.vocab_size as u64;
    // The largest table of one token has 128 bytes for five columns, twice; those of eight tokens at most are kept.
    let tables = tokens.min(8) * widest.div_ceil(5) * 256;
    4 * (tokens * floats + logits) + tokens * widest + tables
}

/// What is needed to run a model with a context.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Needed {
    /// The weights.
    pub weights: MemoryReport,
    /// Tokens that the key-value cache is to hold.
    pub context: usize,
    /// The key-value cache of so many tokens.
    pub cache_bytes: u64,
    /// Activations and tables.
    pub buffer_bytes: u64,
}

impl Needed {
    /// Weights, a cache of the context that is asked for, and the buffers of a pass.
    pub fn new(config: &ModelConfig, weights: MemoryReport, options: &LoadOptions) -> Self {
        let context = options.context.unwrap_or_default();
        let longest = options.context.unwrap_or(config.context_length);
        Self {
            weights,
            context,
            cache_bytes: cache_bytes(config, context, options.kv),
            buffer_bytes: buffer_bytes(config, longest.min(options.prefill_tile.get())),
        }
    }

    /// All of it.
    pub fn bytes(&self) -> u64 {
        self.weights.weight_bytes().saturating_add(self.cache_bytes).saturating_add(self.buffer_bytes)
    }

    /// Refuses what does not fit into `available` bytes, or into what the system has; nothing is refused where the
    /// system does not say.
    ///
    /// # Errors
    /// [`Error::Memory`] with the numbers.
    pub fn check(&self, model: &Path, available: Option<u64>) -> Result<(), Error> {
        match available.or_else(self::available) {
            Some(available) if available < self.bytes() => {
                Err(Error::Memory { model: model.to_owned(), needed: Box::new(*self), available })
            }
            _ => Ok(()),
        }
    }
}

/// `ternary weights 0.42 GB, …`: the parts that are there.
impl std::fmt::Display for Needed {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let w = &self.weights;
        let parts = [
            ("ternary weights", w.ternary_bytes),
            ("full-precision linear layers", w.dense_bytes),
            ("embedding and head", w.embedding_bytes + w.head_bytes),
            ("norms", w.norm_bytes),
            ("buffers", self.buffer_bytes),
        ];
        let mut comma = "";
        for (name, bytes) in parts.into_iter().filter(|(_, bytes)| *bytes > 0) {
            write!(f, "{comma}{name} {}", Bytes(bytes))?;
            comma = ", ";
        }
        if self.context > 0 {
            write!(f, "{comma}key-value cache of {} tokens {}", self.context, Bytes(self.cache_bytes))?;
        }
        Ok(())
    }
}

/// A number of bytes in decimal units.
#[derive(Clone, Copy, Debug)]
pub struct Bytes(pub u64);

impl std::fmt::Display for Bytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if self.0 >= 100_000_000 {
            write!(f, "{:.2} GB", self.0 as f64 / 1e9)
        } else {
            write!(f, "{:.2} MB", self.0 as f64 / 1e6)
        }
    }
}
