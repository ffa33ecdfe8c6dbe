//! JSON Lines: one JSON object per line, UTF-8, with or without a byte order mark; empty lines are skipped.
//!
//! ```text
//!   {"question": "...", "label": 1}\n
//!   {"question": "...", "label": 0}\n
//! ```

use std::io::BufRead;
use std::path::Path;

use serde_json::Value;

use crate::Error;

/// Reads a file of JSON objects, keys in the file's order.
///
/// # Errors
/// [`Error::Read`], [`Error::Line`] with the number of the first bad line, [`Error::NoRows`].
pub fn read(path: &Path) -> Result<Vec<Value>, Error> {
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    parse(&path.display().to_string(), &bytes)
}

/// Parses JSON Lines; `file` is the name that error messages use.
///
/// # Errors
/// [`Error::Line`] with the number of the first bad line, [`Error::NoRows`].
pub fn parse(file: &str, bytes: &[u8]) -> Result<Vec<Value>, Error> {
    parse_reader(file, bytes)
}

/// Parses JSON Lines as they are read; `file` is the name that error messages use.
///
/// # Errors
/// [`Error::Rows`] when the reader fails, [`Error::Line`] with the number of the first bad line, [`Error::NoRows`].
pub fn parse_reader(file: &str, mut reader: impl BufRead) -> Result<Vec<Value>, Error> {
    let mut rows = Vec::new();
    let mut line = Vec::new();
    for number in 1.. {
        line.clear();
        let read = reader.read_until(b'\n', &mut line).map_err(|e| Error::Rows {
            file: file.to_owned(),
            message: format!("line {number} cannot be read: {e}"),
            hint: "fetch it again".into(),
        })?;
        if read == 0 {
            break;
        }
        if line.last() == Some(&b'\n') {
            line.pop();
        }
        if number == 1 && line.starts_with("\u{feff}".as_bytes()) {
            line.drain(.."\u{feff}".len());
        }
        if line.iter().all(u8::is_ascii_whitespace) {
            continue;
        }
        let bad = |message: String| Error::Line { file: file.to_owned(), line: number, message };
        let row: Value = serde_json::from_slice(&line).map_err(|e| bad(without_line(&e)))?;
        if !row.is_object() {
            return Err(bad(format!("expected a JSON object, found {}", kind(&row))));
        }
        rows.push(row);
    }
    if rows.is_empty() { Err(Error::NoRows { file: file.to_owned() }) } else { Ok(rows) }
}

/// The parser sees one line at a time, so its own "line 1" would contradict ours.
fn without_line(error: &serde_json::Error) -> String {
    error.to_string().replace(" at line 1 column ", " at column ")
}

fn kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "a boolean",
        Value::Number(_) => "a number",
        Value::String(_) => "a string",
        Value::Array(_) => "an array",
        Value::Object(_) => "an object",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn rows_keep_their_order_and_their_keys_order() {
        let rows = parse("t.jsonl", b"{\"b\": 1, \"a\": 2}\n\n  \r\n{\"c\": [1]}").unwrap();
        assert_eq!(rows.len(), 2);
        assert_eq!(serde_json::to_string(&rows[0]).unwrap(), r#"{"b":1,"a":2}"#);
        assert_eq!(parse("t.jsonl", "\u{feff}{\"b\": 1, \"a\": 2}\r\n".as_bytes()).unwrap(), rows[..1]);
    }

    #[test]
    fn broken_lines_are_named() {
        let message = |text: &[u8]| parse("t.jsonl", text).unwrap_err().to_string();
        insta::assert_snapshot!(message(b"{\"a\": 1}\n{\"a\": \n"), @r"
        t.jsonl, line 2: EOF while parsing a value at column 6
        hint: a .jsonl file holds one JSON object per line
        ");
        insta::assert_snapshot!(message(b"[1]"), @r"
        t.jsonl, line 1: expected a JSON object, found an array
        hint: a .jsonl file holds one JSON object per line
        ");
        insta::assert_snapshot!(message(b"{\"a\": \"\xff\"}"), @r"
        t.jsonl, line 1: invalid unicode code point at column 8
        hint: a .jsonl file holds one JSON object per line
        ");
        insta::assert_snapshot!(message(b"\n \n"), @r"
        t.jsonl has no rows
        hint: put at least one document there
        ");
        // Nesting deeper than any data set is refused before the stack is.
        insta::assert_snapshot!(message("[".repeat(100_000).as_bytes()), @r"
        t.jsonl, line 1: recursion limit exceeded at column 128
        hint: a .jsonl file holds one JSON object per line
        ");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_rows_or_an_error(bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200)) {
            let _ = parse("t.jsonl", &bytes);
        }
    }
}
