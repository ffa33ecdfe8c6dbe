//! What the tests share: the recorded reference, and checkpoints of random weights.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::{
    fs,
    path::{Path, PathBuf},
};

use b158_checkpoint::{
    Checkpoint, TensorInfo, TensorType,
    safetensors::{SafetensorsPlan, SafetensorsWriter},
};
use b158_convert::{Error, Options, Report, convert};

/// The folder with the recorded reference, or `None` (and a message) where it is absent.
pub fn oracle() -> Option<PathBuf> {
    let path = std::env::var_os("B158_ORACLE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/oracle"), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: no reference outputs here (set B158_ORACLE to their folder)");
    None
}

/// Converts without a word.
pub fn quietly(from: &Path, to: &Path, options: &Options) -> Result<Report, Error> {
    convert(&Checkpoint::open(from)?, to, options, &|_, _| ())
}

/// The shape of a random model; heads are as wide as the two divide.
#[derive(Clone, Copy, Debug)]
pub struct Shape {
    pub class: &'static str,
    pub hidden: usize,
    pub intermediate: usize,
    pub layers: usize,
    pub heads: usize,
    pub kv_heads: usize,
    pub tied: bool,
}

/// A small LLaMA whose rows fit every format.
pub const LLAMA: Shape = Shape {
    class: "LlamaForCausalLM",
    hidden: 256,
    intermediate: 256,
    layers: 1,
    heads: 4,
    kv_heads: 2,
    tied: true,
};

/// Numbers between -1 and 1.
pub struct Random(pub u64);

impl Random {
    pub fn number(&mut self) -> f32 {
        self.0 = self.0.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1_442_695_040_888_963_407);
        (self.0 >> 40) as f32 / (1u64 << 23) as f32 - 1.0
    }
}

/// Writes a Hugging Face folder with random F32 weights and without a tokenizer.
pub fn random_checkpoint(folder: &Path, shape: Shape, seed: u64) {
    let Shape { class, hidden, intermediate, layers, heads, kv_heads, tied } = shape;
    let vocab = 40;
    let config = format!(
        r#"{{"architectures": ["{class}"], "hidden_size": {hidden}, "intermediate_size": {intermediate},
        "num_hidden_layers": {layers}, "num_attention_heads": {heads}, "num_key_value_heads": {kv_heads},
        "vocab_size": {vocab}, "max_position_embeddings": 64, "rms_norm_eps": 1e-5, "rope_theta": 10000.0,
        "hidden_act": "silu", "tie_word_embeddings": {tied}, "bos_token_id": 1, "eos_token_id": 2}}"#
    );
    fs::write(folder.join("config.json"), config).unwrap();
    let kv = hidden / heads * kv_heads;
    let mut tensors: Vec<(String, Vec<usize>)> = vec![
        ("model.embed_tokens.weight".into(), vec![vocab, hidden]),
        ("model.norm.weight".into(), vec![hidden]),
    ];
    if !tied {
        tensors.push(("lm_head.weight".into(), vec![vocab, hidden]));
    }
    for layer in 0..layers {
        let mut add = |name: &str, shape: &[usize]| {
            tensors.push((format!("model.layers.{layer}.{name}.weight"), shape.to_vec()));
        };
        add("input_layernorm", &[hidden]);
        add("post_attention_layernorm", &[hidden]);
        for (name, rows) in [("q_proj", hidden), ("k_proj", kv), ("v_proj", kv), ("o_proj", hidden)] {
            add(&format!("self_attn.{name}"), &[rows, hidden]);
        }
        add("mlp.gate_proj", &[intermediate, hidden]);
        add("mlp.up_proj", &[intermediate, hidden]);
        add("mlp.down_proj", &[hidden, intermediate]);
        if class == "BitnetForCausalLM" {
            add("self_attn.inner_attn_ln", &[hidden]);
            add("mlp.ffn_layernorm", &[intermediate]);
        }
    }
    let infos = tensors.iter().map(|(name, shape)| {
        let (name, shape) = (name.clone(), shape.clone());
        TensorInfo { name, dtype: TensorType::F32, shape }
    });
    let plan = SafetensorsPlan::new(infos.collect(), None).unwrap();
    let mut writer = SafetensorsWriter::new(&plan, |name: &str| fs::File::create(folder.join(name))).unwrap();
    let mut random = Random(seed);
    for (name, shape) in &tensors {
        let count: usize = shape.iter().product();
        let bytes: Vec<u8> = (0..count).flat_map(|_| (random.number() * 0.05).to_le_bytes()).collect();
        writer.write_tensor(name, &bytes).unwrap();
    }
    writer.finish().unwrap();
}
