//! Tasks are data: YAML files in the spirit of lm-eval's.
//!
//! ```text
//!   task: arc_easy                    its name in suites and results
//!   dataset: arc_easy                 file stem: arc_easy.jsonl or arc_easy-SPLIT.jsonl
//!   split: test
//!   output_type: multiple_choice      or loglikelihood, or loglikelihood_rolling
//!   doc_to_text: "Question: {{question}}\nAnswer:"        prompt
//!   doc_to_choice: "{{choices.text}}"                     the choices: expression, column or list
//!   doc_to_target: "{{choices.label.index(answerKey)}}"   index or text of the right choice; for the other types
//!                                                         the text that is scored, its leading blank included
//!   target_delimiter: " "             between prompt and choice
//!   doc_to_suffix: "{{rest}}"         multiple_choice only: the choices end the prompt, and this is scored after each
//!   process: wikitext_detokenizer     loglikelihood_rolling only: what is scored in place of the text
//!   metric_list: [{metric: acc, higher_is_better: true}]
//!   version: 1.0
//! ```
//!
//! ```text
//!   multiple_choice            prompt | delimiter choice                acc, acc_norm, acc_bytes
//!     with doc_to_suffix       prompt choice | delimiter suffix         acc
//!   loglikelihood              prompt | target                          perplexity, acc
//!   loglikelihood_rolling             | target                          word and byte perplexity, bits per byte
//!                              read     scored
//! ```
//!
//! Unlike lm-eval, a bare word that is not a column is an error and not a literal text: it is a misspelt column.

use std::collections::BTreeMap;
use std::path::Path;

use b158_datasets::nearest::suggest;
use serde::{Deserialize, Serialize};

use crate::{Error, Metric, yaml};

macro_rules! embed {
    ($($name:literal)*) => {
        [$((concat!("tasks/", $name, ".yaml"), include_str!(concat!("../tasks/", $name, ".yaml")))),*]
    };
}

const EMBEDDED: [(&str, &str); 11] = embed!(
    "arc_easy" "arc_challenge" "hellaswag" "boolq" "openbookqa" "piqa" "winogrande" "lambada_openai" "lambada_standard"
    "wikitext" "desk"
);

/// How a document becomes requests.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum OutputType {
    /// One request per choice; the likeliest choice is the answer.
    MultipleChoice,
    /// One request: the log-likelihood of a continuation, and whether it is what the model would write.
    Loglikelihood,
    /// The log-likelihood of a whole text, in windows of the model's length.
    LoglikelihoodRolling,
}

/// The choices of a document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "doc_to_choice: expected a column, an expression or a list of texts")]
pub enum Choices {
    /// A column or one expression that gives a list.
    Expression(String),
    /// The same texts for every document.
    Fixed(Vec<String>),
}

/// The right choice of a document.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(untagged, expecting = "doc_to_target: expected a column, a template or an index")]
pub enum Target {
    /// The same index for every document.
    Index(usize),
    /// A column or a template that gives an index or the text of a choice.
    Template(String),
}

/// A named transformation of a rolling task's text.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Process {
    /// [`crate::detokenize::wikitext`]; words and bytes are still counted on the original.
    WikitextDetokenizer,
}

/// One line of `metric_list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricEntry {
    /// The metric.
    pub metric: Metric,
    /// Its direction; only documentation, since every metric has one.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub higher_is_better: Option<bool>,
}

/// A task, as its file says.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Task {
    /// Name in suites and results.
    pub task: String,
    /// File stem of its data.
    pub dataset: String,
    /// Split of its data.
    pub split: String,
    /// How a document becomes requests.
    pub output_type: OutputType,
    /// Column or template of the prompt; empty for none.
    #[serde(default)]
    pub doc_to_text: String,
    /// The choices of a multiple-choice task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc_to_choice: Option<Choices>,
    /// The right choice, or the text that is scored.
    pub doc_to_target: Target,
    /// Text between prompt and choice.
    #[serde(default = "blank")]
    pub target_delimiter: String,
    /// Column or template of what is scored after each choice of a multiple-choice task; the choices then end the
    /// prompt.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub doc_to_suffix: Option<String>,
    /// What is scored in place of a rolling task's text.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// The metrics, in the order of the file.
    pub metric_list: Vec<MetricEntry>,
    /// Version of the task's definition.
    pub version: f64,
}

fn blank() -> String {
    " ".to_owned()
}

impl Task {
    /// Parses a task file; `file` is the name that error messages use.
    ///
    /// # Errors
    /// [`Error::Config`] that names the file and the line.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        let task: Self = yaml::parse(file, text)?;
        task.check().map_err(|(message, hint)| Error::Config { file: file.to_owned(), message, hint })?;
        Ok(task)
    }

    /// SHA-256 of the definition, as 64 hexadecimal digits.
    pub fn sha256(&self) -> String {
        b158_datasets::table::sha256(serde_json::to_string(self).expect("plain values").as_bytes())
    }

    /// The metrics, in the order of the file.
    pub fn metrics(&self) -> impl Iterator<Item = Metric> + '_ {
        self.metric_list.iter().map(|entry| entry.metric)
    }

    fn check(&self) -> Result<(), (String, String)> {
        let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '-' | '.');
        if self.task.is_empty() || !self.task.chars().all(plain) {
            return Err((
                format!("'{}' is not a usable task name", self.task),
                "use letters, digits, '_', '-' and '.'".into(),
            ));
        }
        if !self.version.is_finite() {
            return Err(("version is not a finite number".into(), String::new()));
        }
        if self.metric_list.is_empty() {
            return Err(("metric_list is empty".into(), "name at least one metric".into()));
        }
        for (i, entry) in self.metric_list.iter().enumerate() {
            let metric = entry.metric;
            if !metric.fits(self) {
                let fitting: Vec<&str> =
                    Metric::ALL.iter().filter(|m| m.fits(self)).map(|m| m.name()).collect();
                return Err((
                    format!("metric '{}' does not fit this task", metric.name()),
                    format!("fitting metrics: {}", fitting.join(", ")),
                ));
            }
            if entry.higher_is_better.is_some_and(|up| up != metric.higher_is_better()) {
                return Err((
                    format!("higher_is_better of '{}' is {}", metric.name(), metric.higher_is_better()),
                    "correct or remove that line".into(),
                ));
            }
            if self.metrics().take(i).any(|other| other == metric) {
                return Err((format!("metric '{}' is listed twice", metric.name()), "remove one".into()));
            }
        }
        self.check_fields()
    }

    /// Fields that this output type needs or does not know.
    fn check_fields(&self) -> Result<(), (String, String)> {
        let fail = |message: &str, hint: &str| Err((message.to_owned(), hint.to_owned()));
        let rolling = self.output_type == OutputType::LoglikelihoodRolling;
        if self.process.is_some() && !rolling {
            return fail("process is for loglikelihood_rolling only", "remove that line");
        }
        if self.output_type == OutputType::MultipleChoice {
            return match self.doc_to_choice {
                None => fail("doc_to_choice is missing", "multiple_choice needs the list of choices"),
                Some(_) => Ok(()),
            };
        }
        if self.doc_to_choice.is_some() || self.doc_to_suffix.is_some() {
            let field = if self.doc_to_choice.is_some() { "doc_to_choice" } else { "doc_to_suffix" };
            return fail(&format!("{field} is for multiple_choice only"), "remove that line");
        }
        if matches!(self.doc_to_target, Target::Index(_)) {
            return fail("doc_to_target is an index", "name the column of the text to score");
        }
        if rolling && !self.doc_to_text.is_empty() {
            return fail("doc_to_text is not for loglikelihood_rolling", "put the text in doc_to_target");
        }
        Ok(())
    }
}

/// All tasks by name: the embedded ones and those of `task_dir` (files `*.yaml`), which win over embedded ones of
/// the same name.
///
/// # Errors
/// [`Error::Read`], [`Error::Config`] for a file that is no task, or for two files with the same task.
pub fn all_tasks(task_dir: Option<&Path>) -> Result<BTreeMap<String, Task>, Error> {
    let mut tasks = BTreeMap::new();
    for (file, text) in EMBEDDED {
        let task = Task::parse(file, text)?;
        tasks.insert(task.task.clone(), task);
    }
    let Some(dir) = task_dir else { return Ok(tasks) };
    let unreadable = |path: &Path| {
        let path = path.to_path_buf();
        move |source| Error::Read { path, source }
    };
    let mut files = Vec::new();
    for entry in std::fs::read_dir(dir).map_err(unreadable(dir))? {
        let path = entry.map_err(unreadable(dir))?.path();
        if path.extension().is_some_and(|e| e == "yaml" || e == "yml") {
            files.push(path);
        }
    }
    files.sort();
    let mut owners: BTreeMap<String, String> = BTreeMap::new();
    for path in files {
        let file = path.display().to_string();
        let text = std::fs::read_to_string(&path).map_err(unreadable(&path))?;
        let task = Task::parse(&file, &text)?;
        if let Some(other) = owners.insert(task.task.clone(), file.clone()) {
            return Err(Error::Config {
                file,
                message: format!("task '{}' is also defined in {other}", task.task),
                hint: "rename one of them".into(),
            });
        }
        tasks.insert(task.task.clone(), task);
    }
    Ok(tasks)
}

/// The tasks of these names, in this order.
///
/// # Errors
/// [`Error::UnknownTask`] with the nearest name, otherwise those of [`all_tasks`].
pub fn find_tasks(names: &[String], task_dir: Option<&Path>) -> Result<Vec<Task>, Error> {
    let tasks = all_tasks(task_dir)?;
    names
        .iter()
        .map(|name| {
            tasks.get(name).cloned().ok_or_else(|| {
                let known: Vec<&str> = tasks.keys().map(String::as_str).collect();
                Error::UnknownTask { name: name.clone(), hint: suggest(name, "tasks", &known) }
            })
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn embedded_tasks_parse_and_are_found_in_the_order_asked_for() {
        let names = ["wikitext".to_owned(), "arc_easy".to_owned()];
        let tasks = find_tasks(&names, None).unwrap();
        assert_eq!(tasks.iter().map(|t| t.task.as_str()).collect::<Vec<_>>(), ["wikitext", "arc_easy"]);
        for (file, text) in EMBEDDED {
            let task = Task::parse(file, text).unwrap();
            assert_eq!(format!("tasks/{}.yaml", task.task), file);
            let text = serde_json::to_string(&task).unwrap();
            assert_eq!(serde_json::from_str::<Task>(&text).unwrap(), task);
        }
    }

    #[test]
    fn unknown_tasks_name_the_nearest() {
        let message = |name: &str| find_tasks(&[name.to_owned()], None).unwrap_err().to_string();
        insta::assert_snapshot!(message("arc_esay"), @r"
        unknown task 'arc_esay'
        hint: did you mean 'arc_easy'? tasks: arc_challenge, arc_easy, boolq, desk, hellaswag, lambada_openai, lambada_standard, openbookqa, piqa, wikitext, winogrande
        ");
        insta::assert_snapshot!(message("mmlu"), @r"
        unknown task 'mmlu'
        hint: tasks: arc_challenge, arc_easy, boolq, desk, hellaswag, lambada_openai, lambada_standard, openbookqa, piqa, wikitext, winogrande
        ");
    }

    #[test]
    fn bad_task_files_are_named() {
        let embedded = EMBEDDED[0].1;
        let message = |from: &str, to: &str| {
            let text = embedded.replace(from, to);
            assert_ne!(text, embedded, "nothing replaced");
            Task::parse("arc.yaml", &text).unwrap_err().to_string()
        };
        insta::assert_snapshot!(message("doc_to_text", "doc_to_txt"), @r"
        arc.yaml, line 6: unknown key `doc_to_txt`
        hint: did you mean 'doc_to_text'? valid here: task, dataset, split, output_type, doc_to_text, doc_to_choice, doc_to_target, target_delimiter, doc_to_suffix, process, metric_list, version
        ");
        insta::assert_snapshot!(message("metric: acc_norm", "metric: acc_nrom"), @r"
        arc.yaml, line 12: metric_list[1].metric: unknown variant `acc_nrom`
        hint: did you mean 'acc_norm'? valid here: acc, acc_norm, acc_bytes, perplexity, word_perplexity, byte_perplexity, bits_per_byte
        ");
        insta::assert_snapshot!(message("metric: acc_norm", "metric: bits_per_byte"), @r"
        arc.yaml: metric 'bits_per_byte' does not fit this task
        hint: fitting metrics: acc, acc_norm, acc_bytes
        ");
        insta::assert_snapshot!(message("version: 1.0", "version: [1"), @"arc.yaml, line 14: version: invalid type: sequence, expected f64");
        insta::assert_snapshot!(message("dataset: arc_easy\n", ""), @r"
        arc.yaml, line 2: missing field `dataset`
        hint: add a line 'dataset: ...'
        ");
        insta::assert_snapshot!(message("\"{{choices.text}}\"", "7"), @"arc.yaml, line 2: doc_to_choice: expected a column, an expression or a list of texts");
        insta::assert_snapshot!(message("task: arc_easy", "task: ../arc"), @r"
        arc.yaml: '../arc' is not a usable task name
        hint: use letters, digits, '_', '-' and '.'
        ");
        insta::assert_snapshot!(message("version: 1.0", "version: 1.0\ndoc_to_suffix: b"), @r"
        arc.yaml: metric 'acc_norm' does not fit this task
        hint: fitting metrics: acc
        ");
        insta::assert_snapshot!(message("multiple_choice", "loglikelihood"), @r"
        arc.yaml: metric 'acc_norm' does not fit this task
        hint: fitting metrics: acc, perplexity
        ");
        insta::assert_snapshot!(message("version: 1.0", "version: 1.0\nprocess: wikitext_detokenizer"), @r"
        arc.yaml: process is for loglikelihood_rolling only
        hint: remove that line
        ");
        insta::assert_snapshot!(message("higher_is_better: true", "higher_is_better: false"), @r"
        arc.yaml: higher_is_better of 'acc' is true
        hint: correct or remove that line
        ");
    }

    #[test]
    fn a_folder_of_tasks_adds_and_overrides() {
        let dir = tempfile::tempdir().unwrap();
        let write = |name: &str, from: &str, to: &str| {
            std::fs::write(dir.path().join(name), EMBEDDED[0].1.replace(from, to)).unwrap();
        };
        write("a.yaml", "task: arc_easy", "task: mine");
        write("b.yml", "split: test", "split: validation");
        let tasks = all_tasks(Some(dir.path())).unwrap();
        assert_eq!(tasks.len(), EMBEDDED.len() + 1);
        assert!(tasks.contains_key("mine"));
        assert_eq!(tasks["arc_easy"].split, "validation");
        write("c.yaml", "task: arc_easy", "task: mine");
        let shown = all_tasks(Some(dir.path())).unwrap_err().to_string();
        insta::assert_snapshot!(shown.replace(&dir.path().display().to_string(), "DIR"), @r"
        DIR/c.yaml: task 'mine' is also defined in DIR/a.yaml
        hint: rename one of them
        ");
    }

    proptest::proptest! {
        #[test]
        fn any_text_gives_a_task_or_an_error(text in ".{0,80}") {
            let _ = Task::parse("t.yaml", &text);
        }
    }
}
