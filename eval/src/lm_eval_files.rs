//! Results as files of lm-eval, for its readers and for tools made for them.
//!
//! ```text
//!   DIR/lm-eval/MODEL/results_DATE.json           one model's document, as in results.json under "models"
//!   DIR/lm-eval/MODEL/samples_TASK_DATE.jsonl     one document a line: doc, target, arguments, resps, hashes, metrics;
//!                                                 numbers of responses as text
//! ```
//!
//! Names, keys and hashes are those of lm-eval 0.4.13 (`lm_eval/loggers/evaluation_tracker.py`,
//! `lm_eval/evaluator.py`): its readers find the newest file of a folder by the date in the name. What differs:
//!
//! - `doc` is the row as the data has it, before lm-eval's `process_docs` (HellaSwag, WinoGrande).
//! - Of tasks with choices `target` is the index of the right one, as text.
//! - Rolling tasks have an empty `target` and no `arguments`: results keep the windows' token ids, not the text.

use std::path::Path;

use b158_checkpoint::{OutputError, write_file};
use b158_datasets::DataSource;
use b158_datasets::table::sha256;
use serde_json::{Value, json};

use crate::Error;
use crate::results::{Document, ModelResults, Outcome, Sample, SuiteResults, TaskResults};

/// Name of the folder in a results folder.
pub const LM_EVAL_FOLDER: &str = "lm-eval";

/// Writes the files of every model. `date` is the start of the evaluation, RFC 3339; `data` is what was evaluated.
///
/// # Errors
/// [`Error::Output`]; [`Error::Data`] if the data is gone.
pub fn write(dir: &Path, results: &SuiteResults, data: &DataSource, date: &str) -> Result<(), Error> {
    // As Python's isoformat, with the colons replaced.
    let date = format!("{}.000000", date.trim_end_matches('Z')).replace(':', "-");
    for model in &results.models {
        let folder = dir.join(LM_EVAL_FOLDER).join(&model.name);
        let failed = |source| OutputError { file: folder.clone(), source };
        std::fs::create_dir_all(&folder).map_err(failed)?;
        for task in &model.tasks {
            let split = task.task.split();
            // A window of packed texts is no row.
            let rows = if task.task.is_packed(model.settings.preset) {
                Vec::new()
            } else {
                data.load(task.task.stem(split), split)?.rows
            };
            let mut lines = String::new();
            for document in &task.documents {
                let row = rows.get(document.id).unwrap_or(&Value::Null);
                lines += &format!("{}\n", sample(task, document, row));
            }
            write_file(&folder.join(format!("samples_{}_{date}.jsonl", task.task.task)), lines.as_bytes())?;
        }
        write_file(
            &folder.join(format!("results_{date}.json")),
            format!("{:#}\n", model_document(model)).as_bytes(),
        )?;
    }
    Ok(())
}

/// The document, with what lm-eval's readers ask for beside.
fn model_document(model: &ModelResults) -> Value {
    let mut document = model.to_json();
    document["config"]["model_args"] = json!(format!("pretrained={}", model.name));
    document["model_name"] = json!(model.name);
    document["model_name_sanitized"] = json!(model.name);
    document
}

/// What lists hold, as Python spells it: lm-eval writes responses so, since readers want one type in a list.
fn strings(value: &Value) -> Value {
    match value {
        Value::Array(items) => items.iter().map(strings).collect(),
        Value::Bool(true) => json!("True"),
        Value::Bool(false) => json!("False"),
        other => json!(other.to_string()),
    }
}

fn sample(task: &TaskResults, document: &Document, row: &Value) -> Value {
    let texts = |s: &Sample| Some(json!([s.request.context.as_ref()?, s.request.continuation.as_ref()?]));
    let arguments: Vec<Value> = document.samples.iter().filter_map(texts).collect();
    let responses: Vec<Value> = match document.outcome {
        Outcome::Rolling { .. } => vec![json!(document.loglikelihood())],
        _ => document.samples.iter().map(|s| json!([s.loglikelihood, s.greedy])).collect(),
    };
    let target = match &document.outcome {
        Outcome::Choice { gold, .. } => json!(gold),
        Outcome::Continuation => {
            json!(document.samples.first().and_then(|s| s.request.continuation.as_ref()))
        }
        Outcome::Rolling { .. } => json!(""),
    };
    // `str(target)` and `json.dumps(doc, indent=2, ensure_ascii=False)`.
    let target_text = target.as_str().map_or_else(|| target.to_string(), str::to_owned);
    let prompt = arguments.first().and_then(|pair| pair[0].as_str()).unwrap_or_default();
    let named =
        |(i, pair): (usize, &Value)| (format!("gen_args_{i}"), json!({"arg_0": pair[0], "arg_1": pair[1]}));
    let responses = strings(&responses.into());
    let each: Vec<Value> =
        responses.as_array().into_iter().flatten().map(|response| json!([response])).collect();
    let mut sample = json!({
        "doc_id": document.id,
        "doc": row,
        "target": target_text,
        "arguments": arguments.iter().enumerate().map(named).collect::<serde_json::Map<_, _>>(),
        "resps": each,
        "filtered_resps": responses,
        "filter": "none",
        "metrics": task.task.metrics().map(crate::Metric::name).collect::<Vec<_>>(),
        "doc_hash": sha256(format!("{row:#}").as_bytes()),
        "prompt_hash": sha256(prompt.as_bytes()),
        "target_hash": sha256(target_text.as_bytes()),
    });
    for (index, metric) in task.task.metrics().enumerate() {
        let name = metric.name();
        sample[name] = match document.outcome {
            _ if metric.higher_is_better() => json!(f64::from(u8::from(document.correct(index)))),
            Outcome::Rolling { words, bytes } => {
                let units = match metric {
                    crate::Metric::WordPerplexity => words,
                    crate::Metric::TokenPerplexity => document.tokens(),
                    _ => bytes,
                };
                json!([document.loglikelihood(), units])
            }
            _ => json!(document.loglikelihood()),
        };
    }
    sample
}
