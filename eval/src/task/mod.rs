//! Tasks are data: YAML files in the spirit of lm-eval's.
//!
//! ```text
//!   task: arc_easy                    its name in suites and results
//!   dataset: arc_easy                 file stem of its data, arc_easy-SPLIT.jsonl or arc_easy.jsonl [the task's name]
//!   training_split: train             examples of few-shot prompts come from here, else from the validation split
//!   validation_split: validation      evaluated where there is no test split
//!   test_split: test                  evaluated
//!   output_type: multiple_choice      or loglikelihood, or loglikelihood_rolling
//!   doc_to_text: "Question: {{question}}\nAnswer:"        prompt
//!   doc_to_choice: "{{choices.text}}"                     the choices: expression, column or list
//!   doc_to_target: "{{choices.label.index(answerKey)}}"   index or text of the right choice; for the other types
//!                                                         the text that is scored, its leading blank included
//!   target_delimiter: " "             between prompt and choice
//!   doc_to_suffix: "{{rest}}"         multiple_choice only: the choices end the prompt, and this is scored after each
//!   process: wikitext_detokenizer     loglikelihood_rolling only: what is scored in place of the text
//!   packing: lines                    loglikelihood_rolling only: what preset `paper` packs [documents]
//!   num_fewshot: 5                    examples before the question [0]; 0 written out stays 0 whatever the suite says
//!   fewshot_split: train              where they come from [the training, validation or test split]
//!   fewshot_delimiter: "\n\n"         after each
//!   fewshot_config: {sampler: first_n}                    the first ones in place of random ones
//!   description: "Answer."            before everything
//!   metric_list: [{metric: acc, higher_is_better: true}]
//!   metadata: {version: 1.0}          or version: 1.0
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
//! Files of lm-eval can be read, see `file` for its keys and what differs:
//!
//! - A bare word that is not a column is an error and not a literal text: it is a misspelt column.
//! - Nothing runs Python: a key with `!function` is an error that names it. `doc_to_suffix`, `process` and the filters
//!   of templates say what lm-eval's own functions do.

mod file;
mod find;

pub use find::{all_tasks, find_tasks};

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::evaluate::Preset;
use crate::{Error, Metric};

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

/// What preset `paper` packs into windows.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Packing {
    /// Each document.
    #[default]
    Documents,
    /// Each line of the documents, joined without anything between them.
    Lines,
}

/// How the examples of few-shot prompts are chosen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Sampler {
    /// At random, other ones for each document.
    #[default]
    Default,
    /// The first ones.
    FirstN,
}

/// `fewshot_config`.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, deny_unknown_fields)]
pub struct FewShotConfig {
    /// How the examples are chosen.
    pub sampler: Sampler,
    /// Where they come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub split: Option<String>,
}

/// One line of `metric_list`.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct MetricEntry {
    /// The metric.
    pub metric: Metric,
    /// How documents become one number; only documentation, since every metric has one way.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub aggregation: Option<String>,
    /// Its direction; only documentation, since every metric has one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub higher_is_better: Option<bool>,
}

/// A task, as its file says; fields that say nothing are left out where it is written.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(try_from = "file::TaskFile")]
pub struct Task {
    /// Name in suites and results.
    pub task: String,
    /// File stem of its data.
    pub dataset: String,
    /// File stems of single splits, where a file of lm-eval names files of its own.
    #[serde(skip_serializing_if = "BTreeMap::is_empty")]
    pub data_files: BTreeMap<String, String>,
    /// Where the data comes from: name on the Hugging Face Hub, or the type of `data_files`.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset_path: Option<String>,
    /// Name of the data's configuration on the Hub.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub dataset_name: Option<String>,
    /// Split that examples come from.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub training_split: Option<String>,
    /// Split that is evaluated where there is no test split.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub validation_split: Option<String>,
    /// Split that is evaluated.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub test_split: Option<String>,
    /// How a document becomes requests.
    pub output_type: OutputType,
    /// Column or template of the prompt; empty for none.
    pub doc_to_text: String,
    /// The choices of a multiple-choice task.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doc_to_choice: Option<Choices>,
    /// The right choice, or the text that is scored.
    pub doc_to_target: Target,
    /// Text between prompt and choice.
    pub target_delimiter: String,
    /// Column or template of what is scored after each choice of a multiple-choice task; the choices then end the
    /// prompt.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub doc_to_suffix: Option<String>,
    /// What is scored in place of a rolling task's text.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub process: Option<Process>,
    /// What preset `paper` packs.
    #[serde(skip_serializing_if = "is_default")]
    pub packing: Packing,
    /// Examples before the question, if the file says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub num_fewshot: Option<usize>,
    /// Split that the examples come from, if the file says it.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub fewshot_split: Option<String>,
    /// Text after each example.
    #[serde(skip_serializing_if = "is_blank_line")]
    pub fewshot_delimiter: String,
    /// How examples are chosen.
    #[serde(skip_serializing_if = "is_default")]
    pub fewshot_config: FewShotConfig,
    /// Column or template of what stands before everything.
    #[serde(skip_serializing_if = "String::is_empty")]
    pub description: String,
    /// The metrics, in the order of the file.
    pub metric_list: Vec<MetricEntry>,
    /// Version of the task's definition.
    pub version: f64,
}

fn is_default<T: Default + PartialEq>(value: &T) -> bool {
    *value == T::default()
}

fn is_blank_line(delimiter: &str) -> bool {
    delimiter == BLANK_LINE
}

/// lm-eval's `fewshot_delimiter`.
const BLANK_LINE: &str = "\n\n";

impl Task {
    /// Parses a task file; `file` is the name that error messages use.
    ///
    /// # Errors
    /// [`Error::Config`] that names the file and the line.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        file::parse(file, text, None)
    }

    /// The split that is evaluated.
    pub fn split(&self) -> &str {
        self.test_split.as_ref().or(self.validation_split.as_ref()).map_or("test", String::as_str)
    }

    /// The split that a few-shot prompt's examples come from.
    pub fn example_split(&self) -> &str {
        let split = self.named_example_split().or(self.training_split.as_deref());
        split.or(self.validation_split.as_deref()).unwrap_or_else(|| self.split())
    }

    fn named_example_split(&self) -> Option<&str> {
        self.fewshot_config.split.as_ref().or(self.fewshot_split.as_ref()).map(String::as_str)
    }

    /// Whether a document is kept out of its own examples. lm-eval compares the split that the task *names* for
    /// examples with its test split, so this holds, too, where the task names neither.
    pub(crate) fn leaves_itself_out(&self) -> bool {
        self.named_example_split() == self.test_split.as_deref()
    }

    /// File stem of the data of a split.
    pub(crate) fn stem(&self, split: &str) -> &str {
        self.data_files.get(split).unwrap_or(&self.dataset)
    }

    /// Number of examples before the question.
    pub fn shots(&self) -> usize {
        match self.output_type {
            OutputType::LoglikelihoodRolling => 0,
            _ => self.num_fewshot.unwrap_or(0),
        }
    }

    /// The task as a preset and a number of examples make it. A task that asks for no examples stays without.
    #[must_use]
    pub fn under(&self, preset: Preset, num_fewshot: Option<usize>) -> Self {
        let mut task = self.clone();
        if task.output_type != OutputType::LoglikelihoodRolling && task.num_fewshot != Some(0) {
            task.num_fewshot = num_fewshot.or(task.num_fewshot);
        }
        if task.is_packed(preset) {
            let metric = Metric::TokenPerplexity;
            task.metric_list = vec![MetricEntry { metric, aggregation: None, higher_is_better: None }];
            task.process = None;
        }
        task
    }

    /// SHA-256 of the definition, as 64 hexadecimal digits.
    pub fn sha256(&self) -> String {
        b158_datasets::table::sha256(serde_json::to_string(self).expect("plain values").as_bytes())
    }

    /// Whether its texts are packed into windows, each of which counts as a document.
    pub fn is_packed(&self, preset: Preset) -> bool {
        preset == Preset::Paper && self.output_type == OutputType::LoglikelihoodRolling
    }

    /// The metrics, in the order of the file.
    pub fn metrics(&self) -> impl Iterator<Item = Metric> + '_ {
        self.metric_list.iter().map(|entry| entry.metric)
    }

    /// Message and hint of what does not make sense.
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
            if entry.aggregation.as_deref().is_some_and(|name| name != metric.aggregation()) {
                return Err((
                    format!("aggregation of '{}' is {}", metric.name(), metric.aggregation()),
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
        for (field, given) in
            [("process", self.process.is_some()), ("packing", self.packing != Packing::default())]
        {
            if given && !rolling {
                return fail(&format!("{field} is for loglikelihood_rolling only"), "remove that line");
            }
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

#[cfg(test)]
mod tests {
    use super::find::EMBEDDED;
    use super::*;

    #[test]
    fn bad_task_files_are_named() {
        let embedded = EMBEDDED[0].1;
        let message = |from: &str, to: &str| {
            let text = embedded.replace(from, to);
            assert_ne!(text, embedded, "nothing replaced");
            Task::parse("arc.yaml", &text).unwrap_err().to_string()
        };
        insta::assert_snapshot!(message("doc_to_text", "doc_to_txt"), @r"
        arc.yaml, line 9: unknown key `doc_to_txt`
        hint: did you mean 'doc_to_text'? valid here: task, dataset, data_files, dataset_path, dataset_name, dataset_kwargs, training_split, validation_split, split, test_split, output_type, doc_to_text, doc_to_choice, doc_to_target, target_delimiter, doc_to_suffix, process, packing, num_fewshot, fewshot_split, fewshot_delimiter, fewshot_config, description, metric_list, version, metadata, tag, group, task_alias, repeats, should_decontaminate, doc_to_decontamination_query, unsafe_code, process_docs, process_results, custom_dataset, generation_kwargs, filter_list, use_prompt, gen_prefix, doc_to_image, doc_to_audio
        ");
        insta::assert_snapshot!(message("metric: acc_norm", "metric: acc_nrom"), @r"
        arc.yaml, line 15: metric_list[1].metric: unknown variant `acc_nrom`
        hint: did you mean 'acc_norm'? valid here: acc, acc_norm, acc_bytes, perplexity, word_perplexity, byte_perplexity, bits_per_byte, token_perplexity
        ");
        insta::assert_snapshot!(message("metric: acc_norm", "metric: bits_per_byte"), @r"
        arc.yaml: metric 'bits_per_byte' does not fit this task
        hint: fitting metrics: acc, acc_norm, acc_bytes
        ");
        insta::assert_snapshot!(message("version: 1.0", "version: [1"), @"arc.yaml, line 19: did not find expected ',' or ']', while parsing a flow sequence at line 18 column 12");
        insta::assert_snapshot!(message("output_type: multiple_choice\n", ""), @r"
        arc.yaml, line 2: missing field `output_type`
        hint: add a line 'output_type: ...'
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
    fn files_of_lm_eval_can_be_read() {
        let text = "\
tag: [a, b]
task: mine
dataset_path: json
dataset_name: null
dataset_kwargs:
  data_files: {test: somewhere/questions.jsonl, train: somewhere/examples.jsonl.gz}
  trust_remote_code: true
training_split: train
test_split: test
output_type: multiple_choice
doc_to_text: \"{{question}}\"
doc_to_target: 3
doc_to_choice: \"{{[a, b, c, d]}}\"
num_fewshot: 2
fewshot_config: {sampler: first_n}
repeats: 1
process_docs: null
should_decontaminate: true
doc_to_decontamination_query: \"{{question}}\"
metric_list:
  - metric: acc
    aggregation: mean
    higher_is_better: true
metadata: {version: 1.5, note: ours}
";
        let task = Task::parse("mine.yaml", text).unwrap();
        assert_eq!(
            (task.split(), task.example_split(), task.shots(), task.version),
            ("test", "train", 2, 1.5)
        );
        assert_eq!(
            (task.stem("test"), task.stem("train"), task.stem("validation")),
            ("questions", "examples", "mine")
        );
        assert!(!task.leaves_itself_out());
        let written = serde_json::to_string(&task).unwrap();
        assert_eq!(serde_json::from_str::<Task>(&written).unwrap(), task);

        let message = |from: &str, to: &str| {
            assert!(text.contains(from), "nothing to replace");
            Task::parse("mine.yaml", &text.replace(from, to)).unwrap_err().to_string()
        };
        insta::assert_snapshot!(message("doc_to_target: 3", "doc_to_target: !function utils.target"), @r"
        mine.yaml, line 12: doc_to_target names the Python function utils.target
        hint: no Python runs here: write it as a template (see the embedded tasks), or use the embedded task
        ");
        insta::assert_snapshot!(message("process_docs: null", "process_docs: !function utils.process"), @r"
        mine.yaml, line 17: process_docs names the Python function utils.process
        hint: no Python runs here: write it as a template (see the embedded tasks), or use the embedded task
        ");
        insta::assert_snapshot!(message("process_docs: null", "gen_prefix: 'So:'"), @r"
        mine.yaml: gen_prefix is not supported
        hint: write it at the end of doc_to_text
        ");
        insta::assert_snapshot!(message("task: mine", "task: [a, b]"), @r"
        mine.yaml: it is a list of tasks
        hint: name its tasks one by one; a suite's table has their average
        ");
        insta::assert_snapshot!(message("aggregation: mean", "aggregation: f1"), @r"
        mine.yaml: aggregation of 'acc' is mean
        hint: correct or remove that line
        ");
        insta::assert_snapshot!(message("multiple_choice", "generate_until"), @r"
        mine.yaml, line 10: output_type: unknown variant `generate_until`
        hint: valid here: multiple_choice, loglikelihood, loglikelihood_rolling
        ");
        insta::assert_snapshot!(message("tag: [a, b]", "include: other.yaml"), @r"
        mine.yaml: it includes other.yaml, which is not there
        hint: put that file beside this one; `include: arc_easy.yaml` takes an embedded task
        ");
        insta::assert_snapshot!(message("first_n", "balanced"), @r"
        mine.yaml, line 15: fewshot_config.sampler: unknown variant `balanced`
        hint: valid here: default, first_n
        ");
        insta::assert_snapshot!(Task::parse("list.yaml", "- a").unwrap_err(), @"list.yaml: a task file has lines `key: value`");
    }

    #[test]
    fn presets_and_numbers_of_examples_change_tasks() {
        let embedded = |name: &str| all_tasks(None).unwrap()[name].clone();
        let arc = embedded("arc_easy");
        assert_eq!(arc.under(Preset::LmEval, None), arc);
        assert_eq!(arc.under(Preset::Paper, Some(2)).shots(), 2);
        // As lm-eval: a written 0 stays.
        let never = Task { num_fewshot: Some(0), ..arc.clone() };
        assert_eq!(never.under(Preset::LmEval, Some(2)).shots(), 0);
        let wikitext = embedded("wikitext");
        assert_eq!(wikitext.under(Preset::LmEval, Some(2)), wikitext);
        let packed = wikitext.under(Preset::Paper, None);
        assert_eq!(packed.metrics().collect::<Vec<_>>(), [Metric::TokenPerplexity]);
        // Examples of tasks without a test split must not be the document itself.
        let itself = |name| embedded(name).leaves_itself_out();
        assert!(!itself("arc_easy") && itself("hellaswag") && itself("winogrande"));
    }

    proptest::proptest! {
        #[test]
        fn any_text_gives_a_task_or_an_error(text in ".{0,80}") {
            let _ = Task::parse("t.yaml", &text);
        }
    }
}
