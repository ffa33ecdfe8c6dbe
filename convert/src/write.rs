//! Writing the output: one tensor at a time, beside the final name, then renamed.

use std::{
    io::{self, BufWriter, Seek, SeekFrom, Write},
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use b158_checkpoint::{
    Checkpoint, OutputError, OutputFile, TensorInfo, TensorType,
    gguf::{GgufDataWriter, ROPE_FREQS, i2_s_tail},
};
use half::f16;

use crate::{
    Error, Options, Report, Scheme, TensorReport,
    format::Container,
    hugging_face, metadata,
    plan::{self, Content, Step},
    rows::Rows,
    scale::{self, Place},
    source::{self, Unchanged},
    ternary::{self, Loss, Ternary},
    verify::verify_written,
    warnings,
};

/// Told after each tensor: bytes of the source that are done, bytes in all.
pub type Progress<'a> = &'a (dyn Fn(u64, u64) + Sync);

/// Converts `source` to `output`: a GGUF file, or a Hugging Face folder. Whatever happens, `output` is
/// either as it was or whole.
///
/// # Errors
/// A source that cannot be read, does not fit the format or changes meanwhile, a tensor that is not
/// finite, or an output that cannot be written.
pub fn convert(
    checkpoint: &Checkpoint,
    output: &Path,
    options: &Options,
    progress: Progress<'_>,
) -> Result<Report, Error> {
    let start = Instant::now();
    let container = options.container(output)?;
    refuse_to_replace_source(checkpoint, output)?;
    let steps = plan::steps(checkpoint, container, options)?;
    let masters = ternary::has_masters(checkpoint)?;
    let scheme = if masters { options.scheme() } else { Scheme::None };
    let unchanged = Unchanged::watch(checkpoint.files())?;
    let stop = AtomicBool::new(false);
    let mut report = std::thread::scope(|scope| {
        // The source's hash goes into the output's header; it is computed while the tensors are written.
        let digest = scope.spawn(|| source::sha256(checkpoint.files(), &stop));
        let job = Job { checkpoint, output, options, container, scheme, masters, steps: &steps, progress };
        let digest = || digest.join().unwrap_or_else(|panic| std::panic::resume_unwind(panic));
        let finish = || {
            let digest = digest()?.expect("nobody stopped it");
            unchanged.check()?;
            Ok(digest)
        };
        let report = match container {
            Container::Gguf => write_gguf(&job, finish),
            Container::HuggingFace => hugging_face::write(&job, finish),
        };
        stop.store(true, Ordering::Relaxed);
        report
    })?;
    report.seconds = start.elapsed().as_secs_f64();
    Ok(report)
}

/// The output must be neither a file of the source nor a folder that holds one.
fn refuse_to_replace_source(checkpoint: &Checkpoint, output: &Path) -> Result<(), Error> {
    let Ok(existing) = output.canonicalize() else { return Ok(()) };
    for file in checkpoint.files() {
        // A file, and what it may be a link to.
        let links = [file.canonicalize().ok(), Some(file.clone())];
        let folders = links.iter().flatten().filter_map(|file| file.parent()?.canonicalize().ok());
        let same = links.iter().flatten().any(|file| *file == existing);
        if same || folders.into_iter().any(|folder| folder == existing) {
            return Err(Error::OutputIsSource { file: file.clone() });
        }
    }
    Ok(())
}

/// What both containers need.
pub(crate) struct Job<'a> {
    pub(crate) checkpoint: &'a Checkpoint,
    pub(crate) output: &'a Path,
    pub(crate) options: &'a Options,
    pub(crate) container: Container,
    /// What makes codes of weights that have none.
    pub(crate) scheme: Scheme,
    /// Whether there are such weights.
    pub(crate) masters: bool,
    pub(crate) steps: &'a [Step],
    progress: Progress<'a>,
}

/// Takes the bytes of tensors, one after the other, each in parts.
pub(crate) trait Sink {
    fn part(&mut self, name: &str, bytes: &[u8]) -> io::Result<()>;
}

impl<W: Write> Sink for GgufDataWriter<'_, W> {
    fn part(&mut self, name: &str, bytes: &[u8]) -> io::Result<()> {
        self.write_part(name, bytes)
    }
}

fn write_gguf(job: &Job, digest: impl FnOnce() -> Result<String, Error>) -> Result<Report, Error> {
    let mut file = OutputFile::create(job.output)?;
    // The hash is not known yet, but its length is.
    let metadata = metadata::Gguf::new(job.checkpoint, job.options, job.scheme)?;
    let plan = metadata.plan(job.steps, &"0".repeat(64))?;
    let mut writer = BufWriter::with_capacity(1 << 20, &mut file);
    plan.write_header(&mut writer).map_err(|e| job.error(e))?;
    let mut data = GgufDataWriter::new(&plan, &mut writer);
    let mut report = job.tensors(&mut data)?;
    if let Some(factors) = metadata.rope_factors() {
        let bytes: Vec<u8> = factors.into_iter().flat_map(f32::to_le_bytes).collect();
        data.write_tensor(ROPE_FREQS, &bytes).map_err(|e| job.error(e))?;
    }
    data.finish().map_err(|e| job.error(e))?;
    drop(writer);

    report.warnings.extend(metadata.warnings.iter().cloned());
    report.source_sha256 = digest()?;
    let plan = metadata.plan(job.steps, &report.source_sha256)?;
    file.seek(SeekFrom::Start(0)).and_then(|_| plan.write_header(&mut file)).map_err(|e| job.error(e))?;
    if job.options.verify {
        file.flush().map_err(|e| job.error(e))?;
        let written = Checkpoint::open_gguf(file.partial_path())?;
        report.verified = Some(verify_written(job.checkpoint, &written, job.output, job.options)?);
    }
    file.commit()?;
    report.output_bytes = plan.file_len();
    Ok(report)
}

impl Job<'_> {
    pub(crate) fn error(&self, source: io::Error) -> Error {
        OutputError { file: self.output.to_owned(), source }.into()
    }

    /// Makes every tensor.
    pub(crate) fn tensors(&self, sink: &mut impl Sink) -> Result<Report, Error> {
        let mut report = Report::new(self.checkpoint, self.options, self.scheme);
        let mut loss = Loss::default();
        let mut done = 0;
        let total = self.checkpoint.tensor_bytes();
        for step in self.steps {
            let start = Instant::now();
            let tensor = self.checkpoint.tensor(step.id)?;
            if let Some((mut entry, of_tensor)) = self.tensor(step, sink)? {
                entry.seconds = start.elapsed().as_secs_f64();
                report.add(entry);
                loss = loss + of_tensor;
            }
            done += tensor.bytes().len() as u64;
            tensor.release();
            (self.progress)(done, total);
        }
        report.finish();
        report.relative_error = loss.relative();
        report.warnings = warnings::warnings(self, &report);
        Ok(report)
    }

    /// Makes one tensor; of a ternary one, returns what it is and what the scheme lost.
    fn tensor(&self, step: &Step, sink: &mut impl Sink) -> Result<Option<(TensorReport, Loss)>, Error> {
        let tensor = self.checkpoint.tensor(step.id)?;
        let order = plan::order(self.checkpoint, self.container, step.id);
        let (dtype, scale_name) = match &step.content {
            Content::Weights(dtype) => {
                self.write(&Rows::weights(&tensor, *dtype, order)?, &step.name, &[], sink)?;
                return Ok(None);
            }
            Content::Linear { dtype, scale_name } => (*dtype, scale_name),
        };
        let options = self.options;
        let ternary = Ternary::read(self.checkpoint, step.id, &tensor, options.scheme(), options.isa)?;
        let Some(ternary) = ternary else {
            if options.format.is_packed() {
                let (file, tensor) = (tensor.file().to_owned(), tensor.name.clone());
                return Err(Error::NotTernary { file, tensor });
            }
            self.write(&Rows::weights(&tensor, dtype, order)?, &step.name, &[], sink)?;
            return Ok(None);
        };
        let place = Place::of(options);
        let held = place.held(ternary.scale);
        if !held.is_finite() || held == 0.0 {
            let (file, tensor) = (tensor.file().to_owned(), tensor.name.clone());
            let (scale, format) = (ternary.scale, options.format.name());
            return Err(Error::Scale { file, tensor, scale, format });
        }
        let d = if place == Place::Blocks { f16::from_f32(ternary.scale) } else { f16::ONE };
        let tail = i2_s_tail(ternary.scale);
        let tail = if place == Place::Tail { &tail[..] } else { &[] };
        let rows = Rows::ternary(&ternary, dtype, held, d, order);
        let codes = self.write(&rows, &step.name, tail, sink)?;
        let mut bytes = rows.bytes() + tail.len() as u64;
        if let Some(name) = scale_name {
            let stored = match place {
                Place::WeightScale(class) => scale::stored(class, ternary.scale),
                _ => ternary.scale,
            };
            sink.part(name, &stored.to_le_bytes()).map_err(|e| self.error(e))?;
            bytes += 4;
        }
        // A model that is trained for it computes with the codes; nothing is lost.
        let trained = self.checkpoint.config().ternary_linears;
        let loss = if trained { Loss::default() } else { ternary.loss()? };
        let report = TensorReport {
            name: step.name.clone(),
            bytes,
            scale: ternary.scale,
            scale_change: scale::relative_change(ternary.scale, held),
            ternarized: ternary.ternarized,
            relative_error: loss.relative(),
            codes,
            seconds: 0.0,
        };
        Ok(Some((report, loss)))
    }

    fn write(&self, rows: &Rows, name: &str, tail: &[u8], sink: &mut impl Sink) -> Result<[u64; 3], Error> {
        let codes = rows.write(|part| sink.part(name, part))?.map_err(|e| self.error(e))?;
        if !tail.is_empty() {
            sink.part(name, tail).map_err(|e| self.error(e))?;
        }
        Ok(codes)
    }
}

/// The tensors that a step writes, for a container's header.
pub(crate) fn written(step: &Step) -> impl Iterator<Item = TensorInfo> {
    let (dtype, scale) = match &step.content {
        Content::Weights(dtype) => (*dtype, None),
        Content::Linear { dtype, scale_name } => (*dtype, scale_name.as_deref()),
    };
    let tensor = TensorInfo { name: step.name.clone(), dtype, shape: step.shape.clone() };
    let scale =
        scale.map(|name| TensorInfo { name: name.to_owned(), dtype: TensorType::F32, shape: vec![1] });
    [tensor].into_iter().chain(scale)
}
