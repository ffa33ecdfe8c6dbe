//! Fields of a JSON object, each taken with its type and range, or refused by name.

use serde_json::{Map, Value};

use crate::error::ApiError;

/// The fields of a request. `null` counts as absent, as it does with OpenAI.
pub(crate) struct Fields(Map<String, Value>);

impl Fields {
    /// Reads a body.
    pub(crate) fn parse(body: &[u8]) -> Result<Self, ApiError> {
        let value: Value = serde_json::from_slice(body).map_err(|error| {
            ApiError::bad_request(format!("the body is not JSON: {error}\nhint: send one JSON object"))
        })?;
        match value {
            Value::Object(fields) => Ok(Self(fields)),
            _ => Err(ApiError::bad_request("the body is not a JSON object\nhint: send one JSON object")),
        }
    }

    pub(crate) fn take(&mut self, name: &str) -> Option<Value> {
        self.0.remove(name).filter(|value| !value.is_null())
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.0.get(name).is_some_and(|value| !value.is_null())
    }

    pub(crate) fn boolean(&mut self, name: &str) -> Result<Option<bool>, ApiError> {
        self.typed(name, "true or false", Value::as_bool)
    }

    pub(crate) fn text(&mut self, name: &str) -> Result<Option<String>, ApiError> {
        self.typed(name, "a text", |value| value.as_str().map(str::to_owned))
    }

    pub(crate) fn number(&mut self, name: &str) -> Result<Option<f64>, ApiError> {
        self.typed(name, "a number", Value::as_f64)
    }

    /// A whole number from 0 to `most`.
    pub(crate) fn count(&mut self, name: &str, most: usize) -> Result<Option<usize>, ApiError> {
        let expected = match most {
            usize::MAX => "a whole number, not negative".to_owned(),
            most => format!("a whole number from 0 to {most}"),
        };
        let count = self.typed(name, &expected, |value| value.as_u64().map(|n| n as usize))?;
        match count {
            Some(n) if n > most => Err(wrong(name, &expected)),
            count => Ok(count),
        }
    }

    /// A text, or a list of at most `most` texts.
    pub(crate) fn texts(&mut self, name: &str, most: usize) -> Result<Vec<String>, ApiError> {
        let texts =
            self.typed(name, &format!("a text or a list of at most {most} texts"), |value| match value {
                Value::String(text) => Some(vec![text.clone()]),
                Value::Array(list) if list.len() <= most => {
                    list.iter().filter(|v| !v.is_null()).map(|v| v.as_str().map(str::to_owned)).collect()
                }
                _ => None,
            })?;
        Ok(texts.unwrap_or_default())
    }

    fn typed<T>(
        &mut self,
        name: &str,
        expected: &str,
        read: impl FnOnce(&Value) -> Option<T>,
    ) -> Result<Option<T>, ApiError> {
        match self.take(name) {
            None => Ok(None),
            Some(value) => read(&value).map(Some).ok_or_else(|| wrong(name, expected)),
        }
    }

    /// Refuses fields that would change the answer and are not offered, unless their value asks for what is done
    /// anyway.
    pub(crate) fn refuse(&mut self, names: &[(&str, &str)]) -> Result<(), ApiError> {
        for (name, neutral) in names {
            let Some(value) = self.take(name) else { continue };
            let neutral: Value = serde_json::from_str(neutral).expect("a JSON literal");
            let same = |a: &Value| *a == value || a.as_f64().is_some_and(|a| value.as_f64() == Some(a));
            let accepted = match &neutral {
                Value::Array(values) => values.iter().any(same),
                neutral => same(neutral),
            };
            if !accepted {
                let message = format!("`{name}` is not offered with this value\nhint: leave it out");
                return Err(ApiError::unsupported(name, message));
            }
        }
        Ok(())
    }
}

/// A field with a value of another kind.
pub(crate) fn wrong(name: &str, expected: &str) -> ApiError {
    ApiError::invalid(name, format!("`{name}` must be {expected}"))
}
