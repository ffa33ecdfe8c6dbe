//! A GGUF file: its header, the config in it, and the whole as a checkpoint.
#![no_main]

use std::{fs, path::PathBuf, sync::LazyLock};

use b158_checkpoint::{
    Checkpoint, OpenOptions,
    gguf::{Gguf, metadata},
};

static FILE: LazyLock<PathBuf> =
    LazyLock::new(|| std::env::temp_dir().join(format!("b158-fuzz-{}.gguf", std::process::id())));

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let parsed = Gguf::parse(&FILE, data);
    let config = parsed.and_then(|gguf| metadata::from_gguf(&FILE, &gguf, data, &OpenOptions::default()));
    // Only a file with a valid config is worth opening.
    if config.is_ok() {
        fs::write(&*FILE, data).unwrap();
        if let Ok(opened) = Checkpoint::open(&FILE) {
            for id in opened.tensor_ids() {
                let tensor = opened.tensor(id).unwrap();
                assert!(tensor.weights().is_ok() || tensor.dtype.ternary().is_some());
            }
        }
    }
});
