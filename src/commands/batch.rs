//! `b158 convert --batch`.

use std::{
    collections::BTreeSet,
    path::Path,
    sync::{Mutex, PoisonError},
};

use anyhow::{Result, bail};
use b158_convert::batch::{Batch, Entry, Events, Manifest, Planned, Status};
use b158_eval::{
    Shard,
    table::{Align, markdown},
};
use b158_kernels::Isa;
use indicatif::{MultiProgress, ProgressBar, ProgressDrawTarget};
use serde::Serialize;

use crate::{ExitStatus, cli::ConvertArgs, printer::Printer, progress};

pub fn run(file: &Path, args: &ConvertArgs, isa: Isa, printer: &Printer) -> Result<ExitStatus> {
    let mut batch = Batch::plan(file, isa)?;
    if args.join {
        let manifest = batch.join(&shards(batch.folder())?)?;
        return finish(&batch, &manifest, &BTreeSet::new(), printer);
    }
    if let Some(argument) = args.shard {
        let bytes: Vec<u64> = batch.planned().iter().map(|job| job.source_bytes).collect();
        batch = batch.part(&argument.shard.name(), &argument.shard.deal(&bytes));
    }
    if args.dry_run {
        let document =
            Plan { folder: &batch.folder().to_string_lossy(), memory: batch.memory(), jobs: batch.planned() };
        printer.result(&document, || plan_text(&batch))?;
        let fails = batch.planned().iter().any(|job| job.error.is_some());
        return Ok(if fails { ExitStatus::Failure } else { ExitStatus::Success });
    }
    let bars = Bars::new(&batch);
    let manifest = batch.run(args.resume, &bars)?;
    let kept = bars.kept.into_inner().unwrap_or_else(PoisonError::into_inner);
    finish(&batch, &manifest, &kept, printer)
}

/// Says what became of the jobs.
fn finish(
    batch: &Batch,
    manifest: &Manifest,
    kept: &BTreeSet<usize>,
    printer: &Printer,
) -> Result<ExitStatus> {
    let failed = manifest.jobs.iter().filter(|job| job.status != Status::Done).count();
    printer.result(manifest, || text(manifest, kept, &batch.manifest_path()))?;
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

/// The names of all shards, whose manifests are in the folder.
fn shards(folder: &Path) -> Result<Vec<String>> {
    let there: Vec<Shard> =
        Manifest::parts(folder)?.iter().filter_map(|part| Shard::from_name(part)).collect();
    let Some(first) = there.first() else {
        bail!(
            "{}: no manifest of a shard\nhint: run the batch with --shard first; a join that was interrupted is completed by --resume",
            folder.display()
        )
    };
    if let Some(other) = there.iter().find(|shard| shard.count() != first.count()) {
        let manifest = |shard: &Shard| Manifest::path_of(Path::new(""), Some(&shard.name()));
        let [one, two] = [first, other].map(manifest);
        bail!(
            "{}: shards of two runs: {} and {}\nhint: remove the manifests of the run that is not meant",
            folder.display(),
            one.display(),
            two.display()
        );
    }
    let all: Vec<Shard> = (1..=first.count())
        .map(|index| format!("{index}/{}", first.count()).parse().expect("a shard"))
        .collect();
    let missing: Vec<String> =
        all.iter().filter(|shard| !there.contains(shard)).map(ToString::to_string).collect();
    if !missing.is_empty() {
        bail!(
            "{}: missing: shard {}\nhint: run it with --shard; a join that was interrupted is completed by --resume",
            folder.display(),
            missing.join(", ")
        );
    }
    Ok(all.iter().map(|shard| shard.name()).collect())
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

fn text(manifest: &Manifest, kept: &BTreeSet<usize>, path: &Path) -> String {
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
        path.display()
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
