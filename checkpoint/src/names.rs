//! Which tensors a model has, what shape they have, and what each container calls them.
//!
//! ```text
//! id             Hugging Face (model.layers.N.)      GGUF (blk.N.)      shape
//! TokenEmbedding model.embed_tokens                  token_embd         [vocab, hidden]
//! AttnNorm       input_layernorm                     attn_norm          [hidden]
//! AttnQ          self_attn.q_proj                    attn_q             [heads * head_dim, hidden]
//! AttnK          self_attn.k_proj                    attn_k             [kv_heads * head_dim, hidden]
//! AttnV          self_attn.v_proj                    attn_v             [kv_heads * head_dim, hidden]
//! AttnSubNorm    self_attn.attn_sub_norm (2B4T)      attn_sub_norm      [heads * head_dim]
//!                self_attn.inner_attn_ln (1bitLLM)
//! AttnOutput     self_attn.o_proj                    attn_output        [hidden, heads * head_dim]
//! FfnNorm        post_attention_layernorm            ffn_norm           [hidden]
//! FfnGate        mlp.gate_proj                       ffn_gate           [intermediate, hidden]
//! FfnUp          mlp.up_proj                         ffn_up             [intermediate, hidden]
//! FfnSubNorm     mlp.ffn_sub_norm (2B4T)             ffn_sub_norm       [intermediate]
//!                mlp.ffn_layernorm (1bitLLM)
//! FfnDown        mlp.down_proj                       ffn_down           [hidden, intermediate]
//! OutputNorm     model.norm                          output_norm        [hidden]
//! OutputHead     lm_head                             output             [vocab, hidden]
//! ```
//!
//! Every name ends in `.weight`; a GGUF scale tensor ends in `.scale` instead. Where every linear
//! layer has a norm of its own input (transformers' `use_rms_norm`), that norm is called like the layer,
//! with `.rms_norm` behind it in Hugging Face's name and `.input_norm` in the GGUF name.

use b158_kernels::rope::RopePairs;

use crate::config::{Architecture, ModelConfig};

/// A tensor of one Transformer block.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum LayerTensor {
    /// Norm before attention.
    AttnNorm,
    /// Query projection.
    AttnQ,
    /// Key projection.
    AttnK,
    /// Value projection.
    AttnV,
    /// Norm between the attention heads and the output projection.
    AttnSubNorm,
    /// Output projection of attention.
    AttnOutput,
    /// Norm before the feed-forward network.
    FfnNorm,
    /// Gate projection.
    FfnGate,
    /// Up projection.
    FfnUp,
    /// Norm between the gated product and the down projection.
    FfnSubNorm,
    /// Down projection.
    FfnDown,
    /// Norm inside the query projection, of its own input.
    AttnQInputNorm,
    /// Norm inside the key projection.
    AttnKInputNorm,
    /// Norm inside the value projection.
    AttnVInputNorm,
    /// Norm inside the output projection.
    AttnOutputInputNorm,
    /// Norm inside the gate projection.
    FfnGateInputNorm,
    /// Norm inside the up projection.
    FfnUpInputNorm,
    /// Norm inside the down projection.
    FfnDownInputNorm,
}

impl LayerTensor {
    /// Every tensor of a block: in the order of computation, then the norms inside the linear layers.
    pub const ALL: [Self; 18] = [
        Self::AttnNorm,
        Self::AttnQ,
        Self::AttnK,
        Self::AttnV,
        Self::AttnSubNorm,
        Self::AttnOutput,
        Self::FfnNorm,
        Self::FfnGate,
        Self::FfnUp,
        Self::FfnSubNorm,
        Self::FfnDown,
        Self::AttnQInputNorm,
        Self::AttnKInputNorm,
        Self::AttnVInputNorm,
        Self::AttnOutputInputNorm,
        Self::FfnGateInputNorm,
        Self::FfnUpInputNorm,
        Self::FfnDownInputNorm,
    ];

    /// Whether this is one of the seven linear layers, which b1.58 makes ternary.
    pub fn is_linear(self) -> bool {
        self.input_norm().is_some()
    }

    /// The norm inside this linear layer, where the model has such norms.
    pub fn input_norm(self) -> Option<Self> {
        Some(match self {
            Self::AttnQ => Self::AttnQInputNorm,
            Self::AttnK => Self::AttnKInputNorm,
            Self::AttnV => Self::AttnVInputNorm,
            Self::AttnOutput => Self::AttnOutputInputNorm,
            Self::FfnGate => Self::FfnGateInputNorm,
            Self::FfnUp => Self::FfnUpInputNorm,
            Self::FfnDown => Self::FfnDownInputNorm,
            _ => return None,
        })
    }

    /// The linear layer that this norm is inside of.
    fn normalized(self) -> Option<Self> {
        Self::ALL.into_iter().find(|kind| kind.input_norm() == Some(self))
    }

    /// Whether a model of this config has this tensor in its blocks.
    fn exists(self, config: &ModelConfig) -> bool {
        match self {
            Self::AttnNorm | Self::FfnNorm => config.block_norms,
            Self::AttnSubNorm | Self::FfnSubNorm => config.sub_norms,
            other => other.is_linear() || config.linear_norm_eps.is_some(),
        }
    }
}

/// A tensor of the model, whatever it is called in a file. The order is that of computation.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TensorId {
    /// Token embedding; also the output head where the two are tied.
    TokenEmbedding,
    /// A tensor of a Transformer block.
    Layer {
        /// The block, from 0.
        index: usize,
        /// Which of its tensors.
        kind: LayerTensor,
    },
    /// Norm after the last block.
    OutputNorm,
    /// Output head, where it is not tied to the embedding.
    OutputHead,
}

impl TensorId {
    /// Every tensor that a model of this config has, in order.
    pub fn all(config: &ModelConfig) -> impl Iterator<Item = Self> {
        let kinds: Vec<_> = LayerTensor::ALL.into_iter().filter(|kind| kind.exists(config)).collect();
        let layers = (0..config.layers)
            .flat_map(move |index| kinds.clone().into_iter().map(move |kind| Self::Layer { index, kind }));
        let head = (!config.tied_embeddings).then_some(Self::OutputHead);
        [Self::TokenEmbedding].into_iter().chain(layers).chain([Self::OutputNorm]).chain(head)
    }

    /// Whether this is a linear layer of a block, which b1.58 makes ternary.
    pub fn is_linear(self) -> bool {
        matches!(self, Self::Layer { kind, .. } if kind.is_linear())
    }

    /// The shape that the config implies, rows first.
    pub fn shape(self, config: &ModelConfig) -> Vec<usize> {
        let (hidden, intermediate) = (config.hidden_size, config.intermediate_size);
        let (q, kv) = (config.heads * config.head_dim, config.kv_heads * config.head_dim);
        match self {
            Self::TokenEmbedding | Self::OutputHead => vec![config.vocab_size, hidden],
            Self::OutputNorm => vec![hidden],
            Self::Layer { kind, .. } => match kind {
                LayerTensor::AttnQ => vec![q, hidden],
                LayerTensor::AttnK | LayerTensor::AttnV => vec![kv, hidden],
                LayerTensor::AttnSubNorm | LayerTensor::AttnOutputInputNorm => vec![q],
                LayerTensor::AttnOutput => vec![hidden, q],
                LayerTensor::FfnGate | LayerTensor::FfnUp => vec![intermediate, hidden],
                LayerTensor::FfnSubNorm | LayerTensor::FfnDownInputNorm => vec![intermediate],
                LayerTensor::FfnDown => vec![hidden, intermediate],
                // The other norms are of the residual stream.
                _ => vec![hidden],
            },
        }
    }

    /// The tensor's name in a Hugging Face checkpoint of that architecture.
    pub fn hugging_face_name(self, architecture: Architecture) -> String {
        let (index, kind) = match self {
            Self::TokenEmbedding => return "model.embed_tokens.weight".into(),
            Self::OutputNorm => return "model.norm.weight".into(),
            Self::OutputHead => return "lm_head.weight".into(),
            Self::Layer { index, kind } => (index, kind),
        };
        if let Some(kind) = kind.normalized() {
            let linear = Self::Layer { index, kind }.hugging_face_name(architecture);
            return linear.replace(".weight", ".rms_norm.weight");
        }
        let one_bit_llm = architecture == Architecture::BitNet1bitLlm;
        let name = match kind {
            LayerTensor::AttnNorm => "input_layernorm",
            LayerTensor::AttnQ => "self_attn.q_proj",
            LayerTensor::AttnK => "self_attn.k_proj",
            LayerTensor::AttnV => "self_attn.v_proj",
            LayerTensor::AttnSubNorm if one_bit_llm => "self_attn.inner_attn_ln",
            LayerTensor::AttnSubNorm => "self_attn.attn_sub_norm",
            LayerTensor::AttnOutput => "self_attn.o_proj",
            LayerTensor::FfnNorm => "post_attention_layernorm",
            LayerTensor::FfnGate => "mlp.gate_proj",
            LayerTensor::FfnUp => "mlp.up_proj",
            LayerTensor::FfnSubNorm if one_bit_llm => "mlp.ffn_layernorm",
            LayerTensor::FfnSubNorm => "mlp.ffn_sub_norm",
            LayerTensor::FfnDown => "mlp.down_proj",
            _ => unreachable!("norms inside linear layers are named above"),
        };
        format!("model.layers.{index}.{name}.weight")
    }

    /// The tensor's name in a GGUF file (the same in every architecture).
    pub fn gguf_name(self) -> String {
        self.gguf_stem() + ".weight"
    }

    /// The name of the tensor's separate scale in a GGUF file: f32, one element, which multiplies
    /// the product (llama.cpp, architecture `bitnet`).
    pub fn gguf_scale_name(self) -> String {
        self.gguf_stem() + ".scale"
    }

    fn gguf_stem(self) -> String {
        let (index, kind) = match self {
            Self::TokenEmbedding => return "token_embd".into(),
            Self::OutputNorm => return "output_norm".into(),
            Self::OutputHead => return "output".into(),
            Self::Layer { index, kind } => (index, kind),
        };
        if let Some(kind) = kind.normalized() {
            return Self::Layer { index, kind }.gguf_stem() + ".input_norm";
        }
        let name = match kind {
            LayerTensor::AttnNorm => "attn_norm",
            LayerTensor::AttnQ => "attn_q",
            LayerTensor::AttnK => "attn_k",
            LayerTensor::AttnV => "attn_v",
            LayerTensor::AttnSubNorm => "attn_sub_norm",
            LayerTensor::AttnOutput => "attn_output",
            LayerTensor::FfnNorm => "ffn_norm",
            LayerTensor::FfnGate => "ffn_gate",
            LayerTensor::FfnUp => "ffn_up",
            LayerTensor::FfnSubNorm => "ffn_sub_norm",
            LayerTensor::FfnDown => "ffn_down",
            _ => unreachable!("norms inside linear layers are named above"),
        };
        format!("blk.{index}.{name}")
    }
}

/// How rows of this tensor move on the way from a checkpoint with that config to a file that pairs
/// rows as `target` says: element `o` is the source row of output row `o`; `None` stands for no change.
///
/// Rotary position embedding turns pairs of rows of the query and key projections. Hugging Face
/// pairs row i with row i + D/2 of a head (D = `head_dim`); llama.cpp's architecture `llama` pairs
/// neighbours, so its files hold those rows interleaved, while its BitNet architectures pair as
/// Hugging Face does ([`crate::gguf::metadata::rope_pairs`] tells which of the two a GGUF file needs).
///
/// ```text
/// HalfSplit     a0 a1 a2 ... b0 b1 b2 ...        (a_i turns with b_i)
/// Interleaved   a0 b0 a1 b1 a2 b2 ...
/// ```
pub fn rope_permutation(config: &ModelConfig, id: TensorId, target: RopePairs) -> Option<Vec<usize>> {
    let heads = match id {
        _ if config.rope_pairs == target => return None,
        TensorId::Layer { kind: LayerTensor::AttnQ, .. } => config.heads,
        TensorId::Layer { kind: LayerTensor::AttnK, .. } => config.kv_heads,
        _ => return None,
    };
    let (dim, half) = (config.head_dim, config.head_dim / 2);
    let source = |o: usize| match target {
        RopePairs::Interleaved => o % 2 * half + o / 2,
        RopePairs::HalfSplit => o % half * 2 + o / half,
    };
    Some((0..heads * dim).map(|o| o / dim * dim + source(o % dim)).collect())
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;
    use crate::config::tests::llama;

    #[test]
    fn rows_interleave_within_each_head() {
        let mut config = llama();
        (config.heads, config.kv_heads, config.head_dim) = (2, 1, 6);
        let id = |kind| TensorId::Layer { index: 0, kind };
        assert_eq!(
            rope_permutation(&config, id(LayerTensor::AttnQ), RopePairs::Interleaved).unwrap(),
            [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
        );
        let permuted = |config: &ModelConfig, kind, target| rope_permutation(config, id(kind), target);
        let interleaved = RopePairs::Interleaved;
        assert_eq!(permuted(&config, LayerTensor::AttnK, interleaved).unwrap(), [0, 3, 1, 4, 2, 5]);
        assert_eq!(permuted(&config, LayerTensor::AttnV, interleaved), None);
        assert_eq!(permuted(&config, LayerTensor::AttnQ, RopePairs::HalfSplit), None);
        config.rope_pairs = interleaved;
        let back = permuted(&config, LayerTensor::AttnK, RopePairs::HalfSplit).unwrap();
        assert_eq!(back, [0, 2, 4, 1, 3, 5]);
    }

    proptest! {
        #[test]
        fn there_and_back_is_the_identity(heads in 1usize..5, half in 1usize..40) {
            let mut config = llama();
            (config.heads, config.kv_heads, config.head_dim) = (heads, heads, 2 * half);
            let id = TensorId::Layer { index: 0, kind: LayerTensor::AttnK };
            let there = rope_permutation(&config, id, RopePairs::Interleaved).unwrap();
            config.rope_pairs = RopePairs::Interleaved;
            let back = rope_permutation(&config, id, RopePairs::HalfSplit).unwrap();
            for row in 0..heads * 2 * half {
                prop_assert_eq!(there[back[row]], row);
                prop_assert_eq!(back[there[row]], row);
            }
        }
    }

    #[test]
    fn norms_inside_linear_layers_are_called_like_the_layer() {
        let id = |kind| TensorId::Layer { index: 3, kind };
        for kind in LayerTensor::ALL {
            let Some(norm) = kind.input_norm() else { continue };
            let config = llama();
            assert_eq!(id(norm).shape(&config), [id(kind).shape(&config)[1]]);
            assert!(!norm.is_linear());
        }
        let down = id(LayerTensor::FfnDownInputNorm);
        assert_eq!(
            down.hugging_face_name(Architecture::Llama),
            "model.layers.3.mlp.down_proj.rms_norm.weight"
        );
        assert_eq!(down.gguf_name(), "blk.3.ffn_down.input_norm.weight");
    }

    #[test]
    fn ids_are_listed_in_their_own_order() {
        let mut config = llama();
        config.sub_norms = true;
        let ids: Vec<_> = TensorId::all(&config).collect();
        assert!(ids.is_sorted());
        assert_eq!(ids.len(), 1 + config.layers * 11 + 2);
        config.sub_norms = false;
        config.tied_embeddings = true;
        assert_eq!(TensorId::all(&config).count(), 1 + config.layers * 9 + 1);
        (config.block_norms, config.linear_norm_eps) = (false, Some(1e-6));
        let ids: Vec<_> = TensorId::all(&config).collect();
        assert!(ids.is_sorted());
        assert_eq!(ids.len(), 1 + config.layers * 14 + 1);
    }
}
