//! Types of columns, as the catalogue writes them, and whether a row has them.
//!
//! ```text
//!   {question: text, choices: {text: [text], label: [text]}, answerKey: text}
//! ```

use serde::{Deserialize, Deserializer};
use serde_json::{Map, Value};

/// Types inside each other; the catalogue's nest three deep.
const DEEPEST: usize = 8;

/// The type of a value.
#[derive(Debug, Clone, PartialEq)]
pub enum Kind {
    /// A string.
    Text,
    /// A whole number.
    Integer,
    /// Any number.
    Number,
    /// A boolean.
    Flag,
    /// Anything, or nothing.
    Any,
    /// A list of values of one type.
    List(Box<Kind>),
    /// An object with at least these keys.
    Object(Columns),
}

/// Named types, in their file's order.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Columns(pub Vec<(String, Kind)>);

impl Columns {
    /// The names, in order.
    pub fn names(&self) -> impl Iterator<Item = &str> {
        self.0.iter().map(|(name, _)| name.as_str())
    }

    /// What a row lacks or has otherwise, or `None` if it fits.
    pub fn misfit(&self, row: &Map<String, Value>) -> Option<String> {
        self.0.iter().find_map(|(name, kind)| {
            let Some(value) = row.get(name) else {
                let has: Vec<&str> = row.keys().map(String::as_str).collect();
                return Some(format!("column '{name}' is missing; there are {}", has.join(", ")));
            };
            (!kind.fits(value))
                .then(|| format!("column '{name}' is not {}: {}", kind.article(), shown(value)))
        })
    }

    fn parse(value: &Value, depth: usize) -> Result<Self, String> {
        let object = value.as_object().ok_or("columns are {name: type, ...}")?;
        let columns = object.iter().map(|(name, kind)| Ok((name.clone(), Kind::parse(kind, depth)?)));
        columns.collect::<Result<_, String>>().map(Self)
    }
}

impl Kind {
    fn parse(value: &Value, depth: usize) -> Result<Self, String> {
        if depth == 0 {
            return Err("a type is nested too deep".into());
        }
        match value {
            Value::String(name) => match name.as_str() {
                "text" => Ok(Self::Text),
                "integer" => Ok(Self::Integer),
                "number" => Ok(Self::Number),
                "flag" => Ok(Self::Flag),
                "any" => Ok(Self::Any),
                other => Err(format!("unknown type '{other}'; types: text, integer, number, flag, any")),
            },
            Value::Array(inner) if inner.len() == 1 => {
                Ok(Self::List(Box::new(Self::parse(&inner[0], depth - 1)?)))
            }
            Value::Object(_) => Columns::parse(value, depth - 1).map(Self::Object),
            _ => Err("a type is a name, [type] or {name: type, ...}".into()),
        }
    }

    /// Whether a value is of the type.
    pub fn fits(&self, value: &Value) -> bool {
        match (self, value) {
            (Self::Any, _)
            | (Self::Text, Value::String(_))
            | (Self::Flag, Value::Bool(_))
            | (Self::Number, Value::Number(_)) => true,
            (Self::Integer, Value::Number(n)) => n.is_i64() || n.is_u64(),
            (Self::List(kind), Value::Array(values)) => values.iter().all(|v| kind.fits(v)),
            (Self::Object(columns), Value::Object(object)) => columns.misfit(object).is_none(),
            _ => false,
        }
    }

    fn article(&self) -> &'static str {
        match self {
            Self::Text => "a text",
            Self::Integer => "a whole number",
            Self::Number => "a number",
            Self::Flag => "true or false",
            Self::Any => "anything",
            Self::List(_) => "a list of its type",
            Self::Object(_) => "an object with its keys",
        }
    }
}

/// A value's beginning, for messages.
fn shown(value: &Value) -> String {
    let text = value.to_string();
    let mut short: String = text.chars().take(60).collect();
    if short.len() < text.len() {
        short.push_str("...");
    }
    short
}

impl<'de> Deserialize<'de> for Columns {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        // Through a JSON value, which keeps the keys' order.
        let value = Value::deserialize(deserializer)?;
        Self::parse(&value, DEEPEST).map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn columns(yaml: &str) -> Columns {
        serde_yaml::from_str(yaml).unwrap()
    }

    #[test]
    fn rows_fit_or_say_why_not() {
        let columns = columns("{q: text, n: integer, x: number, f: flag, c: {text: [text]}, z: any}");
        assert_eq!(columns.names().collect::<Vec<_>>(), ["q", "n", "x", "f", "c", "z"]);
        let misfit = |from: &str, to: &str| {
            let row =
                r#"{"q": "?", "n": -1, "x": 0.5, "f": true, "c": {"text": ["a"], "more": 1}, "z": null}"#;
            let row: Value = serde_json::from_str(&row.replace(from, to)).unwrap();
            columns.misfit(row.as_object().unwrap()).unwrap_or_default()
        };
        assert_eq!(misfit("", ""), "");
        insta::assert_snapshot!(misfit("\"q\"", "\"p\""), @"column 'q' is missing; there are p, n, x, f, c, z");
        insta::assert_snapshot!(misfit("-1", "1.5"), @"column 'n' is not a whole number: 1.5");
        insta::assert_snapshot!(misfit("[\"a\"]", "[\"a\", null]"), @r#"column 'c' is not an object with its keys: {"text":["a",null],"more":1}"#);
        insta::assert_snapshot!(misfit("\"?\"", "[]"), @"column 'q' is not a text: []");
        insta::assert_snapshot!(misfit("true", "1"), @"column 'f' is not true or false: 1");
    }

    #[test]
    fn what_is_no_type_is_an_error() {
        let message = |yaml: &str| serde_yaml::from_str::<Columns>(yaml).unwrap_err().to_string();
        insta::assert_snapshot!(message("{a: txt}"), @"unknown type 'txt'; types: text, integer, number, flag, any");
        insta::assert_snapshot!(message("{a: [text, text]}"), @"a type is a name, [type] or {name: type, ...}");
        insta::assert_snapshot!(message("text"), @"columns are {name: type, ...}");
        insta::assert_snapshot!(message(&format!("{{a: {}text{}}}", "[".repeat(20), "]".repeat(20))), @"a type is nested too deep");
    }
}
