//! config.json.
#![no_main]

use std::path::Path;

use b158_checkpoint::ModelConfig;

libfuzzer_sys::fuzz_target!(|data: &[u8]| {
    let _ = ModelConfig::from_json(Path::new("config.json"), data);
});
