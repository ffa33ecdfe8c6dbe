//! Templates of task files: minijinja with the conventions of lm-eval's jinja2 environment, and bounds on time and
//! memory ([`Sandbox`]).
//!
//! ```text
//!   "question_stem"                          a bare name: the document's column, untouched
//!   "Question: {{question}}\nAnswer:"        a template: rendered, undefined names are errors
//!   "{{choices.text}}"                       where a list is wanted: one expression, evaluated
//!   "{{ending | hellaswag}}"                 a named transformation of a text: see `detokenize`
//! ```
//!
//! Methods of strings and lists are Python's; those that differ in the runtime library are replaced here. A column that
//! is null is as good as missing where it is named alone; in a template it prints `None`, as in lm-eval.

use b158_checkpoint::{Sandbox, SandboxError};
use minijinja::value::ValueKind;
use minijinja::{ErrorKind, Value, value::Serde};

use crate::{detokenize, python};

/// A task file is user input: no template may run for ever. Prompts need some tens of instructions.
const FUEL: u64 = 100_000;
/// Bytes that a rendering may read and write: so many, and so many for each byte of the document.
const BYTES: u64 = 16 << 20;
const BYTES_PER_BYTE: u64 = 256;

/// Why a template gave no value: message and hint.
#[derive(Debug)]
pub(crate) struct Failure {
    pub message: String,
    pub hint: String,
}

/// Renders templates.
pub(crate) struct Templates {
    sandbox: Sandbox,
}

impl Templates {
    pub(crate) fn new() -> Self {
        let sandbox = Sandbox::new(FUEL, method, |env| {
            env.add_filter("hellaswag", |text: &str| detokenize::hellaswag(text));
        });
        Self { sandbox }
    }

    /// The column that `source` names, or the value of its only expression, or the rendered text.
    pub(crate) fn value(&self, field: &str, source: &str, row: &Row) -> Result<Value, Failure> {
        if is_name(source) {
            return row.column(field, source);
        }
        if is_only_expression(source) {
            let value = self.sandbox.value(source.trim(), &row.value, row.bytes);
            return value.map_err(|e| failure(field, source, &e, row));
        }
        self.text(field, source, row).map(Value::from)
    }

    /// The column that `source` names, printed, or the rendered text, which may be a bare word.
    pub(crate) fn free_text(&self, field: &str, source: &str, row: &Row) -> Result<String, Failure> {
        match row.column(field, source) {
            Ok(value) => Ok(printed(&value)),
            Err(_) => self.rendered(field, source, row),
        }
    }

    /// The column that `source` names, printed, or the rendered text.
    pub(crate) fn text(&self, field: &str, source: &str, row: &Row) -> Result<String, Failure> {
        if is_name(source) {
            row.column(field, source).map(|v| printed(&v))
        } else {
            self.rendered(field, source, row)
        }
    }

    fn rendered(&self, field: &str, source: &str, row: &Row) -> Result<String, Failure> {
        self.sandbox.render(source, &row.value, row.bytes).map_err(|e| failure(field, source, &e, row))
    }
}

/// A value as Python prints it.
pub(crate) fn printed(value: &Value) -> String {
    match value.kind() {
        ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
        _ => value.to_string(),
    }
}

/// One document.
pub(crate) struct Row {
    value: Value,
    columns: String,
    /// What a rendering may read and write.
    bytes: u64,
}

impl Row {
    pub(crate) fn new(row: &serde_json::Value) -> Self {
        let columns = row.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>().join(", "));
        let bytes = BYTES.saturating_add((row.to_string().len() as u64).saturating_mul(BYTES_PER_BYTE));
        Self { value: Value::from(Serde(row)), columns: columns.unwrap_or_default(), bytes }
    }

    fn column(&self, field: &str, name: &str) -> Result<Value, Failure> {
        match self.value.get_attr(name) {
            Ok(value) if value.is_none() => Err(Failure {
                message: format!("{field} names the column '{name}', which is null in the document"),
                hint: "correct the document or leave it out".into(),
            }),
            Ok(value) if !value.is_undefined() => Ok(value),
            _ => Err(Failure {
                message: format!("{field} names the column '{name}', which the document lacks"),
                hint: format!("its columns: {}", self.columns),
            }),
        }
    }
}

fn failure(field: &str, source: &str, error: &SandboxError, row: &Row) -> Failure {
    let message = format!("{field} {source:?}: {}", error.reason);
    let hint = if error.undefined {
        format!("the document's columns: {}", row.columns)
    } else {
        format!("correct the document or {field} in the task file")
    };
    Failure { message, hint }
}

/// Whether a template is a bare column name.
pub(crate) fn is_name(source: &str) -> bool {
    let mut chars = source.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_')
}

/// Whether a template is `{{ a }}` alone.
fn is_only_expression(source: &str) -> bool {
    let inner = source.trim().strip_prefix("{{").and_then(|rest| rest.strip_suffix("}}"));
    inner.is_some_and(|inner| !inner.contains("{{") && !inner.contains("{%"))
}

/// Python's methods of lists and strings that the engine lacks or has with other rules.
fn method(value: &Value, name: &str, args: &[Value]) -> Option<Result<Value, minijinja::Error>> {
    match (name, value.kind()) {
        ("index", ValueKind::Seq) => Some(index_of(value, args)),
        ("index", ValueKind::String) => Some(index_in(value.as_str()?, args)),
        (_, ValueKind::String) if args.is_empty() => Some(Ok(string_method(name)?(value.as_str()?))),
        _ => None,
    }
}

/// `list.index(item)`.
fn index_of(list: &Value, args: &[Value]) -> Result<Value, minijinja::Error> {
    let (wanted,): (Value,) = minijinja::value::from_args(args)?;
    let found = list.try_iter()?.position(|item| item == wanted);
    found.map(Value::from).ok_or_else(|| missing(format!("label {wanted:?} is not in {list:?}")))
}

/// `text.index(part)`, in characters.
fn index_in(text: &str, args: &[Value]) -> Result<Value, minijinja::Error> {
    let (wanted,): (&str,) = minijinja::value::from_args(args)?;
    let at = text.find(wanted).ok_or_else(|| missing(format!("{wanted:?} is not in {text:?}")))?;
    Ok(Value::from(text[..at].chars().count()))
}

fn missing(message: String) -> minijinja::Error {
    minijinja::Error::new(ErrorKind::InvalidOperation, message)
}

/// A method of strings without arguments that Unicode makes differ between the languages.
fn string_method(name: &str) -> Option<fn(&str) -> Value> {
    match name {
        "strip" => Some(|text| python::strip(text).into()),
        "lstrip" => Some(|text| python::lstrip(text).into()),
        "rstrip" => Some(|text| python::rstrip(text).into()),
        "capitalize" => Some(|text| python::capitalize(text).into()),
        _ => None,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn text(source: &str, row: &str) -> Result<String, Failure> {
        Templates::new().text("doc_to_text", source, &Row::new(&serde_json::from_str(row).unwrap()))
    }

    #[test]
    fn conventions_of_jinja2_as_lm_eval_sets_it_up() {
        for (source, row, rendered) in [
            ("a", r#"{"a": "{{raw}} "}"#, "{{raw}} "),
            ("{{a}}\n", r#"{"a": "x<&>"}"#, "x<&>\n"),
            ("{{a}}|{{b}}|{{c}}|{{d}}", r#"{"a": true, "b": null, "c": 3, "d": 1.0}"#, "True|None|3|1.0"),
            ("{{a.index(b.lstrip())}}", r#"{"a": ["A", "B"], "b": " B"}"#, "1"),
            ("{% for x in a %}{{x}};{% endfor %}", r#"{"a": [1, 2]}"#, "1;2;"),
            ("{{a[:a.index('_')]}}|{{a[a.index('_') + 1:].strip()}}", r#"{"a": "é b_ c\u001c"}"#, "é b|c"),
            ("{{a.split(' ')[:-1]|join(' ')}}|{{' '+a.split(' ')[-1]}}", r#"{"a": "x  y z"}"#, "x  y| z"),
            ("{{a.capitalize()|hellaswag}}", r#"{"a": "DO [header] it"}"#, "Do it"),
            ("{{[a, b] | map('hellaswag') | list}}", r#"{"a": " x", "b": "y "}"#, "['x', 'y']"),
            ("a", r#"{"a": true}"#, "True"),
            ("", "{}", ""),
        ] {
            assert_eq!(text(source, row).unwrap(), rendered, "{source}");
        }
    }

    #[test]
    fn a_column_without_a_value_is_an_error() {
        let message = text("a", r#"{"a": null}"#).unwrap_err().message;
        assert_eq!(message, "doc_to_text names the column 'a', which is null in the document");
    }

    #[test]
    fn a_template_without_end_is_an_error() {
        let source = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        assert!(text(source, "{}").unwrap_err().message.contains("it does not end"));
        let doubled =
            "{% set ns = namespace(s='x') %}{% for i in range(40) %}{% set ns.s = ns.s ~ ns.s %}{% endfor %}";
        assert!(text(doubled, "{}").unwrap_err().message.contains("more text than any prompt holds"));
    }

    proptest::proptest! {
        #[test]
        fn any_template_gives_text_or_an_error(source in ".{0,60}|[{}% a-c.()|'0-9\\[\\]]{0,40}") {
            let _ = text(&source, r#"{"a": ["x"], "b": 1, "c": {"a": "y"}}"#);
        }
    }
}
