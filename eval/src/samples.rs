//! Samples as a table: one row per request, in the order of models, tasks, documents and requests.
//!
//! ```text
//!   model, task               text
//!   doc_id, request           integer    index of the document, index of the request in it
//!   context, continuation     text       none for windows of a rolling text
//!   ctx_ids, cont_ids         ids        before the cut to the model's length
//!   loglikelihood             real       nats
//!   greedy                    flag
//!   target                    integer    index of the right choice; none for other tasks
//!   acc, acc_norm, acc_bytes  flag       whether the metric took the right choice, or the continuation is greedy; none
//!                                        if the task lacks the metric
//!   words, bytes              integer    of the original text; none but for rolling tasks
//! ```
//!
//! What belongs to a document is repeated in each of its rows.

use b158_datasets::{Column, Table};

use crate::metrics::Metric;
use crate::request::Request;
use crate::results::{Document, ModelResults, Outcome, Sample};
use crate::task::{OutputType, Task};

const FLAGS: [Metric; 3] = [Metric::Acc, Metric::AccNorm, Metric::AccBytes];

/// One row: the model's name, the task, the document and the index of the request.
type Place<'a> = (&'a str, &'a Task, &'a Document, usize);

/// All samples of some models.
pub fn to_table(models: &[ModelResults]) -> Table {
    let mut places: Vec<Place> = Vec::new();
    for model in models {
        for results in &model.tasks {
            for document in &results.documents {
                let rows = 0..document.samples.len();
                places.extend(rows.map(|i| (model.name.as_str(), &results.task, document, i)));
            }
        }
    }
    let text = |f: &dyn Fn(&Place) -> Option<String>| Column::Text(places.iter().map(f).collect());
    let integer = |f: &dyn Fn(&Place) -> Option<i64>| Column::Integer(places.iter().map(f).collect());
    let ids = |f: &dyn Fn(&Sample) -> Vec<u32>| {
        Column::Ids(places.iter().map(|(_, _, document, i)| f(&document.samples[*i])).collect())
    };
    let flag = |metric: Metric| {
        let of_row = |(_, task, document, _): &Place| {
            let index = task.metrics().position(|m| m == metric)?;
            Some(document.correct(index))
        };
        Column::Flag(places.iter().map(of_row).collect())
    };
    let rolling = |document: &Document| match document.outcome {
        Outcome::Rolling { words, bytes } => Some((words as i64, bytes as i64)),
        _ => None,
    };
    let gold = |document: &Document| match document.outcome {
        Outcome::Choice { gold, .. } => Some(gold as i64),
        _ => None,
    };
    Table::new(vec![
        ("model", text(&|(name, ..)| Some((*name).to_owned()))),
        ("task", text(&|(_, task, ..)| Some(task.task.clone()))),
        ("doc_id", integer(&|(_, _, document, _)| Some(document.id as i64))),
        ("request", integer(&|(.., i)| Some(*i as i64))),
        ("context", text(&|(_, _, document, i)| document.samples[*i].request.context.clone())),
        ("continuation", text(&|(_, _, document, i)| document.samples[*i].request.continuation.clone())),
        ("ctx_ids", ids(&|sample| sample.request.ctx_ids.clone())),
        ("cont_ids", ids(&|sample| sample.request.cont_ids.clone())),
        (
            "loglikelihood",
            Column::Real(places.iter().map(|(_, _, d, i)| Some(d.samples[*i].loglikelihood)).collect()),
        ),
        ("greedy", Column::Flag(places.iter().map(|(_, _, d, i)| Some(d.samples[*i].greedy)).collect())),
        ("target", integer(&|(_, _, document, _)| gold(document))),
        (FLAGS[0].name(), flag(FLAGS[0])),
        (FLAGS[1].name(), flag(FLAGS[1])),
        (FLAGS[2].name(), flag(FLAGS[2])),
        ("words", integer(&|(_, _, document, _)| rolling(document).map(|(words, _)| words))),
        ("bytes", integer(&|(_, _, document, _)| rolling(document).map(|(_, bytes)| bytes))),
    ])
}

/// The columns of a samples table.
pub(crate) struct Rows<'t> {
    model: &'t [Option<String>],
    task: &'t [Option<String>],
    doc_id: &'t [Option<i64>],
    context: &'t [Option<String>],
    continuation: &'t [Option<String>],
    ctx_ids: &'t [Vec<u32>],
    cont_ids: &'t [Vec<u32>],
    loglikelihood: &'t [Option<f64>],
    greedy: &'t [Option<bool>],
    target: &'t [Option<i64>],
    flags: [&'t [Option<bool>]; 3],
    words: &'t [Option<i64>],
    bytes: &'t [Option<i64>],
}

/// The column of a name, if it has the type that the pattern says.
macro_rules! column {
    ($table:expr, $name:expr, $kind:ident) => {
        match $table.column($name) {
            Some(Column::$kind(values)) => Ok(values.as_slice()),
            _ => Err(format!("the samples lack the column '{}' of type {}", $name, stringify!($kind))),
        }
    };
}

impl<'t> Rows<'t> {
    /// Checks the columns of a table.
    pub(crate) fn of(table: &'t Table) -> Result<Self, String> {
        Ok(Self {
            model: column!(table, "model", Text)?,
            task: column!(table, "task", Text)?,
            doc_id: column!(table, "doc_id", Integer)?,
            context: column!(table, "context", Text)?,
            continuation: column!(table, "continuation", Text)?,
            ctx_ids: column!(table, "ctx_ids", Ids)?,
            cont_ids: column!(table, "cont_ids", Ids)?,
            loglikelihood: column!(table, "loglikelihood", Real)?,
            greedy: column!(table, "greedy", Flag)?,
            target: column!(table, "target", Integer)?,
            flags: [
                column!(table, FLAGS[0].name(), Flag)?,
                column!(table, FLAGS[1].name(), Flag)?,
                column!(table, FLAGS[2].name(), Flag)?,
            ],
            words: column!(table, "words", Integer)?,
            bytes: column!(table, "bytes", Integer)?,
        })
    }

    /// The documents of one model's task, in the order of the rows; none if it has no rows.
    pub(crate) fn documents(&self, model: &str, task: &Task) -> Result<Vec<Document>, String> {
        let mut documents: Vec<Document> = Vec::new();
        for row in 0..self.model.len() {
            if self.model[row].as_deref() != Some(model) || self.task[row].as_deref() != Some(&task.task) {
                continue;
            }
            let id = count(self.doc_id[row], "doc_id", row)?;
            let sample = self.sample(row)?;
            match documents.last_mut() {
                Some(last) if last.id == id => last.samples.push(sample),
                _ => {
                    documents.push(Document { id, samples: vec![sample], outcome: self.outcome(task, row)? });
                }
            }
        }
        Ok(documents)
    }

    fn sample(&self, row: usize) -> Result<Sample, String> {
        let request = Request {
            context: self.context[row].clone(),
            continuation: self.continuation[row].clone(),
            ctx_ids: self.ctx_ids[row].clone(),
            cont_ids: self.cont_ids[row].clone(),
        };
        Ok(Sample {
            request,
            loglikelihood: present(self.loglikelihood[row], "loglikelihood", row)?,
            greedy: present(self.greedy[row], "greedy", row)?,
        })
    }

    fn outcome(&self, task: &Task, row: usize) -> Result<Outcome, String> {
        match task.output_type {
            OutputType::MultipleChoice => {}
            OutputType::Loglikelihood => return Ok(Outcome::Continuation),
            OutputType::LoglikelihoodRolling => {
                return Ok(Outcome::Rolling {
                    words: count(self.words[row], "words", row)? as u64,
                    bytes: count(self.bytes[row], "bytes", row)? as u64,
                });
            }
        }
        let mut correct = Vec::new();
        for metric in task.metrics() {
            let column = FLAGS.iter().position(|f| *f == metric);
            let flag = column.and_then(|c| self.flags[c][row]);
            correct.push(present(flag, metric.name(), row)?);
        }
        Ok(Outcome::Choice { gold: count(self.target[row], "target", row)?, correct })
    }
}

fn present<T>(value: Option<T>, column: &str, row: usize) -> Result<T, String> {
    value.ok_or_else(|| format!("row {row} of the samples has no '{column}'"))
}

fn count(value: Option<i64>, column: &str, row: usize) -> Result<usize, String> {
    let value = present(value, column, row)?;
    usize::try_from(value).map_err(|_| format!("row {row} of the samples: '{column}' is {value}"))
}
