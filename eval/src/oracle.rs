//! Agreement with lm-eval 0.4.13, request by request, on recorded runs: prompts, token ids and metrics.
//!
//! A replay model tokenizes with the checkpoint's own tokenizer and answers each request with the recorded
//! log-likelihood; a request that was not recorded is an error. The recordings are found by `B158_ORACLE`, else beside
//! the repository; where they are absent the tests say so and return.

use std::collections::HashMap;
use std::path::{Path, PathBuf};
use std::sync::Mutex;

use b158_datasets::{DataSource, jsonl};
use serde_json::{Value, json};
use tokenizers::Tokenizer;

use crate::lm_eval_bootstrap::perplexity_stderr;
use crate::request::Request;
use crate::results::Document;
use crate::{Error, EvalOptions, LanguageModel, Metric, ModelResults, Preset, Score, evaluate, find_tasks};

fn oracle() -> Option<PathBuf> {
    let dir = std::env::var_os("B158_ORACLE")
        .map_or_else(|| Path::new(env!("CARGO_MANIFEST_DIR")).join("../../shared/oracle"), PathBuf::from);
    let found = dir.join("results").is_dir();
    if !found {
        eprintln!("skipped: no recordings (set B158_ORACLE)");
    }
    found.then_some(dir)
}

/// Context and continuation ids.
type Ids = (Vec<u32>, Vec<u32>);

/// A recorded run.
struct Replay {
    tokenizer: Tokenizer,
    bos: u32,
    bos_text: String,
    max_length: usize,
    /// By what the model sees: the context is cut already.
    recorded: HashMap<Ids, (f64, bool)>,
    unknown: Mutex<usize>,
}

fn ids(value: &Value) -> Vec<u32> {
    value.as_array().unwrap().iter().map(|id| id.as_u64().unwrap() as u32).collect()
}

fn request(row: &Value) -> Request {
    let text = |key: &str| row[key].as_str().map(str::to_owned);
    Request {
        context: text("context"),
        continuation: text("continuation"),
        ctx_ids: ids(&row["ctx_ids"]),
        cont_ids: ids(&row["cont_ids"]),
    }
}

impl Replay {
    fn open(oracle: &Path, run: &str) -> (Self, Vec<Value>, Value) {
        let dir = oracle.join("results").join(run);
        let results: Value =
            serde_json::from_slice(&std::fs::read(dir.join("results.json")).unwrap()).unwrap();
        let meta = &results["oracle"];
        let checkpoint = oracle.join("ckpt").join(meta["checkpoint"].as_str().unwrap());
        let tokenizer = Tokenizer::from_file(checkpoint.join("tokenizer.json")).unwrap();
        let bos = meta["prefix_token_id"].as_u64().unwrap() as u32;
        let max_length = meta["max_length"].as_u64().unwrap() as usize;
        let requests = jsonl::read(&dir.join("requests.jsonl")).unwrap();
        let recorded = requests
            .iter()
            .map(|row| {
                let request = request(row);
                let seen = request.visible_context(max_length).to_vec();
                ((seen, request.cont_ids), (row["ll"].as_f64().unwrap(), row["greedy"].as_bool().unwrap()))
            })
            .collect();
        let bos_text = tokenizer.id_to_token(bos).unwrap();
        let replay = Self { tokenizer, bos, bos_text, max_length, recorded, unknown: Mutex::new(0) };
        (replay, requests, results)
    }
}

impl LanguageModel for Replay {
    fn encode(&self, text: &str, add_special: bool) -> Result<Vec<u32>, Error> {
        let encoding = self.tokenizer.encode(text, add_special).map_err(Error::Model)?;
        Ok(encoding.get_ids().to_vec())
    }
    fn bos(&self) -> Option<u32> {
        Some(self.bos)
    }
    fn bos_text(&self) -> Option<&str> {
        Some(&self.bos_text)
    }
    fn eos(&self) -> Option<u32> {
        None
    }
    fn max_length(&self) -> usize {
        self.max_length
    }
    fn score(&self, context: &[u32], continuation: &[u32]) -> Result<Score, Error> {
        let answer = self.recorded.get(&(context.to_vec(), continuation.to_vec()));
        let (ll, greedy) = *answer.unwrap_or_else(|| {
            *self.unknown.lock().unwrap() += 1;
            &(-1.0, false)
        });
        Ok(Score { logprobs: vec![ll], greedy })
    }
}

/// The reference's data under the names that our tasks look for.
fn data(oracle: &Path, paper: bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (from, to) in [
        ("arc_easy", "arc_easy-test"),
        ("arc_train", "arc_easy-train"),
        ("arc_challenge", "arc_challenge-test"),
        ("arc_train", "arc_challenge-train"),
        ("hellaswag", "hellaswag-validation"),
        ("hellaswag_train", "hellaswag-train"),
        ("boolq", "boolq-validation"),
        ("boolq_train", "boolq-train"),
        ("openbookqa", "openbookqa"),
        ("piqa", "piqa-validation"),
        ("piqa_train", "piqa-train"),
        ("winogrande", "winogrande-validation"),
        ("winogrande_train", "winogrande-train"),
        ("lambada", "lambada"),
        ("wikitext", "wikitext"),
    ] {
        let mut text = std::fs::read_to_string(oracle.join(format!("data/{from}.jsonl"))).unwrap();
        if paper && from == "winogrande" {
            // Left out of the recording: its continuation is a blank, of which stripping leaves nothing.
            text =
                text.lines().enumerate().filter(|(i, _)| *i != 13).map(|(_, l)| format!("{l}\n")).collect();
        }
        std::fs::write(folder.path().join(format!("{to}.jsonl")), text).unwrap();
    }
    folder
}

fn replay(oracle: &Path, run: &str) -> (ModelResults, Vec<Value>, Value) {
    let (model, requests, results) = Replay::open(oracle, run);
    let meta = &results["oracle"];
    let paper = run.split('.').next_back() == Some("paper");
    let options = EvalOptions {
        name: run.into(),
        preset: if paper { Preset::Paper } else { Preset::LmEval },
        num_fewshot: meta["shots"].as_u64().map(|n| n as usize),
        add_bos: meta["kwargs"]["add_bos_token"].as_str().map(|flag| flag == "True"),
        ..EvalOptions::default()
    };
    let names = results["results"].as_object().unwrap().keys();
    let names: Vec<String> = names.map(|name| name.trim_start_matches("mini_").to_owned()).collect();
    let tasks = find_tasks(&names, None).unwrap();
    let data = data(oracle, paper);
    let ours = evaluate(&model, &tasks, &DataSource::folder(data.path()), &options, &()).unwrap();
    assert_eq!(*model.unknown.lock().unwrap(), 0, "{run}: requests that lm-eval never made");
    (ours, requests, results)
}

/// lm-eval's requests of one task, in its order: tasks run one after another, windows are recorded apart.
fn recorded(oracle: &Path, run: &str, task: &str, requests: &[Value]) -> Vec<Request> {
    if task == "wikitext" {
        return requests.iter().filter(|r| r["kind"] == "rolling_window").map(request).collect();
    }
    let dir = oracle.join("results").join(run);
    let results: Value = serde_json::from_slice(&std::fs::read(dir.join("results.json")).unwrap()).unwrap();
    let count = |task: &str| -> usize {
        let samples = jsonl::read(&dir.join(format!("samples_{task}.jsonl"))).unwrap();
        samples.iter().map(|s| s["arguments"].as_array().unwrap().len()).sum()
    };
    let wanted = format!("mini_{task}");
    let order = results["results"].as_object().unwrap();
    let skipped: usize = order.keys().take_while(|t| **t != wanted).map(|t| count(t)).sum();
    requests
        .iter()
        .filter(|r| r["kind"] == "loglikelihood")
        .skip(skipped)
        .take(count(&wanted))
        .map(request)
        .collect()
}

fn check(run: &str) {
    let Some(oracle) = oracle() else { return };
    let (ours, requests, results) = replay(&oracle, run);
    for task in &ours.tasks {
        let name = &task.task.task;
        let made: Vec<&Request> =
            task.documents.iter().flat_map(|d| &d.samples).map(|s| &s.request).collect();
        let theirs = recorded(&oracle, run, name, &requests);
        assert!(!theirs.is_empty() && made.len() == theirs.len(), "{run} {name}: number of requests");
        for (i, (a, b)) in made.into_iter().zip(&theirs).enumerate() {
            assert_eq!(a, b, "{run} {name} request {i}");
        }
        let theirs = &results["results"][format!("mini_{name}")];
        assert_eq!(theirs["sample_len"], task.documents.len());
        for m in task.metrics() {
            let key = m.metric.name();
            let value = theirs[format!("{key},none")].as_f64().unwrap();
            let stderr = theirs[format!("{key}_stderr,none")].as_f64();
            // The same sums in the same order; only exp of the C library may differ in its last digit.
            let bound = if m.metric.higher_is_better() { 0.0 } else { 1e-12 * value };
            assert!((m.value - value).abs() <= bound, "{run} {name} {key}: {} and {value}", m.value);
            if m.metric != Metric::Perplexity {
                assert_eq!(m.stderr, stderr, "{run} {name} {key}");
                continue;
            }
            // The recorded runs differ in the number of resamples.
            let resamples = results["config"]["bootstrap_iters"].as_u64().unwrap() as usize;
            let ll: Vec<f64> = task.documents.iter().map(Document::loglikelihood).collect();
            let (ours, theirs) = (perplexity_stderr(&ll, resamples).unwrap(), stderr.unwrap());
            assert!((ours / theirs - 1.0).abs() <= 1e-12, "{run} {name}: {ours} and {theirs}");
        }
    }
}

#[test]
fn tiny_llama() {
    check("tiny-llama-f16.float32");
}

#[test]
fn tiny_llama_without_bos() {
    check("tiny-llama-f16.float32.nobos");
}

#[test]
fn llama_gqa() {
    check("llama-gqa-f16.float32");
}

#[test]
fn llama_gqa_without_bos() {
    check("llama-gqa-f16.float32.nobos");
}

#[test]
fn llama_gqa_with_a_context_of_64_tokens() {
    check("llama-gqa-f16.float32.max64");
}

#[test]
fn two_examples_before_each_question() {
    check("tiny-llama-f16.float32.2shot");
    check("llama-gqa-f16.float32.2shot");
}

#[test]
fn preset_paper() {
    check("tiny-llama-f16.float32.paper");
    check("tiny-b158-f16.f64.paper");
}

/// The reference's own task files, which include lm-eval's: where those name a Python function, ours stand in.
#[test]
fn task_files_of_lm_eval() {
    let Some(oracle) = oracle() else { return };
    let (model, _, results) = Replay::open(&oracle, "tiny-llama-f16.float32.2shot");
    let folder = tempfile::tempdir().unwrap();
    for entry in std::fs::read_dir(oracle.join("tasks")).unwrap() {
        let path = entry.unwrap().path();
        let text = std::fs::read_to_string(&path).unwrap();
        let name = path.file_stem().unwrap().to_str().unwrap().trim_start_matches("mini_");
        let rest = text.split_once('\n').unwrap().1;
        std::fs::write(folder.path().join(format!("{name}.yaml")), format!("include: {name}.yaml\n{rest}"))
            .unwrap();
    }
    let names: Vec<String> = results["results"].as_object().unwrap().keys().cloned().collect();
    let tasks = find_tasks(&names, Some(folder.path())).unwrap();
    let options = EvalOptions { num_fewshot: Some(2), ..EvalOptions::default() };
    let data = DataSource::folder(oracle.join("data"));
    let ours = evaluate(&model, &tasks, &data, &options, &()).unwrap();
    assert_eq!(*model.unknown.lock().unwrap(), 0, "requests that lm-eval never made");
    for task in ours.tasks {
        let value = task.metric(Metric::Acc).unwrap().value;
        assert_eq!(json!(value), results["results"][&task.task.task]["acc,none"]);
    }
}

#[test]
fn other_tokenizers_and_precisions() {
    for run in ["bitnet-2b4t-bf16.f64", "bitnet-2b4t-bf16.float32", "tiny-b158-f16.f64", "tiny-llama-f16.f64"]
    {
        check(run);
    }
}

#[test]
fn threads_do_not_matter() {
    let Some(oracle) = oracle() else { return };
    let on = |threads| {
        let pool = rayon::ThreadPoolBuilder::new().num_threads(threads).build().unwrap();
        pool.install(|| replay(&oracle, "tiny-llama-f16.float32").0)
    };
    let (one, three) = (on(1), on(3));
    assert_eq!(one, three);
    assert_eq!(one.digest(), three.digest());
}
