//! The index of shards, in a folder with a config and one shard.
#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock};

use b158_checkpoint::Checkpoint;

const CONFIG: &str = r#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 16,
    "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 10, "max_position_embeddings": 16,
    "rms_norm_eps": 1e-5}"#;

static FOLDER: LazyLock<PathBuf> = LazyLock::new(|| {
    let folder = std::env::temp_dir().join(format!("b158-fuzz-index-{}", std::process::id()));
    fs::create_dir_all(&folder).unwrap();
    fs::write(folder.join("config.json"), CONFIG).unwrap();
    fs::write(folder.join("a.safetensors"), b"\x02\0\0\0\0\0\0\0{}").unwrap();
    folder
});

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    fs::write(FOLDER.join("model.safetensors.index.json"), data).unwrap();
    assert!(Checkpoint::open(&FOLDER).is_err(), "the shard has no tensors");
});
