//! A model's config as llama.cpp's metadata keys.
//!
//! ```text
//! general.architecture          llama | bitnet | bitnet-b1.58 | bitnet-25 | b158-* (ours)
//!                                                     general.file_type   see `file_type`
//! {arch}.block_count            layers
//! {arch}.context_length
//! {arch}.embedding_length       hidden_size
//! {arch}.feed_forward_length    intermediate_size
//! {arch}.hidden_activation      silu | relu2          (llama.cpp's key, which it reads elsewhere only)
//! {arch}.attention.*            head_count, head_count_kv, key_length, value_length,
//!                               layer_norm_rms_epsilon
//! {arch}.rope.*                 freq_base, dimension_count
//! {arch}.vocab_size
//! tokenizer.*                   see [`super::tokenizer`]; here bos_token_id, eos_token_id
//! b158.*                        what llama.cpp has no key for
//! ```
//!
//! Names as in gguf-py's `constants.py` and llama.cpp's `llama-arch.cpp`.

use std::path::Path;

use b158_kernels::rope::RopePairs;

use super::{
    Array, Gguf, Value, rope,
    tokenizer::{BOS_TOKEN, EOS_TOKEN, EOT_TOKEN},
};
use crate::{
    Activation, Architecture, Error, ModelConfig, OpenOptions, Provenance, RopeScaling, TensorId, TensorType,
    error::printable,
};

/// Metadata for [`super::GgufPlan`]: keys and values in the order of the file.
pub type Metadata = Vec<(String, Value<'static>)>;

/// `GGML_QNT_VERSION` of the block layouts that we write.
const QUANTIZATION_VERSION: u32 = 2;

/// The class name in config.json: llama.cpp calls both BitNets `bitnet`.
const CLASS: &str = "b158.architecture";
/// The rotary base of BitNet b1.58 2B4T; 1bitLLM's models have llama.cpp's default.
const BASE_OF_2B4T: f64 = 500_000.0;
/// What the norms inside the linear layers add to the mean square; absent if there are none.
const LINEAR_NORM_EPS: &str = "b158.linear_norm_eps";
/// Whether there are norms before attention and feed-forward network; absent if so.
const BLOCK_NORMS: &str = "b158.block_norms";
/// Before the name of an architecture that no other program computes.
const OWN: &str = "b158-";
/// Whether the linear layers are BitLinear, also while they are stored in full precision.
pub(crate) const TERNARY_LINEARS: &str = "b158.ternary_linears";
/// All ending tokens, where there is not exactly one.
const EOS_TOKENS: &str = "b158.eos_token_ids";
/// The rotary base in f64, where f32 does not hold it exactly.
const ROPE_THETA: &str = "b158.rope_theta";

/// What a GGUF file says about a model beside its config.
#[derive(Clone, Debug)]
pub struct Description<'a> {
    /// `general.name`.
    pub name: &'a str,
    /// The type of the linear layers; becomes `general.file_type`.
    pub linears: TensorType,
    /// `tokenizer.*`, as [`super::tokenizer::to_gguf`] makes it.
    pub tokenizer: Metadata,
    /// Where the model comes from and how it was made; appended as it is.
    pub provenance: Metadata,
}

/// Which of two orders the codes of I2_S tensors are in: `x86` or `arm`.
const I2_S_INTERLEAVE: &str = "b158.i2_s.interleave";

/// `general.file_type`: llama.cpp's `llama_ftype`, for I2_S bitnet.cpp's, where 40 is taken twice.
fn file_type(linears: TensorType) -> u32 {
    match linears {
        TensorType::F32 => 0,
        TensorType::F16 => 1,
        TensorType::Q8_0 => 7,
        TensorType::Q6K => 18,
        TensorType::Bf16 => 32,
        TensorType::Tq1_0 => 36,
        TensorType::Tq2_0 => 37,
        TensorType::Q1_0 | TensorType::I2sX86 | TensorType::I2sArm => 40,
        TensorType::Q2_0 => 41,
        // No type of GGUF files: `LLAMA_FTYPE_GUESSED`.
        TensorType::HfPacked => 1024,
    }
}

/// Which rows of the query and key projections a GGUF file with that model pairs: see
/// [`crate::rope_permutation`].
pub fn rope_pairs(config: &ModelConfig) -> RopePairs {
    pairs(architecture_name(config))
}

/// llama.cpp's architecture `llama` pairs neighbours, its BitNets and our own ones as Hugging Face does.
fn pairs(architecture: &str) -> RopePairs {
    if architecture == "llama" { RopePairs::Interleaved } else { RopePairs::HalfSplit }
}

/// `general.architecture` of a file with that model: the graph of llama.cpp or bitnet.cpp that computes
/// it, or a name that makes both refuse it rather than compute something else.
///
/// ```text
/// llama          SiLU, no sub-norms                   llama.cpp, bitnet.cpp
/// bitnet         SiLU, sub-norms, tied head           llama.cpp, bitnet.cpp
/// bitnet-b1.58   squared ReLU, sub-norms, tied head   bitnet.cpp
/// b158-...       anything else
/// ```
pub fn architecture_name(config: &ModelConfig) -> &'static str {
    let plain = config.linear_norm_eps.is_none();
    match (config.architecture, config.activation) {
        (Architecture::Llama, Activation::Silu) if plain => "llama",
        (Architecture::Llama, _) => "b158-llama",
        (_, Activation::Silu) if plain && config.tied_embeddings => "bitnet",
        (_, Activation::Relu2) if plain && config.tied_embeddings => "bitnet-b1.58",
        _ => "b158-bitnet",
    }
}

/// The metadata of a file with that model. Linear layers of a packed type make it ternary.
pub fn to_gguf(config: &ModelConfig, description: Description<'_>) -> Metadata {
    let arch = architecture_name(config);
    let mut out = Metadata::new();
    let mut put = |key: &str, value: Value<'static>| out.push((key.replace("{arch}", arch), value));
    // `ModelConfig::validate` keeps sizes below 2^32.
    let size = |n: usize| Value::U32(n as u32);

    put("general.architecture", arch.into());
    put("general.name", description.name.into());
    put("general.file_type", Value::U32(file_type(description.linears)));
    put("general.quantization_version", Value::U32(QUANTIZATION_VERSION));
    put("{arch}.block_count", size(config.layers));
    put("{arch}.context_length", size(config.context_length));
    put("{arch}.embedding_length", size(config.hidden_size));
    put("{arch}.feed_forward_length", size(config.intermediate_size));
    put("{arch}.hidden_activation", config.activation.name().into());
    put("{arch}.attention.head_count", size(config.heads));
    put("{arch}.attention.head_count_kv", size(config.kv_heads));
    put("{arch}.attention.key_length", size(config.head_dim));
    put("{arch}.attention.value_length", size(config.head_dim));
    put("{arch}.attention.layer_norm_rms_epsilon", Value::F32(config.norm_eps));
    put("{arch}.rope.freq_base", Value::F32(config.rope_theta as f32));
    put("{arch}.rope.dimension_count", size(config.head_dim));
    put("{arch}.vocab_size", size(config.vocab_size));

    for (key, value) in description.tokenizer {
        put(&key, value);
    }

    put(CLASS, config.architecture.hugging_face_name().into());
    let ternary = config.ternary_linears || description.linears.ternary().is_some();
    put(TERNARY_LINEARS, Value::Bool(ternary));
    match description.linears {
        TensorType::I2sX86 => put(I2_S_INTERLEAVE, "x86".into()),
        TensorType::I2sArm => put(I2_S_INTERLEAVE, "arm".into()),
        _ => {}
    }
    if config.eos_tokens.len() > 1 {
        put(EOS_TOKENS, Value::Array(Array::from_u32s(&config.eos_tokens)));
    }
    if f64::from(config.rope_theta as f32) != config.rope_theta {
        put(ROPE_THETA, Value::F64(config.rope_theta));
    }
    if let Some(eps) = config.linear_norm_eps {
        put(LINEAR_NORM_EPS, Value::F32(eps));
        put(BLOCK_NORMS, Value::Bool(config.block_norms));
    }
    rope::to_gguf(config.rope_scaling, arch, &mut out);
    out.extend(description.provenance);
    out
}

/// The config of the model in the file of these bytes; `file` is for messages only.
///
/// # Errors
/// An architecture of another family, missing or impossible values, and every feature that would
/// change the results if it were ignored.
pub fn from_gguf(
    file: &Path,
    gguf: &Gguf<'_>,
    bytes: &[u8],
    options: &OpenOptions,
) -> Result<ModelConfig, Error> {
    let arch = Keys { file, gguf, arch: "" }.text("general.architecture")?;
    let arch = arch.ok_or_else(|| Error::missing_key(file, "general.architecture"))?;
    let Some(family) = Family::of(arch) else {
        return Err(Error::UnknownArchitecture {
            file: file.to_owned(),
            found: printable(arch),
            supported: "llama, bitnet, bitnet-b1.58 and bitnet-25",
        });
    };
    let keys = Keys { file, gguf, arch };
    refuse_unsupported(&keys)?;

    let hidden_size = keys.required_size("{arch}.embedding_length")?;
    let heads = keys.required_size("{arch}.attention.head_count")?;
    let head_dim = match keys.size("{arch}.attention.key_length")? {
        Some(head_dim) => head_dim,
        None => hidden_size.checked_div(heads).unwrap_or(0),
    };
    for key in ["{arch}.attention.value_length", "{arch}.rope.dimension_count"] {
        if keys.size(key)?.is_some_and(|n| n != head_dim) {
            return Err(keys.bad(key, "it must equal the length of a key"));
        }
    }
    let rope_theta = match keys.float(ROPE_THETA)? {
        Some(theta) => theta,
        // llama.cpp's default.
        None => keys.float("{arch}.rope.freq_base")?.unwrap_or(10_000.0),
    };
    let (architecture, activation) = architecture(&keys, family, rope_theta, options)?;
    let is_bitnet = architecture != Architecture::Llama;
    let vocab_size = match keys.size("{arch}.vocab_size")? {
        Some(n) => n,
        None => embedding_rows(&keys)?,
    };
    let mut config = ModelConfig {
        architecture,
        hidden_size,
        intermediate_size: keys.required_size("{arch}.feed_forward_length")?,
        layers: keys.required_size("{arch}.block_count")?,
        heads,
        kv_heads: keys.size("{arch}.attention.head_count_kv")?.unwrap_or(heads),
        head_dim,
        vocab_size,
        context_length: keys.required_size("{arch}.context_length")?,
        norm_eps: keys.required_float("{arch}.attention.layer_norm_rms_epsilon")? as f32,
        rope_theta,
        rope_scaling: RopeScaling::None,
        rope_pairs: pairs(arch),
        activation,
        tied_embeddings: gguf.tensor(&TensorId::OutputHead.gguf_name()).is_none(),
        block_norms: keys.flag(BLOCK_NORMS)?.unwrap_or(true),
        sub_norms: is_bitnet,
        linear_norm_eps: linear_norm_eps(&keys)?,
        ternary_linears: match keys.flag(TERNARY_LINEARS)? {
            Some(ternary) => ternary,
            None => is_bitnet || has_packed_layers(gguf),
        },
        bos_token: keys.token(BOS_TOKEN)?,
        eos_tokens: eos_tokens(&keys)?,
    };
    config.normalize_eos();
    // Before the frequencies, which need a valid head.
    config.check(file)?;
    config.rope_scaling = rope::from_gguf(&keys, bytes, &config)?;
    config.check(file)?;
    Ok(config)
}

/// Whether the file says that its I2_S tensors are in the order for ARM.
pub(super) fn i2_s_is_arm(file: &Path, metadata: &[(&str, Value)]) -> Result<bool, Error> {
    let value = metadata.iter().find(|(key, _)| *key == I2_S_INTERLEAVE).map(|(_, value)| value);
    match value.map(Value::as_str) {
        None | Some(Some("x86")) => Ok(false),
        Some(Some("arm")) => Ok(true),
        Some(_) => Err(Error::BadValue {
            file: file.to_owned(),
            key: I2_S_INTERLEAVE.to_owned(),
            value: printable(&format!("{value:?}")),
            valid: "it must be \"x86\" or \"arm\"",
        }),
    }
}

/// Where the file comes from, if b158 wrote it.
pub(crate) fn provenance(gguf: &Gguf) -> Option<Provenance> {
    let text = |key| Some(printable(gguf.get(key)?.as_str()?));
    let (version, scheme) = (text("b158.version")?, text("b158.scheme")?);
    Some(Provenance { version, scheme, source_sha256: text("b158.source.sha256")? })
}

/// Whether the file says in which order its I2_S tensors are.
pub(crate) fn says_interleave(gguf: &Gguf) -> bool {
    gguf.get(I2_S_INTERLEAVE).is_some()
}

/// What llama.cpp would act on and this workspace cannot.
fn refuse_unsupported(keys: &Keys) -> Result<(), Error> {
    let refuse = |key: &str, hint| {
        let feature = format!("`{}`", keys.full(key));
        Err(Error::unsupported(keys.file, feature, hint))
    };
    if keys.size("{arch}.expert_count")?.is_some_and(|n| n > 0) {
        return refuse("{arch}.expert_count", "use a model without mixture of experts");
    }
    if keys.size("split.count")?.is_some_and(|n| n > 1) {
        return refuse("split.count", "join the parts with `llama-gguf-split --merge`");
    }
    for key in ["{arch}.logit_scale", "{arch}.attention.scale", "{arch}.attention.sliding_window"] {
        if keys.get(key).is_some() {
            return refuse(key, "use a model with plain attention and logits");
        }
    }
    Ok(())
}

/// What `general.architecture` says about the model.
#[derive(Clone, Copy, PartialEq, Eq)]
enum Family {
    Llama,
    /// llama.cpp's `bitnet`: SiLU, but its converter gives the name to 2B4T as well.
    BitNet,
    /// bitnet.cpp's architectures for 2B4T: one graph, with squared ReLU.
    BitNet2B4T,
}

impl Family {
    fn of(architecture: &str) -> Option<Self> {
        match architecture.strip_prefix(OWN).unwrap_or(architecture) {
            "llama" => Some(Self::Llama),
            "bitnet" => Some(Self::BitNet),
            "bitnet-b1.58" | "bitnet-25" => Some(Self::BitNet2B4T),
            _ => None,
        }
    }

    fn has(self, architecture: Architecture) -> bool {
        (self == Self::Llama) == (architecture == Architecture::Llama)
    }
}

/// The layout and its activation: by our own key or, in files of others, by what the architecture
/// stands for in the programs that run it.
fn architecture(
    keys: &Keys,
    family: Family,
    rope_theta: f64,
    options: &OpenOptions,
) -> Result<(Architecture, Activation), Error> {
    let activation = match (keys.text("{arch}.hidden_activation")?, family) {
        (Some(name), _) => Activation::from_name(name)
            .ok_or_else(|| keys.bad("{arch}.hidden_activation", "supported are \"silu\" and \"relu2\""))?,
        (None, Family::Llama) => Activation::Silu,
        (None, Family::BitNet2B4T) => Activation::Relu2,
        (None, Family::BitNet) => match options.activation {
            Some(activation) => activation,
            // What llama.cpp runs there. 2B4T has squared ReLU and this base, and no key says so.
            None if rope_theta != BASE_OF_2B4T => Activation::Silu,
            None => {
                let (file, key) = (keys.file.to_owned(), keys.full("{arch}.hidden_activation"));
                return Err(Error::UnknownActivation { file, key });
            }
        },
    };
    let architecture = match (keys.text(CLASS)?, family) {
        (Some(class), _) => Architecture::ALL
            .into_iter()
            .find(|a| a.hugging_face_name() == class && family.has(*a))
            .ok_or_else(|| keys.bad(CLASS, "it must be a class that belongs to general.architecture"))?,
        (None, Family::Llama) => Architecture::Llama,
        (None, _) if activation == Activation::Relu2 => Architecture::BitNet2B4T,
        (None, _) => Architecture::BitNet1bitLlm,
    };
    Ok((architecture, activation))
}

/// See [`ModelConfig::linear_norm_eps`].
fn linear_norm_eps(keys: &Keys) -> Result<Option<f32>, Error> {
    Ok(keys.float(LINEAR_NORM_EPS)?.map(|eps| eps as f32))
}

fn embedding_rows(keys: &Keys) -> Result<usize, Error> {
    let name = TensorId::TokenEmbedding.gguf_name();
    let rows = keys.gguf.tensor(&name).and_then(|t| t.shape.first().copied());
    rows.ok_or_else(|| Error::MissingTensor { file: keys.file.to_owned(), tensor: name })
}

fn has_packed_layers(gguf: &Gguf) -> bool {
    let is_packed = |dtype: TensorType| dtype.ternary().is_some();
    gguf.tensors.iter().any(|t| t.name.starts_with("blk.") && t.dtype.is_some_and(is_packed))
}

fn eos_tokens(keys: &Keys) -> Result<Vec<u32>, Error> {
    if let Some(value) = keys.get(EOS_TOKENS) {
        let ids = value.as_array().map(|array| array.iter().map(|v| v.as_u64()?.try_into().ok()));
        return ids
            .and_then(Iterator::collect)
            .ok_or_else(|| keys.bad(EOS_TOKENS, "it must be a list of token ids"));
    }
    Ok(keys.token(EOS_TOKEN)?.into_iter().chain(keys.token(EOT_TOKEN)?).collect())
}

/// Typed access to metadata; `{arch}` in a key stands for the architecture.
pub(super) struct Keys<'a> {
    pub(super) file: &'a Path,
    pub(super) gguf: &'a Gguf<'a>,
    arch: &'a str,
}

impl<'a> Keys<'a> {
    pub(super) fn full(&self, key: &str) -> String {
        key.replace("{arch}", self.arch)
    }

    fn get(&self, key: &str) -> Option<&'a Value<'a>> {
        self.gguf.get(&self.full(key))
    }

    pub(super) fn bad(&self, key: &str, valid: &'static str) -> Error {
        let value = match self.get(key) {
            Some(Value::String(s)) => format!("\"{}\"", printable(s)),
            Some(value) => printable(&format!("{value:?}")),
            None => "absent".into(),
        };
        Error::BadValue { file: self.file.to_owned(), key: self.full(key), value, valid }
    }

    fn typed<T>(
        &self,
        key: &str,
        valid: &'static str,
        read: impl Fn(&'a Value<'a>) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        self.get(key).map(|value| read(value).ok_or_else(|| self.bad(key, valid))).transpose()
    }

    pub(super) fn size(&self, key: &str) -> Result<Option<usize>, Error> {
        self.typed(key, "it must be a whole number", |v| v.as_u64()?.try_into().ok())
    }

    pub(super) fn required_size(&self, key: &str) -> Result<usize, Error> {
        self.size(key)?.ok_or_else(|| Error::missing_key(self.file, self.full(key)))
    }

    pub(super) fn float(&self, key: &str) -> Result<Option<f64>, Error> {
        self.typed(key, "it must be a floating-point number", Value::as_f64)
    }

    pub(super) fn required_float(&self, key: &str) -> Result<f64, Error> {
        self.float(key)?.ok_or_else(|| Error::missing_key(self.file, self.full(key)))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        self.typed(key, "it must be true or false", Value::as_bool)
    }

    pub(super) fn text(&self, key: &str) -> Result<Option<&'a str>, Error> {
        self.typed(key, "it must be a string", Value::as_str)
    }

    fn token(&self, key: &str) -> Result<Option<u32>, Error> {
        self.typed(key, "it must be a token id", |v| v.as_u64()?.try_into().ok())
    }
}

#[cfg(test)]
mod tests;
