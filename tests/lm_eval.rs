//! The command against recorded runs of lm-evaluation-harness 0.4.13: every prompt, every token id, and
//! the metrics of all tasks.

mod common;

use std::path::Path;

use b158_eval::{SuiteResults, TaskResults, results::Sample};
use common::{b158, fixtures, oracle, twin};
use serde_json::Value;

/// In the order of the recordings.
const TASKS: &str = "arc_easy,arc_challenge,hellaswag,boolq,openbookqa,piqa,winogrande,lambada_openai,lambada_standard,wikitext";

/// The reference's data under the names that the tasks look for, and without the documents that `keep` turns down.
fn data(oracle: &Path, keep: impl Fn(&str, usize) -> bool) -> tempfile::TempDir {
    let folder = tempfile::TempDir::new().unwrap();
    let copy = |from: &str, to: &str| {
        let text = std::fs::read_to_string(oracle.join(format!("data/{from}.jsonl"))).unwrap();
        let lines = text.lines().enumerate().filter(|(i, _)| keep(from, *i));
        let text: String = lines.map(|(_, line)| format!("{line}\n")).collect();
        std::fs::write(folder.path().join(format!("{to}.jsonl")), text).unwrap();
    };
    for name in ["openbookqa", "lambada", "wikitext"] {
        copy(name, name);
    }
    for (task, split, train) in [
        ("arc_easy", "test", "arc_train"),
        ("arc_challenge", "test", "arc_train"),
        ("hellaswag", "validation", "hellaswag_train"),
        ("boolq", "validation", "boolq_train"),
        ("piqa", "validation", "piqa_train"),
        ("winogrande", "validation", "winogrande_train"),
    ] {
        copy(task, &format!("{task}-{split}"));
        copy(train, &format!("{task}-train"));
    }
    folder
}

/// Evaluates a checkpoint of the reference on its data.
fn evaluate(model: &Path, tasks: &str, data: &Path, options: &[&str]) -> SuiteResults {
    let out = tempfile::TempDir::new().unwrap();
    b158()
        .args(["eval", "--model", &format!("m={}", model.display()), "--tasks", tasks, "--data"])
        .arg(data)
        .args(options)
        .arg("-o")
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

/// A task's results, its metrics as recorded, and as they are in results.json.
struct Checked {
    name: String,
    documents: usize,
    recorded: Value,
    ours: Value,
}

/// `tolerance` in nats a request.
fn check(oracle: &Path, run: &str, options: &[&str], tolerance: f64) -> Vec<Checked> {
    let run = oracle.join("results").join(run);
    let meta = json(&run.join("results.json"));
    let tasks: Vec<&str> = meta["results"].as_object().unwrap().keys().map(|k| &k["mini_".len()..]).collect();
    let paper = options.contains(&"paper");
    // Preset `paper` leaves nothing of this one's continuation, which is a blank.
    let data = data(oracle, |name, index| !(paper && name == "winogrande" && index == 13));
    let model = oracle.join("ckpt").join(meta["oracle"]["checkpoint"].as_str().unwrap());
    let results = evaluate(&model, &tasks.join(","), data.path(), options);
    let lines = std::fs::read_to_string(run.join("requests.jsonl")).unwrap();
    let recorded: Vec<Value> = lines.lines().map(|line| serde_json::from_str(line).unwrap()).collect();
    let (windows, choices): (Vec<&Value>, Vec<&Value>) =
        recorded.iter().partition(|r| r["kind"] == "rolling_window");
    let samples = |t: &TaskResults| t.documents.iter().flat_map(|d| &d.samples).cloned().collect::<Vec<_>>();
    // Windows are recorded after everything else, and so is their task here.
    let ours: Vec<Sample> = results.models[0].tasks.iter().flat_map(samples).collect();
    assert_eq!(ours.len(), choices.len() + windows.len(), "every request is compared");
    for (sample, recorded) in ours.iter().zip(choices.into_iter().chain(windows)) {
        check_request(sample, recorded, tolerance);
    }
    let ours = results.models[0].to_json();
    for task in tasks {
        assert_eq!(ours["n-shot"][task], meta["n-shot"][format!("mini_{task}")], "{task}");
    }
    metrics(&results, &run)
}

fn metrics(results: &SuiteResults, run: &Path) -> Vec<Checked> {
    let recorded = json(&run.join("results.json"));
    let ours = results.models[0].metrics_json();
    let of_task = |t: &TaskResults| {
        let name = t.task.task.clone();
        let recorded = recorded["results"][format!("mini_{name}")].clone();
        Checked { documents: t.documents.len(), recorded, ours: ours[&name].clone(), name }
    };
    results.models[0].tasks.iter().map(of_task).collect()
}

const ACCURACIES: [&str; 4] = ["acc,none", "acc_stderr,none", "acc_norm,none", "acc_norm_stderr,none"];

impl Checked {
    fn value(&self, of: &Value, key: &str) -> Option<f64> {
        (!of[key].is_null()).then(|| of[key].as_f64().unwrap_or_else(|| panic!("{} {key}", self.name)))
    }

    /// Both have the same accuracies, with the same bits.
    fn equal(&self) {
        for key in ACCURACIES {
            assert_eq!(self.value(&self.recorded, key), self.value(&self.ours, key), "{} {key}", self.name);
        }
    }

    /// Relative to the recorded value; what neither has agrees.
    fn close(&self, key: &str, tolerance: f64) {
        let (a, b) = (self.value(&self.recorded, key), self.value(&self.ours, key));
        if let (Some(a), Some(b)) = (a, b) {
            assert!((b / a - 1.0).abs() <= tolerance, "{} {key}: {a} {b}", self.name);
        } else {
            assert_eq!(a, b, "{} {key}", self.name);
        }
    }

    /// Accuracies that differ by at most so many documents.
    fn within(&self, documents: f64) {
        for key in ["acc,none", "acc_norm,none"] {
            if let Some((a, b)) = self.value(&self.recorded, key).zip(self.value(&self.ours, key)) {
                let apart = ((b - a) * self.documents as f64).abs();
                assert!(apart < documents + 0.5, "{} {key}: {apart} documents", self.name);
            }
        }
    }
}

#[test]
fn the_full_precision_twin_agrees() {
    let Some(oracle) = oracle() else { return };
    // Single f32 log-likelihoods differ between implementations by up to 3e-4 (f32 against f64).
    for task in check(&oracle, "tiny-llama-f16.float32", &[], 1e-3) {
        task.equal();
        // Perplexities are exponentials: the same error in bits, times the number of bits.
        for key in ["bits_per_byte,none", "byte_perplexity,none", "word_perplexity,none", "perplexity,none"] {
            task.close(key, 1e-4);
        }
        // From as many resamples of nearly the same numbers.
        task.close("perplexity_stderr,none", 1e-3);
    }
}

/// Examples before questions, no BOS, a short context: metrics and requests as above.
#[test]
fn other_settings_agree() {
    let Some(oracle) = oracle() else { return };
    for (run, options) in [
        ("tiny-llama-f16.float32.2shot", ["--num-fewshot", "2"]),
        ("llama-gqa-f16.float32.2shot", ["--num-fewshot", "2"]),
        ("tiny-llama-f16.float32.nobos", ["--add-bos", "false"]),
        ("llama-gqa-f16.float32.nobos", ["--add-bos", "false"]),
        ("llama-gqa-f16.float32.max64", ["--max-length", "64"]),
        ("tiny-llama-f16.float32.paper", ["--preset", "paper"]),
    ] {
        for task in check(&oracle, run, &options, 1e-3) {
            task.equal();
            for key in
                ["bits_per_byte,none", "byte_perplexity,none", "word_perplexity,none", "perplexity,none"]
            {
                task.close(key, 1e-4);
            }
        }
    }
}

#[test]
fn the_ternary_twin_agrees_by_preset_paper() {
    let Some(oracle) = oracle() else { return };
    for task in check(&oracle, "tiny-b158-f16.f64.paper", &["--preset", "paper"], 2.2) {
        // A code flip may turn one near tie.
        task.within(1.0);
    }
}

/// The packed windows of preset `paper`, whose recording is that of `perplexity --protocol paper`: windows of 128.
#[test]
fn preset_paper_packs_whole_texts() {
    let Some(oracle) = oracle() else { return };
    let recorded = json(&oracle.join("golden/ppl_protocols.json"));
    let model = oracle.join("ckpt/tiny-llama-f16");
    let options = ["--preset", "paper", "--max-length", "128"];
    let results = evaluate(&model, "wikitext", &oracle.join("data"), &options);
    let metrics = results.models[0].metrics_json();
    let (ours, theirs) = (&metrics["wikitext"], &recorded["tiny-llama-f16"]["D_bitnet_paper"]);
    assert_eq!(ours["sample_len"], theirs["windows"]);
    let (a, b) = (ours["token_perplexity,none"].as_f64().unwrap(), theirs["ppl"].as_f64().unwrap());
    // f32 against f64.
    assert!((a / b - 1.0).abs() <= 1e-4, "{a} {b}");
}

#[test]
fn the_ternary_twin_agrees() {
    let Some(oracle) = oracle() else { return };
    // The recorded run is in f64. A code flip moves the log-likelihood of a 250-token window by up to
    // 2.2 nats.
    for task in check(&oracle, "tiny-b158-f16.f64", &[], 2.2) {
        task.equal();
        task.close("bits_per_byte,none", 1e-4);
        // A code flip in one of 24 prompts moves the mean log-likelihood by its share.
        task.close("perplexity,none", 0.05);
    }
}

/// A full-precision model ternarized after training, from a packed file: LLaMA with BitLinear.
#[test]
fn the_model_ternarized_afterwards_agrees() {
    let Some(oracle) = oracle() else { return };
    let folder = tempfile::TempDir::new().unwrap();
    let file = folder.path().join("ptq.gguf");
    let source = oracle.join("ckpt/tiny-llama-f16");
    b158().arg("convert").arg(&source).arg("-o").arg(&file).args(["--to", "tq1_0"]).assert().success();
    let results = evaluate(&file, TASKS, &oracle.join("data"), &[]);
    for task in metrics(&results, &oracle.join("results/tiny-llama-f16.ptq-w158a8.f64")) {
        // The recorded run is in f64; a code flip may turn one near tie among the items.
        task.within(1.0);
        task.close("bits_per_byte,none", 1e-4);
    }
}

#[test]
fn prompts_longer_than_the_context_are_counted_and_told() {
    let out = tempfile::TempDir::new().unwrap();
    let eval = |context: &str| {
        let output = b158()
            .args([
                "eval",
                "--model",
                &format!("m={}", twin("tiny-llama-f16").display()),
                "--tasks",
                "arc_easy",
            ])
            .args(["--limit", "4", "--max-length", context, "--data"])
            .arg(fixtures())
            .arg("-o")
            .arg(out.path())
            .output()
            .unwrap();
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let count = json(&out.path().join("results.json"))["models"]["m"]["truncated"]["arc_easy"].clone();
        (count, String::from_utf8(output.stderr).unwrap())
    };
    assert_eq!(eval("256"), (0.into(), String::new()));
    let (count, told) = eval("44");
    insta::assert_snapshot!(format!("{count}\n{told}"), @r"
    10
    note: m, arc_easy: 10 of 15 requests are longer than the context of 44 tokens; the model did not see the beginning of their prompts
    ");
}
