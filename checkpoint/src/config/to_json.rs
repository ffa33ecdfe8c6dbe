//! A config as config.json, in the form that transformers 4 and 5 both read.
//!
//! transformers 4 knows `rope_theta` and `rope_scaling` only; transformers 5 takes them over into its
//! `rope_parameters`. What quantization there is stands in `quantization_config`:
//!
//! ```text
//! packed weights                                    offline, linear_class tells what their scale means
//! master, ternary when it runs                      online, autobitlinear
//! 1bitLLM's master, which transformers cannot run   weight_bits, input_bits as in the published ones
//! ```

use serde_json::{Map, Value, json};

use super::{Architecture, ModelConfig, RopeScaling, ScaleConvention, hugging_face::BLOCK_NORMS};
use crate::TensorType;

impl ModelConfig {
    /// The text of config.json for a checkpoint with this config, whose embeddings are `dtype` and whose
    /// linear layers are packed with scales of that convention, or not packed.
    ///
    /// Reading it back gives this config, with rows paired as Hugging Face does. A BitNet architecture
    /// is ternary there whatever [`ModelConfig::ternary_linears`] says.
    pub fn to_json(&self, dtype: TensorType, packed: Option<ScaleConvention>) -> String {
        let mut json = Map::new();
        let mut put = |key: &str, value: Value| {
            json.insert(key.to_owned(), value);
        };
        let model_type = match self.architecture {
            // As published: the class decides, not the model type.
            Architecture::Llama | Architecture::BitNet1bitLlm => "llama",
            Architecture::BitNet2B4T => "bitnet",
        };
        put("architectures", json!([self.architecture.hugging_face_name()]));
        put("attention_bias", json!(false));
        if !self.block_norms {
            put(BLOCK_NORMS, json!(false));
        }
        put("bos_token_id", json!(self.bos_token));
        let eos = match self.eos_tokens[..] {
            [] => Value::Null,
            [one] => json!(one),
            ref several => json!(several),
        };
        put("eos_token_id", eos);
        put("head_dim", json!(self.head_dim));
        put("hidden_act", json!(self.activation.name()));
        put("hidden_size", json!(self.hidden_size));
        put("intermediate_size", json!(self.intermediate_size));
        put("max_position_embeddings", json!(self.context_length));
        put("mlp_bias", json!(false));
        put("model_type", json!(model_type));
        put("num_attention_heads", json!(self.heads));
        put("num_hidden_layers", json!(self.layers));
        put("num_key_value_heads", json!(self.kv_heads));
        put("rms_norm_eps", shortest(self.norm_eps));
        put("rope_scaling", rope_scaling(self.rope_scaling));
        put("rope_theta", json!(self.rope_theta));
        put("tie_word_embeddings", json!(self.tied_embeddings));
        put("torch_dtype", json!(torch_name(dtype)));
        put("use_cache", json!(true));
        put("vocab_size", json!(self.vocab_size));
        if self.architecture == Architecture::BitNet1bitLlm {
            put("weight_bits", json!(1));
            put("input_bits", json!(8));
        }
        if let Some(quantization) = self.quantization(packed) {
            put("quantization_config", quantization);
        }
        format!("{:#}\n", Value::Object(json))
    }

    fn quantization(&self, packed: Option<ScaleConvention>) -> Option<Value> {
        let (linear_class, mode) = match packed {
            Some(convention) => (convention.linear_class(), "offline"),
            None if self.linear_norm_eps.is_some() => ("autobitlinear", "online"),
            None if !self.ternary_linears || self.architecture == Architecture::BitNet1bitLlm => return None,
            None => ("autobitlinear", "online"),
        };
        let mut quantization = json!({
            "quant_method": "bitnet",
            "linear_class": linear_class,
            "quantization_mode": mode,
            // transformers then leaves out the output head, and nothing else.
            "modules_to_not_convert": null,
        });
        if let Some(eps) = self.linear_norm_eps {
            quantization["use_rms_norm"] = json!(true);
            quantization["rms_norm_eps"] = shortest(eps);
        }
        Some(quantization)
    }
}

fn rope_scaling(scaling: RopeScaling) -> Value {
    match scaling {
        RopeScaling::None => Value::Null,
        // Both names of the kind: before transformers 4.43 it was `type`.
        RopeScaling::Linear { factor } => json!({"rope_type": "linear", "type": "linear", "factor": factor}),
        RopeScaling::Llama3 { factor, low_freq_factor, high_freq_factor, original_context } => json!({
            "rope_type": "llama3",
            "factor": factor,
            "low_freq_factor": low_freq_factor,
            "high_freq_factor": high_freq_factor,
            "original_max_position_embeddings": original_context,
        }),
    }
}

/// The shortest decimal number that stands for this one: 1e-5 and not 9.99999974e-6.
fn shortest(x: f32) -> Value {
    let short = x.to_string().parse::<f64>().ok().filter(|&y| y as f32 == x);
    json!(short.unwrap_or(f64::from(x)))
}

fn torch_name(dtype: TensorType) -> &'static str {
    match dtype {
        TensorType::F16 => "float16",
        TensorType::Bf16 => "bfloat16",
        _ => "float32",
    }
}

#[cfg(test)]
mod tests {
    use std::path::Path;

    use b158_kernels::rope::RopePairs;
    use proptest::prelude::*;

    use super::*;
    use crate::{Activation, config::parse_hugging_face};

    fn any_scaling() -> impl Strategy<Value = RopeScaling> {
        prop_oneof![
            Just(RopeScaling::None),
            (0.5f64..64.0).prop_map(|factor| RopeScaling::Linear { factor }),
            (0.5f64..64.0, 0.5f64..2.0, 2.5f64..8.0, 1usize..100_000).prop_map(
                |(factor, low_freq_factor, high_freq_factor, original_context)| RopeScaling::Llama3 {
                    factor,
                    low_freq_factor,
                    high_freq_factor,
                    original_context
                }
            ),
        ]
    }

    pub(crate) fn any_config() -> impl Strategy<Value = ModelConfig> {
        let sizes =
            (1usize..9000, 1usize..9000, 1usize..100, 1usize..9, 1usize..9, 1usize..99, 1usize..200_000);
        let numbers = (1e-9f32..1e-2, 1e2f64..1e8, any_scaling(), 1usize..200_000);
        let tokens = (
            any::<Option<u32>>(),
            prop::collection::btree_set(any::<u32>(), 0..4),
            any::<bool>(),
            any::<bool>(),
        );
        let layout = (
            prop::sample::select(Architecture::ALL.to_vec()),
            prop::sample::select(vec![Activation::Silu, Activation::Relu2]),
            prop::option::of(1e-9f32..1e-2),
            any::<bool>(),
        );
        (sizes, numbers, tokens, layout).prop_map(|(sizes, numbers, tokens, layout)| {
            let is_bitnet = layout.0 != Architecture::Llama;
            ModelConfig {
                architecture: layout.0,
                hidden_size: sizes.0,
                intermediate_size: sizes.1,
                layers: sizes.2,
                heads: sizes.3 * sizes.4,
                kv_heads: sizes.4,
                head_dim: 2 * sizes.5,
                vocab_size: sizes.6,
                context_length: numbers.3,
                norm_eps: numbers.0,
                rope_theta: numbers.1,
                rope_scaling: numbers.2,
                rope_pairs: RopePairs::HalfSplit,
                activation: layout.1,
                tied_embeddings: tokens.2,
                block_norms: layout.3 || layout.2.is_none(),
                sub_norms: is_bitnet,
                linear_norm_eps: layout.2,
                ternary_linears: is_bitnet || tokens.3 || layout.2.is_some(),
                bos_token: tokens.0,
                eos_tokens: tokens.1.into_iter().rev().collect(),
            }
        })
    }

    proptest! {
        #[test]
        fn what_is_written_is_read_back(
            config in any_config(),
            packed in prop::option::of(prop::sample::select(vec![ScaleConvention::Multiply, ScaleConvention::Divide])),
        ) {
            let mut config = config;
            config.ternary_linears |= packed.is_some();
            let json = config.to_json(TensorType::Bf16, packed);
            let (read, convention) = parse_hugging_face(Path::new("config.json"), json.as_bytes()).unwrap();
            prop_assert_eq!(read, config);
            prop_assert_eq!(convention, packed);
        }
    }

    #[test]
    fn numbers_are_short() {
        let config = crate::config::tests::llama();
        let json = config.to_json(TensorType::F16, None);
        assert!(
            json.contains("\"rms_norm_eps\": 0.00001") && json.contains("\"torch_dtype\": \"float16\""),
            "{json}"
        );
        assert!(!json.contains("quantization_config"));
    }
}
