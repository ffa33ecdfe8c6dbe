//! Opens small GGUF models that are made here, right and wrong.

use std::path::PathBuf;

use b158_checkpoint::{
    Activation, Architecture, Checkpoint, Error, Interleave, LayerTensor, ModelConfig, OpenOptions,
    RopeScaling, TensorId, TensorType,
    gguf::{Gguf, GgufDataWriter, GgufPlan, ROPE_FREQS, TensorInfo, i2_s_tail, metadata},
};
use b158_kernels::rope::RopePairs;
use proptest::prelude::*;

fn llama() -> ModelConfig {
    ModelConfig {
        architecture: Architecture::Llama,
        hidden_size: 256,
        intermediate_size: 512,
        layers: 1,
        heads: 4,
        kv_heads: 2,
        head_dim: 64,
        vocab_size: 8,
        context_length: 16,
        norm_eps: 1e-5,
        rope_theta: 10_000.0,
        rope_scaling: RopeScaling::None,
        rope_pairs: RopePairs::Interleaved,
        activation: Activation::Silu,
        tied_embeddings: true,
        block_norms: true,
        sub_norms: false,
        linear_norm_eps: None,
        ternary_linears: false,
        bos_token: None,
        eos_tokens: Vec::new(),
    }
}

/// A model of zeros that a test may change before it is written.
struct Model {
    metadata: metadata::Metadata,
    tensors: Vec<TensorInfo>,
    folder: tempfile::TempDir,
}

impl Model {
    fn new(config: &ModelConfig, linears: TensorType) -> Self {
        let description =
            metadata::Description { name: "zeros", linears, tokenizer: Vec::new(), provenance: Vec::new() };
        let info = |id: TensorId| TensorInfo {
            name: id.gguf_name(),
            dtype: if id.is_linear() { linears } else { TensorType::F32 },
            shape: id.shape(config),
        };
        Self {
            metadata: metadata::to_gguf(config, description),
            tensors: TensorId::all(config).map(info).collect(),
            folder: tempfile::tempdir().unwrap(),
        }
    }

    /// As a program would write it that does not know our keys.
    fn foreign(mut self) -> Self {
        self.metadata.retain(|(key, _)| !key.starts_with("b158."));
        self
    }

    fn with(mut self, change: impl FnOnce(&mut Vec<TensorInfo>)) -> Self {
        change(&mut self.tensors);
        self
    }

    fn write(&self, fill: u8) -> PathBuf {
        let path = self.folder.path().join("model.gguf");
        let plan = GgufPlan::new(&self.metadata, self.tensors.clone()).unwrap();
        let mut file = std::fs::File::create(&path).unwrap();
        plan.write_header(&mut file).unwrap();
        let mut writer = GgufDataWriter::new(&plan, file);
        for TensorInfo { name, dtype, shape } in &self.tensors {
            let bytes = vec![fill; dtype.byte_len(shape).unwrap() as usize];
            writer.write_tensor(name, &bytes).unwrap();
        }
        writer.finish().unwrap();
        path
    }

    fn open(&self) -> Result<Checkpoint, Error> {
        Checkpoint::open(&self.write(0))
    }
}

fn scale(name: &str, dtype: TensorType, len: usize) -> TensorInfo {
    TensorInfo { name: format!("blk.0.{name}.scale"), dtype, shape: vec![len] }
}

#[test]
fn packed_layers_make_a_llama_ternary() {
    for linears in [TensorType::Tq1_0, TensorType::Tq2_0] {
        for model in [Model::new(&llama(), linears), Model::new(&llama(), linears).foreign()] {
            let opened = model.open().unwrap();
            assert!(opened.config().ternary_linears);
            let id = TensorId::Layer { index: 0, kind: LayerTensor::FfnDown };
            let tensor = opened.tensor(id).unwrap();
            assert_eq!((tensor.dtype, tensor.shape.as_slice()), (linears, &[256, 512][..]));
            assert!(matches!(tensor.dense(), Err(Error::NotDense { .. })));
            assert!(matches!(opened.tokenizer(), Err(Error::NoTokenizer { .. })));
        }
    }
    assert!(!Model::new(&llama(), TensorType::F16).foreign().open().unwrap().config().ternary_linears);
}

#[test]
fn a_mixture_needs_our_key() {
    let mixed = || {
        Model::new(&llama(), TensorType::Tq2_0).with(|tensors| {
            tensors.iter_mut().find(|t| t.name.contains("ffn_up")).unwrap().dtype = TensorType::F16;
        })
    };
    assert!(mixed().open().is_ok());
    let error = mixed().foreign().open().unwrap_err().to_string();
    assert!(error.contains("mixture") && error.contains("blk.0.ffn_up.weight"), "{error}");
}

#[test]
fn only_linear_layers_may_be_packed() {
    let packed = |name: &'static str| {
        Model::new(&llama(), TensorType::Tq2_0).with(move |tensors| {
            tensors.iter_mut().find(|t| t.name.contains(name)).unwrap().dtype = TensorType::Tq2_0;
        })
    };
    for name in ["token_embd", "output_norm", "attn_norm"] {
        assert!(matches!(packed(name).open(), Err(Error::NotDense { .. })), "{name}");
    }
}

#[test]
fn scale_tensors() {
    let with =
        |tensor: TensorInfo| Model::new(&llama(), TensorType::Tq1_0).with(|tensors| tensors.push(tensor));
    let model = with(scale("attn_q", TensorType::F32, 1));
    let opened = model.open().unwrap();
    let id = |kind| TensorId::Layer { index: 0, kind };
    assert_eq!(opened.scale(id(LayerTensor::AttnQ)).unwrap(), Some(0.0));
    assert_eq!(opened.scale(id(LayerTensor::AttnK)).unwrap(), None);
    assert!(matches!(with(scale("attn_q", TensorType::F16, 2)).open(), Err(Error::Malformed { .. })));
    assert!(matches!(with(scale("attn_q", TensorType::F32, 2)).open(), Err(Error::Malformed { .. })));
    // All ones is a NaN.
    let nan = Checkpoint::open(&with(scale("attn_q", TensorType::F32, 1)).write(0xff));
    assert!(matches!(nan, Err(Error::Malformed { .. })));
}

#[test]
fn biases_are_refused() {
    let bias = TensorInfo { name: "blk.0.attn_q.bias".into(), dtype: TensorType::F32, shape: vec![256] };
    let model = Model::new(&llama(), TensorType::F16).with(|tensors| tensors.push(bias));
    assert!(matches!(model.open(), Err(Error::Unsupported { .. })));
}

#[test]
fn every_tensor_is_needed_in_its_shape() {
    let config = llama();
    for (i, id) in TensorId::all(&config).enumerate() {
        let without = Model::new(&config, TensorType::F16).with(|tensors| drop(tensors.remove(i)));
        let Err(Error::MissingTensor { tensor, .. }) = without.open() else { panic!("{id:?} is needed") };
        assert_eq!(tensor, id.gguf_name());
        let bent = Model::new(&config, TensorType::F16).with(|tensors| tensors[i].shape.push(1));
        assert!(matches!(bent.open(), Err(Error::WrongShape { .. })), "{id:?}");
    }
}

/// Every packed format's name for the type, and what bitnet.cpp's files of it look like.
#[test]
fn i2_s_has_its_scale_behind_the_codes() {
    for (dtype, order) in [(TensorType::I2sX86, Interleave::X86), (TensorType::I2sArm, Interleave::Arm)] {
        let mut ours = Model::new(&llama(), dtype);
        let path = ours.write(0);
        let mut bytes = std::fs::read(&path).unwrap();
        let gguf = Gguf::parse(&path, &bytes).unwrap();
        let id = TensorId::Layer { index: 0, kind: LayerTensor::AttnQ };
        let tail = gguf.tensor(&id.gguf_name()).unwrap().offset as usize + 256 * 256 / 4;
        bytes[tail..tail + 32].copy_from_slice(&i2_s_tail(0.375));
        std::fs::write(&path, &bytes).unwrap();

        let opened = Checkpoint::open(&path).unwrap();
        let tensor = opened.tensor(id).unwrap();
        assert_eq!((tensor.dtype, tensor.bytes().len()), (dtype, 256 * 256 / 4));
        assert_eq!(opened.scale(id).unwrap(), Some(0.375));
        assert_eq!(
            opened.scale(TensorId::Layer { index: 0, kind: LayerTensor::AttnK }).unwrap(),
            Some(0.0),
            "a tensor of zeros has the scale 0"
        );

        // Without our key the caller says which order it is.
        ours = ours.foreign();
        let options = OpenOptions { i2_s: order, ..OpenOptions::default() };
        let opened = Checkpoint::open_with(&ours.write(0), &options).unwrap();
        assert_eq!(opened.tensor(id).unwrap().dtype, dtype);
        assert!(opened.config().ternary_linears);

        let two = Model::new(&llama(), dtype).with(|t| t.push(scale("attn_q", TensorType::F32, 1)));
        assert!(matches!(two.open(), Err(Error::Malformed { .. })));
        // All ones is a NaN.
        let nan = Checkpoint::open(&Model::new(&llama(), dtype).write(0xff));
        assert!(matches!(nan, Err(Error::Malformed { .. })));
    }
}

#[test]
fn embedding_head_and_layers_may_be_rounded_in_blocks() {
    for dtype in [TensorType::Q8_0, TensorType::Q6K] {
        let model = Model::new(&llama(), dtype).with(|tensors| tensors[0].dtype = dtype);
        let opened = model.open().unwrap();
        for id in [TensorId::TokenEmbedding, TensorId::Layer { index: 0, kind: LayerTensor::FfnDown }] {
            let tensor = opened.tensor(id).unwrap();
            assert_eq!(tensor.weights().unwrap().len(), tensor.shape.iter().product::<usize>());
            assert!(matches!(tensor.dense(), Err(Error::NotDense { .. })));
        }
        assert!(!opened.config().ternary_linears);
        let norm = Model::new(&llama(), TensorType::F16)
            .with(|tensors| tensors.iter_mut().find(|t| t.name.contains("attn_norm")).unwrap().dtype = dtype);
        assert!(matches!(norm.open(), Err(Error::NotDense { .. })));
    }
}

#[test]
fn types_of_other_programs_are_refused_by_name() {
    let model = Model::new(&llama(), TensorType::F16);
    let path = model.write(0);
    let bytes = std::fs::read(&path).unwrap();
    let name = b"blk.0.attn_q.weight";
    let at = bytes.windows(name.len()).position(|w| w == name).unwrap() + name.len() + 4 + 16;
    for (number, text) in [
        (12u32, "Q4_K"),
        (38, "TL1 of bitnet.cpp"),
        (39, "TL2 of bitnet.cpp"),
        (40, "NVFP4"),
        (134, "IQ1_BN of ik_llama.cpp"),
        (135, "IQ2_BN of ik_llama.cpp"),
        (9999, "number 9999"),
    ] {
        let mut bytes = bytes.clone();
        bytes[at..at + 4].copy_from_slice(&number.to_le_bytes());
        std::fs::write(&path, &bytes).unwrap();
        let error = Checkpoint::open(&path).unwrap_err().to_string();
        assert!(error.contains(text) && error.contains("blk.0.attn_q.weight"), "{error}");
    }
}

#[test]
fn norms_that_nobody_asked_for_are_refused() {
    let norm = |name: &str| TensorInfo { name: name.into(), dtype: TensorType::F32, shape: vec![64] };
    for name in ["blk.0.attn_q_norm.weight", "blk.0.attn_sub_norm.weight", "blk.0.post_ffw_norm.weight"] {
        let model = Model::new(&llama(), TensorType::F16).with(|tensors| tensors.push(norm(name)));
        assert!(matches!(model.open(), Err(Error::Unsupported { .. })), "{name}");
    }
}

#[test]
fn rotary_scaling_of_llama_3() {
    let mut config = llama();
    config.rope_scaling = RopeScaling::Llama3 {
        factor: 8.0,
        low_freq_factor: 1.0,
        high_freq_factor: 4.0,
        original_context: 8192,
    };
    let factors: Vec<u8> = config.rope_factors().unwrap().into_iter().flat_map(f32::to_le_bytes).collect();
    let freqs = TensorInfo { name: ROPE_FREQS.into(), dtype: TensorType::F32, shape: vec![32] };
    for model in [Model::new(&config, TensorType::F16), Model::new(&config, TensorType::F16).foreign()] {
        let model = model.with(|tensors| tensors.push(freqs.clone()));
        let path = model.write(0);
        let mut bytes = std::fs::read(&path).unwrap();
        let at = Gguf::parse(&path, &bytes).unwrap().tensor(ROPE_FREQS).unwrap().offset as usize;
        bytes[at..at + factors.len()].copy_from_slice(&factors);
        let path = path.with_file_name("scaled.gguf");
        std::fs::write(&path, &bytes).unwrap();
        assert_eq!(Checkpoint::open(&path).unwrap().config(), &config);
    }
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(200))]

    /// Also in the names, shapes and offsets of tensors, which a config alone does not look at.
    #[test]
    fn mutated_models_are_models_or_errors(
        changes in prop::collection::vec((0usize..1 << 16, any::<u8>()), 1..4),
        dtype in prop::sample::select(TensorType::GGUF.to_vec()),
    ) {
        let model = Model::new(&llama(), dtype);
        let path = model.write(0);
        let mut bytes = std::fs::read(&path).unwrap();
        let header = Gguf::parse(&path, &bytes).unwrap().data_offset as usize;
        for (at, byte) in changes {
            bytes[at % header] = byte;
        }
        std::fs::write(&path, &bytes).unwrap();
        if let Ok(opened) = Checkpoint::open(&path) {
            for id in opened.tensor_ids() {
                let tensor = opened.tensor(id).unwrap();
                prop_assert!(tensor.weights().is_ok() || tensor.dtype.ternary().is_some());
                prop_assert_eq!(tensor.shape, id.shape(opened.config()));
            }
        }
    }
}
