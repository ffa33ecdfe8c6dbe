//! Results for the Hugging Face Hub: a folder for each model, to be copied into its repository.
//!
//! ```text
//!   hub/MODEL/.eval_results/b158.yaml     the current form: a list
//!     - dataset: {id: allenai/ai2_arc, task_id: arc_easy}
//!       value: 52.81                      accuracies in percent
//!       notes: acc, 0-shot, 2376 items, b158 0.1.0, result digest 9f...
//!   hub/MODEL/model-index.yaml            the older one: front matter for README.md
//!     model-index: [{name: MODEL, results: [{task, dataset, metrics: [{type, name, value}]}]}]
//! ```
//!
//! Tasks on data of the same schema but of another origin are no results on a public data set. Only where whoever
//! reports says that the data is public ([`Report::public_data`](super::Report)) do tasks get the names of public data
//! sets; otherwise there is no `.eval_results`, whose entries must be on a data set of the Hub, and the model index
//! names the task alone.
//!
//! Sources of the forms: huggingface.co/docs/hub/eval-results and hub-docs' modelcard.md.

use std::path::PathBuf;

use serde_json::{Value, json};

use super::Report;
use super::html::identifier;
use crate::metrics::MetricValue;
use crate::{ModelResults, TaskResults};

/// The files of all models.
pub fn files(report: &Report) -> Vec<(PathBuf, Vec<u8>)> {
    let mut files = Vec::new();
    for (index, run) in report.runs.iter().enumerate() {
        for (place, model) in run.evaluated.models.iter().enumerate() {
            let mut folder = PathBuf::from("hub");
            if report.runs.len() > 1 {
                folder.push(format!("{}-{}", index + 1, identifier(&run.suite)));
            }
            let name = identifier(&model.name);
            let earlier = &run.evaluated.models[..place];
            // Two names may be one as a folder's.
            let again = earlier.iter().any(|other| identifier(&other.name) == name);
            folder.push(if again { format!("{name}-{}", place + 1) } else { name });
            if report.public_data {
                let results: Vec<Value> = model.tasks.iter().flat_map(|t| current(model, t)).collect();
                if !results.is_empty() {
                    files.push((folder.join(".eval_results/b158.yaml"), yaml(&Value::Array(results))));
                }
            }
            files.push((folder.join("model-index.yaml"), yaml(&model_index(model, report.public_data))));
        }
    }
    files
}

fn yaml(value: &Value) -> Vec<u8> {
    serde_yaml::to_string(value).expect("plain values").into_bytes()
}

/// Percent for accuracies, as is for perplexities.
fn shown(m: &MetricValue) -> f64 {
    if m.metric.higher_is_better() { m.value * 1e2 } else { m.value }
}

/// The Hub's name of the task's data; a file's type or a folder is none.
fn data_set(task: &TaskResults) -> Option<&str> {
    task.task
        .dataset_path
        .as_deref()
        .filter(|path| path.split('/').filter(|part| !part.is_empty()).count() == 2)
}

fn current(model: &ModelResults, task: &TaskResults) -> Vec<Value> {
    let (name, Some(id)) = (&task.task.task, data_set(task)) else { return Vec::new() };
    // A list per data set and task has one score; the first metric is the task's own.
    let entry = |m: &MetricValue| {
        json!({
            "dataset": {"id": id, "task_id": name},
            "value": shown(m),
            "notes": format!(
                "{}, {}-shot, {} items, b158 {}, result digest {}",
                m.metric.name(),
                task.task.shots(),
                task.documents.len(),
                env!("CARGO_PKG_VERSION"),
                model.digest()
            ),
        })
    };
    task.metrics().iter().take(1).map(entry).collect()
}

fn model_index(model: &ModelResults, public: bool) -> Value {
    let result = |task: &TaskResults| {
        let name = &task.task.task;
        let dataset = match (data_set(task).filter(|_| public), &task.task.dataset_name) {
            (Some(id), Some(config)) => {
                json!({"name": name, "type": id, "config": config, "split": task.task.split()})
            }
            (Some(id), None) => json!({"name": name, "type": id, "split": task.task.split()}),
            (None, _) => json!({
                "name": format!("{name} (not the public data set of that name)"),
                "type": format!("b158-{name}"),
                "split": task.task.split(),
            }),
        };
        let metric = |m: &MetricValue| {
            let kind = if m.metric.higher_is_better() { "accuracy" } else { "perplexity" };
            json!({"type": kind, "name": m.metric.name(), "value": shown(m)})
        };
        json!({
            "task": {"type": "text-generation"},
            "dataset": dataset,
            "metrics": task.metrics().iter().map(metric).collect::<Vec<_>>(),
        })
    };
    let results: Vec<Value> = model.tasks.iter().map(result).collect();
    json!({"model-index": [{"name": model.name, "results": results}]})
}
