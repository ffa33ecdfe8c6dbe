//! `run`: its options, its ends, and what it says about bad input.

mod common;

use std::{
    fs,
    io::Read,
    process::{Command, Stdio},
};

use b158_kernels::Isa;
use common::{b158, copy_of, replace, transcript, twin};
use insta::assert_snapshot;
use serde_json::Value;

/// The JSON document of a run on a twin.
fn run(arguments: &[&str]) -> Value {
    let output = b158().arg("run").arg(twin("tiny-b158-f16")).args(arguments).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn a_stop_string_ends_the_text_before_it() {
    let whole = run(&["-p", "The keeper", "-n", "40"]);
    let whole = whole["text"].as_str().unwrap();
    // Any piece of the middle: mostly it begins and ends inside tokens.
    let middle = whole.char_indices().nth(whole.chars().count() / 2).unwrap().0;
    let stop: String = whole[middle..].chars().take(5).collect();
    let stopped = run(&["-p", "The keeper", "-n", "40", "--stop", "never that", "--stop", &stop]);
    assert_eq!(stopped["text"], whole[..whole.find(&stop).unwrap()]);
    assert_eq!(stopped["stop"], "stop string");
    assert!(stopped["statistics"]["new_tokens"].as_u64().unwrap() < 40);
}

#[test]
fn the_same_prompt_from_a_file_and_from_standard_input() {
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("prompt.txt");
    fs::write(&file, "The keeper\nof").unwrap();
    let expected = run(&["-p", "The keeper\nof", "-n", "8"]);
    assert_eq!(run(&["-f", file.to_str().unwrap(), "-n", "8"])["tokens"], expected["tokens"]);
    let output = b158()
        .arg("run")
        .arg(twin("tiny-b158-f16"))
        .args(["-f", "-", "-n", "8", "--json"])
        .write_stdin("The keeper\nof")
        .output()
        .unwrap();
    let piped: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(piped["tokens"], expected["tokens"]);
}

/// Every filter at once, on every instruction set and number of threads.
#[test]
fn a_seed_gives_one_text_everywhere() {
    let sampled = |isa: &str, threads: &str| {
        let filters = ["--temp", "0.9", "--top-k", "60", "--top-p", "0.97", "--min-p", "0.01"];
        let penalty = ["--repeat-penalty", "1.2", "--repeat-last-n", "32", "--seed", "11"];
        let rest = ["-p", "The keeper", "-n", "30", "--isa", isa, "--threads", threads];
        run(&[&filters[..], &penalty, &rest].concat())["tokens"].clone()
    };
    let expected = sampled("scalar", "1");
    assert_eq!(expected.as_array().unwrap().len(), 30);
    for isa in Isa::available() {
        for threads in ["1", "2", "3"] {
            assert_eq!(sampled(isa.name(), threads), expected, "{}, {threads} threads", isa.name());
        }
    }
}

#[test]
fn the_statistics_name_the_reason() {
    let said = |arguments: &[&str]| {
        let output = b158().arg("run").arg(twin("tiny-b158-f16")).args(arguments).output().unwrap();
        assert!(output.status.success());
        String::from_utf8(output.stderr).unwrap()
    };
    let limit = said(&["-p", "The keeper", "-n", "4"]);
    assert!(limit.contains(" prompt tokens in ") && limit.contains("; 4 new tokens in "), "{limit}");
    assert!(limit.ends_with(" tokens/s (token limit)\n"), "{limit}");
    let none = said(&["-p", "The keeper", "-n", "0"]);
    assert!(none.contains("; 0 new tokens in "), "{none}");
    let full = said(&["-p", "The keeper", "-n", "1000", "--ctx", "16"]);
    assert!(full.ends_with("(context full)\n") || full.ends_with("(end of text)\n"), "{full}");
}

/// Ctrl-C ends the text, the statistics come, and the exit code is 0.
#[cfg(unix)]
#[test]
fn an_interrupt_ends_the_text_cleanly() {
    // A context in which the text does not end by itself before the interrupt.
    let copy = copy_of("tiny-b158-f16");
    let config = copy.path().join("config.json");
    replace(&config, "\"max_position_embeddings\": 256", "\"max_position_embeddings\": 4294967295");
    replace(&config, "\"eos_token_id\": 2", "\"eos_token_id\": null");
    let mut child = Command::new(env!("CARGO_BIN_EXE_b158"))
        .arg("run")
        .arg(copy.path())
        .args(["-p", "The keeper", "-n", "1000000000"])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut stdout = child.stdout.take().unwrap();
    let mut first = [0; 1];
    stdout.read_exact(&mut first).unwrap();
    let sent = Command::new("kill").args(["-INT", &child.id().to_string()]).status().unwrap();
    assert!(sent.success());
    let mut rest = Vec::new();
    stdout.read_to_end(&mut rest).unwrap();
    assert_eq!(rest.last(), Some(&b'\n'), "the line is ended");
    let output = child.wait_with_output().unwrap();
    let said = String::from_utf8(output.stderr).unwrap();
    assert_eq!(output.status.code(), Some(0), "{said}");
    assert!(said.ends_with("(interrupted)\n"), "{said}");
}

#[test]
fn bad_input() {
    let copy = copy_of("tiny-b158-f16");
    let said = |arguments: &[&str]| {
        let mut command = b158();
        command.arg("run").arg(copy.path()).args(arguments);
        transcript(&mut command, copy.path())
    };
    assert_snapshot!("context overflow", said(&["-p", &"word ".repeat(300)]));
    assert_snapshot!("small context", said(&["-p", "The keeper of the lighthouse", "--ctx", "3"]));
    assert_snapshot!("neither prompt nor file", said(&[]));
    assert_snapshot!("no such file", said(&["-f", copy.path().join("none.txt").to_str().unwrap()]));
    fs::write(copy.path().join("bytes"), [0xff, 0xfe]).unwrap();
    assert_snapshot!("not UTF-8", said(&["-f", copy.path().join("bytes").to_str().unwrap()]));
    assert_snapshot!("min-p", said(&["-p", "x", "--min-p", "2"]));
    assert_snapshot!("repeat-penalty", said(&["-p", "x", "--repeat-penalty", "0"]));

    // A tokenizer that puts nothing before the text.
    let file = copy.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    tokenizer["post_processor"] = Value::Null;
    fs::write(&file, tokenizer.to_string()).unwrap();
    assert_snapshot!("empty prompt", said(&["-p", ""]));
}

#[test]
fn ids_outside_the_vocabulary() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut command = b158();
    let file = folder.path().join("l.safetensors");
    command.arg("logits").arg(twin("tiny-b158-f16")).args(["--tokens", "1,512", "-o"]).arg(&file);
    assert_snapshot!(transcript(&mut command, folder.path()));
}

/// Every verb that reads text says so before it reads any.
#[test]
fn a_tokenizer_of_another_model() {
    let copy = copy_of("tiny-b158-f16");
    let file = copy.path().join("tokenizer.json");
    let mut tokenizer: Value = serde_json::from_str(&fs::read_to_string(&file).unwrap()).unwrap();
    let mut extra = tokenizer["added_tokens"][0].clone();
    extra["content"] = "<|another|>".into();
    extra["id"] = 512.into();
    tokenizer["added_tokens"].as_array_mut().unwrap().push(extra);
    tokenizer["model"]["vocab"]["<|another|>"] = 512.into();
    fs::write(&file, tokenizer.to_string()).unwrap();
    let model = copy.path().to_str().unwrap();
    let template = copy.path().join("t.jinja");
    fs::write(&template, "x").unwrap();
    let said = |arguments: &[&str]| transcript(b158().args(arguments), copy.path());
    let expected = said(&["run", model, "-p", "x"]);
    assert_snapshot!("tokenizer of another model", expected);
    assert_eq!(said(&["chat", model, "--template", template.to_str().unwrap()]), expected);
    let out = copy.path().join("out");
    let eval =
        said(&["eval", "--model", &format!("m={model}"), "--tasks", "arc_easy", "-o", out.to_str().unwrap()]);
    assert!(eval.contains("the tokenizer has token ids up to 512"), "{eval}");
}
