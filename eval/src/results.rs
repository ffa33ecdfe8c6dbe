//! Results in memory, and as JSON.
//!
//! ```text
//!   {
//!     "suite":   NAME,
//!     "margins": {"perplexity_ratio": 1.02, "accuracy": 0.01},
//!     "results": {MODEL: {TASK: {"acc,none": 0.9, "acc_stderr,none": 0.05, ...}}},
//!     "models":  {MODEL: a document in lm-eval's schema: results, configs, versions, n-shot, higher_is_better,
//!                 n-samples, config; and ours: truncated (prompts longer than the context, whose beginning was cut
//!                 off), model_sha256, data_sha256 of each task, examples_sha256 of tasks with examples, digest},
//!     "digest":  {MODEL: 64 hexadecimal digits},
//!     "suite_sha256": what was asked: SHA-256 over suite, margins, models, settings, tasks and data
//!   }
//! ```
//!
//! One file holds all models of a suite, so that a comparison needs one folder; "models" has, per model, exactly
//! what lm-eval would have written, so that its readers can be pointed there. "results" repeats the numbers at the
//! place where one looks first. Metrics without a standard error have "N/A", as in lm-eval; a perplexity too large
//! for a float is null. Nothing in it depends on time, machine or threads. [`folder`](crate::folder) writes and reads it.

use std::sync::OnceLock;

use b158_datasets::table::sha256;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::average::mean_perplexity;
use crate::compare::Margins;
use crate::digest::digest;
use crate::evaluate::Preset;
use crate::lm_eval_bootstrap::{RESAMPLES, perplexity_stderr};
use crate::metrics::{Corpus, Metric, MetricValue, accuracy, perplexity};
use crate::request::Request;
use crate::task::Task;

/// The harness whose rules the results follow.
const HARNESS: &str = "0.4.13";

/// A scored request.
#[derive(Debug, Clone, PartialEq)]
pub struct Sample {
    /// What was scored.
    pub request: Request,
    /// Sum of the log-probabilities of the continuation's tokens, in nats.
    pub loglikelihood: f64,
    /// Whether every token of the continuation is the argmax.
    pub greedy: bool,
}

/// What a document contributes to the metrics.
#[derive(Debug, Clone, PartialEq)]
pub enum Outcome {
    /// Of a multiple-choice task.
    Choice {
        /// Index of the right choice.
        gold: usize,
        /// Whether each metric of the task, in its order, took the right choice.
        correct: Vec<bool>,
    },
    /// Of a task that scores one continuation: its sample says everything.
    Continuation,
    /// Of a rolling task.
    Rolling {
        /// Words of the original text.
        words: u64,
        /// UTF-8 bytes of the original text.
        bytes: u64,
    },
}

/// A document's samples.
#[derive(Debug, Clone, PartialEq)]
pub struct Document {
    /// Its index in the data, from 0.
    pub id: usize,
    /// One per choice or window.
    pub samples: Vec<Sample>,
    /// What follows from them.
    pub outcome: Outcome,
}

impl Document {
    /// Sum of the samples' log-likelihoods, in their order.
    pub fn loglikelihood(&self) -> f64 {
        self.samples.iter().fold(0.0, |sum, sample| sum + sample.loglikelihood)
    }

    /// Number of tokens scored.
    pub fn tokens(&self) -> u64 {
        self.samples.iter().map(|sample| sample.request.cont_ids.len() as u64).sum()
    }
}

/// A task's results.
#[derive(Debug, Clone, PartialEq)]
pub struct TaskResults {
    /// The task's definition.
    pub task: Task,
    /// Number of documents that the data has, before any limit.
    pub original: usize,
    /// SHA-256 of all rows of the data, as 64 hexadecimal digits; empty if nobody computed it.
    pub data_sha256: String,
    /// SHA-256 of all rows that examples before the questions are drawn from; empty without examples.
    pub examples_sha256: String,
    /// The evaluated documents, in the order of the data.
    pub documents: Vec<Document>,
    /// The metrics, once they are computed.
    metrics: Once,
}

/// Metrics that follow from the documents: they do not count in comparisons, and a copy, whose documents may be
/// changed, starts without.
#[derive(Debug, Default)]
struct Once(OnceLock<Vec<MetricValue>>);

impl Clone for Once {
    fn clone(&self) -> Self {
        Self::default()
    }
}

impl PartialEq for Once {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl TaskResults {
    /// Results of a task on these documents, of `original` that its data has.
    pub fn new(task: Task, original: usize, documents: Vec<Document>) -> Self {
        let (data_sha256, examples_sha256) = Default::default();
        Self { task, original, data_sha256, examples_sha256, documents, metrics: Once::default() }
    }

    /// With the SHA-256 of the data, and of those that examples are drawn from.
    pub(crate) fn of_data(self, data_sha256: String, examples_sha256: String) -> Self {
        Self { data_sha256, examples_sha256, ..self }
    }

    /// Number of prompts that are longer than a context of `max_length` tokens: the model did not see their beginning.
    pub fn truncated(&self, max_length: usize) -> usize {
        let samples = self.documents.iter().flat_map(|d| &d.samples);
        samples.filter(|sample| sample.request.is_truncated(max_length)).count()
    }

    /// The task's metrics, in the order of its file. They are computed once: documents are not to be changed after.
    pub fn metrics(&self) -> &[MetricValue] {
        self.metrics.0.get_or_init(|| self.compute_metrics())
    }

    /// The value and standard error of one of the task's metrics.
    pub fn metric(&self, metric: Metric) -> Option<MetricValue> {
        self.metrics().iter().find(|m| m.metric == metric).copied()
    }

    /// Documents that the task's metric of this index has right.
    pub(crate) fn right(&self, metric: usize) -> usize {
        self.documents.iter().filter(|d| d.correct(metric)).count()
    }

    fn compute_metrics(&self) -> Vec<MetricValue> {
        let corpus = self.corpus();
        let of_metric = |(index, metric): (usize, Metric)| {
            let (value, stderr) = if metric.higher_is_better() {
                accuracy(self.documents.iter().map(|d| d.correct(index)))
            } else if metric == Metric::Perplexity {
                let ll: Vec<f64> = self.documents.iter().map(Document::loglikelihood).collect();
                (perplexity(&ll), perplexity_stderr(&ll, RESAMPLES))
            } else {
                (metric.of_corpus(corpus), None)
            };
            MetricValue { metric, value, stderr }
        };
        self.task.metrics().enumerate().map(of_metric).collect()
    }

    fn corpus(&self) -> Corpus {
        let mut corpus = Corpus::default();
        for document in &self.documents {
            if let Outcome::Rolling { words, bytes } = document.outcome {
                corpus.loglikelihood += document.loglikelihood();
                corpus.words += words;
                corpus.bytes += bytes;
                corpus.tokens += document.tokens();
            }
        }
        corpus
    }
}

impl Document {
    /// Whether the task's metric of this index took the right choice, or the continuation is what the model would
    /// have written.
    pub(crate) fn correct(&self, metric: usize) -> bool {
        match &self.outcome {
            Outcome::Choice { correct, .. } => correct.get(metric) == Some(&true),
            Outcome::Continuation => self.samples.iter().all(|sample| sample.greedy),
            Outcome::Rolling { .. } => false,
        }
    }
}

/// What a model was evaluated with.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Settings {
    /// Prompting and scoring rules.
    pub preset: Preset,
    /// At most this many documents of each task.
    pub limit: Option<usize>,
    /// Whether special tokens were added; the tokenizer's own configuration decided if not given.
    #[serde(rename = "add_bos_token")]
    pub add_bos: Option<bool>,
    /// Longest input in tokens.
    pub max_length: usize,
}

impl Settings {
    /// Those that a log-likelihood follows from: how many documents there are is not one.
    pub(crate) fn of_scores(&self) -> Value {
        let mut settings = serde_json::to_value(self).expect("plain values");
        if let Some(fields) = settings.as_object_mut() {
            fields.shift_remove("limit");
        }
        settings
    }
}

/// A model's results.
#[derive(Debug, Clone, PartialEq)]
pub struct ModelResults {
    /// The model's name.
    pub name: String,
    /// SHA-256 of its weights, config and tokenizer, as 64 hexadecimal digits; empty if nobody computed it.
    pub model_sha256: String,
    /// What it was evaluated with.
    pub settings: Settings,
    /// One entry per task, in the suite's order.
    pub tasks: Vec<TaskResults>,
}

impl ModelResults {
    /// The result digest: see [`crate::digest`].
    pub fn digest(&self) -> String {
        digest(&self.tasks)
    }

    /// `{TASK: {"acc,none": ...}}`.
    pub fn metrics_json(&self) -> Value {
        self.by_task(|t| {
            let mut entry = Map::new();
            entry.insert("name".into(), json!(t.task.task));
            entry.insert("alias".into(), json!(t.task.task));
            entry.insert("sample_len".into(), json!(t.documents.len()));
            for m in t.metrics() {
                let name = m.metric.name();
                entry.insert(format!("{name},none"), json!(m.value));
                entry.insert(format!("{name}_stderr,none"), m.stderr.map_or(json!("N/A"), |s| json!(s)));
            }
            Value::Object(entry)
        })
    }

    /// The document that lm-eval would have written, with our digests.
    pub fn to_json(&self) -> Value {
        let mut document = Map::from_iter([("results".to_owned(), self.metrics_json())]);
        if let Value::Object(rest) = self.json_without_metrics() {
            document.extend(rest);
        }
        if let Some(mean) = mean_perplexity(self) {
            document.insert("mean_token_perplexity".into(), json!(mean));
        }
        document.insert("digest".into(), json!(self.digest()));
        Value::Object(document)
    }

    pub(crate) fn json_without_metrics(&self) -> Value {
        let with_examples = self.tasks.iter().filter(|t| !t.examples_sha256.is_empty());
        let examples: Map<String, Value> =
            with_examples.map(|t| (t.task.task.clone(), json!(t.examples_sha256))).collect();
        let mut config = Map::new();
        config.insert("model".into(), json!(self.name));
        if let Ok(Value::Object(settings)) = serde_json::to_value(&self.settings) {
            config.extend(settings);
        }
        let mut document = json!({
            "group_subtasks": {},
            "configs": self.by_task(|t| json!(t.task)),
            "versions": self.by_task(|t| json!(t.task.version)),
            "n-shot": self.by_task(|t| json!(t.task.shots())),
            "higher_is_better": self.by_task(|t| {
                t.task.metrics().map(|m| (m.name().to_owned(), json!(m.higher_is_better()))).collect()
            }),
            "n-samples": self.by_task(|t| json!({"original": t.original, "effective": t.documents.len()})),
            "truncated": self.by_task(|t| json!(t.truncated(self.settings.max_length))),
            "config": config,
            "lm_eval_version": HARNESS,
            "model_sha256": self.model_sha256,
            "data_sha256": self.by_task(|t| json!(t.data_sha256)),
        });
        if !examples.is_empty() {
            document["examples_sha256"] = Value::Object(examples);
        }
        document
    }

    fn by_task(&self, value: impl Fn(&TaskResults) -> Value) -> Value {
        self.tasks.iter().map(|t| (t.task.task.clone(), value(t))).collect()
    }
}

/// The results of all models of a suite.
#[derive(Debug, Clone, PartialEq)]
pub struct SuiteResults {
    /// What the suite fixed as parity, before the evaluation.
    pub margins: Margins,
    /// The suite's name.
    pub suite: String,
    /// One entry per model, in the suite's order; names differ.
    pub models: Vec<ModelResults>,
}

impl SuiteResults {
    /// The content of `results.json`, but for the checksum of the samples file.
    pub fn to_json(&self) -> Value {
        let by_model = |value: &dyn Fn(&ModelResults) -> Value| -> Value {
            self.models.iter().map(|m| (m.name.clone(), value(m))).collect()
        };
        json!({
            "suite": self.suite,
            "margins": self.margins,
            "results": by_model(&ModelResults::metrics_json),
            "models": by_model(&ModelResults::to_json),
            "digest": by_model(&|m| json!(m.digest())),
            "suite_sha256": self.suite_sha256(),
        })
    }

    /// SHA-256 over what was asked, as 64 hexadecimal digits: the suite's name and margins, each model's SHA-256 and
    /// settings, each task's definition, data and examples. The [`digest`](Self::digest) is over what was answered.
    pub fn suite_sha256(&self) -> String {
        let of_task = |t: &TaskResults| {
            let mut asked = json!({"task_sha256": t.task.sha256(), "data_sha256": t.data_sha256});
            if !t.examples_sha256.is_empty() {
                asked["examples_sha256"] = json!(t.examples_sha256);
            }
            asked
        };
        let of_model = |m: &ModelResults| {
            let asked =
                json!({"sha256": m.model_sha256, "settings": m.settings, "tasks": m.by_task(of_task)});
            (m.name.clone(), asked)
        };
        let models: Value = self.models.iter().map(of_model).collect();
        let asked = json!({"suite": self.suite, "margins": self.margins, "models": models});
        sha256(asked.to_string().as_bytes())
    }

    /// SHA-256 over the models' names and digests, as 64 hexadecimal digits: what two machines compare first.
    pub fn digest(&self) -> String {
        let lines = self.models.iter().map(|m| format!("{}\t{}\n", m.name, m.digest()));
        sha256(lines.collect::<String>().as_bytes())
    }

    /// Names of the tasks that have a metric, in the suite's order.
    pub fn tasks_with(&self, metric: Metric) -> Vec<String> {
        let tasks = self.models.first().map_or(&[][..], |model| &model.tasks);
        let with = tasks.iter().filter(|t| t.task.metrics().any(|m| m == metric));
        with.map(|t| t.task.task.clone()).collect()
    }

    /// The results of one model.
    pub fn model(&self, name: &str) -> Option<&ModelResults> {
        self.models.iter().find(|m| m.name == name)
    }
}

#[cfg(test)]
pub(crate) mod tests {
    use super::*;
    use crate::task::all_tasks;

    fn sample(document: usize, index: usize, loglikelihood: f64, texts: bool) -> Sample {
        let id = (10 * document + index) as u32;
        let text = |kind: &str| texts.then(|| format!("{kind} {document}.{index}"));
        Sample {
            request: Request {
                context: text("context"),
                continuation: text("choice"),
                ctx_ids: vec![1, id],
                cont_ids: vec![id, 2],
            },
            loglikelihood,
            greedy: index == 0,
        }
    }

    /// ARC-Easy with made-up log-likelihoods per choice and right choices; all choices are equally long.
    pub(crate) fn choice_task(rows: &[(&[f64], usize)]) -> TaskResults {
        let task = all_tasks(None).unwrap()["arc_easy"].clone();
        let document = |(id, (ll, gold)): (usize, &(&[f64], usize))| {
            let best = Metric::Acc.chosen(ll, &vec!["x".to_owned(); ll.len()]);
            Document {
                id,
                samples: ll.iter().enumerate().map(|(i, ll)| sample(id, i, *ll, true)).collect(),
                outcome: Outcome::Choice { gold: *gold, correct: vec![best == *gold; 2] },
            }
        };
        TaskResults::new(task, rows.len(), rows.iter().enumerate().map(document).collect())
    }

    /// LAMBADA with made-up log-likelihoods; whether each is what the model would have written.
    pub(crate) fn continuation_task(rows: &[(f64, bool)]) -> TaskResults {
        let task = all_tasks(None).unwrap()["lambada_openai"].clone();
        let document = |(id, (ll, greedy)): (usize, &(f64, bool))| Document {
            id,
            samples: vec![Sample { greedy: *greedy, ..sample(id, 0, *ll, true) }],
            outcome: Outcome::Continuation,
        };
        TaskResults::new(task, rows.len(), rows.iter().enumerate().map(document).collect())
    }

    /// WikiText with made-up documents: log-likelihood, words, bytes.
    pub(crate) fn rolling_task(rows: &[(f64, u64, u64)]) -> TaskResults {
        let task = all_tasks(None).unwrap()["wikitext"].clone();
        let document = |(id, (ll, words, bytes)): (usize, &(f64, u64, u64))| Document {
            id,
            samples: vec![sample(id, 0, *ll, false)],
            outcome: Outcome::Rolling { words: *words, bytes: *bytes },
        };
        TaskResults::new(task, rows.len(), rows.iter().enumerate().map(document).collect())
    }

    pub(crate) fn model(name: &str, tasks: Vec<TaskResults>) -> ModelResults {
        let settings = Settings { preset: Preset::LmEval, limit: None, add_bos: None, max_length: 256 };
        ModelResults { name: name.into(), model_sha256: "5".repeat(64), settings, tasks }
    }

    pub(crate) fn suite() -> SuiteResults {
        let tasks = |shift: f64| {
            vec![
                choice_task(&[(&[-1.0 + shift, -2.0], 0), (&[-3.0, -1.0], 0), (&[-0.1, -0.3], 0)]),
                rolling_task(&[(-100.0 + shift, 20, 100), (-50.5, 10, 60)]),
                continuation_task(&[(-2.0 + shift, true), (-1.5, false), (-0.25, true)]),
            ]
        };
        SuiteResults {
            margins: Margins::default(),
            suite: "desk".into(),
            models: vec![model("fp16", tasks(0.0)), model("b158", tasks(-0.25))],
        }
    }

    #[test]
    fn results_json_has_lm_evals_schema() {
        insta::assert_snapshot!(format!("{:#}", suite().to_json()));
    }
}
