//! Reports: what was evaluated and measured, in the forms that people and programs read.
//!
//! ```text
//!   DIR/results.json + samples.parquet ---.
//!   DIR/measurements.json (if there) ------+--> Run --> tables --> report.md, report.tex
//!   DIR/curves.json (if there) -----------'       |---> rows   --> report.csv, report.parquet
//!                                                 |---> html   --> index.html (one file, no network)
//!                                                 `---> hub    --> hub/MODEL/.eval_results/*.yaml, model-index.yaml
//! ```

pub mod curves;
pub mod html;
pub mod hub;
pub mod latex;
pub mod markdown;
pub mod measurements;
pub mod paper;
pub mod rows;
pub mod run;
pub mod sheet;
pub mod tables;

use std::path::{Path, PathBuf};

use b158_checkpoint::write_file;
use serde::Serialize;

pub use self::measurements::{Known, MEASUREMENTS_FILE, Measurements};
pub use self::run::{Comparison, ModelRow, Run, TaskRow};
use self::sheet::Sheet;
use crate::Error;
use crate::claims::Ledger;

/// One or several results folders.
#[derive(Serialize)]
pub struct Report {
    /// One entry per folder.
    pub runs: Vec<Run>,
    /// The claims that were tested on the first of them, if they were.
    pub claims: Option<Ledger>,
    /// Whether tasks are the public data sets of their names: whoever reports has to know.
    #[serde(skip)]
    pub public_data: bool,
}

/// A form of a report.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Form {
    /// `report.md`.
    Markdown,
    /// `index.html`.
    Html,
    /// `report.csv`.
    Csv,
    /// `report.tex`.
    Latex,
    /// `report.json`.
    Json,
    /// `report.parquet`.
    Parquet,
    /// `hub/MODEL/...`.
    Hub,
}

impl Report {
    /// The files of a form: names relative to the report's folder, and contents.
    pub fn files(&self, form: Form) -> Vec<(PathBuf, Vec<u8>)> {
        let one = |name: &str, bytes: Vec<u8>| vec![(PathBuf::from(name), bytes)];
        match form {
            Form::Markdown => one("report.md", self.markdown().into_bytes()),
            Form::Html => one("index.html", html::page(self).into_bytes()),
            Form::Csv => one("report.csv", rows::csv(&rows::table(self)).into_bytes()),
            Form::Latex => one("report.tex", latex::latex(self).into_bytes()),
            Form::Json => {
                let json = serde_json::to_string_pretty(self).expect("a structure of plain values");
                one("report.json", format!("{json}\n").into_bytes())
            }
            Form::Parquet => one("report.parquet", rows::table(self).to_parquet()),
            Form::Hub => hub::files(self),
        }
    }

    /// Writes the files of a form into a folder and returns their paths.
    ///
    /// # Errors
    /// [`Error::Output`].
    pub fn write(&self, form: Form, folder: &Path) -> Result<Vec<PathBuf>, Error> {
        let mut written = Vec::new();
        for (name, bytes) in self.files(form) {
            let path = folder.join(name);
            let parent = path.parent().unwrap_or(folder);
            std::fs::create_dir_all(parent)
                .map_err(|source| b158_checkpoint::OutputError { file: parent.to_path_buf(), source })?;
            write_file(&path, &bytes)?;
            written.push(path);
        }
        Ok(written)
    }

    /// Every run's tables, and the claims that have a verdict: what is shown on screen.
    pub fn summary(&self) -> String {
        let mut parts: Vec<String> = self.runs.iter().map(markdown::summary).collect();
        parts.extend(self.claims.as_ref().map(|claims| claims.short_sheet().markdown()));
        parts.join("\n")
    }

    /// The summary, then every comparison, metric and claim.
    pub fn markdown(&self) -> String {
        let mut out = self.summary();
        out.extend(self.runs.iter().map(markdown::details));
        if let Some(claims) = &self.claims {
            let sheet = Sheet { title: "Every claim".into(), ..claims.sheet() };
            out += &format!("\n{}", sheet.markdown());
        }
        out
    }
}
