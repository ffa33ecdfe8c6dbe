//! One training step equals PyTorch's, for every scheme: `golden/make_golden.py` made the numbers.

use std::path::{Path, PathBuf};

use b158_checkpoint::{Activation, Architecture as Layout, ModelConfig, RopeScaling, TensorId};
use b158_kernels::rope::RopePairs;
use b158_train::{
    Scheme,
    gradient::{Workers, loss_and_gradients},
    model::Architecture,
    optimizer,
    parameters::Parameter,
};
use candle_core::Device;
use safetensors::SafeTensors;

/// The loss is a mean of 24 terms around 3, each rounded a few times to 6e-8.
const LOSS: f64 = 1e-6;
/// Gradients against the largest of their tensor. Sums of hundreds of products in f32; PyTorch's own f32 differs
/// from its f64 by 1.6e-6 here, and a wrong formula misses by far more.
const GRADIENT: f32 = 1e-4;

fn golden(name: &str) -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("tests/golden/{name}.safetensors"))
}

fn floats(file: &SafeTensors, name: &str) -> Vec<f32> {
    let tensor = file.tensor(name).unwrap_or_else(|e| panic!("{name}: {e}"));
    tensor.data().chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn integers(file: &SafeTensors, name: &str) -> Vec<u32> {
    let tensor = file.tensor(name).unwrap();
    tensor.data().chunks_exact(4).map(|b| u32::from_le_bytes(b.try_into().unwrap())).collect()
}

fn doubles(file: &SafeTensors, name: &str) -> Vec<f64> {
    let tensor = file.tensor(name).unwrap();
    tensor.data().chunks_exact(8).map(|b| f64::from_le_bytes(b.try_into().unwrap())).collect()
}

fn agrees(name: &str, scheme: Scheme, layout: Layout) {
    let bytes = std::fs::read(golden(name)).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let shape: Vec<usize> = integers(&file, "shape").into_iter().map(|n| n as usize).collect();
    let [hidden, intermediate, layers, heads, kv_heads, vocab, groups] = shape[..] else {
        panic!("{shape:?}")
    };
    let config = ModelConfig {
        architecture: layout,
        hidden_size: hidden,
        intermediate_size: intermediate,
        layers,
        heads,
        kv_heads,
        head_dim: hidden / heads,
        vocab_size: vocab,
        context_length: 12,
        norm_eps: 1e-5,
        rope_theta: 10000.0,
        rope_scaling: RopeScaling::None,
        rope_pairs: RopePairs::HalfSplit,
        activation: if layout == Layout::BitNet2B4T { Activation::Relu2 } else { Activation::Silu },
        tied_embeddings: file.tensor("w.lm_head.weight").is_err(),
        block_norms: true,
        sub_norms: layout != Layout::Llama,
        linear_norm_eps: None,
        ternary_linears: scheme.is_quantized(),
        bos_token: None,
        eos_tokens: vec![],
    };
    let named = |id: TensorId, kind: &str| format!("{kind}.{}", id.hugging_face_name(layout));
    let parameter = |id: TensorId| Parameter::new(id, id.shape(&config), floats(&file, &named(id, "w")));
    let parameters: Vec<Parameter> = TensorId::all(&config).map(parameter).collect();
    let ids = integers(&file, "ids");
    let windows: Vec<&[u32]> = ids.chunks_exact(13).collect();
    let architecture = Architecture::new(config, scheme, groups);

    for (micro, threads) in [(2, 1), (1, 2)] {
        let workers = Workers::new(threads, Device::Cpu).unwrap();
        let (loss, gradients) =
            loss_and_gradients(&architecture, &parameters, &windows, micro, &workers).unwrap();
        let expected = doubles(&file, "loss")[0];
        assert!((loss / expected - 1.0).abs() <= LOSS, "{name}: loss {loss}, PyTorch {expected}");
        for (parameter, gradient) in parameters.iter().zip(&gradients) {
            let tensor = named(parameter.id, "g");
            let expected = floats(&file, &tensor);
            let largest = expected.iter().fold(0.0f32, |max, g| max.max(g.abs()));
            assert!(largest > 0.0, "{name}: {tensor} is zero and proves nothing");
            for (i, (found, expected)) in gradient.iter().zip(&expected).enumerate() {
                let difference = (found - expected).abs() / largest;
                assert!(difference <= GRADIENT, "{name}: {tensor}[{i}] is {found}, PyTorch {expected}");
            }
        }
    }
}

#[test]
fn fp16_equals_pytorch() {
    for name in ["fp16-llama", "fp16-llama-kv2", "fp16-llama-untied"] {
        agrees(name, Scheme::Fp16, Layout::Llama);
    }
}

#[test]
fn absmean_equals_pytorch_in_every_layout() {
    agrees("absmean-llama", Scheme::B158, Layout::Llama);
    agrees("absmean-1bitllm", Scheme::B158, Layout::BitNet1bitLlm);
    agrees("absmean-2b4t", Scheme::B158, Layout::BitNet2B4T);
}

#[test]
fn absmedian_equals_pytorch() {
    agrees("absmedian-1bitllm", Scheme::B158Absmedian, Layout::BitNet1bitLlm);
}

#[test]
fn bitnet_equals_pytorch_with_and_without_groups() {
    agrees("bitnet-1bitllm", Scheme::BitNet, Layout::BitNet1bitLlm);
    agrees("bitnet-groups2-1bitllm", Scheme::BitNet, Layout::BitNet1bitLlm);
}

#[test]
fn bnn_equals_pytorch() {
    agrees("bnn-1bitllm", Scheme::Bnn, Layout::BitNet1bitLlm);
}

#[test]
fn adamw_equals_pytorch() {
    let bytes = std::fs::read(golden("adamw")).unwrap();
    let file = SafeTensors::deserialize(&bytes).unwrap();
    let tensor = |kind: &str, step: usize| floats(&file, &format!("{kind}.{step}"));
    let (matrix, plain) = (tensor("p.decayed", 0), tensor("p.plain", 0));
    let mut parameters = vec![
        Parameter::new(TensorId::TokenEmbedding, vec![1, matrix.len()], matrix),
        Parameter::new(TensorId::OutputNorm, vec![plain.len()], plain),
    ];
    let (rates, norms) = (doubles(&file, "lr"), doubles(&file, "norm"));
    for step in 1..=5 {
        let mut gradients = vec![tensor("g.decayed", step), tensor("g.plain", step)];
        let norm = optimizer::clip(&mut gradients, 1.0);
        assert!((norm / norms[step - 1] - 1.0).abs() < 1e-6, "step {step}: norm {norm}");
        optimizer::update(&mut parameters, &gradients, step, rates[step - 1], 0.1);
        for (parameter, name) in parameters.iter().zip(["p.decayed", "p.plain"]) {
            for (found, expected) in parameter.values.iter().zip(tensor(name, step)) {
                // A few roundings of values around 1 in each of five steps.
                assert!((found - expected).abs() < 2e-6, "step {step}, {name}: {found} {expected}");
            }
        }
    }
}
