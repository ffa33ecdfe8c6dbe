//! `bench`: what it prints, and what it refuses.

mod common;

use std::{collections::BTreeSet, process::Command};

use common::{b158, transcript, twin};
use insta::assert_snapshot;
use serde_json::Value;

/// Small lengths: in a debug build on an emulator these are slow enough.
const SMALL: [&str; 10] =
    ["--prefill", "8,16", "--depth", "0,64", "--decode", "4", "--runs", "1", "--threads", "1"];

/// The same sizes on every machine.
const SCALAR: [&str; 2] = ["--isa", "scalar"];

fn document(command: &mut assert_cmd::Command) -> Value {
    let output = command.output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The paths of all values; of a list, those of its elements.
fn paths(value: &Value, path: &str, found: &mut BTreeSet<String>) {
    match value {
        Value::Object(map) => {
            map.iter().for_each(|(key, value)| paths(value, &format!("{path}.{key}"), found));
        }
        Value::Array(list) => list.iter().for_each(|value| paths(value, &format!("{path}[]"), found)),
        _ => {
            found.insert(path.to_owned());
        }
    }
}

/// Text with every number that is measured masked, and columns without their padding.
fn masked(text: &str) -> String {
    // Sizes of weights and buffers, and what the energy model says, are the same everywhere.
    let exact = [
        "ternary weights",
        "full-precision",
        "embedding",
        "norms",
        "all weights",
        "of which",
        "buffers",
        "linear layers,",
        "with the FP16 head",
        "bytes read",
        "KV cache",
        "exit:",
        "it takes",
    ];
    let mut out = String::new();
    for line in text.lines() {
        let is_exact = exact.iter().any(|label| line.contains(label));
        let words = line.split_whitespace().map(|word| {
            let number = word.trim_end_matches('x').parse::<f64>().is_ok();
            if number && !is_exact { "…" } else { word }
        });
        let indent = &line[..line.len() - line.trim_start().len()];
        let indent = if indent.len() > 4 { "" } else { indent };
        out += &format!("{indent}{}\n", words.collect::<Vec<_>>().join(" "));
    }
    // The processor's counters are readable on some machines.
    out.replace("not readable not readable", "…").replace("… …\n", "…\n").replace("not readable", "…")
}

#[test]
fn a_model_as_json() {
    let model = twin("tiny-b158-f16");
    let mut command = b158();
    command.arg("bench").arg(&model).args(SMALL).arg("--json");
    let found = document(&mut command);
    let mut keys = BTreeSet::new();
    paths(&found, "", &mut keys);
    assert_snapshot!("keys", keys.into_iter().collect::<Vec<_>>().join("\n"));
    assert_eq!(found["threads"], 1);
    assert_eq!(found["bits_per_weight"], 16.0);
    let column = &found["formats"][0];
    assert_eq!(column["format"], "ternary");
    for (list, key, expected) in [("prefill", "tokens", [8, 16]), ("decode", "depth_tokens", [0, 64])] {
        let list = column[list].as_array().unwrap();
        assert_eq!(list.iter().map(|one| one[key].as_u64().unwrap()).collect::<Vec<_>>(), expected);
        assert!(list.iter().all(|one| one["tokens_per_second"].as_f64().unwrap() > 0.0));
    }
    let bytes = |key: &str| column["memory"][key].as_u64().unwrap();
    // 512 words of 256 numbers in f16, twice; they stay in the file.
    assert_eq!((bytes("embedding_bytes"), bytes("head_bytes")), (262_144, 262_144));
    assert_eq!(bytes("mapped_bytes"), 524_288);
    assert!(column["first_token_seconds"].as_f64().unwrap() >= column["load_seconds"].as_f64().unwrap());
}

#[test]
fn a_model_as_text() {
    let mut command = b158();
    let model = twin("tiny-llama-f16");
    let folder = model.parent().unwrap();
    command.arg("bench").arg(&model).args(SMALL).args(SCALAR);
    assert_snapshot!(masked(&transcript(&mut command, folder)));
}

#[test]
fn a_depth_beyond_the_context_is_left_out() {
    let mut command = b158();
    command.arg("bench").arg(twin("tiny-b158-f16")).args([
        "--prefill",
        "4",
        "--decode",
        "2",
        "--runs",
        "1",
        "--json",
    ]);
    let output = command.output().unwrap();
    let note = "note: decoding at 2048 tokens is left out: the model's context ends at 256\n";
    assert_eq!(String::from_utf8_lossy(&output.stderr), note);
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(found["formats"][0]["decode"].as_array().unwrap().len(), 1);
    assert_eq!(found["left_out"][0]["what"], "decoding at 2048 tokens");
}

#[test]
fn a_shape_in_both_formats() {
    let mut command = b158();
    command.args(["bench", "--shape", "tiny"]).args(SMALL).args(SCALAR);
    assert_snapshot!(masked(&transcript(&mut command, &twin(""))));
}

/// The FP16 twin of the smallest shape takes 3 MB.
#[test]
fn a_format_that_does_not_fit_is_left_out_with_its_size() {
    let mut command = b158();
    command.args(["bench", "--shape", "tiny"]).args(SMALL).args(SCALAR).env("B158_MEMORY", "2500000");
    assert_snapshot!(masked(&transcript(&mut command, &twin(""))));
}

#[test]
fn what_is_refused() {
    let folder = tempfile::TempDir::new().unwrap();
    let model = twin("tiny-b158-f16").to_str().unwrap().to_owned();
    let mut all = String::new();
    for (memory, arguments) in [
        ("", &["bench"][..]),
        ("", &["bench", &model, "--shape", "tiny"]),
        ("", &["bench", &model, "--format", "f16"]),
        ("", &["bench", "--shape", "8B"]),
        ("", &["bench", "--shape", "tiny", "--prefill", "5000"]),
        ("", &["bench", "--shape", "tiny", "--prefill", "8,0"]),
        ("100000", &["bench", "--shape", "tiny", "--isa", "scalar"]),
        ("100000", &["bench", "--shape", "tiny", "--isa", "scalar", "--format", "f16"]),
        ("100000", &["bench", &model, "--isa", "scalar"]),
        ("100000", &["run", &model, "-p", "x", "--isa", "scalar"]),
        ("much", &["run", &model, "-p", "x"]),
    ] {
        let mut command = b158();
        command.current_dir(folder.path()).args(arguments);
        if !memory.is_empty() {
            command.env("B158_MEMORY", memory);
            all += &format!("B158_MEMORY={memory} ");
        }
        let shown = arguments.join(" ").replace(&model, "MODEL");
        let said = transcript(&mut command, folder.path()).replace(&model, "MODEL");
        all += &format!("$ b158 {shown}\n{said}\n");
    }
    assert_snapshot!(all);
}

/// The counters of a process with another's memory are not this one's: `bench` counts what it takes itself.
#[cfg(target_os = "linux")]
#[test]
fn peak_memory_is_that_of_the_model() {
    let mut command = Command::new(env!("CARGO_BIN_EXE_b158"));
    command.args(["bench", "--shape", "tiny", "--format", "ternary", "--json"]).args(SMALL);
    let output = command.output().unwrap();
    let found: Value = serde_json::from_slice(&output.stdout).unwrap();
    let peak = found["formats"][0]["peak_resident_bytes"].as_u64().unwrap();
    // The buffer of 256 MB that is read for the bandwidth is not in it.
    assert!((1 << 20..128 << 20).contains(&peak), "{peak}");
}
