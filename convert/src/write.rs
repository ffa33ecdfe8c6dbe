//! Writing the output: one tensor at a time, beside the final name, then renamed.

use std::{
    path::Path,
    sync::atomic::{AtomicBool, Ordering},
    time::Instant,
};

use b158_checkpoint::Checkpoint;

use crate::{
    Error, Options, Report, Scheme,
    format::Container,
    gguf, hugging_face,
    job::{Job, Progress},
    plan,
    source::{self, Unchanged},
    ternary, warnings,
};

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
            Container::Gguf => gguf::write(&job, finish),
            Container::HuggingFace => hugging_face::write(&job, finish),
        };
        stop.store(true, Ordering::Relaxed);
        report.map(|mut report| {
            report.warnings.extend(warnings::warnings(&job, &report));
            report
        })
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
