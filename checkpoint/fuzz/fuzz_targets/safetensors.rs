//! A safetensors header.
#![no_main]

use std::path::Path;

use b158_checkpoint::safetensors;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = safetensors::parse(Path::new("fuzz.safetensors"), data);
});
