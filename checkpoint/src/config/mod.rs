//! A model's shape and constants, whatever file they come from.
//!
//! [`ModelConfig`] holds what inference needs and nothing else. `hugging_face` reads it from
//! config.json and `to_json` writes it there; [`crate::gguf::metadata`] reads it from, and writes it to,
//! a GGUF file.

mod hugging_face;
mod rope;
mod to_json;

pub use hugging_face::ScaleConvention;
pub(crate) use hugging_face::parse as parse_hugging_face;
pub use rope::RopeScaling;

use std::{collections::BTreeSet, path::Path};

use b158_kernels::rope::RopePairs;

use crate::Error;

/// Which published layout the model follows.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Architecture {
    /// LLaMA: `LlamaForCausalLM`.
    Llama,
    /// BitNet b1.58 2B4T (arXiv 2504.12285): `BitNetForCausalLM`, sub-norms, squared ReLU.
    BitNet2B4T,
    /// The 1bitLLM reproduction of b1.58: `BitnetForCausalLM`, sub-norms, SiLU.
    BitNet1bitLlm,
}

impl Architecture {
    /// Every architecture.
    pub const ALL: [Self; 3] = [Self::Llama, Self::BitNet2B4T, Self::BitNet1bitLlm];

    /// The class name in `architectures` of config.json. Note `BitNet` and `Bitnet`.
    pub fn hugging_face_name(self) -> &'static str {
        match self {
            Self::Llama => "LlamaForCausalLM",
            Self::BitNet2B4T => "BitNetForCausalLM",
            Self::BitNet1bitLlm => "BitnetForCausalLM",
        }
    }
}

/// The feed-forward network's activation.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Activation {
    /// x * sigmoid(x).
    Silu,
    /// max(x, 0)^2.
    Relu2,
}

impl Activation {
    /// The name in `hidden_act` of config.json and in `{arch}.hidden_activation` of GGUF.
    pub fn name(self) -> &'static str {
        match self {
            Self::Silu => "silu",
            Self::Relu2 => "relu2",
        }
    }

    /// The activation with that name.
    pub fn from_name(name: &str) -> Option<Self> {
        [Self::Silu, Self::Relu2].into_iter().find(|a| a.name() == name)
    }
}

/// A model's shape and constants. Sizes are in elements.
#[derive(Clone, Debug, PartialEq)]
#[expect(clippy::struct_excessive_bools, reason = "independent properties of a layout")]
pub struct ModelConfig {
    /// The layout.
    pub architecture: Architecture,
    /// Width of the residual stream.
    pub hidden_size: usize,
    /// Width of the feed-forward network.
    pub intermediate_size: usize,
    /// Number of Transformer blocks.
    pub layers: usize,
    /// Query heads.
    pub heads: usize,
    /// Key and value heads; divides `heads`.
    pub kv_heads: usize,
    /// Width of a head; even.
    pub head_dim: usize,
    /// Rows of the embedding.
    pub vocab_size: usize,
    /// Longest sequence, in tokens.
    pub context_length: usize,
    /// Added to the mean square in RMSNorm.
    pub norm_eps: f32,
    /// Base of the rotary frequencies.
    pub rope_theta: f64,
    /// How the rotary frequencies are stretched for a longer context.
    pub rope_scaling: RopeScaling,
    /// Which rows of the query and key projections turn together.
    pub rope_pairs: RopePairs,
    /// The feed-forward network's activation.
    pub activation: Activation,
    /// Whether the output head is the embedding.
    pub tied_embeddings: bool,
    /// Whether there are norms before attention and before the feed-forward network. Without them,
    /// the linear layers have norms of their own.
    pub block_norms: bool,
    /// Whether there are norms before the output and down projections.
    pub sub_norms: bool,
    /// What the norms inside the linear layers add to the mean square, where every linear layer
    /// normalizes its own input (BitLinear of the paper's training tips); `None` if they do not.
    pub linear_norm_eps: Option<f32>,
    /// Whether the linear layers are BitLinear (ternary weights, int8 activations): a b1.58 master
    /// in full precision, or packed.
    pub ternary_linears: bool,
    /// Beginning of sequence.
    pub bos_token: Option<u32>,
    /// Tokens that end a text: those of config.json in its order, then those that only
    /// generation_config.json has. The first is the end-of-sequence token.
    pub eos_tokens: Vec<u32>,
}

impl ModelConfig {
    /// Reads the bytes of config.json; `file` is for messages only.
    ///
    /// # Errors
    /// Not JSON, missing keys, values outside their range, and every feature that would change the
    /// results if it were ignored (biases, foreign quantization, most kinds of rotary scaling).
    pub fn from_json(file: &Path, json: &[u8]) -> Result<Self, Error> {
        hugging_face::parse(file, json).map(|(config, _)| config)
    }

    /// Adds the ending tokens of generation_config.json, which chat models list there only.
    ///
    /// # Errors
    /// Not JSON, or `eos_token_id` is neither a token id nor a list of them.
    pub fn add_generation_config(&mut self, file: &Path, json: &[u8]) -> Result<(), Error> {
        self.eos_tokens.extend(hugging_face::generation_eos(file, json)?);
        self.normalize_eos();
        Ok(())
    }

    pub(crate) fn normalize_eos(&mut self) {
        let mut seen = BTreeSet::new();
        self.eos_tokens.retain(|id| seen.insert(*id));
    }

    /// Checks what the rest of the workspace relies on: no size of zero, heads that divide evenly,
    /// and matrices whose number of bytes fits the address space. `file` is for messages; keys are named as in config.json.
    ///
    /// # Errors
    /// [`Error::BadValue`] with the key and what it may be.
    pub fn check(&self, file: &Path) -> Result<(), Error> {
        let bad = |key: &str, value: String, valid| {
            Err(Error::BadValue { file: file.to_owned(), key: key.to_owned(), value, valid })
        };
        for (key, size) in [
            ("hidden_size", self.hidden_size),
            ("intermediate_size", self.intermediate_size),
            ("num_hidden_layers", self.layers),
            ("num_attention_heads", self.heads),
            ("num_key_value_heads", self.kv_heads),
            ("head_dim", self.head_dim),
            ("vocab_size", self.vocab_size),
            ("max_position_embeddings", self.context_length),
        ] {
            if size == 0 || size > u32::MAX as usize {
                return bad(key, size.to_string(), "it must be at least 1 and below 2^32");
            }
        }
        if !self.heads.is_multiple_of(self.kv_heads) {
            return bad(
                "num_key_value_heads",
                self.kv_heads.to_string(),
                "it must divide the number of heads",
            );
        }
        if !self.head_dim.is_multiple_of(2) {
            return bad(
                "head_dim",
                self.head_dim.to_string(),
                "it must be even: rotary embedding turns pairs",
            );
        }
        let overflows = |sizes: &[usize]| {
            // Four bytes an element is the widest type; slices hold at most isize::MAX bytes.
            let bytes = sizes.iter().try_fold(4usize, |n, &size| n.checked_mul(size));
            bytes.is_none_or(|n| n > isize::MAX as usize)
        };
        if overflows(&[self.heads, self.head_dim, self.hidden_size])
            || overflows(&[self.vocab_size, self.hidden_size])
            || overflows(&[self.intermediate_size, self.hidden_size])
        {
            return bad(
                "hidden_size",
                self.hidden_size.to_string(),
                "a matrix of that size cannot be addressed",
            );
        }
        for eps in [self.norm_eps].into_iter().chain(self.linear_norm_eps) {
            if !(eps.is_finite() && eps >= 0.0) {
                return bad("rms_norm_eps", eps.to_string(), "it must be a finite number of at least 0");
            }
        }
        if !self.block_norms && self.linear_norm_eps.is_none() {
            return bad("block_norms", "false".into(), "only norms inside the linear layers replace them");
        }
        if !(self.rope_theta.is_finite() && self.rope_theta > 0.0) {
            return bad("rope_theta", self.rope_theta.to_string(), "it must be a finite number above 0");
        }
        if !self.rope_scaling.is_valid() {
            return bad(
                "rope_scaling",
                format!("{:?}", self.rope_scaling),
                "its numbers must be positive, and low_freq_factor below high_freq_factor",
            );
        }
        Ok(())
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;

    /// A small config in which every size is different.
    pub(crate) fn llama() -> ModelConfig {
        ModelConfig {
            architecture: Architecture::Llama,
            hidden_size: 24,
            intermediate_size: 40,
            layers: 3,
            heads: 4,
            kv_heads: 2,
            head_dim: 6,
            vocab_size: 50,
            context_length: 64,
            norm_eps: 1e-5,
            rope_theta: 10000.0,
            rope_scaling: RopeScaling::None,
            rope_pairs: RopePairs::HalfSplit,
            activation: Activation::Silu,
            tied_embeddings: false,
            block_norms: true,
            sub_norms: false,
            linear_norm_eps: None,
            ternary_linears: false,
            bos_token: Some(1),
            eos_tokens: vec![2],
        }
    }

    #[test]
    fn sizes_are_checked() {
        let check = |change: fn(&mut ModelConfig)| {
            let mut config = llama();
            change(&mut config);
            config.check(Path::new("config.json"))
        };
        assert!(check(|_| ()).is_ok());
        assert!(check(|c| c.layers = 0).is_err());
        assert!(check(|c| c.kv_heads = 3).is_err());
        assert!(check(|c| c.head_dim = 5).is_err());
        assert!(check(|c| (c.vocab_size, c.hidden_size) = (u32::MAX as usize, u32::MAX as usize)).is_err());
        assert!(check(|c| c.norm_eps = f32::NAN).is_err());
        assert!(check(|c| c.rope_theta = 0.0).is_err());
        assert!(check(|c| c.rope_scaling = RopeScaling::Linear { factor: 0.0 }).is_err());
        assert!(check(|c| c.block_norms = false).is_err());
        assert!(check(|c| (c.block_norms, c.linear_norm_eps) = (false, Some(1e-6))).is_ok());
    }
}
