//! The format of task files: ours, and lm-eval's (`lm_eval/config/task.py`) as far as it needs no Python.
//!
//! ```text
//!   read           what `task` shows, and dataset_path, dataset_name, dataset_kwargs (data_files of the builders json,
//!                  text and parquet: their file names, looked for in --data), include
//!   of no account  tag, group, task_alias, repeats, should_decontaminate, doc_to_decontamination_query, unsafe_code
//!   refused        !function, lists of tasks, and keys that would change a prompt or a score in ways that are not here
//! ```
//!
//! `include: FILE` takes the keys of another file, beside this one or of an embedded task (`include: arc_easy.yaml`);
//! the including file's keys win.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::Deserialize;
use serde::de::IgnoredAny;
use serde_yaml::{Mapping, Value};

use super::find::embedded;
use super::{BLANK_LINE, Choices, FewShotConfig, MetricEntry, OutputType, Packing, Process, Target, Task};
use crate::{Error, yaml};

/// Files that include files, at most.
const DEPTH: usize = 8;
/// Files that one file includes, directly or not, at most.
const INCLUDED: usize = 64;

/// Keys of lm-eval that change prompts or scores; null is as good as absent.
const REFUSED: [(&str, &str); 9] = [
    ("process_docs", "write what it does into the templates, or into the data"),
    ("process_results", "metrics are computed here: remove it and name them in metric_list"),
    ("custom_dataset", "put the documents into a .jsonl file"),
    ("generation_kwargs", "nothing is generated: only log-likelihoods are scored"),
    ("filter_list", "remove it: there is nothing to filter in log-likelihoods"),
    ("use_prompt", "write the prompt as doc_to_text"),
    ("gen_prefix", "write it at the end of doc_to_text"),
    ("doc_to_image", "only text is evaluated"),
    ("doc_to_audio", "only text is evaluated"),
];

/// A task file, key by key.
#[derive(Deserialize)]
#[serde(deny_unknown_fields)]
pub(super) struct TaskFile {
    task: String,
    dataset: Option<String>,
    data_files: Option<BTreeMap<String, String>>,
    dataset_path: Option<String>,
    dataset_name: Option<String>,
    dataset_kwargs: Option<DatasetKwargs>,
    training_split: Option<String>,
    validation_split: Option<String>,
    #[serde(alias = "split")]
    test_split: Option<String>,
    output_type: OutputType,
    doc_to_text: Option<String>,
    doc_to_choice: Option<Choices>,
    doc_to_target: Target,
    target_delimiter: Option<String>,
    doc_to_suffix: Option<String>,
    process: Option<Process>,
    #[serde(default)]
    packing: Packing,
    num_fewshot: Option<usize>,
    fewshot_split: Option<String>,
    fewshot_delimiter: Option<String>,
    fewshot_config: Option<FewShotConfig>,
    description: Option<String>,
    metric_list: Vec<MetricEntry>,
    version: Option<f64>,
    metadata: Option<Metadata>,
    #[serde(default, rename = "tag")]
    _tag: IgnoredAny,
    #[serde(default, rename = "group")]
    _group: IgnoredAny,
    #[serde(default, rename = "task_alias")]
    _task_alias: IgnoredAny,
    #[serde(default, rename = "repeats")]
    _repeats: IgnoredAny,
    #[serde(default, rename = "should_decontaminate")]
    _should_decontaminate: IgnoredAny,
    #[serde(default, rename = "doc_to_decontamination_query")]
    _doc_to_decontamination_query: IgnoredAny,
    #[serde(default, rename = "unsafe_code")]
    _unsafe_code: IgnoredAny,
    #[serde(default, rename = "process_docs")]
    _process_docs: (),
    #[serde(default, rename = "process_results")]
    _process_results: (),
    #[serde(default, rename = "custom_dataset")]
    _custom_dataset: (),
    #[serde(default, rename = "generation_kwargs")]
    _generation_kwargs: (),
    #[serde(default, rename = "filter_list")]
    _filter_list: (),
    #[serde(default, rename = "use_prompt")]
    _use_prompt: (),
    #[serde(default, rename = "gen_prefix")]
    _gen_prefix: (),
    #[serde(default, rename = "doc_to_image")]
    _doc_to_image: (),
    #[serde(default, rename = "doc_to_audio")]
    _doc_to_audio: (),
}

/// Arguments of the data set's builder; others do not matter to files that are here already.
#[derive(Deserialize)]
struct DatasetKwargs {
    data_files: Option<DataFiles>,
}

#[derive(Deserialize)]
#[serde(untagged)]
enum DataFiles {
    /// By split.
    Splits(BTreeMap<String, String>),
    /// In any other form: of data sets that the Hub's name stands for.
    Other(IgnoredAny),
}

#[derive(Deserialize)]
struct Metadata {
    version: Option<f64>,
}

impl From<TaskFile> for Task {
    fn from(file: TaskFile) -> Self {
        let local = matches!(file.dataset_path.as_deref(), Some("json" | "text" | "parquet"));
        let data_files = match (file.data_files, file.dataset_kwargs.and_then(|kwargs| kwargs.data_files)) {
            (Some(stems), _) => stems,
            (None, Some(DataFiles::Splits(files))) if local => {
                files.into_iter().map(|(split, file)| (split, stem(&file).to_owned())).collect()
            }
            _ => BTreeMap::new(),
        };
        Self {
            dataset: file.dataset.unwrap_or_else(|| file.task.clone()),
            task: file.task,
            data_files,
            dataset_path: file.dataset_path,
            dataset_name: file.dataset_name,
            training_split: file.training_split,
            validation_split: file.validation_split,
            test_split: file.test_split,
            output_type: file.output_type,
            doc_to_text: file.doc_to_text.unwrap_or_default(),
            doc_to_choice: file.doc_to_choice,
            doc_to_target: file.doc_to_target,
            target_delimiter: file.target_delimiter.unwrap_or_else(|| " ".to_owned()),
            doc_to_suffix: file.doc_to_suffix,
            process: file.process,
            packing: file.packing,
            num_fewshot: file.num_fewshot,
            fewshot_split: file.fewshot_split,
            fewshot_delimiter: file.fewshot_delimiter.unwrap_or_else(|| BLANK_LINE.to_owned()),
            fewshot_config: file.fewshot_config.unwrap_or_default(),
            description: file.description.unwrap_or_default(),
            metric_list: file.metric_list,
            version: file.version.or(file.metadata.and_then(|m| m.version)).unwrap_or(0.0),
        }
    }
}

/// The name of a data file without folder and endings.
fn stem(file: &str) -> &str {
    let name = file.rsplit(['/', '\\']).next().unwrap_or(file);
    let name = name.strip_suffix(".gz").unwrap_or(name);
    [".jsonl", ".json", ".parquet", ".txt"].iter().find_map(|end| name.strip_suffix(end)).unwrap_or(name)
}

/// Reads a task; `file` is the name that error messages use, `folder` where files that it includes are.
pub(super) fn parse(file: &str, text: &str, folder: Option<&Path>) -> Result<Task, Error> {
    let config = |place: String, message: String, hint: String| Error::Config { file: place, message, hint };
    let raw: Value = yaml::parse(file, text)?;
    let includes = raw.get("include").is_some();
    let whole = Value::Mapping(merged(file, raw, folder, DEPTH, &mut 0)?);
    if let Some((message, hint)) = refusal(&whole) {
        let line = text.lines().position(|line| line.contains("!function"));
        let place = match line {
            Some(line) if message.contains("Python") => format!("{file}, line {}", line + 1),
            _ => file.to_owned(),
        };
        return Err(config(place, message, hint));
    }
    // Of the text, errors have their lines.
    let parsed: TaskFile = if includes {
        serde_yaml::from_value(whole).map_err(|e| config(file.to_owned(), e.to_string(), String::new()))?
    } else {
        yaml::parse(file, text)?
    };
    let task = Task::from(parsed);
    task.check().map_err(|(message, hint)| config(file.to_owned(), message, hint))?;
    Ok(task)
}

/// The file's keys and those of the files that it includes.
fn merged(
    file: &str,
    value: Value,
    folder: Option<&Path>,
    depth: usize,
    included: &mut usize,
) -> Result<Mapping, Error> {
    let config = |message: String, hint: &str| {
        Err(Error::Config { file: file.to_owned(), message, hint: hint.to_owned() })
    };
    let Value::Mapping(mut own) = value else {
        return config("a task file has lines `key: value`".into(), "");
    };
    let names: Vec<String> = match own.remove("include") {
        None | Some(Value::Null) => return Ok(own),
        Some(Value::String(name)) => vec![name],
        Some(Value::Sequence(names)) if names.iter().all(Value::is_string) => {
            names.iter().filter_map(Value::as_str).map(str::to_owned).collect()
        }
        Some(_) => return config("include is no file name".into(), "name one file or a list of files"),
    };
    if depth == 0 {
        return config("files include each other without end".into(), "correct the `include` lines");
    }
    let mut all = Mapping::new();
    // The first of several wins, as in lm-eval.
    for name in names.iter().rev() {
        *included += 1;
        if *included > INCLUDED {
            return config(
                format!("more than {INCLUDED} files are included"),
                "write their keys into fewer files",
            );
        }
        // A file of an embedded task's name that includes this name means the embedded one.
        let other = |path: &PathBuf| path.is_file() && path.display().to_string() != file;
        let path = folder.map(|folder| folder.join(name)).filter(other);
        let (file, text, folder) = if let Some(path) = &path {
            let text =
                std::fs::read_to_string(path).map_err(|source| Error::Read { path: path.clone(), source })?;
            (path.display().to_string(), text, path.parent())
        } else {
            let Some(text) = embedded(name) else {
                let hint = "put that file beside this one; `include: arc_easy.yaml` takes an embedded task";
                return config(format!("it includes {name}, which is not there"), hint);
            };
            (name.clone(), text.to_owned(), None)
        };
        all.extend(merged(&file, yaml::parse(&file, &text)?, folder, depth - 1, included)?);
    }
    all.extend(own);
    Ok(all)
}

/// Message and hint of what is not here.
fn refusal(task: &Value) -> Option<(String, String)> {
    if let Some((key, function)) = python(task, "") {
        return Some((
            format!("{key} names the Python function {function}"),
            "no Python runs here: write it as a template (see the embedded tasks), or use the embedded task"
                .into(),
        ));
    }
    if task.get("task").is_some_and(Value::is_sequence) {
        let hint = "name its tasks one by one; a suite's table has their average";
        return Some(("it is a list of tasks".into(), hint.into()));
    }
    let given = |key: &str| task.get(key).is_some_and(|value| !value.is_null());
    let (key, hint) = REFUSED.iter().find(|(key, _)| given(key))?;
    Some((format!("{key} is not supported"), (*hint).into()))
}

/// The first key whose value is tagged `!function`, and the function's name.
fn python(value: &Value, key: &str) -> Option<(String, String)> {
    match value {
        Value::Tagged(tagged) if tagged.tag == "function" => {
            Some((key.to_owned(), tagged.value.as_str().unwrap_or("?").to_owned()))
        }
        Value::Mapping(map) => map.iter().find_map(|(name, value)| {
            let place = if key.is_empty() { String::new() } else { format!("{key}.") };
            python(value, &format!("{place}{}", name.as_str().unwrap_or("?")))
        }),
        Value::Sequence(list) => list.iter().find_map(|value| python(value, key)),
        _ => None,
    }
}
