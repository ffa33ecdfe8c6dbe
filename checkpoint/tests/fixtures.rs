//! Opens the fixture checkpoints, and converts one to GGUF and back.

mod common;

use b158_checkpoint::{
    Activation, Architecture, Checkpoint, Error, LayerTensor, ModelConfig, RopeScaling, Tensor, TensorId,
    TensorType,
    gguf::{GgufDataWriter, GgufPlan, TensorInfo, Value, metadata},
    rope_permutation,
};
use b158_kernels::rope::RopePairs;
use common::{checkpoint, data};

const CHECKPOINTS: [&str; 6] = [
    "llama-gqa-f16",
    "llama-gqa-bf16-sharded",
    "bitnet-2b4t-bf16",
    "b158-1bitllm-f16",
    "tiny-llama-f16",
    "tiny-b158-f16",
];

#[test]
fn every_checkpoint_opens_with_the_shapes_of_its_config() {
    for name in CHECKPOINTS {
        let Some(folder) = checkpoint(name) else { return };
        let opened = Checkpoint::open(&folder).unwrap_or_else(|e| panic!("{name}: {e}"));
        let config = opened.config();
        let expected = if name.contains("bf16") { TensorType::Bf16 } else { TensorType::F16 };
        let ids = opened.tensor_ids();
        assert_eq!(ids, TensorId::all(config).collect::<Vec<_>>());
        for id in ids {
            let tensor = opened.tensor(id).unwrap();
            assert_eq!(tensor.shape, id.shape(config), "{name}: {}", tensor.name);
            assert_eq!(tensor.dtype, expected);
            assert_eq!(tensor.bytes().len() as u64, tensor.dtype.byte_len(&tensor.shape).unwrap());
            assert!(tensor.dense().is_ok());
            assert_eq!(opened.scale(id).unwrap(), None);
        }
        assert_eq!(opened.path(), folder);
        assert_eq!(opened.files().len(), if name.contains("sharded") { 2 } else { 1 });
        let sizes = opened.files().iter().map(|f| f.metadata().unwrap().len());
        assert_eq!(opened.bytes_on_disk(), sizes.sum::<u64>());
    }
}

/// The conventions of the scale are each other's inverse; read by the right one, both give the master's
/// mean, to the 8 bits of the bf16 that it was stored in.
#[test]
fn packed_checkpoints_have_the_masters_scales() {
    let Some(master) = checkpoint("bitnet-2b4t-bf16") else { return };
    let master = Checkpoint::open(&master).unwrap();
    for name in ["bitnet-2b4t-packed-autobitlinear", "bitnet-2b4t-packed-bitlinear"] {
        let Some(folder) = checkpoint(name) else { return };
        let packed = Checkpoint::open(&folder).unwrap();
        assert_eq!(packed.config(), master.config());
        for id in packed.tensor_ids().into_iter().filter(|id| id.is_linear()) {
            let tensor = packed.tensor(id).unwrap();
            assert_eq!(
                (tensor.dtype, &tensor.shape),
                (TensorType::HfPacked, &master.tensor(id).unwrap().shape)
            );
            assert_eq!(tensor.bytes().len() * 4, tensor.shape.iter().product::<usize>());
            let weights = master.tensor(id).unwrap();
            let mean = b158_kernels::ternarize::absmean(b158_kernels::Isa::best(), weights.dense().unwrap());
            let ratio = packed.scale(id).unwrap().unwrap() / mean.unwrap();
            assert!((ratio - 1.0).abs() <= 1.0 / 256.0, "{name} {}: {ratio}", tensor.name);
        }
    }
}

#[test]
fn configs() {
    let Some(folder) = checkpoint("bitnet-2b4t-bf16") else { return };
    let expected = ModelConfig {
        architecture: Architecture::BitNet2B4T,
        hidden_size: 128,
        intermediate_size: 384,
        layers: 2,
        heads: 4,
        kv_heads: 2,
        head_dim: 32,
        vocab_size: 512,
        context_length: 256,
        norm_eps: 1e-5,
        rope_theta: 500_000.0,
        rope_scaling: RopeScaling::None,
        rope_pairs: RopePairs::HalfSplit,
        activation: Activation::Relu2,
        tied_embeddings: true,
        block_norms: true,
        sub_norms: true,
        linear_norm_eps: None,
        ternary_linears: true,
        bos_token: Some(508),
        eos_tokens: vec![509],
    };
    assert_eq!(Checkpoint::open(&folder).unwrap().config(), &expected);

    let config = |name| Checkpoint::open(&checkpoint(name).unwrap()).unwrap().config().clone();
    let one_bit_llm = config("b158-1bitllm-f16");
    assert_eq!(one_bit_llm.architecture, Architecture::BitNet1bitLlm);
    assert!(one_bit_llm.ternary_linears && one_bit_llm.sub_norms && !one_bit_llm.tied_embeddings);
    let llama = config("llama-gqa-f16");
    assert_eq!((llama.architecture, llama.ternary_linears), (Architecture::Llama, false));
    assert_eq!((llama.heads, llama.kv_heads, llama.head_dim), (4, 2, 16));
}

#[test]
fn a_single_file_opens_beside_its_config() {
    let Some(folder) = checkpoint("tiny-b158-f16") else { return };
    let file = folder.join("model.safetensors");
    let (by_file, by_folder) = (Checkpoint::open(&file).unwrap(), Checkpoint::open(&folder).unwrap());
    assert_eq!(by_file.path(), file);
    assert_eq!(by_file.config(), by_folder.config());
    assert_eq!(by_file.tensor_ids(), by_folder.tensor_ids());
}

#[test]
fn what_the_model_does_not_have_is_an_error() {
    let Some(folder) = checkpoint("llama-gqa-f16") else { return };
    let opened = Checkpoint::open(&folder).unwrap();
    for id in [
        TensorId::Layer { index: 0, kind: LayerTensor::AttnSubNorm },
        TensorId::Layer { index: opened.config().layers, kind: LayerTensor::AttnQ },
    ] {
        assert!(matches!(opened.tensor(id), Err(Error::MissingTensor { .. })));
        assert!(opened.scale(id).is_err());
    }
}

/// The rows of a matrix in the order of the output file.
fn reordered(tensor: &Tensor, rows: Option<&[usize]>) -> Vec<u8> {
    let Some(rows) = rows else { return tensor.bytes().to_vec() };
    let row_bytes = tensor.bytes().len() / tensor.shape[0];
    rows.iter().flat_map(|&row| &tensor.bytes()[row * row_bytes..][..row_bytes]).copied().collect()
}

/// Writes a checkpoint as GGUF without changing a type.
fn write_gguf(source: &Checkpoint, path: &std::path::Path, scales: &[(TensorId, f32)]) {
    let mut tokenizer = source.tokenizer_metadata().unwrap();
    assert_eq!(tokenizer.warnings, [""; 0]);
    tokenizer.metadata.push(("tokenizer.chat_template".into(), "{{ bos_token }}".into()));
    let ids = source.tensor_ids();
    let mut tensors = Vec::new();
    for &id in &ids {
        let tensor = source.tensor(id).unwrap();
        tensors.push(TensorInfo { name: id.gguf_name(), dtype: tensor.dtype, shape: tensor.shape });
    }
    for (id, _) in scales {
        tensors.push(TensorInfo { name: id.gguf_scale_name(), dtype: TensorType::F32, shape: vec![1] });
    }
    let description = metadata::Description {
        name: "fixture",
        linears: source.tensor(ids[0]).unwrap().dtype,
        tokenizer: tokenizer.metadata,
        provenance: vec![("b158.source".into(), Value::from("fixture"))],
    };
    let plan = GgufPlan::new(&metadata::to_gguf(source.config(), description), tensors).unwrap();
    let mut file = std::fs::File::create(path).unwrap();
    plan.write_header(&mut file).unwrap();
    let mut writer = GgufDataWriter::new(&plan, file);
    for id in ids {
        let rows = rope_permutation(source.config(), id, metadata::rope_pairs(source.config()));
        let bytes = reordered(&source.tensor(id).unwrap(), rows.as_deref());
        writer.write_tensor(&id.gguf_name(), &bytes).unwrap();
    }
    for (id, scale) in scales {
        writer.write_tensor(&id.gguf_scale_name(), &scale.to_le_bytes()).unwrap();
    }
    writer.finish().unwrap();
    assert_eq!(path.metadata().unwrap().len(), plan.file_len());
}

#[test]
fn gguf_round_trip() {
    for name in CHECKPOINTS {
        let Some(folder) = checkpoint(name) else { return };
        let source = Checkpoint::open(&folder).unwrap();
        let scaled = TensorId::Layer { index: 1, kind: LayerTensor::FfnDown };
        let target = tempfile::tempdir().unwrap();
        let path = target.path().join("model.gguf");
        write_gguf(&source, &path, &[(scaled, 0.75)]);
        let copy = Checkpoint::open(&path).unwrap_or_else(|e| panic!("{name}: {e}"));

        let mut expected = source.config().clone();
        if expected.architecture == Architecture::Llama {
            expected.rope_pairs = RopePairs::Interleaved;
        }
        assert_eq!(copy.config(), &expected, "{name}");
        assert_eq!(copy.tensor_ids(), source.tensor_ids());
        for id in source.tensor_ids() {
            let (old, new) = (source.tensor(id).unwrap(), copy.tensor(id).unwrap());
            assert_eq!(new.name, id.gguf_name());
            assert_eq!((new.dtype, &new.shape), (old.dtype, &old.shape));
            let rows = rope_permutation(source.config(), id, metadata::rope_pairs(source.config()));
            assert!(new.bytes() == reordered(&old, rows.as_deref()), "{name}: {}", new.name);
            assert_eq!(copy.scale(id).unwrap(), (id == scaled).then_some(0.75));
        }
        assert_eq!(copy.files(), [path]);
        assert_eq!(copy.chat_template().as_deref(), Some("{{ bos_token }}"));
        assert_eq!(copy.tokenizer_json().unwrap(), source.tokenizer_json().unwrap());
        let (old, new) = (source.tokenizer().unwrap(), copy.tokenizer().unwrap());
        let text = "The keeper of the lighthouse counted 42 ships.";
        assert_eq!(old.encode(text, true).unwrap(), new.encode(text, true).unwrap());
        assert_eq!((old.bos(), old.bos_text()), (new.bos(), new.bos_text()));
    }
}

#[test]
fn configs_of_published_models() {
    let read = |name: &str| {
        let file = data(&format!("tokenizers/{name}/config.json"))?;
        Some(ModelConfig::from_json(&file, &std::fs::read(&file).unwrap()))
    };
    let Some(large) = read("bitnet_b1_58-large") else { return };
    let large = large.unwrap();
    assert_eq!((large.architecture, large.layers, large.head_dim), (Architecture::BitNet1bitLlm, 24, 96));
    assert!(large.tied_embeddings && large.ternary_linears);
    for (packed, architecture) in [
        ("bitnet-b1.58-2B-4T", Architecture::BitNet2B4T),
        ("Llama3-8B-1.58-100B-tokens", Architecture::Llama),
    ] {
        let config = read(packed).unwrap().unwrap();
        assert_eq!((config.architecture, config.ternary_linears), (architecture, true), "{packed}");
    }
}
