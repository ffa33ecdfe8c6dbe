//! A GGUF header, and the config in it.
#![no_main]

use std::path::Path;

use b158_checkpoint::{
    OpenOptions,
    gguf::{Gguf, metadata},
};

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let file = Path::new("fuzz.gguf");
    let _ = Gguf::parse(file, data).map(|gguf| metadata::from_gguf(file, &gguf, data, &OpenOptions::default()));
});
