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
//! Every name ends in `.weight`; a GGUF scale tensor ends in `.scale` instead.

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
}

impl LayerTensor {
    /// Every tensor of a block, in the order of computation.
    pub const ALL: [Self; 11] = [
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
    ];

    /// Whether this is one of the seven linear layers, which b1.58 makes ternary.
    pub fn is_linear(self) -> bool {
        !matches!(self, Self::AttnNorm | Self::AttnSubNorm | Self::FfnNorm | Self::FfnSubNorm)
    }

    fn is_sub_norm(self) -> bool {
        matches!(self, Self::AttnSubNorm | Self::FfnSubNorm)
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
        let sub_norms = config.sub_norms;
        let layers = (0..config.layers).flat_map(move |index| {
            LayerTensor::ALL
                .into_iter()
                .filter(move |kind| sub_norms || !kind.is_sub_norm())
                .map(move |kind| Self::Layer { index, kind })
        });
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
                LayerTensor::AttnNorm | LayerTensor::FfnNorm => vec![hidden],
                LayerTensor::AttnQ => vec![q, hidden],
                LayerTensor::AttnK | LayerTensor::AttnV => vec![kv, hidden],
                LayerTensor::AttnSubNorm => vec![q],
                LayerTensor::AttnOutput => vec![hidden, q],
                LayerTensor::FfnGate | LayerTensor::FfnUp => vec![intermediate, hidden],
                LayerTensor::FfnSubNorm => vec![intermediate],
                LayerTensor::FfnDown => vec![hidden, intermediate],
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
        };
        format!("model.layers.{index}.{name}.weight")
    }

    /// The tensor's name in a GGUF file (the same for both architectures that we write).
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
        };
        format!("blk.{index}.{name}")
    }
}

/// How rows of this tensor move when a checkpoint with that config is written to GGUF: element `o`
/// is the source row of output row `o`; `None` stands for no change.
///
/// Rotary position embedding turns pairs of rows of the query and key projections. Hugging Face
/// pairs row i with row i + D/2 of a head (D = `head_dim`); llama.cpp's architecture `llama` pairs
/// neighbours, so its files hold those rows interleaved, while its architecture `bitnet` pairs as
/// Hugging Face does.
///
/// ```text
/// Hugging Face   a0 a1 a2 ... b0 b1 b2 ...        (a_i turns with b_i)
/// GGUF `llama`   a0 b0 a1 b1 a2 b2 ...
/// ```
pub fn rope_permutation(config: &ModelConfig, id: TensorId) -> Option<Vec<usize>> {
    if config.architecture != Architecture::Llama || config.rope_pairs != RopePairs::HalfSplit {
        return None;
    }
    let heads = match id {
        TensorId::Layer { kind: LayerTensor::AttnQ, .. } => config.heads,
        TensorId::Layer { kind: LayerTensor::AttnK, .. } => config.kv_heads,
        _ => return None,
    };
    let half = config.head_dim / 2;
    let source = |head: usize| (0..half).flat_map(move |i| [0, 1].map(|j| head * 2 * half + j * half + i));
    Some((0..heads).flat_map(source).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::config::tests::llama;

    #[test]
    fn rows_interleave_within_each_head() {
        let mut config = llama();
        (config.heads, config.kv_heads, config.head_dim) = (2, 1, 6);
        let id = |kind| TensorId::Layer { index: 0, kind };
        assert_eq!(
            rope_permutation(&config, id(LayerTensor::AttnQ)).unwrap(),
            [0, 3, 1, 4, 2, 5, 6, 9, 7, 10, 8, 11]
        );
        assert_eq!(rope_permutation(&config, id(LayerTensor::AttnK)).unwrap(), [0, 3, 1, 4, 2, 5]);
        assert_eq!(rope_permutation(&config, id(LayerTensor::AttnV)), None);
        config.architecture = Architecture::BitNet2B4T;
        assert_eq!(rope_permutation(&config, id(LayerTensor::AttnQ)), None);
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
    }
}
