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
//! tasks: [arc_easy, wikitext]
//! preset: lm-eval                 # optional
//! limit: 100                      # optional: first documents of each task
//! margins: {perplexity_ratio: 1.02, accuracy: 0.01}    # optional; fixed before the evaluation
//! ```

use std::path::Path;

use serde::{Deserialize, Serialize};

use crate::compare::Margins;
use crate::evaluate::Preset;
use crate::{Error, yaml};

/// What a model is in comparisons.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Role {
    /// What candidates are compared with; at most one in a suite.
    Baseline,
    /// Compared with the baseline.
    #[default]
    Candidate,
}

/// A model of a suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SuiteModel {
    /// Its name in results.
    pub name: String,
    /// Where it is, as written in the suite.
    pub path: String,
    /// Its role in comparisons.
    #[serde(default)]
    pub role: Role,
    /// The format to convert it to before evaluation.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub convert: Option<String>,
}

/// A suite.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct Suite {
    /// Its name.
    pub suite: String,
    /// Its models; names differ.
    pub models: Vec<SuiteModel>,
    /// Names of its tasks.
    pub tasks: Vec<String>,
    /// Prompting and scoring rules.
    #[serde(default)]
    pub preset: Preset,
    /// At most this many documents of each task.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub limit: Option<usize>,
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

    /// The model of role baseline.
    pub fn baseline(&self) -> Option<&SuiteModel> {
        self.models.iter().find(|m| m.role == Role::Baseline)
    }

    fn check(&self) -> Result<(), (String, &'static str)> {
        if self.models.is_empty() {
            return Err(("models is empty".into(), "list at least one model with name and path"));
        }
        if self.tasks.is_empty() {
            return Err(("tasks is empty".into(), "list at least one task"));
        }
        for (i, model) in self.models.iter().enumerate() {
            // A name becomes part of file names, and of `FOLDER:NAME` on the command line.
            let plain = |c: char| c.is_alphanumeric() || matches!(c, '_' | '-' | '.' | '+' | ' ');
            if model.name.trim().is_empty() || model.name.starts_with('.') || !model.name.chars().all(plain) {
                return Err((
                    format!("model {} has the unusable name {:?}", i + 1, model.name),
                    "use letters, digits, blanks, '_', '-', '+' and '.', not starting with '.'",
                ));
            }
            if self.models[..i].iter().any(|other| other.name == model.name) {
                return Err((format!("two models are named '{}'", model.name), "rename one of them"));
            }
        }
        if self.models.iter().filter(|m| m.role == Role::Baseline).count() > 1 {
            return Err(("more than one model has the role baseline".into(), "keep one"));
        }
        for (i, task) in self.tasks.iter().enumerate() {
            if self.tasks[..i].contains(task) {
                return Err((format!("task '{task}' is listed twice"), "remove one"));
            }
        }
        if self.limit == Some(0) {
            return Err(("limit is 0".into(), "remove it to evaluate every document"));
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
        assert_eq!(suite.baseline().unwrap().name, "fp16");
        assert_eq!(suite.models[1].role, Role::Candidate);
        assert_eq!(suite.models[1].convert.as_deref(), Some("tq2_0"));
        assert_eq!(suite.margins, Margins { perplexity_ratio: 1.05, accuracy: 0.01 });
        assert_eq!((suite.preset, suite.limit), (Preset::LmEval, Some(100)));
    }

    #[test]
    fn mistakes_are_named_with_file_line_and_remedy() {
        let message = |from: &str, to: &str| {
            assert!(DESK.contains(from), "nothing to replace");
            Suite::parse("desk.yaml", &DESK.replace(from, to)).unwrap_err().to_string()
        };
        insta::assert_snapshot!(message("models:", "modles:"), @r"
        desk.yaml, line 2: unknown key `modles`
        hint: did you mean 'models'? valid here: suite, models, tasks, preset, limit, margins
        ");
        insta::assert_snapshot!(message("    convert:", "    covnert:"), @r"
        desk.yaml, line 8: models[1]: unknown key `covnert`
        hint: did you mean 'convert'? valid here: name, path, role, convert
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
        hint: did you mean 'lm-eval'? valid here: lm-eval
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
