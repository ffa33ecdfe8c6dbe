//! Running the jobs.

use std::{
    path::{Path, PathBuf},
    sync::{
        Mutex, PoisonError,
        atomic::{AtomicBool, AtomicUsize, Ordering},
    },
};

use b158_checkpoint::{Checkpoint, OutputError};
use b158_kernels::Isa;

use super::{
    Entry, JobFile, Manifest, OutputEntry, Status,
    jobs::Job,
    memory::{self, Budget},
};
use crate::{Error, convert, plan, source, verify, write::written};

/// Told what happens, from several threads at once; jobs are numbered as in [`Batch::planned`].
pub trait Events: Sync {
    /// A job begins.
    fn begin(&self, job: usize);
    /// That many bytes of a job's source are done, of that many.
    fn advance(&self, job: usize, done: u64, total: u64);
    /// A job has ended.
    fn end(&self, job: usize, entry: &Entry);
}

/// Jobs that are ready to run.
#[derive(Debug)]
pub struct Batch {
    file: PathBuf,
    folder: PathBuf,
    memory: u64,
    jobs: Vec<Job>,
    planned: Vec<Planned>,
}

/// What a job would do.
#[derive(Clone, Debug, PartialEq, serde::Serialize)]
pub struct Planned {
    /// The checkpoint.
    pub source: PathBuf,
    /// The file or folder to be written.
    pub output: PathBuf,
    /// What was asked for, as on the command line.
    pub options: String,
    /// Bytes of the source's weight files.
    pub source_bytes: u64,
    /// Bytes of the output's tensors.
    pub output_bytes: u64,
    /// The most memory that it takes, in bytes.
    pub memory: u64,
    /// Why it will fail, if that can be told.
    pub error: Option<String>,
}

/// Buffers of a running job beside its largest tensor.
const BUFFERS: u64 = 96 << 20;

impl Batch {
    /// Finds every source, and what each job would write.
    ///
    /// # Errors
    /// The job file is wrong as a whole. What is wrong with a single job is in its plan.
    pub fn plan(file: &Path, isa: Isa) -> Result<Self, Error> {
        let spec = JobFile::read(file)?;
        let folder = file.parent().unwrap_or(Path::new("")).join(&spec.output);
        let memory = match spec.memory(file)? {
            Some(memory) => memory,
            None => memory::of_machine().map_or(2 << 30, |bytes| bytes / 2),
        };
        let jobs = spec.expand(file, isa)?;
        let planned = jobs.iter().map(|job| plan_job(job, memory)).collect();
        Ok(Self { file: file.to_owned(), folder, memory, jobs, planned })
    }

    /// What every job would do, in the file's order.
    pub fn planned(&self) -> &[Planned] {
        &self.planned
    }

    /// The folder of the outputs and of the manifest.
    pub fn folder(&self) -> &Path {
        &self.folder
    }

    /// What all running jobs together may take, in bytes.
    pub fn memory(&self) -> u64 {
        self.memory
    }

    /// Runs the jobs; with `resume`, those that the folder's manifest has not proved done.
    ///
    /// # Errors
    /// The folder or the manifest cannot be written. A job's failure is in its entry.
    pub fn run(&self, resume: bool, events: &dyn Events) -> Result<Manifest, Error> {
        std::fs::create_dir_all(&self.folder)
            .map_err(|source| OutputError { file: self.folder.clone(), source })?;
        let before = Manifest::read(&self.folder)?.unwrap_or_default();
        let manifest = Mutex::new(Manifest {
            version: env!("CARGO_PKG_VERSION").to_owned(),
            jobs: self.jobs.iter().map(|job| self.entry(job, &before)).collect(),
        });
        let lock = || manifest.lock().unwrap_or_else(PoisonError::into_inner);
        lock().write(&self.folder)?;

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
                let entry = if resume && self.is_done(job, &entry)? {
                    entry
                } else {
                    self.run_job(index, entry, events)
                };
                drop(share);
                let mut manifest = lock();
                events.end(index, &entry);
                manifest.jobs[index] = entry;
                manifest.write(&self.folder)?;
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

    /// A job's entry: the one in an earlier manifest if it is of the same job.
    fn entry(&self, job: &Job, before: &Manifest) -> Entry {
        let output = job.output.strip_prefix(&self.folder).unwrap_or(&job.output);
        let output = output.to_string_lossy().into_owned();
        let options = describe(job);
        let same = |e: &&Entry| e.output == output && e.source == job.source && e.options == options;
        before.jobs.iter().find(same).cloned().unwrap_or(Entry {
            source: job.source.clone(),
            output,
            options,
            status: Status::Pending,
            error: None,
            files: Vec::new(),
            report: None,
            verified: None,
        })
    }

    /// Whether the entry's hashes are those of the source and of the output as they are now.
    fn is_done(&self, job: &Job, entry: &Entry) -> Result<bool, Error> {
        let (Status::Done, Some(report)) = (entry.status, &entry.report) else { return Ok(false) };
        let intact = |file: &OutputEntry| {
            let path = self.folder.join(&file.name);
            path.metadata().is_ok_and(|m| m.len() == file.bytes)
                && hash(&[path]).is_ok_and(|sha256| sha256 == file.sha256)
        };
        let Ok(source) = Checkpoint::open(&job.source) else { return Ok(false) };
        Ok(!entry.files.is_empty()
            && entry.files.iter().all(intact)
            && hash(source.files())? == report.source_sha256)
    }

    fn run_job(&self, index: usize, mut entry: Entry, events: &dyn Events) -> Entry {
        let replace = entry.status == Status::Done;
        (entry.error, entry.report, entry.verified, entry.files) = (None, None, None, Vec::new());
        let done = if replace { put_aside(&self.jobs[index].output) } else { Ok(()) };
        match done.and_then(|()| self.try_job(index, &mut entry, events)) {
            Ok(()) => entry.status = Status::Done,
            Err(error) => {
                entry.status = Status::Failed;
                entry.error = Some(error.to_string());
            }
        }
        entry
    }

    fn try_job(&self, index: usize, entry: &mut Entry, events: &dyn Events) -> Result<(), Error> {
        let job = &self.jobs[index];
        let needed = self.planned[index].memory;
        if needed > self.memory {
            return Err(Error::Memory { file: self.file.clone(), needed, budget: self.memory });
        }
        let checkpoint = Checkpoint::open(&job.source)?;
        let progress = |done, total| events.advance(index, done, total);
        entry.report = Some(convert(&checkpoint, &job.output, &job.options, &progress)?);
        if job.verify {
            entry.verified = Some(verify(&checkpoint, &job.output, &job.options)?);
        }
        for path in Checkpoint::open(&job.output)?.files() {
            let bytes = path.metadata().map_err(|source| Error::Read { file: path.clone(), source })?.len();
            let name = path.strip_prefix(&self.folder).unwrap_or(path).to_owned();
            let sha256 = hash(std::slice::from_ref(path))?;
            entry.files.push(OutputEntry { name, bytes, sha256 });
        }
        Ok(())
    }
}

/// A folder is not written over: the one that this batch wrote before goes, as an abandoned partial one.
fn put_aside(output: &Path) -> Result<(), Error> {
    if !output.is_dir() {
        return Ok(());
    }
    let name = output.file_name().unwrap_or_default().to_string_lossy();
    let aside = output.with_file_name(format!(".{name}.replaced.partial"));
    std::fs::rename(output, aside).map_err(|source| OutputError { file: output.to_owned(), source }.into())
}

fn hash(files: &[PathBuf]) -> Result<String, Error> {
    Ok(source::sha256(files, &AtomicBool::new(false))?.expect("nobody stops it"))
}

fn plan_job(job: &Job, budget: u64) -> Planned {
    let mut planned = Planned {
        source: job.source.clone(),
        output: job.output.clone(),
        options: describe(job),
        source_bytes: 0,
        output_bytes: 0,
        memory: BUFFERS,
        error: None,
    };
    let mut check = || -> Result<(), Error> {
        let checkpoint = Checkpoint::open(&job.source)?;
        planned.source_bytes = checkpoint.bytes_on_disk();
        for id in checkpoint.tensor_ids() {
            let tensor = checkpoint.tensor(id)?;
            // The mapped tensor, and its codes where they cannot be made row by row.
            let weights = tensor.shape.iter().product::<usize>() as u64;
            let codes = if id.is_linear() { weights * 5 } else { 0 };
            planned.memory = planned.memory.max(BUFFERS + tensor.bytes().len() as u64 + codes);
        }
        let container = job.options.container(&job.output)?;
        let steps = plan::steps(&checkpoint, container, &job.options)?;
        planned.output_bytes =
            steps.iter().flat_map(written).filter_map(|t| t.dtype.byte_len(&t.shape)).sum();
        if planned.memory > budget {
            return Err(Error::Memory { file: job.source.clone(), needed: planned.memory, budget });
        }
        Ok(())
    };
    planned.error = check().err().map(|error| error.to_string());
    planned
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
    if job.verify {
        out += " --verify";
    }
    out
}
