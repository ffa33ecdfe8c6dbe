//! The reference outputs: recorded from transformers, or from a plain-torch emulation for the layout
//! that transformers has no class for.
#![allow(dead_code, reason = "each test binary uses its part")]

use std::path::{Path, PathBuf};

use b158_checkpoint::Checkpoint;
use b158_kernels::Isa;
use b158_runner::{LoadOptions, Model};
use safetensors::{Dtype, SafeTensors};

/// The folder with the reference, or `None` (and a message) where it is absent.
pub fn oracle() -> Option<PathBuf> {
    let path = std::env::var_os("B158_ORACLE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/oracle"), PathBuf::from);
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: no reference outputs here (set B158_ORACLE to their folder)");
    None
}

pub fn load(oracle: &Path, name: &str, isa: Isa) -> Model {
    let checkpoint = Checkpoint::open(&oracle.join("ckpt").join(name)).unwrap();
    Model::load(&checkpoint, LoadOptions { isa, ..LoadOptions::default() }).unwrap()
}

/// One recorded prompt.
pub struct Prompt {
    pub ids: Vec<u32>,
    /// From the reference in f32.
    pub logits: Vec<f32>,
    /// From the reference in f64.
    pub logits_f64: Vec<f32>,
    pub logprobs: Vec<f32>,
    pub greedy_ids: Vec<u32>,
    pub greedy_margins: Vec<f64>,
}

/// The recorded prompts of a checkpoint.
pub fn prompts(oracle: &Path, name: &str) -> Vec<Prompt> {
    let golden = oracle.join("golden");
    let read = |mode: &str| std::fs::read(golden.join(format!("{name}.{mode}.safetensors"))).unwrap();
    let (single, double) = (read("f32"), read("f64"));
    let single = SafeTensors::deserialize(&single).unwrap();
    let double = SafeTensors::deserialize(&double).unwrap();
    let text = std::fs::read_to_string(golden.join(format!("{name}.f32.json"))).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let floats = |tensors: &SafeTensors, name: String| -> Vec<f32> {
        let tensor = tensors.tensor(&name).unwrap();
        match tensor.dtype() {
            Dtype::F32 => numbers(tensor.data(), f32::from_le_bytes),
            Dtype::F64 => numbers(tensor.data(), |b| f64::from_le_bytes(b) as f32),
            other => panic!("{name} is {other:?}"),
        }
    };
    let prompts = json["prompts"].as_array().unwrap();
    let read = |(i, p): (usize, &serde_json::Value)| Prompt {
        ids: serde_json::from_value(p["ids"].clone()).unwrap(),
        logits: floats(&single, format!("p{i}.logits")),
        logits_f64: floats(&double, format!("p{i}.logits")),
        logprobs: floats(&single, format!("p{i}.loglik")),
        greedy_ids: serde_json::from_value(p["greedy_ids"].clone()).unwrap(),
        greedy_margins: serde_json::from_value(p["greedy_margins"].clone()).unwrap(),
    };
    prompts.iter().enumerate().map(read).collect()
}

fn numbers<const N: usize>(bytes: &[u8], read: impl Fn([u8; N]) -> f32) -> Vec<f32> {
    bytes.chunks_exact(N).map(|b| read(b.try_into().unwrap())).collect()
}
