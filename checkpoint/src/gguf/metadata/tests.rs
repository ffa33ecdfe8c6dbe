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
    let info = |name: &&str| TensorInfo { name: (*name).into(), dtype: TensorType::F32, shape: vec![50, 4] };
    let plan = GgufPlan::new(metadata, tensors.iter().map(info).collect())?;
    let mut file = Vec::new();
    plan.write_header(&mut file).unwrap();
    let mut writer = GgufDataWriter::new(&plan, file);
    for name in tensors {
        writer.write_tensor(name, &[0; 800]).unwrap();
    }
    let file = writer.finish().unwrap();
    from_gguf(Path::new(FILE), &Gguf::parse(Path::new(FILE), &file)?)
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
        for activation in [Activation::Silu, Activation::Relu2] {
            (config.architecture, config.activation) = (architecture, activation);
            assert_eq!(reread(&describe(&config, TensorType::Bf16), &untied[..1]).unwrap(), config);
        }
    }
}

#[test]
fn packing_makes_a_model_ternary() {
    let metadata = describe(&llama(), TensorType::Tq2_0);
    assert!(metadata.contains(&("general.file_type".to_owned(), Value::U32(37))));
    assert!(reread(&metadata, &["token_embd.weight"]).unwrap().ternary_linears);
}

/// What llama.cpp's own converter writes for a BitNet.
fn foreign_bitnet(theta: f32) -> Metadata {
    let mut config = llama();
    config.architecture = Architecture::BitNet2B4T;
    let mut metadata = describe(&config, TensorType::F16);
    let ours = |key: &str| key.starts_with("b158.") || key.ends_with("hidden_activation");
    metadata.retain(|(key, _)| !ours(key) && key != "bitnet.vocab_size" && key != "bitnet.rope.freq_base");
    metadata.push(("bitnet.rope.freq_base".into(), Value::F32(theta)));
    metadata.push(("bitnet.rope.scaling.type".into(), "linear".into()));
    metadata.push(("bitnet.rope.scaling.factor".into(), Value::F32(1.0)));
    metadata
}

#[test]
fn files_of_others() {
    let config = reread(&foreign_bitnet(500_000.0), &["token_embd.weight"]).unwrap();
    assert_eq!((config.architecture, config.activation), (Architecture::BitNet2B4T, Activation::Relu2));
    assert!(config.ternary_linears && config.sub_norms);
    assert_eq!(config.vocab_size, 50);
    let config = reread(&foreign_bitnet(10_000.0), &["token_embd.weight"]).unwrap();
    assert_eq!((config.architecture, config.activation), (Architecture::BitNet1bitLlm, Activation::Silu));
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
        ("llama.rope.scaling.factor", Value::F32(4.0)),
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
