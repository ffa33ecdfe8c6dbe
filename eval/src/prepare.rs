//! From documents to requests: the task's templates, choices and labels.
//!
//! ```text
//!   document ──► examples, question ──► one request per choice (or window)
//!   preset `paper`, whole texts:  documents ──► lines, tokens ──► windows that are full ──► one request per window
//! ```

use std::collections::HashMap;

use b158_checkpoint::Sandbox;
use b158_datasets::{DataSource, Dataset};
use minijinja::Value;
use minijinja::value::ValueKind;
use rayon::prelude::*;

use crate::few_shot::Examples;
use crate::metrics::Metric;
use crate::request::{Encoder, Failure, Refusal, Request};
use crate::results::{Outcome, Sample};
use crate::shard::Shard;
use crate::task::{Choices, OutputType, Packing, Process, Target, Task};
use crate::template::{self, Row, Templates};
use crate::{Error, detokenize, python};

/// A document's requests and what is needed to judge their log-likelihoods.
pub(crate) struct Prepared {
    pub requests: Vec<Request>,
    pub question: Question,
}

/// What the log-likelihoods are judged by.
pub(crate) enum Question {
    Choice { gold: usize, choices: Vec<String> },
    Continuation,
    Rolling { words: u64, bytes: u64 },
}

impl Question {
    /// What the samples of the document's requests say.
    pub(crate) fn outcome(&self, task: &Task, samples: &[Sample]) -> Outcome {
        match self {
            Self::Choice { gold, choices } => {
                let ll: Vec<f64> = samples.iter().map(|s| s.loglikelihood).collect();
                let correct = task.metrics().map(|m: Metric| m.chosen(&ll, choices) == *gold).collect();
                Outcome::Choice { gold: *gold, correct }
            }
            Self::Continuation => Outcome::Continuation,
            Self::Rolling { words, bytes } => Outcome::Rolling { words: *words, bytes: *bytes },
        }
    }
}

/// The documents of a task as requests.
pub(crate) struct Documents {
    /// Number of documents that the data has; of packed texts, of windows.
    pub original: usize,
    /// Those that are wanted, ascending by their index.
    pub prepared: Vec<(usize, Prepared)>,
    /// SHA-256 of all rows that examples are drawn from; empty without examples.
    pub examples_sha256: String,
}

/// Documents that a thread prepares with one engine.
const TOGETHER: usize = 32;

/// Turns the documents of a task into requests: the first `limit` ones, and of those the shard's.
///
/// # Errors
/// The first one in the order of the documents.
pub(crate) fn prepare(
    task: &Task,
    documents: &Dataset,
    data: &DataSource,
    encoder: &Encoder,
    limit: Option<usize>,
    shard: Option<Shard>,
) -> Result<Documents, Error> {
    let Dataset { rows, origin } = documents;
    let refused = |document: usize, failure: Failure| match failure {
        Failure::Refused((message, hint)) => {
            Error::Document { task: task.task.clone(), document, origin: origin.clone(), message, hint }
        }
        Failure::Failed(error) => error,
    };
    if task.is_packed(encoder.preset()) {
        let windows = pack(task, rows, encoder).map_err(|(document, failure)| refused(document, failure))?;
        return Ok(deal_windows(windows, limit, shard));
    }
    let original = rows.len();
    let rows = &rows[..limit.unwrap_or(original).min(original)];
    if let Some((document, refusal)) = duplicate(rows) {
        return Err(refused(document, Failure::Refused(refusal)));
    }
    let examples = Examples::draw(task, rows, origin, data)?;
    let wanted = match shard {
        Some(shard) => shard.deal(&rows.iter().map(|row| row.to_string().len() as u64).collect::<Vec<u64>>()),
        None => (0..rows.len()).collect(),
    };
    let prepared: Vec<_> = wanted
        .par_chunks(TOGETHER)
        .flat_map_iter(|ids| {
            Sandbox::for_many(|| {
                let templates = Templates::new();
                let document = |&id: &usize| {
                    prepare_document(task, &templates, &rows[id], &examples.before(id), encoder)
                };
                ids.iter().map(document).collect::<Vec<_>>()
            })
        })
        .collect();
    let in_order = wanted.into_iter().zip(prepared);
    let prepared = in_order.map(|(id, document)| match document {
        Ok(document) => Ok((id, document)),
        Err(failure) => Err(refused(id, failure)),
    });
    Ok(Documents {
        original,
        prepared: prepared.collect::<Result<_, _>>()?,
        examples_sha256: examples.pool_sha256,
    })
}

/// The first document whose `id` an earlier one has: it would count twice.
fn duplicate(rows: &[serde_json::Value]) -> Option<(usize, Refusal)> {
    let mut seen = HashMap::new();
    rows.iter().enumerate().find_map(|(document, row)| {
        let id = row.get("id").filter(|id| id.is_string() || id.is_number())?.to_string();
        let first = seen.insert(id.clone(), document)?;
        let message = format!("its id {id} is also that of document {first}");
        Some((document, (message, "remove one of them, or correct its id".to_owned())))
    })
}

/// Applies a task's templates to a document, with examples before its question.
fn prepare_document(
    task: &Task,
    templates: &Templates,
    row: &serde_json::Value,
    examples: &str,
    encoder: &Encoder,
) -> Result<Prepared, Failure> {
    let row = Row::new(row);
    let before = || Ok::<_, Failure>(templates.free_text("description", &task.description, &row)? + examples);
    match task.output_type {
        OutputType::MultipleChoice => prepare_choice(task, templates, &row, &before()?, encoder),
        OutputType::Loglikelihood => prepare_continuation(task, templates, &row, &before()?, encoder),
        OutputType::LoglikelihoodRolling => prepare_rolling(task, templates, &row, encoder),
    }
}

/// A question with its answer, as an example before others.
pub(crate) fn example(task: &Task, row: &serde_json::Value) -> Result<String, Failure> {
    let templates = Templates::new();
    let row = Row::new(row);
    let context = templates.text("doc_to_text", &task.doc_to_text, &row)?;
    let delimiter = &task.target_delimiter;
    let turn = if task.output_type == OutputType::MultipleChoice {
        let choices = choices(task, &templates, &row)?;
        let answer = &choices[gold(task, &templates, &row, &choices)?];
        match &task.doc_to_suffix {
            Some(source) => {
                let suffix = templates.text("doc_to_suffix", source, &row)?;
                format!("{context}{answer}{delimiter}{suffix}")
            }
            None => format!("{context}{delimiter}{answer}"),
        }
    } else {
        let answer = target_text(task, &templates, &row)?;
        if answer.is_empty() {
            // An example without an answer is its question alone.
            return Ok(context);
        }
        format!("{context}{delimiter}{answer}")
    };
    Ok(turn + &task.fewshot_delimiter)
}

fn prepare_choice(
    task: &Task,
    templates: &Templates,
    row: &Row,
    before: &str,
    encoder: &Encoder,
) -> Result<Prepared, Failure> {
    let context = before.to_owned() + &templates.text("doc_to_text", &task.doc_to_text, row)?;
    let choices = choices(task, templates, row)?;
    let gold = gold(task, templates, row, &choices)?;
    let delimiter = &task.target_delimiter;
    let suffix = match &task.doc_to_suffix {
        Some(source) => Some(templates.text("doc_to_suffix", source, row)?),
        None => None,
    };
    let request = |choice: &String| match &suffix {
        Some(suffix) => encoder.pair(&format!("{context}{choice}"), &format!("{delimiter}{suffix}")),
        None => encoder.pair(&context, &format!("{delimiter}{choice}")),
    };
    let requests = choices.iter().map(request).collect::<Result<_, _>>()?;
    Ok(Prepared { requests, question: Question::Choice { gold, choices } })
}

fn prepare_continuation(
    task: &Task,
    templates: &Templates,
    row: &Row,
    before: &str,
    encoder: &Encoder,
) -> Result<Prepared, Failure> {
    let context = before.to_owned() + &templates.text("doc_to_text", &task.doc_to_text, row)?;
    let continuation = target_text(task, templates, row)?;
    let requests = vec![encoder.pair(&context, &continuation)?];
    Ok(Prepared { requests, question: Question::Continuation })
}

/// The windows that the documents' texts fill. An error comes with the index of its document.
fn pack(
    task: &Task,
    rows: &[serde_json::Value],
    encoder: &Encoder,
) -> Result<Vec<Request>, (usize, Failure)> {
    let texts = Sandbox::for_many(|| {
        let templates = Templates::new();
        let text = |(id, row)| target_text(task, &templates, &Row::new(row)).map_err(|failure| (id, failure));
        rows.iter().enumerate().map(text).collect::<Result<Vec<String>, _>>()
    })?;
    let joined;
    let pieces: Vec<&str> = match task.packing {
        Packing::Documents => texts.iter().map(String::as_str).collect(),
        Packing::Lines => {
            joined = texts.concat();
            joined.split('\n').collect()
        }
    };
    let packed = encoder.packed(&pieces).map_err(|error| (0, error.into()))?;
    if packed.windows.is_empty() {
        let message = format!("no text of the task fits into a window of {} tokens", encoder.max_length());
        return Err((0, refuse(message, "raise the context length")));
    }
    Ok(packed.windows)
}

/// Windows as documents: the first `limit` ones, and of those the shard's.
fn deal_windows(windows: Vec<Request>, limit: Option<usize>, shard: Option<Shard>) -> Documents {
    let original = windows.len();
    let first = windows.iter().take(limit.unwrap_or(original));
    let lengths: Vec<u64> = first.map(|window| window.cont_ids.len() as u64).collect();
    let wanted = match shard {
        Some(shard) => shard.deal(&lengths),
        None => (0..lengths.len()).collect(),
    };
    let mut windows: Vec<Option<Request>> = windows.into_iter().map(Some).collect();
    let prepared = wanted.into_iter().filter_map(|id| {
        // Words and bytes are those of whole texts.
        let question = Question::Rolling { words: 0, bytes: 0 };
        Some((id, Prepared { requests: vec![windows[id].take()?], question }))
    });
    Documents { original, prepared: prepared.collect(), examples_sha256: String::new() }
}

/// The text that a task scores in place of choices.
fn target_text(task: &Task, templates: &Templates, row: &Row) -> Result<String, Failure> {
    match &task.doc_to_target {
        Target::Template(source) => Ok(templates.text("doc_to_target", source, row)?),
        Target::Index(index) => Ok(index.to_string()),
    }
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
            let items: Vec<Value> = items.collect();
            if let Some(index) = items.iter().position(Value::is_none) {
                return Err(refuse(
                    format!("choice {index} is null"),
                    "correct the document or leave it out",
                ));
            }
            items.iter().map(template::printed).collect()
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
    let original = target_text(task, templates, row)?;
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
