//! A tokenizer.model: a SentencePiece protobuf, or tiktoken's ranks.
#![no_main]

use std::path::Path;

use b158_checkpoint::{BosToken, Tokenizer, tokenizer_model_to_json};

/// Without it only 128000 ranks are taken for Llama 3's.
const CONFIG: &[u8] =
    br#"{"added_tokens_decoder": {"1000": {"content": "<|begin_of_text|>", "special": true}}}"#;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let file = Path::new("tokenizer.model");
    for config in [None, Some(CONFIG)] {
        if let Ok(json) = tokenizer_model_to_json(file, data, config) {
            let tokenizer = Tokenizer::from_json(file, &json, BosToken::default(), 1 << 20);
            let _ = tokenizer.map(|tokenizer| tokenizer.encode("a b", true));
        }
    }
});
