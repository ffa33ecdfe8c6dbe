//! A table before it has a form: Markdown, HTML and LaTeX are made of the same cells.

use crate::table::{Align, markdown};

/// A cell.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Cell {
    /// What is shown.
    pub text: String,
    /// What it is sorted by; its text where there is none.
    pub sort: Option<f64>,
}

impl Cell {
    /// A number and how it is written.
    pub fn number(text: impl Into<String>, sort: f64) -> Self {
        Self { text: text.into(), sort: Some(sort) }
    }
}

impl<T: Into<String>> From<T> for Cell {
    fn from(text: T) -> Self {
        Self { text: text.into(), sort: None }
    }
}

/// A table with its title and what has to be known to read it.
#[derive(Debug, Clone, PartialEq)]
pub struct Sheet {
    /// The heading.
    pub title: String,
    /// Titles of the columns.
    pub header: Vec<(String, Align)>,
    /// As many cells each as there are titles.
    pub rows: Vec<Vec<Cell>>,
    /// In lines that fit a terminal.
    pub note: String,
}

impl Sheet {
    /// An empty table.
    pub fn new(title: impl Into<String>) -> Self {
        Self { title: title.into(), header: Vec::new(), rows: Vec::new(), note: String::new() }
    }

    /// Adds a column before any row is there.
    pub fn column(&mut self, title: impl Into<String>, align: Align) {
        self.header.push((title.into(), align));
    }

    /// Heading, table and note.
    pub fn markdown(&self) -> String {
        let rows: Vec<Vec<String>> =
            self.rows.iter().map(|row| row.iter().map(|cell| cell.text.clone()).collect()).collect();
        let mut out = format!("## {}\n\n{}", self.title, markdown(&self.header, &rows));
        if !self.note.is_empty() {
            out += &format!("\n{}\n", self.note);
        }
        out
    }
}
