//! The command against recorded runs of lm-evaluation-harness 0.4.13: every prompt, every token id, and
//! the metrics.

mod common;

use std::path::Path;

use b158_eval::{SuiteResults, results::Sample};
use common::{b158, oracle};
use serde_json::Value;

const ARC_DOCUMENTS: usize = 30;

/// Evaluates a checkpoint of the reference on both tasks, whose data is embedded.
fn evaluate(model: &Path) -> SuiteResults {
    let out = tempfile::TempDir::new().unwrap();
    b158()
        .args(["eval", "--model", &format!("m={}", model.display()), "--tasks", "arc_easy,wikitext", "-o"])
        .arg(out.path())
        .assert()
        .success();
    SuiteResults::read(out.path()).unwrap()
}

fn json(path: &Path) -> Value {
    serde_json::from_str(&std::fs::read_to_string(path).unwrap()).unwrap()
}

fn check_request(sample: &Sample, recorded: &Value, tolerance: f64) {
    let request = &sample.request;
    let text = |key: &str| recorded[key].as_str().map(str::to_owned);
    assert_eq!(request.context, text("context"));
    assert_eq!(request.continuation, text("continuation"));
    let ids = |key: &str| serde_json::from_value::<Vec<u32>>(recorded[key].clone()).unwrap();
    assert_eq!(request.ctx_ids, ids("ctx_ids"));
    assert_eq!(request.cont_ids, ids("cont_ids"));
    let recorded = recorded["ll"].as_f64().unwrap();
    assert!((sample.loglikelihood - recorded).abs() <= tolerance, "{} {recorded}", sample.loglikelihood);
}

/// `tolerance` in nats a request. Returns the recorded metrics and ours, of both tasks.
fn check(oracle: &Path, checkpoint: &str, run: &str, tolerance: f64) -> [(Value, Value); 2] {
    let results = evaluate(&oracle.join("ckpt").join(checkpoint));
    let run = oracle.join("results").join(run);
    let lines = std::fs::read_to_string(run.join("requests.jsonl")).unwrap();
    let recorded: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let of_kind = |kind: &'static str| recorded.iter().filter(move |r| r["kind"] == kind);

    let [arc, wikitext] = &results.models[0].tasks[..] else { panic!("two tasks") };
    assert_eq!(arc.documents.len(), ARC_DOCUMENTS);
    let mut choices = of_kind("loglikelihood");
    for sample in arc.documents.iter().flat_map(|d| &d.samples) {
        check_request(sample, choices.next().unwrap(), tolerance);
    }
    let mut windows = of_kind("rolling_window");
    for sample in wikitext.documents.iter().flat_map(|d| &d.samples) {
        check_request(sample, windows.next().unwrap(), tolerance);
    }
    assert!(windows.next().is_none(), "every window is compared");

    let expected = json(&run.join("results.json"));
    let ours = results.models[0].metrics_json();
    ["arc_easy", "wikitext"]
        .map(|task| (expected["results"][format!("mini_{task}")].clone(), ours[task].clone()))
}

fn equal(recorded: &Value, ours: &Value, keys: &[&str]) {
    for key in keys {
        assert!(recorded[key].is_number(), "{key}");
        assert_eq!(recorded[key].as_f64(), ours[key].as_f64(), "{key}");
    }
}

fn close(recorded: &Value, ours: &Value, keys: &[&str]) {
    for key in keys {
        let (a, b) = (recorded[key].as_f64().unwrap(), ours[key].as_f64().unwrap());
        assert!((a / b - 1.0).abs() <= 1e-4, "{key}: {a} {b}");
    }
}

const ACCURACIES: [&str; 4] = ["acc,none", "acc_stderr,none", "acc_norm,none", "acc_norm_stderr,none"];

#[test]
fn the_full_precision_twin_agrees() {
    let Some(oracle) = oracle() else { return };
    // Single f32 log-likelihoods differ between implementations by up to 3e-4 (f32 against f64).
    let [arc, wikitext] = check(&oracle, "tiny-llama-f16", "tiny-llama-f16.float32", 1e-3);
    equal(&arc.0, &arc.1, &ACCURACIES);
    close(&wikitext.0, &wikitext.1, &["bits_per_byte,none"]);
    // Perplexities are exponentials: the same error in bits, times the number of bits.
    close(&wikitext.0, &wikitext.1, &["byte_perplexity,none", "word_perplexity,none"]);
}

#[test]
fn the_ternary_twin_agrees() {
    let Some(oracle) = oracle() else { return };
    // The recorded run is in f64. A code flip moves the log-likelihood of a 250-token window by up to
    // 2.2 nats.
    let [arc, wikitext] = check(&oracle, "tiny-b158-f16", "tiny-b158-f16.f64", 2.2);
    equal(&arc.0, &arc.1, &ACCURACIES);
    close(&wikitext.0, &wikitext.1, &["bits_per_byte,none"]);
}

/// A full-precision model ternarized after training, from a packed file: LLaMA with BitLinear.
#[test]
fn the_model_ternarized_afterwards_agrees() {
    let Some(oracle) = oracle() else { return };
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("ptq.gguf");
    let source = oracle.join("ckpt/tiny-llama-f16");
    b158().arg("convert").arg(&source).arg("-o").arg(&file).args(["--to", "tq1_0"]).assert().success();

    let expected = json(&oracle.join("results/tiny-llama-f16.ptq-w158a8.f64/results.json"));
    let ours = evaluate(&file).models[0].metrics_json();
    // The recorded run is in f64; a code flip may turn one near tie among the 30 items.
    for metric in ["acc,none", "acc_norm,none"] {
        let recorded = expected["results"]["mini_arc_easy"][metric].as_f64().unwrap();
        let items = (ours["arc_easy"][metric].as_f64().unwrap() - recorded) * ARC_DOCUMENTS as f64;
        assert!(items.abs() < 1.5, "{metric}: {items} items");
    }
    close(&expected["results"]["mini_wikitext"], &ours["wikitext"], &["bits_per_byte,none"]);
}
