//! `gguf-rs-oracle FILE...`: both readers must see the same tensors (names, types, shapes, offsets,
//! sizes) and the same metadata, keys and values. Panics on the first difference.
//!
//! gguf-rs 0.1.8 computes the sizes of BF16 and F64 tensors wrongly; those sizes are left out.

use std::path::Path;

use b158_checkpoint::{
    TensorType,
    gguf::{Gguf, Value},
};

fn main() {
    let files: Vec<String> = std::env::args().skip(1).collect();
    assert!(!files.is_empty(), "usage: gguf-rs-oracle FILE...");
    for file in &files {
        let (tensors, keys) = compare(file);
        println!("{file}: gguf-rs agrees on {tensors} tensors and {keys} keys");
    }
}

fn compare(file: &str) -> (usize, usize) {
    let bytes = std::fs::read(file).expect("a readable file");
    let ours = Gguf::parse(Path::new(file), &bytes).expect("a file that we read");
    let theirs =
        gguf_rs::get_gguf_container_array_size(file, u64::MAX)
            .and_then(|mut c| c.decode())
            .expect("a file that gguf-rs reads");

    assert_eq!(ours.tensors.len(), theirs.tensors().len(), "{file}: number of tensors");
    for (a, b) in ours.tensors.iter().zip(theirs.tensors()) {
        assert_eq!(a.name, b.name, "{file}");
        assert_eq!(a.type_id, b.kind, "{file}: type of {}", a.name);
        let rows_first: Vec<usize> = b.shape.iter().rev().map(|&n| n as usize).collect();
        assert_eq!(a.shape, rows_first, "{file}: shape of {}", a.name);
        assert_eq!(a.offset, theirs.data_offset() + b.offset, "{file}: offset of {}", a.name);
        if let Some(dtype) = TensorType::from_gguf_id(a.type_id).filter(|&t| t != TensorType::Bf16) {
            assert_eq!(dtype.byte_len(&a.shape), Some(b.size), "{file}: size of {}", a.name);
        }
    }
    assert_eq!(ours.metadata.len(), theirs.metadata().len(), "{file}: number of keys");
    for (key, value) in &ours.metadata {
        let expected = theirs.metadata().get(*key).unwrap_or_else(|| panic!("{file}: no key {key}"));
        assert!(same(value, expected), "{file}: {key}: {value:?}, not {expected}");
    }
    (ours.tensors.len(), ours.metadata.len())
}

/// Whether both readers found the same value.
fn same(ours: &Value, theirs: &serde_json::Value) -> bool {
    match (ours, theirs) {
        (Value::String(a), serde_json::Value::String(b)) => a == b,
        (Value::Bool(a), serde_json::Value::Bool(b)) => a == b,
        (Value::Array(a), serde_json::Value::Array(b)) => {
            a.len() == b.len() as u64 && a.iter().zip(b).all(|(a, b)| same(&a, b))
        }
        (Value::F32(a), serde_json::Value::Number(b)) => b.to_string().parse::<f32>().is_ok_and(|b| *a == b),
        (Value::F64(a), serde_json::Value::Number(b)) => b.to_string().parse::<f64>().is_ok_and(|b| *a == b),
        (a, serde_json::Value::Number(b)) => a.as_u64().is_some_and(|a| a.to_string() == b.to_string()),
        _ => false,
    }
}
