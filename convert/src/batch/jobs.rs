//! The file that lists the jobs.
//!
//! ```yaml
//! output: packed                # folder for all outputs and manifest.json, relative to this file
//! memory: 4 GiB                 # what all jobs together may take (default: half of the machine's)
//! jobs:
//!   - source: models/*          # a checkpoint, or a pattern that matches several
//!     to: [tq2_0, i2_s]         # one format or a list
//!     scheme: absmean           # the rest is optional, with the defaults of `b158 convert`
//!     head: q8_0
//!     scales: tensor
//!     linear_class: autobitlinear
//!     name: "{source}-{format}" # the outputs' names, without .gguf (the default)
//!     verify: true
//! ```

use std::path::{Path, PathBuf};

use b158_kernels::Isa;
use serde::Deserialize;

use crate::{Error, Format, Options};

/// The file that lists the jobs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobFile {
    /// Folder for all outputs, relative to the file.
    pub output: PathBuf,
    /// What all running jobs together may take, for instance `4 GiB`.
    #[serde(default)]
    pub memory: Option<String>,
    /// Sources and what becomes of them.
    pub jobs: Vec<JobSpec>,
}

/// Sources and what becomes of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// A checkpoint or a pattern (`*`, `?`, `[ab]`, `**`), relative to the file.
    pub source: String,
    /// One format or several.
    pub to: OneOrMany,
    /// How full-precision weights become ternary.
    #[serde(default)]
    pub scheme: Option<String>,
    /// The type of embeddings and head.
    #[serde(default)]
    pub head: Option<String>,
    /// Where block formats keep scales.
    #[serde(default)]
    pub scales: Option<String>,
    /// How the scales of `hf` are meant.
    #[serde(default)]
    pub linear_class: Option<String>,
    /// The outputs' names; `{source}` and `{format}` are replaced.
    #[serde(default)]
    pub name: Option<String>,
    /// Read every output back and prove it.
    #[serde(default)]
    pub verify: bool,
}

/// One name or a list of names.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum OneOrMany {
    /// One.
    One(String),
    /// Several.
    Many(Vec<String>),
}

impl OneOrMany {
    fn as_slice(&self) -> &[String] {
        match self {
            Self::One(name) => std::slice::from_ref(name),
            Self::Many(names) => names,
        }
    }
}

/// One source and one format.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) source: PathBuf,
    pub(super) output: PathBuf,
    pub(super) options: Options,
    pub(super) verify: bool,
}

impl JobFile {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, or as [`JobFile::parse`].
    pub fn read(file: &Path) -> Result<Self, Error> {
        let text =
            std::fs::read_to_string(file).map_err(|source| Error::Read { file: file.to_owned(), source })?;
        Self::parse(file, &text)
    }

    /// Reads the file's text; `file` is for messages only.
    ///
    /// # Errors
    /// It is no such list; the message says where.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Error> {
        serde_yaml::from_str(text).map_err(|e| jobs_error(file, &e.to_string(), "see `b158 convert --help`"))
    }

    /// The memory budget in bytes.
    pub(super) fn memory(&self, file: &Path) -> Result<Option<u64>, Error> {
        let Some(text) = &self.memory else { return Ok(None) };
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let unit = match unit.trim() {
            "GiB" => 1u64 << 30,
            "MiB" => 1 << 20,
            "GB" => 1_000_000_000,
            "MB" => 1_000_000,
            _ => 0,
        };
        match number.parse::<f64>() {
            Ok(number) if unit > 0 && number > 0.0 => Ok(Some((number * unit as f64) as u64)),
            _ => {
                Err(jobs_error(file, &format!("`memory` is {text:?}"), "write for instance 4 GiB or 1500 MB"))
            }
        }
    }

    /// Every job, in the file's order, sources of a pattern in order of names.
    pub(super) fn expand(&self, file: &Path, isa: Isa) -> Result<Vec<Job>, Error> {
        let base = file.parent().unwrap_or(Path::new(""));
        let folder = base.join(&self.output);
        let mut jobs: Vec<Job> = Vec::new();
        for spec in &self.jobs {
            for source in sources(file, base, &spec.source)? {
                for format in spec.to.as_slice() {
                    let options = spec.options(format, isa)?;
                    let output = folder.join(spec.output_name(&source, options.format)?);
                    if let Some(other) = jobs.iter().find(|job| job.output == output) {
                        let reason = format!(
                            "{} and {} both become {}",
                            other.source.display(),
                            source.display(),
                            output.display()
                        );
                        return Err(jobs_error(file, &reason, "give one of them another `name`"));
                    }
                    jobs.push(Job { source: source.clone(), output, options, verify: spec.verify });
                }
            }
        }
        Ok(jobs)
    }
}

impl JobSpec {
    fn options(&self, format: &str, isa: Isa) -> Result<Options, Error> {
        let mut options = Options::new(format.parse()?, isa);
        options.scheme = self.scheme.as_deref().map(str::parse).transpose()?;
        options.head = self.head.as_deref().map(str::parse).transpose()?;
        if let Some(scales) = &self.scales {
            options.scales = scales.parse()?;
        }
        if let Some(class) = &self.linear_class {
            options.linear_class = class.parse()?;
        }
        Ok(options)
    }

    /// The output's name: `{source}` is the source's without extension; GGUF files get theirs.
    fn output_name(&self, source: &Path, format: Format) -> Result<String, Error> {
        let stem = if source.is_dir() { source.file_name() } else { source.file_stem() };
        let stem = stem.map_or("model".into(), |stem| stem.to_string_lossy());
        let pattern = self.name.as_deref().unwrap_or("{source}-{format}");
        let mut name = pattern.replace("{source}", &stem).replace("{format}", format.name());
        let has_extension = Path::new(&name).extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
        if matches!(format, Format::Blocks(_)) && !has_extension {
            name += ".gguf";
        }
        if name.contains(['/', '\\']) || name.starts_with('.') {
            let file = PathBuf::from(name);
            return Err(Error::Name {
                file,
                format: format.name(),
                hint: "a job's `name` must be a plain file name",
            });
        }
        Ok(name)
    }
}

fn sources(file: &Path, base: &Path, pattern: &str) -> Result<Vec<PathBuf>, Error> {
    let given = base.join(pattern);
    if given.exists() {
        return Ok(vec![given]);
    }
    let none =
        |reason: String| jobs_error(file, &reason, "patterns are relative to the file that holds them");
    let base = glob::Pattern::escape(&base.to_string_lossy());
    let pattern = Path::new(&base).join(pattern);
    let paths = glob::glob(&pattern.to_string_lossy())
        .map_err(|e| none(format!("the pattern {}: {e}", pattern.display())))?;
    let mut paths: Vec<PathBuf> = paths
        .collect::<Result<_, _>>()
        .map_err(|e| Error::Read { file: e.path().to_owned(), source: e.into() })?;
    paths.sort();
    if paths.is_empty() {
        return Err(none(format!("nothing matches {}", given.display())));
    }
    Ok(paths)
}

fn jobs_error(file: &Path, reason: &str, hint: &'static str) -> Error {
    Error::Jobs { file: file.to_owned(), reason: reason.to_owned(), hint }
}
