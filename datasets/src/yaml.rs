//! YAML files whose misspelt keys are errors that name the file, the line, the key and the nearest valid key.

use serde::de::DeserializeOwned;

use crate::nearest::suggest;

/// A YAML document that does not say what it must.
#[derive(Debug, thiserror::Error)]
#[error("{place}: {message}")]
pub struct YamlError {
    /// The file, with the line where it is known.
    pub place: String,
    /// What is wrong.
    pub message: String,
    /// The remedy; may be empty.
    pub hint: String,
}

/// Parses a YAML document; `file` is the name that error messages use.
///
/// # Errors
/// What is wrong where, with the nearest valid key.
pub fn parse<T: DeserializeOwned>(file: &str, text: &str) -> Result<T, YamlError> {
    serde_yaml::from_str(text).map_err(|error| {
        let mut message = error.to_string();
        let mut place = file.to_owned();
        if let Some(location) = error.location() {
            place = format!("{file}, line {}", location.line());
            let suffix = format!(" at line {} column {}", location.line(), location.column());
            message = message.replace(&suffix, "");
        }
        let hint = match (unknown_word(&message), missing_field(&message)) {
            (Some((word, valid)), _) => suggest(word, "valid here", &valid),
            (None, Some(field)) => format!("add a line '{field}: ...'"),
            (None, None) => String::new(),
        };
        // The list of valid words is in the hint already.
        if !hint.is_empty()
            && let Some(end) = message.find(", expected ")
        {
            message.truncate(end);
        }
        let message = message.replace("unknown field", "unknown key");
        YamlError { place, message, hint }
    })
}
/// The unknown field or variant of serde's message and the names that it lists:
/// ``unknown field `modles`, expected one of `models`, `tasks` ``.
fn unknown_word(message: &str) -> Option<(&str, Vec<&str>)> {
    let start = message.find("unknown field `").or_else(|| message.find("unknown variant `"))?;
    let mut quoted = message[start..].split('`').skip(1).step_by(2);
    let word = quoted.next()?;
    let valid: Vec<&str> = quoted.collect();
    (!valid.is_empty()).then_some((word, valid))
}

/// The field of serde's message ``missing field `tasks` ``.
fn missing_field(message: &str) -> Option<&str> {
    let (_, rest) = message.split_once("missing field `")?;
    rest.split('`').next()
}
