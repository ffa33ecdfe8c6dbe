//! Running the jobs.

use std::{
    collections::{BTreeMap, BTreeSet},
    fs,
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicUsize, Ordering},
    },
};

use b158_checkpoint::{Checkpoint, Interleave, OutputError, clean_up};
use b158_kernels::Isa;

use super::{
    Entry, JobFile, Manifest, OutputEntry, Status,
    jobs::Job,
    lock::Lock,
    memory::{self, Budget},
};
use crate::{
    Error, convert, plan,
    source::{hash, hash_text},
};

pub(super) const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Told what happens, from several threads at once; jobs are numbered as in [`Batch::planned`].
pub trait Events: Sync {
    /// A job begins.
    fn begin(&self, job: usize);
    /// That many bytes of a job's source are done, of that many.
    fn advance(&self, job: usize, done: u64, total: u64);
    /// A job was done before, and its output is kept; it ends next.
    fn keep(&self, _job: usize) {}
    /// A job has ended.
    fn end(&self, job: usize, entry: &Entry);
}

/// Jobs that are ready to run.
#[derive(Debug)]
pub struct Batch {
    pub(super) file: PathBuf,
    pub(super) folder: PathBuf,
    memory: u64,
    pub(super) jobs: Vec<Job>,
    planned: Vec<Planned>,
    /// Names of all outputs, also of the jobs that are not in this part.
    pub(super) outputs: BTreeSet<String>,
    /// The part's name, if this is not the whole.
    part: Option<String>,
}

/// What a job would do.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Planned {
    /// The checkpoint, as in the manifest.
    pub source: String,
    /// The file or folder to be written.
    pub output: PathBuf,
    /// What was asked for, as on the command line.
    pub options: String,
    /// Bytes of the source's weight files.
    pub source_bytes: u64,
    /// Bytes of the output's tensors, without header and tokenizer.
    pub output_bytes: u64,
    /// The most memory that it takes, in bytes.
    pub memory: u64,
    /// Why it will fail, if that can be told.
    pub error: Option<String>,
}

/// Buffers of a running job beside its largest tensor.
const BUFFERS: u64 = 96 << 20;

/// What a tokenizer takes while it is read and written in another form, for each byte of its files or of a
/// GGUF file's header. Measured with Llama 3's vocabulary: 9 for a tokenizer.json, 12 for a header; others
/// may have more merges.
const TOKENIZER: u64 = 20;

/// The same for a tokenizer.model, which is dense, where a tokenizer.json must be made of it (79).
const TOKENIZER_MODEL: u64 = 80;

impl Batch {
    /// Finds every source, and what each job would write.
    ///
    /// # Errors
    /// The job file is wrong as a whole. What is wrong with a single job is in its plan.
    pub fn plan(file: &Path, isa: Isa) -> Result<Self, Error> {
        let spec = JobFile::read(file)?;
        let folder = spec.folder(file);
        let memory = match spec.memory(file)? {
            Some(memory) => memory,
            None => memory::of_machine().map_or(2 << 30, |bytes| bytes / 2),
        };
        let jobs = spec.expand(file, isa)?;
        let planned = jobs.iter().map(|job| plan_job(job, memory)).collect();
        let outputs = jobs.iter().map(output_name).collect();
        Ok(Self { file: file.to_owned(), folder, memory, jobs, planned, outputs, part: None })
    }

    /// The jobs with these indices only, in that order. Other parts may run at the same time if they have other jobs and
    /// another name; it is part of the name of the part's manifest.
    #[must_use]
    pub fn part(self, name: &str, jobs: &[usize]) -> Self {
        let planned = jobs.iter().map(|index| self.planned[*index].clone()).collect();
        let jobs = jobs.iter().map(|index| self.jobs[*index].clone()).collect();
        Self { jobs, planned, part: Some(name.to_owned()), ..self }
    }

    /// What every job would do, in the file's order.
    pub fn planned(&self) -> &[Planned] {
        &self.planned
    }

    /// The folder of the outputs and of the manifest.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// Where the manifest is.
    pub fn manifest_path(&self) -> PathBuf {
        Manifest::path_of(&self.folder, self.part.as_deref())
    }

    /// What all running jobs together may take, in bytes.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Runs the jobs; with `resume`, those that the folder's manifests have not proved done. The whole takes the place of
    /// parts that ran before.
    ///
    /// # Errors
    /// The folder or the manifest cannot be written, or another batch is at it. A job's failure is in its
    /// entry.
    pub fn run(&self, resume: bool, events: &dyn Events) -> Result<Manifest, Error> {
        fs::create_dir_all(&self.folder)
            .map_err(|source| OutputError { file: self.folder.clone(), source })?;
        let part = self.part.as_deref();
        let _lock = Lock::take(&self.folder, &self.file, part)?;
        let manifest = Mutex::new(self.manifest()?);
        let lock = || manifest.lock().unwrap_or_else(PoisonError::into_inner);
        lock().write(&self.folder, part)?;
        if part.is_none() {
            // What they say is in the whole's.
            self.remove_parts(&Manifest::parts(&self.folder)?)?;
        }

        let (next, budget) = (AtomicUsize::new(0), Budget::new(self.memory));
        // Each job computes in rayon's pool; more jobs at once only overlap computing and writing.
        let workers = rayon::current_num_threads().min(self.jobs.len());
        let work = || -> Result<(), Error> {
            loop {
                let index = next.fetch_add(1, Ordering::Relaxed);
                let Some(job) = self.jobs.get(index) else { return Ok(()) };
                let entry = lock().jobs[index].clone();
                let share = budget.take(self.planned[index].memory.min(self.memory));
                events.begin(index);
                clean_up(&job.output);
                let entry = if resume && self.is_done(job, &entry) {
                    events.keep(index);
                    entry
                } else {
                    self.run_job(index, entry, events)
                };
                drop(share);
                let mut manifest = lock();
                events.end(index, &entry);
                manifest.jobs[index] = entry;
                manifest.write(&self.folder, part)?;
            }
        };
        std::thread::scope(|scope| {
            let workers: Vec<_> = (0..workers).map(|_| scope.spawn(work)).collect();
            let join = |worker: std::thread::ScopedJoinHandle<'_, Result<(), Error>>| {
                worker.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic))
            };
            workers.into_iter().try_for_each(join)
        })?;
        Ok(manifest.into_inner().unwrap_or_else(PoisonError::into_inner))
    }

    /// The manifest to begin with: what is known of the jobs, first from the manifest that there is, then from those of
    /// other parts, or of the whole.
    fn manifest(&self) -> Result<Manifest, Error> {
        let part = self.part.as_deref();
        let own = Manifest::read_of(&self.folder, part)?.unwrap_or_default();
        let parts = Manifest::parts(&self.folder)?;
        let names = parts.iter().map(|name| Some(name.as_str())).chain([None]);
        let mut others = Vec::new();
        for name in names.filter(|name| *name != part) {
            others.extend(Manifest::read_of(&self.folder, name)?);
        }
        let known: Vec<&Entry> = own.entries().chain(others.iter().flat_map(Manifest::entries)).collect();
        let mut by_output: BTreeMap<&str, Vec<&Entry>> = BTreeMap::new();
        for entry in &known {
            by_output.entry(&entry.output).or_default().push(entry);
        }
        let entry =
            |job: &Job| Self::entry(job, by_output.get(&*output_name(job)).map_or(&[], Vec::as_slice));
        let jobs: Vec<Entry> = self.jobs.iter().map(entry).collect();
        // A part leaves the others' entries to them.
        let kept = if part.is_some() { own.entries().collect() } else { known };
        Ok(Manifest { version: VERSION.to_owned(), jobs, others: self.others(kept) })
    }

    /// Those of the entries whose outputs are there and are of no job of the file; one of each.
    pub(super) fn others<'e>(&self, entries: impl IntoIterator<Item = &'e Entry>) -> Vec<Entry> {
        let mut seen = BTreeSet::new();
        let is_other = |entry: &&Entry| {
            !self.outputs.contains(&entry.output)
                && self.folder.join(&entry.output).exists()
                && seen.insert(entry.output.clone())
        };
        entries.into_iter().filter(is_other).cloned().collect()
    }

    /// Removes the manifests of parts.
    pub(super) fn remove_parts(&self, parts: &[String]) -> Result<(), Error> {
        for part in parts {
            let file = Manifest::path_of(&self.folder, Some(part));
            fs::remove_file(&file).map_err(|source| OutputError { file, source })?;
        }
        Ok(())
    }

    /// A job's entry: of those that are known of its output one that is of the same job, and done if any is.
    fn entry(job: &Job, known: &[&Entry]) -> Entry {
        let same = || known.iter().filter(|entry| is_of(entry, job)).copied();
        let found = same().find(|entry| entry.status == Status::Done).or_else(|| same().next());
        found.cloned().unwrap_or_else(|| Entry {
            source: job.source.label.clone(),
            output: output_name(job),
            options: describe(job),
            status: Status::Pending,
            error: None,
            version: String::new(),
            text_sha256: String::new(),
            files: Vec::new(),
            report: None,
        })
    }

    /// Whether this version of b158 would write what is there: the entry's hashes are those of the source and
    /// of the output as they are now. What cannot be read is not done.
    fn is_done(&self, job: &Job, entry: &Entry) -> bool {
        let (Status::Done, Some(report)) = (entry.status, &entry.report) else { return false };
        let intact = |file: &OutputEntry| {
            let path = self.folder.join(&file.name);
            path.metadata().is_ok_and(|m| m.is_file() && m.len() == file.bytes)
                && hash(&[path]).is_ok_and(|sha256| sha256 == file.sha256)
        };
        entry.version == VERSION
            && !entry.files.is_empty()
            && entry.files.iter().all(intact)
            && Checkpoint::open_with(&job.source.path, &job.open).is_ok_and(|source| {
                hash_text(&source).is_ok_and(|sha256| sha256 == entry.text_sha256)
                    && hash(source.files()).is_ok_and(|sha256| sha256 == report.source_sha256)
            })
    }

    fn run_job(&self, index: usize, before: Entry, events: &dyn Events) -> Entry {
        self.remove_remains(&self.jobs[index].output, &before);
        let mut entry = Entry {
            status: Status::Done,
            error: None,
            version: VERSION.to_owned(),
            text_sha256: String::new(),
            files: Vec::new(),
            report: None,
            ..before
        };
        let failed = Entry { status: Status::Failed, ..entry.clone() };
        match self.try_job(index, &mut entry, events) {
            Ok(()) => entry,
            Err(error) => Entry { error: Some(error.to_string()), ..failed },
        }
    }

    fn try_job(&self, index: usize, entry: &mut Entry, events: &dyn Events) -> Result<(), Error> {
        let job = &self.jobs[index];
        let needed = self.planned[index].memory;
        if needed > self.memory {
            return Err(Error::Memory { file: self.file.clone(), needed, budget: self.memory });
        }
        let checkpoint = Checkpoint::open_with(&job.source.path, &job.open)?;
        // Before they are used: what changes afterwards is not what was converted.
        entry.text_sha256 = hash_text(&checkpoint)?;
        let progress = |done, total| events.advance(index, done, total);
        entry.report = Some(convert(&checkpoint, &job.output, &job.options, &progress)?);
        entry.files = self.output_files(&job.output)?;
        Ok(())
    }

    /// A folder without config.json is no model, and not known as ours. If all that is in it is what the
    /// manifest says that we wrote, it goes, or it would be in the way for ever.
    fn remove_remains(&self, output: &Path, entry: &Entry) {
        if !output.is_dir() || output.join("config.json").symlink_metadata().is_ok() {
            return;
        }
        if self.output_files(output).is_ok_and(|found| found.iter().all(|file| entry.files.contains(file))) {
            // If it cannot be removed, the job fails and says why.
            let _ = fs::remove_dir_all(output);
        }
    }

    /// Every file of an output.
    fn output_files(&self, output: &Path) -> Result<Vec<OutputEntry>, Error> {
        let error = |source| Error::Read { file: output.to_owned(), source };
        let mut paths = vec![output.to_owned()];
        if output.is_dir() {
            let entries = output.read_dir().map_err(error)?;
            paths = entries.map(|e| e.map(|e| e.path())).collect::<Result<_, _>>().map_err(error)?;
            paths.sort();
        }
        let entry = |path: PathBuf| {
            let bytes = path.metadata().map_err(|source| Error::Read { file: path.clone(), source })?.len();
            let name = path.strip_prefix(&self.folder).unwrap_or(&path).to_owned();
            Ok(OutputEntry { name, bytes, sha256: hash(&[path])? })
        };
        paths.into_iter().map(entry).collect()
    }
}

/// The name of a job's output.
pub(super) fn output_name(job: &Job) -> String {
    job.output.file_name().unwrap_or_default().to_string_lossy().into_owned()
}

/// Whether an entry is of this very job.
pub(super) fn is_of(entry: &Entry, job: &Job) -> bool {
    entry.output == output_name(job) && entry.source == job.source.label && entry.options == describe(job)
}

/// The memory that a source's tokenizer takes at most.
fn tokenizer_memory(source: &Checkpoint) -> u64 {
    let files = source.files_beside_weights();
    if files.is_empty() {
        // A GGUF file: what is no tensor is header.
        return source.bytes_on_disk().saturating_sub(source.tensor_bytes()).saturating_mul(TOKENIZER);
    }
    let is_there = |name: &str| files.iter().any(|file| file.ends_with(name));
    let memory = |file: &PathBuf| {
        let is_source = file.ends_with("tokenizer.model") && !is_there("tokenizer.json");
        let bytes = file.metadata().map_or(0, |m| m.len());
        bytes.saturating_mul(if is_source { TOKENIZER_MODEL } else { TOKENIZER })
    };
    files.iter().map(memory).fold(0, u64::saturating_add)
}

fn plan_job(job: &Job, budget: u64) -> Planned {
    let mut planned = Planned {
        source: job.source.label.clone(),
        output: lossy(&job.output),
        options: describe(job),
        source_bytes: 0,
        output_bytes: 0,
        memory: BUFFERS,
        error: None,
    };
    let mut check = || -> Result<(), Error> {
        let checkpoint = Checkpoint::open_with(&job.source.path, &job.open)?;
        planned.source_bytes = checkpoint.bytes_on_disk();
        let (tokenizer, mut largest) = (tokenizer_memory(&checkpoint), 0);
        for id in checkpoint.tensor_ids() {
            let tensor = checkpoint.tensor(id)?;
            // The mapped tensor, and its codes where they cannot be made row by row.
            let weights = tensor.shape.iter().product::<usize>() as u64;
            let codes = if id.is_linear() { weights * 5 } else { 0 };
            largest = largest.max(tensor.bytes().len() as u64 + codes);
        }
        planned.memory = BUFFERS.saturating_add(largest).saturating_add(tokenizer);
        let container = job.options.container(&job.output)?;
        let steps = plan::steps(&checkpoint, container, &job.options)?;
        planned.output_bytes =
            steps.iter().flat_map(plan::Step::tensors).filter_map(|t| t.dtype.byte_len(&t.shape)).sum();
        if planned.memory > budget {
            return Err(Error::Memory { file: job.source.path.clone(), needed: planned.memory, budget });
        }
        Ok(())
    };
    planned.error = check().err().map(|error| error.to_string());
    planned
}

/// A path that any text can hold.
fn lossy(path: &Path) -> PathBuf {
    path.to_string_lossy().into_owned().into()
}

/// A job's options as on the command line.
fn describe(job: &Job) -> String {
    let options = &job.options;
    let mut out = format!("--to {} --scheme {}", options.format, options.scheme());
    if let Some(head) = options.head {
        out += &format!(" --head {head}");
    }
    match options.format {
        crate::Format::Blocks(format) if format.block_scales() => {
            out += &format!(" --scales {}", options.scales);
        }
        crate::Format::HuggingFace => out += &format!(" --linear-class {}", options.linear_class),
        _ => {}
    }
    if job.open.i2_s != Interleave::X86 {
        out += " --i2-s-order arm";
    }
    if let Some(activation) = job.open.activation {
        out += &format!(" --activation {}", activation.name());
    }
    if job.options.verify {
        out += " --verify";
    }
    out
}
