//! Runs tasks on a model.
//!
//! ```text
//!   task + document --> requests --> log-likelihoods --> document result --> metrics
//!                       (in parallel, results in document order)
//! ```
//!
//! Nothing depends on the number of threads: every request is scored by itself and sums run in document order.

use b158_datasets::{DataSource, Dataset};
use minijinja::Value;
use minijinja::value::ValueKind;
use rayon::prelude::*;
use serde::{Deserialize, Serialize};

use crate::metrics::Metric;
use crate::request::{Encoder, Failure, Request};
use crate::results::{Document, ModelResults, Outcome, Sample, Settings, TaskResults};
use crate::task::{Choices, OutputType, Process, Target, Task};
use crate::template::{self, Row, Templates};
use crate::{Error, LanguageModel, detokenize, python};

/// A named set of prompting and scoring rules.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Preset {
    /// lm-evaluation-harness 0.4.13.
    #[default]
    LmEval,
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
    let encoder = Encoder::new(model, options.add_bos.unwrap_or(true), max_length)?;
    let mut results = ModelResults { name: options.name.clone(), settings, tasks: Vec::new() };
    for task in tasks {
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
    let Dataset { mut rows, origin } = data.load(&task.dataset, &task.split)?;
    let original = rows.len();
    rows.truncate(limit.unwrap_or(original));
    let prepared: Vec<_> = rows.par_iter().map(|row| prepare(task, row, encoder)).collect();
    let refused = |document: usize, (message, hint): (String, String)| Error::Document {
        task: task.task.clone(),
        document,
        origin: origin.clone(),
        message,
        hint,
    };
    let mut documents = Vec::with_capacity(prepared.len());
    for (id, document) in prepared.into_iter().enumerate() {
        documents.push(document.map_err(|failure| match failure {
            Failure::Refused(refusal) => refused(id, refusal),
            Failure::Failed(error) => error,
        })?);
    }

    let requests: Vec<&Request> = documents.iter().flat_map(|d| &d.requests).collect();
    progress.begin(&task.task, requests.len());
    let scored: Vec<Result<(f64, bool), Error>> = requests
        .par_iter()
        .map(|request| {
            let result = score(model, request, max_length);
            progress.advance();
            result
        })
        .collect();
    progress.end();

    let mut scores = scored.into_iter();
    let mut results = TaskResults { task: task.clone(), original, documents: Vec::new() };
    for (id, document) in documents.into_iter().enumerate() {
        let mut samples = Vec::with_capacity(document.requests.len());
        for (request, score) in document.requests.into_iter().zip(&mut scores) {
            let (loglikelihood, greedy) = score?;
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

/// Log-likelihood in nats and whether the continuation is greedy. A text without tokens has likelihood 1.
fn score(model: &dyn LanguageModel, request: &Request, max_length: usize) -> Result<(f64, bool), Error> {
    if request.cont_ids.is_empty() {
        return Ok((0.0, true));
    }
    let score = model.score(request.visible_context(max_length), &request.cont_ids)?;
    let mut sum = 0.0;
    for logprob in score.logprobs {
        sum += logprob;
    }
    Ok((sum, score.greedy))
}

/// A document's requests and what is needed to judge their log-likelihoods.
struct Prepared {
    requests: Vec<Request>,
    question: Question,
}

enum Question {
    Choice { gold: usize, choices: Vec<String> },
    Rolling { words: u64, bytes: u64 },
}

impl Question {
    fn outcome(&self, task: &Task, samples: &[Sample]) -> Outcome {
        match self {
            Self::Choice { gold, choices } => {
                let ll: Vec<f64> = samples.iter().map(|s| s.loglikelihood).collect();
                let correct = task.metrics().map(|m: Metric| m.chosen(&ll, choices) == *gold).collect();
                Outcome::Choice { gold: *gold, correct }
            }
            Self::Rolling { words, bytes } => Outcome::Rolling { words: *words, bytes: *bytes },
        }
    }
}

fn prepare(task: &Task, row: &serde_json::Value, encoder: &Encoder) -> Result<Prepared, Failure> {
    let templates = Templates::new();
    let row = Row::new(row);
    match task.output_type {
        OutputType::MultipleChoice => prepare_choice(task, &templates, &row, encoder),
        OutputType::LoglikelihoodRolling => prepare_rolling(task, &templates, &row, encoder),
    }
}

fn prepare_choice(
    task: &Task,
    templates: &Templates,
    row: &Row,
    encoder: &Encoder,
) -> Result<Prepared, Failure> {
    let context = templates.text("doc_to_text", &task.doc_to_text, row)?;
    let choices = choices(task, templates, row)?;
    let gold = gold(task, templates, row, &choices)?;
    let requests = choices
        .iter()
        .map(|choice| encoder.pair(&context, &format!("{}{choice}", task.target_delimiter)))
        .collect::<Result<_, _>>()?;
    Ok(Prepared { requests, question: Question::Choice { gold, choices } })
}

fn choices(task: &Task, templates: &Templates, row: &Row) -> Result<Vec<String>, Failure> {
    let choices: Vec<String> = match &task.doc_to_choice {
        Some(Choices::Fixed(texts)) => texts.clone(),
        Some(Choices::Expression(source)) => {
            let list = templates.value("doc_to_choice", source, row)?;
            let items = (list.kind() == ValueKind::Seq).then(|| list.try_iter().ok()).flatten();
            let Some(items) = items else {
                return Err(refuse(
                    format!("doc_to_choice {source:?} gives {list:?}, which is not a list"),
                    "name a column of texts or write one expression that gives a list",
                ));
            };
            items.map(|item| item.to_string()).collect()
        }
        None => Vec::new(),
    };
    if choices.is_empty() {
        return Err(refuse("it has no choices".into(), "correct the document or leave it out"));
    }
    if let Some(index) = choices.iter().position(String::is_empty) {
        return Err(refuse(format!("choice {index} is empty"), "correct the document or leave it out"));
    }
    Ok(choices)
}

/// An index, digits of an index, or the text of a choice.
fn gold(task: &Task, templates: &Templates, row: &Row, choices: &[String]) -> Result<usize, Failure> {
    let out_of_range = |label: String| {
        refuse(
            format!("the label {label} is none of its {} choices", choices.len()),
            "doc_to_target gives the index of the right choice, from 0, or its text",
        )
    };
    let value = match &task.doc_to_target {
        Target::Index(index) => Value::from(*index),
        Target::Template(source) => templates.value("doc_to_target", source, row)?,
    };
    let index = match value.kind() {
        ValueKind::Bool => Some(usize::from(value.is_true())),
        ValueKind::Number => usize::try_from(value.clone()).ok(),
        _ => {
            let text = value.to_string();
            let by_text = choices.iter().position(|c| *c == text);
            let by_digits = text.bytes().all(|b| b.is_ascii_digit()).then(|| text.parse().ok()).flatten();
            // A column is the text of a choice first; digits that a template made are an index first.
            match &task.doc_to_target {
                Target::Template(source) if template::is_name(source) => by_text.or(by_digits),
                _ => by_digits.or(by_text),
            }
        }
    };
    index.filter(|i| *i < choices.len()).ok_or_else(|| out_of_range(format!("{value:?}")))
}

fn prepare_rolling(
    task: &Task,
    templates: &Templates,
    row: &Row,
    encoder: &Encoder,
) -> Result<Prepared, Failure> {
    let original = match &task.doc_to_target {
        Target::Template(source) => templates.text("doc_to_target", source, row)?,
        Target::Index(index) => index.to_string(),
    };
    let text = match task.process {
        Some(Process::WikitextDetokenizer) => detokenize::wikitext(&original),
        None => original.clone(),
    };
    let mut requests = encoder.rolling(&text)?;
    if requests.is_empty() {
        // Keeps the document in the samples and in the digest.
        requests.push(Request { context: None, continuation: None, ctx_ids: vec![], cont_ids: vec![] });
    }
    let question = Question::Rolling { words: python::count_words(&original), bytes: original.len() as u64 };
    Ok(Prepared { requests, question })
}

fn refuse(message: String, hint: &str) -> Failure {
    Failure::Refused((message, hint.to_owned()))
}

impl From<template::Failure> for Failure {
    fn from(failure: template::Failure) -> Self {
        Self::Refused((failure.message, failure.hint))
    }
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
        let tasks = [all_tasks(None).unwrap()["arc_easy"].clone()];
        let with =
            |options| evaluate(&Bytes { broken: false }, &tasks, &DataSource::embedded(), &options, &());
        let two = with(EvalOptions { limit: Some(2), ..EvalOptions::default() }).unwrap();
        assert_eq!((two.tasks[0].documents.len(), two.tasks[0].original), (2, 30));
        let none = with(EvalOptions { limit: Some(0), ..EvalOptions::default() });
        insta::assert_snapshot!(none.unwrap_err(), @r"
        options: a limit or context length of 0 leaves nothing to evaluate
        hint: leave it out
        ");
    }
}
