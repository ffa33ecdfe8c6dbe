//! `b158 perplexity` against an independent forward pass in f64 under the same protocols.

mod common;

use std::path::Path;

use common::{b158, oracle, transcript, twin};
use serde_json::Value;

fn measure(model: &Path, file: &Path, protocol: &str, more: &[&str]) -> Value {
    let output = b158()
        .args(["perplexity", "--protocol", protocol, "--json", "--file"])
        .arg(file)
        .args(more)
        .arg("--")
        .arg(model)
        .output()
        .unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// `tolerance` is relative.
fn check(checkpoint: &str, tolerance: f64) {
    let Some(oracle) = oracle() else { return };
    let recorded: Value =
        serde_json::from_str(&std::fs::read_to_string(oracle.join("golden/ppl_protocols.json")).unwrap())
            .unwrap();
    let folder = tempfile::TempDir::new().unwrap();
    let text = std::fs::read_to_string(oracle.join("data/wiki.test.raw")).unwrap();
    let plain = folder.path().join("wiki.txt");
    std::fs::write(&plain, &text).unwrap();
    // The recording has one more row, which is a line feed.
    let with_row = folder.path().join("rows.txt");
    std::fs::write(&with_row, text + "\n").unwrap();
    let model = oracle.join("ckpt").join(checkpoint);
    for (key, protocol, file, windows, count) in [
        ("B_llamacpp", "llama.cpp", &plain, "chunks", Some("count")),
        ("C_gptq", "gptq", &with_row, "windows", None),
        ("D_bitnet_paper", "paper", &plain, "windows", Some("count")),
        ("E_hf_strided", "hf-strided", &with_row, "", Some("count")),
    ] {
        let theirs = &recorded[checkpoint][key];
        let stride: &[&str] = if protocol == "hf-strided" { &["--stride", "64"] } else { &[] };
        let ours = measure(&model, file, protocol, &[&["--ctx", "128"], stride].concat());
        assert_eq!(ours["protocol"], protocol);
        let ours = &ours["files"][0];
        let close = |a: &Value, b: &Value| {
            let (a, b) = (a.as_f64().unwrap(), b.as_f64().unwrap());
            assert!((a / b - 1.0).abs() <= tolerance, "{checkpoint} {protocol}: {a} {b}");
        };
        close(&ours["perplexity"], &theirs["ppl"]);
        if key == "B_llamacpp" {
            close(&ours["error"], &theirs["pm"]);
        }
        if !windows.is_empty() {
            assert_eq!(ours["windows"], theirs[windows], "{checkpoint} {protocol}");
        }
        if let Some(count) = count {
            assert_eq!(ours["tokens"], theirs[count], "{checkpoint} {protocol}");
        }
    }
}

/// The recording is in f64; in f32 single tokens differ by 3e-6 nat, one way and the other.
#[test]
fn full_precision_models_agree() {
    check("tiny-llama-f16", 1e-6);
    check("llama-gqa-f16", 1e-6);
}

/// An activation on the edge of two codes may take the other one in f32, which moves single tokens.
#[test]
fn a_ternary_model_agrees() {
    check("tiny-b158-f16", 1e-4);
}

#[test]
fn the_protocol_stands_with_the_number() {
    let folder = tempfile::TempDir::new().unwrap();
    let text: String = (0..60).map(|i| format!("The lamp on shelf {i} is green .\n\n")).collect();
    std::fs::write(folder.path().join("a.txt"), &text).unwrap();
    std::fs::write(
        folder.path().join("b.jsonl"),
        "{\"text\": \"A lamp .\"}\n{\"page\": \"A green\\nlamp .\"}\n",
    )
    .unwrap();
    let print = |protocol: &str, files: &[&str], more: &[&str]| {
        let mut command = b158();
        command.current_dir(folder.path());
        command.arg("perplexity").arg(twin("tiny-llama-f16")).args(["--protocol", protocol]).args(more);
        for file in files {
            command.arg("--file").arg(file);
        }
        transcript(&mut command, folder.path())
    };
    insta::assert_snapshot!(print("llama.cpp", &["a.txt"], &["--ctx", "64"]), @r"
    exit: 0
    --- stdout
    perplexity, protocol llama.cpp, context 64

    |File |llama.cpp perplexity|   ±   |Tokens scored|Windows|
    |-----|-------------------:|------:|------------:|------:|
    |a.txt|            602.2554|74.8406|          558|     18|
    --- stderr
    ");
    insta::assert_snapshot!(print("paper", &["a.txt", "b.jsonl"], &[]), @r"
    exit: 0
    --- stdout
    perplexity, protocol paper, context 256

    | File  |paper perplexity|Tokens scored|Windows|
    |-------|---------------:|------------:|------:|
    |a.txt  |        442.6216|         1070|      5|
    |b.jsonl|        278.6047|           16|      1|

    mean perplexity of 2 files, protocol paper: 360.6132
    --- stderr
    ");
    insta::assert_snapshot!(print("lm-eval", &["b.jsonl"], &[]), @r"
    exit: 0
    --- stdout
    perplexity, protocol lm-eval, context 256

    | File  |lm-eval word perplexity|per byte|bits per byte|per token|Tokens scored|Windows|
    |-------|----------------------:|-------:|------------:|--------:|------------:|------:|
    |b.jsonl|            502266.4199| 65.1529|       6.0258| 312.0029|           16|      2|
    --- stderr
    ");
    insta::assert_snapshot!(print("hf-strided", &["a.txt"], &["--ctx", "64", "--stride", "32"]), @r"
    exit: 0
    --- stdout
    perplexity, protocol hf-strided, context 64, stride 32

    |File |hf-strided perplexity|Tokens scored|Windows|
    |-----|--------------------:|------------:|------:|
    |a.txt|             508.7717|         1427|     44|
    --- stderr
    ");
    insta::assert_snapshot!(print("gptq", &["b.jsonl"], &[]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: b.jsonl: it has 17 tokens, and at least 256 are needed
    hint: give a longer text or a shorter context (--ctx)
    ");
    insta::assert_snapshot!(print("wikitext", &["a.txt"], &[]), @r"
    exit: 2
    --- stdout
    --- stderr
    error: invalid value 'wikitext' for '--protocol <NAME>': the protocols are lm-eval, paper, llama.cpp, gptq, hf-strided

    For more information, try '--help'.
    ");
    insta::assert_snapshot!(print("gptq", &["none.txt"], &[]), @r"
    exit: 1
    --- stdout
    --- stderr
    error: cannot read none.txt: No such file or directory (os error 2)
    hint: check the name and the permissions
    ");
}

/// What preset `paper` of `eval` says of two texts is what `perplexity --protocol paper` says of them.
#[test]
fn the_papers_mean_is_the_same_from_both_commands() {
    let folder = tempfile::TempDir::new().unwrap();
    let text = "The cat sat on the mat .\n\nA dog ran home .\n";
    let document = "Once there was a small bird in a tall tree.";
    let write = |name: &str, text: String| std::fs::write(folder.path().join(name), text).unwrap();
    write("wikitext-test.jsonl", format!("{}\n", serde_json::json!({ "page": text })));
    write("c4-validation.jsonl", format!("{}\n", serde_json::json!({ "text": document })));
    write("wiki.txt", text.to_owned());
    let run = |arguments: &[&str]| -> Value {
        let mut command = b158();
        let output = command.current_dir(folder.path()).arg("--json").args(arguments).output().unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice(&output.stdout).unwrap()
    };
    let model = twin("tiny-llama-f16");
    let named = format!("m={}", model.display());
    let tasks = ["--tasks", "wikitext,c4", "--preset", "paper", "--data", ".", "-o", "out"];
    let evaluated = run(&[&["eval", "--model", &named][..], &tasks].concat());
    let files = ["--file", "wiki.txt", "--file", "c4-validation.jsonl", "--protocol", "paper"];
    let measured = run(&[&["perplexity", model.to_str().unwrap()][..], &files].concat());
    let (ours, theirs) = (&evaluated["models"]["m"]["mean_token_perplexity"], &measured["mean"]);
    assert!(ours.as_f64().unwrap() > 1.0, "{evaluated}");
    assert_eq!(ours, theirs);
}
