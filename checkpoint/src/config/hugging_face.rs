//! config.json and generation_config.json of Hugging Face's transformers, old and new keys.
//!
//! ```text
//! up to transformers 4                 from transformers 5
//! "rope_theta": 10000.0                "rope_parameters": {"rope_type": "default", "rope_theta": 10000.0}
//! "rope_scaling": null
//! ```
//!
//! What transformers would do differently and this workspace cannot do is refused by name: biases,
//! the rarer kinds of scaled rotary embeddings, quantization other than BitNet's.
//!
//! `use_rms_norm` in `quantization_config` gives every linear layer a norm of its own
//! (`<layer>.rms_norm.weight`). Our own key `b158_block_norms`: false says that the norms before
//! attention and feed-forward network are left out then; transformers, which knows no such layout, has
//! weights of one there, and a norm after a norm changes next to nothing.

use std::path::Path;

use b158_kernels::rope::RopePairs;
use serde_json::{Map, Value};

use super::{Activation, Architecture, ModelConfig, RopeScaling};
use crate::{Error, error::printable};

/// How the scales of packed weights are meant (`linear_class` in transformers' `BitNetQuantConfig`).
/// The two are each other's inverse, and nothing else in a checkpoint tells them apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ScaleConvention {
    /// `autobitlinear`: the product is multiplied by `weight_scale`.
    Multiply,
    /// `bitlinear`, the default: the product is divided by `weight_scale`.
    Divide,
}

impl ScaleConvention {
    /// The name in `linear_class` of config.json.
    pub fn linear_class(self) -> &'static str {
        match self {
            Self::Multiply => "autobitlinear",
            Self::Divide => "bitlinear",
        }
    }
}

/// Our own key: whether there are norms before attention and before the feed-forward network.
pub(crate) const BLOCK_NORMS: &str = "b158_block_norms";

/// See [`ModelConfig::from_json`]; with the convention of packed weights, if they are packed.
pub(crate) fn parse(file: &Path, json: &[u8]) -> Result<(ModelConfig, Option<ScaleConvention>), Error> {
    let object = object(file, json)?;
    let keys = Keys { file, object: &object };
    let architecture = architecture(&keys)?;
    let is_bitnet = architecture != Architecture::Llama;

    for key in ["attention_bias", "mlp_bias"] {
        if keys.flag(key)?.unwrap_or(false) {
            return Err(Error::unsupported(file, format!("`{key}`: true"), "use a model without biases"));
        }
    }
    let hidden_size = keys.required_size("hidden_size")?;
    let heads = keys.required_size("num_attention_heads")?;
    let head_dim = match keys.size("head_dim")? {
        Some(head_dim) => head_dim,
        None if heads > 0 && hidden_size.is_multiple_of(heads) => hidden_size / heads,
        None => {
            return Err(
                keys.bad("num_attention_heads", "it must divide hidden_size where head_dim is absent")
            );
        }
    };
    let quantization = quantization(&keys)?;
    let (rope_theta, rope_scaling) = rope(&keys, architecture)?;
    let mut config = ModelConfig {
        architecture,
        hidden_size,
        intermediate_size: keys.required_size("intermediate_size")?,
        layers: keys.required_size("num_hidden_layers")?,
        heads,
        kv_heads: keys.size("num_key_value_heads")?.unwrap_or(heads),
        head_dim,
        vocab_size: keys.required_size("vocab_size")?,
        context_length: keys.required_size("max_position_embeddings")?,
        norm_eps: keys.float("rms_norm_eps")?.ok_or_else(|| Error::missing_key(file, "rms_norm_eps"))? as f32,
        rope_theta,
        rope_scaling,
        rope_pairs: RopePairs::HalfSplit,
        activation: activation(&keys, architecture)?,
        tied_embeddings: keys.flag("tie_word_embeddings")?.unwrap_or(false),
        block_norms: keys.flag(BLOCK_NORMS)?.unwrap_or(true),
        sub_norms: is_bitnet,
        linear_norm_eps: quantization.as_ref().and_then(|q| q.norm_eps),
        ternary_linears: quantization.is_some() || is_bitnet,
        bos_token: keys.token("bos_token_id")?,
        eos_tokens: keys.tokens("eos_token_id")?,
    };
    config.normalize_eos();
    config.check(file)?;
    Ok((config, quantization.and_then(|q| q.packed)))
}

/// What the quantization entries say about the linear layers.
struct Quantization {
    /// Four codes a byte, with scales of that convention; else full-precision weights that become
    /// ternary when they run.
    packed: Option<ScaleConvention>,
    /// See [`ModelConfig::linear_norm_eps`].
    norm_eps: Option<f32>,
}

/// The ending tokens of generation_config.json.
pub(super) fn generation_eos(file: &Path, json: &[u8]) -> Result<Vec<u32>, Error> {
    let object = object(file, json)?;
    Keys { file, object: &object }.tokens("eos_token_id")
}

fn object(file: &Path, json: &[u8]) -> Result<Map<String, Value>, Error> {
    serde_json::from_slice(json).map_err(Error::json(file))
}

/// By class name: 1bitLLM's checkpoints say `"model_type": "llama"` although they are not.
fn architecture(keys: &Keys) -> Result<Architecture, Error> {
    let names = keys.get("architectures").ok_or_else(|| Error::missing_key(keys.file, "architectures"))?;
    let Some(name) = names.get(0).and_then(Value::as_str) else {
        return Err(keys.bad("architectures", "it must be a list that starts with a class name"));
    };
    Architecture::ALL.into_iter().find(|a| a.hugging_face_name() == name).ok_or_else(|| {
        Error::UnknownArchitecture {
            file: keys.file.to_owned(),
            found: printable(name),
            supported: "LlamaForCausalLM, BitNetForCausalLM (2B4T) and BitnetForCausalLM (1bitLLM)",
        }
    })
}

fn activation(keys: &Keys, architecture: Architecture) -> Result<Activation, Error> {
    let Some(value) = keys.get("hidden_act") else {
        // The defaults of LlamaConfig and BitNetConfig.
        return Ok(if architecture == Architecture::BitNet2B4T {
            Activation::Relu2
        } else {
            Activation::Silu
        });
    };
    value
        .as_str()
        .and_then(Activation::from_name)
        .ok_or_else(|| keys.bad("hidden_act", "supported are \"silu\" and \"relu2\""))
}

/// The base of the rotary frequencies and how they are scaled.
fn rope(keys: &Keys, architecture: Architecture) -> Result<(f64, RopeScaling), Error> {
    let mut theta = keys.float("rope_theta")?;
    let mut scaling = RopeScaling::None;
    // Where both are given, transformers 5 takes the older one.
    for key in ["rope_parameters", "rope_scaling"] {
        let Some(value) = keys.get(key) else { continue };
        let Some(object) = value.as_object() else {
            return Err(keys.bad(key, "it must be null or an object"));
        };
        let rope = Keys { file: keys.file, object };
        scaling = rope_scaling(keys, key, &rope)?;
        theta = rope.float("rope_theta")?.or(theta);
        if rope.float("partial_rotary_factor")?.is_some_and(|f| f != 1.0) {
            return Err(Error::unsupported(
                keys.file,
                "`partial_rotary_factor`",
                "use a model that turns whole heads",
            ));
        }
    }
    // The defaults of BitNetConfig and LlamaConfig.
    let default = if architecture == Architecture::BitNet2B4T { 500_000.0 } else { 10_000.0 };
    Ok((theta.unwrap_or(default), scaling))
}

fn rope_scaling(keys: &Keys, key: &str, rope: &Keys) -> Result<RopeScaling, Error> {
    let float =
        |name: &str| rope.float(name)?.ok_or_else(|| Error::missing_key(keys.file, format!("{key}.{name}")));
    let kind = rope.get("rope_type").or_else(|| rope.get("type"));
    match kind.map(Value::as_str) {
        Some(Some("default")) => Ok(RopeScaling::None),
        Some(Some("linear")) => Ok(RopeScaling::Linear { factor: float("factor")? }),
        Some(Some("llama3")) => Ok(RopeScaling::Llama3 {
            factor: float("factor")?,
            low_freq_factor: float("low_freq_factor")?,
            high_freq_factor: float("high_freq_factor")?,
            original_context: rope.size("original_max_position_embeddings")?.ok_or_else(|| {
                Error::missing_key(keys.file, format!("{key}.original_max_position_embeddings"))
            })?,
        }),
        // `rope_scaling` without a type would be an error in transformers; `rope_parameters` has a default.
        None if key == "rope_parameters" => Ok(RopeScaling::None),
        _ => Err(Error::unsupported(
            keys.file,
            format!("`{key}` of type {}", kind.map_or("(none)".into(), brief)),
            "use a model with rotary embeddings that are plain or scaled by `linear` or `llama3`",
        )),
    }
}

/// A linear layer of the blocks that transformers would leave in full precision.
fn kept_dense(quantization: &Keys) -> Result<Option<String>, Error> {
    let Some(list) = quantization.get("modules_to_not_convert") else { return Ok(None) };
    let bad = || quantization.bad("modules_to_not_convert", "it must be a list of names");
    let names: Vec<&str> =
        list.as_array().and_then(|list| list.iter().map(Value::as_str).collect()).ok_or_else(bad)?;
    // transformers takes each for a part of a module's path.
    let in_blocks = |name: &&str| {
        ["layers", "self_attn", "mlp"].iter().any(|part| name.contains(part)) || name.ends_with("_proj")
    };
    Ok(names.into_iter().find(in_blocks).map(printable))
}

/// The quantization entries, if there are any.
fn quantization(keys: &Keys) -> Result<Option<Quantization>, Error> {
    for (key, value) in [("weight_bits", 1), ("input_bits", 8)] {
        if keys.size(key)?.is_some_and(|bits| bits != value) {
            return Err(keys.bad(key, "supported are ternary weights (weight_bits 1) and int8 activations"));
        }
    }
    let Some(value) = keys.get("quantization_config") else { return Ok(None) };
    let Some(object) = value.as_object() else {
        return Err(keys.bad("quantization_config", "it must be null or an object"));
    };
    let quantization = Keys { file: keys.file, object };
    let method = quantization.get("quant_method");
    if method.is_none_or(|method| method != "bitnet") {
        let feature = format!("the quantization method {}", method.map_or("(none)".into(), brief));
        return Err(Error::unsupported(keys.file, feature, "use the model's full-precision checkpoint"));
    }
    if let Some(name) = kept_dense(&quantization)? {
        let feature = format!("`modules_to_not_convert` with `{name}`");
        let hint = "use a model in which all linear layers of the blocks are ternary";
        return Err(Error::unsupported(keys.file, feature, hint));
    }
    let norm_eps = match quantization.flag("use_rms_norm")? {
        // transformers' default.
        Some(true) => Some(quantization.float("rms_norm_eps")?.unwrap_or(1e-6) as f32),
        _ => None,
    };
    match quantization.get("quantization_mode").map(Value::as_str) {
        Some(Some("online")) => return Ok(Some(Quantization { packed: None, norm_eps })),
        // transformers' default: the weights are packed, four codes a byte.
        None | Some(Some("offline")) => {}
        Some(_) => {
            return Err(quantization.bad("quantization_mode", "it must be \"online\" or \"offline\""));
        }
    }
    let convention = match quantization.get("linear_class").map(Value::as_str) {
        None | Some(Some("bitlinear")) => ScaleConvention::Divide,
        Some(Some("autobitlinear")) => ScaleConvention::Multiply,
        Some(_) => {
            return Err(quantization.bad("linear_class", "it must be \"bitlinear\" or \"autobitlinear\""));
        }
    };
    Ok(Some(Quantization { packed: Some(convention), norm_eps }))
}

/// A value on one line, cut to a length that fits a message.
fn brief(value: &Value) -> String {
    printable(&value.to_string())
}

/// Typed access to a JSON object; `null` counts as absent, as in transformers.
struct Keys<'a> {
    file: &'a Path,
    object: &'a Map<String, Value>,
}

impl<'a> Keys<'a> {
    fn get(&self, key: &str) -> Option<&'a Value> {
        self.object.get(key).filter(|value| !value.is_null())
    }

    fn bad(&self, key: &str, valid: &'static str) -> Error {
        let value = self.object.get(key).map_or_else(|| "absent".into(), brief);
        Error::BadValue { file: self.file.to_owned(), key: key.into(), value, valid }
    }

    fn typed<T>(
        &self,
        key: &str,
        valid: &'static str,
        read: impl Fn(&'a Value) -> Option<T>,
    ) -> Result<Option<T>, Error> {
        self.get(key).map(|value| read(value).ok_or_else(|| self.bad(key, valid))).transpose()
    }

    fn size(&self, key: &str) -> Result<Option<usize>, Error> {
        self.typed(key, "it must be a whole number", |v| v.as_u64()?.try_into().ok())
    }

    fn required_size(&self, key: &str) -> Result<usize, Error> {
        self.size(key)?.ok_or_else(|| Error::missing_key(self.file, key))
    }

    fn float(&self, key: &str) -> Result<Option<f64>, Error> {
        self.typed(key, "it must be a number", Value::as_f64)
    }

    fn flag(&self, key: &str) -> Result<Option<bool>, Error> {
        self.typed(key, "it must be true or false", Value::as_bool)
    }

    fn token(&self, key: &str) -> Result<Option<u32>, Error> {
        self.typed(key, "it must be a token id", token)
    }

    /// One token id or a list of them.
    fn tokens(&self, key: &str) -> Result<Vec<u32>, Error> {
        let read = |value: &'a Value| match value {
            Value::Array(list) => list.iter().map(token).collect(),
            one => token(one).map(|id| vec![id]),
        };
        Ok(self.typed(key, "it must be a token id or a list of them", read)?.unwrap_or_default())
    }
}

fn token(value: &Value) -> Option<u32> {
    value.as_u64()?.try_into().ok()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    fn base() -> Value {
        json!({
            "architectures": ["LlamaForCausalLM"], "hidden_size": 64, "intermediate_size": 160,
            "num_hidden_layers": 3, "num_attention_heads": 4, "num_key_value_heads": 2, "vocab_size": 512,
            "max_position_embeddings": 256, "rms_norm_eps": 1e-5, "bos_token_id": 1, "eos_token_id": 2
        })
    }

    /// The base with some keys changed.
    fn with(changes: &Value) -> Value {
        let mut config = base();
        config.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
        config
    }

    fn parse_with(changes: &Value) -> Result<ModelConfig, Error> {
        parse(Path::new("config.json"), with(changes).to_string().as_bytes()).map(|(config, _)| config)
    }

    #[test]
    fn old_and_new_keys_of_rope() {
        let theta = |changes: Value| parse_with(&changes).unwrap().rope_theta;
        assert_eq!(theta(json!({})), 10_000.0);
        assert_eq!(theta(json!({"architectures": ["BitNetForCausalLM"]})), 500_000.0);
        assert_eq!(theta(json!({"rope_theta": 5e5, "rope_scaling": null})), 5e5);
        assert_eq!(theta(json!({"rope_parameters": {"rope_type": "default", "rope_theta": 1e6}})), 1e6);
    }

    #[test]
    fn scaled_rope_in_old_and_new_keys() {
        let scaling = |changes: Value| parse_with(&changes).unwrap().rope_scaling;
        let linear = RopeScaling::Linear { factor: 2.0 };
        assert_eq!(scaling(json!({"rope_scaling": {"type": "linear", "factor": 2.0}})), linear);
        assert_eq!(scaling(json!({"rope_scaling": {"rope_type": "linear", "factor": 2}})), linear);
        let llama3 = RopeScaling::Llama3 {
            factor: 8.0,
            low_freq_factor: 1.0,
            high_freq_factor: 4.0,
            original_context: 8192,
        };
        let keys = json!({"rope_type": "llama3", "factor": 8.0, "low_freq_factor": 1.0,
            "high_freq_factor": 4.0, "original_max_position_embeddings": 8192, "rope_theta": 5e5});
        assert_eq!(scaling(json!({ "rope_scaling": keys })), llama3);
        let config = parse_with(&json!({ "rope_parameters": keys })).unwrap();
        assert_eq!((config.rope_scaling, config.rope_theta), (llama3, 5e5));
    }

    #[test]
    fn what_scaled_rope_lacks_is_an_error() {
        for (changes, text) in [
            (json!({"rope_scaling": {"factor": 2.0}}), "`rope_scaling` of type (none)"),
            (json!({"rope_scaling": {"type": "dynamic", "factor": 2.0}}), "\"dynamic\""),
            (json!({"rope_parameters": {"rope_type": "yarn", "factor": 2.0}}), "\"yarn\""),
            (json!({"rope_scaling": {"type": "longrope", "factor": 2.0}}), "\"longrope\""),
            (json!({"rope_scaling": {"type": "linear"}}), "`rope_scaling.factor` is missing"),
            (json!({"rope_scaling": {"type": "linear", "factor": -1.0}}), "positive"),
            (json!({"rope_parameters": {"rope_type": "llama3", "factor": 8.0}}), "low_freq_factor"),
            (json!({"rope_parameters": {"partial_rotary_factor": 0.5}}), "partial_rotary_factor"),
        ] {
            let error = parse_with(&changes).unwrap_err().to_string();
            assert!(error.contains(text), "{error}");
        }
    }

    #[test]
    fn norms_inside_linear_layers() {
        let with = |quantization: Value| {
            let mut all = json!({"quant_method": "bitnet", "quantization_mode": "online"});
            all.as_object_mut().unwrap().extend(quantization.as_object().unwrap().clone());
            parse_with(&json!({ "quantization_config": all })).unwrap()
        };
        assert_eq!(with(json!({})).linear_norm_eps, None);
        assert_eq!(with(json!({"use_rms_norm": false})).linear_norm_eps, None);
        let config = with(json!({"use_rms_norm": true}));
        assert_eq!((config.linear_norm_eps, config.block_norms), (Some(1e-6), true));
        assert_eq!(with(json!({"use_rms_norm": true, "rms_norm_eps": 1e-5})).linear_norm_eps, Some(1e-5));
        assert!(parse_with(&json!({ BLOCK_NORMS: false })).is_err());
    }

    #[test]
    fn the_class_decides_not_the_model_type() {
        let config =
            parse_with(&json!({"architectures": ["BitnetForCausalLM"], "model_type": "llama"})).unwrap();
        assert_eq!(config.architecture, Architecture::BitNet1bitLlm);
        assert!(config.sub_norms && config.ternary_linears);
        assert_eq!(config.activation, Activation::Silu);
    }

    #[test]
    fn ending_tokens() {
        let eos = |value| parse_with(&json!({ "eos_token_id": value })).unwrap().eos_tokens;
        assert_eq!(eos(json!(7)), [7]);
        assert_eq!(eos(json!([9, 7, 9])), [9, 7]);
        assert_eq!(eos(json!(null)), [0; 0]);
        let mut config = parse_with(&json!({})).unwrap();
        config.add_generation_config(Path::new("g"), br#"{"eos_token_id": [5, 2]}"#).unwrap();
        assert_eq!(config.eos_tokens, [2, 5], "config.json comes first");
    }

    #[test]
    fn biases_and_foreign_quantization_are_refused() {
        for changes in [
            json!({"attention_bias": true}),
            json!({"mlp_bias": true}),
            json!({"quantization_config": {"quant_method": "gptq"}}),
            json!({"quantization_config": {"quant_method": "bitnet", "modules_to_not_convert": ["lm_head", "q_proj"]}}),
            json!({"quantization_config": {"quant_method": "bitnet", "modules_to_not_convert": ["model.layers.0"]}}),
        ] {
            assert!(matches!(parse_with(&changes), Err(Error::Unsupported { .. })));
        }
        assert!(parse_with(&json!({"hidden_act": "gelu"})).is_err());
        assert!(parse_with(&json!({"weight_bits": 2})).is_err());
    }

    #[test]
    fn packed_weights_have_one_of_two_conventions() {
        let packed = |changes: Value| {
            let mut quantization = json!({"quant_method": "bitnet"});
            quantization.as_object_mut().unwrap().extend(changes.as_object().unwrap().clone());
            let config = with(&json!({"quantization_config": quantization}));
            let (config, packed) = parse(Path::new("config.json"), config.to_string().as_bytes())?;
            assert!(config.ternary_linears);
            Ok::<_, Error>(packed)
        };
        // transformers' defaults: offline, bitlinear.
        assert_eq!(packed(json!({})).unwrap(), Some(ScaleConvention::Divide));
        assert_eq!(packed(json!({"linear_class": "bitlinear"})).unwrap(), Some(ScaleConvention::Divide));
        let multiply = json!({"linear_class": "autobitlinear", "quantization_mode": "offline"});
        assert_eq!(packed(multiply).unwrap(), Some(ScaleConvention::Multiply));
        assert_eq!(packed(json!({"quantization_mode": "online"})).unwrap(), None);
        assert!(packed(json!({"linear_class": "linear"})).is_err());
        assert!(packed(json!({"linear_class": 3})).is_err());
    }

    #[test]
    fn head_dim_follows_from_the_width_only_where_it_divides() {
        assert_eq!(parse_with(&json!({})).unwrap().head_dim, 16);
        assert_eq!(parse_with(&json!({"head_dim": 32})).unwrap().head_dim, 32);
        assert!(parse_with(&json!({"num_attention_heads": 5, "num_key_value_heads": 5})).is_err());
        assert!(parse_with(&json!({"num_attention_heads": 0})).is_err());
    }

    proptest! {
        #[test]
        fn any_value_under_any_key_is_a_config_or_an_error(
            key in prop::sample::select(vec![
                "architectures", "hidden_size", "num_attention_heads", "head_dim", "rope_parameters",
                "rope_scaling", "eos_token_id", "quantization_config", "vocab_size", "rms_norm_eps",
            ]),
            value in prop_oneof![
                Just(json!(null)), Just(json!(-1)), Just(json!(0)), Just(json!(1e300)), Just(json!([])),
                Just(json!({})), Just(json!("x")), Just(json!([[[]]])), any::<u64>().prop_map(|n| json!(n)),
                any::<f64>().prop_map(|n| json!(n)),
            ],
        ) {
            if let Ok(config) = parse_with(&json!({ key: value })) {
                prop_assert!(config.check(Path::new("config.json")).is_ok());
            }
        }

        #[test]
        fn mutated_bytes_never_panic(position in 0usize..400, byte: u8) {
            let mut json = base().to_string().into_bytes();
            let position = position % json.len();
            json[position] = byte;
            let _ = parse(Path::new("config.json"), &json);
        }
    }
}
