//! Suites: which models, which tasks, and what counts as parity.
//!
//! ```yaml
//! suite: desk
//! models:
//!   - name: fp16
//!     path: models/fp16           # role: baseline or candidate
//!     role: baseline
//!   - name: b158
//!     path: models/b158
//!     role: candidate
//!     convert: tq2_0              # optional: the format to evaluate it in
//!     size: 0.6M                  # optional: models of one size are twins; comparisons stay among them
//! tasks: [arc_easy, wikitext]
//! preset: lm-eval                 # optional
//! limit: 100                      # optional: first documents of each task
//! num_fewshot: 5                  # optional: examples before each question; the tasks' own number by default
//! add_bos: true                   # optional: whether the tokenizer adds BOS; its own configuration by default
//! max_length: 2048                # optional: longest input in tokens; the model's own by default
//! margins: {perplexity_ratio: 1.02, accuracy: 0.01}    # optional; fixed before the evaluation
//! ```
//!
//! With sizes, names may recur from size to size; a model's name in results is then `SIZE-NAME`.

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::compare::Margins;
use crate::evaluate::Preset;
use crate::{Error, yaml};

/// What a model is in comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// What the candidates of its size are compared with; at most one of each size.
    Baseline,
    /// Compared with the baseline.
    #[default]
    Candidate,
}

/// A model of a suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteModel {
    /// Its name, alone in its size.
    pub name: String,
    /// The size that it shares with its twins.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub size: Option<String>,
    /// Where it is, as written in the suite.
    pub path: String,
    /// Its role in comparisons.
    #[serde(default)]
    pub role: Role,
    /// The format to convert it to before evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convert: Option<String>,
}

impl SuiteModel {
    /// Its name in results.
    pub fn id(&self) -> String {
        match &self.size {
            Some(size) => format!("{size}-{}", self.name),
            None => self.name.clone(),
        }
    }
}

/// The models of one size.
#[derive(Debug, Clone, PartialEq)]
pub struct Twins<'s> {
    /// The size, or none for models without one.
    pub size: Option<&'s str>,
    /// In the suite's order.
    pub models: Vec<&'s SuiteModel>,
}

impl<'s> Twins<'s> {
    /// The model of role baseline.
    pub fn baseline(&self) -> Option<&'s SuiteModel> {
        self.models.iter().find(|m| m.role == Role::Baseline).copied()
    }

    /// The others.
    pub fn candidates(&self) -> impl Iterator<Item = &'s SuiteModel> + '_ {
        self.models.iter().filter(|m| m.role == Role::Candidate).copied()
    }
}

/// A suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Its name.
    pub suite: String,
    /// Its models; names differ within a size.
    pub models: Vec<SuiteModel>,
    /// Names of its tasks.
    pub tasks: Vec<String>,
    /// Prompting and scoring rules.
    #[serde(default)]
    pub preset: Preset,
    /// At most this many documents of each task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
    /// Examples before each question.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub num_fewshot: Option<usize>,
    /// Whether the tokenizer adds its special tokens (usually BOS).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub add_bos: Option<bool>,
    /// Longest input in tokens.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub max_length: Option<usize>,
    /// Non-inferiority margins.
    #[serde(default)]
    pub margins: Margins,
}

impl Suite {
    /// Reads a suite file.
    ///
    /// # Errors
    /// [`Error::Read`], otherwise those of [`Self::parse`].
    pub fn read(path: &Path) -> Result<Self, Error> {
        let text = std::fs::read_to_string(path)
            .map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
        Self::parse(&path.display().to_string(), &text)
    }

    /// Parses a suite; `file` is the name that error messages use.
    ///
    /// # Errors
    /// [`Error::Config`] that names the file, the line and the remedy.
    pub fn parse(file: &str, text: &str) -> Result<Self, Error> {
        yaml::parse::<Self>(file, text)?.checked(file)
    }

    /// The suite itself, if its values make sense; `origin` is the name that error messages use.
    ///
    /// # Errors
    /// [`Error::Config`] that says what does not.
    pub fn checked(self, origin: &str) -> Result<Self, Error> {
        match self.check() {
            Ok(()) => Ok(self),
            Err((message, hint)) => {
                Err(Error::Config { file: origin.to_owned(), message, hint: hint.to_owned() })
            }
        }
    }

    /// The models by size, in the order of their first.
    pub fn twins(&self) -> Vec<Twins<'_>> {
        let mut all: Vec<Twins<'_>> = Vec::new();
        for model in &self.models {
            let size = model.size.as_deref();
            match all.iter_mut().find(|twins| twins.size == size) {
                Some(twins) => twins.models.push(model),
                None => all.push(Twins { size, models: vec![model] }),
            }
        }
        all
    }

    fn check(&self) -> Result<(), (String, &'static str)> {
        if self.suite.trim().is_empty() || self.suite.chars().any(char::is_control) {
            let message = format!("the suite has the unusable name {:?}", self.suite);
            return Err((message, "write a name of one line, without control characters"));
        }
        if self.models.is_empty() {
            return Err(("models is empty".into(), "list at least one model with name and path"));
        }
        if self.tasks.is_empty() {
            return Err(("tasks is empty".into(), "list at least one task"));
        }
        for (i, model) in self.models.iter().enumerate() {
            // Both become part of file names, and of `FOLDER:NAME` on the command line.
            for (what, name) in [("name", Some(&model.name)), ("size", model.size.as_ref())] {
                let Some(name) = name else { continue };
                let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | ' ');
                if name.trim().is_empty() || name.starts_with('.') || !name.chars().all(plain) {
                    return Err((
                        format!("model {} has the unusable {what} {name:?}", i + 1),
                        "use letters, digits, blanks, '_', '-', '+' and '.', not starting with '.'",
                    ));
                }
            }
            let id = model.id();
            if self.models[..i].iter().any(|other| other.id() == id) {
                return Err((format!("two models are named '{id}'"), "rename one of them"));
            }
        }
        for twins in self.twins() {
            if twins.models.iter().filter(|m| m.role == Role::Baseline).count() > 1 {
                let of_size = twins.size.map_or(String::new(), |size| format!(" of size '{size}'"));
                let message = format!("more than one model{of_size} has the role baseline");
                return Err((message, "keep one; a suite with several needs `size: ...` on each model"));
            }
        }
        for (i, task) in self.tasks.iter().enumerate() {
            if self.tasks[..i].contains(task) {
                return Err((format!("task '{task}' is listed twice"), "remove one"));
            }
        }
        if self.limit == Some(0) {
            return Err(("limit is 0".into(), "remove it to evaluate every document"));
        }
        if self.max_length == Some(0) {
            return Err(("max_length is 0".into(), "remove it for the model's own"));
        }
        self.margins.check()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const DESK: &str = "\
suite: desk
models:
  - name: fp16
    path: models/fp16
    role: baseline
  - name: b158
    path: models/b158
    convert: tq2_0
tasks: [arc_easy, wikitext]
preset: lm-eval
limit: 100
margins: {perplexity_ratio: 1.05}
";

    #[test]
    fn a_suite_parses_with_its_defaults() {
        let suite = Suite::parse("desk.yaml", DESK).unwrap();
        let [twins] = &suite.twins()[..] else { panic!("one group without a size") };
        assert_eq!((twins.size, twins.baseline().unwrap().id()), (None, "fp16".to_owned()));
        assert_eq!(twins.candidates().map(SuiteModel::id).collect::<Vec<_>>(), ["b158"]);
        assert_eq!(suite.models[1].role, Role::Candidate);
        assert_eq!(suite.models[1].convert.as_deref(), Some("tq2_0"));
        assert_eq!(suite.margins, Margins { perplexity_ratio: 1.05, accuracy: 0.01 });
        assert_eq!((suite.preset, suite.limit), (Preset::LmEval, Some(100)));
    }

    #[test]
    fn models_of_a_size_are_twins() {
        let suite = |sizes: [&str; 4]| {
            let [a, b, c, d] = sizes;
            let text = format!(
                "suite: s\nmodels:\n  - {{name: fp16, path: a, role: baseline{a}}}\n  - {{name: b1.58, path: b{b}}}\n  \
                 - {{name: fp16, path: c, role: baseline{c}}}\n  - {{name: b1.58, path: d{d}}}\ntasks: [desk]\n"
            );
            Suite::parse("s.yaml", &text)
        };
        let (small, large) = (", size: 0.6M", ", size: 3M");
        let both = suite([small, small, large, large]).unwrap();
        let ids: Vec<Vec<String>> =
            both.twins().iter().map(|t| t.models.iter().map(|m| m.id()).collect()).collect();
        assert_eq!(ids, [["0.6M-fp16", "0.6M-b1.58"], ["3M-fp16", "3M-b1.58"]]);
        assert_eq!(both.twins()[1].baseline().unwrap().path, "c");
        let message = |sizes| suite(sizes).unwrap_err().to_string();
        insta::assert_snapshot!(message([small, small, small, large]), @r"
        s.yaml: two models are named '0.6M-fp16'
        hint: rename one of them
        ");
        insta::assert_snapshot!(message([small, small, ", size: ../x", large]), @r#"
        s.yaml: model 3 has the unusable size "../x"
        hint: use letters, digits, blanks, '_', '-', '+' and '.', not starting with '.'
        "#);
        let two = DESK.replace("    convert: tq2_0\n", "    role: baseline\n");
        insta::assert_snapshot!(Suite::parse("desk.yaml", &two).unwrap_err(), @r"
        desk.yaml: more than one model has the role baseline
        hint: keep one; a suite with several needs `size: ...` on each model
        ");
    }

    #[test]
    fn mistakes_are_named_with_file_line_and_remedy() {
        let message = |from: &str, to: &str| {
            assert!(DESK.contains(from), "nothing to replace");
            Suite::parse("desk.yaml", &DESK.replace(from, to)).unwrap_err().to_string()
        };
        insta::assert_snapshot!(message("models:", "modles:"), @r"
        desk.yaml, line 2: unknown key `modles`
        hint: did you mean 'models'? valid here: suite, models, tasks, preset, limit, num_fewshot, add_bos, max_length, margins
        ");
        insta::assert_snapshot!(message("    convert:", "    covnert:"), @r"
        desk.yaml, line 8: models[1]: unknown key `covnert`
        hint: did you mean 'convert'? valid here: name, size, path, role, convert
        ");
        insta::assert_snapshot!(message("perplexity_ratio", "perplexity"), @r"
        desk.yaml, line 12: margins: unknown key `perplexity`
        hint: did you mean 'perplexity_ratio'? valid here: perplexity_ratio, accuracy
        ");
        insta::assert_snapshot!(message("role: baseline", "role: basline"), @r"
        desk.yaml, line 5: models[0].role: unknown variant `basline`
        hint: did you mean 'baseline'? valid here: baseline, candidate
        ");
        insta::assert_snapshot!(message("preset: lm-eval", "preset: lm_eval"), @r"
        desk.yaml, line 10: preset: unknown variant `lm_eval`
        hint: did you mean 'lm-eval'? valid here: lm-eval, paper
        ");
        insta::assert_snapshot!(message("limit: 100", "limit: -1"), @"desk.yaml, line 11: limit: invalid type: integer `-1`, expected usize");
        insta::assert_snapshot!(message("limit: 100", "limit: 0"), @r"
        desk.yaml: limit is 0
        hint: remove it to evaluate every document
        ");
        insta::assert_snapshot!(message("tasks: [arc_easy, wikitext]\n", ""), @r"
        desk.yaml, line 1: missing field `tasks`
        hint: add a line 'tasks: ...'
        ");
        insta::assert_snapshot!(message("[arc_easy, wikitext]", "[arc_easy, arc_easy]"), @r"
        desk.yaml: task 'arc_easy' is listed twice
        hint: remove one
        ");
        insta::assert_snapshot!(message("name: b158", "name: fp16"), @r"
        desk.yaml: two models are named 'fp16'
        hint: rename one of them
        ");
        insta::assert_snapshot!(message("suite: desk", "suite: \"a\\n# b\""), @r#"
        desk.yaml: the suite has the unusable name "a\n# b"
        hint: write a name of one line, without control characters
        "#);
        insta::assert_snapshot!(message("ratio: 1.05", "ratio: 0.9"), @r"
        desk.yaml: margin perplexity_ratio is 0.9
        hint: it is a ratio of at least 1, for instance 1.02
        ");
        insta::assert_snapshot!(message("suite: desk", "suite: [desk"), @"desk.yaml, line 1: suite: invalid type: sequence, expected a string");
        insta::assert_snapshot!(message("limit: 100", "limit: 100\nlimit: 2"), @"desk.yaml, line 1: duplicate field `limit`");
    }

    proptest::proptest! {
        #[test]
        fn any_text_gives_a_suite_or_an_error(text in ".{0,80}") {
            let _ = Suite::parse("s.yaml", &text);
        }
    }
}
