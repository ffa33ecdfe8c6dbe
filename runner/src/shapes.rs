//! The shapes of published models, without their weights: what `bench --shape` makes.
//!
//! Sizes are from these sources:
//!
//! | shape | source |
//! |---|---|
//! | 700M, 1.3B, 3B, 3.9B | "The Era of 1-bit LLMs: Training Tips, Code and FAQ", table of configurations |
//! | 7B, 13B, 30B | LLaMA (arXiv 2302.13971): 6.7B, 13.0B, 32.5B. The b1.58 paper (arXiv 2402.17764) gives no sizes beyond 3.9B; that it follows LLaMA here is our assumption |
//! | 70B | LLaMA 2 (arXiv 2307.09288), eight key-value heads; likewise an assumption |
//! | 2B-4T | config.json of BitNet b1.58 2B4T (arXiv 2504.12285) |
//! | tiny | ours, for tests and examples |
//!
//! Assumed besides: the vocabulary of 32002 and the tied head of 1bitLLM's reproductions up to 3.9B, 32000 and a
//! head of its own above, as LLaMA has; the sub-norms and SiLU of 1bitLLM's layout for ternary models of the
//! papers; a context of 4096 tokens everywhere (the papers trained with 2048; no weight depends on it).
//! Up to 3.9B the papers' models have as many key-value heads as query heads.

use b158_checkpoint::{Activation, Architecture, ModelConfig, RopeScaling, TensorId};
use b158_kernels::rope::RopePairs;

use crate::SyntheticFormat;

/// Sizes of a model.
#[derive(Clone, Copy, Debug, PartialEq)]
pub struct Shape {
    /// The name, such as `2B-4T`.
    pub name: &'static str,
    hidden: usize,
    intermediate: usize,
    layers: usize,
    heads: usize,
    kv_heads: usize,
    vocab: usize,
    rope_theta: f64,
    activation: Activation,
    tied: bool,
}

/// A LLaMA of the papers.
const fn llama(name: &'static str, [hidden, intermediate, layers, heads]: [usize; 4], tied: bool) -> Shape {
    let vocab = if tied { 32002 } else { 32000 };
    let (rope_theta, activation) = (10000.0, Activation::Silu);
    let kv_heads = heads;
    Shape { name, hidden, intermediate, layers, heads, kv_heads, vocab, rope_theta, activation, tied }
}

impl Shape {
    /// Every shape, by size.
    pub const ALL: [Self; 10] = [
        Self { vocab: 512, kv_heads: 2, ..llama("tiny", [256, 512, 2, 4], true) },
        llama("700M", [1536, 4096, 24, 24], true),
        llama("1.3B", [2048, 5460, 24, 32], true),
        Self {
            kv_heads: 5,
            vocab: 128_256,
            rope_theta: 500_000.0,
            activation: Activation::Relu2,
            ..llama("2B-4T", [2560, 6912, 30, 20], true)
        },
        llama("3B", [3200, 8640, 26, 32], true),
        llama("3.9B", [3200, 12800, 26, 32], true),
        llama("7B", [4096, 11008, 32, 32], false),
        llama("13B", [5120, 13824, 40, 40], false),
        llama("30B", [6656, 17920, 60, 52], false),
        Self { kv_heads: 8, ..llama("70B", [8192, 28672, 80, 64], false) },
    ];

    /// Longest sequence, in tokens.
    pub const CONTEXT: usize = 4096;

    /// The shape with that name, in either case.
    pub fn named(name: &str) -> Option<&'static Self> {
        const ALL: &[Shape] = &Shape::ALL;
        ALL.iter().find(|shape| shape.name.eq_ignore_ascii_case(name))
    }

    /// The config of a model of this shape: a BitNet b1.58, or its twin in full precision, which has LLaMA's
    /// layout for the papers' sizes and 2B-4T's own for 2B-4T.
    pub fn config(&self, format: SyntheticFormat) -> ModelConfig {
        let ternary_linears = format == SyntheticFormat::Ternary;
        let architecture = match self.activation {
            Activation::Relu2 => Architecture::BitNet2B4T,
            Activation::Silu if ternary_linears => Architecture::BitNet1bitLlm,
            Activation::Silu => Architecture::Llama,
        };
        ModelConfig {
            architecture,
            hidden_size: self.hidden,
            intermediate_size: self.intermediate,
            layers: self.layers,
            heads: self.heads,
            kv_heads: self.kv_heads,
            head_dim: self.hidden / self.heads,
            vocab_size: self.vocab,
            context_length: Self::CONTEXT,
            norm_eps: 1e-5,
            rope_theta: self.rope_theta,
            rope_scaling: RopeScaling::None,
            rope_pairs: RopePairs::HalfSplit,
            activation: self.activation,
            tied_embeddings: self.tied,
            block_norms: true,
            sub_norms: architecture != Architecture::Llama,
            linear_norm_eps: None,
            ternary_linears,
            bos_token: Some(1),
            eos_tokens: vec![2],
        }
    }

    /// Weights of the linear layers, without embedding and head.
    pub fn linear_weights(&self) -> u64 {
        linear_weights(&self.config(SyntheticFormat::Ternary))
    }
}

/// Weights of the linear layers of the blocks.
pub(crate) fn linear_weights(config: &ModelConfig) -> u64 {
    let linear = TensorId::all(config).filter(|id| id.is_linear());
    linear.map(|id| id.shape(config).iter().product::<usize>() as u64).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_found_in_either_case() {
        for shape in Shape::ALL {
            assert_eq!(Shape::named(&shape.name.to_lowercase()), Some(&shape));
        }
        assert_eq!(Shape::named("8B"), None);
    }

    /// The names are rounded, and some papers count embeddings: a tenth either way.
    #[test]
    fn weights_are_about_what_the_names_say() {
        let billions = [
            ("700M", 0.68),
            ("1.3B", 1.21),
            ("2B-4T", 2.084_044_8),
            ("3B", 3.22),
            ("3.9B", 4.26),
            ("7B", 6.48),
            ("13B", 12.69),
            ("30B", 32.1),
            ("70B", 68.5),
        ];
        for (name, billions) in billions {
            let weights = Shape::named(name).unwrap().linear_weights() as f64 / 1e9;
            assert!((weights / billions - 1.0).abs() < 0.02, "{name}: {weights}");
        }
    }
}
