//! Configs through metadata and back, and metadata of other programs.

use super::*;
use crate::{
    config::tests::llama,
    gguf::{
        GgufDataWriter, GgufPlan, TensorInfo,
        tokenizer::{self, TokenizerText},
    },
};

const FILE: &str = "model.gguf";

/// A file with this metadata and an embedding, read back.
fn reread(metadata: &[(String, Value<'_>)], tensors: &[&str]) -> Result<ModelConfig, Error> {
    reread_with(metadata, tensors, &OpenOptions::default())
}

fn reread_with(
    metadata: &[(String, Value<'_>)],
    tensors: &[&str],
    options: &OpenOptions,
) -> Result<ModelConfig, Error> {
    let info = |name: &&str| TensorInfo { name: (*name).into(), dtype: TensorType::F32, shape: vec![50, 4] };
    let plan = GgufPlan::new(metadata, tensors.iter().map(info).collect())?;
    let mut file = Vec::new();
    plan.write_header(&mut file).unwrap();
    let mut writer = GgufDataWriter::new(&plan, file);
    for name in tensors {
        writer.write_tensor(name, &[0; 800]).unwrap();
    }
    let file = writer.finish().unwrap();
    from_gguf(Path::new(FILE), &Gguf::parse(Path::new(FILE), &file)?, &file, options)
}

fn describe(config: &ModelConfig, linears: TensorType) -> Metadata {
    let provenance = vec![("b158.source".to_owned(), "somewhere".into())];
    let text = TokenizerText { chat_template: Some("{{ messages }}"), ..TokenizerText::default() };
    let tokenizer = tokenizer::to_gguf(Path::new(FILE), config, text).unwrap().metadata;
    to_gguf(config, Description { name: "tiny", linears, tokenizer, provenance })
}

#[test]
fn configs_round_trip() {
    let mut config = llama();
    config.rope_pairs = RopePairs::Interleaved;
    let untied = ["token_embd.weight", "output.weight"];
    assert_eq!(reread(&describe(&config, TensorType::F16), &untied).unwrap(), config);

    config.eos_tokens = vec![2, 5, 9];
    config.bos_token = None;
    config.rope_theta = 123_456.789;
    config.tied_embeddings = true;
    assert_eq!(reread(&describe(&config, TensorType::F16), &untied[..1]).unwrap(), config);

    config.eos_tokens = Vec::new();
    (config.rope_pairs, config.sub_norms, config.ternary_linears) = (RopePairs::HalfSplit, true, true);
    for architecture in [Architecture::BitNet2B4T, Architecture::BitNet1bitLlm] {
        for (activation, name) in [(Activation::Silu, "bitnet"), (Activation::Relu2, "bitnet-b1.58")] {
            (config.architecture, config.activation) = (architecture, activation);
            config.tied_embeddings = true;
            assert_eq!(reread(&describe(&config, TensorType::Bf16), &untied[..1]).unwrap(), config);
            assert_eq!(architecture_name(&config), name);
            // Others would take the embedding for the head.
            config.tied_embeddings = false;
            assert_eq!(reread(&describe(&config, TensorType::Bf16), &untied).unwrap(), config);
            assert_eq!(architecture_name(&config), "b158-bitnet");
        }
    }
    let mut config = llama();
    config.activation = Activation::Relu2;
    assert_eq!(reread(&describe(&config, TensorType::F16), &untied).unwrap(), config);
    assert_eq!(architecture_name(&config), "b158-llama");
}

#[test]
fn packing_makes_a_model_ternary() {
    let metadata = describe(&llama(), TensorType::Tq2_0);
    assert!(metadata.contains(&("general.file_type".to_owned(), Value::U32(37))));
    assert!(reread(&metadata, &["token_embd.weight"]).unwrap().ternary_linears);
}

/// What the converters of llama.cpp and bitnet.cpp write for a BitNet.
fn foreign_bitnet(arch: &str, rope_theta: f64) -> Metadata {
    let mut config = llama();
    config.rope_theta = rope_theta;
    config.tied_embeddings = true;
    (config.architecture, config.rope_pairs) = (Architecture::BitNet2B4T, RopePairs::HalfSplit);
    let mut metadata = describe(&config, TensorType::F16);
    let ours = |key: &str| key.starts_with("b158.") || key.ends_with("hidden_activation");
    metadata.retain(|(key, _)| !ours(key) && key != "bitnet.vocab_size");
    metadata.push(("bitnet.rope.scaling.type".into(), "linear".into()));
    metadata.push(("bitnet.rope.scaling.factor".into(), Value::F32(1.0)));
    for (key, value) in &mut metadata {
        *key = key.replace("bitnet", arch);
        if key == "general.architecture" {
            *value = arch.into();
        }
    }
    metadata
}

#[test]
fn files_of_bitnet_cpp() {
    for arch in ["bitnet-b1.58", "bitnet-25"] {
        let config = reread(&foreign_bitnet(arch, 1e4), &["token_embd.weight"]).unwrap();
        assert_eq!((config.architecture, config.activation), (Architecture::BitNet2B4T, Activation::Relu2));
        assert!(config.ternary_linears && config.sub_norms);
        assert_eq!((config.vocab_size, config.rope_pairs), (50, RopePairs::HalfSplit));
    }
}

#[test]
fn the_activation_of_2b4t_in_llama_cpps_files_is_not_guessed() {
    let config = reread(&foreign_bitnet("bitnet", 1e4), &["token_embd.weight"]).unwrap();
    assert_eq!((config.architecture, config.activation), (Architecture::BitNet1bitLlm, Activation::Silu));
    let metadata = foreign_bitnet("bitnet", 5e5);
    let error = reread(&metadata, &["token_embd.weight"]).unwrap_err();
    assert!(error.to_string().contains("`bitnet.hidden_activation` is missing"), "{error}");
    for (activation, architecture) in
        [(Activation::Silu, Architecture::BitNet1bitLlm), (Activation::Relu2, Architecture::BitNet2B4T)]
    {
        let options = OpenOptions { activation: Some(activation), ..OpenOptions::default() };
        let told = reread_with(&metadata, &["token_embd.weight"], &options).unwrap();
        let mut metadata = metadata.clone();
        metadata.push(("bitnet.hidden_activation".into(), activation.name().into()));
        let config = reread(&metadata, &["token_embd.weight"]).unwrap();
        assert_eq!((config.architecture, config.activation), (architecture, activation));
        assert_eq!(config, told);
    }
}

#[test]
fn i2_s_of_2b4t_is_for_bitnet_cpp() {
    let mut config = llama();
    (config.architecture, config.activation) = (Architecture::BitNet2B4T, Activation::Relu2);
    (config.sub_norms, config.ternary_linears, config.tied_embeddings) = (true, true, true);
    for (linears, interleave) in [(TensorType::I2sX86, "x86"), (TensorType::I2sArm, "arm")] {
        let metadata = describe(&config, linears);
        for entry in [
            ("general.architecture", "bitnet-b1.58".into()),
            ("general.file_type", Value::U32(40)),
            ("b158.i2_s.interleave", interleave.into()),
        ] {
            assert!(metadata.contains(&(entry.0.to_owned(), entry.1)), "{}", entry.0);
        }
        assert_eq!(reread(&metadata, &["token_embd.weight"]).unwrap(), config);
    }
    let mut metadata = describe(&config, TensorType::I2sArm);
    metadata.retain(|(key, _)| key != I2_S_INTERLEAVE);
    metadata.push((I2_S_INTERLEAVE.into(), "neon".into()));
    assert!(reread(&metadata, &["token_embd.weight"]).is_err());
}

#[test]
fn norms_inside_linear_layers_have_an_architecture_of_their_own() {
    let mut config = llama();
    (config.ternary_linears, config.tied_embeddings) = (true, true);
    (config.linear_norm_eps, config.block_norms) = (Some(1e-6), false);
    assert_eq!(rope_pairs(&config), RopePairs::HalfSplit);
    let mut metadata = describe(&config, TensorType::F16);
    assert!(metadata.contains(&("general.architecture".to_owned(), "b158-llama".into())));
    assert_eq!(reread(&metadata, &["token_embd.weight"]).unwrap(), config);
    metadata.retain(|(key, _)| key != LINEAR_NORM_EPS);
    assert!(reread(&metadata, &["token_embd.weight"]).is_err());
}

#[test]
fn rotary_scaling() {
    let mut config = llama();
    (config.rope_pairs, config.tied_embeddings) = (RopePairs::Interleaved, true);
    let llama3 = |factor| RopeScaling::Llama3 {
        factor,
        low_freq_factor: 1.5,
        high_freq_factor: 4.0,
        original_context: 8192,
    };
    for rope_scaling in
        [RopeScaling::Linear { factor: 2.0 }, RopeScaling::Linear { factor: 0.1 }, llama3(8.0), llama3(0.1)]
    {
        config.rope_scaling = rope_scaling;
        assert_eq!(reread(&describe(&config, TensorType::F16), &["token_embd.weight"]).unwrap(), config);
    }

    config.rope_scaling = RopeScaling::None;
    let with = |key: &str, value: Value<'static>| {
        let mut metadata = describe(&config, TensorType::F16);
        metadata.push((key.into(), value));
        reread(&metadata, &["token_embd.weight"]).unwrap().rope_scaling
    };
    assert_eq!(with("llama.rope.scaling.factor", Value::F32(4.0)), RopeScaling::Linear { factor: 4.0 });
    assert_eq!(with("llama.rope.scale_linear", Value::F32(4.0)), RopeScaling::Linear { factor: 4.0 });
    assert_eq!(with("llama.rope.scaling.factor", Value::F32(0.0)), RopeScaling::None);
}

#[test]
fn what_would_change_the_results_is_refused() {
    let with = |key: &str, value: Value<'static>| {
        let mut metadata = describe(&llama(), TensorType::F16);
        metadata.retain(|(k, _)| k != key);
        metadata.push((key.into(), value));
        reread(&metadata, &["token_embd.weight"])
    };
    assert!(with("general.name", "other".into()).is_ok());
    for (key, value) in [
        ("general.architecture", "mamba".into()),
        ("llama.rope.scaling.type", "yarn".into()),
        ("llama.rope.scaling.type", "longrope".into()),
        ("llama.rope.scaling.factor", Value::F32(-4.0)),
        ("llama.rope.dimension_count", Value::U32(4)),
        ("llama.attention.head_count", Value::U32(0)),
        ("llama.attention.head_count", Value::I32(-1)),
        ("llama.attention.head_count_kv", Value::Array(Array::from_u32s(&[2, 2]))),
        ("llama.attention.sliding_window", Value::U32(4096)),
        ("llama.expert_count", Value::U32(8)),
        ("llama.hidden_activation", "gelu".into()),
        ("split.count", Value::U16(2)),
        ("b158.architecture", "BitNetForCausalLM".into()),
        ("b158.eos_token_ids", Value::U32(1)),
    ] {
        assert!(with(key, value.clone()).is_err(), "{key} = {value:?}");
    }
    assert!(reread(&describe(&llama(), TensorType::F16), &["rope_freqs.weight"]).is_err());
}
