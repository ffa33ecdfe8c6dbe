//! One result digest, whatever the format, the instruction set and the number of threads.

mod common;

use std::path::Path;

use common::{b158, twin};

/// Converts the ternary twin and returns the file.
fn packed(folder: &Path, format: &str) -> String {
    let file = folder.join(format!("{format}.gguf")).to_str().unwrap().to_owned();
    b158()
        .arg("convert")
        .arg(twin("tiny-b158-f16"))
        .args(["-o", &file, "--to", format, "--verify"])
        .assert()
        .success();
    file
}

/// The result digest of one model on both fixtures.
fn digest(folder: &Path, model: &str, isa: &str, threads: &str) -> String {
    let out = folder.join("results");
    b158()
        .args(["eval", "--model", &format!("m={model}"), "--tasks", "arc_easy,wikitext", "--limit", "8"])
        .args(["--isa", isa, "--threads", threads])
        .arg("--data")
        .arg(common::fixtures())
        .arg("-o")
        .arg(&out)
        .assert()
        .success();
    let text = std::fs::read_to_string(out.join("results.json")).unwrap();
    let results: serde_json::Value = serde_json::from_str(&text).unwrap();
    results["digest"]["m"].as_str().unwrap().to_owned()
}

#[test]
fn one_digest_for_every_format_instruction_set_and_thread_count() {
    let folder = tempfile::TempDir::new().unwrap();
    let source = twin("tiny-b158-f16").to_str().unwrap().to_owned();
    let (tq1, tq2) = (packed(folder.path(), "tq1_0"), packed(folder.path(), "tq2_0"));
    let others = ["q2_0", "i2_s", "i2_s-arm"].map(|format| packed(folder.path(), format));
    let reference = digest(folder.path(), &source, "scalar", "1");
    let mut runs = vec![(&tq1, "scalar", "2"), (&tq2, "scalar", "1"), (&source, "auto", "2")];
    runs.extend(others.iter().map(|file| (file, "auto", "3")));
    for isa in b158_kernels::Isa::available().into_iter().skip(1) {
        runs.extend([(&tq1, isa.name(), "1"), (&tq2, isa.name(), "2"), (&source, isa.name(), "1")]);
    }
    for (model, isa, threads) in runs {
        assert_eq!(
            digest(folder.path(), model, isa, threads),
            reference,
            "{model}, {isa}, {threads} threads"
        );
    }
}
