//! The reference outputs: recorded from transformers, or from a plain-torch emulation for the layout
//! that transformers has no class for.

use std::path::{Path, PathBuf};

use b158_checkpoint::Checkpoint;
use b158_kernels::Isa;
use b158_runner::{LoadOptions, Model};
use safetensors::SafeTensors;

/// The folder with the reference, or `None` (and a message) where it is absent.
pub fn oracle() -> Option<PathBuf> {
    let path = std::env::var_os("B158_ORACLE").map_or_else(
        || Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/oracle"),
        PathBuf::from,
    );
    if path.is_dir() {
        return Some(path);
    }
    eprintln!("skipped: no reference outputs here (set B158_ORACLE to their folder)");
    None
}

pub fn load(oracle: &Path, name: &str, isa: Isa) -> Model {
    let checkpoint = Checkpoint::open(&oracle.join("ckpt").join(name)).unwrap();
    Model::load(&checkpoint, LoadOptions { isa, context: None }).unwrap()
}

/// One recorded prompt.
pub struct Prompt {
    pub ids: Vec<u32>,
    pub logits: Vec<f32>,
    pub logprobs: Vec<f32>,
    pub greedy_ids: Vec<u32>,
    pub greedy_margins: Vec<f64>,
}

/// The recorded prompts of a checkpoint.
pub fn prompts(oracle: &Path, name: &str) -> Vec<Prompt> {
    let golden = oracle.join("golden");
    let bytes = std::fs::read(golden.join(format!("{name}.f32.safetensors"))).unwrap();
    let tensors = SafeTensors::deserialize(&bytes).unwrap();
    let text = std::fs::read_to_string(golden.join(format!("{name}.f32.json"))).unwrap();
    let json: serde_json::Value = serde_json::from_str(&text).unwrap();
    let floats = |name: String| -> Vec<f32> {
        let data = tensors.tensor(&name).unwrap().data();
        data.chunks_exact(4).map(|b| f32::from_le_bytes(b.try_into().unwrap())).collect()
    };
    let prompts = json["prompts"].as_array().unwrap();
    let read = |(i, p): (usize, &serde_json::Value)| Prompt {
        ids: serde_json::from_value(p["ids"].clone()).unwrap(),
        logits: floats(format!("p{i}.logits")),
        logprobs: floats(format!("p{i}.loglik")),
        greedy_ids: serde_json::from_value(p["greedy_ids"].clone()).unwrap(),
        greedy_margins: serde_json::from_value(p["greedy_margins"].clone()).unwrap(),
    };
    prompts.iter().enumerate().map(read).collect()
}
