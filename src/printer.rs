//! All output of the command: data on standard output, everything else on standard error.

use std::io::{self, Write};

use serde::Serialize;

/// The one type that prints.
pub struct Printer {
    json: bool,
}

impl Printer {
    /// A printer that prints JSON documents or text.
    pub fn new(json: bool) -> Self {
        Self { json }
    }

    /// Whether standard output is one JSON document.
    pub fn json(&self) -> bool {
        self.json
    }

    /// The command's result: `document` with `--json`, otherwise `text`.
    pub fn result(&self, document: &impl Serialize, text: impl FnOnce() -> String) -> anyhow::Result<()> {
        let mut out = if self.json { serde_json::to_string_pretty(document)? } else { text() };
        if !out.ends_with('\n') {
            out.push('\n');
        }
        self.stream(&out)?;
        Ok(())
    }

    /// A piece of the result as it comes, in text mode. `false` if whoever reads has enough.
    #[allow(clippy::unused_self, reason = "only who holds the printer prints")]
    pub fn stream(&self, text: &str) -> io::Result<bool> {
        let mut stdout = io::stdout().lock();
        let written = stdout.write_all(text.as_bytes()).and_then(|()| stdout.flush());
        match written {
            Err(e) if e.kind() == io::ErrorKind::BrokenPipe => Ok(false),
            other => other.map(|()| true),
        }
    }

    /// What is going on, for a person.
    #[allow(clippy::unused_self, reason = "only who holds the printer prints")]
    pub fn note(&self, text: &str) {
        // Nothing is left to do if standard error is closed.
        let _ = writeln!(io::stderr().lock(), "{text}");
    }

    /// A question on a line of its own, to which the rest of the line is the answer.
    #[allow(clippy::unused_self, reason = "only who holds the printer prints")]
    pub fn ask(&self, text: &str) {
        let mut stderr = io::stderr().lock();
        let _ = write!(stderr, "{text}").and_then(|()| stderr.flush());
    }

    /// Why the command failed.
    pub fn error(&self, error: &anyhow::Error) {
        let mut message = String::new();
        for cause in error.chain().map(ToString::to_string) {
            // Most errors quote their cause; it is not said twice.
            if !message.contains(&cause) {
                message += if message.is_empty() { "error: " } else { ": " };
                message += &cause;
            }
        }
        self.note(&message);
    }
}
