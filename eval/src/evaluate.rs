//! Runs tasks on a model.
//!
//! ```text
//!   task + document --> requests --> log-likelihoods --> document result --> metrics
//!                       (in parallel, results in document order)
//! ```
//!
//! Nothing depends on the number of threads: every request is scored by itself and sums run in document order.

use b158_datasets::{DataSource, Dataset};
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::prepare::prepare;
use crate::request::{Encoder, Request};
use crate::results::{Document, ModelResults, Sample, Settings, TaskResults};
use crate::task::Task;
use crate::{Error, LanguageModel, ScoreRequest};

/// A named set of prompting and scoring rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// lm-evaluation-harness 0.4.13.
    #[default]
    LmEval,
    /// The pipeline of b1.58's authors: see [`crate::request`].
    Paper,
}

impl Preset {
    /// All presets.
    pub const ALL: [Self; 2] = [Self::LmEval, Self::Paper];

    /// Its name in suites and results.
    pub fn name(self) -> &'static str {
        match self {
            Self::LmEval => "lm-eval",
            Self::Paper => "paper",
        }
    }
}

/// How to evaluate.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct EvalOptions {
    /// The model's name in results.
    pub name: String,
    /// Prompting and scoring rules.
    pub preset: Preset,
    /// At most this many documents of each task, from the first one on.
    pub limit: Option<usize>,
    /// Examples before each question; the tasks' own number if not given.
    pub num_fewshot: Option<usize>,
    /// Whether the tokenizer adds its special tokens (usually BOS); its own configuration decides if not given.
    pub add_bos: Option<bool>,
    /// Longest input in tokens; the model's own if not given, and never more.
    pub max_length: Option<usize>,
}

/// Told about the progress of an evaluation; `()` ignores it. Calls come from several threads.
pub trait Progress: Sync {
    /// A task starts with so many requests.
    fn begin(&self, task: &str, requests: usize);
    /// One more request is done.
    fn advance(&self);
    /// The task is done.
    fn end(&self);
}

impl Progress for () {
    fn begin(&self, _: &str, _: usize) {}
    fn advance(&self) {}
    fn end(&self) {}
}

/// Evaluates a model on tasks.
///
/// # Errors
/// The first error in task and document order: missing data, a document that its task cannot use
/// ([`Error::Document`]), or a failure of the model ([`Error::Model`]).
pub fn evaluate(
    model: &dyn LanguageModel,
    tasks: &[Task],
    data: &DataSource,
    options: &EvalOptions,
    progress: &dyn Progress,
) -> Result<ModelResults, Error> {
    if options.limit == Some(0) || options.max_length == Some(0) || model.max_length() == 0 {
        let message = "a limit or context length of 0 leaves nothing to evaluate".into();
        return Err(Error::Config { file: "options".into(), message, hint: "leave it out".into() });
    }
    let max_length = options.max_length.map_or(model.max_length(), |n| n.min(model.max_length()));
    let settings =
        Settings { preset: options.preset, limit: options.limit, add_bos: options.add_bos, max_length };
    let encoder = Encoder::new(model, options.preset, options.add_bos.unwrap_or(true), max_length)?;
    let mut results = ModelResults { name: options.name.clone(), settings, tasks: Vec::new() };
    for task in tasks {
        let task = &task.under(options.preset, options.num_fewshot);
        results.tasks.push(run_task(model, task, data, &encoder, max_length, options.limit, progress)?);
    }
    Ok(results)
}

fn run_task(
    model: &dyn LanguageModel,
    task: &Task,
    data: &DataSource,
    encoder: &Encoder,
    max_length: usize,
    limit: Option<usize>,
    progress: &dyn Progress,
) -> Result<TaskResults, Error> {
    let split = task.split();
    let mut dataset = data.load(task.stem(split), split)?;
    let original = dataset.rows.len();
    dataset.rows.truncate(limit.unwrap_or(original));
    let documents = prepare(task, &dataset, data, encoder)?;
    let Dataset { rows, origin } = dataset;
    // Windows of packed texts count as documents.
    let original = if documents.len() == rows.len() { original } else { documents.len() };
    let refused = |document: usize, (message, hint): (String, String)| Error::Document {
        task: task.task.clone(),
        document,
        origin: origin.clone(),
        message,
        hint,
    };
    progress.begin(&task.task, documents.iter().map(|d| d.requests.len()).sum());
    let scored: Vec<Result<Vec<(f64, bool)>, Error>> = documents
        .par_iter()
        .map(|document| {
            let result = score(model, &document.requests, max_length);
            document.requests.iter().for_each(|_| progress.advance());
            result
        })
        .collect();
    progress.end();

    let mut results = TaskResults::new(task.clone(), original, Vec::new());
    for (id, (document, scores)) in documents.into_iter().zip(scored).enumerate() {
        let mut samples = Vec::with_capacity(document.requests.len());
        for (request, (loglikelihood, greedy)) in document.requests.into_iter().zip(scores?) {
            if !loglikelihood.is_finite() {
                let message = format!("the model's log-likelihood is {loglikelihood}");
                return Err(refused(
                    id,
                    (message, "the model's weights or its conversion are damaged".into()),
                ));
            }
            samples.push(Sample { request, loglikelihood, greedy });
        }
        let outcome = document.question.outcome(task, &samples);
        results.documents.push(Document { id, samples, outcome });
    }
    Ok(results)
}

/// Log-likelihood in nats of each request, and whether its continuation is greedy. A text without tokens has
/// likelihood 1. The requests of one document have its question in common.
fn score(
    model: &dyn LanguageModel,
    requests: &[Request],
    max_length: usize,
) -> Result<Vec<(f64, bool)>, Error> {
    let batch: Vec<ScoreRequest<'_>> = requests
        .iter()
        .filter(|request| !request.cont_ids.is_empty())
        .map(|r| ScoreRequest { context: r.visible_context(max_length), continuation: &r.cont_ids })
        .collect();
    let mut scores = model.score_batch(&batch)?.into_iter();
    let of = |request: &Request| {
        if request.cont_ids.is_empty() {
            return (0.0, true);
        }
        scores.next().map(|score| (score.sum(), score.greedy)).expect("a score for each request")
    };
    Ok(requests.iter().map(of).collect())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::Score;
    use crate::task::all_tasks;

    /// One token per byte; the log-likelihood of a continuation is minus the sum of its ids.
    struct Bytes {
        broken: bool,
    }

    impl LanguageModel for Bytes {
        fn encode(&self, text: &str, _: bool) -> Result<Vec<u32>, Error> {
            Ok(text.bytes().map(u32::from).collect())
        }
        fn bos(&self) -> Option<u32> {
            Some(256)
        }
        fn bos_text(&self) -> Option<&str> {
            None
        }
        fn eos(&self) -> Option<u32> {
            None
        }
        fn max_length(&self) -> usize {
            64
        }
        fn score(&self, _: &[u32], continuation: &[u32]) -> Result<Score, Error> {
            let logprobs = continuation.iter().map(|id| if self.broken { f64::NAN } else { -f64::from(*id) });
            Ok(Score { logprobs: logprobs.collect(), greedy: false })
        }
    }

    fn run(task: &str, rows: &str, broken: bool) -> Result<TaskResults, String> {
        let dir = tempfile::tempdir().unwrap();
        std::fs::write(dir.path().join(format!("{task}.jsonl")), rows).unwrap();
        let tasks = [all_tasks(None).unwrap()[task].clone()];
        let data = DataSource::folder(dir.path());
        match evaluate(&Bytes { broken }, &tasks, &data, &EvalOptions::default(), &()) {
            Ok(mut results) => Ok(results.tasks.remove(0)),
            Err(error) => Err(error.to_string().replace(&dir.path().display().to_string(), "DATA")),
        }
    }

    const GOOD: &str =
        r#"{"question": "q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}"#;

    fn arc(from: &str, to: &str) -> String {
        assert!(GOOD.contains(from), "nothing to replace");
        let bad = GOOD.replace(from, to);
        run("arc_easy", &format!("{GOOD}\n{bad}\n"), false).unwrap_err()
    }

    #[test]
    fn bad_documents_are_named() {
        insta::assert_snapshot!(arc("\"answerKey\": \"A\"", "\"answerKey\": \"E\""), @r#"
        task arc_easy, document 1 of DATA/arc_easy.jsonl: doc_to_target "{{choices.label.index(answerKey)}}": invalid operation: label 'E' is not in ['A', 'B']
        hint: correct the document or doc_to_target in the task file
        "#);
        insta::assert_snapshot!(arc("question", "qestion"), @r#"
        task arc_easy, document 1 of DATA/arc_easy.jsonl: doc_to_text "Question: {{question}}\nAnswer:": undefined value
        hint: the document's columns: qestion, choices, answerKey
        "#);
        insta::assert_snapshot!(arc("choices", "options"), @r#"
        task arc_easy, document 1 of DATA/arc_easy.jsonl: doc_to_choice "{{choices.text}}": undefined value
        hint: the document's columns: question, options, answerKey
        "#);
        insta::assert_snapshot!(arc("[\"a\", \"b\"]", "[\"a\", \"\"]"), @r"
        task arc_easy, document 1 of DATA/arc_easy.jsonl: choice 1 is empty
        hint: correct the document or leave it out
        ");
        insta::assert_snapshot!(arc("[\"a\", \"b\"]", "[]"), @r"
        task arc_easy, document 1 of DATA/arc_easy.jsonl: it has no choices
        hint: correct the document or leave it out
        ");
        insta::assert_snapshot!(arc("[\"a\", \"b\"]", "\"ab\""), @r#"
        task arc_easy, document 1 of DATA/arc_easy.jsonl: doc_to_choice "{{choices.text}}" gives 'ab', which is not a list
        hint: name a column of texts or write one expression that gives a list
        "#);
        insta::assert_snapshot!(arc("\"b\"", &format!("\"{}\"", "b".repeat(70))), @r"
        task arc_easy, document 1 of DATA/arc_easy.jsonl: the continuation has 71 tokens, the model reads at most 64
        hint: raise the context length or leave the document out
        ");
        let twice = GOOD.replace("\"question\"", "\"id\": \"q7\", \"question\"");
        insta::assert_snapshot!(run("arc_easy", &format!("{twice}\n{GOOD}\n{twice}"), false).unwrap_err(), @r#"
        task arc_easy, document 2 of DATA/arc_easy.jsonl: its id "q7" is also that of document 0
        hint: remove one of them, or correct its id
        "#);
        insta::assert_snapshot!(arc("}", ""), @r"
        DATA/arc_easy.jsonl, line 2: EOF while parsing an object at column 87
        hint: a .jsonl file holds one JSON object per line
        ");
        insta::assert_snapshot!(run("wikitext", r#"{"text": "a"}"#, false).unwrap_err(), @r"
        task wikitext, document 0 of DATA/wikitext.jsonl: doc_to_target names the column 'page', which the document lacks
        hint: its columns: text
        ");
        insta::assert_snapshot!(run("arc_easy", GOOD, true).unwrap_err(), @r"
        task arc_easy, document 0 of DATA/arc_easy.jsonl: the model's log-likelihood is NaN
        hint: the model's weights or its conversion are damaged
        ");
    }

    #[test]
    fn a_label_beyond_the_choices_is_refused() {
        let one =
            GOOD.replace("[\"a\", \"b\"]", "[\"a\"]").replace("\"answerKey\": \"A\"", "\"answerKey\": \"B\"");
        insta::assert_snapshot!(run("arc_easy", &one, false).unwrap_err(), @r"
        task arc_easy, document 0 of DATA/arc_easy.jsonl: the label 1 is none of its 1 choices
        hint: doc_to_target gives the index of the right choice, from 0, or its text
        ");
    }

    #[test]
    fn an_empty_page_counts_with_its_words() {
        let results = run("wikitext", "{\"page\": \"\"}\n{\"page\": \"\\u0001\"}", false).unwrap();
        assert_eq!(results.documents[0].samples.len(), 1);
        assert_eq!(results.documents[0].loglikelihood(), 0.0);
        // One byte of id 1: -1 nat over two words and one byte.
        let values: Vec<f64> = results.metrics().iter().map(|m| m.value).collect();
        assert_eq!(values, [libm::exp(0.5), libm::exp(1.0), 1.0 / std::f64::consts::LN_2]);
    }

    #[test]
    fn limits() {
        let tasks = [all_tasks(None).unwrap()["openbookqa"].clone()];
        let dir = tempfile::tempdir().unwrap();
        let row = r#"{"question_stem": "q", "choices": {"text": ["a", "b"], "label": ["A", "B"]}, "answerKey": "A"}"#;
        std::fs::write(dir.path().join("openbookqa.jsonl"), format!("{row}\n").repeat(3)).unwrap();
        let data = DataSource::folder(dir.path());
        let with = |options| evaluate(&Bytes { broken: false }, &tasks, &data, &options, &());
        let two = with(EvalOptions { limit: Some(2), ..EvalOptions::default() }).unwrap();
        assert_eq!((two.tasks[0].documents.len(), two.tasks[0].original), (2, 3));
        let none = with(EvalOptions { limit: Some(0), ..EvalOptions::default() });
        insta::assert_snapshot!(none.unwrap_err(), @r"
        options: a limit or context length of 0 leaves nothing to evaluate
        hint: leave it out
        ");
    }
}
