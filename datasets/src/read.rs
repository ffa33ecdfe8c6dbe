//! Rows of a file, whatever its form: JSON Lines, JSON Lines in gzip, Parquet, plain text.
//!
//! ```text
//!   *.parquet          parquet
//!   *.txt              {"text": story}, between lines <|endoftext|>
//!   *.raw              {"text": line}, as the Hub's rows of WikiText
//!   anything else      jsonl, through gzip if the file begins as one
//! ```

use std::io::{self, BufReader, Read};
use std::path::{Path, PathBuf};

use flate2::bufread::MultiGzDecoder;
use serde_json::{Value, json};

use crate::{Error, jsonl, limits, parquet};

const GZIP: &[u8] = &[0x1f, 0x8b];

/// The extensions of files that may hold rows, in the order in which they are looked for.
pub const EXTENSIONS: [&str; 6] = ["jsonl", "jsonl.gz", "parquet", "json.gz", "txt", "raw"];

/// Reads all rows of files, one after the other.
///
/// # Errors
/// Those of [`rows`].
pub fn all(files: &[PathBuf]) -> Result<Vec<Value>, Error> {
    let mut all = Vec::new();
    for file in files {
        all.append(&mut rows(file)?);
    }
    Ok(all)
}

/// Reads all rows of a file.
///
/// # Errors
/// [`Error::Read`]; [`Error::Line`] with the number of the first bad line; [`Error::Rows`] for a damaged or absurdly
/// large file; [`Error::NoRows`].
pub fn rows(path: &Path) -> Result<Vec<Value>, Error> {
    let extension = path.extension().and_then(|e| e.to_str()).unwrap_or_default();
    if extension == "parquet" {
        return parquet::read(path);
    }
    let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
    parse(&path.display().to_string(), extension, &bytes)
}

fn parse(file: &str, extension: &str, bytes: &[u8]) -> Result<Vec<Value>, Error> {
    match extension {
        "txt" => texts(file, bytes, |text| {
            text.split("<|endoftext|>").map(str::trim).filter(|s| !s.is_empty()).map(str::to_owned).collect()
        }),
        "raw" => texts(file, bytes, |text| {
            let line = |line: &str| if line == " \n" { String::new() } else { line.to_owned() };
            text.split_inclusive('\n').map(line).collect()
        }),
        _ if bytes.starts_with(GZIP) => gzip(file, bytes, limits::expanded(bytes.len() as u64)),
        _ => jsonl::parse(file, bytes),
    }
}

fn texts(file: &str, bytes: &[u8], split: impl FnOnce(&str) -> Vec<String>) -> Result<Vec<Value>, Error> {
    let text = std::str::from_utf8(bytes).map_err(|e| Error::Rows {
        file: file.to_owned(),
        message: format!("byte {} is not UTF-8", e.valid_up_to()),
        hint: "save it as UTF-8".into(),
    })?;
    let rows: Vec<Value> = split(text).into_iter().map(|text| json!({"text": text})).collect();
    if rows.is_empty() { Err(Error::NoRows { file: file.to_owned() }) } else { Ok(rows) }
}

/// JSON Lines in gzip (RFC 1952), one member or several, read as they are decompressed, up to `limit` bytes.
fn gzip(file: &str, bytes: &[u8], limit: u64) -> Result<Vec<Value>, Error> {
    let reader = BufReader::new(Limited { inner: MultiGzDecoder::new(bytes), left: limit });
    jsonl::parse_reader(file, reader)
}

/// A reader that fails beyond a number of bytes.
struct Limited<R> {
    inner: R,
    left: u64,
}

impl<R: Read> Read for Limited<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        let left = self.left.checked_sub(read as u64);
        self.left = left.ok_or_else(|| io::Error::other("it expands to more than text of its size does"))?;
        Ok(read)
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;

    use flate2::{Compression, write::GzEncoder};

    use super::*;

    fn compressed(bytes: &[u8]) -> Vec<u8> {
        let mut encoder = GzEncoder::new(Vec::new(), Compression::fast());
        encoder.write_all(bytes).unwrap();
        encoder.finish().unwrap()
    }

    #[test]
    fn gzip_of_several_members() {
        let mut bytes = compressed(b"{\"a\": 1}\n{\"a\"");
        bytes.extend(compressed(b": 2}\n"));
        let rows = parse("a.jsonl.gz", "gz", &bytes).unwrap();
        assert_eq!(rows, [json!({"a": 1}), json!({"a": 2})]);
    }

    #[test]
    fn broken_gzip_is_named() {
        let bytes = compressed(&b"{\"a\": 1}\n".repeat(1000));
        let message = |bytes: &[u8]| parse("a.jsonl.gz", "gz", bytes).unwrap_err().to_string();
        insta::assert_snapshot!(message(&bytes[..bytes.len() - 9]), @r"
        a.jsonl.gz: line 1001 cannot be read: incomplete deflate stream
        hint: fetch it again
        ");
        let mut wrong_checksum = bytes.clone();
        let at = bytes.len() - 8;
        wrong_checksum[at] ^= 1;
        insta::assert_snapshot!(message(&wrong_checksum), @r"
        a.jsonl.gz: line 1001 cannot be read: corrupt gzip stream does not have a matching checksum
        hint: fetch it again
        ");
        insta::assert_snapshot!(message(&compressed(b"{\"a\": 1}\n[]")), @r"
        a.jsonl.gz, line 2: expected a JSON object, found an array
        hint: a .jsonl file holds one JSON object per line
        ");
    }

    #[test]
    fn what_expands_without_end_is_refused() {
        let rows = b"{\"a\": 1}\n".repeat(10);
        let bytes = compressed(&rows);
        assert_eq!(gzip("a.jsonl.gz", &bytes, rows.len() as u64).unwrap().len(), 10);
        insta::assert_snapshot!(gzip("a.jsonl.gz", &bytes, rows.len() as u64 - 1).unwrap_err(), @r"
        a.jsonl.gz: line 1 cannot be read: it expands to more than text of its size does
        hint: fetch it again
        ");
    }

    #[test]
    fn plain_texts() {
        let rows = parse("t.txt", "txt", b"One day.\n\nA.\n<|endoftext|>\nTwo.\n<|endoftext|>\n").unwrap();
        assert_eq!(rows, [json!({"text": "One day.\n\nA."}), json!({"text": "Two."})]);
        let rows = parse("wiki.test.raw", "raw", " \n = A = \n".as_bytes()).unwrap();
        assert_eq!(rows, [json!({"text": ""}), json!({"text": " = A = \n"})]);
        insta::assert_snapshot!(parse("t.txt", "txt", b"a\xff").unwrap_err(), @r"
        t.txt: byte 1 is not UTF-8
        hint: save it as UTF-8
        ");
        insta::assert_snapshot!(parse("t.txt", "txt", b" ").unwrap_err(), @r"
        t.txt has no rows
        hint: put at least one document there
        ");
    }

    proptest::proptest! {
        #[test]
        fn any_bytes_give_rows_or_an_error(mut bytes in proptest::collection::vec(proptest::num::u8::ANY, 0..200), form in 0..3_usize) {
            let _ = parse("f", ["gz", "txt", "raw"][form], &bytes);
            bytes.splice(0..0, GZIP.iter().copied());
            let _ = parse("f", "gz", &bytes);
        }

        #[test]
        fn a_damaged_gzip_gives_rows_or_an_error(at in 0..60_usize, byte in proptest::num::u8::ANY) {
            let mut bytes = compressed(b"{\"a\": \"some text\"}\n{\"a\": \"some more text\"}\n");
            let at = at % bytes.len();
            bytes[at] = byte;
            let _ = parse("f.jsonl.gz", "gz", &bytes);
        }
    }
}
