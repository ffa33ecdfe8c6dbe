//! Bad input ends with exit code 1 and one message that names the file and the remedy, and leaves no
//! output behind.

mod common;

use std::{fs, path::Path};

use common::{b158, copy_of, replace, transcript};
use insta::assert_snapshot;

/// Converts `folder` and expects a failure that leaves nothing behind.
fn convert(folder: &Path) -> String {
    let before = names(folder);
    let output = folder.join("out.gguf");
    let mut command = b158();
    command.arg("convert").arg(folder).arg("-o").arg(&output).args(["--to", "tq2_0"]);
    let transcript = transcript(&mut command, folder);
    assert_eq!(names(folder), before, "a failed conversion leaves the folder as it was");
    transcript
}

fn names(folder: &Path) -> Vec<String> {
    let mut names: Vec<String> =
        fs::read_dir(folder).unwrap().map(|e| e.unwrap().file_name().into_string().unwrap()).collect();
    names.sort();
    names
}

#[test]
fn truncated_safetensors() {
    let copy = copy_of("tiny-b158-f16");
    let file = copy.path().join("model.safetensors");
    let bytes = fs::read(&file).unwrap();
    fs::write(&file, &bytes[..bytes.len() - 1000]).unwrap();
    assert_snapshot!("truncated data", convert(copy.path()));
    fs::write(&file, &bytes[..100]).unwrap();
    assert_snapshot!("truncated header", convert(copy.path()));
}

#[test]
fn missing_shard() {
    let copy = copy_of("tiny-b158-f16");
    fs::remove_file(copy.path().join("model.safetensors")).unwrap();
    let index = r#"{"metadata": {}, "weight_map": {"model.embed_tokens.weight": "model-00001-of-00002.safetensors"}}"#;
    fs::write(copy.path().join("model.safetensors.index.json"), index).unwrap();
    assert_snapshot!(convert(copy.path()));
}

#[test]
fn wrong_shape() {
    let copy = copy_of("tiny-b158-f16");
    replace(&copy.path().join("config.json"), "\"intermediate_size\": 512", "\"intermediate_size\": 768");
    assert_snapshot!(convert(copy.path()));
}

#[test]
fn unknown_architecture() {
    let copy = copy_of("tiny-b158-f16");
    replace(&copy.path().join("config.json"), "BitnetForCausalLM", "MambaForCausalLM");
    assert_snapshot!(convert(copy.path()));
}

#[test]
fn nan_weights() {
    let copy = copy_of("tiny-b158-f16");
    let file = copy.path().join("model.safetensors");
    let mut bytes = fs::read(&file).unwrap();
    let header = usize::try_from(u64::from_le_bytes(bytes[..8].try_into().unwrap())).unwrap();
    let json: serde_json::Value = serde_json::from_slice(&bytes[8..8 + header]).unwrap();
    let name = "model.layers.1.mlp.up_proj.weight";
    let start = usize::try_from(json[name]["data_offsets"][0].as_u64().unwrap()).unwrap();
    // Element 1234 becomes the f16 NaN 0x7e00.
    bytes[8 + header + start + 2 * 1234..][..2].copy_from_slice(&[0x00, 0x7e]);
    fs::write(&file, bytes).unwrap();
    assert_snapshot!("convert", convert(copy.path()));

    let mut command = b158();
    command.arg("run").arg(copy.path()).args(["-p", "The keeper"]);
    assert_snapshot!("run", transcript(&mut command, copy.path()));
}

#[test]
fn rows_that_do_not_fit_the_format() {
    let Some(oracle) = common::oracle() else { return };
    let model = oracle.join("ckpt/b158-1bitllm-f16");
    let folder = tempfile::TempDir::new().unwrap();
    let mut command = b158();
    command.arg("convert").arg(&model).arg("-o").arg(folder.path().join("out.gguf")).args(["--to", "tq1_0"]);
    assert_snapshot!(transcript(&mut command, &model));
    assert!(names(folder.path()).is_empty());
}

#[test]
fn misspelt_suite_key() {
    let folder = tempfile::TempDir::new().unwrap();
    let suite = folder.path().join("suite.yaml");
    fs::write(
        &suite,
        "suite: mine\nmodels:\n  - name: a\n    path: a\n    role: baseline\ntaks: [arc_easy]\n",
    )
    .unwrap();
    let mut command = b158();
    command.arg("eval").arg(&suite).arg("-o").arg(folder.path().join("out"));
    assert_snapshot!(transcript(&mut command, folder.path()));
    assert!(!folder.path().join("out").exists());
}

#[test]
fn suite_with_an_unknown_format() {
    let folder = tempfile::TempDir::new().unwrap();
    let suite = folder.path().join("suite.yaml");
    let text = "suite: mine\nmodels:\n  - {name: a, path: a, convert: q4}\ntasks: [arc_easy]\n";
    fs::write(&suite, text).unwrap();
    let mut command = b158();
    command.arg("eval").arg(&suite).arg("-o").arg(folder.path().join("out")).env("B158_DATA", folder.path());
    assert_snapshot!(transcript(&mut command, folder.path()));
}

#[test]
fn a_folder_that_is_no_model() {
    let folder = tempfile::TempDir::new().unwrap();
    assert_snapshot!(convert(folder.path()));
}

#[test]
fn unwritable_output() {
    let copy = copy_of("tiny-b158-f16");
    let mut command = b158();
    command
        .arg("convert")
        .arg(copy.path())
        .arg("-o")
        .arg(copy.path().join("no/such/out.gguf"))
        .args(["--to", "tq2_0"]);
    assert_snapshot!(transcript(&mut command, copy.path()));
}

#[test]
fn unknown_instruction_set() {
    let folder = tempfile::TempDir::new().unwrap();
    let mut command = b158();
    command.args(["--isa", "sse9", "bench", "x"]);
    assert_snapshot!(transcript(&mut command, folder.path()));
}

#[test]
fn outputs_that_are_no_ordinary_files_or_the_source_itself() {
    let copy = copy_of("tiny-b158-f16");
    let converted = |output: &Path| {
        let mut command = b158();
        command.arg("convert").arg(copy.path()).arg("-o").arg(output).args(["--to", "tq2_0"]);
        transcript(&mut command, copy.path())
    };
    fs::create_dir(copy.path().join("folder.gguf")).unwrap();
    assert_snapshot!("output is a folder", converted(&copy.path().join("folder.gguf")));
    assert_snapshot!("output has another extension", converted(&copy.path().join("out.safetensors")));

    // A packed file onto itself.
    let packed = copy.path().join("packed.gguf");
    assert!(converted(&packed).starts_with("exit: 0"));
    let before = fs::read(&packed).unwrap();
    let mut command = b158();
    command.arg("convert").arg(&packed).arg("-o").arg(&packed).args(["--to", "tq2_0"]);
    assert_snapshot!("output is the source", transcript(&mut command, copy.path()));
    assert_eq!(fs::read(&packed).unwrap(), before);
}

#[test]
fn numbers_that_make_no_sense() {
    let folder = tempfile::TempDir::new().unwrap();
    let model = common::twin("tiny-b158-f16").to_str().unwrap().to_owned();
    let mut all = String::new();
    for arguments in [
        &["bench", &model, "--prefill", "0"][..],
        &["bench", &model, "--prefill", "18446744073709551615"],
        &["bench", &model, "--decode", "18446744073709551615"],
        &["bench", &model, "--runs", "0"],
        &["bench", &model, "--threads", "0"],
        &["bench", &model, "--threads", "1000000"],
        &["run", &model, "-p", "x", "--ctx", "0"],
        &["run", &model, "-p", "x", "--ctx", "257"],
        &["run", &model, "-p", "x", "--temp", "-1"],
        &["logits", &model, "--tokens", "1,999", "-o", "x.safetensors"],
        &["eval", "--model", &format!("m={model}"), "--tasks", "arc_easy", "--limit", "0", "-o", "out"],
        &["eval", "--model", &format!("m={model}"), "-o", "out"],
        &["eval", "--model", &format!("../m={model}"), "--tasks", "arc_easy", "-o", "out"],
        &["eval", "--model", &format!("m={model}"), "--tasks", "arc_eesy", "-o", "out"],
    ] {
        let mut command = b158();
        command.current_dir(folder.path()).args(arguments);
        let shown = arguments.join(" ").replace(&model, "MODEL");
        all += &format!("$ b158 {shown}\n{}\n", transcript(&mut command, folder.path()));
    }
    assert_snapshot!(all);
    assert!(names(folder.path()).is_empty(), "no output for bad arguments");
}

/// A config that promises much costs nothing.
#[test]
fn a_context_of_billions() {
    let copy = copy_of("tiny-b158-f16");
    let config = copy.path().join("config.json");
    replace(&config, "\"max_position_embeddings\": 256", "\"max_position_embeddings\": 4294967295");
    b158().arg("run").arg(copy.path()).args(["-p", "The", "-n", "2"]).assert().success();
}
