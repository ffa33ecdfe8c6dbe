//! The `tokenizer.ggml.*` keys of a GGUF header, and the tokenizer that they make.
#![no_main]

use std::path::Path;

use b158_checkpoint::{
    BosToken, Tokenizer,
    gguf::{Gguf, tokenizer},
};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let file = Path::new("fuzz.gguf");
    let Ok(gguf) = Gguf::parse(file, data) else { return };
    if let Ok(Some(json)) = tokenizer::tokenizer_json(file, &gguf) {
        let tokenizer = Tokenizer::from_json(file, &json, BosToken::default(), 1 << 20);
        let _ = tokenizer.map(|tokenizer| tokenizer.encode("a b", true));
    }
});
