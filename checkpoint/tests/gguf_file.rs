//! Opens small GGUF models that are made here, right and wrong.

use std::path::PathBuf;

use b158_checkpoint::{
    Activation, Architecture, Checkpoint, Error, LayerTensor, ModelConfig, RopeScaling, TensorId, TensorType,
    gguf::{GgufDataWriter, GgufPlan, TensorInfo, metadata},
};
use b158_kernels::rope::RopePairs;

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
