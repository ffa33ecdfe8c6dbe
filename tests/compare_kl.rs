//! Predictions of two models on a text, from the command line.

mod common;

use std::fs;

use common::{b158, transcript, twin};
use insta::assert_snapshot;
use serde_json::Value;
use tempfile::TempDir;

const TEXT: &str = "The old lighthouse keeper walked down to the harbour every morning. She counted the boats, wrote \
                    their names into a small green book, and waited for the wind to turn. When it did, the boats left.\n";

fn folder() -> TempDir {
    let folder = TempDir::new().unwrap();
    fs::write(folder.path().join("text.txt"), TEXT.repeat(3)).unwrap();
    folder
}

fn kl(folder: &TempDir, models: [&str; 2], arguments: &[&str]) -> assert_cmd::Command {
    let mut command = b158();
    command.current_dir(folder.path()).arg("compare");
    command.args(models.map(twin)).args(["--kl", "text.txt", "--ctx", "64"]).args(arguments);
    command
}

#[test]
fn twins_differ_and_a_model_does_not_differ_from_itself() {
    let folder = folder();
    let read = |mut command: assert_cmd::Command| -> Value {
        let output = command.output().unwrap();
        serde_json::from_slice(&output.stdout)
            .unwrap_or_else(|e| panic!("{e}: {}", String::from_utf8_lossy(&output.stderr)))
    };
    let same = read(kl(&folder, ["tiny-llama-f16", "tiny-llama-f16"], &["--json"]));
    assert_eq!((same["kl"]["value"].as_f64(), same["same_top"]["value"].as_f64()), (Some(0.0), Some(1.0)));
    let differ = read(kl(&folder, ["tiny-llama-f16", "tiny-b158-f16"], &["--json"]));
    let number = |name: &str| differ[name]["value"].as_f64().unwrap();
    // Half of each window of 64 is scored.
    assert_eq!(differ["tokens"].as_u64().unwrap(), 31 * differ["windows"].as_u64().unwrap());
    assert!(number("kl") > 0.01 && number("same_top") < 1.0 && number("delta_p_rms") > 0.0);
    let ratio = number("perplexity_candidate") / number("perplexity_base");
    // Rounding of exp.
    assert!((number("perplexity_ratio") / ratio - 1.0).abs() < 1e-12);
    let status = |most: &str| {
        kl(&folder, ["tiny-llama-f16", "tiny-b158-f16"], &["--max-kl", most]).output().unwrap().status.code()
    };
    assert_eq!((status("1000"), status("0.001")), (Some(0), Some(3)));
}

/// The numbers are the same on every machine.
#[test]
fn as_text() {
    let folder = folder();
    let mut command = kl(&folder, ["tiny-llama-f16", "tiny-b158-f16"], &[]);
    let text = transcript(&mut command, folder.path());
    assert_snapshot!(text.replace(env!("CARGO_MANIFEST_DIR"), "[ROOT]"));
}

#[test]
fn what_is_refused() {
    let folder = folder();
    let mut texts = Vec::new();
    fs::write(folder.path().join("text.txt"), "Too short.").unwrap();
    texts.push(transcript(&mut kl(&folder, ["tiny-llama-f16", "tiny-b158-f16"], &[]), folder.path()));
    fs::write(folder.path().join("text.txt"), TEXT.repeat(3)).unwrap();
    texts.push(transcript(&mut kl(&folder, ["tiny-llama-f16", "desk-s-fp16"], &[]), folder.path()));
    fs::remove_file(folder.path().join("text.txt")).unwrap();
    texts.push(transcript(&mut kl(&folder, ["tiny-llama-f16", "tiny-b158-f16"], &[]), folder.path()));
    assert_snapshot!(texts.join("\n").replace(env!("CARGO_MANIFEST_DIR"), "[ROOT]"));
}
