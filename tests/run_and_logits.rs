//! `run` and `logits` against the recorded reference.

mod common;

use common::{b158, oracle, twin};
use safetensors::SafeTensors;
use serde_json::Value;

#[test]
fn logits_are_written_as_recorded() {
    let Some(oracle) = oracle() else { return };
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("logits.safetensors");
    for name in ["llama-gqa-f16", "llama-gqa-bf16-sharded", "tiny-llama-f16"] {
        let golden = std::fs::read(oracle.join(format!("golden/{name}.f32.safetensors"))).unwrap();
        let golden = SafeTensors::deserialize(&golden).unwrap();
        for prompt in 0..6 {
            let ids = golden.tensor(&format!("p{prompt}.ids")).unwrap();
            let ids =
                ids.data().chunks_exact(4).map(|b| i32::from_le_bytes(b.try_into().unwrap()).to_string());
            b158()
                .arg("logits")
                .arg(oracle.join("ckpt").join(name))
                .args(["--tokens", &ids.collect::<Vec<_>>().join(","), "-o"])
                .arg(&file)
                .assert()
                .success();
            let bytes = std::fs::read(&file).unwrap();
            let written = SafeTensors::deserialize(&bytes).unwrap();
            let written = written.tensor("logits").unwrap();
            let expected = golden.tensor(&format!("p{prompt}.logits")).unwrap();
            assert_eq!(written.shape(), expected.shape());
            let pairs = written.data().chunks_exact(4).zip(expected.data().chunks_exact(4));
            for (a, b) in pairs {
                let [a, b] = [a, b].map(|b| f32::from_le_bytes(b.try_into().unwrap()));
                // Two independent f32 implementations differ from f64 by up to 1e-5 each.
                assert!((a - b).abs() <= 2e-5, "{name} prompt {prompt}: {a} {b}");
            }
        }
    }
}

fn run(arguments: &[&str]) -> Value {
    let output = b158().arg("run").arg(twin("tiny-b158-f16")).args(arguments).arg("--json").output().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

#[test]
fn greedy_text_is_the_recorded_one() {
    let Some(oracle) = oracle() else { return };
    let golden = std::fs::read_to_string(oracle.join("golden/tiny-b158-f16.f32.json")).unwrap();
    let golden: Value = serde_json::from_str(&golden).unwrap();
    let golden = &golden["prompts"][0];
    let ours = run(&["-p", golden["text"].as_str().unwrap(), "-n", "24"]);
    assert_eq!(ours["prompt_tokens"], golden["ids"]);
    assert_eq!(ours["tokens"], golden["greedy_ids"]);
    // The recorded text was decoded without its prompt, which strips the blank in between.
    let recorded = format!(" {}", golden["greedy_text"].as_str().unwrap());
    assert_eq!(ours["text"], recorded);

    // The same text as it streams.
    let output = b158()
        .arg("run")
        .arg(twin("tiny-b158-f16"))
        .args(["-p", golden["text"].as_str().unwrap(), "-n", "24"])
        .output()
        .unwrap();
    assert_eq!(String::from_utf8(output.stdout).unwrap(), format!("{recorded}\n"));
}

#[test]
fn a_seed_gives_one_text_whatever_the_instruction_set() {
    let sampled = |seed: &str, isa: &str| {
        let options = ["-p", "The keeper", "-n", "20", "--temp", "1", "--top-k", "50", "--top-p", "0.95"];
        run(&[&options[..], &["--seed", seed, "--isa", isa]].concat())["tokens"].clone()
    };
    assert_eq!(sampled("1", "auto"), sampled("1", "scalar"));
    assert_ne!(sampled("1", "auto"), sampled("2", "auto"));
}
