//! The file that lists the jobs.
//!
//! ```yaml
//! output: packed                # folder for all outputs and manifest.json, relative to this file
//! memory: 4 GiB                 # what all jobs together may take (default: half of the machine's, or of
//!                               # its control group's)
//! jobs:
//!   - source: models/*          # a checkpoint, a pattern that matches several, or org/name in the Hub's cache
//!     to: [tq2_0, i2_s]         # one format or a list
//!     scheme: absmean           # the rest is optional, with the defaults of `b158 convert`
//!     head: q8_0
//!     scales: tensor
//!     linear_class: autobitlinear
//!     i2_s_order: x86           # of sources that do not say it themselves, as is activation
//!     activation: silu
//!     name: "{source}-{format}" # the outputs' names, without .gguf (the default); {parent} is the name of
//!                               # the folder around the source
//!     verify: true
//! ```
//!
//! A pattern leaves out what is hidden, what is no checkpoint, and what this batch itself writes.

use std::{
    collections::BTreeSet,
    path::{Path, PathBuf},
};

use b158_checkpoint::OpenOptions;
use b158_kernels::Isa;
use serde::Deserialize;

use super::{
    Manifest, small_file,
    sources::{self, Source, identity},
};
use crate::{Error, Format, Options, activation, interleave};

/// The longest job file that is read.
const MAX_BYTES: u64 = 1 << 20;

/// The file that lists the jobs.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobFile {
    /// Folder for all outputs, relative to the file.
    pub output: PathBuf,
    /// What all running jobs together may take, for instance `4 GiB`, or a number of bytes.
    #[serde(default)]
    pub memory: Option<Memory>,
    /// Sources and what becomes of them.
    pub jobs: Vec<JobSpec>,
}

/// Sources and what becomes of them.
#[derive(Clone, Debug, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct JobSpec {
    /// A checkpoint or a pattern (`*`, `?`, `[ab]`, `**`), relative to the file, or `org/name`.
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
    /// The order of the codes in I2_S sources that do not say it.
    #[serde(default)]
    pub i2_s_order: Option<String>,
    /// The activation of GGUF sources of architecture `bitnet` that do not say it.
    #[serde(default)]
    pub activation: Option<String>,
    /// The outputs' names; `{source}`, `{parent}` and `{format}` are replaced.
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

/// An amount of memory.
#[derive(Clone, Debug, Deserialize)]
#[serde(untagged)]
pub enum Memory {
    /// In bytes.
    Bytes(u64),
    /// With a unit: GiB, MiB, GB or MB.
    Text(String),
}

impl Memory {
    fn bytes(&self) -> Option<u64> {
        let text = match self {
            Self::Bytes(bytes) => return (*bytes > 0).then_some(*bytes),
            Self::Text(text) => text.trim(),
        };
        let split = text.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(text.len());
        let (number, unit) = text.split_at(split);
        let unit = match unit.trim() {
            "GiB" => 1u64 << 30,
            "MiB" => 1 << 20,
            "GB" => 1_000_000_000,
            "MB" => 1_000_000,
            "" => 1,
            _ => return None,
        };
        let bytes = (number.parse::<f64>().ok()? * unit as f64) as u64;
        (bytes > 0).then_some(bytes)
    }
}

/// One source and one format.
#[derive(Clone, Debug)]
pub(super) struct Job {
    pub(super) source: Source,
    pub(super) output: PathBuf,
    pub(super) options: Options,
    /// What the source does not say itself.
    pub(super) open: OpenOptions,
}

impl JobFile {
    /// Reads the file.
    ///
    /// # Errors
    /// It cannot be read, is no ordinary file or too long, or as [`JobFile::parse`].
    pub fn read(file: &Path) -> Result<Self, Error> {
        Self::parse(file, &small_file::read_text(file, MAX_BYTES)?)
    }

    /// Reads the file's text; `file` is for messages only.
    ///
    /// # Errors
    /// It is no such list, or lists nothing; the message says where.
    pub fn parse(file: &Path, text: &str) -> Result<Self, Error> {
        let help = "see `b158 convert --help`";
        let jobs: Self = serde_yaml::from_str(text).map_err(|e| jobs_error(file, &e.to_string(), help))?;
        if jobs.jobs.is_empty() {
            return Err(jobs_error(file, "`jobs` is empty", help));
        }
        for (index, spec) in jobs.jobs.iter().enumerate() {
            if spec.to.as_slice().is_empty() {
                let reason = format!("{}: `to` is empty", spec.describe(index));
                return Err(jobs_error(file, &reason, help));
            }
        }
        Ok(jobs)
    }

    /// The folder of the outputs.
    pub(super) fn folder(&self, file: &Path) -> PathBuf {
        file.parent().unwrap_or(Path::new("")).join(&self.output)
    }

    /// The memory budget in bytes.
    pub(super) fn memory(&self, file: &Path) -> Result<Option<u64>, Error> {
        let Some(memory) = &self.memory else { return Ok(None) };
        let wrong = || {
            let given = match memory {
                Memory::Bytes(bytes) => bytes.to_string(),
                Memory::Text(text) => format!("{text:?}"),
            };
            jobs_error(file, &format!("`memory` is {given}"), "write for instance 4 GiB or 1500 MB")
        };
        memory.bytes().map(Some).ok_or_else(wrong)
    }

    /// Every job, in the file's order, sources of a pattern in order of names.
    pub(super) fn expand(&self, file: &Path, isa: Isa) -> Result<Vec<Job>, Error> {
        let folder = self.folder(file);
        let mut jobs: Vec<(usize, Job)> = Vec::new();
        for (index, spec) in self.jobs.iter().enumerate() {
            let options = spec.options(isa).map_err(|e| spec.error(file, index, &e))?;
            let open = spec.open_options().map_err(|e| spec.error(file, index, &e))?;
            for source in sources::find(file, &spec.source)? {
                for options in &options {
                    let output = spec.output_name(&source, options.format);
                    let output = output.map_err(|name| {
                        let reason = format!("{}: the output's name would be {name:?}", spec.describe(index));
                        jobs_error(file, &reason, "a job's `name` must be a plain file name, not hidden, with {source}, {parent} and {format} only")
                    })?;
                    let (source, output) = (source.clone(), folder.join(output));
                    jobs.push((index, Job { source, output, options: *options, open }));
                }
            }
        }
        self.leave_out_outputs(file, &mut jobs)?;
        let jobs: Vec<Job> = jobs.into_iter().map(|(_, job)| job).collect();
        for (i, job) in jobs.iter().enumerate() {
            if let Some(other) = jobs[..i].iter().find(|other| other.output == job.output) {
                let (a, b) = (&other.source.label, &job.source.label);
                let reason = format!("{a} and {b} both become {}", job.output.display());
                let hint = "give one of them another `name`, or use the name of the folder around the source: \"{parent}-{source}-{format}\"";
                return Err(jobs_error(file, &reason, hint));
            }
        }
        Ok(jobs)
    }

    /// Takes out of patterns what this batch, or an earlier run of it, writes.
    fn leave_out_outputs(&self, file: &Path, jobs: &mut Vec<(usize, Job)>) -> Result<(), Error> {
        let folder = self.folder(file);
        // A manifest that cannot be read is an error of running.
        let parts = Manifest::parts(&folder).unwrap_or_default();
        let manifests = parts.iter().map(|part| Some(part.as_str())).chain([None]);
        let manifests: Vec<Manifest> =
            manifests.filter_map(|part| Manifest::read_of(&folder, part).ok().flatten()).collect();
        let earlier =
            manifests.iter().flat_map(Manifest::entries).map(|entry| identity(&folder.join(&entry.output)));
        let outputs: BTreeSet<PathBuf> =
            jobs.iter().map(|(_, job)| identity(&job.output)).chain(earlier).collect();
        jobs.retain(|(_, job)| !(job.source.matched && outputs.contains(&identity(&job.source.path))));
        for (index, spec) in self.jobs.iter().enumerate() {
            if !jobs.iter().any(|(of, _)| *of == index) {
                let reason = format!("{} matches nothing but outputs of this batch", spec.describe(index));
                return Err(jobs_error(file, &reason, "choose another folder for `output`"));
            }
        }
        let outputs: BTreeSet<PathBuf> = jobs.iter().map(|(_, job)| identity(&job.output)).collect();
        match jobs.iter().find(|(_, job)| outputs.contains(&identity(&job.source.path))) {
            Some((index, job)) => {
                let spec = self.jobs[*index].describe(*index);
                let reason = format!("{spec}: {} is itself an output of this batch", job.source.label);
                Err(jobs_error(file, &reason, "write that job into a file of its own, to be run afterwards"))
            }
            None => Ok(()),
        }
    }
}

impl JobSpec {
    /// What to call the job in a message.
    fn describe(&self, index: usize) -> String {
        format!("job {} (`{}`)", index + 1, self.source)
    }

    /// An error of one of its options, whose message has a first line and a hint.
    fn error(&self, file: &Path, index: usize, error: &Error) -> Error {
        let message = error.to_string();
        let (reason, hint) =
            message.split_once("\nhint: ").unwrap_or((&message, "see `b158 convert --help`"));
        jobs_error(file, &format!("{}: {reason}", self.describe(index)), hint)
    }

    /// The options of each format.
    fn options(&self, isa: Isa) -> Result<Vec<Options>, Error> {
        let one = |format: &String| {
            let mut options = Options::new(format.parse()?, isa);
            options.verify = self.verify;
            options.scheme = self.scheme.as_deref().map(str::parse).transpose()?;
            options.head = self.head.as_deref().map(str::parse).transpose()?;
            if let Some(scales) = &self.scales {
                options.scales = scales.parse()?;
            }
            if let Some(class) = &self.linear_class {
                options.linear_class = class.parse()?;
            }
            Ok(options)
        };
        self.to.as_slice().iter().map(one).collect()
    }

    fn open_options(&self) -> Result<OpenOptions, Error> {
        Ok(OpenOptions {
            i2_s: self.i2_s_order.as_deref().map(interleave).transpose()?.unwrap_or_default(),
            activation: self.activation.as_deref().map(activation).transpose()?,
        })
    }

    /// The output's name, where GGUF files get their extension; an error holds one that will not do.
    fn output_name(&self, source: &Source, format: Format) -> Result<String, String> {
        let pattern = self.name.as_deref().unwrap_or("{source}-{format}");
        let mut name = pattern.to_owned();
        for (key, value) in
            [("{source}", &*source.stem), ("{parent}", &*source.parent), ("{format}", format.name())]
        {
            name = name.replace(key, value);
        }
        let has_extension = Path::new(&name).extension().is_some_and(|e| e.eq_ignore_ascii_case("gguf"));
        if matches!(format, Format::Blocks(_)) && !has_extension {
            name += ".gguf";
        }
        if name.is_empty()
            || Manifest::is_name(&name)
            || name.contains(['/', '\\', '\0', '{', '}'])
            || name.starts_with('.')
        {
            return Err(name);
        }
        Ok(name)
    }
}

fn jobs_error(file: &Path, reason: &str, hint: &str) -> Error {
    Error::Jobs { file: file.to_owned(), reason: reason.to_owned(), hint: hint.to_owned() }
}
