//! A model's config as llama.cpp's metadata keys.
//!
//! ```text
//! general.architecture          llama | bitnet        general.file_type   0 F32, 1 F16, 32 BF16,
//! {arch}.block_count            layers                                    36 TQ1_0, 37 TQ2_0
//! {arch}.context_length
//! {arch}.embedding_length       hidden_size
//! {arch}.feed_forward_length    intermediate_size
//! {arch}.hidden_activation      silu | relu2          (llama.cpp reads it for `bitnet`)
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
    Array, Gguf, Value,
    tokenizer::{BOS_TOKEN, EOS_TOKEN, EOT_TOKEN},
};
use crate::{Activation, Architecture, Error, ModelConfig, TensorId, TensorType, error::printable};

/// Metadata for [`super::GgufPlan`]: keys and values in the order of the file.
pub type Metadata = Vec<(String, Value<'static>)>;

/// `GGML_QNT_VERSION` of the block layouts that we write.
const QUANTIZATION_VERSION: u32 = 2;

/// The class name in config.json: llama.cpp calls both BitNets `bitnet`.
const CLASS: &str = "b158.architecture";
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

/// `general.file_type`: llama.cpp's `llama_ftype`.
fn file_type(linears: TensorType) -> u32 {
    match linears {
        TensorType::F32 => 0,
        TensorType::F16 => 1,
        TensorType::Bf16 => 32,
        TensorType::Tq1_0 => 36,
        TensorType::Tq2_0 => 37,
        // No type of GGUF files: `LLAMA_FTYPE_GUESSED`.
        TensorType::HfPacked => 1024,
    }
}

/// The metadata of a file with that model. Linear layers of a packed type make it ternary.
pub fn to_gguf(config: &ModelConfig, description: Description<'_>) -> Metadata {
    let arch = config.architecture.gguf_name();
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
    if config.eos_tokens.len() > 1 {
        put(EOS_TOKENS, Value::Array(Array::from_u32s(&config.eos_tokens)));
    }
    if f64::from(config.rope_theta as f32) != config.rope_theta {
        put(ROPE_THETA, Value::F64(config.rope_theta));
    }
    out.extend(description.provenance);
    out
}

/// The config of the model in that file; `file` is for messages only.
///
/// # Errors
/// An architecture other than `llama` and `bitnet`, missing or impossible values, and every feature
/// that would change the results if it were ignored.
pub fn from_gguf(file: &Path, gguf: &Gguf<'_>) -> Result<ModelConfig, Error> {
    let arch = Keys { file, gguf, arch: "" }.text("general.architecture")?;
    let arch = arch.ok_or_else(|| Error::missing_key(file, "general.architecture"))?;
    if !Architecture::ALL.iter().any(|a| a.gguf_name() == arch) {
        return Err(Error::UnknownArchitecture {
            file: file.to_owned(),
            found: printable(arch),
            supported: "llama and bitnet",
        });
    }
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
    let (architecture, activation) = architecture(&keys, rope_theta)?;
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
        rope_pairs: if is_bitnet { RopePairs::HalfSplit } else { RopePairs::Interleaved },
        activation,
        tied_embeddings: gguf.tensor(&TensorId::OutputHead.gguf_name()).is_none(),
        sub_norms: is_bitnet,
        ternary_linears: match keys.flag(TERNARY_LINEARS)? {
            Some(ternary) => ternary,
            None => is_bitnet || has_packed_layers(gguf),
        },
        bos_token: keys.token(BOS_TOKEN)?,
        eos_tokens: eos_tokens(&keys)?,
    };
    config.normalize_eos();
    config.validate(file)?;
    Ok(config)
}

/// What llama.cpp would act on and this workspace cannot.
fn refuse_unsupported(keys: &Keys) -> Result<(), Error> {
    let refuse = |key: &str, hint| {
        let feature = format!("`{}`", keys.full(key));
        Err(Error::unsupported(keys.file, feature, hint))
    };
    let scaling = keys.text("{arch}.rope.scaling.type")?;
    // llama.cpp's converter writes `linear` with factor 1 for BitNet, which scales nothing.
    let factor = keys.float("{arch}.rope.scaling.factor")?.unwrap_or(1.0);
    if !matches!(scaling, None | Some("none" | "linear")) || factor != 1.0 {
        return refuse("{arch}.rope.scaling.type", "use a model with plain rotary embeddings");
    }
    if keys.gguf.tensor("rope_freqs.weight").is_some() {
        let feature = "the tensor `rope_freqs.weight` (scaled rotary embeddings)";
        return Err(Error::unsupported(keys.file, feature, "use a model with plain rotary embeddings"));
    }
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

/// Which BitNet it is. Files of llama.cpp's converter do not say; before it wrote the activation,
/// the rotary base was what told the two published families apart (2B4T: 500000, 1bitLLM: 10000).
fn architecture(keys: &Keys, rope_theta: f64) -> Result<(Architecture, Activation), Error> {
    let activation = match keys.text("{arch}.hidden_activation")? {
        None if keys.arch == "bitnet" && rope_theta == 500_000.0 => Activation::Relu2,
        None => Activation::Silu,
        Some(name) => Activation::from_name(name)
            .ok_or_else(|| keys.bad("{arch}.hidden_activation", "supported are \"silu\" and \"relu2\""))?,
    };
    let architecture = match keys.text(CLASS)? {
        Some(class) => Architecture::ALL
            .into_iter()
            .find(|a| a.hugging_face_name() == class && a.gguf_name() == keys.arch)
            .ok_or_else(|| keys.bad(CLASS, "it must be a class that belongs to general.architecture"))?,
        None if keys.arch == "llama" => Architecture::Llama,
        None if activation == Activation::Relu2 => Architecture::BitNet2B4T,
        None => Architecture::BitNet1bitLlm,
    };
    Ok((architecture, activation))
}

fn embedding_rows(keys: &Keys) -> Result<usize, Error> {
    let name = TensorId::TokenEmbedding.gguf_name();
    let rows = keys.gguf.tensor(&name).and_then(|t| t.shape.first().copied());
    rows.ok_or_else(|| Error::MissingTensor { file: keys.file.to_owned(), tensor: name })
}

fn has_packed_layers(gguf: &Gguf) -> bool {
    let is_packed = |dtype: TensorType| dtype.ternary().is_some();
    gguf.tensors.iter().any(|t| t.name.starts_with("blk.") && t.tensor_type().is_some_and(is_packed))
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
struct Keys<'a> {
    file: &'a Path,
    gguf: &'a Gguf<'a>,
    arch: &'a str,
}

impl<'a> Keys<'a> {
    fn full(&self, key: &str) -> String {
        key.replace("{arch}", self.arch)
    }

    fn get(&self, key: &str) -> Option<&'a Value<'a>> {
        self.gguf.get(&self.full(key))
    }

    fn bad(&self, key: &str, valid: &'static str) -> Error {
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

    fn size(&self, key: &str) -> Result<Option<usize>, Error> {
        self.typed(key, "it must be a whole number", |v| v.as_u64()?.try_into().ok())
    }

    fn required_size(&self, key: &str) -> Result<usize, Error> {
        self.size(key)?.ok_or_else(|| Error::missing_key(self.file, self.full(key)))
    }

    fn float(&self, key: &str) -> Result<Option<f64>, Error> {
        self.typed(key, "it must be a floating-point number", Value::as_f64)
    }

    fn required_float(&self, key: &str) -> Result<f64, Error> {
        self.float(key)?.ok_or_else(|| Error::missing_key(self.file, self.full(key)))
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        self.typed(key, "it must be true or false", Value::as_bool)
    }

    fn text(&self, key: &str) -> Result<Option<&'a str>, Error> {
        self.typed(key, "it must be a string", Value::as_str)
    }

    fn token(&self, key: &str) -> Result<Option<u32>, Error> {
        self.typed(key, "it must be a token id", |v| v.as_u64()?.try_into().ok())
    }
}

#[cfg(test)]
mod tests;
