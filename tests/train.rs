//! `b158 train`, from a recipe to models that the other verbs take.
#![cfg(feature = "train")]

mod common;

use std::{fs, path::Path, process::Stdio, time::Duration};

use common::b158;
use serde_json::Value;

const RECIPE: &str = "\
recipe: small
seed: 7
shape: {hidden_size: 64, intermediate_size: 128, layers: 2, heads: 4, vocab_size: 320, context: 64}
tokenizer: train
data: {desk: {seed: 1, bytes: 100000}}
batch: {sequences: 4, micro: 2}
steps: 24
checkpoint_every: 3
held_out_every: 24
held_out_windows: 8
twins:
  - {name: fp16, scheme: fp16, schedule: {kind: cosine, peak: 3.0e-3, warmup: 2, weight_decay: 0.1}}
  - {name: b158, scheme: b1.58, schedule: {kind: two_stage, peak: 3.0e-3, warmup: 2, weight_decay: 0.1}}
";

fn recipe(folder: &Path) {
    fs::write(folder.join("small.yaml"), RECIPE).unwrap();
}

fn weights(folder: &Path, output: &str) -> [Vec<u8>; 2] {
    ["fp16", "b158"].map(|twin| fs::read(folder.join(output).join(twin).join("model.safetensors")).unwrap())
}

#[test]
fn a_recipe_becomes_models_that_run() {
    let folder = tempfile::tempdir().unwrap();
    recipe(folder.path());
    let at = |args: &[&str]| {
        let output = b158().current_dir(folder.path()).args(args).output().unwrap();
        assert!(output.status.success(), "{args:?}: {}", String::from_utf8_lossy(&output.stderr));
        serde_json::from_slice::<Value>(&output.stdout).unwrap()
    };
    let report = at(&["train", "small.yaml", "-o", "twins", "--json"]);
    assert_eq!(report["twins"][0]["linear_weights"], 2 * (4 * 64 * 64 + 3 * 64 * 128));
    let perplexity = |value: &Value| value["perplexity"].as_f64().unwrap();
    let trained = perplexity(&report["twins"][0]["held_out"]);
    assert!(trained < 250.0, "{trained}");
    // Ternarized afterwards it is worse, and the report says so.
    assert!(perplexity(&report["twins"][0]["post_training"]) > trained);
    // What was saved on the way is gone, what is to be kept is there.
    let mut left: Vec<_> =
        fs::read_dir(folder.path().join("twins")).unwrap().map(|e| e.unwrap().file_name()).collect();
    left.sort();
    assert_eq!(left, ["b158", "curves.json", "curves.svg", "fp16"]);

    at(&["convert", "twins/b158", "-o", "b158.gguf", "--to", "q2_0", "--verify", "--json"]);
    at(&[
        "eval",
        "--model",
        "a=twins/fp16",
        "--model",
        "b=b158.gguf",
        "--tasks",
        "desk",
        "--limit",
        "2",
        "-o",
        "results",
        "--json",
    ]);
    // Perplexity by the trainer and by the runner are of different windows, so only the digests are looked at here.
    let config: Value =
        serde_json::from_slice(&fs::read(folder.path().join("twins/b158/config.json")).unwrap()).unwrap();
    for key in ["recipe_sha256", "data_sha256"] {
        assert_eq!(config["b158"][key], report[key], "{key}");
    }
}

#[cfg(unix)]
#[test]
fn killed_at_any_moment_a_run_goes_on_to_the_same_bytes() {
    let folder = tempfile::tempdir().unwrap();
    recipe(folder.path());
    let run = |output: &str, resume: bool| {
        let mut command = b158();
        command.current_dir(folder.path()).args(["train", "small.yaml", "-o", output, "--keep-states"]);
        command.args(resume.then_some("--resume"));
        command
    };
    run("whole", false).assert().success();
    let states =
        ["fp16", "b158"].map(|twin| folder.path().join("killed").join(format!("{twin}.state.safetensors")));
    let written = || states.each_ref().map(|state| fs::metadata(state).and_then(|m| m.modified()).ok());
    // Killed after it went on by a state or more, at moments that differ: in a step, or while it writes the next one.
    let mut kills = 0;
    for wait in [0, 2, 5, 11] {
        let before = written();
        let mut child = std::process::Command::new(env!("CARGO_BIN_EXE_b158"))
            .current_dir(folder.path())
            .args(["train", "small.yaml", "-o", "killed", "--resume", "--keep-states"])
            .stdout(Stdio::null())
            .stderr(Stdio::null())
            .spawn()
            .unwrap();
        let ended = loop {
            if written() != before {
                std::thread::sleep(Duration::from_millis(wait));
                break child.try_wait().unwrap().is_some();
            }
            if child.try_wait().unwrap().is_some() {
                break true;
            }
            std::thread::sleep(Duration::from_millis(1));
        };
        child.kill().unwrap();
        child.wait().unwrap();
        kills += usize::from(!ended);
    }
    assert!(kills >= 2, "a run of 16 states was done before it was killed twice");
    let output = run("killed", true).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    // It went on and did not begin anew.
    let report: Value = serde_json::from_slice(&output.stdout).unwrap();
    assert!(report["twins"][0]["steps"].as_u64().unwrap() < 24, "{report}");
    assert!(weights(folder.path(), "whole") == weights(folder.path(), "killed"));
}

#[test]
fn a_bad_recipe_is_one_message() {
    let folder = tempfile::tempdir().unwrap();
    fs::write(folder.path().join("small.yaml"), RECIPE.replace("heads: 4", "heads: 5")).unwrap();
    let output = b158().current_dir(folder.path()).args(["train", "small.yaml"]).output().unwrap();
    assert_eq!(output.status.code(), Some(1));
    insta::assert_snapshot!(String::from_utf8(output.stderr).unwrap(), @r"
    error: small.yaml: shape.hidden_size 64 is no even number for each of 5 heads
    hint: a head takes hidden_size / heads elements, which rotary embedding turns in pairs
    ");
    // A batch that will not fit.
    fs::write(folder.path().join("small.yaml"), RECIPE.replace("micro: 2", "micro: 4")).unwrap();
    let run = |memory: &str| {
        let mut command = b158();
        command.env("B158_MEMORY", memory).current_dir(folder.path()).args(["train", "small.yaml"]);
        command.output().unwrap()
    };
    let output = run("1000000");
    assert_eq!(output.status.code(), Some(1));
    let message = String::from_utf8(output.stderr).unwrap();
    assert!(
        message.contains("needs about") && message.contains("hint: a smaller `batch.micro`"),
        "{message}"
    );
}

#[test]
fn the_embedded_twins_are_of_the_committed_recipes() {
    let ci = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci");
    let mut twins = 0;
    for entry in fs::read_dir(ci.join("twins")).unwrap() {
        let folder = entry.unwrap().path();
        let config: Value = serde_json::from_slice(&fs::read(folder.join("config.json")).unwrap()).unwrap();
        let Some(name) = config["b158"]["recipe"].as_str() else { continue };
        let recipe = b158_train::RecipeFile::read(&ci.join("recipes").join(format!("{name}.yaml"))).unwrap();
        assert_eq!(config["b158"]["recipe_sha256"], recipe.recipe.digest(), "{}", folder.display());
        twins += 1;
    }
    assert!(twins > 0);
}

#[test]
fn every_committed_recipe_is_one() {
    let recipes = Path::new(env!("CARGO_MANIFEST_DIR")).join("ci/recipes");
    for entry in fs::read_dir(recipes).unwrap() {
        let path = entry.unwrap().path();
        let recipe = b158_train::RecipeFile::read(&path).unwrap();
        // Names are those of files: a folder says which recipe it is of.
        assert_eq!(recipe.recipe.recipe, path.file_stem().unwrap().to_str().unwrap());
    }
}
