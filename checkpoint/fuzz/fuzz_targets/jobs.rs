//! The job files of `b158 convert --batch`.
#![no_main]

use std::path::Path;

use b158_convert::batch::JobFile;

libfuzzer_sys::fuzz_target!(|text: &str| {
    let _ = JobFile::parse(Path::new("jobs.yaml"), text);
});
