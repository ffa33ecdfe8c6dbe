//! `b158 convert --batch`.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::Result;
use b158_convert::batch::{Batch, Entry, Events, Manifest, Planned, Status};
use b158_eval::table::{Align, markdown};
use b158_kernels::Isa;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use serde::Serialize;

use crate::{ExitStatus, printer::Printer, progress};

pub fn run(file: &Path, resume: bool, dry_run: bool, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    let batch = Batch::plan(file, isa)?;
    if dry_run {
        let document =
            Plan { folder: &batch.folder().to_string_lossy(), memory: batch.memory(), jobs: batch.planned() };
        printer.result(&document, || plan_text(&batch))?;
        let fails = batch.planned().iter().any(|job| job.error.is_some());
        return Ok(if fails { ExitStatus::Failure } else { ExitStatus::Success });
    }
    let bars = Bars::new(&batch);
    let manifest = batch.run(resume, &bars)?;
    let kept = bars.kept.into_inner().unwrap_or_else(PoisonError::into_inner);
    let failed = manifest.jobs.iter().filter(|job| job.status != Status::Done).count();
    printer.result(&manifest, || text(&manifest, &kept, batch.folder()))?;
    for job in &manifest.jobs {
        let warnings = job.report.iter().flat_map(|report| &report.warnings);
        for warning in warnings.collect::<BTreeSet<_>>() {
            printer.note(&format!("warning: {}: {warning}", job.output));
        }
        if let Some(error) = &job.error {
            printer.note(&format!("error: {}: {error}", job.output));
        }
    }
    Ok(if failed > 0 { ExitStatus::Failure } else { ExitStatus::Success })
}

#[derive(Serialize)]
struct Plan<'a> {
    folder: &'a str,
    memory: u64,
    jobs: &'a [Planned],
}

fn plan_text(batch: &Batch) -> String {
    let header = [
        ("source", Align::Left),
        ("output", Align::Left),
        ("options", Align::Left),
        ("source MB", Align::Right),
        ("tensors MB", Align::Right),
        ("memory MB", Align::Right),
    ];
    let rows: Vec<_> = batch
        .planned()
        .iter()
        .map(|job| {
            vec![
                job.source.clone(),
                job.output.display().to_string(),
                job.options.clone(),
                megabytes(job.source_bytes),
                if job.error.is_some() { "fails".to_owned() } else { megabytes(job.output_bytes) },
                megabytes(job.memory),
            ]
        })
        .collect();
    let mut text = markdown(&header, &rows);
    text += &format!("\nmemory: {} MB for all running jobs together\n", megabytes(batch.memory()));
    for job in batch.planned() {
        if let Some(error) = &job.error {
            text += &format!("\n{}: {error}\n", job.output.display());
        }
    }
    text
}

fn text(manifest: &Manifest, kept: &BTreeSet<usize>, folder: &Path) -> String {
    let header = [
        ("output", Align::Left),
        ("status", Align::Left),
        ("bits/weight", Align::Right),
        ("source MB", Align::Right),
        ("output MB", Align::Right),
        ("seconds", Align::Right),
        ("scale change", Align::Right),
        ("verified", Align::Left),
    ];
    let rows: Vec<_> = manifest.jobs.iter().enumerate().map(|(i, job)| row(job, kept.contains(&i))).collect();
    let failed = manifest.jobs.iter().filter(|job| job.status == Status::Failed).count();
    let mut text = markdown(&header, &rows);
    text += &format!(
        "\n{} of {} jobs done ({} of them before), {failed} failed; {}\n",
        manifest.jobs.iter().filter(|job| job.status == Status::Done).count(),
        manifest.jobs.len(),
        kept.len(),
        Manifest::path(folder).display()
    );
    text
}

fn row(job: &Entry, kept: bool) -> Vec<String> {
    let status = match job.status {
        Status::Pending => "pending",
        Status::Done if kept => "kept",
        Status::Done => "done",
        Status::Failed => "failed",
    };
    let report =
        |cell: fn(&b158_convert::Report) -> String| job.report.as_ref().map_or_else(String::new, cell);
    vec![
        job.output.clone(),
        status.to_owned(),
        report(|r| r.bits_per_weight.map_or_else(String::new, |bits| format!("{bits:.4}"))),
        report(|r| megabytes(r.source_bytes)),
        report(|r| megabytes(r.output_bytes)),
        report(|r| format!("{:.2}", r.seconds)),
        report(|r| {
            if r.largest_scale_change == 0.0 { "0".into() } else { format!("{:.1e}", r.largest_scale_change) }
        }),
        report(|r| r.verified.map_or("", |_| "yes").to_owned()),
    ]
}

fn megabytes(bytes: u64) -> String {
    format!("{:.2}", bytes as f64 / 1e6)
}

/// A bar for each running job.
struct Bars<'b> {
    batch: &'b Batch,
    all: MultiProgress,
    running: Mutex<Vec<Option<ProgressBar>>>,
    /// The jobs that were done before.
    kept: Mutex<BTreeSet<usize>>,
}

impl<'b> Bars<'b> {
    fn new(batch: &'b Batch) -> Self {
        let all = MultiProgress::with_draw_target(ProgressDrawTarget::stderr());
        Self { batch, all, running: Mutex::new(vec![None; batch.planned().len()]), kept: Mutex::default() }
    }

    fn with(&self, job: usize, act: impl FnOnce(&mut Option<ProgressBar>)) {
        act(&mut self.running.lock().unwrap_or_else(PoisonError::into_inner)[job]);
    }
}

impl Events for Bars<'_> {
    fn begin(&self, job: usize) {
        let planned = &self.batch.planned()[job];
        let bar = self.all.add(ProgressBar::new(planned.source_bytes));
        let name = planned.output.file_name().unwrap_or_default().to_string_lossy().into_owned();
        progress::style_bytes(&bar, &name);
        self.with(job, |slot| *slot = Some(bar));
    }

    fn advance(&self, job: usize, done: u64, total: u64) {
        self.with(job, |slot| {
            if let Some(bar) = slot {
                bar.set_length(total);
                bar.set_position(done);
            }
        });
    }

    fn keep(&self, job: usize) {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner).insert(job);
    }

    fn end(&self, job: usize, _: &Entry) {
        self.with(job, |slot| {
            if let Some(bar) = slot.take() {
                bar.finish_and_clear();
            }
        });
    }
}
