//! Runs the parsers over a collection of damaged and hostile files.

mod common;

use std::{
    path::{Path, PathBuf},
    time::{Duration, Instant},
};

use b158_checkpoint::{Checkpoint, ModelConfig, OpenOptions, gguf, safetensors};
use common::data;

/// The largest file has 1 MB; whatever takes longer does work that the file only claims.
const LIMIT: Duration = Duration::from_secs(1);

fn files_below(folder: &Path, out: &mut Vec<PathBuf>) {
    for entry in folder.read_dir().unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() { files_below(&path, out) } else { out.push(path) }
    }
}

#[test]
fn damaged_files_end_in_errors() {
    let Some(folder) = data("corpora-malformed") else { return };
    let mut files = Vec::new();
    files_below(&folder, &mut files);
    assert!(files.len() > 100, "the collection has {} files only", files.len());
    let target = tempfile::tempdir().unwrap();
    for file in &files {
        let bytes = std::fs::read(file).unwrap();
        let start = Instant::now();
        if let Ok(parsed) = gguf::Gguf::parse(file, &bytes) {
            let _ = gguf::metadata::from_gguf(file, &parsed, &bytes, &OpenOptions::default());
        }
        let _ = safetensors::parse(file, &bytes);
        let _ = ModelConfig::from_json(file, &bytes);
        // None of them is a whole model.
        let path = target.path().join("model.gguf");
        std::fs::write(&path, &bytes).unwrap();
        assert!(Checkpoint::open(&path).is_err(), "{}", file.display());
        assert!(start.elapsed() < LIMIT, "{} takes {:?}", file.display(), start.elapsed());
    }
}

#[test]
fn files_of_other_programs_parse() {
    let file = "corpora-malformed/safetensors/modelaudit-safe_model.safetensors";
    let Some(file) = data(file) else { return };
    assert!(!safetensors::parse(&file, &std::fs::read(&file).unwrap()).unwrap().is_empty());

    // Vocabularies of llama.cpp: hundreds of thousands of strings, no tensors.
    let Some(folder) = data("tokenizers/llama.cpp") else { return };
    let mut files = Vec::new();
    files_below(&folder, &mut files);
    files.retain(|file| file.extension().is_some_and(|e| e == "gguf"));
    assert!(!files.is_empty());
    for file in files {
        let bytes = std::fs::read(&file).unwrap();
        let parsed = gguf::Gguf::parse(&file, &bytes).unwrap();
        let tokens = parsed.get("tokenizer.ggml.tokens").and_then(|v| v.as_array()).expect("a vocabulary");
        assert_eq!(tokens.iter().filter(|v| v.as_str().is_some()).count() as u64, tokens.len());
    }
}

#[test]
fn the_first_version_of_gguf_is_refused_by_name() {
    let Some(file) = data("models/stories260K/tinyllamas-stories-260k-f32.gguf") else { return };
    let error = Checkpoint::open(&file).unwrap_err().to_string();
    assert!(error.contains("GGUF version 1 is not supported"), "{error}");
}
