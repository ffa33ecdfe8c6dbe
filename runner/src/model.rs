//! A model's weights, ready to run.

use std::{
    num::NonZeroUsize,
    path::{Path, PathBuf},
};

use b158_checkpoint::{Checkpoint, LayerTensor, ModelConfig, TensorId};
use b158_kernels::{Isa, kv::KvType};
use rayon::prelude::*;

use crate::{
    Error,
    linear::{BlockLinear, Linear},
    memory::{MemoryReport, Needed},
    rope_cache::RopeCache,
    weights::DenseWeights,
};

/// How to load a model.
#[derive(Clone, Copy, Debug)]
pub struct LoadOptions {
    /// The instruction set of every kernel.
    pub isa: Isa,
    /// The longest sequence, in tokens; `None` stands for the limit in the model's config.
    pub context: Option<usize>,
    /// The type of cached keys and values. Results depend on it, as they do on the type of a weight.
    pub kv: KvType,
    /// Tokens of one pass through the layers. It bounds the scratch memory of a long prompt and, since no
    /// result depends on it, nothing else.
    pub prefill_tile: NonZeroUsize,
    /// Bytes of memory that there are; `None` stands for what the system says. A model that takes more is
    /// refused before it is loaded. Of the key-value cache only a `context` that was asked for is counted: it
    /// grows with the sequence, which need not reach the model's limit.
    pub memory: Option<u64>,
}

impl Default for LoadOptions {
    fn default() -> Self {
        Self {
            isa: Isa::best(),
            context: None,
            kv: KvType::F32,
            prefill_tile: const { NonZeroUsize::new(256).unwrap() },
            memory: None,
        }
    }
}

impl LoadOptions {
    /// The context under the limit of the model's config.
    ///
    /// # Errors
    /// Zero, or beyond the limit.
    pub(crate) fn context_within(&self, limit: usize) -> Result<usize, Error> {
        match self.context.unwrap_or(limit) {
            0 => Err(Error::Empty { what: "context" }),
            wanted if wanted > limit => Err(Error::ContextFull { wanted, capacity: limit, limit }),
            context => Ok(context),
        }
    }
}

/// One Transformer block.
pub(crate) struct Layer {
    pub(crate) attn_norm: Vec<f32>,     // [hidden], empty if the layout has none
    pub(crate) q: BlockLinear,          // [heads * head_dim, hidden]
    pub(crate) k: BlockLinear,          // [kv_heads * head_dim, hidden]
    pub(crate) v: BlockLinear,          // [kv_heads * head_dim, hidden]
    pub(crate) attn_sub_norm: Vec<f32>, // [heads * head_dim], empty if the architecture has none
    pub(crate) o: BlockLinear,          // [hidden, heads * head_dim]
    pub(crate) ffn_norm: Vec<f32>,      // [hidden], empty if the layout has none
    pub(crate) gate: BlockLinear,       // [intermediate, hidden]
    pub(crate) up: BlockLinear,         // [intermediate, hidden]
    pub(crate) ffn_sub_norm: Vec<f32>,  // [intermediate], empty if the architecture has none
    pub(crate) down: BlockLinear,       // [hidden, intermediate]
}

/// A model that is ready to run. It is immutable and shared by all sessions.
pub struct Model {
    pub(crate) path: PathBuf,
    pub(crate) config: ModelConfig,
    pub(crate) isa: Isa,
    pub(crate) context: usize,
    pub(crate) kv: KvType,
    pub(crate) prefill_tile: usize,
    pub(crate) rope: RopeCache,
    pub(crate) embedding: DenseWeights, // [vocab, hidden]
    pub(crate) layers: Vec<Layer>,
    pub(crate) output_norm: Vec<f32>, // [hidden]
    pub(crate) head: Linear,          // [vocab, hidden]; the embedding itself where the two are tied
}

impl Model {
    /// Loads every tensor: full-precision weights stay mapped, ternary ones are brought into the
    /// kernels' working layout, all layers at a time.
    ///
    /// ```no_run
    /// use b158_checkpoint::Checkpoint;
    /// use b158_runner::{LoadOptions, Model};
    ///
    /// let checkpoint = Checkpoint::open("model.gguf".as_ref())?;
    /// let model = Model::load(&checkpoint, LoadOptions { context: Some(2048), ..LoadOptions::default() })?;
    /// println!("{} bytes of ternary weights", model.memory().ternary_bytes);
    /// # Ok::<(), b158_runner::Error>(())
    /// ```
    ///
    /// # Errors
    /// A damaged tensor, a context of zero or beyond the config's limit, or memory that does not suffice.
    pub fn load(checkpoint: &Checkpoint, options: LoadOptions) -> Result<Self, Error> {
        let config = checkpoint.config().clone();
        let context = options.context_within(config.context_length)?;
        let weights = MemoryReport::of_checkpoint(checkpoint, options.isa)?;
        let needed = Needed::new(&config, weights, &options);
        needed.check(checkpoint.path(), options.memory)?;

        let head = if config.tied_embeddings { TensorId::TokenEmbedding } else { TensorId::OutputHead };
        // Collected before the first error is taken, so that the same one is told every time.
        let layers: Vec<_> = (0..config.layers)
            .into_par_iter()
            .map(|index| load_layer(checkpoint, index, options.isa))
            .collect();
        Ok(Self {
            path: checkpoint.path().to_owned(),
            isa: options.isa,
            context,
            kv: options.kv,
            prefill_tile: options.prefill_tile.get(),
            rope: RopeCache::new(config.rope_frequencies()),
            embedding: DenseWeights::Mapped(checkpoint.tensor(TensorId::TokenEmbedding)?),
            layers: layers.into_iter().collect::<Result<_, _>>()?,
            output_norm: vector(checkpoint, TensorId::OutputNorm)?,
            head: Linear::load(checkpoint, head, options.isa)?,
            config,
        })
    }

    /// The model's shape and constants.
    pub fn config(&self) -> &ModelConfig {
        &self.config
    }

    /// Where the model came from.
    pub fn path(&self) -> &Path {
        &self.path
    }

    /// The longest sequence that a session can hold, in tokens.
    pub fn context(&self) -> usize {
        self.context
    }

    /// The type of cached keys and values.
    pub fn kv(&self) -> KvType {
        self.kv
    }

    /// The instruction set in use.
    pub fn isa(&self) -> Isa {
        self.isa
    }

    /// Bytes of all weights as they lie in memory (mapped or in the working layout).
    pub fn weight_bytes(&self) -> usize {
        self.memory().weight_bytes() as usize
    }

    /// What the weights take in memory, by kind.
    pub fn memory(&self) -> MemoryReport {
        let norms: usize = self
            .layers
            .iter()
            .map(|l| l.attn_norm.len() + l.attn_sub_norm.len() + l.ffn_norm.len() + l.ffn_sub_norm.len())
            .sum::<usize>()
            + self.block_linears().map(|l| l.input_norm.len()).sum::<usize>()
            + self.output_norm.len();
        let norm_bytes = (norms * size_of::<f32>()) as u64;
        let mut report = MemoryReport { norm_bytes, own_bytes: norm_bytes, ..MemoryReport::default() };
        let mut own_or_mapped = |bytes: usize, mapped| {
            *(if mapped { &mut report.mapped_bytes } else { &mut report.own_bytes }) += bytes as u64;
            bytes as u64
        };
        let (mut ternary, mut dense) = (0, 0);
        for linear in self.linears() {
            let bytes = own_or_mapped(linear.bytes(), linear.is_mapped());
            *(if linear.is_ternary() { &mut ternary } else { &mut dense }) += bytes;
        }
        let embedding = own_or_mapped(self.embedding.bytes(), self.embedding.is_mapped());
        let head = if self.config.tied_embeddings {
            0
        } else {
            own_or_mapped(self.head.bytes(), self.head.is_mapped())
        };
        MemoryReport {
            ternary_bytes: ternary,
            dense_bytes: dense,
            embedding_bytes: embedding,
            head_bytes: head,
            ..report
        }
    }

    /// Whether the linear layers of the blocks are ternary.
    pub fn is_ternary(&self) -> bool {
        self.linears().all(Linear::is_ternary)
    }

    fn linears(&self) -> impl Iterator<Item = &Linear> {
        self.block_linears().map(|l| &l.linear)
    }

    fn block_linears(&self) -> impl Iterator<Item = &BlockLinear> {
        self.layers.iter().flat_map(|l| [&l.q, &l.k, &l.v, &l.o, &l.gate, &l.up, &l.down])
    }
}

fn load_layer(checkpoint: &Checkpoint, index: usize, isa: Isa) -> Result<Layer, Error> {
    let config = checkpoint.config();
    let id = |kind| TensorId::Layer { index, kind };
    let norm = |kind, exists| if exists { vector(checkpoint, id(kind)) } else { Ok(Vec::new()) };
    let linear = |kind: LayerTensor| {
        let input_norm = kind.input_norm().filter(|_| config.linear_norm_eps.is_some());
        Ok::<_, Error>(BlockLinear {
            linear: Linear::load(checkpoint, id(kind), isa)?,
            input_norm: input_norm.map_or(Ok(Vec::new()), |kind| norm(kind, true))?,
        })
    };
    Ok(Layer {
        attn_norm: norm(LayerTensor::AttnNorm, config.block_norms)?,
        q: linear(LayerTensor::AttnQ)?,
        k: linear(LayerTensor::AttnK)?,
        v: linear(LayerTensor::AttnV)?,
        attn_sub_norm: norm(LayerTensor::AttnSubNorm, config.sub_norms)?,
        o: linear(LayerTensor::AttnOutput)?,
        ffn_norm: norm(LayerTensor::FfnNorm, config.block_norms)?,
        gate: linear(LayerTensor::FfnGate)?,
        up: linear(LayerTensor::FfnUp)?,
        ffn_sub_norm: norm(LayerTensor::FfnSubNorm, config.sub_norms)?,
        down: linear(LayerTensor::FfnDown)?,
    })
}

/// A vector in f32, whatever its type in the file.
fn vector(checkpoint: &Checkpoint, id: TensorId) -> Result<Vec<f32>, Error> {
    let tensor = checkpoint.tensor(id)?;
    let weights = tensor.dense()?;
    let mut out = vec![0.0; weights.len()];
    weights.to_f32(&mut out);
    match out.iter().position(|w| !w.is_finite()) {
        None => Ok(out),
        Some(index) => {
            let (file, tensor) = (tensor.file().to_owned(), tensor.name.clone());
            Err(Error::NonFiniteWeight { file, tensor, index })
        }
    }
}
