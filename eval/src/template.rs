//! Templates of task files: minijinja with the conventions of lm-eval's jinja2 environment.
//!
//! ```text
//!   "question_stem"                          a bare name: the document's column, untouched
//!   "Question: {{question}}\nAnswer:"        a template: rendered, undefined names are errors
//!   "{{choices.text}}"                       where a list is wanted: one expression, evaluated
//!   "{{ending | hellaswag}}"                 a named transformation of a text: see `detokenize`
//! ```
//!
//! Methods of strings and lists are Python's; those that differ in the runtime library are replaced here.

use minijinja::value::ValueKind;
use minijinja::{Environment, ErrorKind, UndefinedBehavior, Value, syntax::SyntaxConfig, value::Serde};

use crate::{detokenize, python};

/// A task file is user input: no template may run for ever. Prompts need some tens of instructions.
const FUEL: u64 = 100_000;

/// Why a template gave no value: message and hint.
#[derive(Debug)]
pub(crate) struct Failure {
    pub message: String,
    pub hint: String,
}

/// Renders templates.
pub(crate) struct Templates {
    env: Environment<'static>,
}

impl Templates {
    pub(crate) fn new() -> Self {
        let mut env = Environment::new();
        env.set_undefined_behavior(UndefinedBehavior::Strict);
        env.set_syntax(
            SyntaxConfig::builder().keep_trailing_newline(true).build().expect("the default delimiters"),
        );
        env.set_fuel(Some(FUEL));
        env.set_auto_escape_callback(|_| minijinja::AutoEscape::None);
        env.set_unknown_method_callback(method);
        env.add_filter("hellaswag", |text: &str| detokenize::hellaswag(text));
        env.set_formatter(|out, _, value| {
            // As Python prints them.
            let text = match value.kind() {
                ValueKind::None => "None".to_owned(),
                ValueKind::Bool => if value.is_true() { "True" } else { "False" }.to_owned(),
                ValueKind::Undefined => return Err(ErrorKind::UndefinedError.into()),
                _ => value.to_string(),
            };
            out.write_str(&text).map_err(|_| ErrorKind::WriteFailure.into())
        });
        Self { env }
    }

    /// The column that `source` names, or the value of its only expression, or the rendered text.
    pub(crate) fn value(&self, field: &str, source: &str, row: &Row) -> Result<Value, Failure> {
        if is_name(source) {
            return row.column(field, source);
        }
        if let Some(expression) = only_expression(source) {
            let value = self
                .env
                .compile_expression(expression)
                .and_then(|e| e.eval(row.value.clone()))
                .map_err(|e| failure(field, source, &e, row))?;
            if value.is_undefined() {
                return Err(failure(field, source, &ErrorKind::UndefinedError.into(), row));
            }
            return Ok(value);
        }
        self.text(field, source, row).map(Value::from)
    }

    /// The column that `source` names, printed, or the rendered text, which may be a bare word.
    pub(crate) fn free_text(&self, field: &str, source: &str, row: &Row) -> Result<String, Failure> {
        match row.column(field, source) {
            Ok(value) => Ok(value.to_string()),
            Err(_) => {
                self.env.render_str(source, row.value.clone()).map_err(|e| failure(field, source, &e, row))
            }
        }
    }

    /// The column that `source` names, printed, or the rendered text.
    pub(crate) fn text(&self, field: &str, source: &str, row: &Row) -> Result<String, Failure> {
        if is_name(source) {
            return row.column(field, source).map(|value| value.to_string());
        }
        self.env.render_str(source, row.value.clone()).map_err(|e| failure(field, source, &e, row))
    }
}

/// One document.
pub(crate) struct Row {
    value: Value,
    columns: String,
}

impl Row {
    pub(crate) fn new(row: &serde_json::Value) -> Self {
        let columns = row.as_object().map(|o| o.keys().cloned().collect::<Vec<_>>().join(", "));
        Self { value: Value::from(Serde(row)), columns: columns.unwrap_or_default() }
    }

    fn column(&self, field: &str, name: &str) -> Result<Value, Failure> {
        match self.value.get_attr(name) {
            Ok(value) if !value.is_undefined() => Ok(value),
            _ => Err(Failure {
                message: format!("{field} names the column '{name}', which the document lacks"),
                hint: format!("its columns: {}", self.columns),
            }),
        }
    }
}

fn failure(field: &str, source: &str, error: &minijinja::Error, row: &Row) -> Failure {
    let message = match error.detail() {
        Some(detail) => format!("{field} {source:?}: {}: {detail}", error.kind()),
        None => format!("{field} {source:?}: {}", error.kind()),
    };
    let hint = match error.kind() {
        ErrorKind::UndefinedError => format!("the document's columns: {}", row.columns),
        _ => format!("correct the document or {field} in the task file"),
    };
    Failure { message, hint }
}

/// Whether a template is a bare column name.
pub(crate) fn is_name(source: &str) -> bool {
    let mut chars = source.chars();
    chars.next().is_some_and(|c| c.is_alphabetic() || c == '_')
        && chars.all(|c| c.is_alphanumeric() || c == '_')
}

/// `a` of `{{ a }}`, if that is all.
fn only_expression(source: &str) -> Option<&str> {
    let inner = source.trim().strip_prefix("{{")?.strip_suffix("}}")?;
    (!inner.contains("{{") && !inner.contains("{%")).then_some(inner.trim_matches(['-', ' ']))
}

/// Python's methods of lists and strings, with those that pycompat lacks or has with other rules.
fn method(
    state: &mut minijinja::State,
    value: &Value,
    name: &str,
    args: &[Value],
) -> Result<Value, minijinja::Error> {
    if name == "index" && value.kind() == ValueKind::Seq {
        let (wanted,): (Value,) = minijinja::value::from_args(args)?;
        return match value.try_iter()?.position(|item| item == wanted) {
            Some(index) => Ok(Value::from(index)),
            None => Err(minijinja::Error::new(
                ErrorKind::InvalidOperation,
                format!("label {wanted:?} is not in {value:?}"),
            )),
        };
    }
    if let (Some(text), [], Some(of_string)) = (value.as_str(), args, string_method(name)) {
        return Ok(of_string(text));
    }
    if let ("index", Some(text)) = (name, value.as_str()) {
        let (wanted,): (&str,) = minijinja::value::from_args(args)?;
        return match text.find(wanted) {
            Some(at) => Ok(Value::from(text[..at].chars().count())),
            None => Err(minijinja::Error::new(
                ErrorKind::InvalidOperation,
                format!("{wanted:?} is not in {text:?}"),
            )),
        };
    }
    minijinja_contrib::pycompat::unknown_method_callback(state, value, name, args)
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
            ("", "{}", ""),
        ] {
            assert_eq!(text(source, row).unwrap(), rendered, "{source}");
        }
    }

    #[test]
    fn a_template_that_never_ends_runs_out_of_fuel() {
        let source = "{% for a in range(9999) %}{% for b in range(9999) %}x{% endfor %}{% endfor %}";
        assert!(text(source, "{}").unwrap_err().message.contains("fuel"));
    }

    proptest::proptest! {
        #[test]
        fn any_template_gives_text_or_an_error(source in ".{0,60}|[{}% a-c.()|'0-9\\[\\]]{0,40}") {
            let _ = text(&source, r#"{"a": ["x"], "b": 1, "c": {"a": "y"}}"#);
        }
    }
}
