//! A gate for CI: results against a baseline that was committed.
//!
//! ```text
//!   every sample has the bits of the baseline            equal          passes
//!   no metric is worse than a stated bound allows        within bounds  passes
//!   anything else                                        differs        fails, and names the first document
//! ```
//!
//! A baseline is small: digests, metrics, and for each document the first four hexadecimal digits of its SHA-256,
//! which say where two runs part without the samples themselves. (One document in 65,536 that differs is passed over so;
//! that something differs is known from the digest of the task, which is whole.)
//!
//! ```text
//!   {
//!     "baseline": 1,
//!     "suite": "quick", "suite_sha256": ..,
//!     "bounds": {"perplexity_ratio": 1.001, "accuracy": 0.0},      optional; without them only equal bits pass
//!     "models": [{"name": .., "model_sha256": .., "digest": .., "tasks": [
//!       {"task": .., "task_sha256": .., "data_sha256": .., "digest": .., "metrics": {"acc": 0.5}, "documents": "9f3a.."}
//!     ]}]
//!   }
//! ```

use std::path::Path;

use b158_checkpoint::write_file;
use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

use crate::compare::Margins;
use crate::digest::{digest, document_digest};
use crate::results::{Document, ModelResults, Sample, SuiteResults, TaskResults};
use crate::{Error, Metric};

/// Version of the file's form.
const FORMAT: u32 = 1;
/// Digits of a document's hash.
const DIGITS: usize = 4;

/// What results are checked against.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Baseline {
    #[serde(rename = "baseline")]
    format: u32,
    /// The suite's name.
    pub suite: String,
    /// What was asked: see [`SuiteResults::suite_sha256`].
    pub suite_sha256: String,
    /// How much worse a metric may be.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bounds: Option<Margins>,
    models: Vec<BaselineModel>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BaselineModel {
    name: String,
    model_sha256: String,
    digest: String,
    tasks: Vec<BaselineTask>,
}

#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct BaselineTask {
    task: String,
    task_sha256: String,
    data_sha256: String,
    digest: String,
    metrics: Map<String, Value>,
    /// Hashes of the documents, one after the other.
    documents: String,
}

impl Baseline {
    /// The baseline that these results are.
    pub fn of(results: &SuiteResults, bounds: Option<Margins>) -> Self {
        let of_task = |t: &TaskResults| BaselineTask {
            task: t.task.task.clone(),
            task_sha256: t.task.sha256(),
            data_sha256: t.data_sha256.clone(),
            digest: digest(std::slice::from_ref(t)),
            metrics: t.metrics().iter().map(|m| (m.metric.name().to_owned(), json!(m.value))).collect(),
            documents: t.documents.iter().map(hash).collect(),
        };
        let of_model = |m: &ModelResults| BaselineModel {
            name: m.name.clone(),
            model_sha256: m.model_sha256.clone(),
            digest: m.digest(),
            tasks: m.tasks.iter().map(of_task).collect(),
        };
        Self {
            format: FORMAT,
            suite: results.suite.clone(),
            suite_sha256: results.suite_sha256(),
            bounds,
            models: results.models.iter().map(of_model).collect(),
        }
    }

    /// Reads a baseline.
    ///
    /// # Errors
    /// [`Error::Read`]; [`Error::Config`] for a file that is none, or has bounds that make no sense.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
        let bad = |message: String, hint: &str| Error::Config {
            file: path.display().to_string(),
            message,
            hint: hint.into(),
        };
        let remake = "make it with `b158 check DIR --write FILE`";
        let baseline: Self =
            serde_json::from_str(&text).map_err(|e| bad(format!("not a baseline: {e}"), remake))?;
        if baseline.format != FORMAT {
            let message = format!("a baseline of form {}, this program knows {FORMAT}", baseline.format);
            return Err(bad(message, remake));
        }
        if let Some(bounds) = baseline.bounds {
            bounds.check().map_err(|(message, hint)| bad(message, hint))?;
        }
        Ok(baseline)
    }

    /// Writes it.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn write(&self, path: &Path) -> Result<(), Error> {
        let text = serde_json::to_string_pretty(self).expect("plain values");
        Ok(write_file(path, format!("{text}\n").as_bytes())?)
    }
}

fn hash(document: &Document) -> String {
    document_digest(document)[..DIGITS].to_owned()
}

/// How results stand to their baseline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize)]
#[serde(rename_all = "snake_case")]
pub enum State {
    /// The same bits.
    Equal,
    /// Other bits, but no metric is worse than allowed.
    WithinBounds,
    /// Other bits.
    Differs,
}

/// What a check found.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Check {
    /// The suite of the results.
    pub suite: String,
    /// Whether no task differs.
    pub passed: bool,
    /// How much worse a metric may be.
    pub bounds: Option<Margins>,
    /// Every task of every model of the baseline.
    pub tasks: Vec<TaskCheck>,
    /// What is worth knowing beside: other margins, models that the baseline does not have.
    pub notes: Vec<String>,
}

/// One task of one model.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct TaskCheck {
    /// The model's name.
    pub model: String,
    /// The task's name.
    pub task: String,
    /// How it stands.
    pub state: State,
    /// Why it cannot be compared at all, or what it was computed from that is not as in the baseline.
    pub reasons: Vec<String>,
    /// The metrics, if it is not equal.
    pub metrics: Vec<MetricCheck>,
    /// Where the samples part.
    pub first: Option<Difference>,
}

/// One metric.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct MetricCheck {
    /// Which.
    pub metric: Metric,
    /// Its value in the baseline; none if it is not finite.
    pub baseline: Option<f64>,
    /// Its value now.
    pub now: f64,
    /// Of accuracies now - baseline, otherwise now / baseline.
    pub change: Option<f64>,
    /// Whether that is within the bounds; none without bounds.
    pub holds: Option<bool>,
}

/// The first document that differs.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Difference {
    /// Its index.
    pub document: usize,
    /// Index of its first request that differs, if the baseline's samples are at hand.
    pub request: Option<usize>,
    /// What the baseline has there, likewise.
    pub baseline: Option<Vec<Scored>>,
    /// What the results have there: that request, or all of the document; none if they end before.
    pub now: Option<Vec<Scored>>,
    /// Whether the token ids are the same, if the baseline's samples are at hand.
    pub same_ids: Option<bool>,
}

/// A scored request in short.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct Scored {
    /// In nats.
    pub loglikelihood: f64,
    /// Its bits, in hexadecimal.
    pub bits: String,
    /// How many token ids were read first, and scored.
    pub ids: (usize, usize),
}

impl From<&Sample> for Scored {
    fn from(sample: &Sample) -> Self {
        Self {
            loglikelihood: sample.loglikelihood,
            bits: format!("{:016x}", sample.loglikelihood.to_bits()),
            ids: (sample.request.ctx_ids.len(), sample.request.cont_ids.len()),
        }
    }
}

/// Checks results against a baseline; `samples` are those that the baseline was made of, if they are at hand.
pub fn check(results: &SuiteResults, baseline: &Baseline, samples: Option<&SuiteResults>) -> Check {
    let mut tasks = Vec::new();
    let mut notes = Vec::new();
    if results.suite != baseline.suite {
        notes.push(format!("the suite is '{}', the baseline's '{}'", results.suite, baseline.suite));
    }
    for theirs in &baseline.models {
        let ours = results.model(&theirs.name);
        let samples = samples.and_then(|samples| samples.model(&theirs.name));
        for task in &theirs.tasks {
            tasks.push(check_task(theirs, task, ours, samples, baseline.bounds));
        }
        // The order of tasks is in the digest, and in no task.
        let all_equal = tasks.iter().all(|t| t.model != theirs.name || t.state == State::Equal);
        if let Some(ours) = ours
            && all_equal
            && ours.digest() != theirs.digest
        {
            notes
                .push(format!("model '{}' has more tasks than the baseline, or in another order", ours.name));
        }
    }
    for model in &results.models {
        if !baseline.models.iter().any(|theirs| theirs.name == model.name) {
            notes.push(format!("model '{}' is not in the baseline", model.name));
        }
    }
    let all_equal = tasks.iter().all(|task| task.state == State::Equal);
    if notes.is_empty() && all_equal && results.suite_sha256() != baseline.suite_sha256 {
        let what = "margins, settings, or the files of models, tasks or data are not those of the baseline";
        notes.push(format!("suite_sha256 differs: {what}"));
    }
    let passed = !tasks.is_empty() && tasks.iter().all(|task| task.state != State::Differs);
    Check { suite: results.suite.clone(), passed, bounds: baseline.bounds, tasks, notes }
}

fn check_task(
    model: &BaselineModel,
    theirs: &BaselineTask,
    ours: Option<&ModelResults>,
    samples: Option<&ModelResults>,
    bounds: Option<Margins>,
) -> TaskCheck {
    let mut found = TaskCheck {
        model: model.name.clone(),
        task: theirs.task.clone(),
        state: State::Differs,
        reasons: Vec::new(),
        metrics: Vec::new(),
        first: None,
    };
    let of_name = |tasks: &'_ [TaskResults]| tasks.iter().position(|t| t.task.task == theirs.task);
    let Some(ours) = ours else {
        found.reasons.push("the results lack this model".into());
        return found;
    };
    let Some(task) = of_name(&ours.tasks).map(|i| &ours.tasks[i]) else {
        found.reasons.push("the results lack this task".into());
        return found;
    };
    if digest(std::slice::from_ref(task)) == theirs.digest {
        found.state = State::Equal;
        return found;
    }
    let documents = theirs.documents.len() / DIGITS;
    let other = [
        ("the model's files", model.model_sha256 != ours.model_sha256),
        ("the task's definition", theirs.task_sha256 != task.task.sha256()),
        ("the data", theirs.data_sha256 != task.data_sha256),
    ];
    found
        .reasons
        .extend(other.iter().filter(|(_, differ)| *differ).map(|(what, _)| format!("{what} changed")));
    if documents != task.documents.len() {
        found.reasons.push(format!("{} documents instead of {documents}", task.documents.len()));
    }
    for m in task.metrics() {
        if let Some(value) = theirs.metrics.get(m.metric.name()) {
            found.metrics.push(check_metric(m.metric, value.as_f64(), m.value, bounds));
        }
    }
    // Over other documents a metric is another one.
    let comparable = documents == task.documents.len() && found.metrics.len() == theirs.metrics.len();
    if comparable && !found.metrics.is_empty() && found.metrics.iter().all(|m| m.holds == Some(true)) {
        found.state = State::WithinBounds;
    }
    let with_samples = samples.and_then(|model| of_name(&model.tasks).map(|i| &model.tasks[i]));
    found.first = first_difference(task, &theirs.documents, with_samples);
    found
}

fn check_metric(metric: Metric, baseline: Option<f64>, now: f64, bounds: Option<Margins>) -> MetricCheck {
    let up = metric.higher_is_better();
    let change = baseline.map(|b| if up { now - b } else { now / b });
    let holds = bounds.map(|bounds| {
        // Of the last digits of decimal shares, so that 0.51 - 0.50 is not more than 0.01.
        const SLACK: f64 = 1e-12;
        change.is_some_and(|change| {
            if up { change >= -bounds.accuracy - SLACK } else { change <= bounds.perplexity_ratio + SLACK }
        })
    });
    MetricCheck { metric, baseline, now, change, holds }
}

fn first_difference(task: &TaskResults, hashes: &str, samples: Option<&TaskResults>) -> Option<Difference> {
    let their_count = hashes.len() / DIGITS;
    let differs = |i: &usize| {
        let theirs = hashes.get(i * DIGITS..(i + 1) * DIGITS);
        task.documents.get(*i).map(hash).as_deref() != theirs
    };
    let differs_in_samples = |i: &usize| match samples {
        Some(samples) => {
            samples.documents.get(*i).map(document_digest) != task.documents.get(*i).map(document_digest)
        }
        None => false,
    };
    let at = (0..their_count.max(task.documents.len())).find(|i| differs(i) || differs_in_samples(i))?;
    let scored = |samples: &[Sample]| samples.iter().map(Scored::from).collect::<Vec<_>>();
    let ours = task.documents.get(at);
    let mut difference = Difference {
        document: ours.map_or(at, |document| document.id),
        request: None,
        baseline: None,
        now: ours.map(|document| scored(&document.samples)),
        same_ids: None,
    };
    let (Some(ours), Some(theirs)) = (ours, samples.and_then(|samples| samples.documents.get(at))) else {
        return Some(difference);
    };
    let same = |a: &Sample, b: &Sample| {
        a.request.ctx_ids == b.request.ctx_ids && a.request.cont_ids == b.request.cont_ids
    };
    let bits = |sample: &Sample| sample.loglikelihood.to_bits();
    let longest = ours.samples.len().max(theirs.samples.len());
    let request = (0..longest).find(|i| match (ours.samples.get(*i), theirs.samples.get(*i)) {
        (Some(a), Some(b)) => !same(a, b) || bits(a) != bits(b),
        _ => true,
    });
    if let Some(i) = request {
        let one = |document: &Document| scored(document.samples.get(i..=i).unwrap_or_default());
        difference.request = Some(i);
        difference.baseline = Some(one(theirs));
        difference.now = Some(one(ours));
        difference.same_ids = Some(match (ours.samples.get(i), theirs.samples.get(i)) {
            (Some(a), Some(b)) => same(a, b),
            _ => false,
        });
    }
    Some(difference)
}

#[cfg(test)]
mod tests {
    use super::State::{Differs, Equal, WithinBounds};
    use super::*;
    use crate::results::{Outcome, tests::suite};

    fn bounds(perplexity_ratio: f64, accuracy: f64) -> Margins {
        Margins { perplexity_ratio, accuracy }
    }

    /// Results whose third document of the first task, and second page of the second, got other log-likelihoods.
    fn changed() -> SuiteResults {
        let mut results = suite();
        results.models[1].tasks[0].documents[2].samples[1].loglikelihood = -0.05;
        results.models[1].tasks[0].documents[2].outcome =
            Outcome::Choice { gold: 0, correct: vec![false; 2] };
        results.models[1].tasks[1].documents[1].samples[0].loglikelihood = -51.0;
        // Copies start without metrics.
        results.clone()
    }

    #[test]
    fn equal_bits_pass() {
        let check = check(&suite(), &Baseline::of(&suite(), None), None);
        assert!(check.passed && check.notes.is_empty());
        assert_eq!(check.tasks.len(), 6);
        assert!(check.tasks.iter().all(|task| task.state == Equal));
        // Equal answers to another question: margins are fixed before the evaluation.
        let wider = SuiteResults { margins: bounds(2.0, 0.5), ..suite() };
        let check = super::check(&wider, &Baseline::of(&suite(), None), None);
        assert!(check.passed && check.notes.len() == 1, "{:?}", check.notes);
        assert!(check.notes[0].starts_with("suite_sha256 differs: margins"), "{:?}", check.notes);
    }

    #[test]
    fn the_first_document_that_differs_is_named() {
        let check = check(&changed(), &Baseline::of(&suite(), None), None);
        assert!(!check.passed);
        let differ: Vec<_> = check.tasks.iter().filter(|task| task.state == Differs).collect();
        assert_eq!(differ.len(), 2);
        let first = differ[0].first.as_ref().unwrap();
        assert_eq!((first.document, first.request), (2, None));
        assert_eq!(first.now.as_ref().unwrap()[1].loglikelihood, -0.05);
        assert_eq!(differ[1].first.as_ref().unwrap().document, 1);
    }

    #[test]
    fn with_samples_at_hand_both_values_are_shown() {
        let check = check(&changed(), &Baseline::of(&suite(), None), Some(&suite()));
        let first = check.tasks[3].first.clone().unwrap();
        assert_eq!((first.document, first.request, first.same_ids), (2, Some(1), Some(true)));
        assert_eq!(first.now.unwrap()[0].bits, format!("{:016x}", (-0.05_f64).to_bits()));
        assert_eq!(first.baseline.unwrap()[0].loglikelihood, -0.3);
        let mut other = suite();
        other.models[0].tasks[0].documents[0].samples[0].request.ctx_ids[0] ^= 1;
        let check = super::check(&other, &Baseline::of(&suite(), None), Some(&suite()));
        assert_eq!(check.tasks[0].first.as_ref().unwrap().same_ids, Some(false));
    }

    #[test]
    fn bounds_are_about_getting_worse() {
        let state = |results: &SuiteResults, bounds| {
            let check = check(results, &Baseline::of(&suite(), bounds), None);
            (check.tasks[3].state, check.tasks[4].state)
        };
        // One of three answers was lost; half a nat of 151 over 80 words, or 160 bytes.
        assert_eq!(state(&changed(), None), (Differs, Differs));
        assert_eq!(state(&changed(), Some(bounds(1.02, 0.34))), (WithinBounds, WithinBounds));
        assert_eq!(state(&changed(), Some(bounds(1.02, 0.33))), (Differs, WithinBounds));
        assert_eq!(state(&changed(), Some(bounds(1.001, 0.34))), (WithinBounds, Differs));
        assert_eq!(state(&suite(), Some(bounds(1.0, 0.0))), (Equal, Equal));
        // Better is always within bounds.
        let check = check(&suite(), &Baseline::of(&changed(), Some(bounds(1.0, 0.0))), None);
        assert!(check.passed && check.tasks[3].state == WithinBounds);
    }

    #[test]
    fn what_is_missing_differs_and_what_is_more_is_noted() {
        let mut results = suite();
        results.models[0].tasks.remove(1);
        results.models[1].name = "other".into();
        let found = check(&results, &Baseline::of(&suite(), Some(bounds(2.0, 0.9))), None);
        let reasons: Vec<_> = found.tasks.iter().map(|t| t.reasons.join("; ")).collect();
        let model = "the results lack this model";
        assert_eq!(reasons, ["", "the results lack this task", "", model, model, model]);
        assert_eq!(found.notes, ["model 'other' is not in the baseline"]);
        // Fewer documents are not within any bounds.
        let mut results = suite();
        results.models[0].tasks[0].documents.pop();
        let found = check(&results, &Baseline::of(&suite(), Some(bounds(2.0, 0.9))), None);
        assert_eq!((found.tasks[0].state, found.passed), (Differs, false));
        assert_eq!(found.tasks[0].reasons, ["2 documents instead of 3"]);
        assert_eq!(found.tasks[0].first.as_ref().unwrap().now, None);
        let mut more = suite();
        let first = more.models[0].tasks[0].clone();
        more.models[0].tasks.push(first);
        assert_eq!(check(&more, &Baseline::of(&suite(), None), None).notes.len(), 1);
    }

    #[test]
    fn a_baseline_reads_back_and_bad_ones_are_named() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("b.json");
        let baseline = Baseline::of(&suite(), Some(bounds(1.01, 0.0)));
        baseline.write(&path).unwrap();
        assert_eq!(Baseline::read(&path).unwrap(), baseline);
        let text = std::fs::read_to_string(&path).unwrap();
        let message = |from: &str, to: &str| {
            assert!(text.contains(from));
            std::fs::write(&path, text.replace(from, to)).unwrap();
            Baseline::read(&path).unwrap_err().to_string().replace(&dir.path().display().to_string(), "DIR")
        };
        insta::assert_snapshot!(message("\"baseline\": 1", "\"baseline\": 2"), @r"
        DIR/b.json: a baseline of form 2, this program knows 1
        hint: make it with `b158 check DIR --write FILE`
        ");
        insta::assert_snapshot!(message("1.01", "0.5"), @r"
        DIR/b.json: margin perplexity_ratio is 0.5
        hint: it is a ratio of at least 1, for instance 1.02
        ");
        insta::assert_snapshot!(message("\"suite\"", "\"siute\""), @r"
        DIR/b.json: not a baseline: unknown field `siute`, expected one of `baseline`, `suite`, `suite_sha256`, `bounds`, `models` at line 3 column 9
        hint: make it with `b158 check DIR --write FILE`
        ");
    }

    #[test]
    fn the_form_of_a_baseline() {
        let mut one = suite();
        one.models.truncate(1);
        one.models[0].tasks.truncate(1);
        insta::assert_snapshot!(serde_json::to_string_pretty(&Baseline::of(&one, None)).unwrap(), @r#"
        {
          "baseline": 1,
          "suite": "desk",
          "suite_sha256": "63095a22814220fe0a3a3239a04378b876a08f2ed1e9d1782ef4701fd3149596",
          "models": [
            {
              "name": "fp16",
              "model_sha256": "5555555555555555555555555555555555555555555555555555555555555555",
              "digest": "a0a6b7e41daf19b55b0ac0842c4a143074332f76b31dfb72117dc3bd0fccd9aa",
              "tasks": [
                {
                  "task": "arc_easy",
                  "task_sha256": "946a43d414eab8a8021b099875eb62ec52bf05f6e8f6782a8dfc7c58c6c6ada1",
                  "data_sha256": "",
                  "digest": "a0a6b7e41daf19b55b0ac0842c4a143074332f76b31dfb72117dc3bd0fccd9aa",
                  "metrics": {
                    "acc": 0.6666666666666666,
                    "acc_norm": 0.6666666666666666
                  },
                  "documents": "a93f663d8773"
                }
              ]
            }
          ]
        }
        "#);
    }
}
