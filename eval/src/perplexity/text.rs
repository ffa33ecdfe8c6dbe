//! Texts and the pieces that protocols cut them into.
//!
//! ```text
//!   FILE.jsonl, .json       one document per row: its column `text` or `page`
//!   any other file          one document: the whole file, UTF-8
//! ```

use std::path::Path;

use b158_datasets::jsonl;

use crate::Error;

/// Columns of documents, the first one that a row has.
const COLUMNS: [&str; 2] = ["text", "page"];

/// A file's text.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Text {
    /// The file's name, for output.
    pub name: String,
    /// The documents, in the file's order.
    documents: Vec<String>,
    /// Whether they are rows of a file rather than a file.
    rows: bool,
}

impl Text {
    /// One document.
    pub fn plain(name: &str, text: String) -> Self {
        Self { name: name.to_owned(), documents: vec![text], rows: false }
    }

    /// Several documents.
    pub fn rows(name: &str, documents: Vec<String>) -> Self {
        Self { name: name.to_owned(), documents, rows: true }
    }

    /// Reads a file.
    ///
    /// # Errors
    /// [`Error::Read`], [`Error::Data`] for a file that is no JSON Lines, [`Error::Config`] for a row without text and
    /// for a file that is not UTF-8.
    pub fn read(path: &Path) -> Result<Self, Error> {
        let name = path.display().to_string();
        let config =
            |message: String, hint: &str| Error::Config { file: name.clone(), message, hint: hint.into() };
        if path.extension().is_some_and(|e| e == "jsonl" || e == "json") {
            let mut documents = Vec::new();
            for (index, row) in jsonl::read(path)?.iter().enumerate() {
                let text = COLUMNS.iter().find_map(|column| row[*column].as_str());
                let missing =
                    || config(format!("row {index} has no text"), "each row needs a column 'text' or 'page'");
                documents.push(text.ok_or_else(missing)?.to_owned());
            }
            return Ok(Self::rows(&name, documents));
        }
        let bytes = std::fs::read(path).map_err(|source| Error::Read { path: path.to_path_buf(), source })?;
        let text = String::from_utf8(bytes).map_err(|e| {
            let at = e.utf8_error().valid_up_to();
            config(format!("byte {at} is not UTF-8"), "give a text file, or .jsonl with a column 'text'")
        })?;
        Ok(Self::plain(&name, text))
    }

    /// The documents.
    pub(super) fn documents(&self) -> &[String] {
        &self.documents
    }

    /// All of it.
    pub(super) fn whole(&self) -> String {
        self.documents.concat()
    }

    /// Rows as the Hub's data sets have them: of a file its lines, with their line feeds.
    pub(super) fn hub_rows(&self) -> Vec<&str> {
        if self.rows {
            return self.documents.iter().map(String::as_str).collect();
        }
        self.documents.iter().flat_map(|text| text.split_inclusive('\n')).collect()
    }

    /// What preset `paper` packs: rows as they are, of a file its lines.
    pub(super) fn pieces(&self) -> Vec<&str> {
        if self.rows {
            return self.documents.iter().map(String::as_str).collect();
        }
        self.documents.iter().flat_map(|text| text.split('\n')).collect()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn files_are_documents_or_rows_of_them() {
        let dir = tempfile::tempdir().unwrap();
        let read = |name: &str, bytes: &[u8]| {
            let path = dir.path().join(name);
            std::fs::write(&path, bytes).unwrap();
            Text::read(&path).map_err(|e| e.to_string().replace(&dir.path().display().to_string(), "DIR"))
        };
        let text = read("a.txt", "é\n\nb".as_bytes()).unwrap();
        assert_eq!((text.documents().len(), text.whole().as_str()), (1, "é\n\nb"));
        assert_eq!((text.hub_rows(), text.pieces()), (vec!["é\n", "\n", "b"], vec!["é", "", "b"]));
        let rows = read("a.jsonl", b"{\"text\": \"a\\nb\"}\n{\"page\": \"c\"}").unwrap();
        assert_eq!((rows.hub_rows(), rows.pieces()), (vec!["a\nb", "c"], vec!["a\nb", "c"]));
        insta::assert_snapshot!(read("b.jsonl", b"{\"txt\": \"a\"}").unwrap_err(), @r"
        DIR/b.jsonl: row 0 has no text
        hint: each row needs a column 'text' or 'page'
        ");
        insta::assert_snapshot!(read("b.txt", b"ab\xff").unwrap_err(), @r"
        DIR/b.txt: byte 2 is not UTF-8
        hint: give a text file, or .jsonl with a column 'text'
        ");
    }
}
