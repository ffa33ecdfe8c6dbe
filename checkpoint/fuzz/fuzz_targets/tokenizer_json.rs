//! A tokenizer.json on its way to `tokenizer.ggml.*` keys and back.
#![no_main]

use std::path::Path;

use b158_checkpoint::{
    ModelConfig,
    gguf::tokenizer::{self, TokenizerText},
};

const CONFIG: &[u8] = br#"{"architectures": ["LlamaForCausalLM"], "hidden_size": 8, "intermediate_size": 8,
    "num_hidden_layers": 1, "num_attention_heads": 2, "vocab_size": 600, "max_position_embeddings": 8,
    "rms_norm_eps": 1e-5, "hidden_act": "silu", "bos_token_id": 1, "eos_token_id": 2}"#;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let Ok(json) = std::str::from_utf8(data) else { return };
    let file = Path::new("tokenizer.json");
    let config = ModelConfig::from_json(Path::new("config.json"), CONFIG).expect("a valid config");
    let text = TokenizerText { json: Some(json), ..TokenizerText::default() };
    let _ = tokenizer::to_gguf(file, &config, text);
});
