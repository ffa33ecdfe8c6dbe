//! Recipes: everything that determines the twins, in one file.
//!
//! ```yaml
//! recipe: desk-s
//! seed: 1                           # of the first weights and of the order of the text
//! shape: {hidden_size: 128, intermediate_size: 384, layers: 3, heads: 4, vocab_size: 1024, context: 256}
//! tokenizer: train                  # byte-level BPE of vocab_size, learnt from the text; or a tokenizer.json
//! data:
//!   desk: {seed: 1, bytes: 12000000}          # the project's own text, or
//!   # text: {train: [stories.txt], held_out: [more.txt], separator: "<|endoftext|>"}
//! batch: {sequences: 16, micro: 4}  # sequences of a step, and of what one thread computes at once
//! steps: 1000
//! twins:
//!   - {name: fp16, scheme: fp16, schedule: {kind: cosine, peak: 2e-3, warmup: 50, weight_decay: 0.1}}
//!   - name: b158
//!     scheme: b1.58                 # fp16, b1.58, b1.58-absmedian, bitnet, bnn
//!     layout: 1bitllm               # llama, 1bitllm, 2b4t
//!     schedule: {kind: two_stage, peak: 4e-3, second_peak: 2.5e-3, warmup: 50, weight_decay: 0.1}
//! ```
//!
//! Optional: `clip` (norm of the gradient, 1), `checkpoint_every` and `held_out_every` (steps), `held_out_windows`,
//! in `shape` `kv_heads`, `tied_embeddings` (true), `rope_theta`, `norm_eps`, in a twin `groups`. Paths are relative
//! to the recipe; those of text to a folder that is named when training begins, if one is.

use std::path::{Path, PathBuf};

use b158_checkpoint::{Activation, Architecture, ModelConfig, RopeScaling};
use b158_kernels::rope::RopePairs;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{Error, Scheme, curve, schedule::Schedule, state};

/// A recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Recipe {
    /// Its name.
    pub recipe: String,
    /// Seed of the first weights and of the order of the text.
    pub seed: u64,
    /// The shape of every twin.
    pub shape: Shape,
    /// `train`, or the path of a tokenizer.json.
    pub tokenizer: String,
    /// What is read.
    pub data: Data,
    /// How much of it in a step.
    pub batch: Batch,
    /// Updates.
    pub steps: usize,
    /// The largest norm of a gradient.
    #[serde(default = "one")]
    pub clip: f64,
    /// Steps between two states on disk.
    #[serde(default = "hundred")]
    pub checkpoint_every: usize,
    /// Steps between two measurements on held-out text.
    #[serde(default = "hundred")]
    pub held_out_every: usize,
    /// Windows of held-out text that are measured.
    #[serde(default = "hundred")]
    pub held_out_windows: usize,
    /// The models.
    pub twins: Vec<Twin>,
}

/// A model's shape, in elements.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Shape {
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward network.
    pub intermediate_size: usize,
    /// Blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; `heads` where they are not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub kv_heads: Option<usize>,
    /// Tokens of the vocabulary.
    pub vocab_size: usize,
    /// Tokens of a window, and of the longest sequence of the model.
    pub context: usize,
    /// Whether the output head is the embedding.
    #[serde(default = "yes")]
    pub tied_embeddings: bool,
    /// Base of the rotary frequencies.
    #[serde(default = "theta")]
    pub rope_theta: f64,
    /// Added to the mean square in norms.
    #[serde(default = "eps")]
    pub norm_eps: f32,
}

/// What is read; one of the two.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Data {
    /// The project's own text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub desk: Option<Desk>,
    /// Text files.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub text: Option<TextFiles>,
}

/// Generated text about a small world ([`b158_datasets::world`]).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Desk {
    /// What is told, of what could be.
    pub seed: u64,
    /// Bytes of the text to learn from.
    pub bytes: usize,
}

/// Text in files, UTF-8.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct TextFiles {
    /// To learn from.
    pub train: Vec<String>,
    /// To measure with.
    pub held_out: Vec<String>,
    /// What stands between two documents; an empty line where it is not given.
    #[serde(default = "empty_line")]
    pub separator: String,
}

/// The text of one step.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Batch {
    /// Sequences, of `shape.context` tokens each.
    pub sequences: usize,
    /// Sequences that one thread computes at once; more take more memory.
    pub micro: usize,
}

/// Where the norms are and what the feed-forward network computes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub enum Layout {
    /// LLaMA: no norms before the output and down projections.
    #[serde(rename = "llama")]
    Llama,
    /// 1bitLLM's b1.58: with them.
    #[serde(rename = "1bitllm")]
    OneBitLlm,
    /// BitNet b1.58 2B4T: with them, and squared ReLU.
    #[serde(rename = "2b4t")]
    TwoB4T,
}

/// One model of the recipe.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Twin {
    /// Its name, and its folder's.
    pub name: String,
    /// What its linear layers do.
    pub scheme: Scheme,
    /// `llama` for fp16 and `1bitllm` for the others, where it is not given.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub layout: Option<Layout>,
    /// Groups of quantization, for bitnet.
    #[serde(default = "one_group")]
    pub groups: usize,
    /// Its learning rate.
    pub schedule: Schedule,
}

impl Twin {
    /// The layout that it has.
    pub fn layout(&self) -> Layout {
        let default = if self.scheme.is_quantized() { Layout::OneBitLlm } else { Layout::Llama };
        self.layout.unwrap_or(default)
    }
}

fn one() -> f64 {
    1.0
}
fn one_group() -> usize {
    1
}
fn hundred() -> usize {
    100
}
fn yes() -> bool {
    true
}
fn theta() -> f64 {
    10000.0
}
fn eps() -> f32 {
    1e-5
}
fn empty_line() -> String {
    "\n\n".into()
}

/// What sizes, steps and seeds are.
const WHOLE: &str = "expected a whole number of at least 0";
/// More text than this is a slip of the keyboard: the desk's has long repeated itself.
const DESK_BYTES: usize = 1 << 31;

/// A recipe and where it is.
#[derive(Debug, Clone)]
pub struct RecipeFile {
    /// The recipe.
    pub recipe: Recipe,
    /// The file, for messages and for what is relative to it.
    pub path: PathBuf,
    /// Where the files of `data.text` are, if not beside the recipe.
    pub data: Option<PathBuf>,
}

impl RecipeFile {
    /// Reads a recipe.
    ///
    /// # Errors
    /// [`Error::Read`], otherwise those of [`Self::parse`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let read = std::fs::read_to_string(path);
        Self::parse(path, &read.map_err(|source| Error::Read { path: path.to_owned(), source })?)
    }

    /// Parses a recipe and checks everything that can be checked without its data.
    ///
    /// # Errors
    /// [`Error::Recipe`] that names the file, the place and the remedy.
    pub fn parse(path: &Path, text: &str) -> Result<Self, Error> {
        let file = path.display().to_string();
        let recipe: Recipe = b158_datasets::yaml::parse(&file, text).map_err(|e| Error::Recipe {
            file: e.place,
            // As serde has it, an integer's type of this machine would be expected.
            message: e.message.replace("expected usize", WHOLE).replace("expected u64", WHOLE),
            hint: e.hint,
        })?;
        let recipe = Self { recipe, path: path.to_owned(), data: None };
        recipe.recipe.check().map_err(|(message, hint)| recipe.error(message, hint))?;
        for twin in &recipe.recipe.twins {
            // What the formats require of a config is checked where they are; the error names the recipe.
            recipe.recipe.config(twin).check(path)?;
        }
        Ok(recipe)
    }

    /// An error of this recipe.
    pub(crate) fn error(&self, message: impl Into<String>, hint: impl Into<String>) -> Error {
        Error::Recipe { file: self.path.display().to_string(), message: message.into(), hint: hint.into() }
    }

    /// The folder of the recipe.
    pub(crate) fn folder(&self) -> &Path {
        self.path.parent().unwrap_or(Path::new(""))
    }
}

impl Recipe {
    /// SHA-256 of the recipe's meaning, in lower-case hexadecimal: comments and order of keys do not count.
    pub fn digest(&self) -> String {
        let json = serde_json::to_string(self).expect("a recipe is data");
        Sha256::digest(json).iter().map(|byte| format!("{byte:02x}")).collect()
    }

    /// The config of a twin; its tokens are added with the tokenizer.
    pub fn config(&self, twin: &Twin) -> ModelConfig {
        let shape = &self.shape;
        let layout = twin.layout();
        ModelConfig {
            architecture: match layout {
                Layout::Llama => Architecture::Llama,
                Layout::OneBitLlm => Architecture::BitNet1bitLlm,
                Layout::TwoB4T => Architecture::BitNet2B4T,
            },
            hidden_size: shape.hidden_size,
            intermediate_size: shape.intermediate_size,
            layers: shape.layers,
            heads: shape.heads,
            kv_heads: shape.kv_heads.unwrap_or(shape.heads),
            head_dim: shape.hidden_size / shape.heads,
            vocab_size: shape.vocab_size,
            context_length: shape.context,
            norm_eps: shape.norm_eps,
            rope_theta: shape.rope_theta,
            rope_scaling: RopeScaling::None,
            rope_pairs: RopePairs::HalfSplit,
            activation: if layout == Layout::TwoB4T { Activation::Relu2 } else { Activation::Silu },
            tied_embeddings: shape.tied_embeddings,
            block_norms: true,
            sub_norms: layout != Layout::Llama,
            linear_norm_eps: None,
            ternary_linears: twin.scheme.is_quantized(),
            bos_token: None,
            eos_tokens: Vec::new(),
        }
    }

    /// Tokens that a twin reads in training.
    pub fn tokens(&self) -> u64 {
        self.steps as u64 * self.batch.sequences as u64 * self.shape.context as u64
    }

    fn check(&self) -> Result<(), (String, String)> {
        let wrong = |message: String, hint: &str| Err((message, hint.to_owned()));
        if !is_file_name(&self.recipe) {
            return wrong(format!("recipe has the unusable name {:?}", self.recipe), FILE_NAME);
        }
        let shape = &self.shape;
        if !(shape.rope_theta.is_finite() && shape.rope_theta > 0.0) {
            return wrong(format!("shape.rope_theta is {}", shape.rope_theta), "for instance 10000");
        }
        if !(shape.norm_eps.is_finite() && shape.norm_eps >= 0.0) {
            return wrong(format!("shape.norm_eps is {}", shape.norm_eps), "for instance 1e-5");
        }
        for (key, size) in [
            ("shape.hidden_size", shape.hidden_size),
            ("shape.intermediate_size", shape.intermediate_size),
            ("shape.layers", shape.layers),
            ("shape.heads", shape.heads),
            ("shape.vocab_size", shape.vocab_size),
            ("shape.context", shape.context),
            ("batch.sequences", self.batch.sequences),
            ("batch.micro", self.batch.micro),
            ("steps", self.steps),
            ("checkpoint_every", self.checkpoint_every),
            ("held_out_every", self.held_out_every),
            ("held_out_windows", self.held_out_windows),
        ] {
            // What is beyond is a slip of the keyboard.
            if size == 0 || size > 1 << 21 {
                return wrong(format!("{key} is {size}"), "it must be from 1 to 2097152");
            }
        }
        if !shape.hidden_size.is_multiple_of(2 * shape.heads) {
            return wrong(
                format!(
                    "shape.hidden_size {} is no even number for each of {} heads",
                    shape.hidden_size, shape.heads
                ),
                "a head takes hidden_size / heads elements, which rotary embedding turns in pairs",
            );
        }
        let kv_heads = shape.kv_heads.unwrap_or(shape.heads);
        if kv_heads == 0 || !shape.heads.is_multiple_of(kv_heads) {
            return wrong(format!("shape.kv_heads {kv_heads} does not divide {} heads", shape.heads), "");
        }
        if self.batch.micro > self.batch.sequences {
            return wrong(
                format!(
                    "batch.micro {} is more than batch.sequences {}",
                    self.batch.micro, self.batch.sequences
                ),
                "micro is a part of the sequences",
            );
        }
        if !(self.clip.is_finite() && self.clip > 0.0) {
            return wrong(format!("clip is {}", self.clip), "for instance 1.0");
        }
        match (&self.data.desk, &self.data.text) {
            (Some(desk), None) if desk.bytes == 0 || desk.bytes > DESK_BYTES => {
                let hint = format!("it must be from 1 to {DESK_BYTES}");
                return wrong(format!("data.desk.bytes is {}", desk.bytes), &hint);
            }
            (None, Some(text)) => {
                if text.train.is_empty() || text.held_out.is_empty() {
                    return wrong(
                        "data.text has no train or no held_out files".into(),
                        "name at least one of each",
                    );
                }
                if text.separator.is_empty() {
                    return wrong("data.text.separator is empty".into(), "remove it for an empty line");
                }
            }
            (Some(_), None) => (),
            _ => return wrong("data has to be one of desk and text".into(), "give one of them"),
        }
        if self.twins.is_empty() {
            return wrong("twins is empty".into(), "list at least one twin with name, scheme and schedule");
        }
        for (i, twin) in self.twins.iter().enumerate() {
            if !is_file_name(&twin.name) {
                return wrong(format!("twin {} has the unusable name {:?}", i + 1, twin.name), FILE_NAME);
            }
            let name = twin.name.to_ascii_lowercase();
            if curve::FILES.contains(&&*name) || name.ends_with(state::SUFFIX) {
                let hint = "rename it: curves and states of the same folder have such names";
                return wrong(format!("twin {} has the name '{}' of a file", i + 1, twin.name), hint);
            }
            // Some systems' files have the same name whatever the case.
            if self.twins[..i].iter().any(|other| other.name.eq_ignore_ascii_case(&name)) {
                return wrong(
                    format!("two twins are named '{}'", twin.name),
                    "rename one of them; upper and lower case are not told apart",
                );
            }
            let wrong = |message: String, hint: &str| wrong(format!("twin '{}': {message}", twin.name), hint);
            if twin.scheme == Scheme::Fp16 && twin.layout() != Layout::Llama {
                return wrong(
                    "the runner executes fp16 in the layout llama only".into(),
                    "remove `layout`, or choose another scheme",
                );
            }
            if twin.groups != 1 && twin.scheme != Scheme::BitNet {
                return wrong("groups are for the scheme bitnet".into(), "remove `groups`");
            }
            let kv = kv_heads * (shape.hidden_size / shape.heads);
            let divided = [shape.hidden_size, shape.intermediate_size, kv];
            if twin.groups == 0 || divided.iter().any(|size| !size.is_multiple_of(twin.groups)) {
                return wrong(
                    format!("groups is {}", twin.groups),
                    "it must divide hidden_size, intermediate_size and the width of keys and values",
                );
            }
            if twin.schedule.warmup >= self.steps {
                return wrong(
                    format!("a warmup of {} steps leaves none of {}", twin.schedule.warmup, self.steps),
                    "shorten it",
                );
            }
            if let Err((message, hint)) = twin.schedule.check() {
                return wrong(message, &hint);
            }
        }
        Ok(())
    }
}

const FILE_NAME: &str =
    "it is a folder's name: up to 100 letters, digits, '_', '-' and '.', not starting with '.'";

/// Whether it can be the name of a file or folder on any system.
fn is_file_name(name: &str) -> bool {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
    !name.is_empty() && name.len() <= 100 && !name.starts_with('.') && name.chars().all(plain)
}
