//! Many conversions: jobs, failures, going on, the memory budget.

mod common;

use std::{
    fs,
    path::Path,
    sync::atomic::{AtomicUsize, Ordering},
};

use b158_convert::{
    Error,
    batch::{Batch, Entry, Events, JobFile, Manifest, Status},
};
use b158_kernels::Isa;
use common::{Shape, random_checkpoint};
use proptest::prelude::*;

const SHAPE: Shape = Shape {
    class: "LlamaForCausalLM",
    hidden: 256,
    intermediate: 512,
    layers: 1,
    heads: 4,
    kv_heads: 2,
    tied: true,
};

/// Counts the jobs that really converted something.
#[derive(Default)]
struct Counter {
    begun: AtomicUsize,
    converted: AtomicUsize,
}

impl Events for Counter {
    fn begin(&self, _: usize) {
        self.begun.fetch_add(1, Ordering::Relaxed);
    }

    fn advance(&self, _: usize, done: u64, total: u64) {
        if done == total {
            self.converted.fetch_add(1, Ordering::Relaxed);
        }
    }

    fn end(&self, _: usize, _: &Entry) {}
}

fn run(file: &Path, resume: bool) -> (Manifest, usize) {
    let counter = Counter::default();
    let manifest = Batch::plan(file, Isa::best()).unwrap().run(resume, &counter).unwrap();
    assert_eq!(counter.begun.into_inner(), manifest.jobs.len());
    (manifest, counter.converted.into_inner())
}

fn folder_with_models(names: &[&str]) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (seed, name) in names.iter().enumerate() {
        let model = folder.path().join("models").join(name);
        fs::create_dir_all(&model).unwrap();
        random_checkpoint(&model, SHAPE, seed as u64);
    }
    folder
}

fn jobs(folder: &Path, text: &str) -> std::path::PathBuf {
    let file = folder.join("jobs.yaml");
    fs::write(&file, text).unwrap();
    file
}

#[test]
fn a_pattern_times_formats_and_one_failure() {
    let folder = folder_with_models(&["a", "b", "damaged"]);
    let weights = folder.path().join("models/damaged/model.safetensors");
    let bytes = fs::read(&weights).unwrap();
    fs::write(&weights, &bytes[..1000]).unwrap();
    let file = jobs(
        folder.path(),
        "output: out\nmemory: 2 GiB\njobs:\n  - source: models/*\n    to: [tq2_0, hf]\n    head: f16\n    verify: true\n",
    );
    let (manifest, converted) = run(&file, false);
    let outputs: Vec<_> = manifest.jobs.iter().map(|job| job.output.as_str()).collect();
    assert_eq!(outputs, ["a-tq2_0.gguf", "a-hf", "b-tq2_0.gguf", "b-hf", "damaged-tq2_0.gguf", "damaged-hf"]);
    assert_eq!(converted, 4);
    for job in &manifest.jobs {
        let fails = job.output.starts_with("damaged");
        assert_eq!(job.status, if fails { Status::Failed } else { Status::Done }, "{job:?}");
        assert_eq!(job.error.is_some(), fails);
        assert_eq!(folder.path().join("out").join(&job.output).exists(), !fails);
        if !fails {
            assert!(job.verified.is_some());
            let report = job.report.as_ref().unwrap();
            assert_eq!(report.tensors.len(), 7);
            assert_eq!(report.source_sha256.len(), 64);
            assert_eq!(job.files.len(), 1);
            assert_eq!(job.files[0].bytes, report.output_bytes);
        }
    }
    assert_eq!(Manifest::read(&folder.path().join("out")).unwrap(), Some(manifest));
}

#[test]
fn resuming_runs_what_is_not_proved_done() {
    let folder = folder_with_models(&["a", "b"]);
    let text = "output: out\njobs:\n  - {source: models/a, to: [tq1_0, i2_s]}\n  - {source: models/b, to: [q2_0, hf]}\n";
    let file = jobs(folder.path(), text);
    let (first, converted) = run(&file, false);
    assert_eq!(converted, 4);
    // Nothing to do.
    assert_eq!(run(&file, true), (first.clone(), 0));
    // A missing output, and one that is not what was written.
    fs::remove_file(folder.path().join("out/a-tq1_0.gguf")).unwrap();
    let damaged = folder.path().join("out/b-q2_0.gguf");
    let mut bytes = fs::read(&damaged).unwrap();
    *bytes.last_mut().unwrap() ^= 1;
    fs::write(&damaged, bytes).unwrap();
    fs::write(folder.path().join("out/b-hf/model.safetensors"), "short").unwrap();
    let (second, converted) = run(&file, true);
    assert_eq!(converted, 3);
    let files = |manifest: &Manifest| manifest.jobs.iter().map(|job| job.files.clone()).collect::<Vec<_>>();
    assert_eq!(files(&first), files(&second), "the same bytes again");
    // A changed source, and changed options.
    random_checkpoint(&folder.path().join("models/b"), SHAPE, 77);
    assert_eq!(run(&file, true).1, 2);
    jobs(folder.path(), &text.replace("i2_s]}", "i2_s], head: f16}"));
    assert_eq!(run(&file, true).1, 2);
    // Without --resume everything runs.
    assert_eq!(run(&file, false).1, 4);
}

#[test]
fn a_job_beyond_the_budget_fails_and_the_plan_says_so() {
    let folder = folder_with_models(&["a"]);
    let file = jobs(folder.path(), "output: out\nmemory: 1 MiB\njobs:\n  - {source: models/a, to: tq2_0}\n");
    let batch = Batch::plan(&file, Isa::best()).unwrap();
    assert!(batch.planned()[0].error.as_ref().unwrap().contains("budget"));
    let (manifest, _) = run(&file, false);
    assert_eq!(manifest.jobs[0].status, Status::Failed);
}

#[test]
fn the_job_file_is_checked_as_a_whole() {
    let folder = folder_with_models(&["a"]);
    let plan = |text: &str| Batch::plan(&jobs(folder.path(), text), Isa::best()).unwrap_err();
    for text in [
        "jobs: []",
        "output: out\njobs: [{source: models/a, to: tq2_0, heads: f16}]",
        "output: out\njobs: [{source: models/none, to: tq2_0}]",
        "output: out\njobs: [{source: models/a, to: [tq2_0, tq2_0]}]",
        "output: out\nmemory: lots\njobs: [{source: models/a, to: tq2_0}]",
    ] {
        let error = plan(text);
        assert!(matches!(error, Error::Jobs { .. }), "{text}: {error}");
        assert!(error.to_string().contains("jobs.yaml"), "{error}");
    }
    let error = plan("output: out\njobs: [{source: models/a, to: q3_0}]");
    assert!(matches!(error, Error::Unknown { .. }), "{error}");
    let error = plan("output: out\njobs: [{source: models/a, to: tq2_0, name: ../x}]");
    assert!(matches!(error, Error::Name { .. }), "{error}");
    assert!(!folder.path().join("out").exists());
}

proptest! {
    #[test]
    fn any_text_is_a_list_of_jobs_or_an_error(
        at in 0usize..120,
        cut in 0usize..20,
        with in "[ -~\n]{0,8}",
    ) {
        let text = "output: out\nmemory: 2 GiB\njobs:\n  - source: models/*\n    to: [tq2_0, hf]\n    head: f16\n    verify: true\n";
        let (head, tail) = text.split_at(at.min(text.len()));
        let damaged = format!("{head}{with}{}", &tail[cut.min(tail.len())..]);
        if let Err(error) = JobFile::parse(Path::new("jobs.yaml"), &damaged) {
            prop_assert!(error.to_string().starts_with("jobs.yaml: "), "{}", error);
        }
    }
}
